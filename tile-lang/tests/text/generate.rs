//! Random programs, built as staged kernels are.

use proptest::prelude::*;
use std::sync::Arc;
use tile_lang::build::{Arg, Cx, Space, TypeSpec, Val};
use tile_lang::interp::{self, Array, Options};
use tile_lang::ir::{Access, BinaryOp, CmpOp, Kernel, ReduceOp, Type, UnaryOp};
use tile_lang::{DType, Span};

/// What a program is made of: each step picks an op and its operands.
#[derive(Clone, Debug)]
pub struct Program(Vec<[u8; 4]>);

/// Any program.
pub fn program() -> impl Strategy<Value = Program> {
    prop::collection::vec(any::<[u8; 4]>(), 1..60).prop_map(Program)
}

const SHAPE: [usize; 2] = [16, 16];

fn spec(space: Space, dtype: DType) -> TypeSpec {
    TypeSpec { space, dtype: Some(dtype), shape: SHAPE.to_vec() }
}

/// A program on its way.
struct Grower<'p> {
    steps: std::slice::Iter<'p, [u8; 4]>,
    arrays: [Val; 3],
    line: u32,
}

/// The value of one of these types that a number picks.
fn pick(cx: &Cx, pool: &[Val], n: u8, fits: impl Fn(&Type) -> bool) -> Option<Val> {
    let all: Vec<Val> = pool.iter().copied().filter(|v| fits(cx.ty(*v))).collect();
    (!all.is_empty()).then(|| all[n as usize % all.len()])
}

fn tile_of(d: DType) -> impl Fn(&Type) -> bool {
    move |t| *t == Type::Tile(d, SHAPE.to_vec())
}

impl Grower<'_> {
    /// Adds values to the pool until the steps run out or the block ends.
    fn grow(&mut self, cx: &mut Cx, pool: &mut Vec<Val>, depth: usize) {
        while let Some([op, a, b, c]) = self.steps.next().copied() {
            if depth > 0 && op % 16 == 15 {
                return;
            }
            self.line += 1;
            let at =
                if op % 5 == 0 { Span::NONE } else { Span { file: 0, line: self.line, col: c as u32 + 1, len: 3 } };
            let made = self.step(cx, pool, depth, at, [op % 18, a, b, c]);
            for (i, v) in made.into_iter().enumerate() {
                if c % 3 != 0 {
                    cx.name(v, ["acc", "x", "x_1", "größe"][(c as usize + i) % 4]);
                }
                pool.push(v);
            }
        }
    }

    fn step(&mut self, cx: &mut Cx, pool: &[Val], depth: usize, at: Span, [op, a, b, c]: [u8; 4]) -> Vec<Val> {
        let real = |cx: &Cx, n| pick(cx, pool, n, tile_of(DType::F32));
        let int = |cx: &Cx, n| pick(cx, pool, n, tile_of(DType::I32));
        let narrow = |cx: &Cx, n| pick(cx, pool, n, tile_of(DType::Bf16));
        let one = match op {
            0 => real(cx, a).map(|x| {
                let ops = [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Exp2, UnaryOp::Floor, UnaryOp::Recip, UnaryOp::Cos];
                cx.unary(at, ops[b as usize % ops.len()], x)
            }),
            1 => real(cx, a).zip(real(cx, b)).map(|(x, y)| {
                let ops = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Min, BinaryOp::Max];
                cx.binary(at, ops[c as usize % ops.len()], x, y)
            }),
            2 => int(cx, a).zip(int(cx, b)).map(|(x, y)| {
                let ops = BinaryOp::ALL;
                cx.binary(at, ops[c as usize % ops.len()], x, y)
            }),
            3 => real(cx, a).map(|x| cx.binary(at, BinaryOp::Mul, x, f32::from_bits(u32::from_le_bytes([b, c, b, c])))),
            4 => real(cx, a).zip(real(cx, b)).map(|(x, y)| {
                let p = cx.compare(at, CmpOp::ALL[c as usize % CmpOp::ALL.len()], x, y);
                cx.select(at, p, y, x)
            }),
            5 => real(cx, a).map(|x| cx.cast(at, x, [DType::Bf16, DType::I32][b as usize % 2])),
            6 => int(cx, a).map(|x| cx.cast(at, x, [DType::F32, DType::Bf16][b as usize % 2])),
            7 => narrow(cx, a).map(|x| cx.cast(at, x, DType::F32)),
            8 => Some(cx.iota(at, &SHAPE, a as usize % 2)),
            9 => pick(cx, pool, a, |t| t.shape().len() == 2).map(|x| cx.transpose(at, x)),
            10 => real(cx, a).map(|x| {
                let r = cx.reduce(at, [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min][b as usize % 3], x, c as usize % 2);
                cx.broadcast(at, r, b as usize % 2, SHAPE[0])
            }),
            11 => int(cx, a).map(|x| {
                let r = cx.reduce(at, ReduceOp::ArgMax, x, c as usize % 2);
                cx.broadcast(at, r, b as usize % 2, SHAPE[0])
            }),
            12 => {
                let smem = |t: &Type| *t == Type::Smem(DType::Bf16, SHAPE.to_vec());
                let x = pick(cx, pool, a, |t| smem(t) || tile_of(DType::Bf16)(t));
                let y = pick(cx, pool, b, |t| smem(t) || tile_of(DType::Bf16)(t));
                x.zip(y).map(|(x, y)| {
                    let acc = real(cx, c);
                    cx.mma(at, acc, x, y)
                })
            }
            13 => {
                let index = Arg::List(vec![Arg::Int(a as i64 % 2), Arg::Int(b as i64 % 2)]);
                Some(cx.method(at, self.arrays[0], "load", &[spec(Space::Tile, DType::F32).into()], vec![index]))
            }
            14 => {
                let index = Arg::List(vec![Arg::Int(a as i64 % 2), Arg::Int(b as i64 % 2)]);
                Some(cx.method(at, self.arrays[1], "stage", &[spec(Space::Smem, DType::Bf16).into()], vec![index]))
            }
            15 => pick(cx, pool, a, |t| matches!(t, Type::Smem(..))).map(|x| cx.registers(at, x)),
            16 if depth < 3 => {
                let carried = self.carried(cx, pool, a, b);
                let last = c as i64 % 4;
                return cx.for_loop(at, (Arg::Int(0), Arg::Int(last)), b as usize % 3, carried, |cx, i, inner| {
                    let mut pool = [pool, inner].concat();
                    let x = cx.spread(at, i, &SHAPE);
                    pool.push(x);
                    self.nested(cx, pool, inner, depth)
                });
            }
            17 if depth < 3 => {
                let carried = self.carried(cx, pool, a, b);
                let c = cx.lift(at, c % 2 == 0);
                let outer = std::cell::RefCell::new(self);
                let branch = |cx: &mut Cx, inner: &[Val]| outer.borrow_mut().nested(cx, pool.to_vec(), inner, depth);
                return cx.if_else(at, c, carried, branch, branch);
            }
            _ => None,
        };
        one.into_iter().collect()
    }

    /// Up to two values that a loop or condition changes.
    fn carried(&self, cx: &Cx, pool: &[Val], a: u8, b: u8) -> Vec<Val> {
        let of = |n, d| pick(cx, pool, n, tile_of(d));
        [of(a, DType::F32), of(b, DType::I32)].into_iter().flatten().take(1 + a as usize % 2).collect()
    }

    /// Fills a nested block; the newest value of each type is carried on.
    fn nested(&mut self, cx: &mut Cx, mut pool: Vec<Val>, inner: &[Val], depth: usize) -> Vec<Val> {
        self.grow(cx, &mut pool, depth + 1);
        let newest = |v: &Val| pool.iter().rev().copied().find(|x| cx.ty(*x) == cx.ty(*v)).unwrap_or(*v);
        inner.iter().map(newest).collect()
    }
}

