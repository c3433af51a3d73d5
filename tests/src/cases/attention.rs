//! Attention over the caches in splits, and putting the splits together.

use super::builder::{BF16_ERROR, Build, Built, state_words, to_bf16};
use tile_lang::DType::{Bf16, F32};
use tile_models::kernels::attention;
use tile_models::reference::ops::{self, AttentionShape};

/// Sizes of a case.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Query heads.
    pub heads: usize,
    /// KV heads.
    pub kv: usize,
    /// Width of queries and keys, a multiple of 16.
    pub d: usize,
    /// Width of values.
    pub dv: usize,
    /// Rows.
    pub t: usize,
    /// Most splits.
    pub splits: usize,
    /// Keys in a tile.
    pub tile: usize,
    /// Position of the first row.
    pub position: usize,
    /// Valid rows.
    pub rows: usize,
    /// Keys that a row sees.
    pub window: usize,
    /// Positions of the caches.
    pub positions: usize,
}

impl Shape {
    fn name(&self) -> String {
        let Shape { heads, kv, d, dv, t, splits, tile, position, rows, window, .. } = self;
        let window = if *window > 1 << 20 { "all".to_owned() } else { window.to_string() };
        format!("h{heads}_{kv}_d{d}_{dv}_t{t}_s{splits}x{tile}_p{position}_{rows}_w{window}")
    }

    /// Columns of values in the splits.
    fn columns(&self) -> usize {
        self.dv.next_power_of_two().max(8)
    }

    /// The keys that row `t` sees in split `s`.
    fn seen(&self, t: usize, s: usize) -> std::ops::Range<usize> {
        let p = self.position + t;
        let low = (p + 1).saturating_sub(self.window);
        let first = low / self.tile;
        let tiles = p / self.tile + 1 - first;
        let each = tiles.div_ceil(self.splits);
        let begin = (first + s * each) * self.tile;
        let end = (begin + each * self.tile).min(p + 1);
        begin.max(low)..end
    }
}

/// Queries, keys and values: [H, T, D] times log2 e / √D, [KV, positions, D] and [KV, positions, DV].
#[derive(Clone, Debug)]
struct Tensors {
    shape: Shape,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    pitch: [usize; 2],
}

/// What the splits hold: values weighed, largest scores, sums.
struct Splits {
    part: Vec<f32>,
    top: Vec<f32>,
    sum: Vec<f32>,
}

impl Tensors {
    fn key(&self, head: usize, position: usize) -> &[f32] {
        let at = (head / (self.shape.heads / self.shape.kv)) * self.shape.positions + position;
        &self.k[at * self.pitch[0]..][..self.shape.d]
    }

    fn value(&self, head: usize, position: usize, column: usize) -> f64 {
        let at = (head / (self.shape.heads / self.shape.kv)) * self.shape.positions + position;
        f64::from(self.v[at * self.pitch[1] + column])
    }

    /// In f64, over what was there before.
    fn splits(&self, mut out: Splits) -> Splits {
        let Shape { heads, d, t, splits, rows, .. } = self.shape;
        let columns = self.shape.columns();
        for (row, head, s) in (0..rows).flat_map(|r| (0..heads).flat_map(move |h| (0..splits).map(move |s| (r, h, s))))
        {
            let seen = self.shape.seen(row, s);
            if seen.is_empty() {
                continue;
            }
            let q = &self.q[(head * t + row) * d..][..d];
            let score = |p| q.iter().zip(self.key(head, p)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let scores: Vec<f64> = seen.clone().map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|x| (x - top).exp2()).collect();
            let at = (row * heads + head) * splits + s;
            out.top[at] = top as f32;
            out.sum[at] = weights.iter().sum::<f64>() as f32;
            let to = &mut out.part[((row * splits + s) * heads + head) * columns..][..columns];
            for (c, to) in to.iter_mut().enumerate() {
                *to = seen.clone().zip(&weights).map(|(p, w)| w * self.value(head, p, c)).sum::<f64>() as f32;
            }
        }
        out
    }

    /// The whole attention by the reference: [rows, H, DV].
    fn whole(&self, sinks: Option<&[f32]>) -> Vec<f32> {
        let Shape { heads, kv, d, dv, t, position, rows, window, .. } = self.shape;
        let shape = AttentionShape { heads, kv_heads: kv, head_dim: d, v_head_dim: dv, window: Some(window) };
        let unscale = (d as f32).sqrt() / std::f32::consts::LOG2_E;
        let mut q = Vec::with_capacity(rows * heads * d);
        for row in 0..rows {
            for head in 0..heads {
                q.extend(self.q[(head * t + row) * d..][..d].iter().map(|x| x * unscale));
            }
        }
        let last = position + rows;
        let (mut k, mut v) = (Vec::new(), Vec::new());
        for p in 0..last {
            for head in (0..heads).step_by(heads / kv) {
                k.extend_from_slice(self.key(head, p));
                v.extend((0..dv).map(|c| self.value(head, p, c) as f32));
            }
        }
        let at: Vec<usize> = (position..last).collect();
        ops::attention(&shape, &q, &at, &k, &v, &(0..last).collect::<Vec<_>>(), sinks)
    }
}

