//! Products of a weight with the rows of a block: y = W·x.
//!
//! A block has T rows (tokens), which are the columns of the product; the weight's rows, BM at a time, are its rows.
//! One work item makes BM outputs of all T rows and streams its BM × K part of the weight in tiles of BM × BK.
//!
//! Kernels come in three kinds of weights. Plain: any element type that bf16 can hold. `_fp8`: E4M3 codes [N, K] with
//! an f32 scale for each row and 128 columns, `scales` [⌈K/128⌉, N] (columns first, so that a tile's scales of one
//! block are neighbours); each block's product is scaled before it is added. `_mxfp4`: E2M1 codes [N, K] and E8M0
//! scales [N, K/32], multiplied exactly in bf16.
//!
//! Where `NORM` is 1 the input is a residual that is normalised on the way, `gain` \[K\] being the norm's weight;
//! otherwise `gain` and `eps` are not used.

use super::norm::{operand, row_scale};
use tile_lang::dsl::*;
use tile_lang::tile;

/// Columns that share a scale in FP8 weights.
pub const BLOCK: usize = 128;

/// acc + W·x for one tile of a plain weight.
#[tile::func(crate = tile_lang)]
pub fn step<W: Elem, const T: usize, const BM: usize, const BK: usize>(
    acc: Tile<f32, BM, T>,
    codes: Smem<W, BM, BK>,
    h: Tile<bf16, BK, T>,
) -> Tile<f32, BM, T> {
    let mut sum = acc;
    sum.mma(codes.cast::<bf16>(), h);
    sum
}

/// acc + W·x for one tile of an FP8 weight: tile `k` of BK = 128·KB columns.
#[tile::func(crate = tile_lang)]
pub fn step_fp8<X: Elem, const NORM: usize, const T: usize, const BM: usize, const BK: usize, const KB: usize>(
    acc: Tile<f32, BM, T>,
    codes: Smem<e4m3, BM, BK>,
    scales: Smem<f32, KB, BM>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    scale: Tile<f32, T>,
    k: i32,
) -> Tile<f32, BM, T> {
    let mut sum = acc;
    for b in 0..KB {
        let h = operand::<X, NORM, T, 128>(x, gain, scale, k * KB as i32 + b as i32);
        let part = mma(codes.slice::<BM, 128>(0, 128 * b).cast::<bf16>(), h);
        sum += part * scales.slice::<1, BM>(b, 0).read().col_sum().cols::<T>();
    }
    sum
}

/// acc + W·x for one tile of an MXFP4 weight.
#[tile::func(crate = tile_lang)]
pub fn step_mxfp4<const T: usize, const BM: usize, const BK: usize, const BS: usize>(
    acc: Tile<f32, BM, T>,
    codes: Smem<e2m1, BM, BK>,
    scales: Smem<e8m0, BM, BS>,
    h: Tile<bf16, BK, T>,
) -> Tile<f32, BM, T> {
    let mut sum = acc;
    sum.mma(codes.cast::<bf16>() * scales.cast::<bf16>().repeat::<BK>(), h);
    sum
}

/// y = W·x: `w` [N, K], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn linear<W: Elem, X: Elem, Y: Elem, const NORM: usize, const T: usize, const BM: usize, const BK: usize>(
    w: &Weight<W, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<Y, 2>,
    eps: f32,
) {
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), BM)]);
    let scale = row_scale::<X, NORM, T, BK>(x, eps);
    let mut acc = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<W, BM, BK>>([i, k]);
        let h = operand::<X, NORM, T, BK>(x, gain, scale, k);
        acc = step::<W, T, BM, BK>(acc, codes, h);
    }
    y.store([0, i], acc.t().cast::<Y>());
}

/// y = W·x for an FP8 weight: `w` [N, K], `scales` [⌈K/128⌉, N], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn linear_fp8<
    X: Elem,
    Y: Elem,
    const NORM: usize,
    const T: usize,
    const BM: usize,
    const BK: usize,
    const KB: usize,
>(
    w: &Weight<e4m3, 2>,
    scales: &Weight<f32, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<Y, 2>,
    eps: f32,
) {
    require!(128 * KB == BK, scales.dim(0) == cdiv(w.dim(1), BLOCK), scales.dim(1) == w.dim(0));
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), BM)]);
    let scale = row_scale::<X, NORM, T, BK>(x, eps);
    let mut acc = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<e4m3, BM, BK>>([i, k]);
        let blocks = scales.stage::<Smem<f32, KB, BM>>([k, i]);
        acc = step_fp8::<X, NORM, T, BM, BK, KB>(acc, codes, blocks, x, gain, scale, k);
    }
    y.store([0, i], acc.t().cast::<Y>());
}

