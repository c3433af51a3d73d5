//! Attention of many rows over the caches.

use super::Expected;
use super::builder::{Build, Built, to_bf16};
use tile_lang::DType::Bf16;
use tile_models::kernels::prefill::{self, HIDDEN};
use tile_models::reference::ops;

/// Sees everything before it, or everything.
const ALL: usize = 1 << 30;
/// The error allowed of an element, relative to Σ wⱼ·|vⱼ|, what its row's weights make of the magnitudes of its column's values. Half a unit in the
/// last place of bf16 is at most 2⁻⁸ of a number. Each weight is rounded, which changes the sum by at most that part of this, and
/// so are the result and the reference, neither of which is larger than it: 3·2⁻⁸. Sums in f32 and exponentials are exact to far less
/// than 2⁻¹². A key too many, or one too few, has a share of 1/n in the first rows, where n is small.
const ERROR: f64 = 3.0 / 256.0 + 1.0 / 4096.0;
/// Rows of a text up to which all heads are compared; of longer ones every eighth.
const COMPARED: usize = 1024;
/// Bytes of a part of keys or values that is staged by itself.
const PART: usize = 16 * 1024;

/// One text of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Rows of queries, the last ones of the text.
    pub rows: usize,
    /// Keys in the cache, those of the rows among them.
    pub keys: usize,
}

impl Text {
    /// A text without anything in the cache before.
    pub fn whole(rows: usize) -> Self {
        Text { rows, keys: rows }
    }
}

/// Sizes of a case.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Query heads and KV heads.
    pub heads: [usize; 2],
    /// Width of queries and keys, a multiple of 64, and of values.
    pub widths: [usize; 2],
    /// Rows of queries and keys of a tile.
    pub tile: [usize; 2],
    /// Texts.
    pub texts: Vec<Text>,
    /// Keys of a page; `None` for caches in one piece.
    pub page: Option<usize>,
    /// Keys that a row sees before and after itself.
    pub sight: [usize; 2],
    /// Whether heads have sinks.
    pub sinks: bool,
}

impl Shape {
    /// Causal attention of 8 heads of 64.
    pub fn causal(texts: Vec<Text>) -> Self {
        let (heads, widths, tile) = ([8, 2], [64, 64], [128, 128]);
        Shape { heads, widths, tile, texts, page: None, sight: [ALL, 0], sinks: false }
    }

    fn name(&self) -> String {
        let Shape { heads: [h, kv], widths: [d, dv], tile: [bq, bkv], texts, page, sight, sinks } = self;
        let texts: Vec<String> = texts.iter().map(|t| format!("{}of{}", t.rows, t.keys)).collect();
        let see = match sight {
            [ALL, 0] => "causal".to_owned(),
            [ALL, _] => "full".to_owned(),
            [before, 0] => format!("w{before}"),
            [before, after] => format!("w{before}_{after}"),
        };
        let page = page.map_or(String::new(), |p| format!("_paged{p}"));
        let sinks = if *sinks { "_sinks" } else { "" };
        format!("h{h}_{kv}_d{d}_{dv}_{}_{see}{page}{sinks}_{bq}x{bkv}", texts.join("_"))
    }

    /// The keys that a row sees.
    fn seen(&self, text: Text, row: usize) -> std::ops::Range<usize> {
        let place = text.keys - text.rows + row;
        (place + 1).saturating_sub(self.sight[0])..text.keys.min(place + self.sight[1] + 1)
    }
}

