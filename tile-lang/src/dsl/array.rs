//! Arrays in global memory.

use super::{Elem, Int, Like, Smem, Tile, Word, stub};
use crate::ir::{Order, Scope, atomic_ops};
use std::marker::PhantomData;

/// An array in global memory with `R` axes, dense and row-major, extents known at launch. `&Global` is read only,
/// `&mut Global` may be written.
#[derive(Debug)]
pub struct Global<T, const R: usize>(PhantomData<T>);

/// A constant array whose storage order belongs to the compiler.
#[derive(Debug)]
pub struct Weight<T, const R: usize>(PhantomData<T>);

/// A register tile with elements `T`: what `load` gives and `store` takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a register tile of `{T}`, the array's element type",
    note = "`load` gives and `store` takes a `Tile` of the array's element type: cast after loading, before storing"
)]
pub trait Shape<T> {}
impl<T, const A: usize, const B: usize> Shape<T> for Tile<T, A, B> {}

/// A tile in shared memory with elements `T`: what `stage` gives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a shared-memory tile of `{T}`, the array's element type",
    note = "`stage` gives a `Smem` of the array's element type: cast after staging"
)]
pub trait Staged<T> {}
impl<T, const A: usize, const B: usize> Staged<T> for Smem<'_, T, A, B> {}

impl<T: Elem, const R: usize> Global<T, R> {
    /// Extent of an axis.
    pub fn dim(&self, _axis: usize) -> i32 {
        stub()
    }

    /// One element; the index must be inside.
    pub fn at(&self, _index: [i32; R]) -> T {
        stub()
    }

    /// Writes one element.
    pub fn set(&mut self, _index: [i32; R], _x: T) {
        stub()
    }

    /// The tile with this index, counted in tiles along the tile's axes. Elements outside the array read as zero.
    pub fn load<L: Shape<T>>(&self, _tile: [i32; R]) -> L {
        stub()
    }

    /// The tile whose first element is here.
    pub fn load_at<L: Shape<T>>(&self, _element: [i32; R]) -> L {
        stub()
    }

    /// Brings what `load` of this tile would read into the L2 cache. It changes nothing else and is waited for by nobody.
    pub fn prefetch<L: Shape<T>>(&self, _tile: [i32; R]) {
        stub()
    }

    /// Brings what `load_at` would read into the L2 cache.
    pub fn prefetch_at<L: Shape<T>>(&self, _element: [i32; R]) {
        stub()
    }

    /// Writes the tile with this index, counted in tiles. Elements outside the array are dropped.
    pub fn store<L: Shape<T>>(&mut self, _tile: [i32; R], _x: L) {
        stub()
    }

    /// Writes a tile whose first element is here.
    pub fn store_at<L: Shape<T>>(&mut self, _element: [i32; R], _x: L) {
        stub()
    }

    /// As `store`, only where the mask holds.
    pub fn store_masked<const A: usize, const B: usize>(
        &mut self,
        _tile: [i32; R],
        _x: Tile<T, A, B>,
        _mask: Tile<bool, A, B>,
    ) {
        stub()
    }

    /// As `store_at`, only where the mask holds.
    pub fn store_masked_at<const A: usize, const B: usize>(
        &mut self,
        _element: [i32; R],
        _x: Tile<T, A, B>,
        _mask: Tile<bool, A, B>,
    ) {
        stub()
    }

    /// An asynchronous copy into shared memory, by tile index. What lies outside the array reads as zero.
    pub fn stage<L: Staged<T>>(&self, _tile: [i32; R]) -> L {
        stub()
    }

    /// An asynchronous copy into shared memory, by first element.
    pub fn stage_at<L: Staged<T>>(&self, _element: [i32; R]) -> L {
        stub()
    }
}

impl<T: Elem, const R: usize> Global<T, R> {
    /// One element for each index; outside the array zero.
    pub fn gather<const A: usize, const B: usize>(&self, _index: [Tile<i32, A, B>; R]) -> Tile<T, A, B> {
        stub()
    }

    /// Writes each element at its index; outside the array none. Where indices are equal, any of the elements stays.
    pub fn scatter<const A: usize, const B: usize>(&mut self, _index: [Tile<i32, A, B>; R], _x: Tile<T, A, B>) {
        stub()
    }
}

macro_rules! atomics {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident {
        on: $class:ident, $fold:ident $(($by:expr))?, $method:ident $ordered:ident, $machine:ident })*) => {$(
        impl<T: $class, const R: usize> Global<T, R> {
            $(#[doc = $doc])*
            ///
            /// Of each element with the one at its index, in one step that no other work item divides; nothing outside the
            /// array. Gives the elements that were there before, 0 outside.
            pub fn $method<const A: usize, const B: usize>(
                &mut self,
                _index: [Tile<i32, A, B>; R],
                _x: impl Like<T, A, B>,
            ) -> Tile<T, A, B> {
                stub()
            }

            #[doc = concat!("As `", stringify!($method), "`, ordered against other accesses.")]
            pub fn $ordered<const A: usize, const B: usize>(
                &mut self,
                _index: [Tile<i32, A, B>; R],
                _x: impl Like<T, A, B>,
                _order: Order,
                _scope: Scope,
            ) -> Tile<T, A, B> {
                stub()
            }
        }
    )*};
}
atomic_ops!(atomics);

impl<T: Int, const R: usize> Global<T, R> {
    /// Puts a new element where the one at the index is the one expected, in one step; gives what was there before, 0 outside
    /// of the array.
    pub fn atomic_cas<const A: usize, const B: usize>(
        &mut self,
        _index: [Tile<i32, A, B>; R],
        _expected: impl Like<T, A, B>,
        _new: impl Like<T, A, B>,
    ) -> Tile<T, A, B> {
        stub()
    }

    /// As `atomic_cas`, ordered against other accesses.
    pub fn atomic_cas_ordered<const A: usize, const B: usize>(
        &mut self,
        _index: [Tile<i32, A, B>; R],
        _expected: impl Like<T, A, B>,
        _new: impl Like<T, A, B>,
        _order: Order,
        _scope: Scope,
    ) -> Tile<T, A, B> {
        stub()
    }
}

impl<T: Elem, const R: usize> Weight<T, R> {
    /// Extent of an axis.
    pub fn dim(&self, _axis: usize) -> i32 {
        stub()
    }

    /// An asynchronous copy into shared memory, by tile index.
    pub fn stage<L: Staged<T>>(&self, _tile: [i32; R]) -> L {
        stub()
    }
}
