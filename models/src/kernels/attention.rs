//! Attention of a block of rows over the caches, split along the keys.
//!
//! Row t stands at position p = `state[POSITION]` + t and sees the keys at p − `window` < position ≤ p. The tiles of
//! BKV keys that hold them are dealt to at most S splits, at least one tile each; how many splits there are depends on
//! p.

use super::state::{POSITION, ROWS};
use tile_lang::dsl::*;
use tile_lang::tile;

/// Scores of keys that a row doesn't see.
const HIDDEN: f32 = -1.0e30;
/// log2 e: scores are exponents of 2.
const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// The first tile that a row at `position` sees, and the number of tiles in a split.
#[tile::func(crate = tile_lang)]
fn tiles<const BKV: usize>(position: i32, window: i32, splits: i32) -> (i32, i32) {
    let first = (position + 1 - window).max(0) / BKV as i32;
    let each = cdiv(position / BKV as i32 + 1 - first, splits);
    (first, each)
}

/// One split: for every row and query head the largest score, the sum of exponentials relative to it, and the values
/// weighed by them.
///
/// `q` [H, T·D] holds queries times log2 e / √d, `k` [KV, positions, KP] and `v` [KV, positions, VP] the caches, D =
/// ND·DC columns of queries and keys being used. `part` [T, S, H, DVP], `top` and `sum` [T, H, S] are written for
/// valid rows and splits in use. GROUP query heads share a KV head; GP, a power of two of at least 16, holds them. One
/// item for each row, KV head and split.
#[tile::kernel(crate = tile_lang)]
pub fn attention<
    const GROUP: usize,
    const GP: usize,
    const ND: usize,
    const DC: usize,
    const KP: usize,
    const DVP: usize,
    const VP: usize,
    const BKV: usize,
>(
    q: &Global<bf16, 2>,
    k: &Global<bf16, 3>,
    v: &Global<bf16, 3>,
    state: &Global<i32, 1>,
    part: &mut Global<f32, 4>,
    top: &mut Global<f32, 3>,
    sum: &mut Global<f32, 3>,
    window: i32,
) {
    require!(GROUP <= GP, ND * DC <= KP, DVP <= VP, q.dim(0) == k.dim(0) * GROUP as i32, window > 0);
    require!(k.dim(1) % BKV as i32 == 0, v.dim(1) == k.dim(1), k.dim(2) == KP as i32, v.dim(2) == VP as i32);
    require!(q.dim(1) == top.dim(0) * (ND * DC) as i32, part.dim(1) == top.dim(2), part.dim(2) == q.dim(0));
    let [t, h, s] = work([top.dim(0), k.dim(0), top.dim(2)]);
    let position = state.at([POSITION]) + t;
    let (first, each) = tiles::<BKV>(position, window, top.dim(2));
    let begin = first + s * each;
    let end = (begin + each).min(position / BKV as i32 + 1);
    if t < state.at([ROWS]) && begin < end {
        let mut queries = [Tile::<bf16, GP, DC>::zero(); ND];
        for u in 0..ND {
            queries[u] = q.load_at::<Tile<bf16, GP, DC>>([h * GROUP as i32, t * (ND * DC) as i32 + (u * DC) as i32]);
        }
        let mut m = Tile::<f32, GP>::full(HIDDEN);
        let mut l = Tile::<f32, GP>::zero();
        let mut o = Tile::<f32, GP, DVP>::zero();
        for j in begin..end {
            let keys = k.stage_at::<Smem<bf16, BKV, KP>>([h, j * BKV as i32, 0]);
            let values = v.stage_at::<Smem<bf16, BKV, VP>>([h, j * BKV as i32, 0]);
            let mut x = Tile::<f32, GP, BKV>::zero();
            for u in 0..ND {
                x.mma(queries[u], keys.slice::<BKV, DC>(0, u * DC).t());
            }
            let start = j * BKV as i32;
            let x = x.keep(|_, c| start + c <= position && start + c > position - window, HIDDEN);
            let next = m.max(x.row_max());
            let p = (x - next.cols::<BKV>()).exp2();
            let shrink = (m - next).exp2();
            l = l * shrink + p.row_sum();
            o *= shrink.cols::<DVP>();
            o.mma(p.cast::<bf16>(), values.slice::<BKV, DVP>(0, 0));
            m = next;
        }
        let heads = Tile::<i32, GP, DVP>::row_index().lt(GROUP as i32);
        let each_head = Tile::<i32, GP, 1>::row_index().lt(GROUP as i32);
        part.store_masked_at([t, s, h * GROUP as i32, 0], o, heads);
        top.store_masked_at([t, h * GROUP as i32, s], m.cols::<1>(), each_head);
        sum.store_masked_at([t, h * GROUP as i32, s], l.cols::<1>(), each_head);
    }
}

