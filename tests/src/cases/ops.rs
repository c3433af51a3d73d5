//! Every op on every element type it is defined on, from the declarations in `tile_lang::ir`: operands from the declared
//! range, the declared meaning as reference, the declared error as tolerance. Extents are no multiples of the tiles'.

use super::builder::{Build, Built, numbers};
use super::{Case, Expected};
use crate::random::Random;
use tile_lang::build::{Arg, Cx, Space, TypeSpec, Val};
use tile_lang::interp::round_to;
use tile_lang::ir::{Access, BinaryOp, Class, CmpOp, Fold, Kernel, ReduceOp, TernaryOp, UnaryOp, product_of};
use tile_lang::{DType, Span};

/// Extents of arrays and of tiles.
const ARRAY: [usize; 2] = [37, 50];
const TILE: [usize; 2] = [16, 32];
pub(super) const AT: Span = Span::NONE;
/// Error allowed where results are rounded to 16 bits: one unit in the last place of bf16.
const HALF_ERROR: f64 = 1.0 / 128.0;

/// What is computed of the loaded tiles: a value for each output.
type Body<'b> = dyn Fn(&mut Cx, &[Val]) -> Vec<Val> + 'b;

pub(super) fn spec(space: Space, dtype: DType, shape: &[usize]) -> TypeSpec {
    TypeSpec { space, dtype: Some(dtype), shape: shape.to_vec() }
}

pub(super) fn finished(cx: Cx, name: &str) -> Result<Kernel, String> {
    cx.finish().map_err(|e| format!("{name}: {e}"))
}

/// Loads a tile of each input and stores each result at its place in its own output.
fn elementwise(name: &str, ins: &[DType], outs: &[DType], body: &Body<'_>) -> Result<Kernel, String> {
    let mut cx = Cx::new(name, file!());
    let arrays: Vec<Val> =
        ins.iter().enumerate().map(|(i, d)| cx.param_global(&format!("x{i}"), *d, 2, Access::Read)).collect();
    let results: Vec<Val> =
        outs.iter().enumerate().map(|(i, d)| cx.param_global(&format!("y{i}"), *d, 2, Access::Write)).collect();
    let extents = (0..2).map(|axis| {
        let n = cx.method(AT, arrays[0], "dim", &[], vec![Arg::Int(axis)]);
        cx.func(AT, "cdiv", &[], vec![n.into(), Arg::Int(TILE[axis as usize] as i64)]).into()
    });
    let extents = extents.collect();
    let item: Vec<Arg> = cx.work(AT, Arg::List(extents)).into_iter().map(Arg::from).collect();
    let load = |cx: &mut Cx, x: &Val, d: &DType| {
        cx.method(AT, *x, "load", &[spec(Space::Tile, *d, &TILE).into()], vec![Arg::List(item.clone())])
    };
    let tiles: Vec<Val> = arrays.iter().zip(ins).map(|(x, d)| load(&mut cx, x, d)).collect();
    let values = body(&mut cx, &tiles);
    for (y, value) in results.iter().zip(values) {
        cx.method(AT, *y, "store", &[], vec![Arg::List(item.clone()), value.into()]);
    }
    finished(cx, name)
}

/// Numbers of an element type. Integers reach over all of their range where `wide` says so.
fn operands(random: &mut Random, d: DType, n: usize, [from, to]: [f32; 2], wide: Range) -> Vec<f64> {
    (0..n)
        .map(|_| {
            let bits = random.bits();
            match d {
                DType::Bool => (bits & 1) as f64,
                DType::I8 => f64::from(bits as i8),
                DType::U8 => f64::from(bits as u8),
                // Every tenth is small, so that shifts, ties and zeros are met.
                DType::I32 if bits.is_multiple_of(10) => f64::from((bits >> 8) as i32 % 8),
                DType::I32 if wide == Range::All => f64::from((bits >> 8) as i32),
                DType::I32 => f64::from((bits >> 8) as i32 % 60_000),
                DType::E8m0 => 2f64.powi((bits % 7) as i32 - 3),
                _ => f64::from(round_to(d, from + (to - from) * random.uniform())),
            }
        })
        .collect()
}

