//! Decides which staged loads share one ring transaction.
//!
//! Staged loads of one block that follow each other with only pure ops between them become one group: one slot, one
//! barrier phase, one announced byte count. What a schedule pins comes first. The decision is data; [`super::specialise`]
//! carries it out.

use crate::{CodegenError, schedule};
use tile_lang::diag::Diagnostics;
pub use tile_lang::ir::MAX_SLOT_BYTES;
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, RingPart, Type, part_align};
use tile_lang::schedule::resolve;

/// Staged loads that share a ring slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingGroup {
    /// The `stage` ops, in order.
    pub loads: Vec<OpId>,
    /// Their parts of the slot, in the same order.
    pub parts: Vec<RingPart>,
}

impl RingGroup {
    /// Bytes that the group takes of its slot.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|p| p.offset + p.bytes()).max().unwrap_or(0)
    }

    /// Where a part lies behind the others.
    fn next_offset(&self, part: &RingPart) -> usize {
        self.bytes().next_multiple_of(part_align(part.bytes()))
    }

    /// Adds a load.
    pub(crate) fn push(&mut self, load: OpId, mut part: RingPart) {
        part.offset = self.next_offset(&part);
        self.loads.push(load);
        self.parts.push(part);
    }
}

/// What a staged load brings into a slot.
pub(crate) fn part_of(kernel: &Kernel, load: OpId) -> Option<RingPart> {
    let op = kernel.op(load);
    match (kernel.ty(*op.results.first()?), kernel.ty(*op.operands.first()?)) {
        (Type::Smem(dtype, shape), Type::Global(_, rank, _)) if op.kind == OpKind::Stage => {
            Some(RingPart { dtype: *dtype, shape: shape.clone(), rank: *rank, offset: 0 })
        }
        _ => None,
    }
}

/// Groups the staged loads of a kernel.
///
/// `group_bytes` is how much loads are merged up to; one load alone may be larger, up to [`MAX_SLOT_BYTES`].
///
/// # Errors
/// One load alone is larger than any slot may be; a ring of the schedule that can't be realised.
pub fn ring_groups(kernel: &Kernel, group_bytes: usize) -> Result<Vec<RingGroup>, CodegenError> {
    let pinned = match kernel.schedule.as_deref() {
        Some(s) => schedule::pinned_groups(kernel, s, &resolve(kernel, s)?)
            .map_err(|e| CodegenError::Program(Diagnostics(e)))?,
        None => Vec::new(),
    };
    let mut groups = Vec::new();
    for &(_, body) in &kernel.bodies {
        visit(kernel, body, group_bytes, &pinned, &mut groups)?;
    }
    Ok(groups)
}

fn visit(
    kernel: &Kernel,
    block: BlockId,
    group_bytes: usize,
    pinned: &[RingGroup],
    groups: &mut Vec<RingGroup>,
) -> Result<(), CodegenError> {
    let mut open: Option<RingGroup> = None;
    for &id in &kernel.block(block).ops {
        let op = kernel.op(id);
        if !op.blocks.is_empty() || op.kind.has_effect() {
            groups.extend(open.take());
            for &inner in &op.blocks {
                visit(kernel, inner, group_bytes, pinned, groups)?;
            }
            continue;
        }
        if !matches!(op.kind, OpKind::Stage) {
            continue;
        }
        let Some(part) = part_of(kernel, id) else { continue };
        if let Some(group) = pinned.iter().find(|g| g.loads.contains(&id)) {
            groups.extend(open.take());
            if group.loads[0] == id {
                groups.push(group.clone());
            }
            continue;
        }
        if part.bytes() > MAX_SLOT_BYTES {
            return Err(CodegenError::at(
                kernel,
                op.span,
                "E21",
                format!("this staged tile takes {} bytes, a ring slot can have {MAX_SLOT_BYTES}", part.bytes()),
                "stage a smaller tile in each iteration",
            ));
        }
        let used = open.as_ref().map_or(0, |g| g.next_offset(&part));
        if used + part.bytes() > group_bytes {
            groups.extend(open.take());
        }
        let group = open.get_or_insert_with(|| RingGroup { loads: Vec::new(), parts: Vec::new() });
        group.push(id, part);
    }
    groups.extend(open);
    Ok(())
}
