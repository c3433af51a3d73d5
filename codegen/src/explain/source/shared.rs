//! What stands before the roles: the ops of both bodies up to the work item, each once.
//!
//! The bodies are copies of one text from which each lacks what it doesn't need. Ops of the two are the same one if they do the same
//! with operands that are the same; of those, the longest common sequence is kept together, the others stand between.

use std::collections::HashMap;
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, ValueId};

/// The parts of a kernel's text.
pub(super) struct Shared {
    /// Before the roles.
    pub ops: Vec<OpId>,
    /// In the role that fills the ring.
    pub producer: Vec<OpId>,
    /// In the role that computes.
    pub consumer: Vec<OpId>,
    /// For values of the producer that are not printed: the consumer's value that they are.
    pub same: HashMap<ValueId, ValueId>,
}

/// Divides the bodies.
pub(super) fn shared(k: &Kernel, producer: Option<BlockId>, consumer: BlockId) -> Result<Shared, &'static str> {
    let split = |b: BlockId| {
        let ops = &k.block(b).ops;
        let end = ops.iter().position(|id| k.op(*id).kind == OpKind::Work).map_or(0, |i| i + 1);
        (ops[..end].to_vec(), ops[end..].to_vec())
    };
    let (first, producer) = producer.map(split).unwrap_or_default();
    let (second, consumer) = split(consumer);
    if second.iter().any(|id| matches!(k.op(*id).kind, OpKind::Store | OpKind::StoreMasked | OpKind::Set)) {
        return Err("it stores before it asks for its work");
    }
    let mut same: HashMap<ValueId, ValueId> = HashMap::new();
    let mut ops = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (x, y) in pairs(k, &first, &second) {
        let copied = |op: &OpId| k.op(*op).results.clone();
        ops.extend_from_slice(&first[i..x]);
        ops.extend_from_slice(&second[j..=y]);
        same.extend(copied(&first[x]).into_iter().zip(copied(&second[y])));
        (i, j) = (x + 1, y + 1);
    }
    ops.extend_from_slice(&first[i..]);
    ops.extend_from_slice(&second[j..]);
    Ok(Shared { ops, producer, consumer, same })
}

/// Positions of the ops that the two have in common, in order.
fn pairs(k: &Kernel, first: &[OpId], second: &[OpId]) -> Vec<(usize, usize)> {
    let mut same: HashMap<ValueId, ValueId> = HashMap::new();
    let mut out = Vec::new();
    let (mut i, mut j) = (0, 0);
    let mut anchors = anchors(k, first, second);
    anchors.push((first.len(), second.len()));
    for (x, y) in anchors {
        // What else is common stands between two ops that are known to be.
        let between = common(k, &first[i..x], &second[j..y]).into_iter().map(|(p, q)| (i + p, j + q));
        for (p, q) in between.chain((x < first.len()).then_some((x, y))) {
            let (a, b) = (k.op(first[p]), k.op(second[q]));
            // Operands that look the same may still be different copies; then both ops are printed.
            if a.operands.iter().zip(&b.operands).all(|(v, w)| same.get(v).unwrap_or(v) == w) {
                same.extend(a.results.iter().copied().zip(b.results.iter().copied()));
                out.push((p, q));
            }
        }
        (i, j) = ((x + 1).min(first.len()), (y + 1).min(second.len()));
    }
    out
}

/// The work item of both bodies and what it is computed from, as positions in order.
fn anchors(k: &Kernel, first: &[OpId], second: &[OpId]) -> Vec<(usize, usize)> {
    let made = |ops: &[OpId], v: ValueId| ops.iter().position(|id| k.op(*id).results.contains(&v));
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    let mut todo = match (first.len(), second.len()) {
        (0, _) | (_, 0) => Vec::new(),
        (n, m) => vec![(n - 1, m - 1)],
    };
    while let Some((x, y)) = todo.pop() {
        if pairs.contains(&(x, y)) {
            continue;
        }
        pairs.push((x, y));
        for (a, b) in k.op(first[x]).operands.iter().zip(&k.op(second[y]).operands) {
            if let (Some(p), Some(q)) = (made(first, *a), made(second, *b)) {
                todo.push((p, q));
            }
        }
    }
    pairs.sort_unstable();
    pairs
}

/// Positions of a longest common sequence.
fn common(k: &Kernel, a: &[OpId], b: &[OpId]) -> Vec<(usize, usize)> {
    let (a_keys, b_keys) = (keys(k, a), keys(k, b));
    let mut best = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            best[i][j] =
                if a_keys[i] == b_keys[j] { best[i + 1][j + 1] + 1 } else { best[i + 1][j].max(best[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < a.len() && j < b.len() {
        if a_keys[i] == b_keys[j] {
            out.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i + 1][j] >= best[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

/// What each op computes, as text: ops with blocks are like no other.
fn keys(k: &Kernel, ops: &[OpId]) -> Vec<String> {
    let mut known: HashMap<ValueId, String> = HashMap::new();
    let mut out = Vec::new();
    for id in ops {
        let op = k.op(*id);
        let operands: Vec<String> =
            op.operands.iter().map(|v| known.get(v).cloned().unwrap_or_else(|| v.to_string())).collect();
        let mut key = match &op.kind {
            OpKind::Require(_) => format!("require({})", operands.join(",")),
            kind => format!("{kind:?}({})", operands.join(",")),
        };
        if !op.blocks.is_empty() {
            key = format!("{id}");
        }
        known.extend(op.results.iter().enumerate().map(|(i, r)| (*r, format!("{key}.{i}:{}", k.ty(*r)))));
        out.push(key);
    }
    out
}
