//! Gives every register tile a layout.
//!
//! Products fix the layouts of their operands and results; loads take the layout that their first user wants; elementwise
//! ops follow their operands; values made from scalars alone (splats, indices, broadcasts) have none of their own and are
//! made wherever they are wanted. Where a value is wanted in another layout than it has, the conversion is recorded as a
//! demand beside it and emitted once, right after its definition. Loop-carried values take the layout that the loop's end gives them, found
//! by repeating until nothing changes.

use super::descriptor::ATOM_BYTES;
use super::warpgroup::{self, Warpgroups};
use super::{Layout, MmaSplit, consumer_warps, pack_of, parts};
use crate::schedule::{pinned_inflight, pinned_splits, pinned_turns};
use crate::target::Target;
use std::collections::{BTreeMap, HashMap, HashSet};
use tile_lang::dtype::DType;
use tile_lang::ir::{Access, BinaryOp, BlockId, Kernel, OpData, OpId, OpKind, TernaryOp, Type, UnaryOp, ValueId};

/// The warp split of each product.
pub type Split = HashMap<OpId, MmaSplit>;

/// The result.
#[derive(Clone, Debug, Default)]
pub struct Assignment {
    /// Own layout of each register tile; none for values that are made where they are wanted.
    pub native: HashMap<ValueId, Layout>,
    /// Further layouts in which a value is wanted.
    pub demands: HashMap<ValueId, Vec<Layout>>,
    /// Warp split of each product.
    pub splits: Split,
    /// Staged tiles that are read as a product's first operand and come from a weight: they may be stored as fragments.
    pub fragments: HashSet<ValueId>,
    /// Products that whole warpgroups carry out.
    pub warpgroups: HashSet<OpId>,
    /// How many products may run after each of these was started, as schedules pin it; the others are waited for at once.
    pub inflight: HashMap<OpId, usize>,
    /// Products that warpgroups start in turns, as schedules pin it.
    pub turns: HashSet<OpId>,
    /// Staged tiles that only those read: they are stored swizzled.
    pub swizzled: HashSet<ValueId>,
    /// First operands of those products that are made in registers before a loop and kept in shared memory for it, swizzled too:
    /// where they lie in the area of kept operands.
    pub kept: BTreeMap<ValueId, usize>,
    /// Tiles that are made part by part at the product by warpgroups whose first operand they are, or are made into there.
    pub in_parts: HashSet<ValueId>,
}

/// Assigns layouts to the tiles of one body; which products warpgroups carry out depends on the target.
pub fn assign(kernel: &Kernel, body: BlockId, target: &Target) -> Assignment {
    let uses = uses(kernel, body);
    let (pinned, warps) = (pinned_splits(kernel), consumer_warps(kernel));
    let found = if target.wgmma { warpgroup::find(kernel, body, &uses, &pinned) } else { Warpgroups::default() };
    let Warpgroups { products, swizzled, kept } = found;
    let kept = kept.into_iter().map(|v| (v, 0)).collect();
    let (inflight, turns) = (pinned_inflight(kernel), pinned_turns(kernel));
    let out = Assignment { warpgroups: products, swizzled, inflight, turns, kept, ..Assignment::default() };
    let mut a = Assigner { k: kernel, uses, out, defs: kernel.definitions(), pinned, warps, round: 0 };
    loop {
        let before = a.out.native.clone();
        a.out.demands.clear();
        a.block(body);
        if a.out.native == before {
            break;
        }
        a.round += 1;
    }
    a.fragments(body);
    a.place_kept();
    a.out.in_parts = parts::find(kernel, body, &a.uses, &a.out, warps);
    a.out
}

/// Rounds after which carried values keep their layouts, so that two that follow each other's come to rest.
const MOVING_ROUNDS: usize = 8;

struct Assigner<'k> {
    k: &'k Kernel,
    /// How often the body was gone through.
    round: usize,
    uses: HashMap<ValueId, Vec<OpId>>,
    defs: Vec<Option<OpId>>,
    out: Assignment,
    /// Splits that the schedule pins.
    pinned: Split,
    /// Consumer warps.
    warps: usize,
}

