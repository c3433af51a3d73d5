//! What steps add to a kernel: functions, arithmetic, comparisons and choices.

use super::{MAX_MAGNITUDE, held};
use crate::build::{Arg, Val};
use crate::dtype::DType;
use crate::generate::facts::Facts;
use crate::generate::grow::{Grower, Held};
use crate::ir::{BinaryOp, CmpOp, ReduceOp, Type, UnaryOp};

impl Grower {
    /// Real functions that give reals, those that hardware approximates or the others.
    fn functions(approximated: bool) -> Vec<UnaryOp> {
        let real = |op: &UnaryOp| op.result(DType::F32) == Some(DType::F32);
        UnaryOp::ALL.iter().copied().filter(|op| real(op) && (op.trial().error > 0.0) == approximated).collect()
    }

    /// A function on the range that its declaration names, and a bound on the magnitude of its results.
    fn on_range(&mut self, op: UnaryOp, x: Held) -> (Val, i32) {
        let trial = op.trial();
        let low = self.cx.binary(self.at, BinaryOp::Max, x.val, f64::from(trial.from));
        let both = self.cx.binary(self.at, BinaryOp::Min, low, f64::from(trial.to));
        // These functions are smooth or steps: between neighbouring points they don't double.
        let point = |i: u8| trial.from + (trial.to - trial.from) * f32::from(i) / 255.0;
        let most = (0..=255).filter_map(|i| op.eval_real(point(i))).fold(1.0f32, |most, y| most.max(y.abs()));
        (self.cx.unary(self.at, op, both), most.log2().ceil() as i32 + 1)
    }

    pub(super) fn exact_function(&mut self, [a, b, ..]: [u8; 4]) -> Option<Held> {
        let mut x = self.exact(a)?;
        let at = self.at;
        let all = Self::functions(false);
        let op = all[b as usize % all.len()];
        let facts = match op {
            UnaryOp::Neg | UnaryOp::Abs => x.facts,
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Trunc | UnaryOp::RoundTiesEven => {
                Facts::fixed(x.facts.magnitude + 1, 0)
            }
            UnaryOp::Sqrt => {
                x.val = self.cx.unary(at, UnaryOp::Abs, x.val);
                Facts::same(x.facts.magnitude.max(0) / 2 + 1)
            }
            UnaryOp::Recip => {
                x.val = self.above_one(x.val);
                Facts::same(0)
            }
            op => {
                let (val, magnitude) = self.on_range(op, x);
                return held(val, Facts::same(magnitude));
            }
        };
        held(self.cx.unary(at, op, x.val), facts)
    }

    /// |x| + 1.
    fn above_one(&mut self, x: Val) -> Val {
        let positive = self.cx.unary(self.at, UnaryOp::Abs, x);
        self.cx.binary(self.at, BinaryOp::Add, positive, 1.0f64)
    }

    pub(super) fn approximate(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let x = self.exact(a)?;
        let all = Self::functions(true);
        let (val, magnitude) = self.on_range(all[b as usize % all.len()], x);
        let y = Held { val, facts: Facts::near(magnitude), plain: false };
        // Softmax and its kind: sums of them.
        let shape = self.shape_of(y.val);
        if c % 4 == 0 && shape.len() == 2 {
            let axis = c as usize / 4 % 2;
            return held(self.cx.reduce(self.at, ReduceOp::Sum, y.val, axis), y.facts.summed(shape[axis]));
        }
        Some(y)
    }

    pub(super) fn real(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let reals = |t: &Type| t.dtype() == Some(DType::F32) && !matches!(t, Type::Smem(..));
        let mut x = self.pick(a, |t, _| reals(t))?;
        let ty = self.cx.ty(x.val).clone();
        let mut y = match d % 4 {
            // A number with a tile.
            0 => self.exact(b).filter(|y| *self.cx.ty(y.val) == Type::Scalar(DType::F32)),
            1 => {
                let quarter = i32::from(b % 64) - 32;
                let val = self.cx.lift(self.at, f64::from(quarter) / 4.0);
                Some(Held { val, facts: Facts::fixed(3, 2), plain: false })
            }
            _ => None,
        }
        .or_else(|| self.pick(b, |t, _| *t == ty))?;
        let op =
            [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Min, BinaryOp::Max, BinaryOp::Div][c as usize % 6];
        if op == BinaryOp::Div {
            if !(x.facts.is_exact() && y.facts.is_exact()) {
                return None;
            }
            y.val = self.above_one(y.val);
            let facts = Facts::same(x.facts.magnitude);
            return held(self.cx.binary(self.at, op, x.val, y.val), facts);
        }
        for side in [&mut x, &mut y] {
            if side.facts.magnitude > MAX_MAGNITUDE / 2 {
                if !side.facts.is_exact() {
                    return None;
                }
                *side = self.tame(*side, 6);
            }
        }
        let joined = |x: &Held, y: &Held| match op {
            BinaryOp::Add | BinaryOp::Sub => x.facts.plus(y.facts),
            BinaryOp::Mul => x.facts.times(y.facts),
            _ => x.facts.either(y.facts),
        };
        if joined(&x, &y).differs_in_parts() {
            [x, y] = [x, y].map(|side| self.tame(side, 6));
        }
        let facts = joined(&x, &y);
        held(self.cx.binary(self.at, op, x.val, y.val), facts)
    }