/// How far integers reach.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Range {
    /// What every type that is converted to can take or saturates at.
    Moderate,
    /// All 32 bits.
    All,
}

/// A case of an elementwise kernel: operands, and for each output its type and its reference.
type Reference = Box<dyn Fn(&[f64]) -> f64 + Send + Sync>;

fn case(
    (name, shape): (&str, &str),
    [from, to]: [f32; 2],
    wide: Range,
    ins: &[DType],
    error: f64,
    outs: Vec<(DType, Reference)>,
    body: &Body<'_>,
) -> Built {
    let types: Vec<DType> = outs.iter().map(|(d, _)| *d).collect();
    let kernel = elementwise(name, ins, &types, body)?;
    let mut b = Build::new(name, shape);
    let n = ARRAY[0] * ARRAY[1];
    let columns: Vec<Vec<f64>> = ins.iter().map(|d| operands(&mut b.random, *d, n, [from, to], wide)).collect();
    for (d, x) in ins.iter().zip(&columns) {
        b.numbers(*d, &ARRAY, x);
    }
    let buffers: Vec<usize> = types.iter().map(|d| b.numbers(*d, &ARRAY, &vec![1.0; n])).collect();
    let expect = move || {
        let at = |i: usize| columns.iter().map(|c| c[i]).collect::<Vec<f64>>();
        let one = |(buffer, (d, f)): (&usize, &(DType, Reference))| {
            let values: Vec<f64> = (0..n).map(|i| f(&at(i))).collect();
            Expected { buffer: *buffer, data: numbers(*d, &values), magnitudes: None }
        };
        buffers.iter().zip(&outs).map(one).collect()
    };
    b.finish_kernel(kernel, ins[0].name(), error, Box::new(expect))
}

/// The error allowed on elements of a type.
fn error(d: DType, declared: f32) -> f64 {
    if d.bits() == 16 { HALF_ERROR } else { f64::from(declared) }
}

fn unary(op: UnaryOp, d: DType) -> Built {
    let to = op.result(d).unwrap_or(d);
    let trial = op.trial();
    let reference: Reference = match d {
        // Through the bits and back, for not all bits are numbers that can be compared.
        _ if matches!(op, UnaryOp::ToBits | UnaryOp::FromBits) => return bits(op, d),
        DType::I32 => Box::new(move |x| op.eval_int(x[0] as i32).unwrap_or_default() as f64),
        DType::Bool => Box::new(move |x| f64::from(u8::from(op.eval_truth(x[0] != 0.0).unwrap_or_default()))),
        _ => Box::new(move |x| f64::from(round_to(d, op.eval_real(x[0] as f32).unwrap_or(f32::NAN)))),
    };
    let body = move |cx: &mut Cx, x: &[Val]| vec![cx.unary(AT, op, x[0])];
    let name = format!("op_{}", op.name());
    case(
        (&name, d.name()),
        [trial.from, trial.to],
        Range::All,
        &[d],
        error(d, trial.error),
        vec![(to, reference)],
        &body,
    )
}

/// `to_bits`, or all bits but the sign and the top of the exponent as a number.
fn bits(op: UnaryOp, d: DType) -> Built {
    let name = format!("op_{}", op.name());
    if op == UnaryOp::ToBits {
        let reference: Reference = Box::new(|x| f64::from((x[0] as f32).to_bits() as i32));
        let body = move |cx: &mut Cx, x: &[Val]| vec![cx.unary(AT, op, x[0])];
        return case((&name, d.name()), [-8.0, 8.0], Range::All, &[d], 0.0, vec![(DType::I32, reference)], &body);
    }
    const MASK: i32 = 0x3fff_ffff;
    let reference: Reference = Box::new(|x| f64::from(f32::from_bits((x[0] as i32 & MASK) as u32)));
    let body = move |cx: &mut Cx, x: &[Val]| {
        let masked = cx.binary(AT, BinaryOp::And, x[0], MASK);
        vec![cx.unary(AT, op, masked)]
    };
    case((&name, d.name()), [0.0, 1.0], Range::All, &[d], 0.0, vec![(DType::F32, reference)], &body)
}

