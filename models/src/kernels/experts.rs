//! Routed experts: each expert that some row uses computes all rows of the block, and rows take their share.
//!
//! `list` and `count` are those of [`super::router::route()`]: slot s of S holds the s-th expert in use. Weights of
//! all experts are one array each, expert first. Weights and the prologue are otherwise as in [`super::linear`].

use super::linear::{BLOCK, step, step_fp8, step_mxfp4};
use super::mlp::gated;
use super::norm::{operand, row_scale};
use tile_lang::dsl::*;
use tile_lang::tile;

/// First half: y\[s\] = silu(G\[e\]·x) · (U\[e\]·x) for the expert e of each slot: `gate`, `up` [E, N, K], `x` [T, K],
/// `y` [S, T, N] bf16. One item for each slot and BM rows; items of slots not in use do nothing.
#[tile::kernel(crate = tile_lang)]
pub fn experts_swiglu<W: Elem, X: Elem, const NORM: usize, const T: usize, const BM: usize, const BK: usize>(
    gate: &Weight<W, 3>,
    up: &Weight<W, 3>,
    list: &Global<i32, 1>,
    count: &Global<i32, 1>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<bf16, 3>,
    eps: f32,
) {
    require!(x.dim(0) == T as i32, y.dim(1) == T as i32, gate.dim(2) == x.dim(1), gate.dim(1) == y.dim(2));
    require!(up.dim(0) == gate.dim(0), up.dim(1) == gate.dim(1), up.dim(2) == gate.dim(2), y.dim(0) <= list.dim(0));
    let [s, i] = work([y.dim(0), cdiv(gate.dim(1), BM)]);
    if s < count.at([0]) {
        let e = list.at([s]);
        let scale = row_scale::<X, NORM, T, BK>(x, eps);
        let mut g = Tile::<f32, BM, T>::zero();
        let mut u = Tile::<f32, BM, T>::zero();
        for k in 0..cdiv(gate.dim(2), BK) {
            let gate_codes = gate.stage::<Smem<W, BM, BK>>([e, i, k]);
            let up_codes = up.stage::<Smem<W, BM, BK>>([e, i, k]);
            let h = operand::<X, NORM, T, BK>(x, gain, scale, k);
            g = step::<W, T, BM, BK>(g, gate_codes, h);
            u = step::<W, T, BM, BK>(u, up_codes, h);
        }
        y.store([s, 0, i], gated::<BM, T>(g, u).t().cast::<bf16>());
    }
}

/// [`experts_swiglu()`] for FP8 weights: scales [E, ⌈K/128⌉, N].
#[tile::kernel(crate = tile_lang)]
pub fn experts_swiglu_fp8<
    X: Elem,
    const NORM: usize,
    const T: usize,
    const BM: usize,
    const BK: usize,
    const KB: usize,
>(
    gate: &Weight<e4m3, 3>,
    gate_scales: &Weight<f32, 3>,
    up: &Weight<e4m3, 3>,
    up_scales: &Weight<f32, 3>,
    list: &Global<i32, 1>,
    count: &Global<i32, 1>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<bf16, 3>,
    eps: f32,
) {
    require!(128 * KB == BK, gate_scales.dim(1) == cdiv(gate.dim(2), BLOCK), up_scales.dim(1) == gate_scales.dim(1));
    require!(x.dim(0) == T as i32, y.dim(1) == T as i32, gate.dim(2) == x.dim(1), gate.dim(1) == y.dim(2));
    require!(up.dim(0) == gate.dim(0), up.dim(1) == gate.dim(1), up.dim(2) == gate.dim(2), y.dim(0) <= list.dim(0));
    let [s, i] = work([y.dim(0), cdiv(gate.dim(1), BM)]);
    if s < count.at([0]) {
        let e = list.at([s]);
        let scale = row_scale::<X, NORM, T, BK>(x, eps);
        let mut g = Tile::<f32, BM, T>::zero();
        let mut u = Tile::<f32, BM, T>::zero();
        for k in 0..cdiv(gate.dim(2), BK) {
            let gate_codes = gate.stage::<Smem<e4m3, BM, BK>>([e, i, k]);
            let gate_blocks = gate_scales.stage::<Smem<f32, KB, BM>>([e, k, i]);
            let up_codes = up.stage::<Smem<e4m3, BM, BK>>([e, i, k]);
            let up_blocks = up_scales.stage::<Smem<f32, KB, BM>>([e, k, i]);
            g = step_fp8::<X, NORM, T, BM, BK, KB>(g, gate_codes, gate_blocks, x, gain, scale, k);
            u = step_fp8::<X, NORM, T, BM, BK, KB>(u, up_codes, up_blocks, x, gain, scale, k);
        }
        y.store([s, 0, i], gated::<BM, T>(g, u).t().cast::<bf16>());
    }
}

