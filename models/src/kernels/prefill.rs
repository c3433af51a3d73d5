//! Attention of many rows over the caches, for prompts: every row of queries of one or more texts, without a split of the keys.
//!
//! The loop over blocks of keys is turned by one product: scores of a block are made before the values of the block before it are
//! added, so that a schedule can leave the sum of values running while the weights of the next block are computed.

use tile_lang::dsl::*;
use tile_lang::tile;

/// Scores of keys that a row doesn't see; a sink of this takes no weight.
pub const HIDDEN: f32 = -1.0e30;
/// log2 e: scores are exponents of 2.
const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// The page that a block of a text's keys lies in, and the block's first key there.
#[tile::func(crate = tile_lang)]
fn place_of<const BKV: usize>(cache: &Global<bf16, 4>, pages: &Global<i32, 2>, text: i32, block: i32) -> [i32; 2] {
    let start = block * BKV as i32;
    [pages.at([text, start / cache.dim(2)]), start % cache.dim(2)]
}

/// Scores of a block's keys, which are staged in parts of DC columns.
#[tile::func(crate = tile_lang)]
fn scores<const BQ: usize, const BKV: usize, const ND: usize, const DC: usize>(
    queries: [Tile<bf16, BQ, DC>; ND],
    k: &Global<bf16, 4>,
    at: [i32; 2],
    kv: i32,
) -> Tile<f32, BQ, BKV> {
    let mut x = Tile::<f32, BQ, BKV>::zero();
    for u in 0..ND {
        let keys = k.stage_at::<Smem<bf16, BKV, DC>>([at[0], kv, at[1], (u * DC) as i32]);
        x.mma(queries[u], keys.t());
    }
    x
}

/// `sum` and the values of a block weighed by `p`; they are staged in parts of VC keys.
#[tile::func(crate = tile_lang)]
fn weighed<const BQ: usize, const BKV: usize, const NV: usize, const VC: usize, const DV: usize>(
    sum: Tile<f32, BQ, DV>,
    p: Tile<bf16, BQ, BKV>,
    v: &Global<bf16, 4>,
    at: [i32; 2],
    kv: i32,
) -> Tile<f32, BQ, DV> {
    let mut o = sum;
    for u in 0..NV {
        let values = v.stage_at::<Smem<bf16, VC, DV>>([at[0], kv, at[1] + (u * VC) as i32, 0]);
        o.mma(p.slice::<BQ, VC>(0, u * VC), values);
    }
    o
}

/// Scores without those of keys that a row doesn't see: row r sees key c if `near` + r − `window` < c ≤ `near` + r + `ahead` and
/// c < `limit`.
#[tile::func(crate = tile_lang)]
fn seen<const BQ: usize, const BKV: usize>(
    all: Tile<f32, BQ, BKV>,
    near: i32,
    limit: i32,
    window: i32,
    ahead: i32,
) -> Tile<f32, BQ, BKV> {
    let mut x = all;
    if BKV as i32 > limit.min(near + ahead + 1) || near + BQ as i32 > window {
        x = x.keep(|r, c| c < (near + r + ahead + 1).min(limit) && c > near + r - window, HIDDEN);
    }
    x
}

/// Eight sums for each row, of every eighth element each: of scores as products leave them, these are sums within a thread, and a row's own
/// waits until it is wanted.
#[tile::func(crate = tile_lang)]
fn eighths<const BQ: usize, const BKV: usize>(x: Tile<f32, BQ, BKV>) -> Tile<f32, BQ, 8> {
    let mut sums = x.slice::<BQ, 8>(0, 0);
    for u in 1..BKV / 8 {
        sums += x.slice::<BQ, 8>(0, u * 8);
    }
    sums
}

/// Attention of `rows` [texts + 1], the first row of each text in `q` and the end of the last, over `keys` [texts] keys of each in
/// its cache, those of the rows themselves, the last ones, among them: row r of a text with n rows stands at position
/// p = keys − n + r and sees the keys at p − `window` < position ≤ p + `ahead` (0: causal; beyond all keys: everything).
///
/// `q` [rows, H·ND·DC] holds queries times log2 e / √d. `k` [pages, KV, PAGE, ≥ ND·DC] and `v` [pages, KV, PAGE, ≥ DV] are the
/// caches, `pages` [texts, most] the pages of each text; a cache in one piece is a page of its own. What lies in them after
/// the keys has no weight, but must be finite. `sinks` \[H\] are natural logits that take weight and give nothing,
/// [`HIDDEN`] for none. `out` [rows, H·DV]. H / KV query heads share a KV head. One item for each BQ rows and head, of texts
/// of at most `blocks` times BQ rows.
#[tile::kernel(crate = tile_lang)]
pub fn prefill<
    const BQ: usize,
    const BKV: usize,
    const ND: usize,
    const DC: usize,
    const NV: usize,
    const VC: usize,
    const DV: usize,
