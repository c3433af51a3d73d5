//! Rotary embedding and the write into the caches.

use super::builder::{BF16_ERROR, Build, Built, state_words};
use tile_lang::DType::{Bf16, F32};
use tile_models::kernels::rope;
use tile_models::quant::bf16_round;
use tile_models::reference::ops;

/// Sizes of a case.
#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: usize,
    kv: usize,
    d: usize,
    dv: usize,
    half: usize,
    t: usize,
    /// Columns of queries and keys, and of values, in what is written.
    columns: [usize; 2],
    position: usize,
    rows: usize,
    positions: usize,
}

/// Which kernel.
#[derive(Clone, Copy, Debug)]
enum Queries {
    /// A head's rows together.
    ByHead,
    /// A row's heads side by side, so many rows in an item.
    ByRow(usize),
}

fn rope_case(s: Shape, order: Queries) -> Built {
    let Shape { heads, kv, d, dv, half, t, columns: [dq, dvc], position, rows, positions } = s;
    let def = match order {
        Queries::ByHead => rope::rope_cache::DEF,
        Queries::ByRow(_) => rope::rope_rows::DEF,
    };
    let mut b = Build::new(def.name, &format!("h{heads}_{kv}_d{d}_{dv}_half{half}_t{t}_p{position}_{rows}"));
    let width = (heads + kv) * d + kv * dv;
    let qkv = b.rows(F32, &[t, width], 1.0);
    let frequencies = b.vector(half, |i, _| 10_000f64.powf(-(i as f64) / half as f64) as f32);
    b.integers(&[8], state_words(position, rows, 1));
    let q = match order {
        Queries::ByHead => b.out(Bf16, &[heads, t, dq]),
        Queries::ByRow(_) => b.out(Bf16, &[t, heads * dq]),
    };
    let k = b.out(Bf16, &[kv, positions, dq]);
    let v = b.out(Bf16, &[kv, positions, dvc]);
    b.bytes = (rows * width * 6) as u64;
    let scale = std::f32::consts::LOG2_E / (d as f32).sqrt();
    let value_scale = 0.707;
    b.f32(scale);
    b.f32(value_scale);
    let expect = move || {
        let at: Vec<usize> = (0..t).map(|i| position + i).collect();
        let frequencies: Vec<f64> = frequencies.iter().map(|f| f64::from(*f)).collect();
        let part = |from: usize, heads: usize, d: usize| -> Vec<f32> {
            qkv.chunks_exact(width).flat_map(|row| &row[from..from + heads * d]).copied().collect()
        };
        let (mut queries, mut keys) = (part(0, heads, d), part(heads * d, kv, d));
        ops::rope(&mut queries, heads, d, &at, &frequencies);
        ops::rope(&mut keys, kv, d, &at, &frequencies);
        let values = part((heads + kv) * d, kv, dv);
        // Rows of `width` numbers of each head go to `at` head and row, in rows of `columns`.
        let put = |out: &mut [f32],
                   x: &[f32],
                   [heads, width, columns]: [usize; 3],
                   at: &dyn Fn(usize, usize) -> usize,
                   scale: f32| {
            for (row, x) in x.chunks_exact(heads * width).take(rows).enumerate() {
                for (head, x) in x.chunks_exact(width).enumerate() {
                    let to = &mut out[at(head, row) * columns..][..width];
                    to.iter_mut().zip(x).for_each(|(o, x)| *o = bf16_round(x * scale));
                }
            }
        };
        let (mut q_out, mut k_out, mut v_out) = (q.start.clone(), k.start.clone(), v.start.clone());
        let in_q = |head: usize, row: usize| match order {
            Queries::ByHead => head * t + row,
            Queries::ByRow(_) => row * heads + head,
        };
        let in_cache = |head: usize, row: usize| head * positions + position + row;
        put(&mut q_out, &queries, [heads, d, dq], &in_q, scale);
        put(&mut k_out, &keys, [kv, d, dq], &in_cache, 1.0);
        put(&mut v_out, &values, [kv, dv, dvc], &in_cache, value_scale);
        vec![q.reals(q_out), k.reals(k_out), v.reals(v_out)]
    };
    let rest = d - 2 * half;
    let power = |n: usize| n.max(1).next_power_of_two();
    let mut generics = vec![t, d, dv, half, power(half), rest, power(rest), power(dv)];
    if let Queries::ByRow(block) = order {
        generics[0] = block;
        generics.push(dq);
    }
    let generics: Vec<_> = generics.into_iter().map(Into::into).collect();
    b.finish(def, &generics, "f32", BF16_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    use Queries::{ByHead, ByRow};
    let large = Shape {
        heads: 16,
        kv: 2,
        d: 192,
        dv: 128,
        half: 32,
        t: 8,
        columns: [192, 136],
        position: 1021,
        rows: 8,
        positions: 1152,
    };
    Ok(vec![
        rope_case(large, ByHead)?,
        rope_case(Shape { rows: 1, position: 0, ..large }, ByHead)?,
        rope_case(
            Shape {
                heads: 4,
                kv: 4,
                d: 64,
                dv: 64,
                half: 32,
                t: 16,
                columns: [64, 72],
                position: 127,
                rows: 16,
                positions: 256,
            },
            ByHead,
        )?,
        rope_case(
            Shape {
                heads: 6,
                kv: 3,
                d: 48,
                dv: 32,
                half: 8,
                t: 8,
                columns: [56, 40],
                position: 31,
                rows: 5,
                positions: 64,
            },
            ByHead,
        )?,
        rope_case(
            Shape {
                heads: 5,
                kv: 1,
                d: 40,
                dv: 24,
                half: 20,
                t: 16,
                columns: [48, 40],
                position: 48,
                rows: 16,
                positions: 64,
            },
            ByHead,
        )?,
        rope_case(Shape { t: 40, rows: 37, positions: 1152, ..large }, ByRow(16))?,
        rope_case(Shape { t: 32, rows: 16, position: 0, ..large }, ByRow(16))?,
        rope_case(
            Shape {
                heads: 6,
                kv: 3,
                d: 48,
                dv: 24,
                half: 8,
                t: 100,
                columns: [56, 40],
                position: 9,
                rows: 99,
                positions: 128,
            },
            ByRow(8),
        )?,
    ])
}