fn uses(k: &Kernel, body: BlockId) -> HashMap<ValueId, Vec<OpId>> {
    let mut out: HashMap<ValueId, Vec<OpId>> = HashMap::new();
    fn go(k: &Kernel, b: BlockId, out: &mut HashMap<ValueId, Vec<OpId>>) {
        for &id in &k.block(b).ops {
            for v in &k.op(id).operands {
                out.entry(*v).or_default().push(id);
            }
            for &inner in &k.op(id).blocks {
                go(k, inner, out);
            }
        }
    }
    go(k, body, &mut out);
    out
}

impl Assigner<'_> {
    fn is_tile(&self, v: ValueId) -> bool {
        matches!(self.k.ty(v), Type::Tile(..))
    }

    fn block(&mut self, block: BlockId) {
        for &id in &self.k.block(block).ops {
            let op = self.k.op(id).clone();
            self.op(id, &op);
        }
    }

    fn op(&mut self, id: OpId, op: &OpData) {
        match &op.kind {
            // 4-bit elements in an array are read in pairs.
            OpKind::Load if self.element(op.results[0]) == DType::E2m1 => {
                self.set(op.results[0], Layout::pairs(self.k.ty(op.results[0]).shape(), self.warps));
            }
            OpKind::Read | OpKind::Load => {
                let v = op.results[0];
                // A value that moves in circles stays where it is.
                let kept = if self.round < MOVING_ROUNDS { None } else { self.native(v) };
                let layout = kept.or_else(|| self.wanted(v, 0));
                self.set(v, layout.unwrap_or_else(|| Layout::blocked(self.k.ty(v).shape(), self.warps)));
            }
            kind if kind.is_elementwise() => self.elementwise(op),
            OpKind::Transpose if self.is_tile(op.results[0]) => {
                if let Some(l) = self.native(op.operands[0]) {
                    self.set(op.results[0], l.transposed());
                }
            }
            OpKind::Reduce(_, axis) => {
                let x = op.operands[0];
                let mut l = self.native(x).unwrap_or_else(|| Layout::blocked(self.k.ty(x).shape(), self.warps));
                if l.is_partial() {
                    l = l.combined();
                }
                self.demand(x, &l);
                if self.is_tile(op.results[0]) {
                    self.set(op.results[0], l.without(*axis));
                }
            }
            // A part whose elements stay in their threads keeps its tile's layout.
            OpKind::Slice(at) if self.part(op, at).is_some() => {
                if let Some(part) = self.part(op, at) {
                    self.set(op.results[0], part);
                }
            }
            OpKind::Reshape | OpKind::Join(_) | OpKind::Slice(_) if self.is_tile(op.results[0]) => {
                for x in &op.operands {
                    let l = moved_from(self.native(*x), self.k.ty(*x), self.warps);
                    self.demand(*x, &l);
                }
                let y = op.results[0];
                let layout = self.wanted(y, 0).unwrap_or_else(|| Layout::blocked(self.k.ty(y).shape(), self.warps));
                self.set(y, layout);
            }
            OpKind::Scan(..) => {
                let l = moved_from(self.native(op.operands[0]), self.k.ty(op.operands[0]), self.warps);
                self.demand(op.operands[0], &l);
                self.set(op.results[0], l);
            }
            OpKind::Gather => {
                let l = op.operands[1..].iter().find_map(|x| self.native(*x));
                let l = moved_from(l, self.k.ty(op.results[0]), self.warps);
                for x in &op.operands[1..] {
                    self.demand(*x, &l);
                }
                self.set(op.results[0], l);
            }
            OpKind::Scatter | OpKind::Atomic(..) | OpKind::AtomicCas(_) => {
                let l = moved_from(self.native(op.operands[1]), self.k.ty(op.operands[1]), self.warps);
                for x in &op.operands[1..] {
                    self.demand(*x, &l);
                }
                if let Some(old) = op.results.first() {
                    self.set(*old, l);
                }
            }
            OpKind::DeviceAssert(_) | OpKind::DbgTile(_) if self.is_tile(op.operands[0]) => {
                let l = moved_from(self.native(op.operands[0]), self.k.ty(op.operands[0]), self.warps);
                for x in op.operands.iter().filter(|x| self.is_tile(**x)).copied().collect::<Vec<_>>() {
                    self.demand(x, &l);
                }
            }
            OpKind::Store | OpKind::StoreMasked => {
                let x = op.operands[1];
                let l = stored_in(self.native(x), self.k.ty(x), self.warps);
                self.demand(x, &l);
                if op.kind == OpKind::StoreMasked {
                    self.demand(op.operands[2], &l);
                }
            }
            kind if kind.is_product() => {
                let [acc, a, b] = [op.operands[0], op.operands[1], op.operands[2]];
                let (m, n) = (self.k.ty(acc).shape()[0], self.k.ty(acc).shape()[1]);
                let k = self.k.ty(a).shape()[1];
                let split = self.split(id, [m, n, k]);
                let pack = pack_of(self.element(a));
                self.out.splits.insert(id, split);
                let c = Layout::accumulator(m, n, split);
                self.demand(acc, &c);
                if self.is_tile(a) && !self.out.kept.contains_key(&a) {
                    self.demand(a, &Layout::operand_a(m, k, split, pack));
                }
                if self.is_tile(b) {
                    self.demand(b, &Layout::operand_b(k, n, split, pack));
                }
                if let OpKind::MmaScaled = op.kind {
                    let [scales_a, scales_b] = [op.operands[3], op.operands[4]];
                    let blocks = self.k.ty(scales_a).shape()[1];
                    self.demand(scales_a, &Layout::scales_a(m, blocks, split));
                    self.demand(scales_b, &Layout::scales_b(blocks, n, split));
                }
                self.set(op.results[0], c);
            }
            OpKind::For { .. } => {
                self.block(op.blocks[0]);
                let body = self.k.block(op.blocks[0]);
                let end = body.ops.last().map(|e| self.k.op(*e).operands.clone()).unwrap_or_default();
                for (i, y) in end.into_iter().enumerate() {
                    if !self.is_tile(y) {
                        continue;
                    }
                    let arg = body.args[i + 1];
                    let layout = match (self.native(y), self.native(arg)) {
                        (y, Some(l)) if self.round >= MOVING_ROUNDS => {
                            if l.is_partial() && y.as_ref() != Some(&l) {
                                l.combined()
                            } else {
                                l
                            }
                        }
                        (Some(l), _) if y != arg => l,
                        (_, Some(l)) => l,
                        (Some(l), None) => l,
                        (None, None) => Layout::blocked(self.k.ty(y).shape(), self.warps),
                    };
                    self.set(arg, layout.clone());
                    self.set(op.results[i], layout.clone());
                    self.demand(op.operands[i + 2], &layout);
                    self.demand(y, &layout);
                }
            }
            OpKind::If => {
                for b in &op.blocks {
                    self.block(*b);
                }
                let ends: Vec<Vec<ValueId>> = op
                    .blocks
                    .iter()
                    .map(|b| self.k.block(*b).ops.last().map(|e| self.k.op(*e).operands.clone()).unwrap_or_default())
                    .collect();
                for (i, r) in op.results.iter().enumerate() {
                    if self.is_tile(*r) {
                        let pick = ends.iter().find_map(|e| self.native(e[i]));
                        let layout = pick.unwrap_or_else(|| Layout::blocked(self.k.ty(*r).shape(), self.warps));
                        self.set(*r, layout.clone());
                        for e in &ends {
                            self.demand(e[i], &layout);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// How a product of these extents is split over warps: as its schedule pins it, else as suits its shape.
    fn split(&self, id: OpId, extents: [usize; 3]) -> MmaSplit {
        if self.out.warpgroups.contains(&id) {
            return warpgroup::split(self.warps);
        }
        let a = self.k.op(id).operands[1];
        let chosen = || MmaSplit::choose(extents, pack_of(self.element(a)), self.computed(a, 0), self.warps);
        self.pinned.get(&id).copied().unwrap_or_else(chosen)
    }

    fn element(&self, v: ValueId) -> DType {
        self.k.ty(v).dtype().unwrap_or(DType::F32)
    }

    fn native(&self, v: ValueId) -> Option<Layout> {
        self.out.native.get(&v).cloned()
    }

    fn set(&mut self, v: ValueId, layout: Layout) {
        self.out.native.insert(v, layout);
    }

    /// The layout of a slice of a register tile, if its elements stay in their threads.
    fn part(&self, op: &OpData, at: &[usize]) -> Option<Layout> {
        let y = op.results[0];
        let of = self.native(op.operands[0]).filter(|_| self.is_tile(y))?;
        of.part(at, self.k.ty(y).shape())
    }

    /// Records that a value is wanted in a layout; for a value without a layout of its own, its operands are.
    fn demand(&mut self, v: ValueId, layout: &Layout) {
        if !self.is_tile(v) {
            return;
        }
        if let Some(native) = self.out.native.get(&v) {
            if native != layout {
                let list = self.out.demands.entry(v).or_default();
                if !list.contains(layout) {
                    list.push(layout.clone());
                }
            }
            return;
        }
        let Some(def) = self.defs[v.index()] else { return };
        let op = self.k.op(def).clone();
        let whole = layout.whole();
        match op.kind {
            OpKind::Broadcast(axis) => self.demand(op.operands[0], &whole.without(axis)),
            OpKind::Repeat(times) => self.demand(op.operands[0], &whole.before_repeat(times)),
            OpKind::Transpose => self.demand(op.operands[0], &whole.transposed()),
            kind if kind.is_elementwise() => {
                for x in op.operands {
                    self.demand(x, &whole);
                }
            }
            _ => {}
        }
    }

    fn elementwise(&mut self, op: &OpData) {
        if !self.is_tile(op.results[0]) {
            return;
        }
        let natives: Vec<Option<Layout>> = op.operands.iter().map(|v| self.native(*v)).collect();
        let partial: Vec<bool> = natives.iter().map(|n| n.as_ref().is_some_and(Layout::is_partial)).collect();
        let count = partial.iter().filter(|p| **p).count();
        // Sums of partial sums and multiples of one partial sum stay partial; everything else needs the sum itself. A quotient does:
        // it is seldom exact, parts of it differ from the whole by their rounding, and there are fewer sums than parts to divide.
        let linear = match op.kind {
            OpKind::Unary(UnaryOp::Neg) => true,
            OpKind::Binary(BinaryOp::Add | BinaryOp::Sub) => count == 2 && natives[0] == natives[1],
            OpKind::Binary(BinaryOp::Mul) => count == 1,
            OpKind::Ternary(TernaryOp::MulAdd) => {
                count == 2 && partial[2] && natives[2] == natives[usize::from(!partial[0])]
            }
            _ => false,
        };
        let position =
            if count > 0 { partial.iter().position(|p| *p) } else { natives.iter().position(Option::is_some) };
        let Some(base) = position.and_then(|i| natives[i].clone()) else { return };
        let base = if count > 0 && !linear {
            natives.iter().flatten().find(|n| !n.is_partial()).cloned().unwrap_or_else(|| base.combined())
        } else {
            base
        };
        for (v, was_partial) in op.operands.iter().zip(&partial) {
            if *was_partial && linear {
                self.demand(*v, &base);
            } else {
                self.demand(*v, &base.whole());
            }
        }
        self.set(op.results[0], base);
    }

    /// The layout that the first user with an opinion wants a value in.
    fn wanted(&self, v: ValueId, depth: usize) -> Option<Layout> {
        if depth > 16 {
            return None;
        }
        for &id in self.uses.get(&v)? {
            let op = self.k.op(id);
            let result = || op.results.first().and_then(|r| self.wanted(*r, depth + 1));
            let found = match &op.kind {
                kind if kind.is_product() => {
                    let [m, n] = [0, 1].map(|axis| self.k.ty(op.operands[0]).shape()[axis]);
                    let split = self.split(id, [m, n, self.k.ty(op.operands[1]).shape()[1]]);
                    let s = self.k.ty(v).shape();
                    if op.operands[1] == v && self.out.kept.contains_key(&v) {
                        Some(Layout::chunks([s[0], s[1]], pack_of(self.element(v)), self.warps))
                    } else if op.operands[1] == v {
                        Some(Layout::operand_a(s[0], s[1], split, pack_of(self.element(v))))
                    } else if op.operands[2] == v {
                        Some(Layout::operand_b(s[0], s[1], split, pack_of(self.element(v))))
                    } else if op.operands.get(3) == Some(&v) {
                        Some(Layout::scales_a(s[0], s[1], split))
                    } else if op.operands.get(4) == Some(&v) {
                        Some(Layout::scales_b(s[0], s[1], split))
                    } else {
                        None
                    }
                }
                kind if kind.is_elementwise() => result(),
                OpKind::Transpose => result().map(|l| l.transposed()),
                OpKind::Broadcast(axis) => {
                    result().or_else(|| self.met(op.results[0], depth + 1)).map(|l| l.without(*axis))
                }
                OpKind::Repeat(times) => result().map(|l| l.before_repeat(*times)),
                OpKind::Reduce(_, axis) if self.k.ty(v).shape()[*axis] == 1 => {
                    result().map(|l| l.with_unit_axis(*axis))
                }
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The layout of what a repeated value meets in elementwise ops, as the round before has found it: what is read for it is read in this
    /// layout, where it would go through the exchange area otherwise.
    fn met(&self, v: ValueId, depth: usize) -> Option<Layout> {
        if depth > 16 {
            return None;
        }
        self.uses.get(&v)?.iter().find_map(|id| {
            let op = self.k.op(*id);
            let y = op.results.first().filter(|_| op.kind.is_elementwise())?;
            self.native(*y).map(|l| l.whole()).or_else(|| self.met(*y, depth + 1))
        })
    }

    /// Whether a product's operand was computed from other products or reductions, not just loaded and converted.
    fn computed(&self, v: ValueId, depth: usize) -> bool {
        let Some(def) = self.defs[v.index()] else { return self.is_tile(v) };
        let op = self.k.op(def);
        match op.kind {
            OpKind::Mma | OpKind::MmaScaled => true,
            OpKind::Cast
            | OpKind::Unary(_)
            | OpKind::Binary(_)
            | OpKind::Ternary(_)
            | OpKind::Select
            | OpKind::Transpose
                if depth < 16 =>
            {
                op.operands.iter().any(|x| self.is_tile(*x) && self.computed(*x, depth + 1))
            }
            _ => false,
        }
    }

    /// Gives each kept operand its place; what is made where it is wanted is not kept.
    fn place_kept(&mut self) {
        let native = &self.out.native;
        self.out.kept.retain(|v, _| native.contains_key(v));
        let mut next = 0;
        for (v, at) in &mut self.out.kept {
            *at = next;
            next += kept_size(self.k.ty(*v));
        }
    }

    /// Finds staged weight tiles whose every use reads them as a first operand, whole or in slices.
    fn fragments(&mut self, body: BlockId) {
        let mut waits = Vec::new();
        collect_waits(self.k, body, &mut waits);
        let sources = ring_sources(self.k);
        for (wait, index) in waits {
            let op = self.k.op(wait);
            for (v, access) in op.results.iter().zip(&sources[index]) {
                if *access == Access::Weight && self.read_as_a(*v) {
                    self.out.fragments.insert(*v);
                }
            }
        }
    }

    fn read_as_a(&self, v: ValueId) -> bool {
        let Some(uses) = self.uses.get(&v) else { return false };
        uses.iter().filter(|id| !matches!(self.k.op(**id).kind, OpKind::RingRelease)).all(|id| {
            let op = self.k.op(*id);
            match op.kind {
                // Fragments are those of 16-bit operands.
                OpKind::Mma => op.operands[1] == v && self.element(v).bits() == 16,
                OpKind::Slice(ref at) => at[0] % 16 == 0 && at[1] % 64 == 0 && self.read_as_a(op.results[0]),
                OpKind::Read => self.native(op.results[0]).is_some_and(|l| {
                    l.reg.starts_with(&[(1, 0), (0, 3), (1, 3)])
                        && l.lane[0] == Some((1, 1))
                        && l.lane[4] == Some((0, 2))
                }),
                _ => false,
            }
        })
    }
}

/// Bytes of a kept operand; all of them begin at multiples of a swizzled atom.
fn kept_size(ty: &Type) -> usize {
    let bits = ty.dtype().map_or(0, DType::bits);
    (ty.shape().iter().product::<usize>() * bits / 8).next_multiple_of(ATOM_BYTES)
}

impl Assignment {
    /// Bytes of shared memory that kept operands take.
    pub fn kept_bytes(&self, kernel: &Kernel) -> usize {
        self.kept.keys().map(|v| kept_size(kernel.ty(*v))).sum()
    }
}

/// The layout in which a tile's elements are taken one by one: its own, sums added up.
pub(crate) fn moved_from(native: Option<Layout>, ty: &Type, warps: usize) -> Layout {
    match native {
        Some(l) if l.is_partial() => l.combined(),
        Some(l) => l,
        None => Layout::blocked(ty.shape(), warps),
    }
}

/// The layout in which a tile is stored: its own, sums added up, or pairs of 4-bit elements.
pub(crate) fn stored_in(native: Option<Layout>, ty: &Type, warps: usize) -> Layout {
    match native {
        _ if ty.dtype() == Some(DType::E2m1) => Layout::pairs(ty.shape(), warps),
        Some(l) if l.is_partial() => l.combined(),
        Some(l) => l,
        None => Layout::blocked(ty.shape(), warps),
    }
}

/// All waits of a body in order, with their position in the program's order of ring transactions.
fn collect_waits(k: &Kernel, body: BlockId, out: &mut Vec<(OpId, usize)>) {
    for &id in &k.block(body).ops {
        if matches!(k.op(id).kind, OpKind::RingWait(_)) {
            out.push((id, out.len()));
        }
        for &b in &k.op(id).blocks {
            collect_waits(k, b, out);
        }
    }
}

/// For each fill of the producer, in order, the array of each part.
fn ring_arrays(k: &Kernel) -> Vec<Vec<ValueId>> {
    fn go(k: &Kernel, b: BlockId, out: &mut Vec<Vec<ValueId>>) {
        for &id in &k.block(b).ops {
            let op = k.op(id);
            if let OpKind::RingFill(parts) = &op.kind {
                let mut at = 0;
                let mut list = Vec::new();
                for p in parts {
                    list.push(op.operands[at]);
                    at += 1 + p.rank;
                }
                out.push(list);
            }
            for &inner in &op.blocks {
                go(k, inner, out);
            }
        }
    }
    let mut out = Vec::new();
    if let Some(body) = k.body(tile_lang::ir::Role::Producer) {
        go(k, body, &mut out);
    }
    out
}

/// For each fill of the producer, in order, the access of each part's array.
pub(crate) fn ring_sources(k: &Kernel) -> Vec<Vec<Access>> {
    let access = |v: &ValueId| match k.ty(*v) {
        Type::Global(_, _, access) => Some(*access),
        _ => None,
    };
    ring_arrays(k).iter().map(|list| list.iter().filter_map(access).collect()).collect()
}

/// The staged tiles of a consumer body, each with the array that it is a tile of.
pub(crate) fn staged_arrays(k: &Kernel, body: BlockId) -> HashMap<ValueId, ValueId> {
    let mut waits = Vec::new();
    collect_waits(k, body, &mut waits);
    let arrays = ring_arrays(k);
    let parts = waits.iter().filter_map(|(id, at)| Some((&k.op(*id).results, arrays.get(*at)?)));
    parts.flat_map(|(tiles, from)| tiles.iter().copied().zip(from.iter().copied())).collect()
}