/// [`experts_swiglu()`] for MXFP4 weights: scales [E, N, K/32].
#[tile::kernel(crate = tile_lang)]
pub fn experts_swiglu_mxfp4<
    X: Elem,
    const NORM: usize,
    const T: usize,
    const BM: usize,
    const BK: usize,
    const BS: usize,
>(
    gate: &Weight<e2m1, 3>,
    gate_scales: &Weight<e8m0, 3>,
    up: &Weight<e2m1, 3>,
    up_scales: &Weight<e8m0, 3>,
    list: &Global<i32, 1>,
    count: &Global<i32, 1>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<bf16, 3>,
    eps: f32,
) {
    require!(32 * BS == BK, gate_scales.dim(2) * 32 == gate.dim(2), up_scales.dim(2) == gate_scales.dim(2));
    require!(x.dim(0) == T as i32, y.dim(1) == T as i32, gate.dim(2) == x.dim(1), gate.dim(1) == y.dim(2));
    require!(up.dim(0) == gate.dim(0), up.dim(1) == gate.dim(1), up.dim(2) == gate.dim(2), y.dim(0) <= list.dim(0));
    let [s, i] = work([y.dim(0), cdiv(gate.dim(1), BM)]);
    if s < count.at([0]) {
        let e = list.at([s]);
        let scale = row_scale::<X, NORM, T, BK>(x, eps);
        let mut g = Tile::<f32, BM, T>::zero();
        let mut u = Tile::<f32, BM, T>::zero();
        for k in 0..cdiv(gate.dim(2), BK) {
            let gate_codes = gate.stage::<Smem<e2m1, BM, BK>>([e, i, k]);
            let gate_blocks = gate_scales.stage::<Smem<e8m0, BM, BS>>([e, i, k]);
            let up_codes = up.stage::<Smem<e2m1, BM, BK>>([e, i, k]);
            let up_blocks = up_scales.stage::<Smem<e8m0, BM, BS>>([e, i, k]);
            let h = operand::<X, NORM, T, BK>(x, gain, scale, k);
            g = step_mxfp4::<T, BM, BK, BS>(g, gate_codes, gate_blocks, h);
            u = step_mxfp4::<T, BM, BK, BS>(u, up_codes, up_blocks, h);
        }
        y.store([s, 0, i], gated::<BM, T>(g, u).t().cast::<bf16>());
    }
}

/// Second half: y += Σ weights\[e\] · (D\[e\]·x\[s\]) over the slots in order, on an f32 residual: `down` [E, N, K],
/// `weights` [E, T], `x` [S, T, K] bf16, `y` [T, N]. One item for each BM outputs.
#[tile::kernel(crate = tile_lang)]
pub fn experts_down<W: Elem, const T: usize, const BM: usize, const BK: usize>(
    down: &Weight<W, 3>,
    list: &Global<i32, 1>,
    count: &Global<i32, 1>,
    weights: &Global<f32, 2>,
    x: &Global<bf16, 3>,
    y: &mut Global<f32, 2>,
) {
    require!(x.dim(1) == T as i32, y.dim(0) == T as i32, down.dim(2) == x.dim(2), down.dim(1) == y.dim(1));
    require!(weights.dim(0) == down.dim(0), weights.dim(1) == T as i32);
    let [i] = work([cdiv(down.dim(1), BM)]);
    let mut sum = Tile::<f32, BM, T>::zero();
    for s in 0..count.at([0]) {
        let e = list.at([s]);
        let mut acc = Tile::<f32, BM, T>::zero();
        for k in 0..cdiv(down.dim(2), BK) {
            let codes = down.stage::<Smem<W, BM, BK>>([e, i, k]);
            acc = step::<W, T, BM, BK>(acc, codes, x.load::<Tile<bf16, T, BK>>([s, 0, k]).t());
        }
        sum += acc * weights.load::<Tile<f32, T>>([e, 0]).rows::<BM>();
    }
    y.store([0, i], y.load::<Tile<f32, T, BM>>([0, i]) + sum.t());
}