fn binary(op: BinaryOp, d: DType) -> Built {
    let trial = op.trial();
    let reference: Reference = match d {
        DType::I32 => Box::new(move |x| op.eval_int(x[0] as i32, x[1] as i32).unwrap_or_default() as f64),
        DType::Bool => {
            Box::new(move |x| f64::from(u8::from(op.eval_truth(x[0] != 0.0, x[1] != 0.0).unwrap_or_default())))
        }
        _ => Box::new(move |x| f64::from(round_to(d, op.eval_real(x[0] as f32, x[1] as f32).unwrap_or(f32::NAN)))),
    };
    let body = move |cx: &mut Cx, x: &[Val]| vec![cx.binary(AT, op, x[0], x[1])];
    let name = format!("op_{}", op.name());
    let range = [trial.from, trial.to];
    case((&name, d.name()), range, Range::All, &[d, d], error(d, trial.error), vec![(d, reference)], &body)
}

fn ternary(op: TernaryOp, d: DType) -> Built {
    let trial = op.trial();
    let reference: Reference =
        Box::new(move |x| f64::from(round_to(d, op.eval_real(x[0] as f32, x[1] as f32, x[2] as f32))));
    let body = move |cx: &mut Cx, x: &[Val]| vec![cx.ternary(AT, op, x[0], x[1], x[2])];
    let name = format!("op_{}", op.name());
    let range = [trial.from, trial.to];
    case((&name, d.name()), range, Range::All, &[d, d, d], error(d, trial.error), vec![(d, reference)], &body)
}

/// All comparisons of one type.
fn compare(d: DType) -> Built {
    let outs = CmpOp::ALL.iter().map(|op| {
        let reference: Reference = Box::new(move |x| f64::from(u8::from(op.eval_real(x[0] as f32, x[1] as f32))));
        (DType::Bool, reference)
    });
    let body = |cx: &mut Cx, x: &[Val]| CmpOp::ALL.iter().map(|op| cx.compare(AT, *op, x[0], x[1])).collect();
    case(("op_compare", d.name()), [-2.0, 2.0], Range::Moderate, &[d, d], 0.0, outs.collect(), &body)
}

/// The value of a number converted between element types.
fn converted(from: DType, to: DType, x: f64) -> f64 {
    match (from.is_float(), to) {
        (_, DType::Bool) => f64::from(u8::from(x != 0.0)),
        (true, DType::I8) => f64::from(x as i8),
        (true, DType::U8) => f64::from(x as u8),
        (true, DType::I32) => f64::from(x as i32),
        (false, DType::I8) => f64::from(x as i32 as i8),
        (false, DType::U8) => f64::from(x as i32 as u8),
        (false, DType::I32) => x,
        _ => f64::from(round_to(to, x as f32)),
    }
}

/// From one type to all.
fn casts(from: DType) -> Built {
    let outs = DType::ALL.map(|to| {
        let reference: Reference = Box::new(move |x| converted(from, to, x[0]));
        (to, reference)
    });
    let body = |cx: &mut Cx, x: &[Val]| DType::ALL.iter().map(|to| cx.cast(AT, x[0], *to)).collect();
    case(("op_cast", from.name()), [-7.0, 7.0], Range::Moderate, &[from], 0.0, outs.into(), &body)
}

