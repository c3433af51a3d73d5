//! Products of operands with block scales.

use super::{Elem, Smem, Tile, e2m1, e4m3, e5m2, e8m0, stub};

/// Element types that products with block scales multiply.
#[diagnostic::on_unimplemented(
    message = "products with block scales don't take `{Self}`",
    note = "they take e2m1 and 8-bit floats; unpack anything else with `.cast::<bf16>()` and use `mma`"
)]
pub trait ScaledFactor: Elem {
    /// What may be multiplied with each other has this in common.
    type Kind;
}
impl ScaledFactor for e2m1 {
    type Kind = e2m1;
}
impl ScaledFactor for e4m3 {
    type Kind = e4m3;
}
impl ScaledFactor for e5m2 {
    type Kind = e4m3;
}

/// Element types of the scales of operands of this kind: 32 terms to an `e8m0`, 16 to an `e4m3`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` doesn't scale these operands",
    note = "e2m1 is scaled by e8m0 (32 terms) or e4m3 (16 terms), 8-bit floats by e8m0 (32 terms)"
)]
pub trait BlockScale<Kind>: Elem {}
impl BlockScale<e2m1> for e8m0 {}
impl BlockScale<e2m1> for e4m3 {}
impl BlockScale<e4m3> for e8m0 {}

/// An operand of a product with block scales: a tile in registers or in shared memory, with `M` rows and `K` columns.
#[diagnostic::on_unimplemented(
    message = "an operand of a product with block scales is `{Self}`, but {M} x {K} elements of e2m1 or of an 8-bit float are needed here",
    label = "wrong tile shape or element type",
    note = "call `.t()` to transpose"
)]
pub trait ScaledOperand<const M: usize, const K: usize> {
    /// What may be multiplied with each other has this in common.
    type Kind;
}
impl<T: ScaledFactor, const M: usize, const K: usize> ScaledOperand<M, K> for Tile<T, M, K> {
    type Kind = T::Kind;
}
impl<T: ScaledFactor, const M: usize, const K: usize> ScaledOperand<M, K> for Smem<'_, T, M, K> {
    type Kind = T::Kind;
}

/// The scales of an operand: `M` rows and `S` columns, in registers or in shared memory.
#[diagnostic::on_unimplemented(
    message = "the scales of an operand are `{Self}`, but {M} x {S} elements are needed here",
    label = "wrong tile shape or element type",
    note = "call `.t()` to transpose"
)]
pub trait Scales<const M: usize, const S: usize> {
    /// Their type.
    type Elem;
}
impl<T: Elem, const M: usize, const S: usize> Scales<M, S> for Tile<T, M, S> {
    type Elem = T;
}
impl<T: Elem, const M: usize, const S: usize> Scales<M, S> for Smem<'_, T, M, S> {
    type Elem = T;
}

impl<const A: usize, const B: usize> Tile<f32, A, B> {
    /// Adds the product of `a` and `b`, each element of which counts times the scale of its block of terms.
    ///
    /// `a` is A × K and `b` K × B. A block has 32 terms where scales are `e8m0`, 16 where they are `e4m3`; there are S = K / 32 or
    /// K / 16 of them, which is checked while staging (E06).
    pub fn mma_scaled<const K: usize, const S: usize, P, E: BlockScale<P>>(
        &mut self,
        _a: impl ScaledOperand<A, K, Kind = P>,
        _a_scales: impl Scales<A, S, Elem = E>,
        _b: impl ScaledOperand<K, B, Kind = P>,
        _b_scales: impl Scales<S, B, Elem = E>,
    ) {
        stub()
    }
}
