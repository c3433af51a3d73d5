//! Element types of the language.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An element type. Packing is a fact of storage: shapes always count logical elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// bfloat16: 8 exponent bits, 7 mantissa bits.
    Bf16,
    /// IEEE binary16.
    F16,
    /// FP8 with 4 exponent and 3 mantissa bits, no infinities (OCP `E4M3FN`).
    E4m3,
    /// FP8 with 5 exponent and 2 mantissa bits (OCP `E5M2`).
    E5m2,
    /// FP4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; two per byte, low nibble first.
    E2m1,
    /// A power of two, 2^(code − 127); 255 is NaN. The block scale of MXFP4.
    E8m0,
    /// Signed byte.
    I8,
    /// Unsigned byte.
    U8,
    /// Signed 32-bit integer; arithmetic wraps.
    I32,
    /// Truth value; one byte where stored.
    Bool,
}

impl DType {
    /// Every element type, in declaration order.
    pub const ALL: [DType; 11] = [
        DType::F32,
        DType::Bf16,
        DType::F16,
        DType::E4m3,
        DType::E5m2,
        DType::E2m1,
        DType::E8m0,
        DType::I8,
        DType::U8,
        DType::I32,
        DType::Bool,
    ];

    /// Bits of one element in storage.
    pub const fn bits(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 32,
            DType::Bf16 | DType::F16 => 16,
            DType::E4m3 | DType::E5m2 | DType::E8m0 | DType::I8 | DType::U8 | DType::Bool => 8,
            DType::E2m1 => 4,
        }
    }

    /// Bytes that `count` elements take, `count` being even for 4-bit types.
    pub const fn bytes(self, count: usize) -> usize {
        (count * self.bits()).div_ceil(8)
    }

    /// Whether values are real numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::Bf16 | DType::F16 | DType::E4m3 | DType::E5m2 | DType::E2m1 | DType::E8m0)
    }

    /// Whether values are integers.
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I8 | DType::U8 | DType::I32)
    }

    /// The name in source text and in the text form of the IR.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::E4m3 => "e4m3",
            DType::E5m2 => "e5m2",
            DType::E2m1 => "e2m1",
            DType::E8m0 => "e8m0",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of an element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an element type")]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(text: &str) -> Result<Self, UnknownDType> {
        DType::ALL.into_iter().find(|d| d.name() == text).ok_or_else(|| UnknownDType(text.into()))
    }
}
