//! How fast the interpreter is: linear layers of 16 rows, K = 1024, N = 4096 with weights of several formats, and
//! attention of 16 queries over 1024 keys.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;
use tile_lang::build::{Arg, Cx, Generic, Space, TypeSpec, Val};
use tile_lang::interp::{ArgValue, Array, Options, Prepared};
use tile_lang::ir::{Access, BinaryOp, Kernel, UnaryOp};
use tile_lang::{DType, Span};

const ROWS: usize = 16;
const K: usize = 1024;
const N: usize = 4096;
const AT: Span = Span::NONE;

fn spec(space: Space, dtype: DType, shape: [usize; 2]) -> TypeSpec {
    TypeSpec { space, dtype: Some(dtype), shape: shape.to_vec() }
}

fn tile(dtype: DType, shape: [usize; 2]) -> Generic {
    spec(Space::Tile, dtype, shape).into()
}

fn smem(dtype: DType, shape: [usize; 2]) -> Generic {
    spec(Space::Smem, dtype, shape).into()
}

/// `y[rows, n] = x[rows, k] · w[n, k]ᵀ` in tiles of `tn × tk`, the weights being the rows of the product. Weights of
/// 4 bits have a scale for each 32.
fn linear(format: DType, tn: usize, tk: usize) -> Result<Kernel, Box<dyn Error>> {
    let mut cx = Cx::new("linear", "");
    let x = cx.param_global("x", DType::Bf16, 2, Access::Read);
    let w = cx.param_global("w", format, 2, Access::Weight);
    let y = cx.param_global("y", DType::F32, 2, Access::Write);
    let scales = cx.param_global("scales", DType::E8m0, 2, Access::Weight);
    let n = cx.method(AT, w, "dim", &[], vec![Arg::Int(0)]);
    let tiles = cx.binary(AT, BinaryOp::Div, n, tn);
    let item = cx.work(AT, Arg::List(vec![tiles.into()]))[0];
    let k = cx.method(AT, w, "dim", &[], vec![Arg::Int(1)]);
    let steps = cx.binary(AT, BinaryOp::Div, k, tk);
    let acc = cx.constructor(AT, &spec(Space::Tile, DType::F32, [tn, ROWS]), "zero", vec![]);
    let acc = cx.for_loop(AT, (Arg::Int(0), steps.into()), 4, vec![acc], |cx, i, acc| {
        let mut weights = cx.method(AT, w, "stage", &[smem(format, [tn, tk])], vec![[item, i].into()]);
        if format == DType::E2m1 {
            let s = cx.method(AT, scales, "stage", &[smem(DType::E8m0, [tn, tk / 32])], vec![[item, i].into()]);
            let (v, s) = (cx.cast(AT, weights, DType::F32), cx.cast(AT, s, DType::F32));
            let s = cx.repeat(AT, s, tk);
            weights = cx.binary(AT, BinaryOp::Mul, v, s);
        }
        if format != DType::Bf16 {
            weights = cx.cast(AT, weights, DType::Bf16);
        }
        let rows = Arg::List(vec![Arg::Int(0), i.into()]);
        let xt = cx.method(AT, x, "load", &[tile(DType::Bf16, [ROWS, tk])], vec![rows]);
        let xt = cx.transpose(AT, xt);
        vec![cx.mma(AT, Some(acc[0]), weights, xt)]
    });
    let out = cx.transpose(AT, acc[0]);
    cx.method(AT, y, "store", &[], vec![Arg::List(vec![Arg::Int(0), item.into()]), out.into()]);
    Ok(cx.finish()?)
}

const HEADS: usize = 32;
const WIDTH: usize = 64;
const KEYS: usize = 1024;

