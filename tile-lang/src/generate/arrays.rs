//! The arrays that generated kernels work on: their extents follow from the kernel's generics, their contents from its seed.

use super::{Random, Shape};
use crate::dtype::DType;
use crate::ir::{Access, Kernel, Type};

/// The output whose values need only be near, within the generic `NEAR`.
pub const NEAR: &str = "near";

/// Values of `near` for each work item.
pub(super) const NEAR_SLOTS: usize = 3;

/// Elements of each array that atomic ops join into.
pub(super) const CELLS: usize = 64;

/// Staged tiles along the axis of a weight or array that is staged.
pub(super) const STAGED: usize = 4;

/// What an array is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub name: &'static str,
    pub dtype: DType,
    pub access: Access,
    /// Bounds of what it holds: magnitude and fraction, as powers of two.
    pub holds: (i32, i32),
}

const fn array(name: &'static str, dtype: DType, access: Access, holds: (i32, i32)) -> Declared {
    Declared { name, dtype, access, holds }
}

/// All arrays. The kernel has those that it uses.
pub(super) const ARRAYS: [Declared; 39] = [
    // For loads, with edges that no tile divides.
    array("f32s", DType::F32, Access::Read, (3, 2)),
    array("bf16s", DType::Bf16, Access::Read, (1, 2)),
    array("f16s", DType::F16, Access::Read, (3, 2)),
    array("e4m3s", DType::E4m3, Access::Read, (1, 2)),
    array("e5m2s", DType::E5m2, Access::Read, (1, 2)),
    array("i8s", DType::I8, Access::Read, (7, 0)),
    array("u8s", DType::U8, Access::Read, (8, 0)),
    array("i32s", DType::I32, Access::Read, (31, 0)),
    array("bools", DType::Bool, Access::Read, (0, 0)),
    array("vector", DType::F32, Access::Read, (3, 2)),
    // Weights, staged in tiles of one shape each.
    array("wa", DType::Bf16, Access::Weight, (1, 2)),
    array("wb", DType::Bf16, Access::Weight, (1, 2)),
    array("wr", DType::F32, Access::Weight, (1, 2)),
    array("w8", DType::E4m3, Access::Weight, (1, 2)),
    array("w5", DType::E5m2, Access::Weight, (1, 2)),
    array("w4", DType::E2m1, Access::Weight, (3, 1)),
    array("wi", DType::I8, Access::Weight, (7, 0)),
    array("scales", DType::E8m0, Access::Weight, (1, 1)),
    array("fine_scales", DType::E4m3, Access::Weight, (1, 2)),
    // Staged, but no weights.
    array("cache", DType::Bf16, Access::Read, (1, 2)),
    array("rows", DType::F32, Access::Read, (1, 2)),
    // Indices for data that decides where data is.
    array("table", DType::I32, Access::Read, (2, 0)),
    // What is written.
    array("hash", DType::I32, Access::Write, (31, 0)),
    array(NEAR, DType::F32, Access::Write, (3, 2)),
    array("reals", DType::F32, Access::Write, (3, 2)),
    array("halves", DType::F16, Access::Write, (3, 2)),
    array("narrow", DType::Bf16, Access::Write, (1, 2)),
    array("bytes", DType::E4m3, Access::Write, (1, 2)),
    array("masked", DType::F32, Access::Write, (3, 2)),
    array("cells", DType::I32, Access::Write, (31, 0)),
    // Written in another order.
    array("moved", DType::F32, Access::Write, (3, 2)),
    array("tokens", DType::I32, Access::Write, (31, 0)),
    // Joined into by all items, each with one op.
    array("sums", DType::I32, Access::Write, (31, 0)),
    array("tops", DType::I32, Access::Write, (31, 0)),
    array("lows", DType::I32, Access::Write, (31, 0)),
    array("ors", DType::I32, Access::Write, (31, 0)),
    array("ands", DType::I32, Access::Write, (31, 0)),
    array("xors", DType::I32, Access::Write, (31, 0)),
    array("totals", DType::F32, Access::Write, (3, 2)),
];

/// Terms of a group that a scale is for.
pub(super) fn group(scales: &str) -> usize {
    if scales == "fine_scales" { 16 } else { 32 }
}

/// The array of this name.
pub(super) fn declared(name: &str) -> Option<Declared> {
    ARRAYS.into_iter().find(|a| a.name == name)
}

