//! Every op of the interpreter against values worked out by hand.

use std::sync::Arc;
use tile_lang::build::{Arg, Cx, Generic, Space, TypeSpec, Val};
use tile_lang::interp::{self, ArgValue, Array, Options, Precision};
use tile_lang::ir::{Access, BinaryOp, CmpOp, TernaryOp, UnaryOp};
use tile_lang::{DType, Span};

#[path = "interp/memory.rs"]
mod memory;

const AT: Span = Span { file: 0, line: 7, col: 3, len: 4 };

fn tile(dtype: DType, shape: &[usize]) -> TypeSpec {
    TypeSpec { space: Space::Tile, dtype: Some(dtype), shape: shape.to_vec() }
}

fn smem(dtype: DType, shape: &[usize]) -> Generic {
    TypeSpec { space: Space::Smem, dtype: Some(dtype), shape: shape.to_vec() }.into()
}

fn origin(rank: usize) -> Arg {
    Arg::List(vec![Arg::Int(0); rank])
}

fn array(dtype: DType, dims: &[usize], data: &[f32]) -> Arc<Array> {
    Arc::new(Array::from_f32(dtype, dims, data).unwrap())
}

fn ints(dims: &[usize], data: &[i32]) -> Arc<Array> {
    Arc::new(Array::from_i32(DType::I32, dims, data).unwrap())
}

/// A kernel with read-only arrays `inputs` and one written array `out` of the type that `body` returns.
struct Case {
    inputs: Vec<Arc<Array>>,
    precision: Precision,
}

impl Case {
    fn new(inputs: &[Arc<Array>]) -> Case {
        Case { inputs: inputs.to_vec(), precision: Precision::Native }
    }

    fn run(&self, out: (DType, &[usize]), body: impl FnOnce(&mut Cx, &[Val]) -> Val) -> Arc<Array> {
        let mut cx = Cx::new("case", "case.rs");
        let mut args: Vec<ArgValue> = Vec::new();
        let mut values = Vec::new();
        for (i, a) in self.inputs.iter().enumerate() {
            values.push(cx.param_global(&format!("in{i}"), a.dtype(), a.dims().len(), Access::Read));
            args.push(a.clone().into());
        }
        let y = cx.param_global("out", out.0, out.1.len(), Access::Write);
        let result = body(&mut cx, &values);
        cx.method(AT, y, "store", &[], vec![origin(out.1.len()), result.into()]);
        let kernel = cx.finish().unwrap_or_else(|e| panic!("{e}"));
        let result = Arc::new(Array::zeros(out.0, out.1));
        args.push(result.clone().into());
        interp::launch(&kernel, &args, Options { precision: self.precision }).unwrap_or_else(|e| panic!("{e}"));
        result
    }

    fn reals(&self, shape: &[usize], body: impl FnOnce(&mut Cx, &[Val]) -> Val) -> Vec<f32> {
        self.run((DType::F32, shape), body).to_f32()
    }

    fn integers(&self, shape: &[usize], body: impl FnOnce(&mut Cx, &[Val]) -> Val) -> Vec<i32> {
        self.run((DType::I32, shape), body).to_i32()
    }
}

fn load(cx: &mut Cx, from: Val, shape: &[usize], dtype: DType, at: Arg) -> Val {
    cx.method(AT, from, "load_at", &[tile(dtype, shape).into()], vec![at])
}

/// Loads the first tile of an array.
fn first(cx: &mut Cx, from: Val, dtype: DType, shape: &[usize]) -> Val {
    let rank = match cx.ty(from) {
        tile_lang::ir::Type::Global(_, rank, _) => *rank,
        _ => 0,
    };
    load(cx, from, shape, dtype, origin(rank))
}

fn unary_f32(op: UnaryOp, x: &[f32]) -> Vec<f32> {
    Case::new(&[array(DType::F32, &[x.len()], x)]).reals(&[x.len()], |cx, v| {
        let x = first(cx, v[0], DType::F32, &[x.len()]);
        cx.unary(AT, op, x)
    })
}

