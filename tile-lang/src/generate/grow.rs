//! From a program to a kernel: the pool of values, control flow, and what is written at the end.

use super::arrays::{self, NEAR, NEAR_SLOTS};
use super::facts::Facts;
use super::{Make, Program, Shape, Step};
use crate::build::{Arg, Cx, Space, TypeSpec, Val};
use crate::dtype::DType;
use crate::ir::{Access, BinaryOp, CmpOp, Kernel, ReduceOp, Type, UnaryOp};
use crate::span::Span;
use std::collections::BTreeMap;

/// Bits that carried reals are cut down to, so that loops can't make them grow.
const CARRIED_BITS: i32 = 6;

/// Most values that the checksum of a kernel takes in.
const MAX_HASHED: usize = 24;

/// A value that steps may use.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub val: Val,
    pub facts: Facts,
    /// A scalar that follows from parameters, coordinates and tables alone: copies may depend on it.
    pub plain: bool,
}

/// A kernel on its way.
pub(super) struct Grower {
    pub cx: Cx,
    pub shape: Shape,
    pub at: Span,
    pub pool: Vec<Held>,
    arrays: BTreeMap<&'static str, Val>,
    /// The number of this work item, and the same times the rows of a tile.
    pub item: Val,
    pub first_row: Val,
    /// Inside of a condition that depends on data, where nothing can be staged.
    pub data_dependent: bool,
    line: u32,
}

/// The kernel of a program.
pub(super) fn kernel(p: &Program) -> Kernel {
    let Shape { m, n, k, items } = p.shape;
    let mut cx = Cx::new("generated", "generated.rs");
    cx.note_generic("SEED", p.seed);
    for (name, value) in [("M", m), ("N", n), ("K", k), ("I", items[0]), ("J", items[1])] {
        cx.note_generic(name, value);
    }
    let at = Span::NONE;
    let hash = cx.param_global("hash", DType::I32, 2, Access::Write);
    let trips = cx.param_scalar("n", DType::I32);
    let flag = cx.param_scalar("b", DType::Bool);
    let factor = cx.param_scalar("s", DType::F32);
    let rows = cx.method(at, hash, "dim", &[], vec![Arg::Int(0)]);
    let columns = cx.method(at, hash, "dim", &[], vec![Arg::Int(1)]);
    let fits = cx.compare(at, CmpOp::Eq, columns, n as i64);
    cx.require(at, fits, "hash.dim(1) == N");
    let tiles = cx.binary(at, BinaryOp::Div, rows, (m * items[1]) as i64);
    let coordinates = cx.work(at, Arg::List(vec![tiles.into(), Arg::Int(items[1] as i64)]));
    let line = cx.binary(at, BinaryOp::Mul, coordinates[0], items[1] as i64);
    let item = cx.binary(at, BinaryOp::Add, line, coordinates[1]);
    let first_row = cx.binary(at, BinaryOp::Mul, item, m as i64);
    let scalar = |val, facts| Held { val, facts, plain: true };
    let whole = Facts::same(31);
    let mut pool: Vec<Held> = [trips, flag, coordinates[0], coordinates[1], item].map(|v| scalar(v, whole)).to_vec();
    pool.push(scalar(factor, Facts::fixed(2, 2)));
    let arrays = BTreeMap::from([("hash", hash)]);
    let (shape, data_dependent) = (p.shape, false);
    let mut g = Grower { cx, shape, at, pool, arrays, item, first_row, data_dependent, line: 0 };
    let start = g.load("f32s", &[m, n], 0, 0);
    g.keep(start);
    let index = g.cx.iota(at, &[m, n], 1);
    g.hold(index, Facts::same(31));
    g.steps(&p.steps);
    g.finish()
}

