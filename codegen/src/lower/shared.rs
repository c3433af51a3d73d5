//! Shared memory: the ring's transactions and reads of staged tiles.

use super::actions::{self, Cursor};
use super::body::{Body, Held, SharedTile, register_type};
use super::emit::Ssa;
use super::frame::misplaced;
use super::lanes::{self, ArrayBox};
use super::sync;
use crate::CodegenError;
use crate::layout::Layout;
use crate::protocol::meet;
use crate::target::Copies;
use tile_lang::dtype::DType;
use tile_lang::ir::{Access, OpData, OpId, OpKind, Role, Type};
use tile_lang::packing::{PANEL_BYTES, Packing, TileOrder, fragment_bits};
use tile_lang::protocol::{Action, At, Barrier, Reach, RingId, Side, Who};

impl Body<'_> {
    /// Carries out what a ring op does to the ring.
    pub fn ring_op(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        let Some(list) = self.actions.actions.get(&id) else {
            return self.broken("a ring op without actions");
        };
        let state = self.map.ring_state(self.role);
        let mut cursor = match op.kind {
            OpKind::RingRelease => None,
            _ => Some(Cursor::load(self.e, &state)),
        };
        // Only products by warpgroups ask for the number; ptxas doesn't see that the cursor, carried through loops, is the same in all lanes.
        // Before the wait, which is then the last thing in front of the product.
        if let (OpKind::RingWait(_), Some(cursor)) = (&op.kind, &mut cursor)
            && self.ring[self.ring_at].iter().any(|p| p.order == TileOrder::Swizzled)
        {
            cursor.alike = sync::of_first_lane(self.e, &cursor.index);
        }
        for (i, action) in list.iter().enumerate() {
            self.ring_action(id, op, action, cursor.as_ref())?;
            let copies = |a: Option<&Action>| matches!(a, Some(Action::Copy { .. }));
            if let (true, false, Some(cursor)) = (copies(Some(action)), copies(list.get(i + 1)), &cursor) {
                let full = Barrier { ring: RingId::Tiles, side: Side::Full };
                let full = actions::barrier(self.e, &self.map.address.clone(), full, &cursor.index);
                actions::copies_started(self.e, &full);
            }
        }
        if cursor.is_some() {
            self.ring_at += 1;
        }
        Ok(())
    }

    fn ring_action(
        &mut self,
        id: OpId,
        op: &OpData,
        action: &Action,
        cursor: Option<&Cursor>,
    ) -> Result<(), CodegenError> {
        let shared = self.map.address.clone();
        match (action, cursor) {
            (Action::Wait { barrier, parity }, Some(cursor)) => {
                let address = actions::barrier(self.e, &shared, *barrier, &cursor.index);
                let parity = cursor.parity(self.e, *parity);
                // When the kernel is told to end, a consumer goes on to the end of the instruction with whatever lies in the
                // slot, since control flow never depends on it.
                actions::wait(self.e, self.role, &address, &parity, &self.map.leave.clone());
                Ok(())
            }
            (Action::Expect { barrier, bytes }, Some(cursor)) => {
                let address = actions::barrier(self.e, &shared, *barrier, &cursor.index);
                actions::expect(self.e, &address, *bytes);
                Ok(())
            }
            (Action::Fence(fence, _), _) => {
                actions::fence(self.e, *fence);
                Ok(())
            }
            (Action::Copy { part, bytes, reach, .. }, Some(cursor)) => {
                self.copy_part(op, *part, *bytes, *reach, cursor)
            }
            (Action::Own, Some(cursor)) => self.take_slot(id, op, cursor),
            (Action::Advance(_), Some(cursor)) => {
                cursor.advance(self.e, self.map.slots);
                Ok(())
            }
            (Action::Arrive { barrier, at, who: Who::EachWarp, reach }, _) => {
                let index = match (at, cursor) {
                    (At::TakenBy(wait), _) => self.taken.get(wait).cloned(),
                    (At::Cursor, Some(cursor)) => Some(cursor.index.clone()),
                    (At::Cursor, None) | (At::PutOffBy(_), _) => None,
                };
                let Some(index) = index else { return self.broken("release of an unknown slot") };
                if let At::TakenBy(wait) = at
                    && self.put_off(id, *wait, &index)
                {
                    return Ok(());
                }
                let address = actions::barrier(self.e, &shared, *barrier, &index);
                let reached = if *reach == Reach::Cluster { self.cluster } else { 1 };
                sync::arrive_warp(self.e, &address, &self.thread.clone(), reached, None);
                Ok(())
            }
            (other, _) => Err(misplaced(other)),
        }
    }

    /// Producer: starts the copy of one part of a transaction, or of the `bytes` of it that are this CTA's share.
    fn copy_part(
        &mut self,
        op: &OpData,
        number: usize,
        bytes: usize,
        reach: Reach,
        cursor: &Cursor,
    ) -> Result<(), CodegenError> {
        let OpKind::RingFill(parts) = &op.kind else { return self.broken("a copy outside a fill") };
        let Some(part) = parts.get(number) else { return self.broken("a copy of no part") };
        let at: usize = parts[..number].iter().map(|p| 1 + p.rank).sum();
        let (global, offsets) = (op.operands[at], &op.operands[at + 1..at + 1 + part.rank]);
        let Some(array) = self.arrays.get(&global).cloned() else { return self.broken("a copy from no parameter") };
        let Type::Global(d, _, access) = *self.k.ty(global) else { return self.broken("a copy from no array") };
        let packing = self.ring[self.ring_at][number].clone();
        let mut scalars = offsets.iter().map(|v| self.scalar(*v)).collect::<Result<Vec<_>, _>>()?;
        let size = self.e.i32(self.map.slot_bytes as i64);
        let slot = self.e.bin("mul", &cursor.index, &size, "i32");
        let slot = self.e.bin("add", &self.map.ring_address.clone(), &slot, "i32");
        let target = self.e.add_const(&slot, part.offset as i64);
        let full = Barrier { ring: RingId::Tiles, side: Side::Full };
        let full = actions::barrier(self.e, &self.map.address.clone(), full, &cursor.index);
        let reached = if reach == Reach::Cluster { self.cluster } else { 1 };
        if access == Access::Weight {
            let offset = self.packed_offset(&array.dims, &scalars, d, &packing);
            let source = self.e.offset(&array.pointer, &offset, "i64", 1);
            if reach == Reach::Cta {
                actions::copy(self.e, &target, &source, bytes, &full, &self.thread.clone());
                return Ok(());
            }
            let first = self.share(bytes);
            let target = self.e.bin("add", &target, &first, "i32");
            let source = self.e.offset(&source, &first, "i32", 1);
            actions::copy_to_all(self.e, &target, &source, bytes, &full, reached);
            return Ok(());
        }
        // Elements of 4 bits are copied as bytes, two at a time; what lies two to a byte begins at an even column.
        let ([rows, mut columns], mut dims, mut size) = (packing.tile, array.dims.clone(), d.bits() / 8);
        if d.bits() == 4 {
            (columns, size) = (columns / 2, 1);
            for last in scalars.last_mut().into_iter().chain(dims.last_mut()) {
                let one = self.e.i32(1);
                *last = self.e.bin("ashr", last, &one, "i32");
            }
        }
        if self.e.target.copies == Copies::Lanes {
            let source = ArrayBox { pointer: &array.pointer, dims: &dims, at: &scalars, shape: [rows, columns], size };
            lanes::copy_box(self.e, &target, &source, &self.thread.clone());
            return Ok(());
        }
        let Some(map) = array.map else { return self.broken("a staged array without tensor map") };
        let panel = if packing.order == TileOrder::Swizzled { PANEL_BYTES / size } else { columns };
        let mut target = target;
        if reach == Reach::Cluster {
            // Shares are of rows, in each panel.
            let (row, last) = (self.share(rows / reached), scalars.len() - 2);
            scalars[last] = self.e.bin("add", &scalars[last].clone(), &row, "i32");
            let first = self.share(rows / reached * panel * size);
            target = self.e.bin("add", &target, &first, "i32");
        }
        for first in (0..columns).step_by(panel) {
            let mut at = scalars.clone();
            if let Some(column) = at.last_mut() {
                *column = self.e.add_const(column, first as i64);
            }
            let target = self.e.add_const(&target, (first * rows * size) as i64);
            actions::tensor_copy(self.e, &target, &map, &at, &full, reached);
        }
        Ok(())
    }

    /// Where this CTA's share begins, of shares of `each`: its rank in the cluster times that.
    fn share(&mut self, each: usize) -> Ssa {
        let rank = self.e.entry(|e| e.op("nvvm.read.ptx.sreg.cluster.ctarank : i32"));
        self.e.mul_const(&rank, each as i64)
    }

    /// Byte offset of a tile in a packed weight; offsets count elements and are multiples of the tile.
    fn packed_offset(&mut self, dims: &[Ssa], offsets: &[Ssa], d: DType, packing: &Packing) -> Ssa {
        let n = dims.len();
        let mut linear: Option<Ssa> = None;
        for axis in 0..n {
            let (extent, index) = if axis + 2 >= n {
                let tile = packing.tile[axis + 2 - n] as i64;
                let up = self.e.add_const(&dims[axis], tile - 1);
                let by = self.e.i32(tile);
                (self.e.bin("udiv", &up, &by, "i32"), self.e.bin("udiv", &offsets[axis], &by, "i32"))
            } else {
                (dims[axis].clone(), offsets[axis].clone())
            };
            let extent = self.e.op(&format!("llvm.zext {extent} : i32 to i64"));
            let index = self.e.op(&format!("llvm.zext {index} : i32 to i64"));
            linear = Some(match linear {
                None => index,
                Some(l) => {
                    let scaled = self.e.bin("mul", &l, &extent, "i64");
                    self.e.bin("add", &scaled, &index, "i64")
                }
            });
        }
        let bytes = self.e.i64(d.bytes(packing.tile[0] * packing.tile[1]) as i64);
        let linear = linear.unwrap_or_else(|| self.e.i64(0));
        self.e.bin("mul", &linear, &bytes, "i64")
    }

    /// Consumer: the parts of the slot under the cursor become tiles in shared memory.
    fn take_slot(&mut self, id: OpId, op: &OpData, cursor: &Cursor) -> Result<(), CodegenError> {
        let OpKind::RingWait(parts) = &op.kind else { return self.broken("tiles of something that is no wait") };
        let slot = self.e.i32(self.map.slot_bytes as i64);
        let offset = self.e.bin("mul", &cursor.index, &slot, "i32");
        let ring = self.map.ring_base.clone();
        let base = self.e.offset(&ring, &offset, "i32", 3);
        let offset = self.e.bin("mul", &cursor.alike, &slot, "i32");
        let address = self.e.bin("add", &self.map.ring_address.clone(), &offset, "i32");
        for (number, (part, v)) in parts.iter().zip(&op.results).enumerate() {
            let tile = SharedTile {
                base: self.e.offset_const(&base, part.offset, 3),
                address: self.e.add_const(&address, part.offset as i64),
                dtype: part.dtype,
                packing: self.ring[self.ring_at][number].clone(),
                offset: [0, 0],
                transposed: false,
            };
            self.shared.insert(*v, tile);
        }
        self.taken.insert(id, cursor.index.clone());
        Ok(())
    }

    pub fn read_tile(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let (Some(tile), Some(layout)) =
            (self.shared.get(&op.operands[0]).cloned(), self.layouts.native.get(&op.results[0]).cloned())
        else {
            return self.broken("a read of something that is not in shared memory");
        };
        let held = self.read_shared(&tile, &layout)?;
        self.define(op.results[0], held)
    }

    /// The registers of a tile, or part of one, in shared memory.
    pub fn read_shared(&mut self, tile: &SharedTile, layout: &Layout) -> Result<Held, CodegenError> {
        if tile.packing.order == TileOrder::Swizzled {
            return self.broken("a read of a swizzled tile, which only products by warpgroups take");
        }
        let d = tile.dtype;
        // Position in elements that each coordinate bit contributes; storage orders are sums over bits.
        let weight = |axis: u8, bit: u8| -> usize {
            let row = (axis == 0) != tile.transposed;
            position_of_bit(&tile.packing, d, row, bit)
        };
        let start = tile.packing.position(d, tile.offset[0], tile.offset[1]);
        let thread_terms: Vec<(usize, usize)> = layout
            .lane
            .iter()
            .chain(&layout.warp)
            .enumerate()
            .filter_map(|(i, b)| b.map(|(axis, bit)| (i, weight(axis, bit))))
            .collect();
        let registers: Vec<usize> = layout.reg.iter().map(|(axis, bit)| weight(*axis, *bit)).collect();
        let position = |r: usize| start + registers.iter().enumerate().map(|(i, w)| ((r >> i) & 1) * w).sum::<usize>();
        let most = 128 / d.bits();
        let neighbours = (0..).take_while(|i| registers.contains(&(1 << i))).count();
        let mut vector = (1usize << neighbours).min(most);
        // An access of w elements needs every other contribution to be a multiple of w.
        let aligned = |w: usize| {
            start.is_multiple_of(w)
                && thread_terms.iter().all(|(_, t)| t % w == 0)
                && registers.iter().all(|t| *t < w || t % w == 0)
        };
        while vector > 1 && !aligned(vector) {
            vector /= 2;
        }
        if d.bits() == 4 {
            return self.read_nibbles(tile, layout, &thread_terms, &position, vector);
        }
        let size = d.bits() / 8;
        let byte_terms: Vec<(usize, usize)> = thread_terms.iter().map(|(i, t)| (*i, t * size)).collect();
        let thread = self.thread.clone();
        let offset = self.thread_sum(&thread, &byte_terms);
        let base = self.e.offset(&tile.base, &offset, "i32", 3);
        let ty = if d == DType::Bool { "i8" } else { register_type(d) };
        let mut out = vec![Ssa::new(); layout.registers()];
        for r in 0..layout.registers() {
            if !out[r].is_empty() {
                continue;
            }
            let first = position(r) / vector * vector;
            let pointer = self.e.offset_const(&base, first * size, 3);
            let bytes = vector * size;
            let vector_ty = format!("vector<{vector}x{ty}>");
            let loaded = if vector == 1 {
                self.e.load(&pointer, ty, size, 3)
            } else if bytes >= 4 {
                // Whole words, then elements out of them: the back end keeps these as one wide load.
                let words = if bytes == 4 { "i32".to_owned() } else { format!("vector<{}xi32>", bytes / 4) };
                let raw = self.e.load(&pointer, &words, bytes, 3);
                self.e.bitcast(&raw, &words, &vector_ty)
            } else {
                self.e.load(&pointer, &vector_ty, bytes, 3)
            };
            for (other, slot) in out.iter_mut().enumerate().skip(r) {
                let at = position(other);
                if at / vector * vector == first && slot.is_empty() {
                    let v = if vector == 1 { loaded.clone() } else { self.e.extract(&loaded, at - first, &vector_ty) };
                    *slot = if d == DType::Bool { self.e.op(&format!("llvm.trunc {v} : i8 to i1")) } else { v };
                }
            }
        }
        Ok(Held::Elements(out))
    }

    fn read_nibbles(
        &mut self,
        tile: &SharedTile,
        layout: &Layout,
        thread_terms: &[(usize, usize)],
        position: &dyn Fn(usize) -> usize,
        vector: usize,
    ) -> Result<Held, CodegenError> {
        if vector < 8 {
            return Ok(self.read_single_nibbles(tile, layout, thread_terms, position));
        }
        let byte_terms: Vec<(usize, usize)> = thread_terms.iter().map(|(i, t)| (*i, t / 2)).collect();
        let thread = self.thread.clone();
        let offset = self.thread_sum(&thread, &byte_terms);
        let base = self.e.offset(&tile.base, &offset, "i32", 3);
        let mut words: Vec<(usize, Vec<Ssa>)> = Vec::new();
        let mut out = Vec::with_capacity(layout.registers());
        for r in 0..layout.registers() {
            let at = position(r);
            let first = at / vector * vector;
            if !words.iter().any(|(f, _)| *f == first) {
                let pointer = self.e.offset_const(&base, first / 2, 3);
                let count = vector / 8;
                let ty = if count == 1 { "i32".to_owned() } else { format!("vector<{count}xi32>") };
                let raw = self.e.load(&pointer, &ty, vector / 2, 3);
                let list =
                    if count == 1 { vec![raw] } else { (0..count).map(|i| self.e.extract(&raw, i, &ty)).collect() };
                words.push((first, list));
            }
            let Some((_, list)) = words.iter().find(|(f, _)| *f == first) else {
                return self.broken("a word went missing");
            };
            out.push((list[(at - first) / 8].clone(), ((at - first) % 8) as u8));
        }
        Ok(Held::Nibbles(out))
    }

    /// 4-bit codes that lie in no common word: a byte each, of which the thread takes the half that its position says.
    fn read_single_nibbles(
        &mut self,
        tile: &SharedTile,
        layout: &Layout,
        thread_terms: &[(usize, usize)],
        position: &dyn Fn(usize) -> usize,
    ) -> Held {
        let thread = self.thread.clone();
        let own = self.thread_sum(&thread, thread_terms);
        let mut out = Vec::with_capacity(layout.registers());
        for r in 0..layout.registers() {
            let at = self.e.add_const(&own, position(r) as i64);
            let one = self.e.i32(1);
            let byte = self.e.bin("lshr", &at, &one, "i32");
            let pointer = self.e.offset(&tile.base, &byte, "i32", 3);
            let raw = self.e.load(&pointer, "i8", 1, 3);
            out.push((self.nibble_of(&raw, &at), 0));
        }
        Held::Nibbles(out)
    }

    /// The 4-bit code of an element in the low bits of a word, from its byte and its position.
    pub fn nibble_of(&mut self, byte: &Ssa, position: &Ssa) -> Ssa {
        let (one, four, mask) = (self.e.i32(1), self.e.i32(4), self.e.i32(15));
        let word = self.e.op(&format!("llvm.zext {byte} : i8 to i32"));
        let odd = self.e.bin("and", position, &one, "i32");
        let by = self.e.bin("mul", &odd, &four, "i32");
        let moved = self.e.bin("lshr", &word, &by, "i32");
        self.e.bin("and", &moved, &mask, "i32")
    }

    /// All consumer threads meet; what they wrote before is seen after it.
    pub fn barrier(&mut self) {
        if self.role == Role::Consumer {
            self.meets_in_turn();
            let meeting = meet(self.warps);
            if let Action::Meet { id, threads } = meeting {
                actions::meet(self.e, id, threads);
            }
            self.notes.note(meeting);
            self.written.clear();
            self.read.clear();
        }
    }
}

/// What one bit of a row or column contributes to an element's position.
fn position_of_bit(packing: &Packing, d: DType, row: bool, bit: u8) -> usize {
    match packing.order {
        TileOrder::RowMajor if row => packing.tile[1] << bit,
        // No sum over bits gives a swizzled position; such tiles aren't read.
        TileOrder::RowMajor | TileOrder::Swizzled => 1 << bit,
        TileOrder::Fragment { wide } => {
            let width = 16usize << wide;
            if let Some(i) = fragment_bits(d, wide).iter().position(|b| *b == (row, bit)) {
                1 << i
            } else if row {
                (1usize << bit) / 16 * (packing.tile[1] / width) * 16 * width
            } else {
                (1usize << bit) / width * 16 * width
            }
        }
    }
}