impl Program {
    /// The kernel. `keep` stores every value at its end into another array.
    pub fn kernel(&self, keep: bool) -> Kernel {
        let mut cx = Cx::new("generated", "generated.rs");
        cx.note_generic("STEPS", self.0.len());
        let arrays = [
            cx.param_global("x", DType::F32, 2, Access::Read),
            cx.param_global("w", DType::Bf16, 2, Access::Weight),
            cx.param_global("y", DType::F32, 2, Access::Write),
        ];
        let extra = cx.param_global("extra", DType::F32, 2, Access::Write);
        let at = Span::NONE;
        let origin = || Arg::List(vec![Arg::Int(0), Arg::Int(0)]);
        let zero = cx.constructor(at, &spec(Space::Tile, DType::F32), "zero", vec![]);
        let x = cx.method(at, arrays[0], "load", &[spec(Space::Tile, DType::F32).into()], vec![origin()]);
        let w = cx.method(at, arrays[1], "stage", &[spec(Space::Smem, DType::Bf16).into()], vec![origin()]);
        let index = cx.iota(at, &SHAPE, 1);
        let mut pool = vec![zero, x, w, index];
        Grower { steps: self.0.iter(), arrays, line: 0 }.grow(&mut cx, &mut pool, 0);
        let last = pool.iter().rev().copied().find(|v| tile_of(DType::F32)(cx.ty(*v))).unwrap_or(x);
        cx.method(at, arrays[2], "store", &[], vec![origin(), last.into()]);
        if keep {
            for v in pool {
                let v = cx.cast(at, v, DType::F32);
                cx.method(at, extra, "store", &[], vec![origin(), v.into()]);
            }
        }
        cx.finish().unwrap_or_else(|e| panic!("{e}"))
    }

    /// The bits of what a kernel computes.
    pub fn run(kernel: &Kernel) -> Vec<u32> {
        let x: Vec<f32> = (0..24 * 20).map(|i| (i % 37) as f32 / 4.0 - 3.0).collect();
        let w: Vec<f32> = (0..40 * 32).map(|i| (i % 29) as f32 / 8.0 - 1.5).collect();
        let y = Arc::new(Array::zeros(DType::F32, [16, 16]));
        let args = [
            Arc::new(Array::from_f32(DType::F32, [24, 20], &x).unwrap()).into(),
            Arc::new(Array::from_f32(DType::Bf16, [40, 32], &w).unwrap()).into(),
            y.clone().into(),
            Arc::new(Array::zeros(DType::F32, [16, 16])).into(),
        ];
        interp::launch(kernel, &args, Options::default()).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        // Which NaN an operation gives is not defined.
        y.to_f32().iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
    }
}
