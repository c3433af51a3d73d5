//! The dense operations of a layer.

use rayon::prelude::*;

use crate::checkpoint::{GatedMlp, Matrix};
use crate::quant::bf16_round;

/// What the operands of matrix products are rounded to. Sums, norms, softmax, router and residual are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Not rounded: the mathematical model.
    #[default]
    F32,
    /// To bf16, as the kernels' matrix instructions take them, dequantised weights too.
    Native,
}

impl Precision {
    /// Rounds operands in place.
    pub fn round(self, x: &mut [f32]) {
        if self == Precision::Native {
            x.iter_mut().for_each(|v| *v = bf16_round(*v));
        }
    }
}

/// x / √(mean(x²) + eps) · weight for each row: `x` [T, H], `weight` `[H]`, gives [T, H].
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let h = weight.len();
    assert!(x.len().is_multiple_of(h), "{} numbers aren't rows of {h}", x.len());
    let norm = |row: &[f32]| {
        let square: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let scale = 1.0 / ((square / h as f64) as f32 + eps).sqrt();
        row.iter().zip(weight).map(|(v, w)| w * (v * scale)).collect::<Vec<_>>()
    };
    x.chunks_exact(h).flat_map(norm).collect()
}

/// The dot product of two rows of the same length: eight running sums, added in a fixed order.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut sums = [0.0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h)) + rest
}

/// x · Wᵀ: `x` [T, K], `w` [N, K] in any stored precision, gives [T, N].
pub fn linear(x: &[f32], w: &Matrix<'_>, precision: Precision) -> Vec<f32> {
    let mut x = x.to_vec();
    precision.round(&mut x);
    linear_rows(&x, w.rows, w.cols, |row, out| {
        w.read_row(row, out);
        precision.round(out);
    })
}

/// x · Wᵀ for a matrix in f32: `x` [T, K], `w` [N, K] with `n` rows, gives [T, N].
pub fn linear_f32(x: &[f32], w: &[f32], n: usize) -> Vec<f32> {
    assert!(n > 0 && w.len().is_multiple_of(n), "{} numbers aren't {n} rows", w.len());
    let k = w.len() / n;
    linear_rows(x, n, k, |row, out| out.copy_from_slice(&w[row * k..][..k]))
}

/// x · Wᵀ with the rows of W given by a function: each is read once, rows in parallel.
fn linear_rows(x: &[f32], n: usize, k: usize, read: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    assert!(k > 0 && x.len().is_multiple_of(k), "{} numbers aren't rows of {k}", x.len());
    let t = x.len() / k;
    // [N, T] first, so that each task writes a piece of its own.
    let mut by_row = vec![0.0; n * t];
    if t == 0 {
        return by_row;
    }
    by_row.par_chunks_mut(t).enumerate().with_min_len(16).for_each_init(
        || vec![0.0; k],
        |buffer, (row, out)| {
            read(row, buffer);
            for (o, x) in out.iter_mut().zip(x.chunks_exact(k)) {
                *o = dot(x, buffer);
            }
        },
    );
    let mut out = vec![0.0; n * t];
    for (row, values) in by_row.chunks_exact(t).enumerate() {
        for (token, &v) in values.iter().enumerate() {
            out[token * n + row] = v;
        }
    }
    out
}

