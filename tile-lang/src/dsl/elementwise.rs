//! Elementwise ops of tiles: methods named as in the IR, and Rust's operators.

use super::{Elem, Number, Tile, bf16, stub};
use std::ops;

/// A second operand beside a tile: a tile of the same shape, or one element for all.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not fit a tile of {A} x {B} elements of `{T}`",
    note = "use `.cols::<…>()` or `.rows::<…>()` to broadcast, `.cast::<…>()` to convert"
)]
pub trait Like<T, const A: usize, const B: usize> {}
impl<T: Elem, const A: usize, const B: usize> Like<T, A, B> for Tile<T, A, B> {}
impl<T: Elem, const A: usize, const B: usize> Like<T, A, B> for T {}

/// Elements with bitwise (on bool: logical) ops.
#[diagnostic::on_unimplemented(message = "no bitwise ops on `{Self}`", note = "they exist on i32 and bool")]
pub trait Bits: Elem {}
impl Bits for i32 {}
impl Bits for bool {}

macro_rules! unary {
    ($elem:ty: $($what:literal $name:ident),* $(,)?) => {
        impl<const A: usize, const B: usize> Tile<$elem, A, B> {$(
            #[doc = concat!($what, ", element by element.")]
            pub fn $name(self) -> Self {
                stub()
            }
        )*}
    };
}
unary!(f32:
    "e^x" exp, "2^x" exp2, "Natural logarithm" ln, "Logarithm to base 2" log2, "Square root" sqrt, "1 / √x" rsqrt,
    "1 / x" recip, "Sine" sin, "Cosine" cos, "Largest integer not above" floor,
);

impl<const A: usize, const B: usize> Tile<f32, A, B> {
    /// The bits of each element.
    pub fn to_bits(self) -> Tile<i32, A, B> {
        stub()
    }
}

impl<const A: usize, const B: usize> Tile<i32, A, B> {
    /// The f32 with these bits.
    pub fn from_bits(self) -> Tile<f32, A, B> {
        stub()
    }
}

impl<T: Number, const A: usize, const B: usize> Tile<T, A, B> {
    /// Absolute value, element by element.
    pub fn abs(self) -> Self {
        stub()
    }
}

macro_rules! binary {
    ($($bound:ident: $($what:literal $name:ident),*;)*) => {$(
        impl<T: $bound, const A: usize, const B: usize> Tile<T, A, B> {$(
            #[doc = concat!($what, ", element by element.")]
            pub fn $name(self, _other: impl Like<T, A, B>) -> Self {
                stub()
            }
        )*}
    )*};
}
binary!(
    Number: "Smaller of the two" min, "Larger of the two" max;
);

impl<const A: usize, const B: usize> Tile<i32, A, B> {
    /// Logical shift right, by 0 to 31.
    pub fn shr_logical(self, _by: impl Like<i32, A, B>) -> Self {
        stub()
    }

    /// High 32 bits of the unsigned 64-bit product.
    pub fn mul_high(self, _other: impl Like<i32, A, B>) -> Self {
        stub()
    }
}

/// Elements with a remainder and shifts.
pub trait Int: Elem {}
impl Int for i32 {}

macro_rules! operators {
    ($($bound:ident: $($op:ident $name:ident $assign:ident $assign_name:ident),*;)*) => {$($(
        impl<T: $bound, const A: usize, const B: usize> ops::$op for Tile<T, A, B> {
            type Output = Self;
            fn $name(self, _: Self) -> Self {
                stub()
            }
        }
        impl<T: $bound, const A: usize, const B: usize> ops::$op<T> for Tile<T, A, B> {
            type Output = Self;
            fn $name(self, _: T) -> Self {
                stub()
            }
        }
        impl<T: $bound, const A: usize, const B: usize> ops::$assign for Tile<T, A, B> {
            fn $assign_name(&mut self, _: Self) {
                stub()
            }
        }
        impl<T: $bound, const A: usize, const B: usize> ops::$assign<T> for Tile<T, A, B> {
            fn $assign_name(&mut self, _: T) {
                stub()
            }
        }
    )*)*};
}
operators!(
    Number: Add add AddAssign add_assign, Sub sub SubAssign sub_assign, Mul mul MulAssign mul_assign, Div div DivAssign div_assign;
    Int: Rem rem RemAssign rem_assign, Shl shl ShlAssign shl_assign, Shr shr ShrAssign shr_assign;
    Bits: BitAnd bitand BitAndAssign bitand_assign, BitOr bitor BitOrAssign bitor_assign, BitXor bitxor BitXorAssign bitxor_assign;
);

macro_rules! left_scalar {
    ($($t:ty: $($op:ident $name:ident),*;)*) => {$($(
        impl<const A: usize, const B: usize> ops::$op<Tile<$t, A, B>> for $t {
            type Output = Tile<$t, A, B>;
            fn $name(self, _: Tile<$t, A, B>) -> Tile<$t, A, B> {
                stub()
            }
        }
    )*)*};
}
left_scalar!(
    f32: Add add, Sub sub, Mul mul, Div div;
    i32: Add add, Sub sub, Mul mul, Div div, Rem rem, Shl shl, Shr shr, BitAnd bitand, BitOr bitor, BitXor bitxor;
    bf16: Add add, Sub sub, Mul mul, Div div;
);

impl<T: Number, const A: usize, const B: usize> ops::Neg for Tile<T, A, B> {
    type Output = Self;
    fn neg(self) -> Self {
        stub()
    }
}

impl<T: Bits, const A: usize, const B: usize> ops::Not for Tile<T, A, B> {
    type Output = Self;
    fn not(self) -> Self {
        stub()
    }
}
