//! Products of an FP4 weight with many rows of activations in bf16, for prompts and dense work: y = x·Wᵀ.
//!
//! The weight is the product's first operand here, so that warpgroups unpack its codes into the registers that they multiply from, and rows of
//! activations are its columns; the result is stored transposed. Codes times their block's scale are exact in bf16: a power of two for 32
//! columns in MXFP4, and for 16 columns an E4M3 number of 4 significant bits in NVFP4, where a code has 2.
//!
//! One item makes BM rows × BN outputs and walks the columns in steps of BK; what lies outside the arrays counts as zero.

use super::mlp::gated;
use tile_lang::dsl::*;
use tile_lang::tile;

/// y = x·Wᵀ for an MXFP4 weight: codes `w` [N, K], `scales` [N, K/32], `x` [M, K], `y` [M, N]. A step has BK = 32·BS columns.
#[tile::kernel(crate = tile_lang)]
pub fn project_mxfp4<Y: Elem, const BM: usize, const BN: usize, const BK: usize, const BS: usize>(
    w: &Weight<e2m1, 2>,
    scales: &Weight<e8m0, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<Y, 2>,
) {
    require!(32 * BS == BK, scales.dim(1) * 32 == w.dim(1), scales.dim(0) == w.dim(0));
    require!(w.dim(1) == x.dim(1), y.dim(0) == x.dim(0), y.dim(1) == w.dim(0));
    let [j, i] = work([cdiv(w.dim(0), BN), cdiv(x.dim(0), BM)]);
    let mut acc = Tile::<f32, BN, BM>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let rows = x.stage::<Smem<bf16, BM, BK>>([i, k]);
        let codes = w.stage::<Smem<e2m1, BN, BK>>([j, k]);
        let blocks = scales.stage::<Smem<e8m0, BN, BS>>([j, k]);
        acc.mma(codes.cast::<bf16>() * blocks.cast::<bf16>().repeat::<BK>(), rows.t());
    }
    y.store([i, j], acc.cast::<Y>().t());
}

/// y = scale·x·Wᵀ for an NVFP4 weight: as [`project_mxfp4`], with a scale of E4M3 for 16 columns, `scales` [N, K/16], and `scale`, that of the
/// whole weight. A step has BK = 16·BS columns.
#[tile::kernel(crate = tile_lang)]
pub fn project_nvfp4<Y: Elem, const BM: usize, const BN: usize, const BK: usize, const BS: usize>(
    w: &Weight<e2m1, 2>,
    scales: &Weight<e4m3, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<Y, 2>,
    scale: f32,
) {
    require!(16 * BS == BK, scales.dim(1) * 16 == w.dim(1), scales.dim(0) == w.dim(0));
    require!(w.dim(1) == x.dim(1), y.dim(0) == x.dim(0), y.dim(1) == w.dim(0));
    let [j, i] = work([cdiv(w.dim(0), BN), cdiv(x.dim(0), BM)]);
    let mut acc = Tile::<f32, BN, BM>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let rows = x.stage::<Smem<bf16, BM, BK>>([i, k]);
        let codes = w.stage::<Smem<e2m1, BN, BK>>([j, k]);
        let blocks = scales.stage::<Smem<e4m3, BN, BS>>([j, k]);
        acc.mma(codes.cast::<bf16>() * blocks.cast::<bf16>().repeat::<BK>(), rows.t());
    }
    y.store([i, j], (acc * scale).cast::<Y>().t());
}

/// y += x·Wᵀ on an f32 residual, with a weight as in [`project_mxfp4`]: `y` [M, N].
#[tile::kernel(crate = tile_lang)]
pub fn project_add_mxfp4<const BM: usize, const BN: usize, const BK: usize, const BS: usize>(
    w: &Weight<e2m1, 2>,
    scales: &Weight<e8m0, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<f32, 2>,
) {
    require!(32 * BS == BK, scales.dim(1) * 32 == w.dim(1), scales.dim(0) == w.dim(0));
    require!(w.dim(1) == x.dim(1), y.dim(0) == x.dim(0), y.dim(1) == w.dim(0));
    let [j, i] = work([cdiv(w.dim(0), BN), cdiv(x.dim(0), BM)]);
    let mut acc = Tile::<f32, BN, BM>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let rows = x.stage::<Smem<bf16, BM, BK>>([i, k]);
        let codes = w.stage::<Smem<e2m1, BN, BK>>([j, k]);
        let blocks = scales.stage::<Smem<e8m0, BN, BS>>([j, k]);
        acc.mma(codes.cast::<bf16>() * blocks.cast::<bf16>().repeat::<BK>(), rows.t());
    }
    y.store([i, j], y.load::<Tile<f32, BM, BN>>([i, j]) + acc.t());
}

/// y = silu(x·Gᵀ) · (x·Uᵀ), with weights as in [`project_mxfp4`]: `gate`, `up` [N, K], `y` [M, N].
#[tile::kernel(crate = tile_lang)]
pub fn project_gated_mxfp4<const BM: usize, const BN: usize, const BK: usize, const BS: usize>(
    gate: &Weight<e2m1, 2>,
    gate_scales: &Weight<e8m0, 2>,
    up: &Weight<e2m1, 2>,
    up_scales: &Weight<e8m0, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<bf16, 2>,
) {
    require!(32 * BS == BK, gate_scales.dim(1) * 32 == gate.dim(1), gate_scales.dim(0) == gate.dim(0));
    require!(up_scales.dim(1) == gate_scales.dim(1), up_scales.dim(0) == up.dim(0), up.dim(1) == gate.dim(1));
    require!(gate.dim(1) == x.dim(1), y.dim(0) == x.dim(0), y.dim(1) == gate.dim(0), up.dim(0) == gate.dim(0));
    let [j, i] = work([cdiv(gate.dim(0), BN), cdiv(x.dim(0), BM)]);
    let mut g = Tile::<f32, BN, BM>::zero();
    let mut u = Tile::<f32, BN, BM>::zero();
    for k in 0..cdiv(gate.dim(1), BK) {
        let rows = x.stage::<Smem<bf16, BM, BK>>([i, k]);
        let gate_codes = gate.stage::<Smem<e2m1, BN, BK>>([j, k]);
        let gate_blocks = gate_scales.stage::<Smem<e8m0, BN, BS>>([j, k]);
        let up_codes = up.stage::<Smem<e2m1, BN, BK>>([j, k]);
        let up_blocks = up_scales.stage::<Smem<e8m0, BN, BS>>([j, k]);
        g.mma(gate_codes.cast::<bf16>() * gate_blocks.cast::<bf16>().repeat::<BK>(), rows.t());
        u.mma(up_codes.cast::<bf16>() * up_blocks.cast::<bf16>().repeat::<BK>(), rows.t());
    }
    y.store([i, j], gated::<BN, BM>(g, u).cast::<bf16>().t());
}