/// y = W·x for an MXFP4 weight: `w` [N, K], `scales` [N, K/32], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn linear_mxfp4<
    X: Elem,
    Y: Elem,
    const NORM: usize,
    const T: usize,
    const BM: usize,
    const BK: usize,
    const BS: usize,
>(
    w: &Weight<e2m1, 2>,
    scales: &Weight<e8m0, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<Y, 2>,
    eps: f32,
) {
    require!(32 * BS == BK, scales.dim(1) * 32 == w.dim(1), scales.dim(0) == w.dim(0));
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), BM)]);
    let scale = row_scale::<X, NORM, T, BK>(x, eps);
    let mut acc = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<e2m1, BM, BK>>([i, k]);
        let blocks = scales.stage::<Smem<e8m0, BM, BS>>([i, k]);
        let h = operand::<X, NORM, T, BK>(x, gain, scale, k);
        acc = step_mxfp4::<T, BM, BK, BS>(acc, codes, blocks, h);
    }
    y.store([0, i], acc.t().cast::<Y>());
}

/// y += W·x on an f32 residual: `w` [N, K], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn linear_add<W: Elem, X: Elem, const T: usize, const BM: usize, const BK: usize>(
    w: &Weight<W, 2>,
    x: &Global<X, 2>,
    y: &mut Global<f32, 2>,
) {
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), BM)]);
    let mut acc = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<W, BM, BK>>([i, k]);
        let h = x.load::<Tile<X, T, BK>>([0, k]).cast::<bf16>().t();
        acc = step::<W, T, BM, BK>(acc, codes, h);
    }
    y.store([0, i], y.load::<Tile<f32, T, BM>>([0, i]) + acc.t());
}

/// y += W·x on an f32 residual for an FP8 weight: `w` [N, K], `scales` [⌈K/128⌉, N], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn linear_add_fp8<X: Elem, const T: usize, const BM: usize, const BK: usize, const KB: usize>(
    w: &Weight<e4m3, 2>,
    scales: &Weight<f32, 2>,
    x: &Global<X, 2>,
    y: &mut Global<f32, 2>,
) {
    require!(128 * KB == BK, scales.dim(0) == cdiv(w.dim(1), BLOCK), scales.dim(1) == w.dim(0));
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), BM)]);
    let mut acc = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<e4m3, BM, BK>>([i, k]);
        let blocks = scales.stage::<Smem<f32, KB, BM>>([k, i]);
        for b in 0..KB {
            let h = x.load::<Tile<X, T, 128>>([0, k * KB as i32 + b as i32]).cast::<bf16>().t();
            let part = mma(codes.slice::<BM, 128>(0, 128 * b).cast::<bf16>(), h);
            acc += part * blocks.slice::<1, BM>(b, 0).read().col_sum().cols::<T>();
        }
    }
    y.store([0, i], y.load::<Tile<f32, T, BM>>([0, i]) + acc.t());
}

/// y += W·x on an f32 residual for an MXFP4 weight: `w` [N, K], `scales` [N, K/32], `x` [T, K], `y` [T, N].
#[tile::kernel(crate = tile_lang)]
pub fn linear_add_mxfp4<X: Elem, const T: usize, const BM: usize, const BK: usize, const BS: usize>(
    w: &Weight<e2m1, 2>,
    scales: &Weight<e8m0, 2>,
    x: &Global<X, 2>,
    y: &mut Global<f32, 2>,
) {
    require!(32 * BS == BK, scales.dim(1) * 32 == w.dim(1), scales.dim(0) == w.dim(0));
    require!(x.dim(0) == T as i32, y.dim(0) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), BM)]);
    let mut acc = Tile::<f32, BM, T>::zero();
    for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<e2m1, BM, BK>>([i, k]);
        let blocks = scales.stage::<Smem<e8m0, BM, BS>>([i, k]);
        let h = x.load::<Tile<X, T, BK>>([0, k]).cast::<bf16>().t();
        acc = step_mxfp4::<T, BM, BK, BS>(acc, codes, blocks, h);
    }
    y.store([0, i], y.load::<Tile<f32, T, BM>>([0, i]) + acc.t());
}
