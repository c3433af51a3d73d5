//! Explicit roles: `Ring`, its slots and views, `role`, and how a kernel's bodies are made of them.
//!
//! Rings, slots and views are handles: values without a type, which no op of the IR takes. Fills are collected until the commit, which
//! becomes one fill of the ring. A kernel with roles leaves the builder at [`Stage::Specialised`]: what stands before the roles is
//! copied into both bodies, and each keeps what it needs.

use super::ops::Index;
use super::{Arg, Cx, TypeSpec, Val};
use crate::diag::pointing;
use crate::dtype::DType;
use crate::ir::{
    self, Access, BinaryOp, BlockId, Literal, OpData, OpId, OpKind, RingPart, Role, RoleResources, Stage, Type,
    ValueId, slot_layout,
};
use crate::span::Span;
use std::collections::HashMap;

/// What a handle stands for, an index into the list of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handle {
    Ring(usize),
    Slot(usize),
    View(usize),
}

/// Rings, roles and what they hold so far.
#[derive(Debug, Default)]
pub(super) struct Roles {
    handles: HashMap<ValueId, Handle>,
    rings: Vec<Ring>,
    slots: Vec<Slot>,
    views: Vec<View>,
    written: Vec<Written>,
    /// The role that is being staged.
    current: Option<usize>,
}

#[derive(Debug)]
struct Ring {
    parts: Vec<RingPart>,
}

#[derive(Debug)]
struct Slot {
    ring: usize,
    taken: Span,
    block: BlockId,
    /// Array and offsets of each part filled so far.
    fills: Vec<Vec<Val>>,
    ranks: Vec<usize>,
    committed: bool,
}

#[derive(Debug)]
struct View {
    tiles: Vec<Val>,
    taken: Span,
    block: BlockId,
    released: Option<Span>,
}

/// A role as written.
#[derive(Debug)]
struct Written {
    name: String,
    warps: usize,
    registers: usize,
    span: Span,
    block: BlockId,
    /// Where it first takes a slot to fill.
    fills: Option<Span>,
    /// Where it first waits for a slot.
    waits: Option<Span>,
}

impl Cx {
    /// `Ring::<parts>::new::<slots>()`.
    pub fn ring(&mut self, span: Span, parts: &[TypeSpec], slots: usize) -> Val {
        let mut shapes = Vec::new();
        for spec in parts {
            let dtype = spec.dtype.unwrap_or(DType::F32);
            let bytes = dtype.bytes(spec.shape.iter().product());
            if spec.shape.len() != 2 || bytes == 0 || bytes % 16 != 0 {
                let message = format!(
                    "a part of {:?} {dtype} has {bytes} bytes: two axes and a multiple of 16 bytes are needed",
                    spec.shape
                );
                self.error(span, "E10", message, &["choose extents that make whole blocks of 16 bytes".into()]);
            }
            shapes.push((dtype, spec.shape.clone()));
        }
        let parts = slot_layout(&shapes);
        let bytes = parts.iter().map(|p| p.offset + p.bytes()).max().unwrap_or(0);
        if bytes > ir::MAX_SLOT_BYTES {
            let message =
                format!("the slots of this ring take {bytes} bytes, a ring slot can have {}", ir::MAX_SLOT_BYTES);
            self.error(span, "E21", message, &["stage smaller tiles in each slot".into()]);
        }
        let resources = &mut self.kernel.resources;
        match (resources.slots, slots) {
            (_, 0) => {}
            (0, n) => (resources.slots, resources.slots_span) = (n, span),
            (have, n) if have != n => {
                let notes = [
                    self.points("the other ring is here", self.kernel.resources.slots_span),
                    "one ring of the program carries both: give them the same number, or 0".to_owned(),
                ];
                self.error(span, "E30", format!("this ring has {n} slots, another of this kernel {have}"), &notes);
            }
            _ => {}
        }
        self.roles.rings.push(Ring { parts });
        let ring = Handle::Ring(self.roles.rings.len() - 1);
        self.handle(ring)
    }

