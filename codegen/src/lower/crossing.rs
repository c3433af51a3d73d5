//! Products that run from one iteration of a loop into the next: which can, by the loop's body and its layouts alone.

use crate::layout::{Assignment, Layout, consumer_warps, warpgroup};
use tile_lang::ir::{BlockId, Kernel, OpData, OpId, OpKind, Type, ValueId};

/// A product that runs from one iteration of a loop into the next.
#[derive(Clone, Debug)]
pub(crate) struct Crossing {
    /// The product.
    pub product: OpId,
    /// Which of the carried values is its sum.
    pub carried: usize,
    /// Releases in the loop that are put off until it is over.
    pub put_off: Vec<OpId>,
}

/// The product that may run over the end of a loop's body: the last one, whose sum is carried and used by nothing else after it.
pub(crate) fn crossing(
    k: &Kernel,
    layouts: &Assignment,
    definitions: &[Option<OpId>],
    op: &OpData,
) -> Option<Crossing> {
    let block = op.blocks[0];
    let ops = &k.block(block).ops;
    let last = ops.iter().rposition(|id| k.op(*id).kind == OpKind::Mma)?;
    let product = ops[last];
    if !layouts.warpgroups.contains(&product) {
        return None;
    }
    let first = k.op(product).operands[1];
    let in_registers = matches!(k.ty(first), Type::Tile(..)) && !layouts.kept.contains_key(&first);
    let in_parts = layouts.in_parts.contains(&first);
    if in_registers && !in_parts {
        // The next iteration would write the registers that it reads.
        return None;
    }
    let (sum, rest) = (k.op(product).results[0], &ops[last + 1..]);
    let (end, between) = rest.split_last()?;
    if between.iter().any(|id| !k.op(*id).blocks.is_empty() || k.op(*id).operands.contains(&sum)) {
        return None;
    }
    let carried = k.op(*end).operands.iter().position(|v| *v == sum)?;
    let argument = k.block(block).args.get(carried + 1)?;
    // What is made in parts is waited for when the next iteration's first part runs behind it: if the same product starts that.
    if in_parts && (k.op(product).operands[0] != *argument || used(k, block, *argument) > 1) {
        return None;
    }
    let native = layouts.native.get(argument)?;
    let moved = |v: &ValueId| layouts.demands.get(v).is_some_and(|d| !d.is_empty());
    if [Some(&sum), Some(argument), op.results.get(carried)].into_iter().flatten().any(moved) {
        return None;
    }
    let [m, n] = *k.ty(sum).shape() else { return None };
    if *native != Layout::accumulator(m, n, warpgroup::split(consumer_warps(k))) {
        return None;
    }
    let slots = slots_of(k, definitions, product);
    let given_back = |id: &OpId| released(k, definitions, *id).is_some_and(|w| slots.contains(&w));
    let put_off = rest.iter().copied().filter(given_back).collect();
    Some(Crossing { product, carried, put_off })
}

/// How many operands of a block's ops, and of those inside of them, are this value.
fn used(k: &Kernel, block: BlockId, v: ValueId) -> usize {
    let mut count = 0;
    k.walk_block(block, &mut |_, op| count += op.operands.iter().filter(|x| **x == v).count());
    count
}

/// The waits that took the slots which a product's operands lie in.
pub(super) fn slots_of(k: &Kernel, definitions: &[Option<OpId>], product: OpId) -> Vec<OpId> {
    k.op(product).operands[1..].iter().filter_map(|v| taken_by(k, definitions, *v)).collect()
}

/// The wait whose slot a release gives back.
fn released(k: &Kernel, definitions: &[Option<OpId>], release: OpId) -> Option<OpId> {
    let op = k.op(release);
    if op.kind != OpKind::RingRelease {
        return None;
    }
    op.operands.first().and_then(|v| definitions[v.index()])
}

/// The wait that took the slot which a tile in shared memory is part of.
fn taken_by(k: &Kernel, definitions: &[Option<OpId>], v: ValueId) -> Option<OpId> {
    let id = definitions[v.index()]?;
    match k.op(id).kind {
        OpKind::RingWait(_) => Some(id),
        OpKind::Transpose | OpKind::Slice(_) => taken_by(k, definitions, k.op(id).operands[0]),
        _ => None,
    }
}
