//! Products of a weight with many rows, for prompts: y = x·Wᵀ with the rows of activations as the product's rows.
//!
//! One item makes BM rows × BN outputs and walks the columns in steps of BK; what lies outside the arrays counts as zero. Items that use the
//! same part of the weight are neighbours. [`super::linear`] does the same for few rows, which are the product's columns there; the weight is
//! stored in another order for it.

use super::mlp::gated;
use tile_lang::dsl::*;
use tile_lang::tile;

/// y = x·Wᵀ: `w` [N, K], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn project<Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    w: &Weight<bf16, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<Y, 2>,
) {
    require!(w.dim(1) == x.dim(1), y.dim(0) == x.dim(0), y.dim(1) == w.dim(0));
    let [j, i] = work([cdiv(w.dim(0), BN), cdiv(x.dim(0), BM)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<bf16, BN, BK>>([j, k]);
        let rows = x.stage::<Smem<bf16, BM, BK>>([i, k]);
        acc.mma(rows, codes.t());
    }
    y.store([i, j], acc.cast::<Y>());
}

/// y += x·Wᵀ on an f32 residual: `w` [N, K], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn project_add<const BM: usize, const BN: usize, const BK: usize>(
    w: &Weight<bf16, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<f32, 2>,
) {
    require!(w.dim(1) == x.dim(1), y.dim(0) == x.dim(0), y.dim(1) == w.dim(0));
    let [j, i] = work([cdiv(w.dim(0), BN), cdiv(x.dim(0), BM)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<bf16, BN, BK>>([j, k]);
        let rows = x.stage::<Smem<bf16, BM, BK>>([i, k]);
        acc.mma(rows, codes.t());
    }
    y.store([i, j], y.load::<Tile<f32, BM, BN>>([i, j]) + acc);
}

/// y = silu(x·Gᵀ) · (x·Uᵀ): `gate`, `up` [N, K], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn project_gated<const BM: usize, const BN: usize, const BK: usize>(
    gate: &Weight<bf16, 2>,
    up: &Weight<bf16, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<bf16, 2>,
) {
    require!(gate.dim(1) == x.dim(1), y.dim(0) == x.dim(0), y.dim(1) == gate.dim(0));
    require!(up.dim(0) == gate.dim(0), up.dim(1) == gate.dim(1));
    let [j, i] = work([cdiv(gate.dim(0), BN), cdiv(x.dim(0), BM)]);
    let mut g = Tile::<f32, BM, BN>::zero();
    let mut u = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(gate.dim(1), BK) {
        let gate_codes = gate.stage::<Smem<bf16, BN, BK>>([j, k]);
        let up_codes = up.stage::<Smem<bf16, BN, BK>>([j, k]);
        let rows = x.stage::<Smem<bf16, BM, BK>>([i, k]);
        g.mma(rows, gate_codes.t());
        u.mma(rows, up_codes.t());
    }
    y.store([i, j], gated::<BM, BN>(g, u).cast::<bf16>());
}
