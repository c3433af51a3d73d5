//! Routing.

use super::builder::{Build, Built, EPS, F32_ERROR, state_words};
use tile_lang::DType::{self, Bf16, F32};
use tile_models::graph::Format;
use tile_models::kernels::router;
use tile_models::reference::moe::route_one;
use tile_models::reference::ops;

/// Routing is not nearly tied in any case.
const MARGIN: f32 = 1e-4;

fn logits_case(w_type: DType, norm: bool, parts: usize, [experts, k, t, bk]: [usize; 4]) -> Built {
    let def = router::router_logits::DEF;
    let mut b =
        Build::new(def.name, &format!("{w_type}_{experts}x{k}_t{t}_s{parts}{}", if norm { "_norm" } else { "" }));
    b.flops = (2 * experts * k * t) as u64;
    let w = b.matrix(Format::Plain(w_type), experts, k).to_f32();
    let x = b.rows(F32, &[t, k], 1.0);
    let gain = b.gain(k, norm);
    let part = b.out(F32, &[parts, t, experts]);
    b.f32(EPS);
    let split = usize::from(w_type != Bf16);
    let generics = [w_type.into(), F32.into(), usize::from(norm).into(), split.into(), t.into(), 16.into(), bk.into()];
    let expect = move || {
        let h = gain.as_ref().map_or_else(|| x.clone(), |g| ops::rms_norm(&x, g, EPS));
        let each = k.div_ceil(bk).div_ceil(parts) * bk;
        let mut out = vec![0.0; parts * t * experts];
        for (s, row, e) in (0..parts).flat_map(|s| (0..t).flat_map(move |r| (0..experts).map(move |e| (s, r, e)))) {
            let columns = (s * each).min(k)..((s + 1) * each).min(k);
            let terms = columns.map(|c| f64::from(h[row * k + c]) * f64::from(w[e * k + c]));
            out[(s * t + row) * experts + e] = terms.sum::<f64>() as f32;
        }
        vec![part.reals(out)]
    };
    b.finish(def, &generics, w_type.name(), F32_ERROR / 10.0, Box::new(expect))
}

/// Sizes of a case of the choice.
struct Choice {
    t: usize,
    experts: usize,
    top_k: usize,
    parts: usize,
    rows: usize,
    normalize: bool,
    bias: f32,
    /// Room in EP and SP; what is needed if 0.
    padded: [usize; 2],
}

fn route_case(c: Choice) -> Built {
    let Choice { t, experts, top_k, parts, rows, normalize, bias: spread, padded } = c;
    let def = router::route::DEF;
    let mut b = Build::new(def.name, &format!("{top_k}of{experts}_t{t}_s{parts}_rows{rows}_{normalize}"));
    let scaling = 1.5;
    let bias: Vec<f32> = (0..experts).map(|_| spread * b.random.normal()).collect();
    // Each row until its choice is clear.
    let mut logits = Vec::with_capacity(t * experts);
    while logits.len() < t * experts {
        let row: Vec<f32> = (0..experts).map(|_| 1.5 * b.random.normal()).collect();
        if route_one(&row, &bias, top_k, normalize, scaling).margin > MARGIN {
            logits.extend(row);
        }
    }
    // In parts that add up to them: all but the last random.
    let mut part: Vec<f32> = (0..(parts - 1) * t * experts).map(|_| b.random.normal()).collect();
    for (i, x) in logits.iter_mut().enumerate() {
        let others: f32 = (0..parts - 1).map(|s| part[s * t * experts + i]).sum();
        let last = *x - others;
        *x = others + last;
        part.push(last);
    }
    b.given(F32, &[parts, t, experts], part);
    b.vector(experts, |e, _| bias[e]);
    b.integers(&[8], state_words(9, rows, 1));
    let slots = experts.min(t * top_k);
    let weights = b.out(F32, &[experts, t]);
    let list = b.out_integers(&[slots]);
    let count = b.out_integers(&[1]);
    b.f32(scaling);
    let expect = move || {
        let mut shares = vec![0.0; experts * t];
        let mut used = vec![false; experts];
        for (row, logits) in logits.chunks_exact(experts).take(rows).enumerate() {
            let route = route_one(logits, &bias, top_k, normalize, scaling);
            for (e, weight) in route.experts.into_iter().zip(route.weights) {
                used[e] = true;
                shares[e * t + row] = weight;
            }
        }
        let mut places: Vec<i32> = (0..experts).filter(|e| used[*e]).map(|e| e as i32).collect();
        let number = places.len() as i32;
        places.resize(slots, 0);
        vec![weights.reals(shares), list.integers(places), count.integers(vec![number])]
    };
    let ep = padded[0].max(experts.next_power_of_two());
    let sp = padded[1].max(slots.next_power_of_two());
    let generics = [t, ep, sp, top_k, usize::from(normalize)].map(Into::into);
    b.finish(def, &generics, "f32", F32_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let choice = |t, experts, top_k, parts, rows| Choice {
        t,
        experts,
        top_k,
        parts,
        rows,
        normalize: true,
        bias: 0.1,
        padded: [0, 0],
    };
    Ok(vec![
        logits_case(F32, true, 6, [256, 1536, 8, 256])?,
        logits_case(Bf16, true, 3, [37, 700, 16, 128])?,
        logits_case(F32, false, 1, [8, 96, 8, 128])?,
        // The last part has no columns.
        logits_case(F32, false, 4, [20, 650, 16, 128])?,
        route_case(choice(8, 256, 8, 8, 8))?,
        route_case(Choice { normalize: false, ..choice(8, 256, 8, 2, 1) })?,
        route_case(choice(16, 37, 3, 3, 16))?,
        route_case(Choice { bias: 1.0, ..choice(8, 8, 1, 1, 5) })?,
        route_case(Choice { bias: 0.0, ..choice(16, 5, 5, 2, 1) })?,
    ])
}
