//! Tiles in registers and in shared memory: construction, shape, reduction, products.

use super::{Elem, Truth, Word, bf16, stub};
use crate::ir::reduce_ops;
use std::marker::PhantomData;

/// A tile in registers: one axis (`B` = 0) or two. Extents are powers of two.
#[derive(Clone, Copy, Debug)]
pub struct Tile<T, const A: usize, const B: usize = 0>(PhantomData<T>);

/// A tile in shared memory, filled by an asynchronous copy. Any extents. Its lifetime is that of the [`View`](super::View) it is a part of;
/// it is left out where the type is written.
#[derive(Clone, Copy, Debug)]
pub struct Smem<'s, T, const A: usize, const B: usize>(PhantomData<&'s T>);

/// An operand of a product: a bf16 tile, in registers or in shared memory, with `M` rows and `K` columns.
#[diagnostic::on_unimplemented(
    message = "a product's operand is `{Self}`, but {M} x {K} elements of `bf16` are needed here",
    label = "wrong tile shape or element type",
    note = "call `.t()` to transpose, `.cast::<bf16>()` to convert"
)]
pub trait MmaOperand<const M: usize, const K: usize> {}
impl<const M: usize, const K: usize> MmaOperand<M, K> for Tile<bf16, M, K> {}
impl<const M: usize, const K: usize> MmaOperand<M, K> for Smem<'_, bf16, M, K> {}

impl<T: Elem, const A: usize, const B: usize> Tile<T, A, B> {
    /// All elements 0.
    pub fn zero() -> Self {
        stub()
    }

    /// All elements `x`.
    pub fn full(_x: T) -> Self {
        stub()
    }

    /// Conversion of the elements: to nearest even where it narrows, float to integer truncates.
    pub fn cast<U: Elem>(self) -> Tile<U, A, B> {
        stub()
    }

    /// Swaps the two axes.
    pub fn t(self) -> Tile<T, B, A> {
        stub()
    }

    /// Each element several times in a row, so that the second axis has `N` elements.
    pub fn repeat<const N: usize>(self) -> Tile<T, A, N> {
        stub()
    }

    /// `other` where the condition on the row and column index fails. On a tile with one axis the column is 0.
    pub fn keep(self, _condition: impl Fn(i32, i32) -> bool, _other: T) -> Self {
        stub()
    }
}

impl<const A: usize, const B: usize> Tile<i32, A, B> {
    /// The index along the first axis.
    pub fn row_index() -> Self {
        stub()
    }

    /// The index along the last axis.
    pub fn col_index() -> Self {
        stub()
    }
}

impl<T: Elem, const A: usize> Tile<T, A> {
    /// Repeats the tile as `C` columns: element (r, c) is element r.
    pub fn cols<const C: usize>(self) -> Tile<T, A, C> {
        stub()
    }

    /// Repeats the tile as `R` rows: element (r, c) is element c.
    pub fn rows<const R: usize>(self) -> Tile<T, R, A> {
        stub()
    }
}

macro_rules! reductions {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident {
        on: $class:ident, $fold:ident($by:expr), $gives:ident, $row:ident $col:ident $all:ident })*) => {$(
        impl<T: $class, const A: usize, const B: usize> Tile<T, A, B> {
            $(#[doc = $doc])*
            ///
            /// Of each row.
            pub fn $row(self) -> reductions!(@tile $gives A) {
                stub()
            }

            $(#[doc = $doc])*
            ///
            /// Of each column.
            pub fn $col(self) -> reductions!(@tile $gives B) {
                stub()
            }
        }
        impl<T: $class, const A: usize> Tile<T, A> {
            $(#[doc = $doc])*
            ///
            /// Of the whole tile.
            pub fn $all(self) -> reductions!(@scalar $gives) {
                stub()
            }
        }
    )*};
    (@tile same $n:ident) => { Tile<T, $n> };
    (@tile index $n:ident) => { Tile<i32, $n> };
    (@scalar same) => { T };
    (@scalar index) => { i32 };
}
reduce_ops!(reductions);

impl<const A: usize, const B: usize> Tile<f32, A, B> {
    /// Adds the product of `a` and `b`.
    pub fn mma<const K: usize>(&mut self, _a: impl MmaOperand<A, K>, _b: impl MmaOperand<K, B>) {
        stub()
    }
}

impl<'s, T: Elem, const A: usize, const B: usize> Smem<'s, T, A, B> {
    /// The part with `R` rows and `C` columns at this row and column.
    pub fn slice<const R: usize, const C: usize>(self, _row: usize, _col: usize) -> Smem<'s, T, R, C> {
        stub()
    }

    /// A view with the axes swapped.
    pub fn t(self) -> Smem<'s, T, B, A> {
        stub()
    }

    /// A copy in registers.
    pub fn read(self) -> Tile<T, A, B> {
        stub()
    }

    /// A copy in registers with converted elements.
    pub fn cast<U: Elem>(self) -> Tile<U, A, B> {
        stub()
    }
}
