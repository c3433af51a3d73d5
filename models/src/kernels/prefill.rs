//! Attention of many rows over the caches, for prompts: every row of queries of one or more texts, without a split of the keys.

use tile_lang::dsl::*;
use tile_lang::tile;

/// Scores of keys that a row doesn't see; a sink of this takes no weight.
pub const HIDDEN: f32 = -1.0e30;
/// log2 e: scores are exponents of 2.
const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// Attention of `rows` [texts + 1], the first row of each text in `q` and the end of the last, over `keys` [texts] keys of each in
/// its cache, those of the rows themselves, the last ones, among them: row r of a text with n rows stands at position
/// p = keys − n + r and sees the keys at p − `window` < position ≤ p + `ahead` (0: causal; beyond all keys: everything).
///
/// `q` [rows, H·ND·DC] holds queries times log2 e / √d. `k` [pages, KV, PAGE, ≥ ND·DC] and `v` [pages, KV, PAGE, ≥ DV] are the
/// caches, `pages` [texts, most] the pages of each text; a cache in one piece is a page of its own. What lies in them after
/// the keys has no weight, but must be finite. `sinks` \[H\] are natural logits that take weight and give nothing,
/// [`HIDDEN`] for none. `out` [rows, H·DV]. H / KV query heads share a KV head. One item for each BQ rows and head, of texts
/// of at most `blocks` times BQ rows; those that see most come first.
#[tile::kernel(crate = tile_lang)]
pub fn prefill<const BQ: usize, const BKV: usize, const ND: usize, const DC: usize, const D: usize, const DV: usize>(
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
    require!(ND * DC == D, k.dim(3) >= D as i32, v.dim(3) >= DV as i32, k.dim(2) % BKV as i32 == 0);
    require!(v.dim(0) == k.dim(0), v.dim(1) == k.dim(1), v.dim(2) == k.dim(2), sinks.dim(0) % k.dim(1) == 0);
    require!(q.dim(1) == sinks.dim(0) * D as i32, out.dim(1) == sinks.dim(0) * DV as i32, out.dim(0) == q.dim(0));
    require!(rows.dim(0) == keys.dim(0) + 1, pages.dim(0) == keys.dim(0), window > 0, ahead >= 0);
    let [text, i, h] = work([keys.dim(0), blocks, sinks.dim(0)]);
    let (first, row) = (rows.at([text]), (blocks - 1 - i) * BQ as i32);
    let (count, total) = (rows.at([text + 1]) - first, keys.at([text]));
    if row < count {
        let (place, kv) = (total - count + row, h / (sinks.dim(0) / k.dim(1)));
        let mut queries = [Tile::<bf16, BQ, DC>::zero(); ND];
        for u in 0..ND {
            queries[u] = q.load_at::<Tile<bf16, BQ, DC>>([first + row, h * D as i32 + (u * DC) as i32]);
        }
        let mut m = Tile::<f32, BQ>::full(sinks.at([h]) * LOG2_E);
        let mut l = Tile::<f32, BQ>::full(1.0);
        let mut o = Tile::<f32, BQ, DV>::zero();
        for j in (place + 1 - window).max(0) / BKV as i32..cdiv(total.min(place + ahead + BQ as i32), BKV) {
            let start = j * BKV as i32;
            let (page, at) = (pages.at([text, start / k.dim(2)]), start % k.dim(2));
            let keys = k.stage_at::<Smem<bf16, BKV, D>>([page, kv, at, 0]);
            let values = v.stage_at::<Smem<bf16, BKV, DV>>([page, kv, at, 0]);
            let mut x = Tile::<f32, BQ, BKV>::zero();
            for u in 0..ND {
                x.mma(queries[u], keys.slice::<BKV, DC>(0, u * DC).t());
            }
            if start + BKV as i32 > total.min(place + ahead + 1) || start < place + BQ as i32 - window {
                let limit = total - start;
                let near = place - start;
                x = x.keep(|r, c| c < limit && c <= near + r + ahead && c > near + r - window, HIDDEN);
            }
            let next = m.max(x.row_max());
            let p = (x - next.cols::<BKV>()).exp2();
            let shrink = (m - next).exp2();
            l = l * shrink + p.row_sum();
            o *= shrink.cols::<DV>();
            o.mma(p.cast::<bf16>(), values);
            m = next;
        }
        let y = (o * l.recip().cols::<DV>()).cast::<bf16>();
        if row + BQ as i32 <= count {
            out.store_at([first + row, h * DV as i32], y);
        } else {
            out.store_masked_at([first + row, h * DV as i32], y, Tile::<i32, BQ, DV>::row_index().lt(count - row));
        }
    }
}
