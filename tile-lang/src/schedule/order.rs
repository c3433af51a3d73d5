//! The order of work items, as arithmetic in the kernel: who counts items from 0 (a persistent loop, the simulator) sees one
//! order, and the coordinates that the body gets are a permutation of what `work` gives.
//!
//! With clusters of `c` CTAs the grid has one more axis of extent `c`, the item's **rank** in its cluster, which changes fastest, so
//! that neighbouring CTAs, which form a cluster, take the items of one group at the same time. A group's items are neighbours along the first
//! axis of `work`. Where that axis isn't a multiple of `c`, the last group is filled up with copies of the last item that write nothing.

use super::{Raster, Schedule};
use crate::dtype::DType;
use crate::ir::{BinaryOp, BlockId, CmpOp, Kernel, Literal, OpData, OpId, OpKind, Type, ValueId};
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

impl Schedule {
    /// CTAs that form a cluster; 1 where none is pinned.
    pub fn cluster_size(&self) -> usize {
        self.cluster.map_or(1, |c| c.value.max(1))
    }

    /// Whether items are taken in another order than `work` gives.
    pub fn orders_items(&self) -> bool {
        self.raster.is_some() || self.cluster_size() > 1
    }
}

/// Rewrites a kernel so that its items are taken in the order that its schedule pins. Raster and cluster of the schedule are carried
/// out afterwards and no longer in it; the cluster is what the kernel asks for then ([`crate::ir::Resources`]).
pub fn apply(kernel: &Kernel) -> Kernel {
    let mut k = kernel.clone();
    let Some(s) = k.schedule.as_mut() else { return k };
    let raster = s.raster.take().map_or(Raster::RowMajor, |r| r.value);
    let cluster = s.cluster.take().filter(|c| c.value > 1);
    let pinned = cluster.map(|c| (s.file(c.span), c));
    if let Some((file, c)) = pinned {
        k.resources.cluster = c.value;
        if c.span.is_known() {
            let at = k.files.iter().position(|f| *f == file).unwrap_or_else(|| {
                k.files.push(file);
                k.files.len() - 1
            });
            k.resources.cluster_span = Span { file: at as u32, ..c.span };
        }
    }
    if raster == Raster::RowMajor && cluster.is_none() {
        return k;
    }
    // Explicit roles have `work` in each body.
    for (_, body) in k.bodies.clone() {
        let at = k.block(body).ops.iter().position(|id| k.op(*id).kind == OpKind::Work);
        if let Some(at) = at {
            reorder(&mut k, body, at, raster, cluster.map(|c| c.value));
        }
    }
    k
}

/// Rewrites the `work` op at this place of a body.
fn reorder(k: &mut Kernel, body: BlockId, at: usize, raster: Raster, cluster: Option<usize>) {
    let work = k.block(body).ops[at];
    let (mut extents, mut wanted, span) = {
        let op = k.op(work);
        (op.operands.clone(), op.results.clone(), op.span)
    };
    let (axes, first, items) = (wanted.len(), wanted[0], extents[0]);
    let raster = if axes < 2 { Raster::RowMajor } else { raster };
    let mut before = Code { k, span, ops: Vec::new() };
    let size = cluster.map(|c| {
        let c = i32::try_from(c).unwrap_or(i32::MAX);
        let (size, more) = (before.constant(c), before.constant(c - 1));
        let up = before.bin(BinaryOp::Add, items, more);
        extents[0] = before.bin(BinaryOp::Div, up, size);
        wanted[0] = before.scalar();
        size
    });
    let before = before.ops;
    let mut taken: Vec<ValueId> = wanted.clone();
    if raster != Raster::RowMajor {
        taken = wanted.iter().map(|_| k.add_value(Type::Scalar(DType::I32))).collect();
    }
    let mut code = Code { k, span, ops: Vec::new() };
    match raster {
        Raster::RowMajor => {}
        Raster::ColumnMajor => code.column_major(&extents, &taken, &wanted),
        Raster::Grouped(rows) => code.grouped(&extents, &taken, &wanted, rows),
    }
    let mut live = None;
    if let Some(size) = size {
        let rank = code.scalar();
        let group = code.bin(BinaryOp::Mul, wanted[0], size);
        let item = code.bin(BinaryOp::Add, group, rank);
        let one = code.constant(1);
        let last = code.bin(BinaryOp::Sub, items, one);
        code.op(OpKind::Binary(BinaryOp::Min), vec![item, last], first);
        let inside = code.k.add_value(Type::Scalar(DType::Bool));
        code.op(OpKind::Cmp(CmpOp::Lt), vec![item, items], inside);
        live = Some(inside);
        extents.push(size);
        taken.push(rank);
    }
    let after = code.ops;
    k.ops[work.index()].operands = extents;
    k.ops[work.index()].results = taken;
    let end = at + before.len() + 1 + after.len();
    let ops = &mut k.blocks[body.index()].ops;
    ops.splice(at + 1..at + 1, after);
    ops.splice(at..at, before);
    if let Some(live) = live {
        guard(k, body, end, live);
    }
}

/// Lets ops of a block from position `from` on, and those nested in them, write arrays only where `live` holds.
fn guard(k: &mut Kernel, block: BlockId, from: usize, live: ValueId) {
    let list = k.block(block).ops[from..].to_vec();
    for id in list {
        for inner in k.op(id).blocks.clone() {
            guard(k, inner, 0, live);
        }
        if !k.op(id).kind.writes_array() {
            continue;
        }
        let op = k.op(id).clone();
        let blocks = [vec![op.clone()], Vec::new()].map(|list| {
            let arm = k.add_block();
            let end = OpData {
                kind: OpKind::Yield,
                operands: Vec::new(),
                results: Vec::new(),
                blocks: Vec::new(),
                span: op.span,
                name: None,
            };
            for data in list.into_iter().chain([end]) {
                let id = k.add_op(data);
                k.blocks[arm.index()].ops.push(id);
            }
            arm
        });
        let OpData { span, .. } = op;
        k.ops[id.index()] = OpData {
            kind: OpKind::If,
            operands: vec![live],
            results: Vec::new(),
            blocks: blocks.to_vec(),
            span,
            name: None,
        };
    }
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
        let v = self.scalar();
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

    fn scalar(&mut self) -> ValueId {
        self.k.add_value(Type::Scalar(DType::I32))
    }

    fn constant(&mut self, n: i32) -> ValueId {
        let v = self.scalar();
        self.op(OpKind::Const(Literal::I32(n)), Vec::new(), v);
        v
    }
}