/// Weighs the splits of one row and head; `sink` is one more score without a value, [`HIDDEN`] for none.
#[tile::func(crate = tile_lang)]
fn merge<const DV: usize, const DVP: usize, const SP: usize, const BKV: usize>(
    part: &Global<f32, 4>,
    top: &Global<f32, 3>,
    sum: &Global<f32, 3>,
    out: &mut Global<bf16, 2>,
    t: i32,
    h: i32,
    position: i32,
    window: i32,
    sink: f32,
) {
    let (first, each) = tiles::<BKV>(position, window, top.dim(2));
    let splits = cdiv(position / BKV as i32 + 1 - first, each);
    let m = top.load::<Tile<f32, SP>>([t, h, 0]).keep(|i, _| i < splits, HIDDEN);
    let largest = m.all_max().max(sink);
    let weights = (m - largest).exp2();
    let l = sum.load::<Tile<f32, SP>>([t, h, 0]).keep(|i, _| i < splits, 0.0);
    let total = (weights * l).all_sum() + (sink - largest).exp2();
    let mut o = Tile::<f32, DVP>::zero();
    for i in 0..splits {
        o += part.load::<Tile<f32, DVP>>([t, i, h, 0]) * (top.at([t, h, i]) - largest).exp2();
    }
    let columns = Tile::<i32, DVP>::row_index().lt(DV as i32);
    out.store_masked_at([t, h * DV as i32], (o / total).cast::<bf16>(), columns);
}

/// The attention's output from its splits: `part` [T, S, H, DVP], `top`, `sum` [T, H, S] as [`attention()`] wrote them,
/// `out` [T, H·DV]. SP is a power of two that holds S. One item for each row and head.
#[tile::kernel(crate = tile_lang)]
pub fn combine<const DV: usize, const DVP: usize, const SP: usize, const BKV: usize>(
    part: &Global<f32, 4>,
    top: &Global<f32, 3>,
    sum: &Global<f32, 3>,
    state: &Global<i32, 1>,
    out: &mut Global<bf16, 2>,
    window: i32,
) {
    require!(top.dim(2) <= SP as i32, out.dim(1) == top.dim(1) * DV as i32, part.dim(3) == DVP as i32, DV <= DVP);
    let [t, h] = work([top.dim(0), top.dim(1)]);
    if t < state.at([ROWS]) {
        merge::<DV, DVP, SP, BKV>(part, top, sum, out, t, h, state.at([POSITION]) + t, window, HIDDEN);
    }
}

/// [`combine()`] with a sink for each head: `sinks` \[H\] are natural logits that take weight and give nothing.
#[tile::kernel(crate = tile_lang)]
pub fn combine_sink<const DV: usize, const DVP: usize, const SP: usize, const BKV: usize>(
    part: &Global<f32, 4>,
    top: &Global<f32, 3>,
    sum: &Global<f32, 3>,
    sinks: &Global<f32, 1>,
    state: &Global<i32, 1>,
    out: &mut Global<bf16, 2>,
    window: i32,
) {
    require!(top.dim(2) <= SP as i32, out.dim(1) == top.dim(1) * DV as i32, part.dim(3) == DVP as i32, DV <= DVP);
    require!(sinks.dim(0) == top.dim(1));
    let [t, h] = work([top.dim(0), top.dim(1)]);
    if t < state.at([ROWS]) {
        let sink = sinks.at([h]) * LOG2_E;
        merge::<DV, DVP, SP, BKV>(part, top, sum, out, t, h, state.at([POSITION]) + t, window, sink);
    }
}

/// The first columns of each head: `x` [T, H, DVP], `y` [T, H, ≤ DVP]. One item for each row and head.
#[tile::kernel(crate = tile_lang)]
pub fn without_padding<const DVP: usize>(x: &Global<bf16, 3>, y: &mut Global<bf16, 3>) {
    require!(x.dim(0) == y.dim(0), x.dim(1) == y.dim(1), x.dim(2) == DVP as i32, y.dim(2) <= DVP as i32);
    let [t, h] = work([x.dim(0), x.dim(1)]);
    y.store([t, h, 0], x.load::<Tile<bf16, DVP>>([t, h, 0]));
}