    /// `role(name, warps, registers, || body)`; `size` is warps and registers.
    pub fn role(&mut self, span: Span, name: &str, size: (usize, usize), body: impl FnOnce(&mut Cx)) {
        if self.roles.current.is_some() || self.block != self.kernel.bodies[0].1 {
            let fix = "write roles in the kernel's outermost block".to_owned();
            self.error(span, "E33", "a role stands in another role, a loop or a condition", &[fix]);
            return;
        }
        let block = self.kernel.add_block();
        let (warps, registers) = size;
        let name = name.to_owned();
        self.roles.written.push(Written { name, warps, registers, span, block, fills: None, waits: None });
        self.roles.current = Some(self.roles.written.len() - 1);
        let outer = std::mem::replace(&mut self.block, block);
        body(self);
        self.block = outer;
        self.roles.current = None;
    }

    /// `view.get()`.
    pub fn tiles<const N: usize>(&mut self, span: Span, view: Val) -> [Val; N] {
        let tiles = match self.handle_of(view) {
            Some(Handle::View(v)) => self.roles.views[v].tiles.clone(),
            _ => Vec::new(),
        };
        match <[Val; N]>::try_from(tiles) {
            Ok(tiles) => tiles,
            // An earlier error made no view of it; rustc has checked the number of tiles.
            Err(_) if !self.errors.is_empty() => std::array::from_fn(|_| self.poison()),
            Err(_) => {
                let wrong = self.error(
                    span,
                    "E24",
                    "the tiles of something that is no view",
                    &["call `ring.wait()` first".into()],
                );
                [wrong; N]
            }
        }
    }

    /// A method of a ring, a slot or a view; `None` for other values.
    pub(super) fn handle_method(&mut self, span: Span, recv: Val, name: &str, args: &[Arg]) -> Option<Val> {
        let handle = self.handle_of(recv)?;
        Some(match (handle, name, args) {
            (Handle::Ring(r), "acquire", []) => self.acquire(span, r),
            (Handle::Ring(r), "wait", []) => self.wait(span, r),
            (Handle::Slot(s), "fill" | "fill_at", [from, at]) => {
                let by = if name == "fill" { Index::Tile } else { Index::Element };
                let from = self.lift(span, from.clone());
                self.fill(span, s, from, at.clone(), by);
                recv
            }
            (Handle::Slot(s), "commit", []) => {
                self.commit(span, s);
                self.poison()
            }
            (Handle::View(v), "release", []) => {
                self.release(span, v);
                self.poison()
            }
            (Handle::View(_), "get", []) => self.error(
                span,
                "E01",
                "the tiles of a view that has no `let` of its own",
                &["write `let v = ring.wait();`, then `v.get()`".into()],
            ),
            _ => self.error(
                span,
                "E01",
                format!("a ring, slot or view has no method `{name}` with these arguments"),
                &["rings have `acquire` and `wait`, slots `fill` and `commit`, views `get` and `release`".into()],
            ),
        })
    }

    /// A slot or view that a loop or condition would have to hand on.
    pub(super) fn refuse_handles(&mut self, span: Span, carried: &[Val]) {
        if carried.iter().any(|v| self.handle_of(*v).is_some()) {
            let fix = "take and end each slot in one block".to_owned();
            self.error(span, "E24", "a slot or view is assigned in a loop or condition", &[fix]);
        }
    }

    fn handle(&mut self, handle: Handle) -> Val {
        let v = self.poison();
        self.roles.handles.insert(v.0, handle);
        v
    }

    fn handle_of(&self, v: Val) -> Option<Handle> {
        self.roles.handles.get(&v.0).copied()
    }

    /// A note that points at another place of the kernel.
    fn points(&self, what: &str, span: Span) -> String {
        pointing(what, self.kernel.files.get(span.file as usize).map_or("", String::as_str), span)
    }

    /// The role that is being staged, which does `what` with a slot.
    fn current(&mut self, span: Span, what: &str) -> Option<usize> {
        if self.roles.current.is_none() {
            let fix = format!("{what} it inside of `role(…)`");
            self.error(span, "E33", "a slot is taken outside of any role", &[fix]);
        }
        self.roles.current
    }

