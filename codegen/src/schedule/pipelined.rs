//! `pipelined::<S>(range)`: the ring has S slots, as a schedule's `stages` says it.

use crate::CodegenError;
use tile_lang::diag::{Diagnostic, Diagnostics, pointing};
use tile_lang::ir::{BlockId, Kernel, OpKind, Stage};
use tile_lang::span::Span;

/// Whether a block, or one nested in it, fills or reads the ring.
fn transfers(k: &Kernel, block: BlockId) -> bool {
    let mut found = false;
    k.walk_block(block, &mut |_, op| found |= matches!(op.kind, OpKind::RingFill(_) | OpKind::RingWait(_)));
    found
}

/// Carries out what loops pin, in a kernel that is split into roles. A schedule's number of stages takes the place of theirs;
/// where roles and rings are written out, ring and loops say the same.
///
/// # Errors
/// `E30` two loops, or a loop and a ring, with different numbers.
pub(crate) fn pin_loops(lowered: &mut Kernel, original: &Kernel) -> Result<(), CodegenError> {
    let mut loops: Vec<(Span, usize)> = Vec::new();
    lowered.walk(|_, op| {
        if let OpKind::For { stages: 1.. } = op.kind
            && let [body] = op.blocks[..]
            && transfers(lowered, body)
            && let OpKind::For { stages } = op.kind
        {
            loops.push((op.span, stages));
        }
    });
    // Both roles have the loops.
    loops.sort_by_key(|(span, stages)| (span.file, span.line, span.col, *stages));
    loops.dedup();
    let Some(&(first, wanted)) = loops.first() else { return Ok(()) };
    let scheduled = lowered.resources.slots > 0 && original.stage < Stage::Specialised;
    if scheduled {
        let slots = lowered.resources.slots;
        for op in &mut lowered.ops {
            if let OpKind::For { stages } = &mut op.kind
                && *stages > 0
                && loops.iter().any(|(span, _)| *span == op.span)
            {
                *stages = slots;
            }
        }
        return Ok(());
    }
    let file = |span: Span| lowered.files.get(span.file as usize).cloned().unwrap_or_default();
    let (pinned, at, what) = match lowered.resources.slots {
        0 => (wanted, first, format!("this loop pins {wanted}")),
        n => (n, lowered.resources.slots_span, format!("the ring has {n} slots")),
    };
    let errors: Vec<Diagnostic> = (loops.iter().filter(|(_, n)| *n != pinned))
        .map(|(span, n)| Diagnostic {
            code: "E30",
            message: format!("`pipelined::<{n}>` asks for a ring of {n} slots"),
            file: file(*span),
            span: *span,
            notes: vec![
                pointing(&what, &file(at), at),
                "all transactions of a CTA pass through one ring of slots: pin one number, or leave `pipelined` out"
                    .into(),
            ],
        })
        .collect();
    if !errors.is_empty() {
        return Err(CodegenError::Program(Diagnostics(errors)));
    }
    lowered.resources.slots = pinned;
    lowered.resources.slots_span = at;
    Ok(())
}
