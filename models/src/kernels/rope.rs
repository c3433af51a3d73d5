//! Rotary embedding of queries and keys, and the write into the caches.

use super::state::{POSITION, ROWS};
use tile_lang::dsl::*;
use tile_lang::tile;

/// Writes columns `at …` of all rows of one head: P columns, of which the first N exist; only rows below `rows`.
#[tile::func(crate = tile_lang)]
fn put<const T: usize, const P: usize, const N: usize>(
    to: &mut Global<bf16, 3>,
    head: i32,
    row: i32,
    at: i32,
    x: Tile<f32, T, P>,
    rows: i32,
) {
    let mut mask = Tile::<i32, T, P>::row_index().lt(rows);
    if N < P {
        mask &= Tile::<i32, T, P>::col_index().lt(N as i32);
    }
    to.store_masked_at([head, row, at], x.cast::<bf16>(), mask);
}

/// Takes the projections of a block apart: `qkv` [T, H·D + KV·D + KV·DV] f32 holds queries, keys and values, head after
/// head. Row t stands at `state[POSITION]` + t.
///
/// The first 2·HALF dimensions of queries and keys turn: dimension i with i + HALF, by position · `inv_freq`\[i\].
/// Queries are multiplied by `scale` and go to `q` [H, T, ≥D]; keys to `k` [KV, positions, ≥D] and values times
/// `value_scale` to `v` [KV, positions, ≥DV] at the rows' positions. Only valid rows are written; columns beyond D and
/// DV stay as they are. HALFP, RESTP and DVP are the powers of two that hold HALF, REST = D − 2·HALF (1 for none) and
/// DV. One item for each head.
#[tile::kernel(crate = tile_lang)]
pub fn rope_cache<
    const T: usize,
    const D: usize,
    const DV: usize,
    const HALF: usize,
    const HALFP: usize,
    const REST: usize,
    const RESTP: usize,
    const DVP: usize,
>(
    qkv: &Global<f32, 2>,
    inv_freq: &Global<f32, 1>,
    state: &Global<i32, 1>,
    q: &mut Global<bf16, 3>,
    k: &mut Global<bf16, 3>,
    v: &mut Global<bf16, 3>,
    scale: f32,
    value_scale: f32,
) {
    require!(HALF + HALF + REST == D, HALF <= HALFP, REST <= RESTP, DV <= DVP, inv_freq.dim(0) == HALF as i32);
    require!(qkv.dim(0) == T as i32, q.dim(1) == T as i32, q.dim(2) >= D as i32, k.dim(2) >= D as i32);
    require!(v.dim(0) == k.dim(0), v.dim(1) == k.dim(1), v.dim(2) >= DV as i32);
    require!(qkv.dim(1) == (q.dim(0) + k.dim(0)) * D as i32 + k.dim(0) * DV as i32);
    let turned = q.dim(0) + k.dim(0);
    let [j] = work([turned + k.dim(0)]);
    let rows = state.at([ROWS]);
    let position = state.at([POSITION]);
    if j < turned {
        let base = j * D as i32;
        let place = (Tile::<i32, T, HALFP>::row_index() + position).cast::<f32>();
        let angle = inv_freq.load::<Tile<f32, HALFP>>([0]).rows::<T>() * place;
        let (cos, sin) = (angle.cos(), angle.sin());
        let a = qkv.load_at::<Tile<f32, T, HALFP>>([0, base]);
        let b = qkv.load_at::<Tile<f32, T, HALFP>>([0, base + HALF as i32]);
        let low = a * cos - b * sin;
        let high = b * cos + a * sin;
        let rest = qkv.load_at::<Tile<f32, T, RESTP>>([0, base + 2 * HALF as i32]);
        if j < q.dim(0) {
            put::<T, HALFP, HALF>(q, j, 0, 0, low * scale, rows);
            put::<T, HALFP, HALF>(q, j, 0, HALF as i32, high * scale, rows);
            if REST > 0 {
                put::<T, RESTP, REST>(q, j, 0, 2 * HALF as i32, rest * scale, rows);
            }
        } else {
            put::<T, HALFP, HALF>(k, j - q.dim(0), position, 0, low, rows);
            put::<T, HALFP, HALF>(k, j - q.dim(0), position, HALF as i32, high, rows);
            if REST > 0 {
                put::<T, RESTP, REST>(k, j - q.dim(0), position, 2 * HALF as i32, rest, rows);
            }
        }
    } else {
        let head = j - turned;
        let x = qkv.load_at::<Tile<f32, T, DVP>>([0, turned * D as i32 + head * DV as i32]);
        put::<T, DVP, DV>(v, head, position, 0, x * value_scale, rows);
    }
}