#[test]
fn unary_ops_on_reals() {
    assert_eq!(unary_f32(UnaryOp::Neg, &[1.0, -2.0]), [-1.0, 2.0]);
    assert_eq!(unary_f32(UnaryOp::Abs, &[1.5, -2.0]), [1.5, 2.0]);
    assert_eq!(unary_f32(UnaryOp::Exp, &[0.0, 1.0]), [1.0, std::f32::consts::E]);
    assert_eq!(unary_f32(UnaryOp::Exp2, &[3.0, -1.0]), [8.0, 0.5]);
    assert_eq!(unary_f32(UnaryOp::Ln, &[1.0, 0.0]), [0.0, f32::NEG_INFINITY]);
    assert_eq!(unary_f32(UnaryOp::Log2, &[8.0, 0.25]), [3.0, -2.0]);
    assert_eq!(unary_f32(UnaryOp::Sqrt, &[9.0, 0.25]), [3.0, 0.5]);
    assert_eq!(unary_f32(UnaryOp::Rsqrt, &[4.0, 0.25]), [0.5, 2.0]);
    assert_eq!(unary_f32(UnaryOp::Recip, &[4.0, -0.5]), [0.25, -2.0]);
    assert_eq!(unary_f32(UnaryOp::Sin, &[0.0, 1.0]), [0.0, 1f32.sin()]);
    assert_eq!(unary_f32(UnaryOp::Cos, &[0.0, 1.0]), [1.0, 1f32.cos()]);
    assert_eq!(unary_f32(UnaryOp::Floor, &[1.7, -1.2]), [1.0, -2.0]);
}

#[test]
fn unary_ops_on_integers_and_bits() {
    let case = Case::new(&[ints(&[4], &[1, -2, i32::MIN, 0])]);
    let run = |op| {
        case.integers(&[4], |cx, v| {
            let x = first(cx, v[0], DType::I32, &[4]);
            cx.unary(AT, op, x)
        })
    };
    assert_eq!(run(UnaryOp::Neg), [-1, 2, i32::MIN, 0]);
    assert_eq!(run(UnaryOp::Abs), [1, 2, i32::MIN, 0]);
    assert_eq!(run(UnaryOp::Not), [-2, 1, i32::MAX, -1]);
    let bits = Case::new(&[array(DType::F32, &[2], &[1.0, -0.0])]).integers(&[2], |cx, v| {
        let x = first(cx, v[0], DType::F32, &[2]);
        cx.unary(AT, UnaryOp::ToBits, x)
    });
    assert_eq!(bits, [0x3f80_0000, i32::MIN]);
    let back = Case::new(&[ints(&[2], &[0x3f80_0000, 0x4000_0000])]).reals(&[2], |cx, v| {
        let x = first(cx, v[0], DType::I32, &[2]);
        cx.unary(AT, UnaryOp::FromBits, x)
    });
    assert_eq!(back, [1.0, 2.0]);
}

fn binary_f32(op: BinaryOp, a: &[f32], b: &[f32]) -> Vec<f32> {
    let n = a.len();
    Case::new(&[array(DType::F32, &[n], a), array(DType::F32, &[n], b)]).reals(&[n], |cx, v| {
        let (a, b) = (first(cx, v[0], DType::F32, &[n]), first(cx, v[1], DType::F32, &[n]));
        cx.binary(AT, op, a, b)
    })
}

fn binary_i32(op: BinaryOp, a: &[i32], b: &[i32]) -> Vec<i32> {
    let n = a.len();
    Case::new(&[ints(&[n], a), ints(&[n], b)]).integers(&[n], |cx, v| {
        let (a, b) = (first(cx, v[0], DType::I32, &[n]), first(cx, v[1], DType::I32, &[n]));
        cx.binary(AT, op, a, b)
    })
}

