//! Whether every thread holds, in the layouts that were assigned, the elements that each op takes from it.
//!
//! A layout is expanded by brute force: for each thread the elements it holds. Two ways of holding a tile are the same if
//! every thread holds the same elements, in any order of registers. Products are compared with tables written from the PTX
//! manual's description of the fragments of `mma.m16n8k16` and its like. A value without a layout of its own is made where it is wanted, out of
//! operands that the thread then must hold.

mod held;
mod scales;
mod warpgroup;

use self::held::{Dist, expand, fragments};
use self::warpgroup::SWIZZLE_ATOM;
use super::Findings;
use crate::layout::{Assignment, Layout, pack_of};
use std::collections::HashMap;
use std::rc::Rc;
use tile_lang::dtype::DType;
use tile_lang::ir::{BinaryOp, BlockId, Kernel, OpData, OpId, OpKind, Role, TernaryOp, Type, UnaryOp, ValueId};
use tile_lang::protocol::{Protocol, RingId};

const CODE: &str = "E39";
/// Checks the consumers of every kernel; returns the number of tiles.
pub fn check(p: &Protocol, layouts: &[Assignment], out: &mut Findings) -> usize {
    let mut tiles = 0;
    let ring = p.regions.iter().find(|r| r.name == "ring slots");
    let slots_aligned = ring.is_some_and(|r| r.offset.is_multiple_of(SWIZZLE_ATOM))
        && p.rings.get(&RingId::Tiles).is_some_and(|r| r.slot_bytes.is_multiple_of(SWIZZLE_ATOM));
    for (kernel, assignment) in p.kernels.iter().zip(layouts) {
        let Some(body) = kernel.body(Role::Consumer) else { continue };
        let mut c = Checker {
            k: kernel,
            a: assignment,
            warps: p.warps,
            defs: kernel.definitions(),
            slots_aligned,
            dists: HashMap::new(),
            out,
        };
        c.own_layouts(body);
        c.block(body);
        tiles += assignment.native.len();
    }
    tiles
}

struct Checker<'a> {
    k: &'a Kernel,
    a: &'a Assignment,
    warps: usize,
    defs: Vec<Option<OpId>>,
    /// Whether every slot begins where a swizzled atom may.
    slots_aligned: bool,
    dists: HashMap<Layout, Option<Rc<Dist>>>,
    out: &'a mut Findings,
}

