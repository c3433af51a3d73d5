//! Routing of tokens to experts.

use super::norm::{row_scale, rows_f32};
use super::state::ROWS;
use tile_lang::dsl::*;
use tile_lang::tile;

/// Stands in for scores of experts that don't exist.
const ABSENT: f32 = -1.0e30;
/// Replaces the score of an expert once it is chosen.
const TAKEN: f32 = -3.0e38;
/// Scores below it belong to chosen experts.
const CHOSEN: f32 = -1.0e38;

/// Router logits with almost f32 precision: `w` [E, K], `x` [T, K], `part` [S, T, E], whose sum over S parts of the
/// columns are the logits.
///
/// Both operands are split into two bf16 halves, of which three of the four products count (two where `SPLIT` is 0: the
/// weight is exact in bf16). One item for each 16 experts and part.
#[tile::kernel(crate = tile_lang)]
pub fn router_logits<
    W: Elem,
    X: Elem,
    const NORM: usize,
    const SPLIT: usize,
    const T: usize,
    const BM: usize,
    const BK: usize,
>(
    w: &Weight<W, 2>,
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    part: &mut Global<f32, 3>,
    eps: f32,
) {
    require!(x.dim(0) == T as i32, part.dim(1) == T as i32, w.dim(1) == x.dim(1), w.dim(0) == part.dim(2));
    let [i, s] = work([cdiv(w.dim(0), BM), part.dim(0)]);
    let scale = row_scale::<X, NORM, T, BK>(x, eps);
    let steps = cdiv(w.dim(1), BK);
    let each = cdiv(steps, part.dim(0));
    let end = (s * each + each).min(steps);
    let mut acc = Tile::<f32, BM, T>::zero();
    for k in s * each..end {
        let codes = w.stage::<Smem<W, BM, BK>>([i, k]).cast::<f32>();
        let h = rows_f32::<X, NORM, T, BK>(x, gain, scale, k);
        let high = h.cast::<bf16>();
        let low = (h - high.cast::<f32>()).cast::<bf16>();
        let weight = codes.cast::<bf16>();
        acc.mma(weight, low.t());
        if SPLIT == 1 {
            acc.mma((codes - weight.cast::<f32>()).cast::<bf16>(), high.t());
        }
        acc.mma(weight, high.t());
    }
    part.store([s, 0, i], acc.t());
}

/// Chooses experts from router logits `part` [S, T, E]: scores are sigmoids; the TOPK largest of score + `bias` are
/// chosen (ties: the lower index), and weighed by their scores, divided by their sum if `NORMALIZE` is 1, times
/// `scaling`.
///
/// Gives `weights` [E, T] (0 where a row doesn't use the expert, and for rows that are not valid), and the experts
/// that any valid row uses: `list` [at most T·TOPK] in ascending order, `count` \[1\] of them. One item. EP and SP are
/// powers of two that hold all experts and the whole list.
#[tile::kernel(crate = tile_lang)]
pub fn route<const T: usize, const EP: usize, const SP: usize, const TOPK: usize, const NORMALIZE: usize>(
    part: &Global<f32, 3>,
    bias: &Global<f32, 1>,
    state: &Global<i32, 1>,
    weights: &mut Global<f32, 2>,
    list: &mut Global<i32, 1>,
    count: &mut Global<i32, 1>,
    scaling: f32,
) {
    require!(part.dim(1) == T as i32, part.dim(2) == bias.dim(0), bias.dim(0) <= EP as i32, list.dim(0) <= SP as i32);
    require!(weights.dim(0) == bias.dim(0), weights.dim(1) == T as i32, TOPK as i32 <= bias.dim(0));
    let experts = bias.dim(0);
    let rows = state.at([ROWS]);
    let mut logits = Tile::<f32, T, EP>::zero();
    for s in 0..part.dim(0) {
        logits += part.load::<Tile<f32, T, EP>>([s, 0, 0]);
    }
    let scores = 1.0 / ((-logits).exp() + 1.0);
    let corrected = scores + bias.load::<Tile<f32, EP>>([0]).rows::<T>();
    let mut rank = corrected.keep(|_, e| e < experts, ABSENT);
    let column = Tile::<i32, T, EP>::col_index();
    let mut best = [Tile::<i32, T>::zero(); TOPK];
    for j in 0..TOPK {
        best[j] = rank.row_argmax();
        rank = select(column.ne(best[j].cols::<EP>()), rank, TAKEN);
    }
    let chosen = rank.lt(CHOSEN) & Tile::<i32, T, EP>::row_index().lt(rows);
    let mut weight = select(chosen, scores, 0.0);
    if NORMALIZE == 1 {
        weight = weight / (weight.row_sum() + 1.0e-20).cols::<EP>();
    }
    weights.store([0, 0], (weight * scaling).t());

    // The list: an expert's place is the number of used experts before it.
    let used = select(chosen, Tile::<i32, T, EP>::full(1), 0).col_max();
    let mut places = Tile::<i32, SP>::zero();
    for j in 0..TOPK {
        let before = select(column.lt(best[j].cols::<EP>()), used.rows::<T>(), 0).row_sum();
        let place = before.keep(|t, _| t < rows, -1).cols::<SP>();
        let here = place.eq(Tile::<i32, T, SP>::col_index());
        places = places.max(select(here, best[j].cols::<SP>(), 0).col_max());
    }
    list.store([0], places);
    count.set([0], used.all_sum());
}
