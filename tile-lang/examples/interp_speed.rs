//! How fast the interpreter is: a linear layer of 16 rows, K = 1024, N = 4096, bf16 weights in tiles of 16 × 512.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;
use tile_lang::build::{Arg, Cx, Space, TypeSpec};
use tile_lang::interp::{Array, Options, Prepared};
use tile_lang::ir::{Access, BinaryOp, Kernel};
use tile_lang::{DType, Span};

const ROWS: usize = 16;
const K: usize = 1024;
const N: usize = 4096;
const TILE_N: usize = 16;
const TILE_K: usize = 512;

/// `y[rows, n] = x[rows, k] · w[n, k]ᵀ`, the weights being the rows of the product.
fn linear() -> Result<Kernel, Box<dyn Error>> {
    let at = Span::NONE;
    let mut cx = Cx::new("linear", "");
    let x = cx.param_global("x", DType::Bf16, 2, Access::Read);
    let w = cx.param_global("w", DType::Bf16, 2, Access::Weight);
    let y = cx.param_global("y", DType::F32, 2, Access::Write);
    let n = cx.method(at, w, "dim", &[], vec![Arg::Int(0)]);
    let tiles = cx.binary(at, BinaryOp::Div, n, TILE_N);
    let item = cx.work(at, Arg::List(vec![tiles.into()]))[0];
    let k = cx.method(at, w, "dim", &[], vec![Arg::Int(1)]);
    let steps = cx.binary(at, BinaryOp::Div, k, TILE_K);
    let spec = |space, dtype, shape: [usize; 2]| TypeSpec { space, dtype: Some(dtype), shape: shape.to_vec() };
    let acc = cx.constructor(at, &spec(Space::Tile, DType::F32, [TILE_N, ROWS]), "zero", vec![]);
    let acc = cx.for_loop(at, (Arg::Int(0), steps.into()), 4, vec![acc], |cx, i, acc| {
        let weights = spec(Space::Smem, DType::Bf16, [TILE_N, TILE_K]).into();
        let wt = cx.method(at, w, "stage", &[weights], vec![[item, i].into()]);
        let rows = spec(Space::Tile, DType::Bf16, [ROWS, TILE_K]).into();
        let xt = cx.method(at, x, "load", &[rows], vec![Arg::List(vec![Arg::Int(0), i.into()])]);
        let xt = cx.transpose(at, xt);
        vec![cx.mma(at, Some(acc[0]), wt, xt)]
    });
    let out = cx.transpose(at, acc[0]);
    cx.method(at, y, "store", &[], vec![Arg::List(vec![Arg::Int(0), item.into()]), out.into()]);
    Ok(cx.finish()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let kernel = Prepared::new(&linear()?)?;
    let value = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 1009.0 - 0.5;
    let x: Vec<f32> = (0..ROWS * K).map(value).collect();
    let w: Vec<u8> = (0..N * K).flat_map(|i| ((value(i).to_bits() >> 16) as u16).to_le_bytes()).collect();
    let y = Arc::new(Array::zeros(DType::F32, [ROWS, N]));
    let args = [
        Arc::new(Array::from_f32(DType::Bf16, [ROWS, K], &x)?).into(),
        Arc::new(Array::from_bytes(DType::Bf16, [N, K], Arc::new(w), 0)?).into(),
        y.clone().into(),
    ];
    let mut times: Vec<f64> = (0..50)
        .map(|_| {
            let start = Instant::now();
            kernel.launch(&args, Options::default()).map(|()| start.elapsed().as_secs_f64() * 1e3)
        })
        .collect::<Result<_, _>>()?;
    times.sort_by(f64::total_cmp);
    let flops = 2.0 * (ROWS * K * N) as f64;
    let median = times[times.len() / 2];
    println!(
        "linear {ROWS}x{K}x{N} bf16: {median:.2} ms median, {:.2} ms best, {:.1} GFLOP/s, {} threads",
        times[0],
        flops / median / 1e6,
        rayon_threads()
    );
    println!("sum {}", y.to_f32().iter().sum::<f32>());
    Ok(())
}

fn rayon_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
