//! Explicit roles: one that fills slots of the ring, one that reads them and computes.
//!
//! A [`Slot`] knows the parts that are still to be filled, and a tile of a [`View`] lives no longer than the view: filling a part twice,
//! committing a slot with a part missing, releasing twice, and reading a tile after the release are errors of rustc.

use super::{Elem, Global, Smem, Weight, stub};
use std::marker::PhantomData;

/// Runs `body` in a role of its own: `warps` warps with `registers` registers a thread; 0 leaves a number to the compiler. A kernel
/// has at most two, in its outermost block: one fills the ring, one waits for its slots, computes and stores. What stands before them
/// is computed by both.
pub fn role(_name: &str, _warps: usize, _registers: usize, _body: impl FnOnce()) {
    stub()
}

/// A ring of slots in shared memory, each with parts `P`: an `Smem` tile or a tuple of them. All rings of a kernel are carried by the
/// one ring of the program, so their slots are filled and waited for in one order.
#[derive(Debug)]
pub struct Ring<P>(PhantomData<P>);

/// A slot that is being filled; `P` are the parts still to do.
#[must_use = "a slot that is not committed is never filled: end with `.commit()`"]
#[derive(Debug)]
pub struct Slot<'r, P>(PhantomData<(&'r (), P)>);

/// A slot whose copies have arrived.
#[must_use = "a slot that is not released is never filled again: call `.release()`"]
#[derive(Debug)]
pub struct View<'r, P>(PhantomData<(&'r (), P)>);

/// What a slot may hold.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the parts of a slot",
    note = "a slot holds `Smem` tiles: one, or a tuple of up to twelve"
)]
pub trait Parts {
    /// The tiles of a view.
    type Tiles<'v>;
}

/// Parts of which the first is to be filled next.
#[diagnostic::on_unimplemented(
    message = "all parts of this slot are filled",
    label = "one fill too many",
    note = "a slot takes one fill for each part of its ring, in order"
)]
pub trait Unfilled {
    /// Element type of the next part.
    type Elem: Elem;
    /// The parts after it.
    type Rest;
}

/// No parts left to fill.
#[diagnostic::on_unimplemented(
    message = "this slot has parts that are not filled: {Self}",
    label = "committed too early",
    note = "fill every part of the ring's slot before `.commit()`"
)]
pub trait Filled {}
impl Filled for () {}

/// An array that parts are filled from.
#[diagnostic::on_unimplemented(
    message = "the next part of this slot has elements of `{T}`, `{Self}` has not",
    note = "parts are filled in the order in which the ring's type names them, each from an array of its element type"
)]
pub trait Source<T> {
    /// One index for each axis.
    type Index;
}
impl<T: Elem, const R: usize> Source<T> for Global<T, R> {
    type Index = [i32; R];
}
impl<T: Elem, const R: usize> Source<T> for Weight<T, R> {
    type Index = [i32; R];
}

impl<P: Parts> Ring<P> {
    /// A ring of `S` slots, so that S copies are in flight; 0 leaves the number to the compiler.
    pub fn new<const S: usize>() -> Self {
        stub()
    }

    /// Takes the next slot to fill; waits until it was released.
    pub fn acquire(&self) -> Slot<'_, P> {
        stub()
    }

    /// The next slot that was filled; waits for its copies.
    pub fn wait(&self) -> View<'_, P> {
        stub()
    }
}

impl<'r, P> Slot<'r, P> {
    /// Starts the copy of the next part, by tile index. What lies outside a `Global` arrives as zero.
    pub fn fill<G: Source<P::Elem>>(self, _from: &G, _tile: G::Index) -> Slot<'r, P::Rest>
    where
        P: Unfilled,
    {
        stub()
    }

    /// Starts the copy of the next part, by first element; on a weight a multiple of the part's extents.
    pub fn fill_at<G: Source<P::Elem>>(self, _from: &G, _element: G::Index) -> Slot<'r, P::Rest>
    where
        P: Unfilled,
    {
        stub()
    }

    /// Hands the slot to the other role, which sees it when all copies have arrived.
    pub fn commit(self)
    where
        P: Filled,
    {
        stub()
    }
}

impl<P: Parts> View<'_, P> {
    /// The tiles; they can be read until the release.
    pub fn get(&self) -> P::Tiles<'_> {
        stub()
    }

    /// Gives the slot back.
    pub fn release(self) {
        stub()
    }
}

impl<T: Elem, const A: usize, const B: usize> Parts for Smem<'_, T, A, B> {
    type Tiles<'v> = Smem<'v, T, A, B>;
}
impl<T: Elem, const A: usize, const B: usize> Unfilled for Smem<'_, T, A, B> {
    type Elem = T;
    type Rest = ();
}

macro_rules! tuples {
    ($(($first:ident $(, $rest:ident)*)),* $(,)?) => {$(
        impl<$first: Parts $(, $rest: Parts)*> Parts for ($first, $($rest,)*) {
            type Tiles<'v> = ($first::Tiles<'v>, $($rest::Tiles<'v>,)*);
        }
        impl<$first: Unfilled $(, $rest)*> Unfilled for ($first, $($rest,)*) {
            type Elem = $first::Elem;
            type Rest = ($($rest,)*);
        }
    )*};
}
tuples!(
    (A),
    (A, B),
    (A, B, C),
    (A, B, C, D),
    (A, B, C, D, E),
    (A, B, C, D, E, F),
    (A, B, C, D, E, F, G),
    (A, B, C, D, E, F, G, H),
    (A, B, C, D, E, F, G, H, I),
    (A, B, C, D, E, F, G, H, I, J),
    (A, B, C, D, E, F, G, H, I, J, K),
    (A, B, C, D, E, F, G, H, I, J, K, L),
);