impl Checker<'_> {
    fn wrong(&mut self, id: OpId, message: String) {
        let note = "this is a fault of the compiler, not of the kernel; please report it".to_owned();
        self.out.at(self.k, id, CODE, message, vec![note]);
    }

    fn is_tile(&self, v: ValueId) -> bool {
        matches!(self.k.ty(v), Type::Tile(..))
    }

    fn name(&self, v: ValueId) -> String {
        match &self.k.values[v.index()].name {
            Some(name) => format!("`{name}` ({})", self.k.ty(v)),
            None => format!("value {v} ({})", self.k.ty(v)),
        }
    }

    /// Expands a layout; none if it names coordinates that the tile hasn't, or doesn't hold every element equally often.
    fn dist(&mut self, layout: &Layout) -> Option<Rc<Dist>> {
        if let Some(d) = self.dists.get(layout) {
            return d.clone();
        }
        let d = expand(layout, self.warps).map(Rc::new);
        self.dists.insert(layout.clone(), d.clone());
        d
    }

    /// Every layout that was assigned is sound in itself and fits its value.
    fn own_layouts(&mut self, body: BlockId) {
        for (id, v) in results(self.k, body) {
            let demands = self.a.demands.get(&v).map_or(&[][..], Vec::as_slice);
            let list: Vec<Layout> = self.a.native.get(&v).into_iter().chain(demands).cloned().collect();
            for layout in &list {
                if layout.shape != self.k.ty(v).shape() {
                    self.wrong(id, format!("{} has a layout of shape {:?}", self.name(v), layout.shape));
                } else if self.dist(layout).is_none() {
                    let text = format!("a layout of {} doesn't hold every element: {layout:?}", self.name(v));
                    self.wrong(id, text);
                }
            }
            // A tile of partial sums can become another one only by being summed first.
            let kinds: Vec<bool> = list.iter().map(|l| l.partial.iter().any(|p| *p)).collect();
            if kinds.first() == Some(&true) && kinds[1..].contains(&true) {
                self.wrong(
                    id,
                    format!("the partial sums of {} are wanted in another layout of partial sums", self.name(v)),
                );
            }
        }
    }

    fn native(&mut self, v: ValueId) -> Option<Rc<Dist>> {
        let layout = self.a.native.get(&v)?.clone();
        self.dist(&layout)
    }

    /// All ways in which a value with a layout of its own is held.
    fn held(&mut self, v: ValueId) -> Vec<Rc<Dist>> {
        let demands = self.a.demands.get(&v).map_or(&[][..], Vec::as_slice);
        let list: Vec<Layout> = self.a.native.get(&v).into_iter().chain(demands).cloned().collect();
        list.iter().filter_map(|l| self.dist(l)).collect()
    }

    /// Whether threads have, or can make, a value in this way.
    fn has(&mut self, v: ValueId, want: &Dist) -> bool {
        if !self.is_tile(v) {
            return true;
        }
        if self.a.native.contains_key(&v) {
            return self.held(v).iter().any(|d| **d == *want);
        }
        let Some(op) = self.defs[v.index()].map(|id| self.k.op(id)) else { return false };
        // Whole tiles become one summand by being held by the first warp of each sum.
        let want = want.whole();
        match &op.kind {
            OpKind::Splat | OpKind::Iota(_) => true,
            OpKind::Broadcast(axis) => self.has(op.operands[0], &want.without(*axis)),
            OpKind::Repeat(times) => self.has(op.operands[0], &want.before_repeat(*times)),
            OpKind::Transpose => self.has(op.operands[0], &want.swapped()),
            kind if kind.is_elementwise() => op.operands.iter().all(|x| self.has(*x, &want)),
            _ => false,
        }
    }

    fn need(&mut self, id: OpId, v: ValueId, want: &Dist, what: &str) {
        if !self.has(v, want) {
            let partial = if want.is_partial() { " as partial sums" } else { "" };
            let text = format!("{} is not held by the threads that need it as {what}{partial}", self.name(v));
            self.wrong(id, text);
        }
    }

    fn block(&mut self, block: BlockId) {
        for id in self.k.block(block).ops.clone() {
            let op = self.k.op(id).clone();
            self.op(id, &op);
            op.blocks.iter().for_each(|b| self.block(*b));
        }
    }

    fn op(&mut self, id: OpId, op: &OpData) {
        match &op.kind {
            OpKind::Read | OpKind::Load => match self.native(op.results[0]) {
                None => self.wrong(id, format!("{} is loaded and has no layout", self.name(op.results[0]))),
                Some(d) if d.is_partial() => self.wrong(id, "a load of partial sums".into()),
                Some(_) => {}
            },
            OpKind::Mma => self.product(id, op),
            OpKind::MmaScaled => {
                self.product(id, op);
                self.scales(id, op);
            }
            OpKind::Reduce(_, axis) => self.reduce(id, op, *axis),
            OpKind::Store | OpKind::StoreMasked => self.store(id, op),
            OpKind::Gather | OpKind::Scan(..) | OpKind::Atomic(..) | OpKind::AtomicCas(_) => {
                match self.native(op.results[0]) {
                    None => self.wrong(id, format!("{} has no layout", self.name(op.results[0]))),
                    Some(d) => {
                        let tiles = op.operands.iter().filter(|v| matches!(self.k.ty(**v), Type::Tile(..)));
                        tiles.for_each(|v| self.need(id, *v, &d, "an index or element beside its result"));
                    }
                }
            }
            OpKind::Transpose if self.is_tile(op.results[0]) => {
                if let Some(d) = self.native(op.results[0]) {
                    self.need(id, op.operands[0], &d.swapped(), "the transpose's operand");
                }
            }
            OpKind::For { .. } => self.repeat(id, op),
            OpKind::If => {
                let ends: Vec<Vec<ValueId>> = op.blocks.iter().map(|b| self.ends(*b)).collect();
                for (i, r) in op.results.iter().enumerate().filter(|(_, r)| matches!(self.k.ty(**r), Type::Tile(..))) {
                    match self.native(*r) {
                        None => self.wrong(id, format!("{} has no layout", self.name(*r))),
                        Some(d) => ends
                            .iter()
                            .filter_map(|e| e.get(i).copied())
                            .for_each(|v| self.need(id, v, &d, "a branch's value")),
                    }
                }
            }
            kind if kind.is_elementwise() && self.is_tile(op.results[0]) => self.elementwise(id, op),
            _ => {}
        }
    }

    fn ends(&self, block: BlockId) -> Vec<ValueId> {
        self.k.block(block).ops.last().map(|e| self.k.op(*e).operands.clone()).unwrap_or_default()
    }

    fn elementwise(&mut self, id: OpId, op: &OpData) {
        let Some(result) = self.native(op.results[0]) else { return };
        if !result.is_partial() {
            return op.operands.iter().for_each(|v| self.need(id, *v, &result, "an operand"));
        }
        let whole = result.whole();
        let partial: Vec<bool> = op.operands.iter().map(|v| self.native(*v).is_some_and(|d| d.is_partial())).collect();
        let linear = match op.kind {
            OpKind::Unary(UnaryOp::Neg) => partial == [true],
            OpKind::Binary(BinaryOp::Add | BinaryOp::Sub) => partial == [true, true],
            OpKind::Binary(BinaryOp::Mul) => partial.iter().filter(|p| **p).count() == 1,
            OpKind::Ternary(TernaryOp::MulAdd) => partial[0] != partial[1] && partial[2],
            _ => false,
        };
        if !linear {
            return self.wrong(id, format!("`{}` of partial sums is not the sum of its parts", op.kind.mnemonic()));
        }
        for (v, p) in op.operands.iter().zip(partial) {
            self.need(id, *v, if p { &result } else { &whole }, "an operand");
        }
    }

    /// Some way without partial sums in which a value is held, and that satisfies the condition.
    fn some_whole(&mut self, v: ValueId, fits: impl Fn(&Dist) -> bool) -> Option<Rc<Dist>> {
        self.held(v).into_iter().find(|d| !d.is_partial() && fits(d))
    }

    fn reduce(&mut self, id: OpId, op: &OpData, axis: usize) {
        let (x, y) = (op.operands[0], op.results[0]);
        if !self.a.native.contains_key(&x) {
            // Made where it is wanted: the emitter picks a layout of its own for it.
            return;
        }
        let result = if self.is_tile(y) { self.native(y) } else { None };
        let fits = |d: &Dist| result.as_ref().is_none_or(|r| d.without(axis) == **r);
        if self.some_whole(x, fits).is_none() {
            self.wrong(id, format!("{} is not held so that reducing axis {axis} gives {}", self.name(x), self.name(y)));
        }
        if self.is_tile(y) && result.is_none() {
            self.wrong(id, format!("{} has no layout", self.name(y)));
        }
    }

    fn store(&mut self, id: OpId, op: &OpData) {
        let x = op.operands[1];
        if !self.a.native.contains_key(&x) {
            return;
        }
        let candidates: Vec<Rc<Dist>> = self.held(x).into_iter().filter(|d| !d.is_partial()).collect();
        let mask = (op.kind == OpKind::StoreMasked).then(|| op.operands[2]);
        // Every sound layout holds each element once, or in equal copies of which the first is stored.
        if !candidates.iter().any(|d| mask.is_none_or(|m| self.has(m, d))) {
            let what = if candidates.is_empty() {
                "only partial sums of it are held"
            } else {
                "its mask is held by other threads"
            };
            self.wrong(id, format!("{} is stored, but {what}", self.name(x)));
        }
    }

    fn repeat(&mut self, id: OpId, op: &OpData) {
        let args = self.k.block(op.blocks[0]).args.clone();
        let end = self.ends(op.blocks[0]);
        for (i, r) in op.results.iter().enumerate() {
            if !self.is_tile(*r) {
                continue;
            }
            let Some(arg) = self.native(args[i + 1]) else {
                self.wrong(id, format!("{} is carried by a loop and has no layout", self.name(args[i + 1])));
                continue;
            };
            if self.a.native.get(r) != self.a.native.get(&args[i + 1]) {
                self.wrong(id, format!("{} leaves its loop in another layout than it has there", self.name(*r)));
            }
            self.need(id, op.operands[i + 2], &arg, "a loop's first value");
            if let Some(y) = end.get(i) {
                self.need(id, *y, &arg, "a loop's next value");
            }
        }
    }

    fn product(&mut self, id: OpId, op: &OpData) {
        let [acc, a, b] = [op.operands[0], op.operands[1], op.operands[2]];
        let (m, n, k) = (self.k.ty(acc).shape()[0], self.k.ty(acc).shape()[1], self.k.ty(a).shape()[1]);
        let Some(split) = self.a.splits.get(&id).copied() else {
            return self.wrong(id, "a product without a split over warps".into());
        };
        let warps = [1usize << split.m, 1 << split.n, 1 << split.k];
        // Elements of an operand in a 32-bit register.
        let word = 32 / self.k.ty(a).dtype().map_or(16, |d| d.bits()).min(32);
        let steps = [(m, warps[0], 16), (n, warps[1], 8), (k, warps[2], 8 * word)];
        if warps.iter().product::<usize>() > self.warps || steps.iter().any(|(x, w, s)| x % (w * s) != 0) {
            return self.wrong(id, format!("a product of {m}×{n}×{k} can't be split over {warps:?} warps"));
        }
        let [want_c, want_a, want_b] = fragments([m, n, k], warps, self.warps, word);
        self.need(id, acc, &want_c, "a product's accumulator");
        if self.native(op.results[0]).is_none_or(|d| *d != want_c) {
            self.wrong(id, format!("{} is not laid out as the instruction leaves it", self.name(op.results[0])));
        }
        if self.a.warpgroups.contains(&id) {
            return self.warpgroup_product(id, op, [m, n, k], &want_a);
        }
        for (v, want, read, what) in [
            (
                a,
                want_a,
                Layout::operand_a(m, k, split, pack_of(self.k.ty(a).dtype().unwrap_or(DType::F32))),
                "a product's first operand",
            ),
            (
                b,
                want_b,
                Layout::operand_b(k, n, split, pack_of(self.k.ty(b).dtype().unwrap_or(DType::F32))),
                "a product's second operand",
            ),
        ] {
            self.operand(id, v, &want, &read, what);
        }
    }

    /// What a product takes: held as it is needed, or read from shared memory in this layout.
    fn operand(&mut self, id: OpId, v: ValueId, want: &Dist, read: &Layout, what: &str) {
        if self.is_tile(v) {
            self.need(id, v, want, what);
        } else if self.dist(read).is_none_or(|d| *d != *want) {
            let text = format!("{} is read from shared memory in another order than {what} needs", self.name(v));
            self.wrong(id, text);
        }
    }
}

/// All values made in a body, with the op that makes them; arguments of a block count as its op's.
fn results(k: &Kernel, body: BlockId) -> Vec<(OpId, ValueId)> {
    let mut out = Vec::new();
    for &id in &k.block(body).ops {
        let op = k.op(id);
        out.extend(op.results.iter().map(|v| (id, *v)));
        for b in &op.blocks {
            out.extend(k.block(*b).args.iter().map(|v| (id, *v)));
            out.extend(results(k, *b));
        }
    }
    out
}