    fn acquire(&mut self, span: Span, ring: usize) -> Val {
        let Some(role) = self.current(span, "fill") else { return self.poison() };
        self.roles.written[role].fills.get_or_insert(span);
        if let Some(open) = self.roles.slots.iter().find(|s| !s.committed && s.block == self.block) {
            let notes = [self.points("the other slot is taken here", open.taken), "commit it first".to_owned()];
            return self.error(span, "E24", "a slot is taken while another is not committed yet", &notes);
        }
        let slot =
            Slot { ring, taken: span, block: self.block, fills: Vec::new(), ranks: Vec::new(), committed: false };
        self.roles.slots.push(slot);
        self.handle(Handle::Slot(self.roles.slots.len() - 1))
    }

    fn fill(&mut self, span: Span, slot: usize, from: Val, at: Arg, by: Index) {
        if !self.same_block(span, self.roles.slots[slot].block, self.roles.slots[slot].taken, "filled") {
            return;
        }
        let Slot { ring, ref fills, .. } = self.roles.slots[slot];
        let parts = &self.roles.rings[ring].parts;
        let (number, count) = (fills.len(), parts.len());
        let Some(part) = parts.get(number).cloned() else {
            self.error(
                span,
                "E24",
                format!("a slot of {count} parts is filled {} times", number + 1),
                &["fill each part once".into()],
            );
            return;
        };
        // A part that can't be filled counts as filled, so that one mistake is reported once.
        let mut operands = vec![from];
        let mut rank = 2;
        match *self.ty(from) {
            Type::Global(dtype, r, access) => {
                rank = r;
                if dtype != part.dtype {
                    let message =
                        format!("part {number} of the slot has elements of {}, the array of {dtype}", part.dtype);
                    self.error(
                        span,
                        "E04",
                        message,
                        &["fill parts in the order in which the ring's type names them".into()],
                    );
                } else if r < 2 {
                    self.error(
                        span,
                        "E03",
                        "a tile with 2 axes from an array with 1",
                        &["give the array two axes".into()],
                    );
                } else if let Some(offsets) =
                    self.offsets(span, from, at, (by == Index::Tile).then_some(&part.shape[..]))
                {
                    if access == Access::Weight && by == Index::Element {
                        self.whole_tiles(span, &offsets, &part.shape);
                    }
                    operands.extend(offsets);
                }
            }
            Type::Error => {}
            ref other => {
                let message = format!("a slot is filled from an array, this is {other}");
                self.error(span, "E03", message, &["name a `&Global` or `&Weight` parameter".into()]);
            }
        }
        self.roles.slots[slot].fills.push(operands);
        self.roles.slots[slot].ranks.push(rank);
    }

    /// Weights are stored tile by tile: element offsets must be known to be multiples of the tile.
    fn whole_tiles(&mut self, span: Span, offsets: &[Val], shape: &[usize]) {
        let lead = offsets.len() - shape.len();
        for (axis, (v, n)) in offsets[lead..].iter().zip(shape).enumerate() {
            if !self.is_multiple(v.0, *n) {
                let message = format!(
                    "a weight is filled in whole tiles: offset {} is not known to be a multiple of {n}",
                    lead + axis
                );
                self.error(span, "E12", message, &["use `fill`, which counts tiles".into()]);
            }
        }
    }

    fn is_multiple(&self, v: ValueId, n: usize) -> bool {
        let Some(op) = self.kernel.ops.iter().rev().find(|op| op.results.contains(&v)) else { return n == 1 };
        let any = |test: &dyn Fn(&ValueId) -> bool| op.operands.iter().any(test);
        match op.kind {
            _ if n == 1 => true,
            OpKind::Const(Literal::I32(c)) => c as i64 % n as i64 == 0,
            OpKind::Binary(BinaryOp::Mul) => any(&|x| self.is_multiple(*x, n)),
            OpKind::Binary(BinaryOp::Add | BinaryOp::Sub) => op.operands.iter().all(|x| self.is_multiple(*x, n)),
            _ => false,
        }
    }

    fn commit(&mut self, span: Span, slot: usize) {
        if !self.same_block(span, self.roles.slots[slot].block, self.roles.slots[slot].taken, "committed") {
            self.roles.slots[slot].committed = true;
            return;
        }
        let Slot { ring, taken, fills, ranks, .. } = &self.roles.slots[slot];
        let (taken, count) = (*taken, fills.len());
        let operands: Vec<Val> = fills.iter().flatten().copied().collect();
        let mut parts = self.roles.rings[*ring].parts.clone();
        parts.iter_mut().zip(ranks).for_each(|(p, r)| p.rank = *r);
        self.roles.slots[slot].committed = true;
        if count < parts.len() {
            let notes = [self.points("the slot is taken here", taken), "fill every part".to_owned()];
            self.error(
                span,
                "E24",
                format!("a slot of {} parts is committed with {count} filled", parts.len()),
                &notes,
            );
        } else if !operands.iter().any(|v| self.is_poison(*v)) {
            self.push(taken, OpKind::RingFill(parts), &operands, &[]);
        }
    }