fn tensors(b: &mut Build, shape: Shape, as_operands: bool) -> Tensors {
    let Shape { heads, kv, d, t, positions, .. } = shape;
    let pitch = [d + 8, shape.columns() + 8];
    let scale = 2.0 * std::f32::consts::LOG2_E / (d as f32).sqrt();
    if as_operands {
        let q = b.rows(Bf16, &[heads, t * d], scale);
        let k = b.rows(Bf16, &[kv, positions, pitch[0]], 1.0);
        let v = b.rows(Bf16, &[kv, positions, pitch[1]], 1.0);
        return Tensors { shape, q, k, v, pitch };
    }
    let mut random = |n: usize, scale: f32| to_bf16((0..n).map(|_| scale * b.random.normal()).collect());
    let q = random(heads * t * d, scale);
    let (k, v) = (random(kv * positions * pitch[0], 1.0), random(kv * positions * pitch[1], 1.0));
    Tensors { shape, q, k, v, pitch }
}

/// The splits of an attention.
pub fn attention_case(s: Shape) -> Built {
    let Shape { heads, kv, d, t, splits, rows, .. } = s;
    let def = attention::attention::DEF;
    let mut b = Build::new(def.name, &s.name());
    let x = tensors(&mut b, s, true);
    b.integers(&[8], state_words(s.position, rows, 1));
    let columns = s.columns();
    let part = b.out(F32, &[t, splits, heads, columns]);
    let top = b.out(F32, &[t, heads, splits]);
    let sum = b.out(F32, &[t, heads, splits]);
    b.i32(s.window);
    let seen: usize = (0..rows).flat_map(|r| (0..splits).map(move |i| s.seen(r, i).len())).sum();
    let keys = s.position + rows - (s.position + 1).saturating_sub(s.window);
    b.bytes = (2 * kv * keys * (d + s.dv) + rows * heads * (2 * d + 4 * columns)) as u64;
    b.flops = (2 * seen * heads * (d + s.dv)) as u64;
    let expect = move || {
        let start = Splits { part: part.start.clone(), top: top.start.clone(), sum: sum.start.clone() };
        let out = x.splits(start);
        vec![part.reals(out.part), top.reals(out.top), sum.reals(out.sum)]
    };
    let group = heads / kv;
    let slice = [64, 32, 16].into_iter().find(|c| d.is_multiple_of(*c)).unwrap_or(16);
    let generics = [group, group.next_power_of_two().max(16), d / slice, slice, d + 8, columns, columns + 8, s.tile];
    b.finish(def, &generics.map(Into::into), "bf16", BF16_ERROR, Box::new(expect))
}

/// Splits put together, as `attention` would have left them.
pub fn combine_case(s: Shape, sink: bool) -> Built {
    let Shape { heads, dv, t, splits, rows, .. } = s;
    let def = if sink { attention::combine_sink::DEF } else { attention::combine::DEF };
    let mut b = Build::new(def.name, &s.name());
    let x = tensors(&mut b, s, false);
    let columns = s.columns();
    // Splits that are not in use hold what should not be looked at.
    let garbage = |n: usize| vec![f32::MAX; n];
    let (parts, tops) = (t * splits * heads * columns, t * heads * splits);
    let filled = x.splits(Splits { part: garbage(parts), top: garbage(tops), sum: garbage(tops) });
    b.given(F32, &[t, splits, heads, columns], filled.part);
    b.given(F32, &[t, heads, splits], filled.top);
    b.given(F32, &[t, heads, splits], filled.sum);
    let sinks = sink.then(|| b.vector(heads, |i, r| if i == 0 { -30.0 } else { 3.0 * r.normal() }));
    b.integers(&[8], state_words(s.position, rows, 1));
    let out = b.out(Bf16, &[t, heads * dv]);
    b.i32(s.window);
    let expect = move || {
        let mut data = out.start.clone();
        data[..rows * heads * dv].copy_from_slice(&to_bf16(x.whole(sinks.as_deref())));
        vec![out.reals(data)]
    };
    let generics = [dv, columns, splits.next_power_of_two(), s.tile].map(Into::into);
    b.finish(def, &generics, "f32", BF16_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    const ALL: usize = 1 << 30;
    let mimo = Shape {
        heads: 32,
        kv: 2,
        d: 192,
        dv: 128,
        t: 8,
        splits: 16,
        tile: 32,
        position: 700,
        rows: 8,
        window: ALL,
        positions: 736,
    };
    let llama = Shape {
        heads: 8,
        kv: 2,
        d: 64,
        dv: 32,
        t: 16,
        splits: 4,
        tile: 128,
        position: 0,
        rows: 1,
        window: ALL,
        positions: 640,
    };
    let small = Shape {
        heads: 8,
        kv: 1,
        d: 48,
        dv: 32,
        t: 8,
        splits: 3,
        tile: 16,
        position: 15,
        rows: 8,
        window: 7,
        positions: 64,
    };
    let equal = Shape {
        heads: 3,
        kv: 3,
        d: 64,
        dv: 128,
        t: 8,
        splits: 5,
        tile: 64,
        position: 63,
        rows: 2,
        window: 64,
        positions: 320,
    };
    let shapes = [
        mimo,
        Shape { window: 128, rows: 1, ..mimo },
        llama,
        Shape { position: 127, rows: 16, ..llama },
        Shape { position: 300, rows: 7, window: 128, ..llama },
        Shape { position: 511, ..llama },
        small,
        Shape { position: 0, rows: 1, ..small },
        Shape { position: 47, window: 33, ..small },
        equal,
        Shape { position: 250, rows: 8, window: 1, ..equal },
        Shape { dv: 24, position: 300, ..equal },
    ];
    let mut out = Vec::new();
    for s in shapes {
        out.push(attention_case(s)?);
        out.push(combine_case(s, false)?);
        out.push(combine_case(s, true)?);
    }
    Ok(out)
}
