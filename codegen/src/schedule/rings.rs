//! Rings as pinned: which loads share a transaction, and whether one ring of slots can carry them in that order.

use super::at;
use crate::passes::{MAX_SLOT_BYTES, RingGroup, part_of};
use tile_lang::diag::{Diagnostic, pointing};
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind};
use tile_lang::schedule::{NamedOp, Resolved, Schedule, named_ops};

/// The transactions that a schedule pins.
///
/// # Errors
/// `E21` loads that are larger than a slot together, with a table; `E30` loads that can't share one transaction.
pub(crate) fn pinned_groups(
    kernel: &Kernel,
    s: &Schedule,
    resolved: &Resolved,
) -> Result<Vec<RingGroup>, Vec<Diagnostic>> {
    let ops = named_ops(kernel);
    let mut errors = Vec::new();
    let mut out = Vec::new();
    for plan in &resolved.rings {
        let ring = &s.rings[plan.ring];
        let mut group = RingGroup { loads: Vec::new(), parts: Vec::new() };
        for load in &plan.loads {
            if let Some(part) = part_of(kernel, *load) {
                group.push(*load, part);
            }
        }
        let id = |op: OpId| ops.iter().find(|n| n.op == op).map(NamedOp::id).unwrap_or_default();
        if group.bytes() > MAX_SLOT_BYTES {
            let mut notes: Vec<String> = (group.loads.iter().zip(&group.parts))
                .map(|(op, p)| {
                    format!("{:>7} bytes at {:>6}: `{}`, {} {:?}", p.bytes(), p.offset, id(*op), p.dtype, p.shape)
                })
                .collect();
            notes.push(format!("a slot holds at most {MAX_SLOT_BYTES} bytes: stage smaller tiles, or use two rings"));
            let message = format!("ring `{}` puts {} bytes into a slot", ring.name, group.bytes());
            errors.push(at(s, ring.span, "E21", message, notes));
        }
        if let Err((message, other)) = in_one_go(kernel, &plan.loads, &ops) {
            let place = |op: OpId| {
                let span = kernel.op(op).span;
                (kernel.files.get(span.file as usize).cloned().unwrap_or_default(), span)
            };
            let mut notes = Vec::new();
            for op in [plan.loads[0], other] {
                let (file, span) = place(op);
                let what = if id(op).is_empty() { "and this here".into() } else { format!("`{}` is here", id(op)) };
                notes.push(pointing(&what, &file, span));
            }
            notes.push(
                "all roles take slots of one ring in one order: loads share a slot if nothing but arithmetic stands between them"
                    .into(),
            );
            errors.push(at(s, ring.span, "E30", format!("ring `{}`: {message}", ring.name), notes));
        }
        out.push(group);
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// Whether loads can be one transaction: they stand in one block, with no effect, control flow or other load between them.
fn in_one_go(kernel: &Kernel, loads: &[OpId], ops: &[NamedOp]) -> Result<(), (String, OpId)> {
    let block_of = |op: OpId| ops.iter().find(|n| n.op == op).map_or(BlockId(0), |n| n.block);
    let id = |op: OpId| ops.iter().find(|n| n.op == op).map(NamedOp::id).unwrap_or_default();
    let block = block_of(loads[0]);
    if let Some(other) = loads.iter().find(|l| block_of(**l) != block) {
        return Err((format!("`{}` and `{}` stand in different blocks", id(loads[0]), id(*other)), *other));
    }
    let list = &kernel.block(block).ops;
    let first = list.iter().position(|o| *o == loads[0]).unwrap_or_default();
    let last = list.iter().rposition(|o| loads.contains(o)).unwrap_or_default();
    for between in &list[first..=last] {
        let op = kernel.op(*between);
        let other_load = op.kind == OpKind::Stage && !loads.contains(between);
        if other_load || op.kind.has_effect() || !op.blocks.is_empty() {
            let what = if other_load { id(*between) } else { op.kind.mnemonic().into() };
            return Err((format!("`{what}` stands between its loads"), *between));
        }
    }
    Ok(())
}
