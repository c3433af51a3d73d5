//! Embeddings and the norm of rows.

use super::builder::{Build, Built, EPS, round, tolerance};
use tile_lang::DType::{self, Bf16, F32};
use tile_models::graph::Format;
use tile_models::kernels::{embed, norm};
use tile_models::reference::ops;

fn embed_case(dtype: DType, [vocab, k, t, bk]: [usize; 4]) -> Built {
    let def = embed::embed::DEF;
    let mut b = Build::new(def.name, &format!("{dtype}_{vocab}x{k}_t{t}"));
    let table = b.matrix(Format::Plain(dtype), vocab, k);
    b.bytes = (t * dtype.bytes(k)) as u64;
    // The first and the last token, one of them twice.
    let tokens: Vec<usize> = (0..t)
        .map(|i| match i {
            0 | 2 => vocab - 1,
            1 => 0,
            _ => (b.random.bits() % vocab as u64) as usize,
        })
        .collect();
    b.integers(&[t], tokens.iter().map(|x| *x as i32).collect());
    let x = b.out(F32, &[t, k]);
    let expect = move || {
        let mut out = vec![0.0; t * k];
        for (out, token) in out.chunks_exact_mut(k).zip(&tokens) {
            table.read_row(*token, out);
        }
        vec![x.reals(out)]
    };
    b.finish(def, &[dtype.into(), bk.into()], dtype.name(), 0.0, Box::new(expect))
}

fn norm_case(x_type: DType, y_type: DType, [t, k, bk]: [usize; 3]) -> Built {
    let def = norm::rms_norm::DEF;
    let mut b = Build::new(def.name, &format!("{x_type}_{y_type}_{k}_t{t}"));
    let x = b.rows(x_type, &[t, k], 3.0);
    let gain = b.gain(k, true);
    let y = b.out(y_type, &[t, k]);
    b.f32(EPS);
    let expect = move || {
        let out = ops::rms_norm(&x, gain.as_deref().unwrap_or_default(), EPS);
        vec![y.reals(out.into_iter().map(|v| round(y_type, v)).collect())]
    };
    let generics = [x_type.into(), y_type.into(), bk.into()];
    b.finish(def, &generics, x_type.name(), tolerance(y_type), Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    Ok(vec![
        embed_case(Bf16, [517, 2500, 8, 1024])?,
        embed_case(Bf16, [31, 96, 16, 128])?,
        embed_case(F32, [1000, 77, 8, 64])?,
        norm_case(F32, Bf16, [8, 2500, 1024])?,
        norm_case(Bf16, Bf16, [16, 96, 128])?,
        norm_case(F32, F32, [16, 777, 256])?,
        norm_case(Bf16, F32, [1, 4096, 1024])?,
    ])
}
