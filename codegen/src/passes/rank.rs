//! Clusters: which values differ between the CTAs of one, what all of them copy alike, and whether they walk the ring in step.
//!
//! In a kernel whose items are in the order of a cluster the last result of `work` is the item's rank ([`tile_lang::schedule::apply_order`]);
//! nothing else tells the CTAs of a cluster apart, since they take items of one group at a time.

use super::derived::{Axis, Derived};
use crate::CodegenError;
use std::collections::HashSet;
use tile_lang::diag::{Diagnostic, Diagnostics, pointing};
use tile_lang::ir::{Kernel, OpId, OpKind, Role, ValueId};

/// Arrays of which all CTAs of a cluster stage the same tiles, wherever they stage them.
pub(crate) fn staged_alike(k: &Kernel) -> HashSet<ValueId> {
    let Some(producer) = k.body(Role::Producer).filter(|_| k.resources.cluster > 1) else { return HashSet::new() };
    let ranked = Derived::of(k, producer, Axis::Last);
    let (mut alike, mut own) = (HashSet::new(), HashSet::new());
    k.walk(|_, op| {
        let OpKind::RingFill(parts) = &op.kind else { return };
        let mut at = 0;
        for part in parts {
            let offsets = &op.operands[at + 1..at + 1 + part.rank];
            if offsets.iter().any(|v| ranked.has(*v)) { &mut own } else { &mut alike }.insert(op.operands[at]);
            at += 1 + part.rank;
        }
    });
    alike.retain(|v| !own.contains(v));
    alike
}

/// Checks that the CTAs of a cluster take the same slots at the same time, and that the cluster has something to share.
///
/// # Errors
/// `E30` at each loop or condition around staged loads that the rank decides on, or where nothing is shared.
pub(crate) fn in_step(k: &Kernel) -> Result<(), CodegenError> {
    let Some(producer) = k.body(Role::Producer).filter(|_| k.resources.cluster > 1) else { return Ok(()) };
    let ranked = Derived::of(k, producer, Axis::Last);
    let mut errors = Vec::new();
    let size = k.resources.cluster;
    k.walk(|id, op| {
        let decides = match op.kind {
            OpKind::For { .. } => op.operands[..2].iter().any(|v| ranked.has(*v)),
            OpKind::If => ranked.has(op.operands[0]),
            _ => false,
        };
        if decides && fills(k, id) {
            let message = format!("{size} CTAs of a cluster would take different numbers of slots here");
            let mut notes = pinned_here(k);
            notes.extend([
                "they take neighbouring items of the first axis of `work`, and this loop or condition depends on it".to_owned(),
                "CTAs that share copies take the same slots at the same time: let it depend on the other axes alone, or leave the cluster out".to_owned(),
            ]);
            errors.push(at(k, id, message, notes));
        }
    });
    if errors.is_empty() && staged_alike(k).is_empty() {
        let message = format!("{size} CTAs of a cluster have nothing to share");
        let mut notes = pinned_here(k);
        notes.extend([
            "every staged tile depends on the first axis of `work`, along which they take neighbouring items"
                .to_owned(),
            "leave the cluster out, or put the axis first that some staged tile doesn't depend on".to_owned(),
        ]);
        let first = k.block(producer).ops.iter().copied().find(|id| fills(k, *id));
        errors.extend(first.map(|id| at(k, id, message, notes)));
    }
    if errors.is_empty() { Ok(()) } else { Err(CodegenError::Program(Diagnostics(errors))) }
}

/// A note that says where a kernel asks for its cluster, if that is known.
pub(crate) fn pinned_here(k: &Kernel) -> Vec<String> {
    let span = k.resources.cluster_span;
    let file = k.files.get(span.file as usize).filter(|_| span.is_known());
    file.map(|file| pointing("the cluster is pinned here", file, span)).into_iter().collect()
}

/// Whether an op, or one nested in it, fills a slot.
fn fills(k: &Kernel, id: OpId) -> bool {
    let op = k.op(id);
    matches!(op.kind, OpKind::RingFill(_)) || op.blocks.iter().any(|b| k.block(*b).ops.iter().any(|o| fills(k, *o)))
}

fn at(k: &Kernel, id: OpId, message: String, notes: Vec<String>) -> Diagnostic {
    let span = k.op(id).span;
    let file = k.files.get(span.file as usize).cloned().unwrap_or_default();
    Diagnostic { code: "E30", message, file, span, notes }
}
