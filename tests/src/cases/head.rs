//! The head.

use super::builder::{Build, Built, EPS, F32_ERROR, format_name, product, product_generics, prologue, state_words};
use tile_lang::DType::{Bf16, F32};
use tile_models::graph::Format;
use tile_models::kernels::head;

/// Logits of `vocab` tokens from `k` inputs, where `choices` rows need them.
pub fn head_case(format: Format, norm: bool, choices: usize, [vocab, k, t, bk]: [usize; 4]) -> Built {
    let def = if format == Format::Fp8 { head::head_fp8::DEF } else { head::head::DEF };
    let tag = format_name(format);
    let mut b = Build::new(def.name, &format!("{tag}_{vocab}x{k}_t{t}_choices{choices}"));
    b.flops = (2 * vocab * k * t) as u64;
    let w = b.matrix(format, vocab, k);
    let x_type = if norm { F32 } else { Bf16 };
    let x = b.rows(x_type, &[t, k], 1.0);
    let gain = b.gain(k, norm);
    b.integers(&[8], state_words(40, t, choices));
    let logits = b.out(F32, &[t, vocab]);
    b.f32(EPS);
    let generics = product_generics(format, &[x_type.into(), usize::from(norm).into()], &[t, 16], bk);
    let expect = move || {
        if choices == 0 {
            return vec![logits.reals(logits.start.clone())];
        }
        vec![logits.reals(product(&prologue(&x, gain.as_deref()), &w))]
    };
    b.finish(def, &generics, tag, F32_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let mut out = Vec::new();
    for format in [Format::Plain(Bf16), Format::Fp8] {
        out.push(head_case(format, true, 1, [997, 1536, 8, 512])?);
        out.push(head_case(format, false, 16, [2048, 200, 16, 128])?);
        out.push(head_case(format, true, 3, [4099, 96, 8, 128])?);
        out.push(head_case(format, true, 0, [100, 128, 8, 128])?);
    }
    out.push(head_case(Format::Plain(F32), true, 1, [333, 300, 8, 256])?);
    Ok(out)
}