#[test]
fn binary_ops() {
    let (a, b) = ([1.0, f32::NAN, -3.0, 4.0], [2.0, 5.0, f32::NAN, 4.0]);
    assert_eq!(binary_f32(BinaryOp::Min, &a, &b), [1.0, 5.0, -3.0, 4.0]);
    assert_eq!(binary_f32(BinaryOp::Max, &a, &b), [2.0, 5.0, -3.0, 4.0]);
    assert_eq!(binary_f32(BinaryOp::Add, &[1.0, 2.0], &[0.5, -2.0]), [1.5, 0.0]);
    assert_eq!(binary_f32(BinaryOp::Sub, &[1.0, 2.0], &[0.5, -2.0]), [0.5, 4.0]);
    assert_eq!(binary_f32(BinaryOp::Mul, &[1.0, 2.0], &[0.5, -2.0]), [0.5, -4.0]);
    assert_eq!(binary_f32(BinaryOp::Div, &[1.0, 2.0], &[0.5, -2.0]), [2.0, -1.0]);
    assert_eq!(binary_i32(BinaryOp::Add, &[i32::MAX, 1], &[1, 2]), [i32::MIN, 3]);
    assert_eq!(binary_i32(BinaryOp::Sub, &[i32::MIN, 1], &[1, 2]), [i32::MAX, -1]);
    assert_eq!(binary_i32(BinaryOp::Mul, &[1 << 30, 3], &[4, -2]), [0, -6]);
    assert_eq!(binary_i32(BinaryOp::Div, &[-7, 7, 7, i32::MIN], &[2, -2, 0, -1]), [-3, -3, 0, i32::MIN]);
    assert_eq!(binary_i32(BinaryOp::Rem, &[-7, 7, 7, i32::MIN], &[2, -2, 0, -1]), [-1, 1, 0, 0]);
    assert_eq!(binary_i32(BinaryOp::Min, &[-7, 7], &[2, -2]), [-7, -2]);
    assert_eq!(binary_i32(BinaryOp::Max, &[-7, 7], &[2, -2]), [2, 7]);
    assert_eq!(binary_i32(BinaryOp::And, &[6, -1], &[3, 5]), [2, 5]);
    assert_eq!(binary_i32(BinaryOp::Or, &[6, 0], &[3, 5]), [7, 5]);
    assert_eq!(binary_i32(BinaryOp::Xor, &[6, -1], &[3, 5]), [5, -6]);
    assert_eq!(binary_i32(BinaryOp::Shl, &[1, -1], &[31, 4]), [i32::MIN, -16]);
    assert_eq!(binary_i32(BinaryOp::Shr, &[-16, 16], &[2, 2]), [-4, 4]);
    assert_eq!(binary_i32(BinaryOp::ShrLogical, &[-1, 16], &[28, 2]), [15, 4]);
    assert_eq!(binary_i32(BinaryOp::MulHigh, &[-1, 1 << 16], &[-1, 1 << 17]), [-2, 2]);
}

/// The product isn't rounded before the sum, whichever operands are tiles and whichever is one number for all.
#[test]
fn a_product_and_a_sum_are_rounded_once() {
    let (x, z) = (1.0 + 1.0 / 4096.0, [-1.0, 3.0]);
    let exact = [1.0f32 / 2048.0 + 1.0 / 16_777_216.0, 4.000_488_3];
    assert_ne!(x * x - 1.0, exact[0]);
    let case = Case::new(&[array(DType::F32, &[2], &[x, x]), array(DType::F32, &[2], &z)]);
    let run = |operands: [usize; 2]| {
        let all = case.run((DType::F32, &[2]), |cx, v| {
            let (t, sum) = (first(cx, v[0], DType::F32, &[2]), first(cx, v[1], DType::F32, &[2]));
            let one = cx.method(AT, v[0], "at", &[], vec![origin(1)]);
            let [a, b] = operands.map(|i| [t, one][i]);
            cx.ternary(AT, TernaryOp::MulAdd, a, b, sum)
        });
        all.to_f32()
    };
    for operands in [[0, 0], [0, 1], [1, 0], [1, 1]] {
        assert_eq!(run(operands), exact, "{operands:?}");
    }
    let whole = case.run((DType::F32, &[2]), |cx, v| {
        let t = first(cx, v[0], DType::F32, &[2]);
        cx.method(AT, t, "mul_add", &[], vec![t.into(), Arg::Float(-1.0)])
    });
    assert_eq!(whole.to_f32(), [exact[0]; 2]);
}