/// All reductions of one type along one axis, of each tile. Elements outside of the array are zeros.
fn reduce(d: DType, axis: usize) -> Built {
    let ops: Vec<ReduceOp> = ReduceOp::ALL.iter().copied().filter(|op| op.class().holds(d)).collect();
    let name = "op_reduce";
    let mut cx = Cx::new(name, file!());
    let x = cx.param_global("x", d, 2, Access::Read);
    let types: Vec<DType> = ops.iter().map(|op| op.result(d).unwrap_or(d)).collect();
    let results: Vec<Val> =
        ops.iter().zip(&types).map(|(op, d)| cx.param_global(op.name(), *d, 2, Access::Write)).collect();
    let tiles = [ARRAY[0].div_ceil(TILE[0]), ARRAY[1].div_ceil(TILE[1])];
    let item = cx.work(AT, Arg::List(tiles.iter().map(|n| Arg::Int(*n as i64)).collect()));
    let index = Arg::List(item.iter().map(|v| (*v).into()).collect());
    let tile = cx.method(AT, x, "load", &[spec(Space::Tile, d, &TILE).into()], vec![index]);
    for (op, y) in ops.iter().zip(&results) {
        let value = cx.reduce(AT, *op, tile, axis);
        // Row `tile along the axis`, and in it what the other axis has.
        let to = Arg::List(vec![item[axis].into(), item[1 - axis].into()]);
        cx.method(AT, *y, "store", &[], vec![to, value.into()]);
    }
    let kernel = finished(cx, name)?;
    let mut b = Build::new(name, &format!("{d}_axis{axis}"));
    let (rows, cols) = (ARRAY[0], ARRAY[1]);
    // Small and far from 0, so that products neither vanish nor overflow.
    let values: Vec<f64> = match d {
        DType::F32 => operands(&mut b.random, d, rows * cols, [-1.2, 1.2], Range::Moderate),
        DType::I32 => (0..rows * cols).map(|_| (b.random.bits() % 2) as f64 + 1.0).collect(),
        _ => operands(&mut b.random, d, rows * cols, [0.0, 1.0], Range::Moderate),
    };
    b.numbers(d, &ARRAY, &values);
    let (along, other) = (tiles[axis], ARRAY[1 - axis]);
    let buffers: Vec<usize> = types.iter().map(|d| b.numbers(*d, &[along, other], &vec![1.0; along * other])).collect();
    let expect = move || {
        let one = |op: ReduceOp, at: usize, i: usize| -> f64 {
            let line: Vec<f64> = (0..TILE[axis])
                .map(|j| {
                    let j = at * TILE[axis] + j;
                    let (r, c) = if axis == 1 { (i, j) } else { (j, i) };
                    if r < rows && c < cols { values[r * cols + c] } else { 0.0 }
                })
                .collect();
            match op.fold() {
                Fold::Index(wins) => (1..line.len())
                    .fold(0, |best, j| if wins.eval_real(line[j] as f32, line[best] as f32) { j } else { best })
                    as f64,
                Fold::Join(join) => line
                    .iter()
                    .copied()
                    .reduce(|a, b| match d {
                        DType::I32 => join.eval_int(a as i32, b as i32).unwrap_or_default() as f64,
                        DType::Bool => f64::from(u8::from(join.eval_truth(a != 0.0, b != 0.0).unwrap_or_default())),
                        _ => f64::from(join.eval_real(a as f32, b as f32).unwrap_or(f32::NAN)),
                    })
                    .unwrap_or_default(),
            }
        };
        let all = |op: ReduceOp| (0..along * other).map(|at| one(op, at / other, at % other)).collect::<Vec<f64>>();
        let list = ops.iter().zip(&buffers).zip(&types);
        list.map(|((op, buffer), d)| Expected { buffer: *buffer, data: numbers(*d, &all(*op)), magnitudes: None })
            .collect()
    };
    b.finish_kernel(kernel, d.name(), 1e-5, Box::new(expect))
}

/// Extents of a product, and of its tiles.
const PRODUCT: [usize; 3] = [19, 13, 50];
const PRODUCT_TILE: [usize; 3] = [32, 16, 64];

