//! Products by warpgroups in every order of operands and of every element type that they take.

use super::builder::{Build, Built, F32_ERROR, numbers};
use super::{Case, Expected};
use tile_lang::DType::{self, Bf16, E4m3, E5m2, F16, F32, I8, I32, U8};
use tile_lang::build::KernelDef;
use tile_lang::dsl::*;
use tile_lang::interp::round_to;
use tile_lang::schedule::Schedule;
use tile_lang::tile;

/// C = A·B: `a` [M, K], `b` [K, N], both as they are stored; B's terms run down its columns.
#[tile::kernel(crate = tile_lang)]
fn rows_by_rows<const BM: usize, const BN: usize>(a: &Global<bf16, 2>, b: &Global<bf16, 2>, c: &mut Global<f32, 2>) {
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(1), BN)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(1), 64) {
        acc.mma(a.stage::<Smem<bf16, BM, 64>>([i, k]), b.stage::<Smem<bf16, 64, BN>>([k, j]));
    }
    c.store([i, j], acc);
}

/// C = Aᵀ·Bᵀ: `a` [K, M], `b` [N, K]; A's terms run down its columns. Parts of wider tiles are multiplied.
#[tile::kernel(crate = tile_lang)]
fn columns_by_columns(a: &Global<f16, 2>, b: &Global<f16, 2>, c: &mut Global<f32, 2>) {
    let [i, j] = work([cdiv(a.dim(1), 128), cdiv(b.dim(0), 64)]);
    let mut acc = Tile::<f32, 128, 64>::zero();
    for k in 0..cdiv(a.dim(0), 96) {
        let at = a.stage::<Smem<f16, 96, 128>>([k, i]);
        for part in 0..3 {
            let bt = b.stage_at::<Smem<f16, 64, 64>>([j * 64, k * 96 + (part * 32) as i32]);
            acc.mma(at.slice::<32, 128>(part * 32, 0).t(), bt.slice::<64, 32>(0, 0).t());
        }
    }
    c.store([i, j], acc);
}

/// C = A·B with A from registers, made anew in each step: A is negated there.
#[tile::kernel(crate = tile_lang)]
fn registers_by_rows(a: &Global<bf16, 2>, b: &Global<bf16, 2>, c: &mut Global<f32, 2>) {
    let [i, j] = work([cdiv(a.dim(0), 128), cdiv(b.dim(1), 128)]);
    let mut acc = Tile::<f32, 128, 128>::zero();
    for k in 0..cdiv(a.dim(1), 64) {
        let left = a.load::<Tile<bf16, 128, 64>>([i, k]).cast::<f32>() * -1.0;
        acc.mma(left.cast::<bf16>(), b.stage::<Smem<bf16, 64, 128>>([k, j]));
    }
    c.store([i, j], acc);
}

/// C = A·Bᵀ with A kept for all columns: `a` [M, 64] is loaded before the loop over columns of C.
#[tile::kernel(crate = tile_lang)]
fn kept_by_columns(a: &Global<f16, 2>, b: &Global<f16, 2>, c: &mut Global<f32, 2>) {
    let [i] = work([cdiv(a.dim(0), 128)]);
    let left = a.load::<Tile<f16, 128, 64>>([i, 0]);
    for j in 0..cdiv(b.dim(0), 64) {
        let mut acc = Tile::<f32, 128, 64>::full(1.0);
        acc.mma(left, b.stage::<Smem<f16, 64, 64>>([j, 0]).t());
        c.store([i, j], acc - 1.0);
    }
}

/// C = A·Bᵀ of 8-bit floats.
#[tile::kernel(crate = tile_lang)]
fn floats_by_columns(a: &Global<e4m3, 2>, b: &Global<e5m2, 2>, c: &mut Global<f32, 2>) {
    let [i, j] = work([cdiv(a.dim(0), 128), cdiv(b.dim(0), 64)]);
    let mut acc = Tile::<f32, 128, 64>::zero();
    for k in 0..cdiv(a.dim(1), 128) {
        acc.mma(a.stage::<Smem<e4m3, 128, 128>>([i, k]), b.stage::<Smem<e5m2, 64, 128>>([j, k]).t());
    }
    c.store([i, j], acc);
}

