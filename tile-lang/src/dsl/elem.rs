//! Element types.

use super::stub;
use crate::dtype::DType;

/// An element type of arrays and tiles.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an element type",
    note = "element types are f32, bf16, f16, e4m3, e5m2, e2m1, e8m0, i8, i32, u8 and bool"
)]
pub trait Elem: Copy + 'static {
    /// The same type as a value.
    const DTYPE: DType;
}

macro_rules! unit_elems {
    ($($(#[$doc:meta])* $name:ident = $variant:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[allow(non_camel_case_types, reason = "element types are spelled like Rust's own number types")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl Elem for $name {
            const DTYPE: DType = DType::$variant;
        }
    )*};
}
unit_elems!(
    /// bfloat16: 8 exponent bits, 7 mantissa bits.
    bf16 = Bf16,
    /// IEEE binary16.
    f16 = F16,
    /// FP8 with 4 exponent and 3 mantissa bits.
    e4m3 = E4m3,
    /// FP8 with 5 exponent and 2 mantissa bits.
    e5m2 = E5m2,
    /// FP4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
    e2m1 = E2m1,
    /// A power of two: the block scale of MXFP4.
    e8m0 = E8m0,
);

macro_rules! rust_elems {
    ($($name:ident = $variant:ident),*) => {$(
        impl Elem for $name {
            const DTYPE: DType = DType::$variant;
        }
    )*};
}
rust_elems!(f32 = F32, i32 = I32, i8 = I8, u8 = U8, bool = Bool);

/// Elements that can be added and compared.
#[diagnostic::on_unimplemented(message = "no arithmetic on `{Self}`", note = "cast to f32 first: `.cast::<f32>()`")]
pub trait Number: Elem {}
impl Number for f32 {}
impl Number for bf16 {}
impl Number for f16 {}
impl Number for i32 {}

/// Elements that fill a 32-bit register: what reductions take.
#[diagnostic::on_unimplemented(message = "no reductions of `{Self}`", note = "cast to f32 first: `.cast::<f32>()`")]
pub trait Word: Number {}
impl Word for f32 {}
impl Word for i32 {}

/// Methods of single elements that Rust's own number types lack.
pub trait Scalar: Elem {
    /// Conversion to another element type; on Rust's number types `as` does the same.
    fn cast<U: Elem>(self) -> U {
        stub()
    }
}
impl<T: Elem> Scalar for T {}
