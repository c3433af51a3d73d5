//! The first half of a gated MLP: y = silu(G·x) · (U·x). The second half is [`super::linear::linear_add()`] and its
//! kin.
//!
//! Weights and the prologue are as in [`super::linear`].

use super::linear::{BLOCK, step, step_fp8, step_mxfp4};
use super::norm::{operand, row_scale};
use tile_lang::dsl::*;
use tile_lang::tile;

/// silu(gate) · up, with silu(x) = x / (1 + e^−x).
#[tile::func(crate = tile_lang)]
pub fn gated<const A: usize, const B: usize>(gate: Tile<f32, A, B>, up: Tile<f32, A, B>) -> Tile<f32, A, B> {
    gate / ((-gate).exp() + 1.0) * up
}

/// y = silu(G·x) · (U·x): `gate`, `up` [N, K], `x` [T, K], `y` [T, N] bf16.
#[tile::kernel(crate = tile_lang)]
pub fn swiglu<W: Elem, X: Elem, const NORM: usize, const T: usize, const BM: usize, const BK: usize>(
    gate: &Weight<W, 2>,
    up: &Weight<W, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<bf16, 2>,
    eps: f32,
) {
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, gate.dim(1) == x.dim(1), gate.dim(0) == y.dim(1));
    require!(up.dim(0) == gate.dim(0), up.dim(1) == gate.dim(1));
    let [i] = work([cdiv(gate.dim(0), BM)]);
    let scale = row_scale::<X, NORM, T, BK>(x, eps);
    let mut g = Tile::<f32, BM, T>::zero();
    let mut u = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(gate.dim(1), BK) {
        let gate_codes = gate.stage::<Smem<W, BM, BK>>([i, k]);
        let up_codes = up.stage::<Smem<W, BM, BK>>([i, k]);
        let h = operand::<X, NORM, T, BK>(x, gain, scale, k);
        g = step::<W, T, BM, BK>(g, gate_codes, h);
        u = step::<W, T, BM, BK>(u, up_codes, h);
    }
    y.store([0, i], gated::<BM, T>(g, u).t().cast::<bf16>());
}

/// y = silu(G·x) · (U·x) for FP8 weights: `gate`, `up` [N, K], their scales [⌈K/128⌉, N], `x` [T, K], `y` [T, N] bf16.
#[tile::kernel(crate = tile_lang)]
pub fn swiglu_fp8<X: Elem, const NORM: usize, const T: usize, const BM: usize, const BK: usize, const KB: usize>(
    gate: &Weight<e4m3, 2>,
    gate_scales: &Weight<f32, 2>,
    up: &Weight<e4m3, 2>,
    up_scales: &Weight<f32, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<bf16, 2>,
    eps: f32,
) {
    require!(128 * KB == BK, gate_scales.dim(0) == cdiv(gate.dim(1), BLOCK), up_scales.dim(0) == gate_scales.dim(0));
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, gate.dim(1) == x.dim(1), gate.dim(0) == y.dim(1));
    require!(up.dim(0) == gate.dim(0), up.dim(1) == gate.dim(1));
    let [i] = work([cdiv(gate.dim(0), BM)]);
    let scale = row_scale::<X, NORM, T, BK>(x, eps);
    let mut g = Tile::<f32, BM, T>::zero();
    let mut u = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(gate.dim(1), BK) {
        let gate_codes = gate.stage::<Smem<e4m3, BM, BK>>([i, k]);
        let gate_blocks = gate_scales.stage::<Smem<f32, KB, BM>>([k, i]);
        let up_codes = up.stage::<Smem<e4m3, BM, BK>>([i, k]);
        let up_blocks = up_scales.stage::<Smem<f32, KB, BM>>([k, i]);
        g = step_fp8::<X, NORM, T, BM, BK, KB>(g, gate_codes, gate_blocks, x, gain, scale, k);
        u = step_fp8::<X, NORM, T, BM, BK, KB>(u, up_codes, up_blocks, x, gain, scale, k);
    }
    y.store([0, i], gated::<BM, T>(g, u).t().cast::<bf16>());
}

/// y = silu(G·x) · (U·x) for MXFP4 weights: `gate`, `up` [N, K], their scales [N, K/32], `x` [T, K], `y` [T, N] bf16.
#[tile::kernel(crate = tile_lang)]
pub fn swiglu_mxfp4<X: Elem, const NORM: usize, const T: usize, const BM: usize, const BK: usize, const BS: usize>(
    gate: &Weight<e2m1, 2>,
    gate_scales: &Weight<e8m0, 2>,
    up: &Weight<e2m1, 2>,
    up_scales: &Weight<e8m0, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<bf16, 2>,
    eps: f32,
) {
    require!(32 * BS == BK, gate_scales.dim(1) * 32 == gate.dim(1), up_scales.dim(1) == gate_scales.dim(1));
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, gate.dim(1) == x.dim(1), gate.dim(0) == y.dim(1));
    require!(up.dim(0) == gate.dim(0), up.dim(1) == gate.dim(1));
    let [i] = work([cdiv(gate.dim(0), BM)]);
    let scale = row_scale::<X, NORM, T, BK>(x, eps);
    let mut g = Tile::<f32, BM, T>::zero();
    let mut u = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(gate.dim(1), BK) {
        let gate_codes = gate.stage::<Smem<e2m1, BM, BK>>([i, k]);
        let gate_blocks = gate_scales.stage::<Smem<e8m0, BM, BS>>([i, k]);
        let up_codes = up.stage::<Smem<e2m1, BM, BK>>([i, k]);
        let up_blocks = up_scales.stage::<Smem<e8m0, BM, BS>>([i, k]);
        let h = operand::<X, NORM, T, BK>(x, gain, scale, k);
        g = step_mxfp4::<T, BM, BK, BS>(g, gate_codes, gate_blocks, h);
        u = step_mxfp4::<T, BM, BK, BS>(u, up_codes, up_blocks, h);
    }
    y.store([0, i], gated::<BM, T>(g, u).t().cast::<bf16>());
}
