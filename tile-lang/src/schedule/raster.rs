//! The order of work items, as arithmetic in the kernel: who counts items from 0 (a persistent loop, the simulator) sees one
//! order, and the coordinates that the body gets are a permutation of what `work` gives.

use super::Raster;
use crate::dtype::DType;
use crate::ir::{BinaryOp, BlockId, Kernel, Literal, OpData, OpId, OpKind, Type, ValueId};
use crate::span::Span;
use std::fmt;

impl fmt::Display for Raster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raster::RowMajor => f.write_str("row-major"),
            Raster::ColumnMajor => f.write_str("column-major"),
            Raster::Grouped(n) => write!(f, "grouped {n}"),
        }
    }
}

/// The raster of this name, without its number.
pub fn named(name: &str, number: Option<usize>) -> Option<Raster> {
    match (name, number) {
        ("row-major", None) => Some(Raster::RowMajor),
        ("column-major", None) => Some(Raster::ColumnMajor),
        ("grouped", Some(n)) => Some(Raster::Grouped(n)),
        _ => None,
    }
}

/// Rewrites a kernel so that its items are taken in the order that its schedule pins. The schedule no longer has a raster
/// afterwards: it is carried out.
pub fn apply(kernel: &Kernel) -> Kernel {
    let mut k = kernel.clone();
    let Some(raster) = k.schedule.as_mut().and_then(|s| s.raster.take()) else { return k };
    if raster.value == Raster::RowMajor {
        return k;
    }
    let work = k.blocks.iter().enumerate().find_map(|(b, data)| {
        let at = data.ops.iter().position(|id| k.op(*id).kind == OpKind::Work)?;
        Some((BlockId(b as u32), at, data.ops[at]))
    });
    let Some((block, at, work)) = work else { return k };
    let (extents, wanted, span) = {
        let op = k.op(work);
        (op.operands.clone(), op.results.clone(), op.span)
    };
    if wanted.len() < 2 {
        return k;
    }
    let taken: Vec<ValueId> = wanted.iter().map(|_| k.add_value(Type::Scalar(DType::I32))).collect();
    k.ops[work.index()].results.clone_from(&taken);
    let mut code = Code { k: &mut k, span, ops: Vec::new() };
    match raster.value {
        Raster::RowMajor => {}
        Raster::ColumnMajor => code.column_major(&extents, &taken, &wanted),
        Raster::Grouped(rows) => code.grouped(&extents, &taken, &wanted, rows),
    }
    let ops = code.ops;
    k.blocks[block.index()].ops.splice(at + 1..at + 1, ops);
    k
}

struct Code<'k> {
    k: &'k mut Kernel,
    span: Span,
    ops: Vec<OpId>,
}

impl Code<'_> {
    fn op(&mut self, kind: OpKind, operands: Vec<ValueId>, result: ValueId) {
        let op = OpData { kind, operands, results: vec![result], blocks: Vec::new(), span: self.span, name: None };
        let id = self.k.add_op(op);
        self.ops.push(id);
    }

    fn bin(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        let v = self.k.add_value(Type::Scalar(DType::I32));
        self.op(OpKind::Binary(op), vec![a, b], v);
        v
    }

    /// Position of the coordinates from `first` on in row-major order.
    fn linear(&mut self, extents: &[ValueId], at: &[ValueId]) -> ValueId {
        let mut sum = at[0];
        for (extent, x) in extents.iter().zip(at).skip(1) {
            let scaled = self.bin(BinaryOp::Mul, sum, *extent);
            sum = self.bin(BinaryOp::Add, scaled, *x);
        }
        sum
    }

    /// The first axis changes fastest.
    fn column_major(&mut self, extents: &[ValueId], taken: &[ValueId], wanted: &[ValueId]) {
        let mut rest = self.linear(extents, taken);
        let last = wanted.len() - 1;
        for (i, extent) in extents.iter().enumerate() {
            if i == last {
                // Never more than its extent, as the item is one of the grid.
                self.op(OpKind::Binary(BinaryOp::Rem), vec![rest, *extent], wanted[i]);
            } else {
                self.op(OpKind::Binary(BinaryOp::Rem), vec![rest, *extent], wanted[i]);
                rest = self.bin(BinaryOp::Div, rest, *extent);
            }
        }
    }

    /// Bands of `rows` rows of the last two axes, column by column in a band; the last band may have fewer.
    fn grouped(&mut self, extents: &[ValueId], taken: &[ValueId], wanted: &[ValueId], rows: usize) {
        let n = wanted.len();
        let (m, columns) = (extents[n - 2], extents[n - 1]);
        // A copy of the leading coordinates under their old names.
        let zero = self.constant(0);
        for i in 0..n - 2 {
            self.op(OpKind::Binary(BinaryOp::Add), vec![taken[i], zero], wanted[i]);
        }
        let rows = self.constant(i32::try_from(rows).unwrap_or(i32::MAX));
        let rows = self.bin(BinaryOp::Min, rows, m);
        let item = self.linear(&extents[n - 2..], &taken[n - 2..]);
        let band_items = self.bin(BinaryOp::Mul, rows, columns);
        let band = self.bin(BinaryOp::Div, item, band_items);
        let first = self.bin(BinaryOp::Mul, band, rows);
        let left = self.bin(BinaryOp::Sub, m, first);
        let height = self.bin(BinaryOp::Min, left, rows);
        let inside = self.bin(BinaryOp::Rem, item, band_items);
        let row = self.bin(BinaryOp::Rem, inside, height);
        self.op(OpKind::Binary(BinaryOp::Add), vec![first, row], wanted[n - 2]);
        self.op(OpKind::Binary(BinaryOp::Div), vec![inside, height], wanted[n - 1]);
    }

    fn constant(&mut self, n: i32) -> ValueId {
        let v = self.k.add_value(Type::Scalar(DType::I32));
        self.op(OpKind::Const(Literal::I32(n)), Vec::new(), v);
        v
    }
}
