//! What the kernel tests share: random numbers, matrices in all formats, launches.

#![allow(dead_code, reason = "no test uses all of it")]

use std::sync::Arc;
use tile_lang::DType;
use tile_lang::build::{Generic, KernelDef};
use tile_lang::interp::{ArgValue, Array, Options, Precision, launch};
use tile_models::checkpoint::{Matrix, WeightData};
use tile_models::quant;

/// Random numbers.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Between −1 and 1.
    pub fn number(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }

    /// Numbers that bf16 holds.
    pub fn bf16s(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| quant::bf16_round(self.number())).collect()
    }
}

/// Formats of matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Bf16,
    F32,
    Fp8,
    Mxfp4,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Bf16, Kind::F32, Kind::Fp8, Kind::Mxfp4];

    /// The generics that a kernel's blocks take in this format.
    pub fn blocks(self, bk: usize) -> Vec<Generic> {
        match self {
            Kind::Bf16 | Kind::F32 => vec![bk.into()],
            Kind::Fp8 => vec![bk.into(), (bk / 128).into()],
            Kind::Mxfp4 => vec![bk.into(), (bk / 32).into()],
        }
    }

    pub fn element(self) -> Vec<Generic> {
        match self {
            Kind::Bf16 => vec![DType::Bf16.into()],
            Kind::F32 => vec![DType::F32.into()],
            Kind::Fp8 | Kind::Mxfp4 => Vec::new(),
        }
    }

    /// Of a kernel's three variants.
    pub fn of(self, [plain, fp8, mxfp4]: [KernelDef; 3]) -> KernelDef {
        match self {
            Kind::Bf16 | Kind::F32 => plain,
            Kind::Fp8 => fp8,
            Kind::Mxfp4 => mxfp4,
        }
    }

    /// A random matrix.
    pub fn matrix(self, random: &mut Random, rows: usize, cols: usize) -> Matrix<'static> {
        let data = match self {
            Kind::Bf16 => {
                let x = random.bf16s(rows * cols);
                WeightData::Bf16(x.iter().flat_map(|v| quant::bf16_encode(*v).to_le_bytes()).collect::<Vec<_>>().into())
            }
            Kind::F32 => WeightData::F32(random.numbers(rows * cols)),
            Kind::Fp8 => WeightData::Fp8Block {
                codes: (0..rows * cols).map(|_| quant::e4m3_encode(4.0 * random.number())).collect::<Vec<_>>().into(),
                row_scales: (0..rows * cols.div_ceil(128)).map(|_| 0.1 + 0.05 * random.number()).collect(),
            },
            Kind::Mxfp4 => WeightData::Mxfp4 {
                codes: (0..rows * cols / 2).map(|_| random.bits() as u8).collect::<Vec<_>>().into(),
                scales: (0..rows * cols / 32).map(|_| 122 + random.below(4) as u8).collect::<Vec<_>>().into(),
            },
        };
        Matrix { name: "w".into(), rows, cols, data }
    }
}

/// The arguments of matrices that are stacked (`Some` axis in front) or one.
pub fn weights(kind: Kind, list: &[Matrix<'_>], stacked: bool) -> Vec<ArgValue> {
    let (n, k) = (list[0].rows, list[0].cols);
    let dims = |tail: [usize; 2]| if stacked { vec![list.len(), tail[0], tail[1]] } else { tail.to_vec() };
    let bytes = |d: DType, tail: [usize; 2], bytes: Vec<u8>| -> ArgValue {
        Arc::new(Array::from_bytes(d, dims(tail), Arc::new(bytes), 0).unwrap()).into()
    };
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for m in list {
        match &m.data {
            WeightData::Bf16(b) => codes.extend_from_slice(b),
            WeightData::F32(x) => codes.extend(x.iter().flat_map(|v| v.to_le_bytes())),
            WeightData::Fp8Block { codes: c, row_scales } => {
                codes.extend_from_slice(c);
                let blocks = k.div_ceil(128);
                let columns = (0..blocks).flat_map(|b| (0..n).map(move |r| r * blocks + b));
                scales.extend(columns.flat_map(|i| row_scales[i].to_le_bytes()));
            }
            WeightData::Mxfp4 { codes: c, scales: s } => {
                codes.extend_from_slice(c);
                scales.extend_from_slice(s);
            }
        }
    }
    match kind {
        Kind::Bf16 => vec![bytes(DType::Bf16, [n, k], codes)],
        Kind::F32 => vec![bytes(DType::F32, [n, k], codes)],
        Kind::Fp8 => vec![bytes(DType::E4m3, [n, k], codes), bytes(DType::F32, [k.div_ceil(128), n], scales)],
        Kind::Mxfp4 => vec![bytes(DType::E2m1, [n, k], codes), bytes(DType::E8m0, [n, k / 32], scales)],
    }
}

pub fn reals(d: DType, dims: &[usize], x: &[f32]) -> Arc<Array> {
    Arc::new(Array::from_f32(d, dims, x).unwrap())
}

pub fn integers(dims: &[usize], x: &[i32]) -> Arc<Array> {
    Arc::new(Array::from_i32(DType::I32, dims, x).unwrap())
}

pub fn zeros(d: DType, dims: &[usize]) -> Arc<Array> {
    Arc::new(Array::zeros(d, dims))
}

/// An array that shows what was not written.
pub fn marked(d: DType, dims: &[usize]) -> Arc<Array> {
    reals(d, dims, &vec![MARK; dims.iter().product()])
}

/// What [`marked`] arrays hold.
pub const MARK: f32 = 12345.0;

/// Runs a kernel.
pub fn run(def: KernelDef, generics: &[Generic], args: &[ArgValue], precision: Precision) {
    let kernel = def.instance(generics).unwrap();
    launch(&kernel, args, Options { precision }).unwrap();
}

/// Asserts that two lists are the same up to `tolerance` of the largest number wanted.
#[track_caller]
pub fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= tolerance * largest, "{what}: element {i} is {a}, expected {b} (largest {largest})");
    }
}
