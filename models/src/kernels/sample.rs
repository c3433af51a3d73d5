//! The choice of the next token.
//!
//! [`logits_max()`] finds the largest logit of each chunk of the vocabulary, [`sample()`] chooses. Tokens are ranked
//! by logit, equal ones by index. Sets of kept tokens are described by a key (see `key`) and an index: kept is what
//! lies above the key, and what lies at it below the index. Sums run over chunks in order, so the same logits and the
//! same number give the same token.

use super::state::{CHOICES, POSITION, ROWS, SEED_HIGH, SEED_LOW, SEQUENCE, TEMPERATURE, TOP_K, TOP_P};
use tile_lang::dsl::*;
use tile_lang::tile;

/// Below every logit.
const NONE: f32 = f32::NEG_INFINITY;

/// The largest logit of each row and chunk of BV tokens and its index: `logits` [T, V], `best`, `token` [T, ⌈V/BV⌉].
/// One item for each row and chunk; only rows that need a choice are looked at.
#[tile::kernel(crate = tile_lang)]
pub fn logits_max<const BV: usize>(
    logits: &Global<f32, 2>,
    state: &Global<i32, 1>,
    best: &mut Global<f32, 2>,
    token: &mut Global<i32, 2>,
) {
    require!(best.dim(0) == logits.dim(0), best.dim(1) == cdiv(logits.dim(1), BV));
    require!(token.dim(0) == best.dim(0), token.dim(1) == best.dim(1));
    let [t, c] = work([best.dim(0), best.dim(1)]);
    let rows = state.at([ROWS]);
    if t < rows && t >= rows - state.at([CHOICES]) {
        let start = c * BV as i32;
        let x = logits.load::<Tile<f32, BV>>([t, c]).keep(|i, _| start + i < logits.dim(1), NONE);
        best.set([t, c], x.all_max());
        token.set([t, c], start + x.all_argmax());
    }
}

/// An integer that orders as the number does.
#[tile::func(crate = tile_lang)]
fn key<const BV: usize>(x: Tile<f32, BV>) -> Tile<i32, BV> {
    let bits = x.to_bits();
    bits ^ ((bits >> 31) & 0x7fff_ffff)
}

/// `key` of one number.
#[tile::func(crate = tile_lang)]
fn key_of(x: f32) -> i32 {
    let bits = to_bits(x);
    bits ^ ((bits >> 31) & 0x7fff_ffff)
}

/// Which of the tokens of chunk `c` are kept.
#[tile::func(crate = tile_lang)]
fn kept<const BV: usize>(keys: Tile<i32, BV>, c: i32, vocab: i32, least: i32, ties: i32) -> Tile<bool, BV> {
    let index = Tile::<i32, BV>::row_index() + c * BV as i32;
    index.lt(vocab) & (keys.gt(least) | (keys.eq(least) & index.lt(ties)))
}

/// The number of tokens with a key of at least `least`, and the sum of exp((x − top) / temperature) over those of them
/// that `floor` and `floor_ties` keep. Chunks without such a token are passed over.
#[tile::func(crate = tile_lang)]
fn above<const BV: usize>(
    logits: &Global<f32, 2>,
    best: &Global<f32, 2>,
    t: i32,
    least: i32,
    floor: i32,
    floor_ties: i32,
    top: f32,
    inverse: f32,
) -> (i32, f32) {
    let mut count = 0;
    let mut mass = 0.0;
    for c in 0..best.dim(1) {
        if key_of(best.at([t, c])) >= least {
            let x = logits.load::<Tile<f32, BV>>([t, c]);
            let keys = key::<BV>(x);
            let inside = kept::<BV>(keys, c, logits.dim(1), floor, floor_ties) & keys.ge(least);
            count += select(inside, Tile::<i32, BV>::full(1), 0).all_sum();
            mass += select(inside, ((x - top) * inverse).exp(), 0.0).all_sum();
        }
    }
    (count, mass)
}

