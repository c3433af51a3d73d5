//! What each kind of step adds to a kernel.

use super::arrays::declared;
use super::facts::{Facts, bits};
use super::grow::{Grower, Held};
use super::{Make, Shape};
use crate::build::{Arg, Space, Val};
use crate::dtype::DType;
use crate::ir::{BinaryOp, CmpOp, ReduceOp, Type, UnaryOp};

/// Largest magnitude that arithmetic may reach, as a power of two, before values are cut down.
const MAX_MAGNITUDE: i32 = 40;

/// Terms in a group of block scales.
const GROUP: usize = 32;

/// Weights that are staged in tiles of M × K.
const FIRST_OPERANDS: [&str; 5] = ["wa", "w8", "w5", "wi", "wa"];

impl Grower {
    /// Adds the ops of a step; nothing if the values that it needs are not there.
    pub fn op(&mut self, make: Make, pick: [u8; 4]) {
        let done = match make {
            Make::Exact => self.exact_function(pick),
            Make::Approximate => self.approximate(pick),
            Make::Real => self.real(pick),
            Make::Integer => self.integer(pick),
            Make::Narrow => self.narrow(pick),
            Make::Compare => self.comparison(pick),
            Make::Select => self.choice(pick),
            Make::Truth => self.truth(pick),
            Make::Convert => self.convert(pick),
            Make::Bits => self.change_bits(pick),
            Make::Fresh => self.fresh(pick),
            Make::Reshape => self.reshape(pick),
            Make::Reduce => self.reduction(pick),
            Make::Load => self.any_load(pick),
            Make::Stage => self.staged(pick),
            Make::Product => self.product(pick),
            Make::Dot => self.dot(pick),
            Make::At => self.element(pick),
            Make::Set => self.set_element(pick),
            Make::StoreMasked => self.store_masked(pick),
            Make::For | Make::If => None,
        };
        if let Some(held) = done {
            self.keep(held);
        }
    }

    fn held(val: Val, facts: Facts) -> Option<Held> {
        Some(Held { val, facts, plain: false })
    }

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

