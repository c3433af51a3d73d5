//! What steps add to a kernel: tiles in other shapes, parts and wholes, reductions and scans.

use super::{MAX_ELEMENTS, held};
use crate::dtype::DType;
use crate::generate::Shape;
use crate::generate::facts::Facts;
use crate::generate::grow::{Grower, Held};
use crate::ir::{Fold, ReduceOp, Type};

impl Grower {
    pub(super) fn reshape(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let Shape { m, n, k, .. } = self.shape;
        let x = self.pick(a, |t, _| matches!(t, Type::Tile(..)))?;
        let at = self.at;
        match self.shape_of(x.val)[..] {
            [rows, columns] if columns < k && b % 3 == 0 => {
                let times = k / columns;
                debug_assert!(rows * k <= MAX_ELEMENTS);
                held(self.cx.repeat(at, x.val, columns * times), x.facts)
            }
            [..] if self.shape_of(x.val).len() == 2 => held(self.cx.transpose(at, x.val), x.facts),
            [length] => {
                let axis = c as usize % 2;
                let other = if length == m { n } else { m };
                held(self.cx.broadcast(at, x.val, axis, other), x.facts)
            }
            _ => None,
        }
    }

    pub(super) fn reduction(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let reductions = |d: DType| ReduceOp::ALL.iter().copied().filter(move |op| op.class().holds(d));
        let mut x = self.pick(a, |t, _| matches!(t, Type::Tile(d, _) if reductions(*d).next().is_some()))?;
        let shape = self.shape_of(x.val);
        let axis = c as usize % shape.len();
        let dtype = self.cx.ty(x.val).dtype()?;
        let all: Vec<ReduceOp> = reductions(dtype).collect();
        let op = all[b as usize % all.len()];
        if !dtype.is_float() {
            return held(self.cx.reduce(self.at, op, x.val, axis), Facts::same(31));
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
        held(self.cx.reduce(self.at, op, x.val, axis), facts)
    }

    /// The elements of a tile in rows of another length, or in one row.
    fn in_rows(&mut self, x: Held, n: u8) -> Option<Held> {
        let count: usize = self.shape_of(x.val).iter().product();
        let Shape { m, n: columns, k, .. } = self.shape;
        let shapes =
            [vec![columns, m], vec![m, columns], vec![m, k], vec![k, columns], vec![count], vec![8, count / 8]];
        let fitting: Vec<&Vec<usize>> =
            shapes.iter().filter(|s| s.iter().product::<usize>() == count && *s.last().unwrap_or(&0) > 0).collect();
        let shape = fitting.get(n as usize % fitting.len().max(1))?;
        held(self.cx.reshape(self.at, x.val, shape), x.facts)
    }

    /// A part of a tile in registers, or all of it in another shape.
    pub(super) fn part(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let x = self.pick(a, |t, _| matches!(t, Type::Tile(..)))?;
        let shape = self.shape_of(x.val);
        if d % 2 == 0 {
            return self.in_rows(x, b);
        }
        // Halves and quarters of an axis, of 8 elements at least.
        let part = |extent: usize, n: u8| {
            let size = [extent, extent / 2, extent / 4][n as usize % 3].max(8).min(extent);
            (size * (n as usize / 4 % (extent / size)), size)
        };
        let (offsets, sizes): (Vec<_>, Vec<_>) = shape.iter().zip([b, c]).map(|(e, n)| part(*e, n)).unzip();
        held(self.cx.slice(self.at, x.val, &offsets, &sizes), x.facts)
    }

    /// Two tiles one behind the other.
    pub(super) fn join(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let x = self
            .pick(a, |t, _| matches!(t, Type::Tile(..)) && t.shape().iter().product::<usize>() * 2 <= MAX_ELEMENTS)?;
        let ty = self.cx.ty(x.val).clone();
        let y = self.pick(b, |t, _| *t == ty)?;
        let axis = c as usize % ty.shape().len();
        let extent = 2 * ty.shape()[axis];
        held(self.cx.join(self.at, x.val, y.val, axis, extent), x.facts.either(y.facts))
    }

    /// A reduction of each element and all before it.
    pub(super) fn scan(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let mut x = self.pick(a, |t, h| {
            matches!(t, Type::Tile(DType::I32, _)) || matches!(t, Type::Tile(DType::F32, _)) && h.facts.is_exact()
        })?;
        let shape = self.shape_of(x.val);
        let axis = c as usize % shape.len();
        let dtype = self.cx.ty(x.val).dtype()?;
        let joins = |op: &&ReduceOp| matches!(op.fold(), Fold::Join(_)) && op.class().holds(dtype);
        let all: Vec<ReduceOp> = ReduceOp::ALL.iter().filter(joins).copied().collect();
        let op = all[b as usize % all.len()];
        let facts = match op {
            _ if dtype == DType::I32 => Facts::same(31),
            ReduceOp::Sum => {
                if !x.facts.sums_exactly(shape[axis]) {
                    x = self.tame(x, 10);
                }
                x.facts.summed(shape[axis])
            }
            ReduceOp::Product => {
                x = self.tame(x, 0);
                x.facts
            }
            _ => x.facts,
        };
        held(self.cx.scan(self.at, op, x.val, axis), facts)
    }
}
