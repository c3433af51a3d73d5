//! Products of two activations in all orders of operands, and batches of them.

use super::builder::{Build, Built, F32_ERROR, rounded};
use tile_lang::DType::{self, Bf16, E4m3, E5m2, F16, F32};
use tile_lang::build::KernelDef;
use tile_models::kernels::gemm;
use tile_models::reference::ops;

/// How the operands are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A [M, K], B [N, K].
    Nt,
    /// A [M, K], B [K, N].
    Nn,
    /// A [K, M], B [K, N].
    Tn,
    /// A [K, M], B [N, K].
    Tt,
}

impl Order {
    fn kernel(self) -> KernelDef {
        match self {
            Order::Nt => gemm::gemm::DEF,
            Order::Nn => gemm::gemm_nn::DEF,
            Order::Tn => gemm::gemm_tn::DEF,
            Order::Tt => gemm::gemm_tt::DEF,
        }
    }
}

/// One product: extents, types, tile.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    /// How A and B are stored.
    pub order: Order,
    /// Rows and columns of C, terms.
    pub extents: [usize; 3],
    /// The operands' type.
    pub x: DType,
    /// Result's type.
    pub y: DType,
    /// Rows, columns and terms of a tile.
    pub tile: [usize; 3],
    /// One of so many rows of C is compared.
    pub every: usize,
}

/// The error allowed. Of millions of results some are eight times the root mean square, and where the f32 sums lie near the middle of
/// two bf16 or f16 numbers the order of the sum decides: one unit in the last place there.
pub(super) fn error(y: DType) -> f64 {
    match y {
        Bf16 => 8.0 / 256.0 + 1e-3,
        F16 => 8.0 / 2048.0 + 1e-3,
        _ => F32_ERROR,
    }
}

/// What stands for a type in a case's name: nothing for bf16.
pub(super) fn prefix(x: DType) -> String {
    if x == Bf16 { String::new() } else { format!("{x}_") }
}

/// The transpose of a matrix with this many rows.
fn turned(x: &[f32], rows: usize) -> Vec<f32> {
    let columns = x.len() / rows;
    (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect()
}

/// C of one order.
pub fn gemm_case(g: Gemm) -> Built {
    let Gemm { order, extents: [m, n, k], x, y, tile: [bm, bn, bk], every } = g;
    let def = order.kernel();
    let mut case = Build::new(def.name, &format!("{}{m}x{n}x{k}_{y}_{bm}x{bn}x{bk}", prefix(x)));
    case.flops = (2 * m * n * k) as u64;
    // Results stay far from what the output holds at the start.
    let first = matches!(order, Order::Tn | Order::Tt);
    let second = matches!(order, Order::Nn | Order::Tn);
    let a = case.rows(x, &if first { [k, m] } else { [m, k] }, 1.0 / 16.0);
    let b = case.rows(x, &if second { [k, n] } else { [n, k] }, 1.0);
    let c = case.out(y, &[m, n]);
    let expect = move || {
        let a = if first { turned(&a, k) } else { a.clone() };
        let b = if second { turned(&b, k) } else { b.clone() };
        if every == 1 {
            return vec![c.reals(rounded(y, ops::linear_f32(&a, &b, n)))];
        }
        let some: Vec<f32> = a.chunks(k).step_by(every).flatten().copied().collect();
        vec![c.some_rows(n, every, rounded(y, ops::linear_f32(&some, &b, n)))]
    };
    case.finish(def, &[x.into(), y.into(), bm.into(), bn.into(), bk.into()], x.name(), error(y), Box::new(expect))
}

/// `z` products of one shape; with `shared` they have one B.
fn batched_case(z: usize, shared: usize, g: Gemm) -> Built {
    let Gemm { extents: [m, n, k], x, y, tile: [bm, bn, bk], .. } = g;
    let def = gemm::gemm_batched::DEF;
    let mut case = Build::new(def.name, &format!("{}{z}x{shared}x{m}x{n}x{k}_{y}_{bm}x{bn}x{bk}", prefix(x)));
    case.flops = (2 * z * m * n * k) as u64;
    let a = case.rows(x, &[z, m, k], 1.0 / 16.0);
    let b = case.rows(x, &[shared, n, k], 1.0);
    let c = case.out(y, &[z, m, n]);
    let expect = move || {
        let one = |(i, a): (usize, &[f32])| ops::linear_f32(a, &b[i % shared * n * k..][..n * k], n);
        vec![c.reals(rounded(y, a.chunks(m * k).enumerate().flat_map(one).collect()))]
    };
    case.finish(def, &[x.into(), y.into(), bm.into(), bn.into(), bk.into()], x.name(), error(y), Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    use Order::{Nn, Nt, Tn, Tt};
    let tile = [128, 256, 64];
    let shapes = [
        (Nt, [128, 256, 192], Bf16, Bf16, tile),
        (Nt, [300, 520, 136], Bf16, F32, tile),
        (Nt, [37, 1000, 72], Bf16, Bf16, [128, 128, 64]),
        (Nt, [130, 64, 264], Bf16, F32, [128, 64, 128]),
        // Too narrow for warpgroups.
        (Nt, [64, 48, 80], Bf16, F32, [64, 32, 64]),
        (Nt, [150, 270, 72], F16, F16, tile),
        (Nn, [140, 264, 136], Bf16, Bf16, tile),
        (Nn, [37, 72, 200], F16, F32, [128, 128, 64]),
        (Tn, [136, 264, 70], F16, F16, tile),
        (Tn, [40, 72, 129], Bf16, F32, [128, 64, 64]),
        (Tn, [264, 64, 8], Bf16, Bf16, [128, 64, 64]),
        (Tt, [136, 264, 72], Bf16, Bf16, tile),
        (Tt, [72, 300, 200], F16, F32, [128, 128, 64]),
        // 8-bit operands whose terms don't run along the rows: no products of warpgroups.
        (Nn, [40, 80, 64], E4m3, F32, [128, 64, 64]),
        (Tt, [48, 70, 80], E5m2, F32, [64, 32, 64]),
        // One row, one column, one block of terms.
        (Nt, [1, 1, 8], Bf16, F32, tile),
        (Nn, [1, 8, 8], Bf16, F32, tile),
    ];
    let all = shapes.map(|(order, extents, x, y, tile)| gemm_case(Gemm { order, extents, x, y, tile, every: 1 }));
    let of = |extents, y| Gemm { order: Nt, extents, x: Bf16, y, tile: [128, 128, 64], every: 1 };
    let batches = [
        batched_case(3, 3, of([70, 136, 72], Bf16)),
        batched_case(4, 1, of([130, 40, 136], F32)),
        batched_case(2, 2, Gemm { x: F16, ..of([1, 3, 8], F16) }),
    ];
    all.into_iter().chain(batches).collect()
}
