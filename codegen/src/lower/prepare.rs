//! What can be settled about an op instance before any code is emitted: roles, storage of staged tiles, whether the
//! producer depends on other instructions.

use super::facts::ParamFacts;
use crate::CodegenError;
use crate::layout::{assign, ring_sources};
use crate::passes::lower_to_roles;
use crate::protocol::ring_actions;
use tile_lang::ir::{Access, BlockId, Kernel, OpData, OpKind, Role, Type};
use tile_lang::packing::{Packing, TileOrder, fragment_width};
use tile_lang::protocol::KernelProtocol;

/// A kernel with everything that doesn't depend on where it is emitted.
pub(super) struct Prepared {
    pub kernel: Kernel,
    pub facts: Vec<ParamFacts>,
    pub ring: Vec<Vec<Packing>>,
    pub packings: Vec<Option<Packing>>,
    /// What its roles do at ring ops.
    pub protocol: KernelProtocol,
    /// Bytes of the largest ring transaction.
    pub slot_bytes: usize,
}

/// Prepares one instance; staged loads share ring slots up to `group_bytes`.
pub(super) fn prepare(kernel: &Kernel, facts: &[ParamFacts], group_bytes: usize) -> Result<Prepared, CodegenError> {
    let lowered = lower_to_roles(kernel, group_bytes)?;
    let broken = |m: &str| CodegenError::Lowering { kernel: kernel.name.clone(), message: m.into() };
    let consumer = lowered.body(Role::Consumer).ok_or_else(|| broken("no consumer body"))?;
    let producer = lowered.body(Role::Producer).ok_or_else(|| broken("no producer body"))?;
    let layouts = assign(&lowered, consumer);
    // A parameter has one storage: fragments only if every staged tile of it allows them.
    let (mut waits, mut fills) = (Vec::new(), Vec::new());
    ops_in(&lowered, consumer, &mut |op| {
        if matches!(op.kind, OpKind::RingWait(_)) {
            waits.push(op.results.clone());
        }
    });
    ops_in(&lowered, producer, &mut |op| {
        if let OpKind::RingFill(parts) = &op.kind {
            let mut at = 0;
            let mut list = Vec::new();
            for p in parts {
                list.push((op.operands[at], p.clone()));
                at += 1 + p.rank;
            }
            fills.push(list);
        }
    });
    let all_fragments = |param| {
        fills
            .iter()
            .zip(&waits)
            .all(|(f, w)| f.iter().zip(w).all(|((g, _), v)| *g != param || layouts.fragments.contains(v)))
    };
    let mut packings = vec![None; kernel.params.len()];
    let mut ring = Vec::new();
    for fill in &fills {
        let mut list = Vec::new();
        for (global, part) in fill {
            let tile = [part.shape[0], part.shape[1]];
            let weight = matches!(lowered.ty(*global), Type::Global(_, _, Access::Weight));
            let fits = tile[0] % 16 == 0 && tile[1] % 16 == 0 && part.dtype.bits() <= 16;
            let order = if weight && fits && all_fragments(*global) {
                TileOrder::Fragment { wide: fragment_width(part.dtype, tile[1]) }
            } else {
                TileOrder::RowMajor
            };
            let packing = Packing { tile, order };
            if weight {
                let slot = lowered
                    .params
                    .iter()
                    .position(|p| p.value == *global)
                    .ok_or_else(|| broken("a copy from no parameter"))?;
                if packings[slot].as_ref().is_some_and(|p| *p != packing) {
                    return Err(CodegenError::Plan(format!(
                        "kernel `{}`: weight `{}` is staged in tiles of different shapes; use one shape, or two parameters",
                        kernel.name, kernel.params[slot].name
                    )));
                }
                packings[slot] = Some(packing.clone());
            }
            list.push(packing);
        }
        ring.push(list);
    }
    let mut dependent = ring_sources(&lowered).iter().flatten().any(|a| *a != Access::Weight);
    ops_in(&lowered, producer, &mut |op| dependent |= matches!(op.kind, OpKind::At | OpKind::Load));
    let slot_bytes = fills.iter().flatten().map(|(_, p)| p.offset + p.bytes()).max().unwrap_or(0);
    let copied_later = facts.iter().any(|f| f.copied_later);
    let protocol = ring_actions(&lowered, dependent, copied_later);
    Ok(Prepared { kernel: lowered, facts: facts.to_vec(), ring, packings, protocol, slot_bytes })
}

fn ops_in(k: &Kernel, block: BlockId, f: &mut dyn FnMut(&OpData)) {
    for &id in &k.block(block).ops {
        f(k.op(id));
        for &b in &k.op(id).blocks {
            ops_in(k, b, f);
        }
    }
}

/// Axes of the grid of work items.
pub(super) fn work_axes(k: &Kernel) -> usize {
    let mut axes = 0;
    k.walk(|_, op| {
        if op.kind == OpKind::Work {
            axes = op.results.len();
        }
    });
    axes
}