#[test]
fn bf16_arithmetic_rounds_once_and_not_at_all_in_f32() {
    let mut case = Case::new(&[array(DType::Bf16, &[2], &[1.0, 256.0]), array(DType::Bf16, &[2], &[1.0 / 512.0, 1.0])]);
    let run = |case: &Case| {
        case.run((DType::Bf16, &[2]), |cx, v| {
            let (a, b) = (first(cx, v[0], DType::Bf16, &[2]), first(cx, v[1], DType::Bf16, &[2]));
            cx.binary(AT, BinaryOp::Add, a, b)
        })
        .to_f32()
    };
    assert_eq!(run(&case), [1.0, 256.0]);
    case.precision = Precision::F32;
    assert_eq!(run(&case), [1.0 + 1.0 / 512.0, 257.0]);
}

#[test]
fn comparisons_select_and_logic() {
    let (a, b) = ([1.0, 2.0, 3.0, f32::NAN], [2.0, 2.0, 1.0, 1.0]);
    let case = Case::new(&[array(DType::F32, &[4], &a), array(DType::F32, &[4], &b)]);
    let run = |op| {
        case.integers(&[4], |cx, v| {
            let (a, b) = (first(cx, v[0], DType::F32, &[4]), first(cx, v[1], DType::F32, &[4]));
            let c = cx.compare(AT, op, a, b);
            cx.select(AT, c, 1, 0)
        })
    };
    assert_eq!(run(CmpOp::Lt), [1, 0, 0, 0]);
    assert_eq!(run(CmpOp::Le), [1, 1, 0, 0]);
    assert_eq!(run(CmpOp::Gt), [0, 0, 1, 0]);
    assert_eq!(run(CmpOp::Ge), [0, 1, 1, 0]);
    assert_eq!(run(CmpOp::Eq), [0, 1, 0, 0]);
    assert_eq!(run(CmpOp::Ne), [1, 0, 1, 1]);
    let picked = case.reals(&[4], |cx, v| {
        let (a, b) = (first(cx, v[0], DType::F32, &[4]), first(cx, v[1], DType::F32, &[4]));
        let lt = cx.compare(AT, CmpOp::Lt, a, b);
        let eq = cx.compare(AT, CmpOp::Eq, a, b);
        let either = cx.binary(AT, BinaryOp::Or, lt, eq);
        let not = cx.unary(AT, UnaryOp::Not, either);
        let sum = cx.binary(AT, BinaryOp::Add, b, 10.0f32);
        // `b` is used three times: no op may change it in place.
        cx.select(AT, not, sum, b)
    });
    assert_eq!(picked, [2.0, 2.0, 11.0, 11.0]);
}

#[test]
fn casts() {
    let x = [1.5, -2.7, 3e9, f32::NAN];
    let real = Case::new(&[array(DType::F32, &[4], &x)]);
    let int = |to| {
        real.integers(&[4], |cx, v| {
            let x = first(cx, v[0], DType::F32, &[4]);
            let y = cx.cast(AT, x, to);
            cx.cast(AT, y, DType::I32)
        })
    };
    assert_eq!(int(DType::I32), [1, -2, i32::MAX, 0]);
    assert_eq!(int(DType::I8), [1, -2, 127, 0]);
    assert_eq!(int(DType::U8), [1, 0, 255, 0]);
    assert_eq!(int(DType::Bool), [1, 1, 1, 1]);
    let wrapped = Case::new(&[ints(&[4], &[300, -1, 128, 0])]);
    let narrow = |to| {
        wrapped.integers(&[4], |cx, v| {
            let x = first(cx, v[0], DType::I32, &[4]);
            let y = cx.cast(AT, x, to);
            cx.cast(AT, y, DType::I32)
        })
    };
    assert_eq!(narrow(DType::I8), [44, -1, -128, 0]);
    assert_eq!(narrow(DType::U8), [44, 255, 128, 0]);
    assert_eq!(narrow(DType::Bool), [1, 1, 1, 0]);
    let x = [1.0 + 1.0 / 256.0, 1e6, -17.0, 0.3];
    let mut case = Case::new(&[array(DType::F32, &[4], &x)]);
    let round = |case: &Case, to| {
        case.reals(&[4], |cx, v| {
            let x = first(cx, v[0], DType::F32, &[4]);
            let y = cx.cast(AT, x, to);
            cx.cast(AT, y, DType::F32)
        })
    };
    assert_eq!(round(&case, DType::Bf16), [1.0, 999_424.0, -17.0, 0.300_781_25]);
    assert_eq!(round(&case, DType::F16), [1.0 + 1.0 / 256.0, f32::INFINITY, -17.0, 0.300_048_83]);
    assert_eq!(round(&case, DType::E4m3), [1.0, 448.0, -16.0, 0.3125]);
    assert_eq!(round(&case, DType::E5m2), [1.0, 57344.0, -16.0, 0.3125]);
    case.precision = Precision::F32;
    assert_eq!(round(&case, DType::Bf16), x);
    assert_eq!(round(&case, DType::F16), x);
    assert_eq!(round(&case, DType::E4m3), [1.0, 448.0, -16.0, 0.3125]);
}

