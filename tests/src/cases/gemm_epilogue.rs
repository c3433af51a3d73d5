//! Products with epilogues.

use super::builder::{Build, Built, rounded};
use super::gemm::error;
use super::{Expectation, Expected};
use tile_lang::DType::{self, Bf16, E4m3, F16, F32};
use tile_lang::exec::Data;
use tile_lang::interp::round_to;
use tile_models::kernels::epilogue::{GELU, GELU_TANH, NONE, RELU, SCALED, SILU};
use tile_models::kernels::gemm_epilogue;
use tile_models::reference::ops;

/// Extents, types of operands and result, tile, activation.
#[derive(Clone, Copy, Debug)]
struct Shape {
    extents: [usize; 3],
    x: DType,
    y: DType,
    tile: [usize; 3],
    act: usize,
}

const ACTIVATIONS: [&str; 5] = ["none", "relu", "gelu", "gelu_tanh", "silu"];

impl Shape {
    fn begin(self, kernel: &str) -> Build {
        let Shape { extents: [m, n, k], x, y, tile: [bm, bn, bk], act } = self;
        let mut case = Build::new(kernel, &format!("{m}x{n}x{k}_{x}_{y}_{bm}x{bn}x{bk}_{}", ACTIVATIONS[act]));
        case.flops = (2 * m * n * k) as u64;
        case
    }

    fn operands(self, case: &mut Build) -> [Vec<f32>; 2] {
        let [m, n, k] = self.extents;
        [case.rows(self.x, &[m, k], 1.0 / 16.0), case.rows(self.x, &[n, k], 1.0)]
    }

    fn activated(self, x: f32) -> f32 {
        let wide = f64::from(x);
        let y = match self.act {
            NONE => wide,
            RELU => wide.max(0.0),
            // Φ by the error function's series, which converges for all that sums here reach.
            GELU => wide * 0.5 * (1.0 + erf(wide * std::f64::consts::FRAC_1_SQRT_2)),
            GELU_TANH => {
                wide * 0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3))).tanh())
            }
            SILU => wide / (1.0 + (-wide).exp()),
            other => unreachable!("no activation {other}"),
        };
        y as f32
    }
}

/// erf(x) by its Maclaurin series.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// C = act(alpha·A·Bᵀ + beta·C + bias). A C that counts for nothing holds no numbers.
fn bias_case(s: Shape, [alpha, beta]: [f32; 2]) -> Built {
    let Shape { extents: [m, n, _], x, y, tile: [bm, bn, bk], act } = s;
    let def = gemm_epilogue::gemm_bias::DEF;
    let mut case = s.begin(def.name);
    let [a, b] = s.operands(&mut case);
    let bias = case.rows(F32, &[n], 0.5);
    let start = (0..m * n).map(|_| if beta == 0.0 { f32::NAN } else { rounded(y, vec![case.random.normal()])[0] });
    let start: Vec<f32> = start.collect();
    let buffer = case.given(y, &[m, n], start.clone());
    case.f32(alpha);
    case.f32(beta);
    let expect: Expectation = Box::new(move || {
        let mut out = ops::linear_f32(&a, &b, n);
        for (i, x) in out.iter_mut().enumerate() {
            let of_c = if beta == 0.0 { 0.0 } else { beta * start[i] };
            *x = s.activated(alpha * *x + of_c + bias[i % n]);
        }
        vec![Expected { buffer, data: Data::F32(rounded(y, out)), magnitudes: None }]
    });
    let generics = [x.into(), y.into(), act.into(), bm.into(), bn.into(), bk.into()];
    case.finish(def, &generics, x.name(), error(y), expect)
}

/// C = gelu(A·Bᵀ + bias) of these extents, in bf16.
pub(super) fn bias_case_of(extents: [usize; 3]) -> Built {
    bias_case(Shape { extents, x: Bf16, y: Bf16, tile: [128, 256, 64], act: GELU }, [1.0, 0.0])
}

/// C = R + act(A·Bᵀ + bias).
fn residual_case(s: Shape, residual: DType) -> Built {
    let Shape { extents: [m, n, _], x, y, tile: [bm, bn, bk], act } = s;
    let def = gemm_epilogue::gemm_residual::DEF;
    let mut case = s.begin(def.name);
    let [a, b] = s.operands(&mut case);
    let bias = case.rows(F32, &[n], 0.5);
    let r = case.rows(residual, &[m, n], 1.0);
    let c = case.out(y, &[m, n]);
    let expect: Expectation = Box::new(move || {
        let sums = ops::linear_f32(&a, &b, n);
        let out = sums.iter().enumerate().map(|(i, x)| r[i] + s.activated(x + bias[i % n])).collect();
        vec![c.reals(rounded(y, out))]
    });
    let generics = [x.into(), residual.into(), y.into(), act.into(), bm.into(), bn.into(), bk.into()];
    case.finish(def, &generics, x.name(), error(y), expect)
}

/// One step of E4M3 relative to the number: sums that are rounded otherwise may give the next one.
const STEP: f64 = 1.0 / 8.0;
/// The smallest normal E4M3 number: below, steps have one size.
const NORMAL: f32 = 1.0 / 64.0;

