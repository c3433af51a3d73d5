//! Tiles in registers and in shared memory: construction, shape, reduction, products.

use super::{Elem, Truth, Word, bf16, e4m3, e5m2, f16, stub};
use crate::ir::reduce_ops;
use std::marker::PhantomData;

/// A tile in registers: one axis (`B` = 0) or two. Extents are powers of two.
#[derive(Clone, Copy, Debug)]
pub struct Tile<T, const A: usize, const B: usize = 0>(PhantomData<T>);

/// A tile in shared memory, filled by an asynchronous copy. Any extents. Its lifetime is that of the [`View`](super::View) it is a part of;
/// it is left out where the type is written.
#[derive(Clone, Copy, Debug)]
pub struct Smem<'s, T, const A: usize, const B: usize>(PhantomData<&'s T>);

/// Element types that products multiply.
#[diagnostic::on_unimplemented(
    message = "products don't take `{Self}`",
    note = "they take bf16, f16, 8-bit floats and 8-bit integers: `.cast::<bf16>()` converts"
)]
pub trait Factor: Elem {
    /// What is summed in.
    type Sum: Word;
    /// What may be multiplied with each other has this in common.
    type Kind;
}

macro_rules! factors {
    ($($t:ty: $sum:ty, $kind:ty;)*) => {$(
        impl Factor for $t {
            type Sum = $sum;
            type Kind = $kind;
        }
    )*};
}
factors!(bf16: f32, bf16; f16: f32, f16; e4m3: f32, e4m3; e5m2: f32, e4m3; i8: i32, i8; u8: i32, i8;);

/// An operand of a product: a tile in registers or in shared memory, with `M` rows and `K` columns.
#[diagnostic::on_unimplemented(
    message = "a product's operand is `{Self}`, but {M} x {K} elements of a type that products take are needed here",
    label = "wrong tile shape or element type",
    note = "call `.t()` to transpose, `.cast::<bf16>()` to convert"
)]
pub trait MmaOperand<const M: usize, const K: usize> {
    /// What is summed in.
    type Sum: Word;
    /// What may be multiplied with each other has this in common.
    type Kind;
}
impl<T: Factor, const M: usize, const K: usize> MmaOperand<M, K> for Tile<T, M, K> {
    type Sum = T::Sum;
    type Kind = T::Kind;
}
impl<T: Factor, const M: usize, const K: usize> MmaOperand<M, K> for Smem<'_, T, M, K> {
    type Sum = T::Sum;
    type Kind = T::Kind;
}

/// An operand of a product of f32 in tf32: a tile in registers or in shared memory, with `M` rows and `K` columns.
#[diagnostic::on_unimplemented(
    message = "an operand of `mma_tf32` is `{Self}`, but {M} x {K} elements of `f32` are needed here",
    label = "wrong tile shape or element type",
    note = "call `.t()` to transpose; narrower types are multiplied by `mma`"
)]
pub trait Tf32Operand<const M: usize, const K: usize> {}
impl<const M: usize, const K: usize> Tf32Operand<M, K> for Tile<f32, M, K> {}
impl<const M: usize, const K: usize> Tf32Operand<M, K> for Smem<'_, f32, M, K> {}

impl<const A: usize, const B: usize> Tile<f32, A, B> {
    /// Adds the product of `a` and `b`, of f32 rounded to tf32: 10 bits of fraction, to nearest, ties away from zero.
    pub fn mma_tf32<const K: usize>(&mut self, _a: impl Tf32Operand<A, K>, _b: impl Tf32Operand<K, B>) {
        stub()
    }
}

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

impl<T: Elem, const A: usize, const B: usize> Tile<T, A, B> {
    /// The same elements, row after row, as `C` rows of `D` columns; a `D` of 0 is a tile with one axis.
    pub fn reshape<const C: usize, const D: usize>(self) -> Tile<T, C, D> {
        stub()
    }

    /// The part with `R` rows and `C` columns at this row and column.
    pub fn slice<const R: usize, const C: usize>(self, _row: usize, _col: usize) -> Tile<T, R, C> {
        stub()
    }

    /// The other tile below this one: `R` rows in all.
    pub fn join_rows<const R: usize>(self, _below: Self) -> Tile<T, R, B> {
        stub()
    }

    /// The other tile beside this one: `C` columns in all.
    pub fn join_cols<const C: usize>(self, _beside: Self) -> Tile<T, A, C> {
        stub()
    }
}

macro_rules! scans {
    ($($what:literal $row:ident $col:ident $all:ident),*) => {$(
        impl<T: Word, const A: usize, const B: usize> Tile<T, A, B> {
            #[doc = concat!($what, " of each element and those before it in its row.")]
            pub fn $row(self) -> Self {
                stub()
            }

            #[doc = concat!($what, " of each element and those above it.")]
            pub fn $col(self) -> Self {
                stub()
            }
        }
        impl<T: Word, const A: usize> Tile<T, A> {
            #[doc = concat!($what, " of each element and those before it.")]
            pub fn $all(self) -> Self {
                stub()
            }
        }
    )*};
}
scans!(
    "Sum" row_cumsum col_cumsum all_cumsum,
    "Product" row_cumproduct col_cumproduct all_cumproduct,
    "Largest" row_cummax col_cummax all_cummax,
    "Smallest" row_cummin col_cummin all_cummin
);

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

impl<T: Word, const A: usize, const B: usize> Tile<T, A, B> {
    /// Adds the product of `a` and `b`.
    pub fn mma<const K: usize, P>(
        &mut self,
        _a: impl MmaOperand<A, K, Sum = T, Kind = P>,
        _b: impl MmaOperand<K, B, Sum = T, Kind = P>,
    ) {
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