    fn exact_function(&mut self, [a, b, ..]: [u8; 4]) -> Option<Held> {
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
                return Self::held(val, Facts::same(magnitude));
            }
        };
        Self::held(self.cx.unary(at, op, x.val), facts)
    }

    /// |x| + 1.
    fn above_one(&mut self, x: Val) -> Val {
        let positive = self.cx.unary(self.at, UnaryOp::Abs, x);
        self.cx.binary(self.at, BinaryOp::Add, positive, 1.0f64)
    }

    fn approximate(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let x = self.exact(a)?;
        let all = Self::functions(true);
        let (val, magnitude) = self.on_range(all[b as usize % all.len()], x);
        let y = Held { val, facts: Facts::near(magnitude), plain: false };
        // Softmax and its kind: sums of them.
        let shape = self.shape_of(y.val);
        if c % 4 == 0 && shape.len() == 2 {
            let axis = c as usize / 4 % 2;
            return Self::held(self.cx.reduce(self.at, ReduceOp::Sum, y.val, axis), y.facts.summed(shape[axis]));
        }
        Some(y)
    }

    fn real(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
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
            return Self::held(self.cx.binary(self.at, op, x.val, y.val), facts);
        }
        for side in [&mut x, &mut y] {
            if side.facts.magnitude > MAX_MAGNITUDE / 2 {
                if !side.facts.is_exact() {
                    return None;
                }
                *side = self.tame(*side, 6);
            }
        }
        let facts = match op {
            BinaryOp::Add | BinaryOp::Sub => x.facts.plus(y.facts),
            BinaryOp::Mul => x.facts.times(y.facts),
            _ => x.facts.either(y.facts),
        };
        Self::held(self.cx.binary(self.at, op, x.val, y.val), facts)
    }

    fn integer(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
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

    fn narrow(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let narrow = |t: &Type| t.dtype() == Some(DType::Bf16) && matches!(t, Type::Tile(..));
        let x = self.pick(a, |t, h| narrow(t) && h.facts.magnitude < MAX_MAGNITUDE / 2)?;
        let ty = self.cx.ty(x.val).clone();
        let y = self.pick(b, |t, h| *t == ty && h.facts.magnitude < MAX_MAGNITUDE / 2)?;
        let op = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Min, BinaryOp::Max][c as usize % 5];
        let facts = match op {
            BinaryOp::Add | BinaryOp::Sub => x.facts.plus(y.facts),
            BinaryOp::Mul => x.facts.times(y.facts),
            _ => x.facts.either(y.facts),
        };
        Self::held(self.cx.binary(self.at, op, x.val, y.val), facts)
    }

    fn comparison(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let fits =
            |t: &Type, h: &Held| matches!(t, Type::Tile(..)) && h.facts.is_exact() && t.dtype() != Some(DType::Bool);
        let x = self.pick(a, fits)?;
        let ty = self.cx.ty(x.val).clone();
        let y = self.pick(b, |t, h| *t == ty && h.facts.is_exact())?;
        let op = CmpOp::ALL[c as usize % CmpOp::ALL.len()];
        Self::held(self.cx.compare(self.at, op, x.val, y.val), Facts::fixed(0, 0))
    }

    fn choice(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
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
            return Self::held(val, x.facts.either(Facts::fixed(2, 1)));
        }
        let y = self.pick(b, |t, _| *t == ty)?;
        let mask = self.pick(c, |t, _| *t == ty.with_dtype(DType::Bool))?;
        Self::held(self.cx.select(self.at, mask.val, x.val, y.val), x.facts.either(y.facts))
    }

    fn truth(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
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

    fn convert(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let at = self.at;
        let fits = |t: &Type, h: &Held| {
            matches!(t, Type::Tile(..) | Type::Scalar(_))
                && h.facts.is_exact()
                && matches!(t.dtype(), Some(DType::F32 | DType::Bf16 | DType::I32))
        };
        let mut x = self.pick(a, fits)?;
        match self.cx.ty(x.val).dtype() {
            Some(DType::F32) => {
                let to = [DType::Bf16, DType::Bf16, DType::I32, DType::F16, DType::E4m3, DType::E5m2][b as usize % 6];
                let most = match to {
                    DType::Bf16 => MAX_MAGNITUDE,
                    DType::I32 => 30,
                    _ => 8,
                };
                if x.facts.magnitude > most {
                    x = self.tame(x, 7);
                }
                let y = self.cx.cast(at, x.val, to);
                match to {
                    DType::Bf16 => Self::held(y, x.facts.narrowed()),
                    DType::I32 => Self::held(y, Facts::same(31)),
                    // Types of storage are only converted.
                    _ => Self::held(self.cx.cast(at, y, DType::F32), Facts::same(9)),
                }
            }
            Some(DType::Bf16) => Self::held(self.cx.cast(at, x.val, DType::F32), x.facts),
            _ if c % 3 == 0 => {
                let byte = self.cx.cast(at, x.val, [DType::I8, DType::U8, DType::Bool][b as usize % 3]);
                Self::held(self.cx.cast(at, byte, DType::I32), Facts::same(31))
            }
            _ => Self::held(self.cx.cast(at, x.val, DType::F32), Facts::same(31)),
        }
    }

    fn change_bits(&mut self, [a, b, ..]: [u8; 4]) -> Option<Held> {
        let x = self.exact(a)?;
        let at = self.at;
        // Both zeros are equal but have different bits.
        let x_val = self.cx.binary(at, BinaryOp::Add, x.val, 0.0f64);
        let bits = self.cx.unary(at, UnaryOp::ToBits, x_val);
        if b % 3 == 0 {
            return Self::held(bits, Facts::same(31));
        }
        // Without the sign, or without the low half of the fraction.
        let mask = if b % 3 == 1 { i64::from(i32::MAX) } else { -0x1_0000 };
        let cut = self.cx.binary(at, BinaryOp::And, bits, mask);
        Self::held(self.cx.unary(at, UnaryOp::FromBits, cut), x.facts)
    }

    fn fresh(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let Shape { m, n, k, .. } = self.shape;
        let at = self.at;
        let shape = [vec![m, n], vec![n, m], vec![m, k], vec![k, n], vec![m], vec![n]][a as usize % 6].clone();
        match b % 4 {
            0 => Self::held(self.cx.iota(at, &shape, c as usize % shape.len()), Facts::same(31)),
            1 => {
                let quarter = self.cx.lift(at, f64::from(i32::from(c) - 128) / 4.0);
                Self::held(self.cx.spread(at, quarter, &shape), Facts::fixed(5, 2))
            }
            2 => {
                let x = self.pick(c, |t, h| matches!(t, Type::Scalar(_)) && h.facts.is_exact())?;
                Self::held(self.cx.spread(at, x.val, &shape), x.facts)
            }
            _ => {
                let x = self.cx.lift(at, i64::from(c) * 0x0101_0101 % i64::from(i32::MAX));
                Some(Held { val: x, facts: Facts::same(31), plain: true })
            }
        }
    }

    fn reshape(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let Shape { m, n, k, .. } = self.shape;
        let x = self.pick(a, |t, _| matches!(t, Type::Tile(..)))?;
        let at = self.at;
        match self.shape_of(x.val)[..] {
            [rows, columns] if columns < k && b % 3 == 0 => {
                let times = k / columns;
                debug_assert!(rows * k <= 4096);
                Self::held(self.cx.repeat(at, x.val, columns * times), x.facts)
            }
            [..] if self.shape_of(x.val).len() == 2 => Self::held(self.cx.transpose(at, x.val), x.facts),
            [length] => {
                let axis = c as usize % 2;
                let other = if length == m { n } else { m };
                Self::held(self.cx.broadcast(at, x.val, axis, other), x.facts)
            }
            _ => None,
        }
    }

    fn reduction(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let reductions = |d: DType| ReduceOp::ALL.iter().copied().filter(move |op| op.class().holds(d));
        let mut x = self.pick(a, |t, _| matches!(t, Type::Tile(d, _) if reductions(*d).next().is_some()))?;
        let shape = self.shape_of(x.val);
        let axis = c as usize % shape.len();
        let dtype = self.cx.ty(x.val).dtype()?;
        let all: Vec<ReduceOp> = reductions(dtype).collect();
        let op = all[b as usize % all.len()];
        if !dtype.is_float() {
            return Self::held(self.cx.reduce(self.at, op, x.val, axis), Facts::same(31));
        }
        let facts = match op {
            ReduceOp::Sum if !x.facts.is_exact() => x.facts.summed(shape[axis]),
            ReduceOp::Sum => {
                if !x.facts.sums_exactly(shape[axis]) {
                    x = self.tame(x, 10);
                }
                x.facts.summed(shape[axis])
            }
            ReduceOp::Max | ReduceOp::Min => x.facts,
            _ if !x.facts.is_exact() => return None,
            // Of -1, 0 and 1, exact in any order.
            ReduceOp::Product => {
                x = self.tame(x, 0);
                x.facts
            }
            _ => Facts::same(31),
        };
        Self::held(self.cx.reduce(self.at, op, x.val, axis), facts)
    }

    /// A tile of an array that is only read, its edges included.
    pub fn load(&mut self, name: &'static str, shape: &[usize], row: u8, column: u8) -> Held {
        let at = self.at;
        let array = self.array(name);
        let dtype = declared(name).map_or(DType::F32, |a| a.dtype);
        let row = self.staged_index(row);
        let index = match shape.len() {
            1 => Arg::List(vec![row.into()]),
            _ => Arg::List(vec![row.into(), Arg::Int(i64::from(column % 3))]),
        };
        // By elements, tiles cross more borders.
        let method = if column >= 128 { "load_at" } else { "load" };
        let spec = Self::spec(Space::Tile, dtype, shape);
        let val = self.cx.method(at, array, method, &[spec.into()], vec![index]);
        let (magnitude, fraction) = declared(name).map_or((31, 0), |a| a.holds);
        Held { val, facts: Facts::fixed(magnitude, fraction), plain: false }
    }

    fn any_load(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        const NAMES: [&str; 13] = [
            "f32s", "bf16s", "i32s", "vector", "f16s", "e4m3s", "e5m2s", "i8s", "u8s", "bools", "f32s", "bf16s", "i32s",
        ];
        let Shape { m, n, k, .. } = self.shape;
        let name = NAMES[a as usize % NAMES.len()];
        let shape = match b % 5 {
            _ if name == "vector" => vec![[m, n][b as usize % 2]],
            0 | 1 => vec![m, n],
            2 => vec![n, m],
            3 => vec![m, k],
            _ => vec![k, n],
        };
        let x = self.load(name, &shape, c, d);
        let to = match self.cx.ty(x.val).dtype() {
            Some(DType::F32 | DType::Bf16 | DType::I32 | DType::Bool) => return Some(x),
            Some(DType::I8 | DType::U8) if d % 2 == 0 => DType::I32,
            _ if d % 3 == 0 => DType::Bf16,
            _ => DType::F32,
        };
        let facts = if to == DType::I32 { Facts::same(31) } else { x.facts };
        Self::held(self.cx.cast(self.at, x.val, to), facts)
    }

    /// A staged tile of M × K, or of K × N for a product's second operand.
    fn stage(&mut self, name: &'static str, index: u8) -> Held {
        let Shape { m, n, k, .. } = self.shape;
        let at = self.at;
        let array = self.array(name);
        let dtype = declared(name).map_or(DType::F32, |a| a.dtype);
        let row = self.staged_index(index);
        let column = || Arg::Int(i64::from(index / 64));
        let (shape, index) = match name {
            "cache" => ([k, n], vec![row.into(), Arg::Int(0), Arg::Int(0)]),
            "rows" => ([m, n], vec![row.into(), Arg::Int(0)]),
            "wb" => ([k, n], vec![row.into(), column()]),
            "wr" => ([m, n], vec![row.into(), column()]),
            "scales" => ([m, k / GROUP], vec![row.into(), column()]),
            _ => ([m, k], vec![row.into(), column()]),
        };
        let spec = Self::spec(Space::Smem, dtype, &shape);
        let val = self.cx.method(at, array, "stage", &[spec.into()], vec![Arg::List(index)]);
        let (magnitude, fraction) = declared(name).map_or((31, 0), |a| a.holds);
        Held { val, facts: Facts::fixed(magnitude, fraction), plain: false }
    }

    fn staged(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        if self.data_dependent {
            return None;
        }
        const NAMES: [&str; 9] = ["wa", "wb", "wr", "w8", "w5", "wi", "cache", "rows", "scales"];
        let name = NAMES[a as usize % NAMES.len()];
        let x = self.stage(name, b);
        let at = self.at;
        let dtype = declared(name).map_or(DType::F32, |a| a.dtype);
        let shape = self.shape_of(x.val);
        let part = if c % 3 == 0 && shape[1].is_multiple_of(16) && shape[1] > 16 && shape[0] > 16 {
            let offsets = [16 * (c as usize / 3 % (shape[0] / 16)), 16 * (c as usize / 8 % (shape[1] / 16))];
            self.cx.slice(at, x.val, &offsets, &[16, 16])
        } else if c % 3 == 1 {
            self.cx.transpose(at, x.val)
        } else {
            x.val
        };
        if dtype == DType::Bf16 && c % 2 == 0 {
            // As it lies in shared memory, for products.
            return Self::held(part, x.facts);
        }
        let registers = self.cx.registers(at, part);
        let to = match dtype {
            DType::F32 | DType::Bf16 => return Self::held(registers, x.facts),
            _ if b % 2 == 0 => DType::Bf16,
            _ => DType::F32,
        };
        Self::held(self.cx.cast(at, registers, to), x.facts)
    }

    /// An operand of a product: bf16 with few enough bits.
    fn operand(&mut self, x: Held) -> Held {
        let fits = x.facts.fraction.is_some_and(|f| x.facts.magnitude + f <= 8);
        if fits {
            return x;
        }
        let wide = self.cx.cast(self.at, x.val, DType::F32);
        let few = self.tame(Held { val: wide, ..x }, 3);
        Held { val: self.cx.cast(self.at, few.val, DType::Bf16), ..few }
    }

    /// a·b + accumulator, all of it exact.
    fn multiply(&mut self, acc: Option<Held>, a: Held, b: Held, depth: usize) -> Option<Held> {
        let (a, b) = (self.operand(a), self.operand(b));
        let product = a.facts.times(b.facts);
        let sum = Facts { magnitude: product.magnitude + bits(depth), ..product };
        let acc = match acc {
            Some(x) if x.facts.plus(sum).sums_exactly(1) => Some(x),
            Some(x) => Some(self.tame(x, 10)),
            None => None,
        };
        let facts = acc.map_or(sum, |x| x.facts.plus(sum));
        debug_assert!(facts.sums_exactly(1), "{facts:?}");
        Self::held(self.cx.mma(self.at, acc.map(|x| x.val), a.val, b.val), facts)
    }

    fn product(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let narrow = |t: &Type| t.dtype() == Some(DType::Bf16) && t.shape().len() == 2;
        let x = self.pick(a, |t, _| narrow(t) && t.shape()[0] % 16 == 0 && t.shape()[1] % 16 == 0)?;
        let depth = self.shape_of(x.val)[1];
        let y = self.pick(b, |t, _| narrow(t) && t.shape()[0] == depth && t.shape()[1] % 8 == 0)?;
        let (rows, columns) = (self.shape_of(x.val)[0], self.shape_of(y.val)[1]);
        let acc = self.pick(c, |t, h| *t == Type::Tile(DType::F32, vec![rows, columns]) && h.facts.is_exact());
        self.multiply(acc.filter(|_| d % 3 > 0), x, y, depth)
    }

    /// A sum of products over a loop with staged operands; with codes of four bits and their scales, as MXFP4 has them.
    fn dot(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let Shape { m, n, k, .. } = self.shape;
        if self.data_dependent {
            return None;
        }
        let at = self.at;
        let zero = self.cx.lift(at, 0.0f64);
        let acc = self.cx.spread(at, zero, &[m, n]);
        let trips = [0, 1, 2, 3, 4, 5][a as usize % 6];
        let to: Arg = match a % 4 {
            0 => self.pool[0].val.into(),
            _ => Arg::Int(trips),
        };
        let begin = self.pool.len();
        let facts = std::cell::Cell::new(Facts::fixed(0, 0));
        let results = self.block(|cx, grow| {
            cx.for_loop(at, (Arg::Int(0), to), c as usize % 5, vec![acc], |cx, index, inner| {
                let own = inner[0];
                grow(cx, &|g: &mut Grower| {
                    g.keep(Held { val: index, facts: Facts::same(31), plain: true });
                    let x = g.first_operand(b, d);
                    let y = match d % 3 {
                        0 => g.stage("wb", 1),
                        1 => g.stage("cache", 1),
                        _ => g.load("bf16s", &[k, n], 1, c),
                    };
                    let (x, y) = (g.operand(x), g.operand(y));
                    let product = x.facts.times(y.facts);
                    // At most five rounds of K terms.
                    facts.set(Facts { magnitude: product.magnitude + bits(5 * k), ..product });
                    vec![g.cx.mma(g.at, Some(own), x.val, y.val)]
                })
            })
        });
        self.pool.truncate(begin);
        debug_assert!(facts.get().sums_exactly(1), "{facts:?}");
        Self::held(results[0], facts.get())
    }

    fn first_operand(&mut self, b: u8, d: u8) -> Held {
        let at = self.at;
        if b % 6 == 5 {
            let (codes, scales) = (self.stage("w4", 1), self.stage("scales", 1));
            let codes_val = self.cx.cast(at, codes.val, DType::Bf16);
            let scales_val = self.cx.cast(at, scales.val, DType::Bf16);
            let k = self.shape.k;
            let wide = self.cx.repeat(at, scales_val, k);
            let facts = codes.facts.times(scales.facts);
            return Held { val: self.cx.binary(at, BinaryOp::Mul, codes_val, wide), facts, plain: false };
        }
        let name = FIRST_OPERANDS[b as usize % FIRST_OPERANDS.len()];
        let x = self.stage(name, 1);
        match self.cx.ty(x.val).dtype() {
            Some(DType::Bf16) if d.is_multiple_of(2) => x,
            _ => Held { val: self.cx.cast(at, x.val, DType::Bf16), ..x },
        }
    }

    fn element(&mut self, [a, b, ..]: [u8; 4]) -> Option<Held> {
        let at = self.at;
        let index = self.staged_index(b);
        if a % 3 == 0 {
            let cells = self.array("cells");
            let index = Arg::List(vec![self.item.into(), index.into()]);
            return Self::held(self.cx.method(at, cells, "at", &[], vec![index]), Facts::same(31));
        }
        let table = self.array("table");
        let val = self.cx.method(at, table, "at", &[], vec![Arg::List(vec![index.into()])]);
        Some(Held { val, facts: Facts::same(31), plain: true })
    }

    fn set_element(&mut self, [a, b, ..]: [u8; 4]) -> Option<Held> {
        let at = self.at;
        let x = self.pick(a, |t, _| *t == Type::Scalar(DType::I32))?;
        let index = self.staged_index(b);
        let cells = self.array("cells");
        let index = Arg::List(vec![self.item.into(), index.into()]);
        self.cx.method(at, cells, "set", &[], vec![index, x.val.into()]);
        None
    }

    fn store_masked(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let Shape { m, n, .. } = self.shape;
        let at = self.at;
        let tile = |d| Type::Tile(d, vec![m, n]);
        let x = self.pick(a, |t, h| *t == tile(DType::F32) && h.facts.is_exact())?;
        let x = if x.facts.magnitude > 3 || x.facts.fraction.is_none_or(|f| f > 2) { self.tame(x, 3) } else { x };
        let array = self.array("masked");
        let own = |g: &Grower| Arg::List(vec![g.first_row.into(), Arg::Int(0)]);
        let mask = self.pick(b, |t, _| *t == tile(DType::Bool));
        let index = own(self);
        match mask.filter(|_| c % 4 > 0) {
            Some(mask) => {
                self.cx.method(at, array, "store_masked_at", &[], vec![index, x.val.into(), mask.val.into()]);
            }
            None => {
                self.cx.method(at, array, "store_at", &[], vec![index, x.val.into()]);
            }
        }
        if d % 2 == 0 {
            return None;
        }
        let spec = Self::spec(Space::Tile, DType::F32, &[m, n]);
        let index = own(self);
        let val = self.cx.method(at, array, "load_at", &[spec.into()], vec![index]);
        let (magnitude, fraction) = declared("masked").map_or((31, 0), |a| a.holds);
        Self::held(val, Facts::fixed(magnitude, fraction))
    }
}
