//! The first half of a gated MLP.

use super::builder::{BF16_ERROR, Build, Built, EPS, format_name, product, product_generics, prologue, to_bf16};
use tile_lang::DType::{self, Bf16, F32};
use tile_models::graph::Format;
use tile_models::kernels::mlp;
use tile_models::reference::ops::silu;

/// silu(g) · u in bf16.
pub fn gated(g: &[f32], u: &[f32]) -> Vec<f32> {
    to_bf16(g.iter().zip(u).map(|(g, u)| silu(*g) * u).collect())
}

/// y = silu(G·x) · (U·x) with `n` outputs, `k` inputs, `t` rows of type `x`, tiles of `bk` columns.
pub fn swiglu_case(format: Format, x: DType, norm: bool, [n, k, t, bk]: [usize; 4]) -> Built {
    let def = match format {
        Format::Plain(_) => mlp::swiglu::DEF,
        Format::Fp8 => mlp::swiglu_fp8::DEF,
        Format::Mxfp4 => mlp::swiglu_mxfp4::DEF,
    };
    let tag = format_name(format);
    let mut b = Build::new(def.name, &format!("{tag}_{n}x{k}_t{t}_{x}{}", if norm { "_norm" } else { "" }));
    b.flops = (4 * n * k * t) as u64;
    let gate = b.matrix(format, n, k);
    let up = b.matrix(format, n, k);
    let rows = b.rows(x, &[t, k], 1.0);
    let gain = b.gain(k, norm);
    let y = b.out(Bf16, &[t, n]);
    b.f32(EPS);
    let generics = product_generics(format, &[x.into(), usize::from(norm).into()], &[t, 16], bk);
    let expect = move || {
        let h = prologue(&rows, gain.as_deref());
        vec![y.reals(gated(&product(&h, &gate), &product(&h, &up)))]
    };
    b.finish(def, &generics, tag, BF16_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let mut out = Vec::new();
    for format in [Format::Plain(Bf16), Format::Fp8, Format::Mxfp4] {
        let mx = format == Format::Mxfp4;
        let odd = |k: usize| if mx { k / 32 * 32 } else { k };
        let wide = if mx { 512 } else { 256 };
        out.push(swiglu_case(format, F32, true, [80, 768, 8, wide])?);
        out.push(swiglu_case(format, F32, true, [37, odd(200), 16, 128])?);
        out.push(swiglu_case(format, Bf16, false, [301, odd(520), 8, 256])?);
        out.push(swiglu_case(format, Bf16, true, [16, 96, 16, 128])?);
    }
    Ok(out)
}