>(
    q: &Global<bf16, 2>,
    k: &Global<bf16, 4>,
    v: &Global<bf16, 4>,
    pages: &Global<i32, 2>,
    rows: &Global<i32, 1>,
    keys: &Global<i32, 1>,
    sinks: &Global<f32, 1>,
    out: &mut Global<bf16, 2>,
    blocks: i32,
    window: i32,
    ahead: i32,
) {
    require!(NV * VC == BKV, k.dim(3) >= (ND * DC) as i32, v.dim(3) >= DV as i32, k.dim(2) % BKV as i32 == 0);
    require!(v.dim(0) == k.dim(0), v.dim(1) == k.dim(1), v.dim(2) == k.dim(2), sinks.dim(0) % k.dim(1) == 0);
    require!(q.dim(1) == sinks.dim(0) * (ND * DC) as i32, out.dim(1) == sinks.dim(0) * DV as i32);
    require!(out.dim(0) == q.dim(0), rows.dim(0) == keys.dim(0) + 1, pages.dim(0) == keys.dim(0));
    require!(window > 0, ahead >= 0);
    let [text, i, h] = work([keys.dim(0), blocks, sinks.dim(0)]);
    // Every other block on the way down the text, the rest on the way back: items are dealt to CTAs in turn, and their work evens out.
    let down = 2 * i;
    let block = if down < blocks { down } else { 2 * (blocks - 1 - i) + 1 };
    let (first, row) = (rows.at([text]), block * BQ as i32);
    let (count, total) = (rows.at([text + 1]) - first, keys.at([text]));
    if row < count {
        let (place, kv) = (total - count + row, h / (sinks.dim(0) / k.dim(1)));
        let mut queries = [Tile::<bf16, BQ, DC>::zero(); ND];
        for u in 0..ND {
            let part = q.stage_at::<Smem<bf16, BQ, DC>>([first + row, h * (ND * DC) as i32 + (u * DC) as i32]);
            queries[u] = part.read();
        }
        let begin = (place + 1 - window).max(0) / BKV as i32;
        let end = cdiv(total.min(place + ahead + BQ as i32), BKV);
        let x = scores::<BQ, BKV, ND, DC>(queries, k, place_of::<BKV>(k, pages, text, begin), kv);
        let start = begin * BKV as i32;
        let x = seen::<BQ, BKV>(x, place - start, total - start, window, ahead);
        let sink = Tile::<f32, BQ>::full(sinks.at([h]) * LOG2_E);
        let mut m = sink.max(x.row_max());
        let weights = (x - m.cols::<BKV>()).exp2();
        // Of the sink's weight, too, each of the eight sums has its part.
        let mut l = eighths::<BQ, BKV>(weights) + ((sink - m).exp2() * 0.125).cols::<8>();
        let mut p = weights.cast::<bf16>();
        let mut o = Tile::<f32, BQ, DV>::zero();
        for j in begin + 1..end {
            let x = scores::<BQ, BKV, ND, DC>(queries, k, place_of::<BKV>(k, pages, text, j), kv);
            o = weighed::<BQ, BKV, NV, VC, DV>(o, p, v, place_of::<BKV>(v, pages, text, j - 1), kv);
            let start = j * BKV as i32;
            let x = seen::<BQ, BKV>(x, place - start, total - start, window, ahead);
            let next = m.max(x.row_max());
            let weights = (x - next.cols::<BKV>()).exp2();
            let shrink = (m - next).exp2();
            l = l * shrink.cols::<8>() + eighths::<BQ, BKV>(weights);
            o *= shrink.cols::<DV>();
            p = weights.cast::<bf16>();
            m = next;
        }
        o = weighed::<BQ, BKV, NV, VC, DV>(o, p, v, place_of::<BKV>(v, pages, text, end - 1), kv);
        let y = (o * l.row_sum().recip().cols::<DV>()).cast::<bf16>();
        if row + BQ as i32 <= count {
            out.store_at([first + row, h * DV as i32], y);
        } else {
            out.store_masked_at([first + row, h * DV as i32], y, Tile::<i32, BQ, DV>::row_index().lt(count - row));
        }
    }
}