/// A staged weight times a loaded tile; sums of small integers are exact in every type.
fn product(da: DType, db: DType) -> Built {
    let ([m, n, k], [tm, tn, tk]) = (PRODUCT, PRODUCT_TILE);
    let sum = product_of(da, db).map_or(DType::F32, |p| p.sum);
    let name = "op_mma";
    let mut cx = Cx::new(name, file!());
    let a = cx.param_global("a", da, 2, Access::Weight);
    let b = cx.param_global("b", db, 2, Access::Read);
    let y = cx.param_global("y", sum, 2, Access::Write);
    let origin = || Arg::List(vec![Arg::Int(0), Arg::Int(0)]);
    let ta = cx.method(AT, a, "stage", &[spec(Space::Smem, da, &[tm, tk]).into()], vec![origin()]);
    let tb = cx.method(AT, b, "load", &[spec(Space::Tile, db, &[tk, tn]).into()], vec![origin()]);
    let c = if da == DType::F32 { cx.mma_tf32(AT, None, ta, tb) } else { cx.mma(AT, None, ta, tb) };
    cx.method(AT, y, "store", &[], vec![origin(), c.into()]);
    let kernel = finished(cx, name)?;
    let mut build = Build::new(name, &format!("{da}_{db}"));
    let small = |random: &mut Random, d: DType, n: usize| -> Vec<f64> {
        let least = if d == DType::U8 { 0 } else { 3 };
        (0..n).map(|_| (random.bits() % 7) as f64 - f64::from(least)).collect()
    };
    let (va, vb) = (small(&mut build.random, da, m * k), small(&mut build.random, db, k * n));
    build.weight(da, &[m, k], va.iter().flat_map(|x| stored(da, *x as f32)).collect());
    build.numbers(db, &[k, n], &vb);
    let buffer = build.numbers(sum, &[m, n], &vec![1.0; m * n]);
    let expect = move || {
        let sums: Vec<f64> = (0..m * n).map(|i| (0..k).map(|p| va[i / n * k + p] * vb[p * n + i % n]).sum()).collect();
        vec![Expected { buffer, data: numbers(sum, &sums), magnitudes: None }]
    };
    build.finish_kernel(kernel, da.name(), 0.0, Box::new(expect))
}

/// The stored bytes of a small number that the type holds; an E2M1 code takes one here.
pub(super) fn stored(d: DType, x: f32) -> Vec<u8> {
    let half = half_bits(x);
    match d {
        DType::Bf16 => ((x.to_bits() >> 16) as u16).to_le_bytes().to_vec(),
        DType::F16 => half.to_le_bytes().to_vec(),
        // The upper bits of f16: as many bits of exponent, fewer of the fraction.
        DType::E5m2 => vec![(half >> 8) as u8],
        DType::E4m3 => vec![e4m3_code(x)],
        DType::E2m1 => vec![e2m1_code(x)],
        DType::E8m0 => vec![(x.to_bits() >> 23) as u8],
        DType::F32 => x.to_bits().to_le_bytes().to_vec(),
        _ => vec![x as i32 as u8],
    }
}

/// f16's bits of a number that it holds.
fn half_bits(x: f32) -> u16 {
    if x == 0.0 {
        return 0;
    }
    let (sign, exponent, fraction) =
        (x.to_bits() >> 31, (x.to_bits() >> 23 & 255) as i32 - 127, x.to_bits() >> 13 & 1023);
    (sign << 15 | ((exponent + 15) as u32) << 10 | fraction) as u16
}

/// E4M3's code of a normal number that it holds.
fn e4m3_code(x: f32) -> u8 {
    if x == 0.0 {
        return 0;
    }
    let (sign, exponent, fraction) = (x.to_bits() >> 31, (x.to_bits() >> 23 & 255) as i32 - 127, x.to_bits() >> 20 & 7);
    (sign << 7 | ((exponent + 7) as u32) << 3 | fraction) as u8
}

/// E2M1's code of a number that it holds.
fn e2m1_code(x: f32) -> u8 {
    let code = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0].iter().position(|m| *m == x.abs()).unwrap_or_default();
    code as u8 | u8::from(x < 0.0) << 3
}

