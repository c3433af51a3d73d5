//! The largest logits and the choice of a token.

use super::builder::{Build, Built, F32_ERROR, state_words};
use tile_lang::DType::F32;
use tile_models::kernels::{sample, state};
use tile_models::reference::ops::argmax;
use tile_models::reference::sampling::{self, Sampling};

/// Choices are further than this from the borders between tokens.
const MARGIN: f64 = 2e-5;

/// Philox 4x32-10 on 64-bit integers: the first word's upper 24 bits as a number in [0, 1).
fn uniform(seed: u64, sequence: u32, position: u32) -> f64 {
    let mut x = [position, sequence, 0, 0];
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let (a, b) = (u64::from(x[0]) * 0xd251_1f53, u64::from(x[2]) * 0xcd9e_8d57);
        x = [(b >> 32) as u32 ^ x[1] ^ key[0], b as u32, (a >> 32) as u32 ^ x[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    f64::from(x[0] >> 8) / f64::from(1 << 24)
}

/// The largest logit of each chunk and its token.
fn chunks(logits: &[f32], vocab: usize, size: usize) -> (Vec<f32>, Vec<i32>) {
    let mut out = (Vec::new(), Vec::new());
    for row in logits.chunks_exact(vocab) {
        for (c, chunk) in row.chunks(size).enumerate() {
            let at = argmax(chunk).unwrap_or(0);
            out.0.push(chunk[at]);
            out.1.push((c * size + at) as i32);
        }
    }
    out
}

fn random_logits(b: &mut Build, n: usize) -> Vec<f32> {
    (0..n).map(|_| 2.5 * b.random.normal()).collect()
}

fn max_case([t, vocab, bv]: [usize; 3], rows: usize, choices: usize, ties: bool) -> Built {
    let def = sample::logits_max::DEF;
    let mut b = Build::new(def.name, &format!("{vocab}_t{t}_bv{bv}_{choices}of{rows}"));
    let mut logits = random_logits(&mut b, t * vocab);
    if ties {
        // Few distinct numbers: the lowest index counts.
        logits.iter_mut().for_each(|x| *x = x.round().min(3.0));
    }
    b.given(F32, &[t, vocab], logits.clone());
    b.integers(&[8], state_words(7, rows, choices));
    let width = vocab.div_ceil(bv);
    let best = b.out(F32, &[t, width]);
    let token = b.out_integers(&[t, width]);
    b.bytes = (4 * choices * vocab) as u64;
    let expect = move || {
        let (largest, index) = chunks(&logits, vocab, bv);
        let (mut best_out, mut token_out) = (best.start.clone(), token.start.clone());
        let looked_at = (rows - choices) * width..rows * width;
        best_out[looked_at.clone()].copy_from_slice(&largest[looked_at.clone()]);
        token_out[looked_at.clone()].copy_from_slice(&index[looked_at]);
        vec![best.reals(best_out), token.integers(token_out)]
    };
    b.finish(def, &[bv.into()], "f32", 0.0, Box::new(expect))
}

/// Whether f32 arithmetic can't choose otherwise: the same token comes out of a little more and a little less.
fn clear(logits: &[f32], s: &Sampling, u: f64) -> bool {
    let moved = if s.top_p < 1.0 { MARGIN as f32 } else { 0.0 };
    let kept = [s.top_p - moved, s.top_p, s.top_p + moved].map(|top_p| Sampling { top_p, ..*s });
    let kept = kept.map(|s| sampling::distribution(logits, &s));
    let chosen = sampling::draw(&kept[1], u);
    kept.iter().all(|d| [u - MARGIN, u + MARGIN].iter().all(|u| sampling::draw(d, *u) == chosen))
}

fn sample_case([t, vocab, bv, bc]: [usize; 4], rows: usize, choices: usize, s: Sampling) -> Built {
    let def = sample::sample::DEF;
    let Sampling { temperature, top_k, top_p } = s;
    let how = format!("temp{temperature}_k{}_p{top_p}", top_k.unwrap_or(0));
    let mut b = Build::new(def.name, &format!("{vocab}_t{t}_bv{bv}_{choices}of{rows}_{how}"));
    let logits = random_logits(&mut b, t * vocab);
    let position = 77;
    let seed = b.random.bits();
    let row = |t: usize| &logits[t * vocab..][..vocab];
    // The sequence is what is left to choose: the first one whose choices are clear.
    let number = |sequence: u32, row: usize| uniform(seed, sequence, (position + row) as u32);
    let drawn = (rows - choices)..rows;
    let found = (0..10_000).find(|q| temperature == 0.0 || drawn.clone().all(|r| clear(row(r), &s, number(*q, r))));
    let sequence = found.ok_or_else(|| format!("sample {how}: all sequences are nearly tied"))?;
    let choose = |r: usize| sampling::sample(row(r), &s, number(sequence, r)).unwrap_or(0) as i32;
    let chosen: Vec<i32> = drawn.clone().map(choose).collect();
    let (best, token) = chunks(&logits, vocab, bv);
    let width = vocab.div_ceil(bv);
    b.given(F32, &[t, vocab], logits);
    b.given(F32, &[t, width], best);
    b.integers(&[t, width], token);
    let mut request = vec![0; state::REQUEST_WORDS];
    let mut set = |word: i32, value: u32| request[word as usize] = value as i32;
    set(state::SEED_LOW, seed as u32);
    set(state::SEED_HIGH, (seed >> 32) as u32);
    set(state::SEQUENCE, sequence);
    set(state::TEMPERATURE, temperature.to_bits());
    set(state::TOP_K, top_k.unwrap_or(0) as u32);
    set(state::TOP_P, top_p.to_bits());
    b.integers(&[state::REQUEST_WORDS], request);
    b.integers(&[8], state_words(position, rows, choices));
    let choice = b.out_integers(&[t]);
    b.bytes = (4 * choices * if temperature > 0.0 { vocab } else { width }) as u64;
    let expect = move || {
        let mut out = choice.start.clone();
        out[drawn.clone()].copy_from_slice(&chosen);
        vec![choice.integers(out)]
    };
    b.finish(def, &[bv.into(), bc.into()], "f32", F32_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let at = |temperature, top_k: usize, top_p| Sampling { temperature, top_k: (top_k > 0).then_some(top_k), top_p };
    Ok(vec![
        max_case([8, 5003, 1024], 8, 1, false)?,
        max_case([16, 1000, 256], 16, 16, true)?,
        max_case([8, 97, 128], 1, 1, false)?,
        sample_case([8, 5003, 1024, 256], 8, 1, Sampling::GREEDY)?,
        sample_case([16, 1000, 128, 4], 5, 3, Sampling::GREEDY)?,
        sample_case([8, 97, 128, 1], 8, 8, at(1.0, 0, 1.0))?,
        sample_case([8, 5003, 1024, 256], 1, 1, at(0.7, 0, 1.0))?,
        sample_case([8, 1000, 256, 4], 8, 2, at(0.8, 20, 1.0))?,
        sample_case([16, 5003, 1024, 8], 16, 4, at(1.0, 0, 0.9))?,
        sample_case([8, 997, 128, 8], 3, 2, at(1.3, 50, 0.8))?,
        sample_case([8, 64, 64, 1], 2, 2, at(1.0, 1, 1.0))?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_is_philox() {
        // Counter and key of zeros: the first word of the published test vector is 6627e8d5.
        assert_eq!(uniform(0, 0, 0), f64::from(0x0066_27e8) / f64::from(1 << 24));
    }
}