impl Grower {
    /// The parameter of an array, which the kernel has from its first use on.
    pub fn array(&mut self, name: &'static str) -> Val {
        if let Some(v) = self.arrays.get(name) {
            return *v;
        }
        let Some(array) = arrays::declared(name) else { unreachable!("`{name}` is declared in ARRAYS") };
        let rank = arrays::dims(name, self.shape).len();
        let v = self.cx.param_global(name, array.dtype, rank, array.access);
        self.arrays.insert(name, v);
        v
    }

    pub fn hold(&mut self, val: Val, facts: Facts) {
        self.pool.push(Held { val, facts, plain: false });
    }

    pub fn keep(&mut self, held: Held) {
        self.pool.push(held);
    }

    /// The value that a number picks among those that fit.
    pub fn pick(&self, n: u8, fits: impl Fn(&Type, &Held) -> bool) -> Option<Held> {
        let all: Vec<Held> = self.pool.iter().copied().filter(|h| fits(self.cx.ty(h.val), h)).collect();
        // Newer ones more often, so that long chains come about.
        let n = if !n.is_multiple_of(4) { all.len().saturating_sub(1 + (n as usize / 4) % 3) } else { n as usize / 4 };
        (!all.is_empty()).then(|| all[n % all.len()])
    }

    /// A real on which all machines agree.
    pub fn exact(&self, n: u8) -> Option<Held> {
        self.pick(n, |t, h| t.dtype() == Some(DType::F32) && !matches!(t, Type::Smem(..)) && h.facts.is_exact())
    }

    /// An uniform integer that copies may depend on.
    pub fn plain(&self, n: u8) -> Held {
        let found = self.pick(n, |t, h| *t == Type::Scalar(DType::I32) && h.plain);
        found.unwrap_or(Held { val: self.item, facts: Facts::same(31), plain: true })
    }

    pub fn shape_of(&self, v: Val) -> Vec<usize> {
        self.cx.ty(v).shape().to_vec()
    }

    pub fn spec(space: Space, dtype: DType, shape: &[usize]) -> TypeSpec {
        TypeSpec { space, dtype: Some(dtype), shape: shape.to_vec() }
    }

    /// An exact real as an integer of so many bits.
    pub fn tame(&mut self, x: Held, bits: i32) -> Held {
        let most = f64::from(1 << bits);
        let low = self.cx.binary(self.at, BinaryOp::Max, x.val, -most);
        let both = self.cx.binary(self.at, BinaryOp::Min, low, most);
        let val = self.cx.unary(self.at, UnaryOp::Floor, both);
        Held { val, facts: Facts::fixed(bits, 0), plain: false }
    }

    /// An index into one of the four staged tiles, from any uniform integer.
    pub fn staged_index(&mut self, n: u8) -> Val {
        let index = self.plain(n);
        self.cx.binary(self.at, BinaryOp::And, index.val, arrays::STAGED as i64 - 1)
    }

