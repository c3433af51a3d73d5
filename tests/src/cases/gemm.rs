//! Products of two activations.

use super::builder::{Build, Built, F32_ERROR, to_bf16};
use tile_lang::DType::{self, Bf16, F32};
use tile_models::kernels::gemm;
use tile_models::reference::ops;

/// One product: extents, the result's type, tile.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    /// Rows of A and C.
    pub m: usize,
    /// Rows of B, columns of C.
    pub n: usize,
    /// Columns of A and B.
    pub k: usize,
    /// Result's type.
    pub y: DType,
    /// Rows, columns and terms of a tile.
    pub tile: [usize; 3],
}

/// The error allowed. Of millions of results some are eight times the root mean square, and where the f32 sums lie near the middle of
/// two bf16 numbers the order of the sum decides: one unit in the last place there.
pub(super) fn error(y: DType) -> f64 {
    if y == Bf16 { 8.0 / 256.0 + 1e-3 } else { F32_ERROR }
}

/// C = A·Bᵀ.
pub fn gemm_case(g: Gemm) -> Built {
    let [bm, bn, bk] = g.tile;
    let mut case = Build::new(gemm::gemm::DEF.name, &format!("{}x{}x{}_{}_{bm}x{bn}x{bk}", g.m, g.n, g.k, g.y));
    case.flops = (2 * g.m * g.n * g.k) as u64;
    // Results stay far from what the output holds at the start.
    let a = case.rows(Bf16, &[g.m, g.k], 1.0 / 16.0);
    let b = case.rows(Bf16, &[g.n, g.k], 1.0);
    let c = case.out(g.y, &[g.m, g.n]);
    let expect = move || {
        let out = ops::linear_f32(&a, &b, g.n);
        vec![c.reals(if g.y == Bf16 { to_bf16(out) } else { out })]
    };
    case.finish(gemm::gemm::DEF, &[g.y.into(), bm.into(), bn.into(), bk.into()], "bf16", error(g.y), Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let tile = [128, 256, 64];
    let shapes = [
        ([128, 256, 192], Bf16, tile),
        ([300, 520, 136], F32, tile),
        ([37, 1000, 72], Bf16, [128, 128, 64]),
        ([130, 64, 264], F32, [128, 64, 128]),
        // Too narrow for warpgroups.
        ([64, 48, 80], F32, [64, 32, 64]),
    ];
    shapes.into_iter().map(|([m, n, k], y, tile)| gemm_case(Gemm { m, n, k, y, tile })).collect()
}
