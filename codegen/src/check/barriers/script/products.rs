//! Products that run on their own, and the operands that are kept in shared memory for them.

use super::{Cursor, Kind, Place, Reader, Writer};
use std::ops::Range;
use tile_lang::ir::{OpId, OpKind, Type, ValueId};
use tile_lang::protocol::Action;

/// How far a kept operand is handed on to the products' proxy and to other warps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Written,
    Fenced,
    Ready,
}

/// A product that was started: what it reads until it is waited for.
#[derive(Clone, Debug)]
pub(super) struct Started {
    /// The op of which kernel, and its first term, if the first operand is in registers, which the op writes anew.
    registers: Option<(usize, OpId, usize)>,
    slots: Vec<Cursor>,
    /// Bytes of the area of kept operands.
    kept: Vec<Range<usize>>,
}

impl Writer<'_> {
    /// Where a tile of the kernel at this place is kept, if it is.
    fn place_of_kept(&self, v: ValueId, place: Place) -> Option<Range<usize>> {
        let (Place::Op(kernel, _) | Place::Entry(kernel, _)) = place else { return None };
        self.p.bodies[kernel].kept.get(&v).cloned()
    }

    /// A tile is written to the area of kept operands.
    pub(super) fn keep(&mut self, v: ValueId, place: Place) {
        let Some(bytes) = self.place_of_kept(v, place) else {
            return self.fault("E27", place, "an operand is kept that has no place in shared memory");
        };
        if self.started.iter().flat_map(|s| &s.kept).any(|r| r.start < bytes.end && bytes.start < r.end) {
            self.fault("E28", place, "a kept operand is overwritten while a product that was started reads it");
        }
        self.kept.insert(v, Kept::Written);
        self.step += 1;
        self.push(Kind::Kept { write: true, bytes, step: self.step }, place);
    }

    /// Every warp fences what it wrote for the products' proxy.
    pub(super) fn kept_fenced(&mut self) {
        self.kept.values_mut().filter(|s| **s == Kept::Written).for_each(|s| *s = Kept::Fenced);
    }

    /// All warps have met.
    pub(super) fn kept_met(&mut self) {
        self.kept.values_mut().filter(|s| **s == Kept::Fenced).for_each(|s| *s = Kept::Ready);
    }

    /// A product, or what begins with this term of it, begins to read its operands.
    pub(super) fn start_product(&mut self, first: usize, place: Place) {
        let Place::Op(kernel, op) = place else { return };
        let operands = &self.p.kernels[kernel].op(op).operands;
        let tile = matches!(self.p.kernels[kernel].ty(operands[1]), Type::Tile(..));
        let in_registers = tile && self.place_of_kept(operands[1], place).is_none();
        let registers = in_registers.then_some((kernel, op, first));
        if registers.is_some() && self.started.iter().any(|s| s.registers == registers) {
            let text = "registers of a first operand are written while a product that was started reads them";
            self.fault("E28", place, text);
        }
        let kept: Vec<(ValueId, Range<usize>)> =
            operands.iter().filter_map(|v| Some((*v, self.place_of_kept(*v, place)?))).collect();
        for (v, _) in &kept {
            self.reads_kept(*v, place);
        }
        let slots = operands.iter().filter_map(|v| self.views.get(v)).map(|(_, c)| *c).collect();
        self.started.push(Started { registers, slots, kept: kept.into_iter().map(|(_, bytes)| bytes).collect() });
    }

    /// A product takes a kept operand only when every warp has fenced what it wrote of it, and all have met.
    fn reads_kept(&mut self, v: ValueId, place: Place) {
        match self.kept.get(&v) {
            None => self.fault("E27", place, "a product reads a kept operand that was not written in this work item"),
            Some(Kept::Written) => {
                let text = "a product reads an operand that was written through registers, without `fence.proxy.async` of every warp";
                self.fault("E29", place, text);
            }
            Some(Kept::Fenced) => {
                self.fault("E27", place, "a product reads a kept operand before all warps have met after writing it");
            }
            Some(Kept::Ready) => {}
        }
    }

    /// A slot is given back: no product may still read it.
    pub(super) fn still_read(&mut self, c: Cursor, place: Place) {
        if self.started.iter().flat_map(|s| &s.slots).any(|s| s.slot == c.slot) {
            self.fault("E28", place, "a slot is given back while a product that was started reads it");
        }
    }

    /// All started products but the last ones are over: only now have they read their operands.
    pub(super) fn products_over(&mut self, left: usize, place: Place) {
        let product = matches!(place, Place::Op(k, op) if self.is_product(k, op));
        if product && self.started.is_empty() {
            self.fault("E28", place, "a product is waited for that was not started");
        }
        let over = self.started.len().saturating_sub(left);
        for done in self.started.drain(..over).collect::<Vec<_>>() {
            for c in done.slots {
                self.push(Kind::ReadSlot { slot: c.slot, lap: c.lap, by: Reader::Product }, place);
            }
            for bytes in done.kept {
                self.step += 1;
                self.push(Kind::Kept { write: false, bytes, step: self.step }, place);
            }
        }
    }

    /// Whether an op only starts a product, which then reads its operands by itself.
    pub(super) fn is_started(&self, place: Place) -> bool {
        let Place::Op(kernel, op) = place else { return false };
        self.p.bodies[kernel]
            .actions
            .get(&op)
            .is_some_and(|list| list.iter().any(|a| matches!(a, Action::Start { .. })))
    }

    fn is_product(&self, kernel: usize, op: OpId) -> bool {
        self.p.kernels[kernel].op(op).kind == OpKind::Mma
    }
}
