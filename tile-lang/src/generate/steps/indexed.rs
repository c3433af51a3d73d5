//! What steps add to a kernel: accesses whose places are tiles of indices.

use super::held;
use crate::build::{Arg, Val};
use crate::dtype::DType;
use crate::generate::arrays::{CELLS, declared};
use crate::generate::facts::Facts;
use crate::generate::grow::{Grower, Held};
use crate::ir::{AtomicOp, BinaryOp, Type};

/// Arrays that all items join into: one for each op, so that the order doesn't show.
const ATOMICS: [(&str, AtomicOp); 7] = [
    ("sums", AtomicOp::Add),
    ("tops", AtomicOp::Max),
    ("lows", AtomicOp::Min),
    ("ors", AtomicOp::Or),
    ("ands", AtomicOp::And),
    ("xors", AtomicOp::Xor),
    ("totals", AtomicOp::Add),
];

impl Grower {
    /// Any integer tile, cut down to indices below a power of two.
    fn indices(&mut self, n: u8, below: usize) -> Option<Held> {
        let x = self.pick(n, |t, _| matches!(t, Type::Tile(DType::I32, _)))?;
        let val = self.cx.binary(self.at, BinaryOp::And, x.val, below as i64 - 1);
        Some(Held { val, facts: Facts::same(31), plain: false })
    }

    /// One element for each index, some of them outside of the array.
    pub(super) fn gather(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        const NAMES: [&str; 8] = ["f32s", "i32s", "bf16s", "f16s", "i8s", "u8s", "vector", "bools"];
        let name = NAMES[a as usize % NAMES.len()];
        let first = self.indices(b, 128)?;
        let mut index = vec![Arg::from(first.val)];
        if name != "vector" {
            let shape = self.shape_of(first.val);
            let other = self.pick(c, |t, _| *t == Type::Tile(DType::I32, shape.clone()))?;
            // Below zero too.
            let column = self.cx.binary(self.at, BinaryOp::And, other.val, 63i64);
            index.push(self.cx.binary(self.at, BinaryOp::Sub, column, i64::from(d % 8)).into());
        }
        let array = self.array(name);
        let val = self.cx.method(self.at, array, "gather", &[], vec![Arg::List(index)]);
        let (magnitude, fraction) = declared(name).map_or((31, 0), |a| a.holds);
        let facts = Facts::fixed(magnitude, fraction);
        match self.cx.ty(val).dtype() {
            Some(DType::I8 | DType::U8) => held(self.cx.cast(self.at, val, DType::I32), Facts::same(31)),
            Some(DType::I32) => held(val, Facts::same(31)),
            _ => held(val, facts),
        }
    }

    /// Elements of the main extents at places of their own, in another order; then perhaps read again.
    pub(super) fn scatter(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let (m, n) = (self.shape.m, self.shape.n);
        let at = self.at;
        let name = ["moved", "tokens"][d as usize % 2];
        let dtype = declared(name).map_or(DType::F32, |array| array.dtype);
        let tile = Type::Tile(dtype, vec![m, n]);
        let mut x = self.pick(a, |t, h| *t == tile && h.facts.is_exact())?;
        let bounded = |h: &Held| h.facts.magnitude <= 3 && h.facts.fraction.is_some_and(|f| f <= 2);
        if dtype == DType::F32 && !bounded(&x) {
            x = self.tame(x, 3);
        }
        // Extents are powers of two, so exclusive or with a constant moves every element, and none to another's place.
        let place = |g: &mut Grower, axis: usize, with: usize| -> Val {
            let own = g.cx.iota(at, &[m, n], axis);
            g.cx.binary(at, BinaryOp::Xor, own, with as i64)
        };
        let (row, column) = (place(self, 0, b as usize % m), place(self, 1, c as usize % n));
        let row = self.cx.binary(at, BinaryOp::Add, row, self.first_row);
        let array = self.array(name);
        let index = Arg::List(vec![row.into(), column.into()]);
        self.cx.method(at, array, "scatter", &[], vec![index.clone(), x.val.into()]);
        if d % 4 < 2 {
            return None;
        }
        let val = self.cx.method(at, array, "gather", &[], vec![index]);
        held(val, if dtype == DType::F32 { Facts::fixed(3, 2) } else { Facts::same(31) })
    }

    /// Elements joined with those of an array that every item joins into, and none reads.
    pub(super) fn atomic(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let (name, op) = ATOMICS[a as usize % ATOMICS.len()];
        let index = self.indices(b, CELLS)?;
        let shape = self.shape_of(index.val);
        let dtype = declared(name).map_or(DType::I32, |array| array.dtype);
        let tile = Type::Tile(dtype, shape);
        let mut x = self.pick(c, |t, h| *t == tile && h.facts.is_exact())?;
        if dtype == DType::F32 {
            // Of -1, 0 and 1: there are fewer than 2^24 of them.
            x = self.tame(x, 0);
        }
        let array = self.array(name);
        let method = format!("atomic_{}", op.name());
        self.cx.method(self.at, array, &method, &[], vec![index.val.into(), x.val.into()]);
        None
    }
}