/// What E4M3 codes must be, each with an error of one step.
fn codes(buffer: usize, codes: Vec<f32>) -> Expected {
    let magnitudes = Some(codes.iter().map(|x| x.abs().max(NORMAL)).collect());
    Expected { buffer, data: Data::F32(codes), magnitudes }
}

/// C = act(A·Bᵀ) in E4M3 with the scales that come out of it.
fn quantised_case(s: Shape) -> Built {
    let Shape { extents: [m, n, _], x, tile: [bm, bn, bk], act, .. } = s;
    let def = gemm_epilogue::gemm_quantised::DEF;
    let mut case = s.begin(def.name);
    let [a, b] = s.operands(&mut case);
    let (blocks, padded) = (n.div_ceil(SCALED), m.next_multiple_of(4));
    // No result is what was there before.
    let buffer = case.given(E4m3, &[m, n], vec![f32::NAN; m * n]);
    let scales = case.out(F32, &[blocks, padded]);
    let expect: Expectation = Box::new(move || {
        let sums = ops::linear_f32(&a, &b, n);
        let (mut out, mut of_rows) = (vec![0.0; m * n], vec![1.0; blocks * padded]);
        for row in 0..m {
            for block in 0..blocks {
                let range = row * n + block * SCALED..row * n + n.min((block + 1) * SCALED);
                let y: Vec<f32> = sums[range.clone()].iter().map(|x| s.activated(*x)).collect();
                let largest = y.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                let scale = if largest > 0.0 { largest / 448.0 } else { 1.0 };
                of_rows[block * padded + row] = scale;
                out[range].iter_mut().zip(y).for_each(|(out, y)| *out = round_to(E4m3, y / scale));
            }
        }
        // Scales are as exact as sums.
        let magnitudes = of_rows.iter().map(|x| x * (error(F32) / STEP) as f32).collect();
        let of_rows = Expected { magnitudes: Some(magnitudes), ..scales.reals(of_rows) };
        vec![codes(buffer, out), of_rows]
    });
    case.finish(def, &[x.into(), act.into(), bm.into(), bn.into(), bk.into()], x.name(), STEP, expect)
}

/// C = act(A·Bᵀ) in E4M3 with scales that are given.
fn quantised_rows_case(s: Shape) -> Built {
    let Shape { extents: [m, n, _], x, tile: [bm, bn, bk], act, .. } = s;
    let def = gemm_epilogue::gemm_quantised_rows::DEF;
    let mut case = s.begin(def.name);
    let [a, b] = s.operands(&mut case);
    // Some so small that codes saturate.
    let scales: Vec<f32> = (0..m).map(|_| 0.002 + 0.1 * case.random.uniform()).collect();
    case.given(F32, &[m], scales.clone());
    let buffer = case.given(E4m3, &[m, n], vec![f32::NAN; m * n]);
    let expect: Expectation = Box::new(move || {
        let sums = ops::linear_f32(&a, &b, n);
        let of = |(i, x): (usize, &f32)| round_to(E4m3, s.activated(*x) / scales[i / n]);
        vec![codes(buffer, sums.iter().enumerate().map(of).collect())]
    });
    case.finish(def, &[x.into(), act.into(), bm.into(), bn.into(), bk.into()], x.name(), STEP, expect)
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let tile = [128, 256, 64];
    let usual = |extents, act| Shape { extents, x: Bf16, y: Bf16, tile, act };
    // What fits in the shared memory of every target.
    let square = |extents, act| Shape { tile: [128, 128, 64], ..usual(extents, act) };
    let small = |extents, act| Shape { y: F32, tile: [128, 64, 64], ..usual(extents, act) };
    [
        bias_case(usual([140, 264, 136], GELU), [1.5, 0.0]),
        bias_case(square([140, 264, 136], GELU), [1.5, 0.0]),
        bias_case(Shape { x: F16, ..small([37, 72, 72], SILU) }, [0.5, -0.75]),
        bias_case(small([130, 70, 64], RELU), [1.0, 0.0]),
        bias_case(small([16, 66, 72], GELU_TANH), [1.0, 1.0]),
        residual_case(Shape { y: F32, ..square([140, 264, 136], NONE) }, F32),
        residual_case(small([37, 72, 72], GELU), Bf16),
        residual_case(Shape { x: F16, y: F16, ..small([130, 70, 64], RELU) }, F16),
        quantised_case(square([140, 264, 136], SILU)),
        quantised_case(usual([130, 390, 64], NONE)),
        // A last block of columns that is not whole.
        quantised_case(square([37, 300, 72], RELU)),
        quantised_rows_case(square([140, 264, 136], RELU)),
        quantised_rows_case(usual([130, 70, 64], SILU)),
        quantised_rows_case(Shape { tile: [128, 64, 64], ..usual([37, 80, 72], NONE) }),
        quantised_rows_case(Shape { x: F16, tile: [128, 128, 64], ..usual([129, 144, 64], GELU_TANH) }),
    ]
    .into_iter()
    .collect()
}