    pub fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.line += 1;
            let [a, .., d] = step.pick;
            self.at = match a % 8 {
                0 => Span::NONE,
                _ => Span { file: 0, line: self.line, col: u32::from(d) + 1, len: 1 + u32::from(a % 7) },
            };
            let before = self.pool.len();
            match step.make {
                Make::For => self.for_loop(step),
                Make::If => self.if_else(step),
                make => self.op(make, step.pick),
            }
            for i in before..self.pool.len() {
                let which = a as usize + i;
                if !which.is_multiple_of(3) {
                    let val = self.pool[i].val;
                    self.cx.name(val, ["acc", "x", "x_1", "größe", "_", "load"][which % 6]);
                }
            }
        }
    }

    /// Up to three values that a loop or condition changes: a real tile, an integer tile, an uniform integer.
    fn carried(&mut self, n: u8) -> Vec<Held> {
        let Shape { m, n: columns, .. } = self.shape;
        let tile = |d| Type::Tile(d, vec![m, columns]);
        let mut out = Vec::new();
        let real = self.pick(n, |t, h| *t == tile(DType::F32) && h.facts.is_exact());
        if let Some(real) = real.filter(|_| n % 4 != 1) {
            let fits = real.facts.fraction == Some(0) && real.facts.magnitude <= CARRIED_BITS;
            out.push(if fits { real } else { self.tame(real, CARRIED_BITS) });
        }
        let integers = self.pick(n / 4, |t, _| *t == tile(DType::I32));
        out.extend(integers.filter(|_| n % 4 < 2));
        if n % 8 < 3 {
            out.push(self.plain(n / 8));
        }
        out
    }

    /// The values of a block's end: the newest of each type that is carried, cut down.
    fn next(&mut self, carried: &[Held], inner: &[Val], begin: usize) -> Vec<Val> {
        let mut out = Vec::new();
        for (held, own) in carried.iter().zip(inner) {
            let ty = self.cx.ty(*own).clone();
            let newest = self.pool[begin..].iter().rev().copied();
            let newest = newest.filter(|h| self.cx.ty(h.val) == &ty && h.facts.is_exact() && (h.plain || !held.plain));
            let Some(found) = newest.into_iter().next() else {
                out.push(*own);
                continue;
            };
            let real = ty.dtype() == Some(DType::F32);
            out.push(if real { self.tame(found, CARRIED_BITS).val } else { found.val });
        }
        out
    }

    /// Forgets staged tiles: a slot that is held over a loop which takes slots would stop the ring once that has gone round. The item's
    /// number takes their places, for blocks around this one count the values that they began with.
    pub fn forget_staged(&mut self) {
        let item = Held { val: self.item, facts: Facts::same(31), plain: true };
        for held in &mut self.pool {
            if matches!(self.cx.ty(held.val), Type::Smem(..)) {
                *held = item;
            }
        }
    }

    fn for_loop(&mut self, step: &Step) {
        let [a, b, c, _] = step.pick;
        self.forget_staged();
        let to: Arg = match b % 8 {
            trips @ 0..=4 => Arg::Int(i64::from(trips)),
            5 => self.pool[0].val.into(),
            6 => self.staged_index(c).into(),
            _ => {
                let own = self.item;
                self.cx.binary(self.at, BinaryOp::Rem, own, 3i64).into()
            }
        };
        let from = Arg::Int(i64::from(c % 2));
        let carried = self.carried(a);
        let initial: Vec<Val> = carried.iter().map(|h| h.val).collect();
        let (at, begin) = (self.at, self.pool.len());
        let results = self.block(|cx, grow| {
            // No depth: loops of a kernel, and kernels of a program, pin one number.
            cx.for_loop(at, (from, to), 0, initial, |cx, index, inner| {
                grow(cx, &|g: &mut Grower| {
                    g.keep(Held { val: index, facts: Facts::same(31), plain: true });
                    for (held, own) in carried.iter().zip(inner) {
                        g.keep(Held { val: *own, ..*held });
                    }
                    g.steps(&step.body);
                    g.next(&carried, inner, begin)
                })
            })
        });
        self.pool.truncate(begin);
        self.results(&carried, results);
    }

    fn if_else(&mut self, step: &Step) {
        let [a, b, c, d] = step.pick;
        let (condition, data) = match b % 4 {
            0 => (self.pool[1].val, false),
            1 => {
                let other = self.plain(c);
                (self.cx.compare(self.at, CmpOp::ALL[c as usize % 6], other.val, i64::from(d % 4)), false)
            }
            2 => {
                let (x, y) = (self.plain(c), self.plain(d));
                (self.cx.compare(self.at, CmpOp::ALL[c as usize % 6], x.val, y.val), false)
            }
            _ => match self.pick(c, |t, h| *t == Type::Scalar(DType::F32) && h.facts.is_exact() && !h.plain) {
                Some(x) => (self.cx.compare(self.at, CmpOp::ALL[d as usize % 6], x.val, 0.5f64), true),
                None => (self.pool[1].val, false),
            },
        };
        let carried = self.carried(a);
        let initial: Vec<Val> = carried.iter().map(|h| h.val).collect();
        let (at, begin) = (self.at, self.pool.len());
        let before = self.data_dependent;
        self.data_dependent |= data;
        let results = self.block(|cx, grow| {
            let grow = std::cell::RefCell::new(grow);
            let run = |cx: &mut Cx, inner: &[Val], steps: &[Step]| {
                (grow.borrow_mut())(cx, &|g: &mut Grower| {
                    g.steps(steps);
                    let next = g.next(&carried, inner, begin);
                    g.pool.truncate(begin);
                    next
                })
            };
            cx.if_else(
                at,
                condition,
                initial,
                |cx, inner| run(cx, inner, &step.body),
                |cx, inner| run(cx, inner, &step.other),
            )
        });
        self.data_dependent = before;
        // What depends on data is no more uniform for the producer.
        let carried: Vec<Held> = carried.into_iter().map(|h| Held { plain: h.plain && !data, ..h }).collect();
        self.results(&carried, results);
    }

    fn results(&mut self, carried: &[Held], results: Vec<Val>) {
        for (held, val) in carried.iter().zip(results) {
            self.keep(Held { val, ..*held });
        }
    }

    /// Lends the kernel to the builder's closures, which hand it back to grow a block.
    pub fn block<R>(
        &mut self,
        build: impl FnOnce(&mut Cx, &mut dyn FnMut(&mut Cx, &dyn Fn(&mut Grower) -> Vec<Val>) -> Vec<Val>) -> R,
    ) -> R {
        let mut cx = std::mem::replace(&mut self.cx, Cx::new("", ""));
        let result = build(&mut cx, &mut |cx, f| {
            std::mem::swap(&mut self.cx, cx);
            let next = f(self);
            std::mem::swap(&mut self.cx, cx);
            next
        });
        self.cx = cx;
        result
    }

    /// Writes what there is: real tiles of each element type, what is near, and a checksum of everything exact.
    fn finish(mut self) -> Kernel {
        self.at = Span::NONE;
        let Shape { m, n, .. } = self.shape;
        let main = Type::Tile(DType::F32, vec![m, n]);
        let zero = Arg::Int(0);
        let own = |g: &Grower| Arg::List(vec![g.first_row.into(), zero.clone()]);
        let newest = self.pool.iter().rev().copied().find(|h| *self.cx.ty(h.val) == main && h.facts.is_exact());
        if let Some(x) = newest {
            for (name, dtype) in
                [("reals", DType::F32), ("narrow", DType::Bf16), ("halves", DType::F16), ("bytes", DType::E4m3)]
            {
                if dtype != DType::F32 && !(self.line as usize + dtype.bits()).is_multiple_of(3) {
                    continue;
                }
                let x = if dtype == DType::F32 { x } else { self.tame(x, 4) };
                let (array, val) = (self.array(name), self.cx.cast(self.at, x.val, dtype));
                let index = own(&self);
                self.cx.method(self.at, array, "store_at", &[], vec![index, val.into()]);
            }
        }
        let near = self.near();
        self.cx.note_generic("NEAR", near);
        let hash = self.hash();
        let (array, index) = (self.array("hash"), own(&self));
        self.cx.method(self.at, array, "store_at", &[], vec![index, hash.into()]);
        self.cx.finish().unwrap_or_else(|e| panic!("a generated kernel does not stage:\n{e}"))
    }

    /// Writes the newest values that are near; how far they may be off.
    fn near(&mut self) -> f64 {
        let Shape { m, n, .. } = self.shape;
        let all = self.pool.iter().rev().copied();
        let tiles =
            all.filter(|h| !h.facts.is_exact() && matches!(self.cx.ty(h.val), Type::Tile(..) | Type::Scalar(_)));
        let tiles: Vec<Held> = tiles.collect();
        let (mut bound, mut slot) = (0.0f64, 0);
        for held in tiles {
            let Some(val) = self.as_main(held.val) else { continue };
            if slot == NEAR_SLOTS {
                break;
            }
            let array = self.array(NEAR);
            let first = self.cx.binary(self.at, BinaryOp::Mul, self.first_row, NEAR_SLOTS as i64);
            let row = self.cx.binary(self.at, BinaryOp::Add, first, (slot * m) as i64);
            debug_assert_eq!(self.shape_of(val), [m, n]);
            let index = Arg::List(vec![row.into(), Arg::Int(0)]);
            self.cx.method(self.at, array, "store_at", &[], vec![index, val.into()]);
            bound = bound.max(held.facts.error);
            slot += 1;
        }
        bound
    }

    /// A tile of the main extents with the same elements, where that needs no sums.
    fn as_main(&mut self, v: Val) -> Option<Val> {
        let Shape { m, n, .. } = self.shape;
        match self.shape_of(v)[..] {
            [] => Some(self.cx.spread(self.at, v, &[m, n])),
            [a, b] if a == m && b == n => Some(v),
            [a, b] if a == n && b == m => Some(self.cx.transpose(self.at, v)),
            [a] if a == m => Some(self.cx.broadcast(self.at, v, 1, n)),
            [a] if a == n => Some(self.cx.broadcast(self.at, v, 0, m)),
            _ => None,
        }
    }

    /// The bits of all exact values, mixed.
    fn hash(&mut self) -> Val {
        let Shape { m, n, .. } = self.shape;
        let at = self.at;
        let seven = self.cx.lift(at, 7i64);
        let mut hash = self.cx.spread(at, seven, &[m, n]);
        let all = self.pool.iter().rev().copied();
        let all: Vec<Held> = all
            .filter(|h| h.facts.is_exact() && !matches!(self.cx.ty(h.val), Type::Smem(..)))
            .take(MAX_HASHED)
            .collect();
        for held in all {
            let bits = self.as_integers(held.val);
            let bits = match self.as_main(bits) {
                Some(bits) => bits,
                None => {
                    // Sums of integers wrap, in any order to the same.
                    let axis = usize::from(self.shape_of(bits)[0] == m && self.shape_of(bits).len() == 2);
                    let mut sum = self.cx.reduce(at, ReduceOp::Sum, bits, axis);
                    if self.is_foreign(sum) {
                        sum = self.cx.reduce(at, ReduceOp::Sum, sum, 0);
                    }
                    match self.as_main(sum) {
                        Some(tile) => tile,
                        None => continue,
                    }
                }
            };
            let mixed = self.cx.binary(at, BinaryOp::Mul, hash, 31i64);
            hash = self.cx.binary(at, BinaryOp::Add, mixed, bits);
        }
        hash
    }

    /// Whether a sum is a vector that no side of the main tile has.
    fn is_foreign(&self, v: Val) -> bool {
        let Shape { m, n, .. } = self.shape;
        matches!(self.shape_of(v)[..], [a] if a != m && a != n)
    }

    /// The bits of a value as integers; both zeros have the same.
    fn as_integers(&mut self, v: Val) -> Val {
        let at = self.at;
        match self.cx.ty(v).dtype() {
            Some(DType::Bool) => {
                let shape = self.shape_of(v);
                let (one, zero) = (self.cx.lift(at, 1i64), self.cx.lift(at, 0i64));
                if shape.is_empty() {
                    return self.cx.select(at, v, one, zero);
                }
                let (one, zero) = (self.cx.spread(at, one, &shape), self.cx.spread(at, zero, &shape));
                self.cx.select(at, v, one, zero)
            }
            // What the builder refused is reported at the end.
            Some(DType::I32) | None => v,
            Some(DType::F32) => {
                let positive = self.cx.binary(at, BinaryOp::Add, v, 0.0f64);
                self.cx.unary(at, UnaryOp::ToBits, positive)
            }
            _ => {
                let wide = self.cx.cast(at, v, DType::F32);
                self.as_integers(wide)
            }
        }
    }
}
