//! What `wgmma` asks of its operands in shared memory.

use super::{Checker, Dist};
use tile_lang::ir::{Kernel, OpData, OpId, OpKind, Type, ValueId};

/// Bytes of a swizzled atom: 8 rows of 128.
pub(super) const SWIZZLE_ATOM: usize = 1024;
/// Bytes of a row of such an atom.
const ATOM_ROW: usize = 128;
/// Bytes of the terms of one warpgroup's product.
const TERM_BYTES: usize = 32;

impl Checker<'_> {
    /// What `wgmma` asks: 64 rows a warpgroup, up to 256 columns; the first operand in registers, as the fragments of the
    /// instruction, or in shared memory, the second in shared memory. There an operand lies in atoms of 8 rows of 128 bytes, which
    /// begin at multiples of 1024 bytes. Its terms lie along those rows, 32 bytes to an instruction; or, for 16-bit elements,
    /// down the columns, and then whole atoms lie beside each other along its rows (of A) or columns (of B).
    pub(super) fn warpgroup_product(&mut self, id: OpId, op: &OpData, [m, n, k]: [usize; 3], want_a: &Dist) {
        let bytes = self.k.ty(op.operands[1]).dtype().map_or(4, |d| d.bits() / 8);
        let depth = TERM_BYTES / bytes;
        if m != 16 * self.warps || n % 8 != 0 || n > 256 || k % depth != 0 {
            return self.wrong(id, format!("a product of {m}×{n}×{k} by warpgroups of {} warps", self.warps));
        }
        // The axis of each operand along which its terms lie, and how many elements it has along the other one for one instruction.
        for (v, terms, others) in [(op.operands[1], 1, 64), (op.operands[2], 0, n)] {
            if self.is_tile(v) && terms == 1 {
                match self.a.kept.get(&v) {
                    Some(at) => self.kept(id, v, *at),
                    None => self.need(id, v, want_a, "a product's first operand"),
                }
                continue;
            }
            let Some(part) = self.staged(v) else {
                self.wrong(
                    id,
                    format!("{} is an operand of a warpgroup's product and not a staged tile", self.name(v)),
                );
                continue;
            };
            let OpKind::RingWait(parts) = &self.k.op(part.wait).kind else { continue };
            let stored = &parts[part.number];
            if !stored.offset.is_multiple_of(SWIZZLE_ATOM) || !self.slots_aligned {
                let text =
                    format!("{} is swizzled and doesn't begin at a multiple of {SWIZZLE_ATOM} bytes", self.name(v));
                self.wrong(id, text);
            }
            let along_rows = (terms == 1) != part.turned;
            let [row, column] = part.start;
            let sound = if along_rows {
                row % 8 == 0 && (column * bytes).is_multiple_of(TERM_BYTES)
            } else {
                let atom = ATOM_ROW / bytes;
                bytes == 2 && row % 8 == 0 && column.is_multiple_of(atom) && others.is_multiple_of(atom)
            };
            if !sound || stored.shape[0] % 8 != 0 || !(stored.shape[1] * bytes).is_multiple_of(ATOM_ROW) {
                let text = format!("no descriptor describes {} as an operand of a warpgroup's product", self.name(v));
                self.wrong(id, text);
            }
        }
    }

    /// An operand that is kept in shared memory: someone holds all of it, it begins where an atom may, its rows are whole rows of
    /// atoms, and no other one lies there.
    fn kept(&mut self, id: OpId, v: ValueId, at: usize) {
        let Type::Tile(d, shape) = self.k.ty(v) else { return };
        let (row, rows) = (shape[1] * d.bits() / 8, shape[0]);
        let size = |k: &Kernel, v: ValueId| {
            k.ty(v).shape().iter().product::<usize>() * k.ty(v).dtype().map_or(0, |d| d.bits()) / 8
        };
        let end = at + size(self.k, v);
        let overlaps = self.a.kept.iter().any(|(w, b)| *w != v && *b < end && at < *b + size(self.k, *w));
        let whole = self.native(v).is_some_and(|d| !d.is_partial());
        if !whole || overlaps || !at.is_multiple_of(SWIZZLE_ATOM) || !row.is_multiple_of(ATOM_ROW) || rows % 8 != 0 {
            let text = format!("{} can't be kept at byte {at} for a warpgroup's product", self.name(v));
            self.wrong(id, text);
        }
    }

    /// What a view in shared memory is a part of.
    fn staged(&self, v: ValueId) -> Option<Part> {
        let id = self.defs[v.index()]?;
        let op = self.k.op(id);
        match &op.kind {
            OpKind::RingWait(_) => {
                let number = op.results.iter().position(|r| *r == v)?;
                Some(Part { wait: id, number, start: [0, 0], turned: false })
            }
            OpKind::Transpose => self.staged(op.operands[0]).map(|p| Part { turned: !p.turned, ..p }),
            OpKind::Slice(at) => self.staged(op.operands[0]).map(|p| {
                let (row, column) = if p.turned { (at[1], at[0]) } else { (at[0], at[1]) };
                Part { start: [p.start[0] + row, p.start[1] + column], ..p }
            }),
            _ => None,
        }
    }
}

/// A part of a staged tile: which of which wait, where it begins in storage, and whether it is a transpose.
struct Part {
    wait: OpId,
    number: usize,
    start: [usize; 2],
    turned: bool,
}