/// One head: softmax(q · kᵀ) · v in steps of 64 keys with a running maximum.
fn attention() -> Result<Kernel, Box<dyn Error>> {
    let mut cx = Cx::new("attention", "");
    let [q, k, v] = ["q", "k", "v"].map(|name| cx.param_global(name, DType::Bf16, 3, Access::Read));
    let y = cx.param_global("y", DType::F32, 3, Access::Write);
    let h = cx.method(AT, q, "dim", &[], vec![Arg::Int(0)]);
    let h = cx.work(AT, Arg::List(vec![h.into()]))[0];
    let at = |i: Arg| vec![Arg::List(vec![h.into(), i, Arg::Int(0)])];
    let qt = cx.method(AT, q, "load", &[tile(DType::Bf16, [ROWS, WIDTH])], at(Arg::Int(0)));
    let column = |cx: &mut Cx, x: f32| {
        let one = TypeSpec { space: Space::Tile, dtype: Some(DType::F32), shape: vec![ROWS] };
        cx.constructor(AT, &one, "full", vec![Arg::Float(x as f64)])
    };
    let start: Vec<Val> = vec![
        column(&mut cx, -1e30),
        column(&mut cx, 0.0),
        cx.constructor(AT, &spec(Space::Tile, DType::F32, [ROWS, WIDTH]), "zero", vec![]),
    ];
    let end = cx.for_loop(AT, (Arg::Int(0), Arg::Int((KEYS / 64) as i64)), 0, start, |cx, i, c| {
        let kt = cx.method(AT, k, "stage", &[smem(DType::Bf16, [64, WIDTH])], at(i.into()));
        let vt = cx.method(AT, v, "stage", &[smem(DType::Bf16, [64, WIDTH])], at(i.into()));
        let kt = cx.transpose(AT, kt);
        let s = cx.mma(AT, None, qt, kt);
        let s = cx.binary(AT, BinaryOp::Mul, s, 0.125f32);
        let top = cx.method(AT, s, "row_max", &[], vec![]);
        let top = cx.binary(AT, BinaryOp::Max, c[0], top);
        let old = cx.binary(AT, BinaryOp::Sub, c[0], top);
        let old = cx.unary(AT, UnaryOp::Exp, old);
        let spread = cx.broadcast(AT, top, 1, 64);
        let p = cx.binary(AT, BinaryOp::Sub, s, spread);
        let p = cx.unary(AT, UnaryOp::Exp, p);
        let sum = cx.method(AT, p, "row_sum", &[], vec![]);
        let total = cx.binary(AT, BinaryOp::Mul, c[1], old);
        let total = cx.binary(AT, BinaryOp::Add, total, sum);
        let old = cx.broadcast(AT, old, 1, WIDTH);
        let acc = cx.binary(AT, BinaryOp::Mul, c[2], old);
        let p = cx.cast(AT, p, DType::Bf16);
        vec![top, total, cx.mma(AT, Some(acc), p, vt)]
    });
    let total = cx.broadcast(AT, end[1], 1, WIDTH);
    let out = cx.binary(AT, BinaryOp::Div, end[2], total);
    cx.method(AT, y, "store", &[], [at(Arg::Int(0)), vec![out.into()]].concat());
    Ok(cx.finish()?)
}

fn measure(name: &str, flops: usize, kernel: &Kernel, args: &[ArgValue]) -> Result<(), Box<dyn Error>> {
    let kernel = Prepared::new(kernel)?;
    let time = |_| {
        let start = Instant::now();
        kernel.launch(args, Options::default()).map(|()| start.elapsed().as_secs_f64() * 1e3)
    };
    let mut times: Vec<f64> = (0..50).map(time).collect::<Result<_, _>>()?;
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!("{name:28} {median:7.2} ms median, {:7.2} ms best, {:5.1} GFLOP/s", times[0], flops as f64 / median / 1e6);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("linear {ROWS} x {K} x {N}, attention {HEADS} x {ROWS} x {KEYS} x {WIDTH}; {threads} threads");
    let value = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 1009.0 - 0.5;
    let values = |n: usize| (0..n).map(value).collect::<Vec<f32>>();
    let x = Arc::new(Array::from_f32(DType::Bf16, [ROWS, K], &values(ROWS * K))?);
    let y = Arc::new(Array::zeros(DType::F32, [ROWS, N]));
    let scales = Arc::new(Array::from_bytes(DType::E8m0, [N, K / 32], Arc::new(vec![120u8; N * K / 32]), 0)?);
    for format in [DType::Bf16, DType::E4m3, DType::E2m1] {
        let bytes: Vec<u8> = match format {
            DType::Bf16 => (0..N * K).flat_map(|i| ((value(i).to_bits() >> 16) as u16).to_le_bytes()).collect(),
            _ => (0..format.bytes(N * K)).map(|i| ((i * 2_654_435_761) >> 7) as u8 & 0x77).collect(),
        };
        let w = Arc::new(Array::from_bytes(format, [N, K], Arc::new(bytes), 0)?);
        for (tn, tk) in [(16, 512), (64, 64)] {
            let args = [x.clone().into(), w.clone().into(), y.clone().into(), scales.clone().into()];
            let name = format!("linear {format}, {tn} x {tk}");
            measure(&name, 2 * ROWS * K * N, &linear(format, tn, tk)?, &args)?;
        }
    }
    let heads = |rows: usize| Array::from_f32(DType::Bf16, [HEADS, rows, WIDTH], &values(HEADS * rows * WIDTH));
    let args = [
        Arc::new(heads(ROWS)?).into(),
        Arc::new(heads(KEYS)?).into(),
        Arc::new(heads(KEYS)?).into(),
        Arc::new(Array::zeros(DType::F32, [HEADS, ROWS, WIDTH])).into(),
    ];
    measure("attention", 4 * HEADS * ROWS * KEYS * WIDTH, &attention()?, &args)
}