#[test]
fn cast_of_a_shared_value_leaves_it_alone() {
    let x = array(DType::F32, &[2], &[1.0 / 3.0, 2.0]);
    let y = Case::new(&[x]).reals(&[2], |cx, v| {
        let x = first(cx, v[0], DType::F32, &[2]);
        let narrow = cx.cast(AT, x, DType::Bf16);
        let wide = cx.cast(AT, narrow, DType::F32);
        cx.binary(AT, BinaryOp::Sub, x, wide)
    });
    assert!(y[0] != 0.0 && y[0].abs() < 2e-3);
}

#[test]
fn shapes() {
    let case = Case::new(&[
        array(DType::F32, &[2], &[1.0, 2.0]),
        array(DType::F32, &[2, 4], &[0., 1., 2., 3., 4., 5., 6., 7.]),
    ]);
    let cols = case.reals(&[2, 4], |cx, v| {
        let x = first(cx, v[0], DType::F32, &[2]);
        cx.broadcast(AT, x, 1, 4)
    });
    assert_eq!(cols, [1., 1., 1., 1., 2., 2., 2., 2.]);
    let rows = case.reals(&[4, 2], |cx, v| {
        let x = first(cx, v[0], DType::F32, &[2]);
        cx.broadcast(AT, x, 0, 4)
    });
    assert_eq!(rows, [1., 2., 1., 2., 1., 2., 1., 2.]);
    let repeated = case.reals(&[2, 8], |cx, v| {
        let x = first(cx, v[1], DType::F32, &[2, 4]);
        cx.repeat(AT, x, 8)
    });
    assert_eq!(repeated, [0., 0., 1., 1., 2., 2., 3., 3., 4., 4., 5., 5., 6., 6., 7., 7.]);
    let turned = case.reals(&[4, 2], |cx, v| {
        let x = first(cx, v[1], DType::F32, &[2, 4]);
        let t = cx.transpose(AT, x);
        cx.binary(AT, BinaryOp::Mul, t, 2.0f32)
    });
    assert_eq!(turned, [0., 8., 2., 10., 4., 12., 6., 14.]);
    let index = Case::new(&[]).integers(&[2, 4], |cx, _| {
        let (r, c) = (cx.iota(AT, &[2, 4], 0), cx.iota(AT, &[2, 4], 1));
        let r = cx.binary(AT, BinaryOp::Mul, r, 10);
        cx.binary(AT, BinaryOp::Add, r, c)
    });
    assert_eq!(index, [0, 1, 2, 3, 10, 11, 12, 13]);
    let turned = Case::new(&[]).integers(&[4, 2], |cx, _| {
        let r = cx.iota(AT, &[2, 4], 0);
        cx.transpose(AT, r)
    });
    assert_eq!(turned, [0, 1, 0, 1, 0, 1, 0, 1]);
    let line = Case::new(&[]).integers(&[4], |cx, _| cx.iota(AT, &[4], 0));
    assert_eq!(line, [0, 1, 2, 3]);
}

