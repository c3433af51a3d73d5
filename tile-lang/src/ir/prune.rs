//! Removes what a body doesn't need: ops without effect whose results nobody uses, and loop-carried values that only
//! feed themselves.

use super::{BlockId, Kernel, OpId, OpKind, Role, ValueId};
use std::collections::{HashMap, HashSet};

/// Where a value comes from.
enum Source {
    Op(OpId),
    /// Argument of a loop's block: the loop and the argument's position.
    Arg(OpId, usize),
}

/// Leaves each role of a kernel what it needs: the producer what its fills depend on, the consumer everything with an effect.
pub fn prune_roles(k: &mut Kernel) {
    if let Some(producer) = k.body(Role::Producer) {
        prune(k, producer, |kind| matches!(kind, OpKind::RingFill(_) | OpKind::Work));
    }
    if let Some(consumer) = k.body(Role::Consumer) {
        prune(k, consumer, |kind| kind.has_effect() && *kind != OpKind::Yield);
    }
}

/// Keeps the ops of `body` for which `root` holds and everything they need.
pub fn prune(k: &mut Kernel, body: BlockId, root: impl Fn(&OpKind) -> bool) {
    let mut sources = HashMap::new();
    let mut parent: HashMap<OpId, OpId> = HashMap::new();
    collect(k, body, None, &mut sources, &mut parent);

    let mut live_ops: HashSet<OpId> = HashSet::new();
    let mut live_values: HashSet<ValueId> = HashSet::new();
    let mut work: Vec<ValueId> = Vec::new();
    let roots: Vec<OpId> = ops_below(k, body).into_iter().filter(|id| root(&k.op(*id).kind)).collect();
    let keep = |id: OpId, k: &Kernel, live: &mut HashSet<OpId>, work: &mut Vec<ValueId>| {
        let mut at = Some(id);
        while let Some(op) = at {
            if live.insert(op) {
                let data = k.op(op);
                match data.kind {
                    OpKind::For { .. } => work.extend(&data.operands[..2]),
                    OpKind::Yield => {}
                    _ => work.extend(&data.operands),
                }
            }
            at = parent.get(&op).copied();
        }
    };
    for id in roots {
        keep(id, k, &mut live_ops, &mut work);
    }
    while let Some(v) = work.pop() {
        if !live_values.insert(v) {
            continue;
        }
        match sources.get(&v) {
            Some(Source::Op(id)) => {
                keep(*id, k, &mut live_ops, &mut work);
                let op = k.op(*id);
                let position = op.results.iter().position(|r| *r == v).unwrap_or(0);
                match op.kind {
                    OpKind::For { .. } => work.push(k.block(op.blocks[0]).args[position + 1]),
                    OpKind::If => work.extend(op.blocks.iter().filter_map(|b| yielded(k, *b, position))),
                    _ => {}
                }
            }
            Some(Source::Arg(id, position)) if *position > 0 => {
                keep(*id, k, &mut live_ops, &mut work);
                let op = k.op(*id);
                work.push(op.operands[position + 1]);
                work.extend(yielded(k, op.blocks[0], position - 1));
                work.push(op.results[position - 1]);
            }
            Some(Source::Arg(..)) | None => {}
        }
    }
    rebuild(k, body, &live_ops, &live_values);
}

fn yielded(k: &Kernel, block: BlockId, position: usize) -> Option<ValueId> {
    let last = *k.block(block).ops.last()?;
    k.op(last).operands.get(position).copied()
}

fn collect(
    k: &Kernel,
    block: BlockId,
    inside: Option<OpId>,
    sources: &mut HashMap<ValueId, Source>,
    parent: &mut HashMap<OpId, OpId>,
) {
    if let Some(owner) = inside {
        for (i, a) in k.block(block).args.iter().enumerate() {
            sources.insert(*a, Source::Arg(owner, i));
        }
    }
    for &id in &k.block(block).ops {
        if let Some(owner) = inside {
            parent.insert(id, owner);
        }
        for r in &k.op(id).results {
            sources.insert(*r, Source::Op(id));
        }
        for &b in &k.op(id).blocks {
            collect(k, b, Some(id), sources, parent);
        }
    }
}

fn ops_below(k: &Kernel, block: BlockId) -> Vec<OpId> {
    let mut out = Vec::new();
    for &id in &k.block(block).ops {
        out.push(id);
        for &b in &k.op(id).blocks {
            out.extend(ops_below(k, b));
        }
    }
    out
}

fn rebuild(k: &mut Kernel, block: BlockId, ops: &HashSet<OpId>, values: &HashSet<ValueId>) {
    let kept: Vec<OpId> =
        k.block(block).ops.iter().copied().filter(|id| ops.contains(id) || k.op(*id).kind == OpKind::Yield).collect();
    for &id in &kept {
        let op = k.op(id).clone();
        if op.blocks.is_empty() {
            continue;
        }
        let live: Vec<bool> = op.results.iter().map(|r| values.contains(r)).collect();
        let filter = |list: &[ValueId]| -> Vec<ValueId> {
            list.iter().zip(&live).filter(|(_, l)| **l).map(|(v, _)| *v).collect()
        };
        for &b in &op.blocks {
            rebuild(k, b, ops, values);
            if let Some(&end) = k.block(b).ops.last() {
                k.ops[end.index()].operands = filter(&k.op(end).operands.clone());
            }
            if matches!(op.kind, OpKind::For { .. }) {
                let args = k.block(b).args.clone();
                k.blocks[b.index()].args = [vec![args[0]], filter(&args[1..])].concat();
            }
        }
        let data = &mut k.ops[id.index()];
        if matches!(op.kind, OpKind::For { .. }) {
            data.operands = [op.operands[..2].to_vec(), filter(&op.operands[2..])].concat();
        }
        data.results = filter(&op.results);
    }
    k.blocks[block.index()].ops = kept;
}