/// Rotary embedding in place: `x` [T, heads, dim]; dimension i < r turns with i + r by position · `inv_freq`\[i\], r
/// being the number of frequencies; dimensions from 2·r on stay. Frequencies and angles are rounded to f32, as
/// published models were trained with.
pub fn rope(x: &mut [f32], heads: usize, dim: usize, positions: &[usize], inv_freq: &[f64]) {
    let half = inv_freq.len();
    assert!(2 * half <= dim && x.len() == positions.len() * heads * dim);
    for (x, &position) in x.chunks_exact_mut(heads * dim).zip(positions) {
        let turns: Vec<(f32, f32)> = inv_freq
            .iter()
            .map(|&f| {
                let angle = f64::from(position as f32 * f as f32);
                (angle.cos() as f32, angle.sin() as f32)
            })
            .collect();
        for head in x.chunks_exact_mut(dim) {
            let (low, high) = head.split_at_mut(half);
            for ((a, b), &(cos, sin)) in low.iter_mut().zip(high).zip(&turns) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// Shape of an attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// KV heads; query head h uses KV head h / (heads / kv_heads).
    pub kv_heads: usize,
    /// Width of query and key heads; scores are divided by its square root.
    pub head_dim: usize,
    /// Width of value heads.
    pub v_head_dim: usize,
    /// Keys a position sees, itself included; `None` for all up to itself.
    pub window: Option<usize>,
}

/// Causal attention at absolute positions: `q` [T, heads, head_dim] at `q_positions` `[T]`, `k` [S, kv_heads, head_dim]
/// and `v` [S, kv_heads, v_head_dim] at `k_positions` `[S]` in any order. A query at p sees the keys at
/// p − window < position ≤ p. `sinks` `[heads]` take part in each head's softmax as one more logit without a value.
/// Gives [T, heads, v_head_dim]; a query that sees nothing gives zeros.
pub fn attention(
    shape: &AttentionShape,
    q: &[f32],
    q_positions: &[usize],
    k: &[f32],
    v: &[f32],
    k_positions: &[usize],
    sinks: Option<&[f32]>,
) -> Vec<f32> {
    let AttentionShape { heads, kv_heads, head_dim, v_head_dim, window } = *shape;
    assert_eq!(q.len(), q_positions.len() * heads * head_dim);
    assert_eq!(k.len(), k_positions.len() * kv_heads * head_dim);
    assert_eq!(v.len(), k_positions.len() * kv_heads * v_head_dim);
    assert!(sinks.is_none_or(|s| s.len() == heads) && heads.is_multiple_of(kv_heads));
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut out = vec![0.0; q_positions.len() * heads * v_head_dim];
    out.par_chunks_mut(v_head_dim).enumerate().for_each(|(row, out)| {
        let (token, head) = (row / heads, row % heads);
        let (position, kv) = (q_positions[token], head / (heads / kv_heads));
        let seen = |s: &usize| k_positions[*s] <= position && window.is_none_or(|w| position - k_positions[*s] < w);
        let seen: Vec<usize> = (0..k_positions.len()).filter(seen).collect();
        let query = &q[row * head_dim..][..head_dim];
        let key = |s: usize| &k[(s * kv_heads + kv) * head_dim..][..head_dim];
        let scores: Vec<f32> = seen.iter().map(|&s| dot(query, key(s)) * scale).collect();
        let sink = sinks.map(|s| s[head]);
        let largest = scores.iter().copied().chain(sink).fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total = weights.iter().sum::<f32>() + sink.map_or(0.0, |s| (s - largest).exp());
        for (&s, w) in seen.iter().zip(&weights) {
            let value = &v[(s * kv_heads + kv) * v_head_dim..][..v_head_dim];
            for (o, x) in out.iter_mut().zip(value) {
                *o += w / total * x;
            }
        }
    });
    out
}

/// x · sigmoid(x).
pub fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// down · (silu(gate · x) · (up · x)): `x` [T, hidden], `gate` and `up` [inner, hidden], `down` [hidden, inner], gives
/// [T, hidden].
pub fn swiglu(x: &[f32], mlp: &GatedMlp<'_>, precision: Precision) -> Vec<f32> {
    let mut inner = linear(x, &mlp.gate, precision);
    for (g, u) in inner.iter_mut().zip(linear(x, &mlp.up, precision)) {
        *g = silu(*g) * u;
    }
    linear(&inner, &mlp.down, precision)
}

/// The index of the largest number, the lowest of several equal ones; NaN never wins. `None` for an empty slice.
pub fn argmax(x: &[f32]) -> Option<usize> {
    let better = |best: Option<(usize, f32)>, (i, &v): (usize, &f32)| match best {
        Some((_, b)) if b.is_nan() && !v.is_nan() || v > b => Some((i, v)),
        None => Some((i, v)),
        _ => best,
    };
    x.iter().enumerate().fold(None, better).map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::WeightData;

    fn matrix(rows: usize, cols: usize, values: Vec<f32>) -> Matrix<'static> {
        Matrix { name: "w".into(), rows, cols, data: WeightData::F32(values) }
    }

    #[test]
    fn norm_linear_and_swiglu_by_hand() {
        assert_eq!(rms_norm(&[3.0, 4.0], &[1.0, 2.0], 0.0), [3.0 / 12.5f32.sqrt(), 8.0 / 12.5f32.sqrt()]);
        let w = matrix(3, 2, vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(linear(&[2.0, 5.0, -1.0, 4.0], &w, Precision::F32), [2.0, 5.0, 7.0, -1.0, 4.0, 3.0]);
        assert_eq!(linear_f32(&[2.0, 5.0], &[1.0, 2.0], 1), [12.0]);
        let one = || matrix(1, 1, vec![2.0]);
        let mlp = GatedMlp { gate: one(), up: one(), down: one() };
        assert_eq!(swiglu(&[1.5], &mlp, Precision::F32), [2.0 * 3.0 * silu(3.0)]);
        let (x, w) = (1.0 + 1.0 / 512.0, matrix(1, 1, vec![3.0 + 3.0 / 256.0]));
        assert_eq!(linear(&[x], &w, Precision::Native), [bf16_round(w.to_f32()[0])]);
        assert_eq!(dot(&[1.0; 19], &[2.0; 19]), 38.0);
    }

    #[test]
    fn rope_turns_halves_and_leaves_the_rest() {
        let mut x = vec![1.0, 0.0, 0.0, 1.0, 7.0];
        rope(&mut x, 1, 5, &[1], &[std::f64::consts::FRAC_PI_2, 0.0]);
        let want = [0.0, 0.0, 1.0, 1.0, 7.0];
        assert!(x.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{x:?}");
    }

    #[test]
    fn windows_count_the_position_itself() {
        let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 1, v_head_dim: 1, window: Some(2) };
        let v: Vec<f32> = (0..4).map(|i| (1 << (2 * i)) as f32).collect();
        let out = attention(&shape, &[0.0; 4], &[0, 1, 2, 3], &[0.0; 4], &v, &[0, 1, 2, 3], None);
        assert_eq!(out, [1.0, 2.5, 10.0, 40.0]);
        let all = AttentionShape { window: None, ..shape };
        assert_eq!(attention(&all, &[0.0], &[3], &[0.0; 4], &v, &[0, 1, 2, 3], None), [85.0 / 4.0]);
    }

    #[test]
    fn a_sink_takes_weight_and_gives_nothing() {
        let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 1, v_head_dim: 1, window: None };
        let out = attention(&shape, &[0.0; 2], &[0], &[5.0], &[8.0], &[0], Some(&[0.0, 3.0f32.ln()]));
        assert!((out[0] - 4.0).abs() < 1e-6 && (out[1] - 2.0).abs() < 1e-6);
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[f32::NAN, -1.0, f32::NAN]), Some(1));
        assert_eq!(argmax(&[]), None);
    }
}
