//! Routed experts: gate and up projections, and the weighted sum of the down projections.

use super::builder::{BF16_ERROR, Build, Built, EPS, F32_ERROR, format_name, product, product_generics, prologue};
use super::mlp::gated;
use tile_lang::DType::{Bf16, F32};
use tile_models::graph::Format;
use tile_models::kernels::experts;

/// Sizes of a case.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How weights are stored.
    pub format: Format,
    /// Experts.
    pub experts: usize,
    /// Those in use, ascending.
    pub used: Vec<usize>,
    /// Slots for them.
    pub slots: usize,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Rows.
    pub t: usize,
    /// Columns of a tile.
    pub bk: usize,
}

impl Shape {
    fn name(&self) -> String {
        let Shape { experts, used, n, k, t, .. } = self;
        format!("{}_{}of{experts}_{n}x{k}_t{t}", format_name(self.format), used.len())
    }

    fn list(&self) -> Vec<i32> {
        let mut list: Vec<i32> = self.used.iter().map(|e| *e as i32).collect();
        list.resize(self.slots, 0);
        list
    }

    /// Takes the weights of experts that are not in use off the count.
    fn count_used(&self, b: &mut Build, matrices: usize) {
        let all = b.bytes;
        b.bytes = all * self.used.len() as u64 / self.experts as u64;
        b.flops = (2 * matrices * self.used.len() * self.n * self.k * self.t) as u64;
    }
}

/// y\[s\] = silu(G\[e\]·x) · (U\[e\]·x).
pub fn swiglu_case(s: Shape, norm: bool) -> Built {
    let def = match s.format {
        Format::Plain(_) => experts::experts_swiglu::DEF,
        Format::Fp8 => experts::experts_swiglu_fp8::DEF,
        Format::Mxfp4 => experts::experts_swiglu_mxfp4::DEF,
    };
    let x_type = if norm { F32 } else { Bf16 };
    let mut b = Build::new(def.name, &s.name());
    let gate = b.expert_matrices(s.format, s.experts, s.n, s.k);
    let up = b.expert_matrices(s.format, s.experts, s.n, s.k);
    s.count_used(&mut b, 2);
    b.integers(&[s.slots], s.list());
    b.integers(&[1], vec![s.used.len() as i32]);
    let x = b.rows(x_type, &[s.t, s.k], 1.0);
    let gain = b.gain(s.k, norm);
    let before = b.bytes;
    let y = b.out(Bf16, &[s.slots, s.t, s.n]);
    b.bytes = before + (2 * s.used.len() * s.t * s.n) as u64;
    b.f32(EPS);
    let types = [x_type.into(), usize::from(norm).into()];
    let generics = product_generics(s.format, &types, &[s.t, 16], s.bk);
    let tag = format_name(s.format);
    let expect = move || {
        let h = prologue(&x, gain.as_deref());
        let mut out = y.start.clone();
        for (slot, &e) in out.chunks_exact_mut(s.t * s.n).zip(&s.used) {
            slot.copy_from_slice(&gated(&product(&h, &gate[e]), &product(&h, &up[e])));
        }
        vec![y.reals(out)]
    };
    b.finish(def, &generics, tag, BF16_ERROR, Box::new(expect))
}

/// y += Σ weights\[e\] · (D\[e\]·x\[s\]).
pub fn down_case(s: Shape) -> Built {
    let def = match s.format {
        Format::Plain(_) => experts::experts_down::DEF,
        Format::Fp8 => experts::experts_down_fp8::DEF,
        Format::Mxfp4 => experts::experts_down_mxfp4::DEF,
    };
    let mut b = Build::new(def.name, &s.name());
    let down = b.expert_matrices(s.format, s.experts, s.n, s.k);
    s.count_used(&mut b, 1);
    b.integers(&[s.slots], s.list());
    b.integers(&[1], vec![s.used.len() as i32]);
    // Some rows don't use some experts.
    let weights: Vec<f32> =
        (0..s.experts * s.t).map(|i| if i % 3 == 1 { 0.0 } else { 0.1 + b.random.uniform() }).collect();
    b.given(F32, &[s.experts, s.t], weights.clone());
    let before = b.bytes;
    let x = b.rows(Bf16, &[s.slots, s.t, s.k], 1.0);
    b.bytes = before + (2 * s.used.len() * s.t * s.k + 4 * s.t * s.n) as u64;
    let y = b.out(F32, &[s.t, s.n]);
    let generics = product_generics(s.format, &[], &[s.t, 16], s.bk);
    let tag = format_name(s.format);
    let expect = move || {
        let mut sum = vec![0.0; s.t * s.n];
        for (x, &e) in x.chunks_exact(s.t * s.k).zip(&s.used) {
            for (i, value) in product(x, &down[e]).into_iter().enumerate() {
                sum[i] += weights[e * s.t + i / s.n] * value;
            }
        }
        vec![y.reals(sum.iter().zip(&y.start).map(|(a, b)| a + b).collect())]
    };
    b.finish(def, &generics, tag, F32_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let mut out = Vec::new();
    for format in [Format::Plain(Bf16), Format::Fp8, Format::Mxfp4] {
        let mx = format == Format::Mxfp4;
        let odd = |k: usize| if mx { k / 32 * 32 } else { k };
        let shape = |experts, used: &[usize], slots, [n, k, t, bk]: [usize; 4]| {
            let (used, k) = (used.to_vec(), odd(k));
            Shape { format, experts, used, slots, n, k, t, bk }
        };
        let wide = if mx { 512 } else { 256 };
        out.push(swiglu_case(shape(6, &[1, 2, 5], 6, [48, 640, 8, wide]), true)?);
        out.push(swiglu_case(shape(9, &[0, 8], 9, [37, 200, 16, 128]), false)?);
        out.push(swiglu_case(shape(3, &[0, 1, 2], 3, [130, 96, 16, 128]), true)?);
        out.push(swiglu_case(shape(4, &[], 4, [48, 128, 8, 128]), false)?);
        out.push(down_case(shape(6, &[1, 2, 5], 6, [48, 1280, 8, 2 * wide]))?);
        out.push(down_case(shape(9, &[0, 8], 9, [37, 200, 16, 128]))?);
        out.push(down_case(shape(3, &[0, 1, 2], 3, [130, 96, 16, 128]))?);
        out.push(down_case(shape(4, &[], 4, [48, 128, 8, 128]))?);
    }
    Ok(out)
}
