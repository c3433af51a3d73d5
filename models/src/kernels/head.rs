//! The head: logits, which passes inside a prompt leave out.

use super::linear::{BLOCK, step, step_fp8};
use super::norm::{operand, row_scale};
use super::state::CHOICES;
use tile_lang::dsl::*;
use tile_lang::tile;

/// logits = W·x, where a row of the block needs a choice: `w` [V, K], `x` [T, K], `logits` [T, V] f32. The prologue is
/// that of [`super::linear`].
#[tile::kernel(crate = tile_lang)]
pub fn head<W: Elem, X: Elem, const NORM: usize, const T: usize, const BM: usize, const BK: usize>(
    w: &Weight<W, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    state: &Global<i32, 1>,
    logits: &mut Global<f32, 2>,
    eps: f32,
) {
    require!(x.dim(0) == T as i32, logits.dim(0) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == logits.dim(1));
    let [i] = work([cdiv(w.dim(0), BM)]);
    if state.at([CHOICES]) > 0 {
        let scale = row_scale::<X, NORM, T, BK>(x, eps);
        let mut acc = Tile::<f32, BM, T>::zero();
        for k in 0..cdiv(w.dim(1), BK) {
            let codes = w.stage::<Smem<W, BM, BK>>([i, k]);
            let h = operand::<X, NORM, T, BK>(x, gain, scale, k);
            acc = step::<W, T, BM, BK>(acc, codes, h);
        }
        logits.store([0, i], acc.t());
    }
}

/// [`head()`] for an FP8 weight: `scales` [⌈K/128⌉, V].
#[tile::kernel(crate = tile_lang)]
pub fn head_fp8<X: Elem, const NORM: usize, const T: usize, const BM: usize, const BK: usize, const KB: usize>(
    w: &Weight<e4m3, 2>,
    scales: &Weight<f32, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    state: &Global<i32, 1>,
    logits: &mut Global<f32, 2>,
    eps: f32,
) {
    require!(128 * KB == BK, scales.dim(0) == cdiv(w.dim(1), BLOCK), scales.dim(1) == w.dim(0));
    require!(x.dim(0) == T as i32, logits.dim(0) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == logits.dim(1));
    let [i] = work([cdiv(w.dim(0), BM)]);
    if state.at([CHOICES]) > 0 {
        let scale = row_scale::<X, NORM, T, BK>(x, eps);
        let mut acc = Tile::<f32, BM, T>::zero();
        for k in 0..cdiv(w.dim(1), BK) {
            let codes = w.stage::<Smem<e4m3, BM, BK>>([i, k]);
            let blocks = scales.stage::<Smem<f32, KB, BM>>([k, i]);
            acc = step_fp8::<X, NORM, T, BM, BK, KB>(acc, codes, blocks, x, gain, scale, k);
        }
        logits.store([0, i], acc.t());
    }
}