/// One head of one text: rows of queries (times log2 e / √d), of keys and of values; [rows, dv] in f32, and what comes of the values'
/// magnitudes.
fn head(s: &Shape, text: Text, q: &[f32], k: &[f32], v: &[f32], sink: Option<f32>) -> [Vec<f32>; 2] {
    const ROWS: usize = 64;
    let [d, dv] = s.widths;
    let mut turned = vec![0.0; v.len()];
    for (at, row) in v.chunks_exact(dv).enumerate() {
        row.iter().enumerate().for_each(|(c, x)| turned[c * text.keys + at] = *x);
    }
    let mut out = [Vec::with_capacity(text.rows * dv), Vec::with_capacity(text.rows * dv)];
    for first in (0..text.rows).step_by(ROWS) {
        let rows = ROWS.min(text.rows - first);
        let end = s.seen(text, first + rows - 1).end;
        let mut weights = ops::linear_f32(&q[first * d..][..rows * d], &k[..end * d], end);
        for (r, scores) in weights.chunks_exact_mut(end).enumerate() {
            let seen = s.seen(text, first + r);
            let sink = sink.map(|x| x * std::f32::consts::LOG2_E);
            let top = scores[seen.clone()].iter().copied().chain(sink).fold(f32::NEG_INFINITY, f32::max);
            let mut sum = sink.map_or(0.0, |x| (x - top).exp2());
            for (c, x) in scores.iter_mut().enumerate() {
                *x = if seen.contains(&c) { (*x - top).exp2() } else { 0.0 };
                sum += *x;
            }
            scores.iter_mut().for_each(|x| *x /= sum);
        }
        let values: Vec<f32> = turned.chunks_exact(text.keys).flat_map(|c| &c[..end]).copied().collect();
        out[0].extend(ops::linear_f32(&weights, &values, dv));
        let magnitudes: Vec<f32> = values.iter().map(|x| x.abs()).collect();
        out[1].extend(ops::linear_f32(&weights, &magnitudes, dv));
    }
    out
}