/// Extents of an array.
pub(super) fn dims(name: &str, s: Shape) -> Vec<usize> {
    let Shape { m, n, k, items } = s;
    let count = items[0] * items[1];
    let wide = n.max(k);
    match name {
        "vector" => vec![2 * wide + 3],
        "wa" | "w8" | "w5" | "w4" | "wi" => vec![STAGED * m, STAGED * k],
        "scales" | "fine_scales" => vec![STAGED * m, STAGED * k / group(name)],
        "wb" => vec![STAGED * k, STAGED * n],
        "wr" => vec![STAGED * m, STAGED * n],
        "cache" => vec![STAGED, k, n],
        "rows" => vec![STAGED * m, n],
        "table" => vec![7],
        "hash" | "reals" | "halves" | "narrow" | "bytes" | "masked" | "moved" | "tokens" => vec![count * m, n],
        "sums" | "tops" | "lows" | "ors" | "ands" | "xors" | "totals" => vec![CELLS],
        NEAR => vec![count * NEAR_SLOTS * m, n],
        "cells" => vec![count, 4],
        _ => vec![2 * m.max(k) + 5, 2 * wide + 7],
    }
}

/// What a parameter is bound to.
#[derive(Clone, Debug, PartialEq)]
pub enum Contents {
    /// Reals, to be rounded to the element type, which all of them are of already.
    Reals(Vec<f32>),
    /// Integers or truth values.
    Integers(Vec<i32>),
    /// A number.
    F32(f32),
    /// A number.
    I32(i32),
    /// A truth value.
    Bool(bool),
}

/// A parameter with what it is bound to.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Extents of an array.
    pub dims: Vec<usize>,
    /// What it holds at the start.
    pub contents: Contents,
}

/// The value of a generic.
fn generic<T: std::str::FromStr>(kernel: &Kernel, name: &str) -> Result<T, String> {
    let found = kernel.generics.iter().find(|(n, _)| n == name);
    let text = found.map(|(_, v)| v.as_str()).ok_or_else(|| format!("the kernel has no generic {name}"))?;
    text.parse().map_err(|_| format!("the generic {name} can't be {text}"))
}

/// Inputs of a generated kernel, by its generics and the names of its parameters.
///
/// # Errors
/// The kernel is not one of this module's.
pub fn inputs(kernel: &Kernel) -> Result<Vec<Input>, String> {
    let shape = Shape {
        m: generic(kernel, "M")?,
        n: generic(kernel, "N")?,
        k: generic(kernel, "K")?,
        items: [generic(kernel, "I")?, generic(kernel, "J")?],
    };
    let seed: u64 = generic(kernel, "SEED")?;
    let bind = |p: &crate::ir::Param| {
        let key = p.name.bytes().fold(seed, |key, b| Random(key ^ u64::from(b)).bits());
        let mut random = Random(key);
        let ty = kernel.ty(p.value).clone();
        let (dims, contents) = match (&ty, p.name.as_str()) {
            (Type::Global(dtype, ..), name) => {
                let known = declared(name).filter(|a| a.dtype == *dtype);
                let known = known.ok_or_else(|| format!("`{name}` is no array of generated kernels"))?;
                let dims = dims(name, shape);
                let count = dims.iter().product();
                let contents = match dtype {
                    DType::I32 | DType::I8 | DType::U8 | DType::Bool => {
                        Contents::Integers((0..count).map(|_| integer(&known, &mut random)).collect())
                    }
                    _ => Contents::Reals((0..count).map(|_| real(&known, &mut random)).collect()),
                };
                (dims, contents)
            }
            (Type::Scalar(DType::I32), _) => (Vec::new(), Contents::I32(random.below(5) as i32)),
            (Type::Scalar(DType::Bool), _) => (Vec::new(), Contents::Bool(random.below(2) == 0)),
            _ => (Vec::new(), Contents::F32((random.below(33) as f32 - 16.0) / 4.0)),
        };
        Ok(Input { name: p.name.clone(), ty, dims, contents })
    };
    kernel.params.iter().map(bind).collect()
}

/// How far what `near` holds may be off on a machine that approximates functions.
///
/// # Errors
/// The kernel is not one of this module's.
pub fn near_bound(kernel: &Kernel) -> Result<f64, String> {
    generic(kernel, "NEAR")
}

fn integer(array: &Declared, random: &mut Random) -> i32 {
    match (array.name, array.dtype) {
        ("table", _) => random.below(STAGED) as i32,
        (_, DType::Bool) => random.below(2) as i32,
        (_, DType::I8) => random.below(255) as i32 - 127,
        (_, DType::U8) => random.below(256) as i32,
        // Small ones and large ones, for arithmetic that wraps.
        _ if random.below(4) > 0 => random.below(41) as i32 - 20,
        _ => random.bits() as i32,
    }
}

fn real(array: &Declared, random: &mut Random) -> f32 {
    let (magnitude, fraction) = array.holds;
    match array.dtype {
        DType::E8m0 => [0.5, 1.0, 2.0][random.below(3)],
        DType::E2m1 => {
            [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0][random.below(15)]
        }
        _ => {
            // Four significant bits at most: they fit even E4M3; up to 2 in steps of 1/4 they fit E5M2 too.
            let most = 1i32 << (magnitude + fraction);
            (random.below((2 * most + 1) as usize) as i32 - most) as f32 / (1u32 << fraction) as f32
        }
    }
}