/// The index below which exactly `count` tokens have the key `least`; at least so many have it.
#[tile::func(crate = tile_lang)]
fn ties_end<const BV: usize>(logits: &Global<f32, 2>, best: &Global<f32, 2>, t: i32, least: i32, count: i32) -> i32 {
    let mut seen = 0;
    let mut end = 0;
    for c in 0..best.dim(1) {
        if seen < count && key_of(best.at([t, c])) >= least {
            let index = Tile::<i32, BV>::row_index() + c * BV as i32;
            let equal = key::<BV>(logits.load::<Tile<f32, BV>>([t, c])).eq(least) & index.lt(logits.dim(1));
            let here = select(equal, Tile::<i32, BV>::full(1), 0);
            if seen + here.all_sum() < count {
                seen += here.all_sum();
            } else {
                // The smallest end in this chunk, by bisection.
                let mut low = c * BV as i32;
                let mut high = low + BV as i32;
                for _ in pipelined::<1>(0..32) {
                    let middle = low + (high - low) / 2;
                    let enough = seen + select(index.lt(middle), here, 0).all_sum() >= count;
                    high = select(enough, middle, high);
                    low = select(enough, low, (middle + 1).min(high));
                }
                seen = count;
                end = high;
            }
        }
    }
    end
}

/// A number in [0, 1) that depends on the seed, the sequence and the position only: Philox 4x32-10.
#[tile::func(crate = tile_lang)]
fn uniform(seed_low: i32, seed_high: i32, sequence: i32, position: i32) -> f32 {
    let mut a = position;
    let mut b = sequence;
    let mut c = 0;
    let mut d = 0;
    let mut low = seed_low;
    let mut high = seed_high;
    for _ in 0..10 {
        let first = mul_high(c, PHILOX_B) ^ b ^ low;
        let third = mul_high(a, PHILOX_A) ^ d ^ high;
        b = c * PHILOX_B;
        d = a * PHILOX_A;
        a = first;
        c = third;
        low += WEYL_A;
        high += WEYL_B;
    }
    shr_logical(a, 8) as f32 * (1.0 / 16_777_216.0)
}

/// Multiplier of the first word.
pub const PHILOX_A: i32 = 0xd251_1f53_u32 as i32;
/// Multiplier of the third word.
pub const PHILOX_B: i32 = 0xcd9e_8d57_u32 as i32;
/// Step of the first key word.
pub const WEYL_A: i32 = 0x9e37_79b9_u32 as i32;
/// Step of the second key word.
pub const WEYL_B: i32 = 0xbb67_ae85_u32 as i32;

/// Chooses the next token of each row that needs one: `logits` [T, V], `best`, `token` as [`logits_max()`] wrote them,
/// `choice` \[T\]. One item for each row.
///
/// Temperature 0: the largest logit, the lowest index of several. Else the k largest are kept (k = 0: all), of those
/// the fewest largest whose probabilities reach top-p, and the choice is the first kept token, in the order of
/// indices, at which the sum of probabilities exceeds the row's number (see `uniform`).
#[tile::kernel(crate = tile_lang)]
pub fn sample<const BV: usize, const BC: usize>(
    logits: &Global<f32, 2>,
    best: &Global<f32, 2>,
    token: &Global<i32, 2>,
    request: &Global<i32, 1>,
    state: &Global<i32, 1>,
    choice: &mut Global<i32, 1>,
) {
    require!(best.dim(0) == logits.dim(0), best.dim(1) == cdiv(logits.dim(1), BV), choice.dim(0) == logits.dim(0));
    let [t] = work([choice.dim(0)]);
    let rows = state.at([ROWS]);
    if t < rows && t >= rows - state.at([CHOICES]) {
        let chunks = best.dim(1);
        let mut top = NONE;
        let mut chosen = token.at([t, 0]);
        for j in 0..cdiv(chunks, BC) {
            let x = best.load::<Tile<f32, BC>>([t, j]).keep(|i, _| j * BC as i32 + i < chunks, NONE);
            if x.all_max() > top {
                top = x.all_max();
                chosen = token.at([t, j * BC as i32 + x.all_argmax()]);
            }
        }
        let temperature = from_bits(request.at([TEMPERATURE]));
        if temperature > 0.0 {
            let u = uniform(
                request.at([SEED_LOW]),
                request.at([SEED_HIGH]),
                request.at([SEQUENCE]),
                state.at([POSITION]) + t,
            );
            chosen = draw::<BV>(
                logits,
                best,
                t,
                top,
                1.0 / temperature,
                request.at([TOP_K]),
                from_bits(request.at([TOP_P])),
                u,
            );
        }
        choice.set([t], chosen);
    }
}