/// NVFP4: codes in blocks of 16 with a scale in E4M3 each, and one scale in f32 for all.
fn nvfp4() -> Built {
    let ([m, n, k], [tm, tn, tk], block) = ([19, 13, 48], PRODUCT_TILE, 16);
    let name = "op_nvfp4";
    let mut cx = Cx::new(name, file!());
    let a = cx.param_global("a", DType::E2m1, 2, Access::Weight);
    let scales = cx.param_global("scales", DType::E4m3, 2, Access::Read);
    let b = cx.param_global("b", DType::Bf16, 2, Access::Read);
    let y = cx.param_global("y", DType::F32, 2, Access::Write);
    let factor = cx.param_scalar("factor", DType::F32);
    let origin = || Arg::List(vec![Arg::Int(0), Arg::Int(0)]);
    let codes = cx.method(AT, a, "stage", &[spec(Space::Smem, DType::E2m1, &[tm, tk]).into()], vec![origin()]);
    let codes = cx.cast(AT, codes, DType::Bf16);
    let s = cx.method(AT, scales, "load", &[spec(Space::Tile, DType::E4m3, &[tm, tk / block]).into()], vec![origin()]);
    let s = cx.cast(AT, s, DType::Bf16);
    let s = cx.repeat(AT, s, tk);
    let scaled = cx.binary(AT, BinaryOp::Mul, codes, s);
    let tb = cx.method(AT, b, "load", &[spec(Space::Tile, DType::Bf16, &[tk, tn]).into()], vec![origin()]);
    let c = cx.mma(AT, None, scaled, tb);
    let c = cx.binary(AT, BinaryOp::Mul, c, factor);
    cx.method(AT, y, "store", &[], vec![origin(), c.into()]);
    let kernel = finished(cx, name)?;
    let mut build = Build::new(name, "block16");
    let values: Vec<f64> =
        (0..m * k).map(|_| f64::from(round_to(DType::E2m1, 12.0 * build.random.uniform() - 6.0))).collect();
    let scale: Vec<f64> =
        (0..m * k / block).map(|_| [0.5, 0.75, 1.0, 1.25, 3.5][(build.random.bits() % 5) as usize]).collect();
    let vb: Vec<f64> = (0..k * n).map(|_| (build.random.bits() % 7) as f64 - 3.0).collect();
    let bytes = values.chunks(2).map(|p| e2m1_code(p[0] as f32) | e2m1_code(p[1] as f32) << 4).collect();
    build.weight(DType::E2m1, &[m, k], bytes);
    build.numbers(DType::E4m3, &[m, k / block], &scale);
    build.numbers(DType::Bf16, &[k, n], &vb);
    let buffer = build.numbers(DType::F32, &[m, n], &vec![1.0; m * n]);
    build.f32(0.25);
    let expect = move || {
        let at = |i: usize, p: usize| values[i * k + p] * scale[i * (k / block) + p / block];
        let sums: Vec<f64> =
            (0..m * n).map(|i| 0.25 * (0..k).map(|p| at(i / n, p) * vb[p * n + i % n]).sum::<f64>()).collect();
        vec![Expected { buffer, data: numbers(DType::F32, &sums), magnitudes: None }]
    };
    build.finish_kernel(kernel, "nvfp4", 0.0, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<Case>, String> {
    let mut out = Vec::new();
    for op in UnaryOp::ALL {
        for d in op.class().types() {
            out.push(unary(*op, *d)?);
        }
    }
    for op in BinaryOp::ALL {
        for d in op.class().types() {
            out.push(binary(*op, *d)?);
        }
    }
    for op in TernaryOp::ALL {
        for d in op.class().types() {
            out.push(ternary(*op, *d)?);
        }
    }
    for d in Class::Elem.types() {
        out.push(compare(*d)?);
    }
    for d in DType::ALL {
        out.push(casts(d)?);
    }
    for d in [DType::F32, DType::I32, DType::Bool] {
        out.extend([reduce(d, 0)?, reduce(d, 1)?]);
    }
    for a in DType::ALL {
        for b in DType::ALL {
            if product_of(a, b).is_some() {
                out.push(product(a, b)?);
            }
        }
    }
    out.push(nvfp4()?);
    out.extend(super::scaled::cases()?);
    out.extend(super::moves::cases()?);
    Ok(out)
}