/// Queries, keys and values as the reference takes them: rows of each head.
struct Heads {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Rows `rows` of columns `at …` of a matrix with `width` columns.
fn columns(x: &[f32], width: usize, rows: std::ops::Range<usize>, at: usize, count: usize) -> Vec<f32> {
    rows.flat_map(|r| &x[r * width + at..][..count]).copied().collect()
}

/// Attention of all texts.
pub fn prefill_case(s: &Shape) -> Built {
    let Shape { heads: [heads, kv], widths: [d, dv], tile: [bq, bkv], .. } = *s;
    let def = prefill::prefill::DEF;
    let mut b = Build::new(def.name, &s.name());
    let total: usize = s.texts.iter().map(|t| t.rows).sum();
    let longest = s.texts.iter().map(|t| t.keys).max().unwrap_or(0).max(1);
    let page = s.page.unwrap_or(longest.next_multiple_of(bkv));
    let most = longest.div_ceil(page);
    let count = s.texts.len() * most;
    let pitch = [d + 8, dv + 8];
    let q = b.rows(Bf16, &[total, heads * d], 2.0 * std::f32::consts::LOG2_E / (d as f32).sqrt());
    let k = b.rows(Bf16, &[count, kv, page, pitch[0]], 1.0);
    let v = b.rows(Bf16, &[count, kv, page, pitch[1]], 1.0);
    // Pages lie in any order.
    let mut order: Vec<usize> = (0..count).collect();
    (1..count).rev().for_each(|i| order.swap(i, b.random.bits() as usize % (i + 1)));
    b.integers(&[s.texts.len(), most], order.iter().map(|p| *p as i32).collect());
    let starts: Vec<usize> =
        s.texts.iter().scan(0, |at, t| Some(std::mem::replace(at, *at + t.rows))).chain([total]).collect();
    b.integers(&[starts.len()], starts.iter().map(|x| *x as i32).collect());
    b.integers(&[s.texts.len()], s.texts.iter().map(|t| t.keys as i32).collect());
    let sinks: Vec<f32> =
        (0..heads).map(|i| if !s.sinks || i == 1 { HIDDEN } else { 2.0 * b.random.normal() }).collect();
    b.given(tile_lang::DType::F32, &[heads], sinks.clone());
    let out = b.out(Bf16, &[total, heads * dv]);
    b.i32(s.texts.iter().map(|t| t.rows.div_ceil(bq)).max().unwrap_or(0).max(1));
    b.i32(s.sight[0]);
    b.i32(s.sight[1]);
    let seen: usize = s.texts.iter().map(|t| (0..t.rows).map(|r| s.seen(*t, r).len()).sum::<usize>()).sum();
    b.flops = (2 * seen * heads * (d + dv)) as u64;
    let keys: usize = s.texts.iter().map(|t| t.keys).sum();
    b.bytes = (2 * kv * keys * (d + dv) + 2 * total * heads * (d + dv)) as u64;
    let shape = s.clone();
    let expect = move || {
        let mut data = [vec![0.0; total * heads * dv], vec![f32::INFINITY; total * heads * dv]];
        for (i, text) in shape.texts.iter().enumerate() {
            for h in (0..heads).step_by(if text.rows > COMPARED { 8 } else { 1 }) {
                let cached = |x: &[f32], pitch: usize, width: usize| -> Vec<f32> {
                    let at =
                        |p: usize| ((order[i * most + p / page] * kv + h / (heads / kv)) * page + p % page) * pitch;
                    (0..text.keys).flat_map(|p| &x[at(p)..][..width]).copied().collect()
                };
                let own = Heads {
                    q: columns(&q, heads * d, starts[i]..starts[i + 1], h * d, d),
                    k: cached(&k, pitch[0], d),
                    v: cached(&v, pitch[1], dv),
                };
                let sink = (sinks[h] > HIDDEN).then_some(sinks[h]);
                for (data, of) in data.iter_mut().zip(head(&shape, *text, &own.q, &own.k, &own.v, sink)) {
                    for (r, row) in of.chunks_exact(dv).enumerate() {
                        data[(starts[i] + r) * heads * dv + h * dv..][..dv].copy_from_slice(row);
                    }
                }
            }
        }
        let [data, magnitudes] = data;
        vec![Expected { magnitudes: Some(magnitudes), ..out.reals(to_bf16(data)) }]
    };
    let part = (PART / 2 / dv).min(bkv);
    let generics = [bq, bkv, d / 64, 64, bkv / part, part, dv].map(Into::into);
    b.finish(def, &generics, "bf16", ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let text = |rows, keys| Text { rows, keys };
    let shapes = [
        Shape { heads: [4, 2], widths: [192, 128], ..Shape::causal(vec![Text::whole(200)]) },
        Shape {
            widths: [128, 128],
            sinks: true,
            ..Shape::causal(vec![Text::whole(37), Text::whole(129), text(1, 300)])
        },
        Shape { heads: [2, 1], page: Some(128), ..Shape::causal(vec![text(130, 517), text(64, 64)]) },
        Shape { heads: [2, 2], sight: [ALL, ALL], ..Shape::causal(vec![text(140, 140), text(9, 255)]) },
        Shape { heads: [4, 1], sight: [100, 0], sinks: true, page: Some(256), ..Shape::causal(vec![text(300, 900)]) },
        Shape { heads: [2, 1], tile: [128, 64], sight: [7, 3], ..Shape::causal(vec![text(150, 190)]) },
        Shape { heads: [2, 1], widths: [192, 128], tile: [128, 64], ..Shape::causal(vec![text(129, 1000)]) },
    ];
    shapes.iter().map(prefill_case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use tile_models::reference::ops::AttentionShape;

    /// The head of these cases, which is fast enough for long texts, against the reference.
    #[test]
    fn a_head_is_that_of_the_reference() {
        let mut random = Random(7);
        for (text, window, sink) in [
            (Text::whole(70), None, None),
            (Text { rows: 3, keys: 90 }, Some(11), Some(0.5)),
            (Text { rows: 66, keys: 67 }, Some(1), None),
        ] {
            let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| random.normal()).collect() };
            let (q, k, v) = (numbers(text.rows * 64), numbers(text.keys * 64), numbers(text.keys * 32));
            let shape = Shape { widths: [64, 32], sight: [window.unwrap_or(ALL), 0], ..Shape::causal(vec![text]) };
            let scaled: Vec<f32> = q.iter().map(|x| x * std::f32::consts::LOG2_E / 8.0).collect();
            let [own, _] = head(&shape, text, &scaled, &k, &v, sink);
            let whole = AttentionShape { heads: 1, kv_heads: 1, head_dim: 64, v_head_dim: 32, window };
            let at: Vec<usize> = (text.keys - text.rows..text.keys).collect();
            let all: Vec<usize> = (0..text.keys).collect();
            let want = ops::attention(&whole, &q, &at, &k, &v, &all, sink.map(|s| vec![s]).as_deref());
            assert!(own.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4), "{text:?}");
        }
    }
}