/// The choice of row `t` at a temperature above 0.
#[tile::func(crate = tile_lang)]
fn draw<const BV: usize>(
    logits: &Global<f32, 2>,
    best: &Global<f32, 2>,
    t: i32,
    top: f32,
    inverse: f32,
    top_k: i32,
    top_p: f32,
    u: f32,
) -> i32 {
    let vocab = logits.dim(1);
    let ceiling = key_of(top) + 1;
    // Top-k: the largest key that at least k tokens reach.
    let mut least = i32::MIN;
    let mut ties = vocab;
    if top_k > 0 && top_k < vocab {
        let mut high = ceiling;
        for _ in pipelined::<1>(0..32) {
            let middle = least + shr_logical(high - least, 1);
            let (count, _) = above::<BV>(logits, best, t, middle, i32::MIN, vocab, top, inverse);
            let enough = count >= top_k;
            least = select(enough, middle, least);
            high = select(enough, high, middle);
        }
        let (count, _) = above::<BV>(logits, best, t, least + 1, i32::MIN, vocab, top, inverse);
        ties = ties_end::<BV>(logits, best, t, least, top_k - count);
    }
    let (_, mass) = above::<BV>(logits, best, t, least, least, ties, top, inverse);
    let mut total = mass;
    if top_p < 1.0 {
        // Top-p: the largest key whose tokens and those above reach the limit.
        let limit = total * top_p;
        let mut low = least;
        let mut high = ceiling;
        for _ in pipelined::<1>(0..32) {
            let middle = low + shr_logical(high - low, 1);
            let (_, mass) = above::<BV>(logits, best, t, middle, least, ties, top, inverse);
            let enough = mass >= limit;
            low = select(enough, middle, low);
            high = select(enough, high, middle);
        }
        let (more, before) = above::<BV>(logits, best, t, low + 1, least, ties, top, inverse);
        let (equal, reached) = above::<BV>(logits, best, t, low, least, ties, top, inverse);
        // As many of the equal tokens as the limit needs, at least one in all.
        let one = (reached - before) / (equal - more) as f32;
        let mut needed = ((limit - before) / one).min(16_777_216.0) as i32;
        needed = select(before + needed as f32 * one < limit, needed + 1, needed);
        needed = needed.max(select(more == 0, 1, 0)).min(equal - more);
        ties = ties_end::<BV>(logits, best, t, low, needed);
        least = low;
        total = before + needed as f32 * one;
    }
    pick::<BV>(logits, best, t, top, inverse, least, ties, total * u)
}

/// The first kept token, in the order of indices, at which the sum of weights exceeds `target`; the last kept one if
/// none does.
#[tile::func(crate = tile_lang)]
fn pick<const BV: usize>(
    logits: &Global<f32, 2>,
    best: &Global<f32, 2>,
    t: i32,
    top: f32,
    inverse: f32,
    least: i32,
    ties: i32,
    target: f32,
) -> i32 {
    let mut sum = 0.0;
    let mut found = -1;
    let mut last = 0;
    for c in 0..best.dim(1) {
        if found < 0 && key_of(best.at([t, c])) >= least {
            let x = logits.load::<Tile<f32, BV>>([t, c]);
            let index = Tile::<i32, BV>::row_index() + c * BV as i32;
            let inside = kept::<BV>(key::<BV>(x), c, logits.dim(1), least, ties);
            let weights = select(inside, ((x - top) * inverse).exp(), 0.0);
            let next = sum + weights.all_sum();
            last = last.max(select(inside, index, 0).all_max());
            if next > target {
                // The smallest index whose weights up to it exceed the target, by bisection.
                let mut low = c * BV as i32;
                let mut high = low + (BV as i32 - 1);
                for _ in pipelined::<1>(0..32) {
                    let middle = low + (high - low) / 2;
                    let exceeds = sum + select(index.le(middle), weights, 0.0).all_sum() > target;
                    high = select(exceeds, middle, high);
                    low = select(exceeds, low, (middle + 1).min(high));
                }
                found = high;
            }
            sum = next;
        }
    }
    select(found < 0, last, found)
}