/// [`experts_down()`] for FP8 weights: `scales` [E, ⌈K/128⌉, N].
#[tile::kernel(crate = tile_lang)]
pub fn experts_down_fp8<const T: usize, const BM: usize, const BK: usize, const KB: usize>(
    down: &Weight<e4m3, 3>,
    scales: &Weight<f32, 3>,
    list: &Global<i32, 1>,
    count: &Global<i32, 1>,
    weights: &Global<f32, 2>,
    x: &Global<bf16, 3>,
    y: &mut Global<f32, 2>,
) {
    require!(128 * KB == BK, scales.dim(1) == cdiv(down.dim(2), BLOCK), scales.dim(2) == down.dim(1));
    require!(x.dim(1) == T as i32, y.dim(0) == T as i32, down.dim(2) == x.dim(2), down.dim(1) == y.dim(1));
    require!(weights.dim(0) == down.dim(0), weights.dim(1) == T as i32);
    let [i] = work([cdiv(down.dim(1), BM)]);
    let mut sum = Tile::<f32, BM, T>::zero();
    for s in 0..count.at([0]) {
        let e = list.at([s]);
        let mut acc = Tile::<f32, BM, T>::zero();
        for k in 0..cdiv(down.dim(2), BK) {
            let codes = down.stage::<Smem<e4m3, BM, BK>>([e, i, k]);
            let blocks = scales.stage::<Smem<f32, KB, BM>>([e, k, i]);
            for b in 0..KB {
                let h = x.load::<Tile<bf16, T, 128>>([s, 0, k * KB as i32 + b as i32]).t();
                let part = mma(codes.slice::<BM, 128>(0, 128 * b).cast::<bf16>(), h);
                acc += part * blocks.slice::<1, BM>(b, 0).read().col_sum().cols::<T>();
            }
        }
        sum += acc * weights.load::<Tile<f32, T>>([e, 0]).rows::<BM>();
    }
    y.store([0, i], y.load::<Tile<f32, T, BM>>([0, i]) + sum.t());
}

/// [`experts_down()`] for MXFP4 weights: `scales` [E, N, K/32].
#[tile::kernel(crate = tile_lang)]
pub fn experts_down_mxfp4<const T: usize, const BM: usize, const BK: usize, const BS: usize>(
    down: &Weight<e2m1, 3>,
    scales: &Weight<e8m0, 3>,
    list: &Global<i32, 1>,
    count: &Global<i32, 1>,
    weights: &Global<f32, 2>,
    x: &Global<bf16, 3>,
    y: &mut Global<f32, 2>,
) {
    require!(32 * BS == BK, scales.dim(2) * 32 == down.dim(2), scales.dim(1) == down.dim(1));
    require!(x.dim(1) == T as i32, y.dim(0) == T as i32, down.dim(2) == x.dim(2), down.dim(1) == y.dim(1));
    require!(weights.dim(0) == down.dim(0), weights.dim(1) == T as i32);
    let [i] = work([cdiv(down.dim(1), BM)]);
    let mut sum = Tile::<f32, BM, T>::zero();
    for s in 0..count.at([0]) {
        let e = list.at([s]);
        let mut acc = Tile::<f32, BM, T>::zero();
        for k in 0..cdiv(down.dim(2), BK) {
            let codes = down.stage::<Smem<e2m1, BM, BK>>([e, i, k]);
            let blocks = scales.stage::<Smem<e8m0, BM, BS>>([e, i, k]);
            let h = x.load::<Tile<bf16, T, BK>>([s, 0, k]).t();
            acc = step_mxfp4::<T, BM, BK, BS>(acc, codes, blocks, h);
        }
        sum += acc * weights.load::<Tile<f32, T>>([e, 0]).rows::<BM>();
    }
    y.store([0, i], y.load::<Tile<f32, T, BM>>([0, i]) + sum.t());
}