/// C = A·Bᵀ of bytes.
#[tile::kernel(crate = tile_lang)]
fn bytes_by_columns(a: &Global<i8, 2>, b: &Global<u8, 2>, c: &mut Global<i32, 2>) {
    let [i, j] = work([cdiv(a.dim(0), 128), cdiv(b.dim(0), 128)]);
    let mut acc = Tile::<i32, 128, 128>::zero();
    for k in 0..cdiv(a.dim(1), 128) {
        acc.mma(a.stage::<Smem<i8, 128, 128>>([i, k]), b.stage::<Smem<u8, 128, 128>>([j, k]).t());
    }
    c.store([i, j], acc);
}

/// A product of M × N × K.
struct Wide {
    def: KernelDef,
    generics: Vec<usize>,
    /// Types of A, B, C.
    types: [DType; 3],
    extents: [usize; 3],
    /// Whether A, and B, are stored as transposes: [K, M], [N, K].
    turned: [bool; 2],
    /// What multiplies each product.
    factor: f64,
    schedule: Option<Schedule>,
}

fn wide_case(w: Wide) -> Built {
    let Wide { def, generics, types, extents: [m, n, k], turned, factor, schedule } = w;
    let mut case =
        Build::new(def.name, &format!("{}x{m}x{n}x{k}{}", types[0], if schedule.is_some() { "_half" } else { "" }));
    case.flops = (2 * m * n * k) as u64;
    let mut operand = |rows: usize, columns: usize, turned: bool, d: DType| -> Vec<f64> {
        let element = |bits: u64, normal: f32| match d {
            I8 => f64::from(bits as i8),
            U8 => f64::from(bits as u8),
            _ => f64::from(round_to(d, normal)),
        };
        let x: Vec<f64> = (0..rows * columns).map(|_| element(case.random.bits(), case.random.normal())).collect();
        case.numbers(d, &if turned { [columns, rows] } else { [rows, columns] }, &x);
        // Rows first, whatever is stored.
        if turned { (0..rows * columns).map(|i| x[i % columns * rows + i / columns]).collect() } else { x }
    };
    let (a, b) = (operand(m, k, turned[0], types[0]), operand(k, n, turned[1], types[1]));
    let buffer = if types[2] == F32 { case.out(F32, &[m, n]).buffer } else { case.out_integers(&[m, n]).buffer };
    let expect = move || {
        let mut sums = vec![0.0f64; m * n];
        for (row, sums) in sums.chunks_exact_mut(n).enumerate() {
            for t in 0..k {
                let x = factor * a[row * k + t];
                sums.iter_mut().zip(&b[t * n..]).for_each(|(s, y)| *s += x * y);
            }
        }
        vec![Expected { buffer, data: numbers(types[2], &sums), magnitudes: None }]
    };
    let generics: Vec<_> = generics.into_iter().map(Into::into).collect();
    let mut kernel = def.instance(&generics).map_err(|e| format!("{}: {e}", def.name))?;
    if let Some(schedule) = schedule {
        kernel = schedule.attach(kernel).map_err(|e| format!("{}: {e}", def.name))?;
    }
    let error = if types[2] == F32 { F32_ERROR } else { 0.0 };
    case.finish_kernel(kernel, types[0].name(), error, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<Case>, String> {
    let usual = |def, types, extents, turned| Wide {
        def,
        generics: Vec::new(),
        types,
        extents,
        turned,
        factor: 1.0,
        schedule: None,
    };
    let ab = |tile: [usize; 2], extents| Wide {
        generics: tile.to_vec(),
        ..usual(rows_by_rows::DEF, [Bf16, Bf16, F32], extents, [false, false])
    };
    let half = || Schedule::new().warps("consumer", 4);
    [
        ab([128, 256], [130, 264, 200]),
        ab([128, 64], [37, 136, 72]),
        // One warpgroup.
        Wide { schedule: Some(half()), ..ab([64, 128], [70, 200, 136]) },
        usual(columns_by_columns::DEF, [F16, F16, F32], [136, 72, 104], [true, true]),
        Wide { factor: -1.0, ..usual(registers_by_rows::DEF, [Bf16, Bf16, F32], [150, 144, 72], [false, false]) },
        usual(kept_by_columns::DEF, [F16, F16, F32], [200, 150, 64], [false, true]),
        usual(floats_by_columns::DEF, [E4m3, E5m2, F32], [129, 70, 272], [false, true]),
        usual(bytes_by_columns::DEF, [I8, U8, I32], [140, 130, 144], [false, true]),
    ]
    .into_iter()
    .map(wide_case)
    .collect()
}
