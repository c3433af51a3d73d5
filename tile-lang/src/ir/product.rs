//! Which element types products multiply, what they sum in, and which scales their operands may have.

use crate::dtype::DType;

/// A product of tiles on the tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Element type of the sums.
    pub sum: DType,
    /// The depth is a multiple of this: what one instruction sums.
    pub depth: usize,
}

/// The product of these element types: 16-bit floats of one type, 8-bit floats of either, 8-bit integers of either sign, and f32,
/// whose elements are rounded to tf32 first: 8 bits of exponent and 10 of fraction, to nearest, ties away from zero. Floats are summed in f32, integers in i32, where they wrap.
pub fn product_of(a: DType, b: DType) -> Option<Product> {
    match (a, b) {
        (DType::Bf16, DType::Bf16) | (DType::F16, DType::F16) => Some(Product { sum: DType::F32, depth: 16 }),
        (DType::F32, DType::F32) => Some(Product { sum: DType::F32, depth: 8 }),
        (DType::E4m3 | DType::E5m2, DType::E4m3 | DType::E5m2) => Some(Product { sum: DType::F32, depth: 32 }),
        (DType::I8 | DType::U8, DType::I8 | DType::U8) => Some(Product { sum: DType::I32, depth: 32 }),
        _ => None,
    }
}

/// A product of operands with block scales on the tensor cores; sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaledProduct {
    /// Terms that share a scale.
    pub block: usize,
    /// The depth is a multiple of this: what one instruction sums.
    pub depth: usize,
}

/// The product of these element types with scales of this type along the depth: two FP4 operands with powers of two for 32 terms
/// (MXFP4) or E4M3 for 16 (NVFP4), 8-bit floats of either type with powers of two for 32 terms (MXFP8).
pub fn scaled_product_of(a: DType, b: DType, scales: DType) -> Option<ScaledProduct> {
    match (a, b, scales) {
        (DType::E2m1, DType::E2m1, DType::E8m0) => Some(ScaledProduct { block: 32, depth: 64 }),
        (DType::E2m1, DType::E2m1, DType::E4m3) => Some(ScaledProduct { block: 16, depth: 64 }),
        (DType::E4m3 | DType::E5m2, DType::E4m3 | DType::E5m2, DType::E8m0) => {
            Some(ScaledProduct { block: 32, depth: 32 })
        }
        _ => None,
    }
}