    fn wait(&mut self, span: Span, ring: usize) -> Val {
        let Some(role) = self.current(span, "wait for") else { return self.poison() };
        self.roles.written[role].waits.get_or_insert(span);
        let parts = self.roles.rings[ring].parts.clone();
        let types: Vec<Type> = parts.iter().map(|p| Type::Smem(p.dtype, p.shape.clone())).collect();
        let tiles = self.push(span, OpKind::RingWait(parts), &[], &types);
        self.roles.views.push(View { tiles, taken: span, block: self.block, released: None });
        self.handle(Handle::View(self.roles.views.len() - 1))
    }

    fn release(&mut self, span: Span, view: usize) {
        let View { ref tiles, taken, block, released } = self.roles.views[view];
        let tiles = tiles.clone();
        if let Some(first) = released {
            let notes = [self.points("it is released here", first), "release it once".to_owned()];
            self.error(span, "E24", "a view is released twice", &notes);
            return;
        }
        self.roles.views[view].released = Some(span);
        if self.same_block(span, block, taken, "released") {
            self.push(span, OpKind::RingRelease, &tiles, &[]);
        }
    }

    fn same_block(&mut self, span: Span, block: BlockId, taken: Span, what: &str) -> bool {
        if self.block != block {
            let notes = [
                self.points("it is taken here", taken),
                "take and end each slot in one block, so that it happens once on every way through the kernel"
                    .to_owned(),
            ];
            self.error(
                span,
                "E24",
                format!("a slot is {what} under a loop or condition that it was not taken in"),
                &notes,
            );
        }
        self.block == block
    }

    /// Makes the bodies out of what stands before the roles and the roles themselves. A kernel without roles stays as it is.
    pub(super) fn split_roles(&mut self) {
        self.check_ends();
        let Some((producer, consumer)) = self.assign_roles() else { return };
        self.check_outside(producer, consumer);
        if !self.errors.is_empty() {
            return;
        }
        let resources = |r: &Written, role: Role| {
            let Written { name, warps, registers, span, .. } = r;
            RoleResources { role, name: name.clone(), warps: *warps, registers: *registers, span: *span }
        };
        let shared = self.kernel.bodies[0].1;
        let copies = self.kernel.add_block();
        let mut values = HashMap::new();
        ir::copy_ops(&mut self.kernel, shared, copies, &mut values);
        if let Some(p) = producer {
            ir::copy_ops(&mut self.kernel, self.roles.written[p].block, copies, &mut values);
            self.kernel.resources.roles.push(resources(&self.roles.written[p], Role::Producer));
        }
        let computes = std::mem::take(&mut self.kernel.blocks[self.roles.written[consumer].block.index()].ops);
        self.kernel.blocks[shared.index()].ops.extend(computes);
        self.kernel.resources.roles.push(resources(&self.roles.written[consumer], Role::Consumer));
        self.kernel.bodies = vec![(Role::Producer, copies), (Role::Consumer, shared)];
        self.kernel.stage = Stage::Specialised;
        ir::prune_roles(&mut self.kernel);
        self.settle_ranks();
        if let Err(found) = ir::check_rings(&self.kernel) {
            self.errors.extend(found.0);
        }
    }

    /// Slots and views that were never ended, those that only staging sees: the macro reports the others.
    fn check_ends(&mut self) {
        let open: Vec<Span> = self.roles.slots.iter().filter(|s| !s.committed).map(|s| s.taken).collect();
        for span in open {
            self.error(
                span,
                "E24",
                "this slot is never committed",
                &["call `.commit()` when all parts are filled".into()],
            );
        }
        let held: Vec<Span> = self.roles.views.iter().filter(|v| v.released.is_none()).map(|v| v.taken).collect();
        for span in held {
            self.error(span, "E24", "this view is never released", &["call `.release()` after the last read".into()]);
        }
    }

