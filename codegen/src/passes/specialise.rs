//! Splits a kernel into a producer body, which only fills the ring, and a consumer body, which does everything else.
//!
//! Both bodies keep the control flow around staged loads, so they take and give slots in the same order; that order is
//! the whole protocol. The producer keeps the index arithmetic that its copies need; what a role doesn't need is removed.

use super::RingGroup;
use std::collections::HashMap;
use tile_lang::ir::{BlockId, Kernel, OpData, OpId, OpKind, Role, Stage, ValueId, prune_roles};

/// Rewrites `stage` ops into ring ops and makes one body per role. Requirements go to the consumer's.
pub fn specialise(kernel: &Kernel, groups: &[RingGroup]) -> Kernel {
    let mut k = kernel.clone();
    let body = k.bodies[0].1;
    let producer = clone_block(&mut k, body, &mut HashMap::new(), &mut HashMap::new(), groups);
    insert_consumer_ops(&mut k, body, groups);
    k.bodies = vec![(Role::Producer, producer), (Role::Consumer, body)];
    prune_roles(&mut k);
    k.stage = Stage::Specialised;
    k
}

/// Copies a block with fresh values; the last load of each group becomes the fill of the whole group.
fn clone_block(
    k: &mut Kernel,
    block: BlockId,
    values: &mut HashMap<ValueId, ValueId>,
    loads: &mut HashMap<OpId, Vec<ValueId>>,
    groups: &[RingGroup],
) -> BlockId {
    let copy = k.add_block();
    k.blocks[copy.index()].label = k.block(block).label.clone();
    for arg in k.block(block).args.clone() {
        let fresh = copy_value(k, arg, values);
        k.blocks[copy.index()].args.push(fresh);
    }
    for id in k.block(block).ops.clone() {
        let op = k.op(id).clone();
        let operands: Vec<ValueId> = op.operands.iter().map(|v| *values.get(v).unwrap_or(v)).collect();
        let results: Vec<ValueId> = op.results.iter().map(|v| copy_value(k, *v, values)).collect();
        let blocks = op.blocks.iter().map(|b| clone_block(k, *b, values, loads, groups)).collect();
        let fresh = match groups.iter().find(|g| g.loads.contains(&id)) {
            None => OpData { operands, results, blocks, ..op },
            Some(group) => {
                loads.insert(id, operands);
                if group.loads.last() != Some(&id) {
                    continue;
                }
                let operands = group.loads.iter().flat_map(|l| loads.remove(l).unwrap_or_default()).collect();
                OpData {
                    kind: OpKind::RingFill(group.parts.clone()),
                    operands,
                    results: Vec::new(),
                    blocks,
                    span: op.span,
                    name: None,
                }
            }
        };
        let fresh = k.add_op(fresh);
        k.blocks[copy.index()].ops.push(fresh);
    }
    copy
}

fn copy_value(k: &mut Kernel, v: ValueId, values: &mut HashMap<ValueId, ValueId>) -> ValueId {
    let data = k.values[v.index()].clone();
    k.values.push(data);
    let fresh = ValueId(k.values.len() as u32 - 1);
    values.insert(v, fresh);
    fresh
}

/// In place: the first load of each group becomes the wait, and a release follows the last op that reads the slot.
fn insert_consumer_ops(k: &mut Kernel, block: BlockId, groups: &[RingGroup]) {
    let mut ops = Vec::new();
    for id in k.block(block).ops.clone() {
        for inner in k.op(id).blocks.clone() {
            insert_consumer_ops(k, inner, groups);
        }
        match groups.iter().find(|g| g.loads.contains(&id)) {
            None => ops.push(id),
            Some(group) if group.loads[0] == id => {
                let results = group.loads.iter().map(|l| k.op(*l).results[0]).collect();
                let span = k.op(id).span;
                let kind = OpKind::RingWait(group.parts.clone());
                ops.push(k.add_op(OpData {
                    kind,
                    operands: Vec::new(),
                    results,
                    blocks: Vec::new(),
                    span,
                    name: None,
                }));
            }
            Some(_) => {}
        }
    }
    let waits: Vec<OpId> = ops.iter().copied().filter(|o| matches!(k.op(*o).kind, OpKind::RingWait(_))).collect();
    for wait in waits {
        let OpData { results, span, .. } = k.op(wait).clone();
        let mut views = results.clone();
        let mut last = wait;
        for &id in &ops {
            if reads(k, id, &views) {
                last = id;
                if matches!(k.op(id).kind, OpKind::Slice(_) | OpKind::Transpose) {
                    views
                        .extend(k.op(id).results.iter().filter(|r| matches!(k.ty(**r), tile_lang::ir::Type::Smem(..))));
                }
            }
        }
        let release = k.add_op(OpData {
            kind: OpKind::RingRelease,
            operands: results,
            results: Vec::new(),
            blocks: Vec::new(),
            span,
            name: None,
        });
        let at = ops.iter().position(|o| *o == last).map_or(ops.len(), |i| i + 1);
        ops.insert(at, release);
    }
    k.blocks[block.index()].ops = ops;
}

/// Whether an op, or one nested in it, reads one of the values.
fn reads(k: &Kernel, id: OpId, values: &[ValueId]) -> bool {
    let op = k.op(id);
    !matches!(op.kind, OpKind::RingRelease)
        && (op.operands.iter().any(|v| values.contains(v))
            || op.blocks.iter().any(|b| k.block(*b).ops.iter().any(|o| reads(k, *o, values))))
}
