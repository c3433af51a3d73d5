//! First operands that are made part by part, each in front of the instruction that multiplies it.
//!
//! A warpgroup's product may take its first operand from registers that elementwise ops alone make of staged tiles, as when a weight's codes are
//! unpacked and multiplied by their scales. An instruction takes 16 terms of it, or 32 of 8 bits. Were all of it made first, the tensor cores
//! would wait meanwhile; made in parts, the arithmetic of one part runs beside the products of those before it.

use super::{Assignment, Layout, pack_of, warpgroup};
use std::collections::{HashMap, HashSet};
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, Type, ValueId};

/// What a search needs to know of a body.
struct Search<'a> {
    k: &'a Kernel,
    definitions: Vec<Option<OpId>>,
    uses: &'a HashMap<ValueId, Vec<OpId>>,
    assigned: &'a Assignment,
    blocks: HashMap<OpId, BlockId>,
}

/// The tiles of a body that are made at the product which they are an operand of, or at which another such tile is made of them. All of them are
/// wanted by nothing else, and in the operand's layout.
pub(super) fn find(
    k: &Kernel,
    body: BlockId,
    uses: &HashMap<ValueId, Vec<OpId>>,
    assigned: &Assignment,
    warps: usize,
) -> HashSet<ValueId> {
    let mut blocks = HashMap::new();
    k.block(body).ops.iter().for_each(|id| place(k, *id, body, &mut blocks));
    let search = Search { k, definitions: k.definitions(), uses, assigned, blocks };
    let mut found = HashSet::new();
    for product in &assigned.warpgroups {
        let a = k.op(*product).operands[1];
        let Type::Tile(dtype, shape) = k.ty(a) else { continue };
        let pack = pack_of(*dtype);
        let several = shape[1] > 8 << pack;
        if several && !assigned.kept.contains_key(&a) && search.is_staged(a) {
            let layout = Layout::operand_a(shape[0], shape[1], warpgroup::split(warps), pack);
            search.collect(a, *product, &layout, &mut found);
        }
    }
    found
}

fn place(k: &Kernel, id: OpId, block: BlockId, out: &mut HashMap<OpId, BlockId>) {
    out.insert(id, block);
    for &inner in &k.op(id).blocks {
        k.block(inner).ops.iter().for_each(|id| place(k, *id, inner, out));
    }
}

impl Search<'_> {
    /// Whether a value is made of staged tiles and constants alone.
    fn is_staged(&self, v: ValueId) -> bool {
        let Some(op) = self.definitions[v.index()].map(|id| self.k.op(id)) else { return false };
        match op.kind {
            OpKind::Read | OpKind::Splat | OpKind::Iota(_) => true,
            OpKind::Broadcast(_) | OpKind::Repeat(_) | OpKind::Transpose | OpKind::Reduce(..) => {
                op.operands.iter().all(|x| self.is_staged(*x))
            }
            _ => op.kind.is_elementwise() && op.operands.iter().all(|x| self.is_staged(*x)),
        }
    }

    /// Whether an op compares with an index, which is computed from where a tile's elements lie: in a part they would lie elsewhere.
    fn compares_with_index(&self, id: OpId) -> bool {
        let op = self.k.op(id);
        let index = |x: &ValueId| {
            self.definitions[x.index()].is_some_and(|made| matches!(self.k.op(made).kind, OpKind::Iota(_)))
        };
        matches!(op.kind, OpKind::Cmp(_)) && op.operands.iter().any(index)
    }

    /// Notes `v`, which `user` takes, and what it is made of, as far as all of that is made for this alone.
    fn collect(&self, v: ValueId, user: OpId, layout: &Layout, found: &mut HashSet<ValueId>) {
        let Some(id) = self.definitions[v.index()].filter(|id| self.k.op(*id).kind.is_elementwise()) else { return };
        let alone = self.uses.get(&v).is_some_and(|users| users[..] == [user]);
        let near = self.blocks.get(&id) == self.blocks.get(&user);
        let moved = self.assigned.demands.get(&v).is_some_and(|d| !d.is_empty());
        if alone && near && !moved && !self.compares_with_index(id) && self.assigned.native.get(&v) == Some(layout) {
            found.insert(v);
            self.k.op(id).operands.iter().for_each(|x| self.collect(*x, id, layout, found));
        }
    }
}