    pub(super) fn integer(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let x = self.pick(a, |t, _| t.dtype() == Some(DType::I32))?;
        let ty = self.cx.ty(x.val).clone();
        if d % 8 == 0 {
            let op = [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Not][c as usize % 3];
            return Some(Held { val: self.cx.unary(self.at, op, x.val), facts: x.facts, plain: x.plain });
        }
        let other = self.pick(b, |t, h| *t == ty && (h.plain || !x.plain));
        let all: Vec<BinaryOp> = BinaryOp::ALL.iter().copied().filter(|op| op.class().holds(DType::I32)).collect();
        let op = all[c as usize % all.len()];
        let shift = matches!(op, BinaryOp::Shl | BinaryOp::Shr | BinaryOp::ShrLogical);
        let (y, plain) = match other.filter(|_| d % 4 > 0) {
            Some(y) => (Arg::from(y.val), y.plain),
            None => (Arg::Int(i64::from(b % 31) - 9), true),
        };
        // The least integer by -1 is not defined on all machines.
        let x_val = match op {
            BinaryOp::Div | BinaryOp::Rem => self.cx.binary(self.at, BinaryOp::Max, x.val, i64::from(-i32::MAX)),
            _ => x.val,
        };
        let y = if shift { self.cx.binary(self.at, BinaryOp::And, y, 31i64).into() } else { y };
        let val = self.cx.binary(self.at, op, x_val, y);
        Some(Held { val, facts: x.facts, plain: x.plain && plain })
    }

    /// Arithmetic and correctly rounded functions in bf16 and f16, where f16 can't overflow.
    pub(super) fn narrow(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let fits = |t: &Type, h: &Held| match t {
            Type::Tile(DType::Bf16, _) => h.facts.magnitude < MAX_MAGNITUDE / 2,
            Type::Tile(DType::F16, _) => h.facts.magnitude <= 7,
            _ => false,
        };
        let x = self.pick(a, fits)?;
        let ty = self.cx.ty(x.val).clone();
        if d % 4 == 0 {
            let all =
                [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Floor, UnaryOp::Ceil, UnaryOp::Trunc, UnaryOp::RoundTiesEven];
            let op = all[c as usize % all.len()];
            let facts = match op {
                UnaryOp::Neg | UnaryOp::Abs => x.facts,
                _ => Facts::fixed(x.facts.magnitude + 1, 0),
            };
            return held(self.cx.unary(self.at, op, x.val), facts);
        }
        let y = self.pick(b, |t, h| *t == ty && fits(t, h))?;
        let op = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Min, BinaryOp::Max][c as usize % 5];
        let facts = match op {
            BinaryOp::Add | BinaryOp::Sub => x.facts.plus(y.facts),
            BinaryOp::Mul => x.facts.times(y.facts),
            _ => x.facts.either(y.facts),
        };
        held(self.cx.binary(self.at, op, x.val, y.val), facts)
    }

    pub(super) fn comparison(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let fits =
            |t: &Type, h: &Held| matches!(t, Type::Tile(..)) && h.facts.is_exact() && t.dtype() != Some(DType::Bool);
        let x = self.pick(a, fits)?;
        let ty = self.cx.ty(x.val).clone();
        let y = self.pick(b, |t, h| *t == ty && h.facts.is_exact())?;
        let op = CmpOp::ALL[c as usize % CmpOp::ALL.len()];
        held(self.cx.compare(self.at, op, x.val, y.val), Facts::fixed(0, 0))
    }

    pub(super) fn choice(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let x = self.pick(a, |t, _| matches!(t, Type::Tile(..)) && t.dtype() != Some(DType::Bool))?;
        let ty = self.cx.ty(x.val).clone();
        if d % 4 == 0 && ty.dtype() == Some(DType::F32) {
            let limit = self.plain(b).val;
            let op = CmpOp::ALL[c as usize % CmpOp::ALL.len()];
            let axis = b as usize % ty.shape().len();
            let val = self.cx.keep(self.at, x.val, Arg::Float(-2.5), |cx, index| {
                let at = crate::span::Span::NONE;
                cx.compare(at, op, index[axis], limit)
            });
            return held(val, x.facts.either(Facts::fixed(2, 1)));
        }
        let y = self.pick(b, |t, _| *t == ty)?;
        let mask = self.pick(c, |t, _| *t == ty.with_dtype(DType::Bool))?;
        held(self.cx.select(self.at, mask.val, x.val, y.val), x.facts.either(y.facts))
    }

    pub(super) fn truth(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let x = self.pick(a, |t, _| t.dtype() == Some(DType::Bool))?;
        let ty = self.cx.ty(x.val).clone();
        let y = self.pick(b, |t, _| *t == ty)?;
        let val = match c % 4 {
            0 => self.cx.unary(self.at, UnaryOp::Not, x.val),
            1 => self.cx.binary(self.at, BinaryOp::And, x.val, y.val),
            2 => self.cx.binary(self.at, BinaryOp::Or, x.val, y.val),
            _ => self.cx.binary(self.at, BinaryOp::Xor, x.val, y.val),
        };
        Some(Held { val, facts: x.facts, plain: x.plain && y.plain })
    }
}
