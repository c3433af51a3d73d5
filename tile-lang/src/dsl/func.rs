//! Free functions.

use super::{Elem, Float, MmaOperand, Tf32Operand, Tile, Word, stub};
use std::ops::Range;

/// −∞.
pub const NEG_INF: f32 = f32::NEG_INFINITY;

/// This work item's coordinates in a grid of those extents. At most once in a kernel.
pub fn work<const N: usize>(_extents: [i32; N]) -> [i32; N] {
    stub()
}

/// The same range, with `S` iterations of staged loads in flight.
pub fn pipelined<const S: usize>(range: Range<i32>) -> Range<i32> {
    range
}

/// The product of two tiles: floats are summed in f32, integers in i32.
pub fn mma<const M: usize, const N: usize, const K: usize, S: Word, P>(
    _a: impl MmaOperand<M, K, Sum = S, Kind = P>,
    _b: impl MmaOperand<K, N, Sum = S, Kind = P>,
) -> Tile<S, M, N> {
    stub()
}

/// As [`mma`], of f32 rounded to tf32: 10 bits of fraction, to nearest, ties away from zero.
pub fn mma_tf32<const M: usize, const N: usize, const K: usize>(
    _a: impl Tf32Operand<M, K>,
    _b: impl Tf32Operand<K, N>,
) -> Tile<f32, M, N> {
    stub()
}

/// What can be divided rounding up.
pub trait CeilDiv<B> {
    /// The quotient's type.
    type Output;
    /// ⌈self / by⌉.
    fn ceil_div(self, by: B) -> Self::Output;
}

impl CeilDiv<i32> for i32 {
    type Output = i32;
    fn ceil_div(self, by: i32) -> i32 {
        (self + by - 1) / by
    }
}

impl CeilDiv<usize> for i32 {
    type Output = i32;
    fn ceil_div(self, by: usize) -> i32 {
        self.ceil_div(by as i32)
    }
}

impl CeilDiv<usize> for usize {
    type Output = usize;
    fn ceil_div(self, by: usize) -> usize {
        self.div_ceil(by)
    }
}

/// ⌈a / b⌉ of numbers that are not negative.
pub fn cdiv<A: CeilDiv<B>, B>(a: A, b: B) -> A::Output {
    a.ceil_div(b)
}

/// Values that a condition of type `C` can choose between.
#[diagnostic::on_unimplemented(
    message = "`select` can't choose between `{Self}` and `{U}` by `{C}`",
    note = "the three have one shape; the third may be a single element, the condition a single bool"
)]
pub trait Choice<C, U>: Sized {
    /// `yes` where the condition holds, `no` elsewhere.
    fn choose(_condition: C, _yes: Self, _no: U) -> Self {
        stub()
    }
}

impl<T: Elem, const A: usize, const B: usize> Choice<Tile<bool, A, B>, Tile<T, A, B>> for Tile<T, A, B> {}
impl<T: Elem, const A: usize, const B: usize> Choice<Tile<bool, A, B>, T> for Tile<T, A, B> {}
impl<T: Elem, const A: usize, const B: usize> Choice<bool, Tile<T, A, B>> for Tile<T, A, B> {}
impl<T: Elem, const A: usize, const B: usize> Choice<bool, T> for Tile<T, A, B> {}

macro_rules! scalar_choice {
    ($($t:ty),*) => {$(
        impl Choice<bool, $t> for $t {
            fn choose(condition: bool, yes: $t, no: $t) -> $t {
                if condition { yes } else { no }
            }
        }
    )*};
}
scalar_choice!(f32, i32, bool, usize);

/// `a` where the condition holds, `b` elsewhere.
pub fn select<C, V: Choice<C, U>, U>(condition: C, a: V, b: U) -> V {
    V::choose(condition, a, b)
}

/// 1 / √x.
pub fn rsqrt(x: f32) -> f32 {
    1.0 / x.sqrt()
}

/// The error function.
pub fn erf(x: f32) -> f32 {
    Float::erf(x)
}

/// The bits of a number.
pub fn to_bits(x: f32) -> i32 {
    x.to_bits() as i32
}

/// The number with these bits.
pub fn from_bits(x: i32) -> f32 {
    f32::from_bits(x as u32)
}

/// Logical shift right, by 0 to 31.
pub fn shr_logical(x: i32, by: i32) -> i32 {
    ((x as u32) >> (by & 31)) as i32
}

/// High 32 bits of the unsigned 64-bit product.
pub fn mul_high(a: i32, b: i32) -> i32 {
    ((a as u32 as u64 * b as u32 as u64) >> 32) as i32
}