    /// Which role fills and which computes. `None` if there are no roles, or none that could be told apart.
    fn assign_roles(&mut self) -> Option<(Option<usize>, usize)> {
        let (mut producer, mut consumer) = (None::<usize>, None::<usize>);
        for i in 0..self.roles.written.len() {
            let Written { span, fills, waits, ref name, .. } = self.roles.written[i];
            let name = name.clone();
            if let (Some(fill), Some(wait)) = (fills, waits) {
                let notes = [self.points("it waits for a slot here", wait), "give each of the two a role".to_owned()];
                self.error(fill, "E33", format!("role `{name}` both fills the ring and waits for it"), &notes);
                continue;
            }
            let (what, place) =
                if fills.is_some() { ("fills the ring", &mut producer) } else { ("computes", &mut consumer) };
            match *place {
                None => *place = Some(i),
                Some(first) => {
                    let other = &self.roles.written[first];
                    let notes = [
                        self.points(&format!("role `{}` does so too", other.name), other.span),
                        "a program has one role that fills the ring and one that computes: put the two together"
                            .to_owned(),
                    ];
                    self.error(span, "E30", format!("a second role, `{name}`, {what}"), &notes);
                }
            }
        }
        match (producer, consumer) {
            (Some(p), None) if self.errors.is_empty() => {
                let span = self.roles.written[p].span;
                let fix = "write the other role: it waits for the slots, computes and stores".to_owned();
                self.error(span, "E33", "this kernel fills a ring, and no role computes", &[fix]);
                None
            }
            (p, c) => c.map(|c| (p, c)),
        }
    }

    /// Outside of the role that computes nothing may happen that others see, and data is staged through the ring alone.
    fn check_outside(&mut self, producer: Option<usize>, consumer: usize) {
        let shared = self.kernel.bodies[0].1;
        let mut wrong = Vec::new();
        self.kernel.walk_block(shared, &mut |_, op: &OpData| {
            if op.kind.writes_array() {
                wrong.push((op.span, format!("`{}` outside of the roles", op.kind.mnemonic())));
            }
        });
        if let Some(p) = producer {
            // Tile ops too, before those that nothing uses are dropped: what is written here does nothing.
            let is_tile = |v: &ValueId| matches!(self.kernel.ty(*v), Type::Tile(..) | Type::Smem(..));
            self.kernel.walk_block(self.roles.written[p].block, &mut |_, op: &OpData| {
                if op.kind.writes_array()
                    || op.kind.is_debug()
                    || matches!(op.kind, OpKind::Prefetch(_))
                    || op.operands.iter().chain(&op.results).any(is_tile)
                {
                    wrong.push((op.span, format!("`{}` in the role that fills the ring", op.kind.mnemonic())));
                }
            });
        }
        let fix = format!("move it into the role that computes, `{}`", self.roles.written[consumer].name);
        for (span, message) in wrong {
            self.error(span, "E33", message, std::slice::from_ref(&fix));
        }
        let mut staged = Vec::new();
        for block in self.roles.written.iter().map(|w| w.block).chain([shared]) {
            self.kernel.walk_block(block, &mut |_, op: &OpData| {
                if op.kind == OpKind::Stage {
                    staged.push(op.span);
                }
            });
        }
        for span in staged {
            let fix = "fill a slot of a ring in the role that loads, wait for it in the role that computes".to_owned();
            self.error(span, "E33", "`stage` in a kernel with explicit roles", &[fix]);
        }
    }

    /// Gives each wait the ranks of the arrays that its slot is filled from.
    fn settle_ranks(&mut self) {
        let mut fills: Vec<Vec<RingPart>> = Vec::new();
        let mut waits: Vec<OpId> = Vec::new();
        self.kernel.walk(|id, op| match &op.kind {
            OpKind::RingFill(parts) => fills.push(parts.clone()),
            OpKind::RingWait(_) => waits.push(id),
            _ => {}
        });
        for (id, fill) in waits.into_iter().zip(fills) {
            if let OpKind::RingWait(parts) = &mut self.kernel.ops[id.index()].kind {
                parts.iter_mut().zip(fill).for_each(|(w, f)| w.rank = f.rank);
            }
        }
    }
}
