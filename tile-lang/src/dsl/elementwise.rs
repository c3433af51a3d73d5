//! Elementwise ops of tiles: methods named as in the IR, and Rust's operators.

use super::{Elem, Number, Tile, bf16, f16, stub};
use crate::ir::{UnaryOp, binary_ops, cmp_ops, ternary_ops, unary_ops};
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

/// The stub of an op of one operand, by the form it has in source: operators are below.
macro_rules! unary_stub {
    (method $class:ident $name:ident [$($doc:literal)*]) => {
        impl<T: $class, const A: usize, const B: usize> Tile<T, A, B> {
            $(#[doc = $doc])*
            pub fn $name(self) -> Self {
                stub()
            }
        }
    };
    (bits $class:ident $name:ident [$($doc:literal)*]) => {
        impl<const A: usize, const B: usize> Tile<f32, A, B> {
            $(#[doc = $doc])*
            pub fn $name(self) -> Tile<i32, A, B> {
                stub()
            }
        }
    };
    (number $class:ident $name:ident [$($doc:literal)*]) => {
        impl<const A: usize, const B: usize> Tile<i32, A, B> {
            $(#[doc = $doc])*
            pub fn $name(self) -> Tile<f32, A, B> {
                stub()
            }
        }
    };
    (operator $class:ident $name:ident [$($doc:literal)*]) => {};
}

/// A function of single numbers, where the op is on [`Float`].
macro_rules! float_method {
    (method Float $name:ident [$($doc:literal)*]) => {
        $(#[doc = $doc])*
        fn $name(self) -> Self {
            stub()
        }
    };
    ($form:ident $class:ident $name:ident [$($doc:literal)*]) => {};
}

/// The same for a number that the host has.
macro_rules! float_value {
    (method Float $name:ident $variant:ident) => {
        fn $name(self) -> Self {
            UnaryOp::$variant.eval_real(self).unwrap_or_else(|| stub())
        }
    };
    ($form:ident $class:ident $name:ident $variant:ident) => {};
}

macro_rules! unary_stubs {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident { $form:ident, on: $class:ident, $($rest:tt)* })*) => {
        $(unary_stub!($form $class $name [$($doc)*]);)*

        /// Elements that functions are computed on: f32, and bf16 and f16 by way of f32.
        #[diagnostic::on_unimplemented(message = "no functions of `{Self}`", note = "cast to f32 first: `.cast::<f32>()`")]
        pub trait Float: Number {
            $(float_method!($form $class $name [$($doc)*]);)*
        }
        impl Float for f32 {
            $(float_value!($form $class $name $variant);)*
        }
        impl Float for bf16 {}
        impl Float for f16 {}
    };
}
unary_ops!(unary_stubs);

macro_rules! binary_stub {
    (method $class:ident $name:ident [$($doc:literal)*]) => {
        impl<T: $class, const A: usize, const B: usize> Tile<T, A, B> {
            $(#[doc = $doc])*
            pub fn $name(self, _other: impl Like<T, A, B>) -> Self {
                stub()
            }
        }
    };
    (operator $class:ident $name:ident [$($doc:literal)*]) => {};
}

macro_rules! binary_stubs {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident { $form:ident, on: $class:ident, $($rest:tt)* })*) => {
        $(binary_stub!($form $class $name [$($doc)*]);)*
    };
}
binary_ops!(binary_stubs);

macro_rules! ternary_stubs {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident { on: $class:ident, $($rest:tt)* })*) => {$(
        impl<T: $class, const A: usize, const B: usize> Tile<T, A, B> {
            $(#[doc = $doc])*
            pub fn $name(self, _first: impl Like<T, A, B>, _second: impl Like<T, A, B>) -> Self {
                stub()
            }
        }
    )*};
}
ternary_ops!(ternary_stubs);

macro_rules! cmp_stubs {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident { $($rest:tt)* })*) => {
        impl<T: Elem, const A: usize, const B: usize> Tile<T, A, B> {$(
            $(#[doc = $doc])*
            pub fn $name(self, _other: impl Like<T, A, B>) -> Tile<bool, A, B> {
                stub()
            }
        )*}
    };
}
cmp_ops!(cmp_stubs);

impl<T: Number, const A: usize, const B: usize> Tile<T, A, B> {
    /// At least `low` and at most `high`, element by element.
    pub fn clamp(self, _low: impl Like<T, A, B>, _high: impl Like<T, A, B>) -> Self {
        stub()
    }
}

impl<T: Float, const A: usize, const B: usize> Tile<T, A, B> {
    /// x^y of an x above 0, element by element.
    pub fn powf(self, _exponent: impl Like<T, A, B>) -> Self {
        stub()
    }
}

/// Elements with a remainder and shifts.
pub trait Int: Elem {}
impl Int for i32 {}

/// Truth values.
#[diagnostic::on_unimplemented(message = "`{Self}` is no truth value", note = "compare first: `x.ne(0)`")]
pub trait Truth: Elem {}
impl Truth for bool {}

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
    f16: Add add, Sub sub, Mul mul, Div div;
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