/// Writes columns `at …` of B neighbouring rows of an array with all heads side by side: P columns, of which the first N exist; only
/// rows below `rows`.
#[tile::func(crate = tile_lang)]
fn put_beside<const B: usize, const P: usize, const N: usize>(
    to: &mut Global<bf16, 2>,
    row: i32,
    at: i32,
    x: Tile<f32, B, P>,
    rows: i32,
) {
    let mut mask = Tile::<i32, B, P>::row_index().lt(rows);
    if N < P {
        mask &= Tile::<i32, B, P>::col_index().lt(N as i32);
    }
    to.store_masked_at([row, at], x.cast::<bf16>(), mask);
}

/// [`rope_cache()`] for a chunk of any number of rows, B at a time: `qkv` [T, H·D + KV·D + KV·DV], and queries go to `q` [T, H·W], W ≥ D
/// columns for each head, side by side as [`super::prefill`] takes them. One item for each head and B rows.
#[tile::kernel(crate = tile_lang)]
pub fn rope_rows<
    const B: usize,
    const D: usize,
    const DV: usize,
    const HALF: usize,
    const HALFP: usize,
    const REST: usize,
    const RESTP: usize,
    const DVP: usize,
    const W: usize,
>(
    qkv: &Global<f32, 2>,
    inv_freq: &Global<f32, 1>,
    state: &Global<i32, 1>,
    q: &mut Global<bf16, 2>,
    k: &mut Global<bf16, 3>,
    v: &mut Global<bf16, 3>,
    scale: f32,
    value_scale: f32,
) {
    require!(HALF + HALF + REST == D, HALF <= HALFP, REST <= RESTP, DV <= DVP, inv_freq.dim(0) == HALF as i32);
    require!(q.dim(0) == qkv.dim(0), D <= W, q.dim(1) % W as i32 == 0, k.dim(2) >= D as i32);
    require!(v.dim(0) == k.dim(0), v.dim(1) == k.dim(1), v.dim(2) >= DV as i32);
    require!(qkv.dim(1) == (q.dim(1) / W as i32 + k.dim(0)) * D as i32 + k.dim(0) * DV as i32);
    let queries = q.dim(1) / W as i32;
    let turned = queries + k.dim(0);
    let [j, b] = work([turned + k.dim(0), cdiv(qkv.dim(0), B)]);
    let first = b * B as i32;
    let rows = state.at([ROWS]) - first;
    let position = state.at([POSITION]) + first;
    if rows > 0 {
        if j < turned {
            let base = j * D as i32;
            let place = (Tile::<i32, B, HALFP>::row_index() + position).cast::<f32>();
            let angle = inv_freq.load::<Tile<f32, HALFP>>([0]).rows::<B>() * place;
            let (cos, sin) = (angle.cos(), angle.sin());
            let low = qkv.load_at::<Tile<f32, B, HALFP>>([first, base]);
            let high = qkv.load_at::<Tile<f32, B, HALFP>>([first, base + HALF as i32]);
            let (low, high) = (low * cos - high * sin, high * cos + low * sin);
            let rest = qkv.load_at::<Tile<f32, B, RESTP>>([first, base + 2 * HALF as i32]);
            if j < queries {
                let at = j * W as i32;
                put_beside::<B, HALFP, HALF>(q, first, at, low * scale, rows);
                put_beside::<B, HALFP, HALF>(q, first, at + HALF as i32, high * scale, rows);
                if REST > 0 {
                    put_beside::<B, RESTP, REST>(q, first, at + 2 * HALF as i32, rest * scale, rows);
                }
            } else {
                put::<B, HALFP, HALF>(k, j - queries, position, 0, low, rows);
                put::<B, HALFP, HALF>(k, j - queries, position, HALF as i32, high, rows);
                if REST > 0 {
                    put::<B, RESTP, REST>(k, j - queries, position, 2 * HALF as i32, rest, rows);
                }
            }
        } else {
            let head = j - turned;
            let x = qkv.load_at::<Tile<f32, B, DVP>>([first, turned * D as i32 + head * DV as i32]);
            put::<B, DVP, DV>(v, head, position, 0, x * value_scale, rows);
        }
    }
}
