//! Rotary embedding, caches, split attention and its combination, against the reference, on the interpreter.

mod kernels_common;

use kernels_common::*;
use tile_lang::DType::{Bf16, F32};
use tile_lang::build::Generic;
use tile_lang::interp::{ArgValue, Precision, View};
use tile_models::kernels::{attention, rope, state};
use tile_models::reference::ops::{self, AttentionShape};

/// One attention.
#[derive(Clone, Copy, Debug)]
struct Case {
    heads: usize,
    kv_heads: usize,
    d: usize,
    dv: usize,
    half: usize,
    window: Option<usize>,
    sink: bool,
    keys: usize,
    splits: usize,
}

const BASE: Case =
    Case { heads: 8, kv_heads: 2, d: 48, dv: 32, half: 8, window: None, sink: false, keys: 32, splits: 4 };

const CASES: [Case; 8] = [
    BASE,
    Case { window: Some(16), sink: true, ..BASE },
    Case { window: Some(33), splits: 3, keys: 16, ..BASE },
    Case { window: Some(1), sink: true, ..BASE },
    Case { heads: 6, kv_heads: 3, d: 40, dv: 24, half: 5, splits: 7, ..BASE },
    Case { heads: 20, kv_heads: 1, d: 64, dv: 64, half: 32, sink: true, keys: 128, splits: 1, ..BASE },
    Case { heads: 5, kv_heads: 5, d: 24, dv: 8, half: 12, keys: 16, splits: 32, ..BASE },
    Case { heads: 16, kv_heads: 1, d: 192, dv: 128, half: 32, window: Some(40), ..BASE },
];

/// Lengths of texts: within a tile, at its edges, over several.
const LENGTHS: [usize; 6] = [1, 8, 31, 33, 64, 100];

const T: usize = 8;

fn words(position: usize, rows: usize) -> [i32; state::STATE_WORDS] {
    let mut words = [0; state::STATE_WORDS];
    words[state::POSITION as usize] = position as i32;
    words[state::ROWS as usize] = rows as i32;
    words
}

fn check(c: Case, length: usize, random: &mut Random) {
    let what = format!("{c:?}, {length} tokens");
    let (columns, values) = (c.d.next_multiple_of(16), c.dv.next_power_of_two());
    let width = (c.heads + c.kv_heads) * c.d + c.kv_heads * c.dv;
    let qkv = random.numbers(length * width);
    let sinks: Vec<f32> = random.numbers(c.heads).iter().map(|x| 2.0 * x).collect();
    let freq: Vec<f64> = (0..c.half).map(|i| 0.3f64.powi(i as i32)).collect();
    let positions: Vec<usize> = (0..length).collect();

    // The reference, over the whole text.
    let part = |from: usize, n: usize| -> Vec<f32> {
        qkv.chunks(width).flat_map(|row| row[from..from + n].to_vec()).collect()
    };
    let (q_rows, k_rows) = (c.heads * c.d, c.kv_heads * c.d);
    let (mut q, mut k, mut v) = (part(0, q_rows), part(q_rows, k_rows), part(q_rows + k_rows, c.kv_heads * c.dv));
    ops::rope(&mut q, c.heads, c.d, &positions, &freq);
    ops::rope(&mut k, c.kv_heads, c.d, &positions, &freq);
    v.iter_mut().for_each(|v| *v *= 0.7);
    let shape =
        AttentionShape { heads: c.heads, kv_heads: c.kv_heads, head_dim: c.d, v_head_dim: c.dv, window: c.window };
    let want = ops::attention(&shape, &q, &positions, &k, &v, &positions, c.sink.then_some(&sinks[..]));

    // The kernels, block by block.
    let context = length.next_multiple_of(c.keys);
    let (kp, vp) = (columns + 8, values + 8);
    let (k, v) = (zeros(Bf16, &[c.kv_heads, context, kp]), zeros(Bf16, &[c.kv_heads, context, vp]));
    let freq: Vec<f32> = freq.iter().map(|f| *f as f32).collect();
    let rest = c.d - 2 * c.half;
    let power = |n: usize| n.max(1).next_power_of_two();
    let mut got = Vec::new();
    for first in (0..length).step_by(T) {
        let rows = T.min(length - first);
        // Rows that are not valid hold numbers that would be seen.
        let mut block = qkv[first * width..][..rows * width].to_vec();
        block.resize(T * width, 1e6);
        let state: ArgValue = integers(&[state::STATE_WORDS], &words(first, rows)).into();
        let q = zeros(Bf16, &[c.heads, T, columns]);
        let args = [
            reals(F32, &[T, width], &block).into(),
            reals(F32, &[c.half], &freq).into(),
            state.clone(),
            q.clone().into(),
            k.clone().into(),
            v.clone().into(),
            (std::f32::consts::LOG2_E / (c.d as f32).sqrt()).into(),
            0.7.into(),
        ];
        let generics = [T, c.d, c.dv, c.half, power(c.half), rest, power(rest), values].map(Generic::from);
        run(rope::rope_cache::DEF, &generics, &args, Precision::F32);

        let window: ArgValue = c.window.map_or(1 << 30, |w| w as i32).into();
        let part = marked(F32, &[T, c.splits, c.heads, values]);
        let (top, sum) = (marked(F32, &[T, c.heads, c.splits]), marked(F32, &[T, c.heads, c.splits]));
        let slice = [64, 32, 16].into_iter().find(|s| columns % s == 0).unwrap();
        let group = c.heads / c.kv_heads;
        let padded = group.next_power_of_two().max(16);
        let generics = [group, padded, columns / slice, slice, kp, values, vp, c.keys].map(Generic::from);
        let mut args: Vec<ArgValue> = vec![View::new(q, 0, [c.heads, T * columns]).unwrap().into()];
        args.extend([k.clone().into(), v.clone().into(), state.clone()]);
        args.extend([part.clone(), top.clone(), sum.clone()].map(ArgValue::from));
        args.push(window.clone());
        run(attention::attention::DEF, &generics, &args, Precision::F32);
        let tail = part.to_f32().split_off(rows * c.splits * c.heads * values);
        assert!(tail.iter().all(|x| *x == MARK), "{what}: a row that is not valid was written");

        let out = marked(Bf16, &[T, c.heads * c.dv]);
        let mut args: Vec<ArgValue> = [part, top, sum].map(ArgValue::from).to_vec();
        let def = if c.sink {
            args.push(reals(F32, &[c.heads], &sinks).into());
            attention::combine_sink::DEF
        } else {
            attention::combine::DEF
        };
        args.extend([state, out.clone().into(), window]);
        run(def, &[c.dv, values, power(c.splits), c.keys].map(Generic::from), &args, Precision::F32);
        got.extend(out.to_f32()[..rows * c.heads * c.dv].to_vec());
    }
    close(&got, &want, 1e-4, &what);
    // Pads of the caches stay zero.
    for (cache, used, pitch) in [(&k, c.d, kp), (&v, c.dv, vp)] {
        assert!(cache.to_f32().chunks(pitch).all(|row| row[used..].iter().all(|x| *x == 0.0)), "{what}");
    }
}

#[test]
fn attention_over_split_caches() {
    let mut random = Random(7);
    for case in CASES {
        for length in LENGTHS {
            check(case, length, &mut random);
        }
    }
}
