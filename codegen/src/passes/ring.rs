//! Decides which staged loads share one ring transaction.
//!
//! Staged loads of one block that follow each other with only pure ops between them become one group: one slot, one
//! barrier phase, one announced byte count. The decision is data; [`super::specialise`] carries it out.

use crate::CodegenError;
pub use tile_lang::ir::MAX_SLOT_BYTES;
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, RingPart, Type, part_align};

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
}

/// Groups the staged loads of a kernel.
///
/// `group_bytes` is how much loads are merged up to; one load alone may be larger, up to [`MAX_SLOT_BYTES`].
///
/// # Errors
/// One load alone is larger than any slot may be.
pub fn ring_groups(kernel: &Kernel, group_bytes: usize) -> Result<Vec<RingGroup>, CodegenError> {
    let mut groups = Vec::new();
    for &(_, body) in &kernel.bodies {
        visit(kernel, body, group_bytes, &mut groups)?;
    }
    Ok(groups)
}

fn visit(kernel: &Kernel, block: BlockId, group_bytes: usize, groups: &mut Vec<RingGroup>) -> Result<(), CodegenError> {
    let mut open: Option<RingGroup> = None;
    for &id in &kernel.block(block).ops {
        let op = kernel.op(id);
        if !op.blocks.is_empty() || op.kind.has_effect() {
            groups.extend(open.take());
            for &inner in &op.blocks {
                visit(kernel, inner, group_bytes, groups)?;
            }
            continue;
        }
        if !matches!(op.kind, OpKind::Stage) {
            continue;
        }
        let (Type::Smem(dtype, shape), Type::Global(_, rank, _)) =
            (kernel.ty(op.results[0]), kernel.ty(op.operands[0]))
        else {
            continue;
        };
        let mut part = RingPart { dtype: *dtype, shape: shape.clone(), rank: *rank, offset: 0 };
        if part.bytes() > MAX_SLOT_BYTES {
            return Err(CodegenError::at(
                kernel,
                op.span,
                "E21",
                format!("this staged tile takes {} bytes, a ring slot can have {MAX_SLOT_BYTES}", part.bytes()),
                "stage a smaller tile in each iteration",
            ));
        }
        let align = part_align(part.bytes());
        let used = open.as_ref().map_or(0, RingGroup::bytes).next_multiple_of(align);
        if used + part.bytes() > group_bytes {
            groups.extend(open.take());
        }
        let group = open.get_or_insert_with(|| RingGroup { loads: Vec::new(), parts: Vec::new() });
        part.offset = group.bytes().next_multiple_of(align);
        group.loads.push(id);
        group.parts.push(part);
    }
    groups.extend(open);
    Ok(())
}