#[test]
fn reductions() {
    let x = [3.0, f32::NAN, 3.0, -1.0, f32::NAN, f32::NAN, 2.0, 2.0];
    let case =
        Case::new(&[array(DType::F32, &[2, 4], &x), array(DType::F32, &[2, 4], &[1., 2., 3., 4., 5., 6., 7., 8.])]);
    let real = |input: usize, name: &str, n: usize| {
        case.reals(&[n], |cx, v| {
            let x = first(cx, v[input], DType::F32, &[2, 4]);
            cx.method(AT, x, name, &[], vec![])
        })
    };
    let int = |name: &str, n: usize| {
        case.integers(&[n], |cx, v| {
            let x = first(cx, v[0], DType::F32, &[2, 4]);
            cx.method(AT, x, name, &[], vec![])
        })
    };
    assert_eq!(real(1, "row_sum", 2), [10.0, 26.0]);
    assert_eq!(real(1, "col_sum", 4), [6.0, 8.0, 10.0, 12.0]);
    assert_eq!(real(0, "row_max", 2), [3.0, 2.0]);
    assert_eq!(real(0, "row_min", 2), [-1.0, 2.0]);
    assert_eq!(real(1, "col_max", 4), [5.0, 6.0, 7.0, 8.0]);
    assert_eq!(real(1, "col_min", 4), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(int("row_argmax", 2), [0, 2]);
    assert_eq!(int("col_argmax", 4), [0, 0, 0, 1]);
    let case = Case::new(&[ints(&[4], &[7, -3, 9, 9])]);
    for (name, want) in [("all_sum", 22), ("all_max", 9), ("all_min", -3), ("all_argmax", 2)] {
        let got = case.integers(&[2], |cx, v| {
            let x = first(cx, v[0], DType::I32, &[4]);
            let s = cx.method(AT, x, name, &[], vec![]);
            cx.spread(AT, s, &[2])
        });
        assert_eq!(got, [want; 2]);
    }
    // A tile of one number is a tile all the same.
    let ones = Case::new(&[]).reals(&[2], |cx, _| {
        let x = cx.constructor(AT, &tile(DType::F32, &[2, 64]), "full", vec![Arg::Float(0.5)]);
        cx.method(AT, x, "row_sum", &[], vec![])
    });
    assert_eq!(ones, [32.0, 32.0]);
    let long: Vec<f32> = (0..64).map(|i| if i == 40 { 99.0 } else { i as f32 }).collect();
    let top = Case::new(&[array(DType::F32, &[64], &long)]).reals(&[1], |cx, v| {
        let x = first(cx, v[0], DType::F32, &[64]);
        let m = cx.method(AT, x, "all_max", &[], vec![]);
        cx.spread(AT, m, &[1])
    });
    assert_eq!(top, [99.0]);
}

#[test]
fn products() {
    let (m, n, k) = (16, 8, 32);
    let a: Vec<f32> = (0..m * k).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
    let b: Vec<f32> = (0..n * k).map(|i| ((i * 5) % 11) as f32 - 5.0).collect();
    let want: Vec<f32> =
        (0..m * n).map(|i| 2.0 + (0..k).map(|p| a[(i / n) * k + p] * b[(i % n) * k + p]).sum::<f32>()).collect();
    let inputs = [array(DType::Bf16, &[m, k], &a), array(DType::Bf16, &[n, k], &b)];
    let got = Case::new(&inputs).reals(&[m, n], |cx, v| {
        let a = first(cx, v[0], DType::Bf16, &[m, k]);
        let b = first(cx, v[1], DType::Bf16, &[n, k]);
        let b = cx.transpose(AT, b);
        let acc = cx.constructor(AT, &tile(DType::F32, &[m, n]), "full", vec![Arg::Int(2)]);
        cx.mma(AT, Some(acc), a, b)
    });
    assert_eq!(got, want);
    let kept = Case::new(&inputs).reals(&[m, n], |cx, v| {
        let a = cx.method(AT, v[0], "stage", &[smem(DType::Bf16, &[m, k])], vec![origin(2)]);
        let b = cx.method(AT, v[1], "stage", &[smem(DType::Bf16, &[n, k])], vec![origin(2)]);
        let b = cx.transpose(AT, b);
        let one = cx.mma(AT, None, a, b);
        // The first product is still needed after it was the accumulator of the second.
        let two = cx.mma(AT, Some(one), a, b);
        cx.binary(AT, BinaryOp::Sub, two, one)
    });
    assert_eq!(kept, want.iter().map(|x| x - 2.0).collect::<Vec<_>>());
}

#[test]
fn loops_and_conditions() {
    let out = Case::new(&[]).integers(&[4], |cx, _| {
        let zero = cx.constructor(AT, &tile(DType::I32, &[4]), "zero", vec![]);
        let index = cx.iota(AT, &[4], 0);
        let r = cx.for_loop(AT, (Arg::Int(1), Arg::Int(5)), 0, vec![zero, index], |cx, i, c| {
            let even = cx.binary(AT, BinaryOp::Rem, i, 2);
            let even = cx.compare(AT, CmpOp::Eq, even, 0);
            let sum = cx.if_else(
                AT,
                even,
                vec![c[0]],
                |cx, c| {
                    let s = cx.binary(AT, BinaryOp::Add, c[0], index);
                    vec![cx.binary(AT, BinaryOp::Mul, s, i)]
                },
                |_, c| vec![c[0]],
            );
            // The carried values change places, and one is handed on twice over.
            vec![c[1], sum[0]]
        });
        cx.binary(AT, BinaryOp::Sub, r[1], r[0])
    });
    // Worked by hand for each index x: (s, t) = (0, x), then (t, s) with s ← (s + x)·i at i = 2 and 4.
    // i=1: (x, 0); i=2: (0, 4x); i=3: (4x, 0); i=4: (0, (4x + x)·4).
    assert_eq!(out, [0, 20, 40, 60]);
    let none = Case::new(&[]).integers(&[4], |cx, _| {
        let index = cx.iota(AT, &[4], 0);
        cx.for_loop(AT, (Arg::Int(3), Arg::Int(1)), 0, vec![index], |cx, i, c| {
            vec![cx.binary(AT, BinaryOp::Add, c[0], i)]
        })[0]
    });
    assert_eq!(none, [0, 1, 2, 3]);
}

#[test]
fn products_of_f32_round_their_operands_to_tf32() {
    use tile_lang::interp::round_tf32;
    // Ten bits of fraction: a half of the last one goes away from zero, whatever the last bit is.
    let unit = 2f32.powi(-10);
    for (x, want) in [
        (1.0 + unit / 2.0, 1.0 + unit),
        (1.0 + unit * 1.5, 1.0 + unit * 2.0),
        (-1.0 - unit / 2.0, -1.0 - unit),
        (1.0 + unit * 0.499, 1.0),
        (3.0e38, 1806.0 * 2f32.powi(117)),
        (f32::INFINITY, f32::INFINITY),
        (0.0, 0.0),
    ] {
        let got = round_tf32(x);
        assert!(got == want || (got / want - 1.0).abs() < 1e-7, "{x}: {got}, {want}");
        assert_eq!(round_tf32(got), got);
        assert_eq!(got.to_bits() & 0x1fff, 0);
    }
    assert!(round_tf32(f32::NAN).is_nan());
    let a: Vec<f32> = (0..16 * 8).map(|i| 1.0 + i as f32 * 0.000_37).collect();
    let b: Vec<f32> = (0..8 * 8).map(|i| if i % 9 == 0 { 1.0 + unit / 2.0 } else { 0.0 }).collect();
    let case = Case::new(&[array(DType::F32, &[16, 8], &a), array(DType::F32, &[8, 8], &b)]);
    let out = case.run((DType::F32, &[16, 8]), |cx, x| {
        let load = |cx: &mut Cx, x: Val, n: usize| {
            cx.method(AT, x, "load", &[tile(DType::F32, &[n, 8]).into()], vec![origin(2)])
        };
        let (a, b) = (load(cx, x[0], 16), load(cx, x[1], 8));
        cx.method(AT, x[0], "prefetch", &[tile(DType::F32, &[16, 8]).into()], vec![origin(2)]);
        cx.func(AT, "mma_tf32", &[], vec![a.into(), b.into()])
    });
    let want: Vec<f32> = a.iter().map(|x| round_tf32(*x) * (1.0 + unit)).collect();
    assert_eq!(out.to_f32(), want);
}
