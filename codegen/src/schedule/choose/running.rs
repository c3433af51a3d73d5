//! Products that run on while the next iteration begins: where the sum is read behind the loop alone, and the ring has slots enough that
//! copies stay ahead although a running product holds its own.

use super::{Chosen, pinned_inflight};
use crate::layout::Assignment;
use crate::lower::crossing;
use tile_lang::ir::{BlockId, Kernel, OpData, OpKind, Role, slots_held};
use tile_lang::schedule::InFlight;
use tile_lang::span::Span;

/// Steps of a loop that the ring holds at least: one that is multiplied, one whose product runs on, one that is copied.
const STEPS: usize = 3;

/// `lowered` is the kernel in roles with what was chosen before, `slots` those of the program.
pub(super) fn choose(chosen: &mut Chosen, lowered: &Kernel, layouts: &Assignment, slots: usize) {
    let Some(body) = lowered.body(Role::Consumer) else { return };
    let pinned = pinned_inflight(lowered);
    let running = pinned.values().copied().max().unwrap_or(0).max(1);
    if slots_held(lowered) * (1 + running) > slots {
        return;
    }
    let definitions = lowered.definitions();
    let mut loops = Vec::new();
    collect(lowered, body, &mut loops);
    for op in loops {
        let Some(crossing) = crossing(lowered, layouts, &definitions, op) else { continue };
        let ops = &lowered.block(op.blocks[0]).ops;
        let taken = ops.iter().filter(|id| matches!(lowered.op(**id).kind, OpKind::RingWait(_))).count();
        // Two products in a step overlap each other already, and what both hold leaves no registers to spare.
        let mut products = ops.iter().filter(|id| lowered.op(**id).kind.is_product());
        let one = products.next() == Some(&crossing.product) && products.next().is_none();
        if !one || pinned.contains_key(&crossing.product) || taken == 0 || slots < STEPS * taken {
            continue;
        }
        let Some(name) = chosen.name(crossing.product) else { continue };
        let held = slots / taken;
        let why = format!(
            "its sum is read behind the loop alone, and the ring holds {held} steps ({STEPS} are enough): the tensor cores have the next product before this one ends"
        );
        chosen.note(format!("inflight {name} 1"), why);
        chosen.schedule().inflight.push(InFlight { op: name.into(), groups: 1, span: Span::NONE });
    }
}

/// The loops of a block, with those in them.
fn collect<'k>(k: &'k Kernel, block: BlockId, out: &mut Vec<&'k OpData>) {
    for op in k.block(block).ops.iter().map(|id| k.op(*id)) {
        if let OpKind::For { .. } = op.kind {
            out.push(op);
        }
        op.blocks.iter().for_each(|b| collect(k, *b, out));
    }
}
