//! Products that warpgroups start in turns: those whose sums are computed with in the same step. All warpgroups would start them together and
//! compute together, and the tensor cores would have nothing to do meanwhile.

use super::Chosen;
use crate::layout::{Assignment, consumer_warps};
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, Role};
use tile_lang::protocol::Turns;
use tile_lang::schedule::{self, OpName};
use tile_lang::span::Span;

/// `lowered` is the kernel in roles with what was chosen before.
pub(super) fn choose(chosen: &mut Chosen, lowered: &Kernel, layouts: &Assignment) {
    let Some(body) = lowered.body(Role::Consumer) else { return };
    let groups = consumer_warps(lowered) / Turns::WARPS;
    if groups < 2 || chosen.kernel.schedule.as_ref().is_some_and(|s| s.turns.is_some()) {
        return;
    }
    let mut steps = Vec::new();
    collect(lowered, body, &mut steps);
    let products: Vec<OpId> = steps.into_iter().filter_map(|step| computed_with(lowered, layouts, step)).collect();
    let ops: Vec<OpName> = products.into_iter().filter_map(|id| chosen.name(id)).map(OpName::from).collect();
    if ops.is_empty() {
        return;
    }
    let names: Vec<&str> = ops.iter().map(|op| op.text.as_str()).collect();
    let why = format!(
        "each step computes with the sum of its product: while one of {groups} warpgroups does, the tensor cores have the product of another"
    );
    chosen.note(format!("turns [{}]", names.join(", ")), why);
    chosen.schedule().turns = Some(schedule::Turns { ops, span: Span::NONE });
}

/// The only product of a step, if whole warpgroups carry it out and its sum goes to nothing but arithmetic in the step. Two products overlap each
/// other already, and with their sums there are no registers to spare.
fn computed_with(k: &Kernel, layouts: &Assignment, step: BlockId) -> Option<OpId> {
    let ops = &k.block(step).ops;
    let mut products = ops.iter().copied().filter(|id| k.op(*id).kind.is_product());
    let product = products.next().filter(|id| layouts.warpgroups.contains(id))?;
    let sum = k.op(product).results[0];
    let (mut here, mut elsewhere) = (false, products.next().is_some());
    k.walk(|id, op| {
        let arithmetic = op.kind.is_elementwise() && ops.contains(&id);
        here |= op.operands.contains(&sum) && arithmetic;
        elsewhere |= op.operands.contains(&sum) && !arithmetic;
    });
    (here && !elsewhere).then_some(product)
}

/// The bodies of a block's loops, with those in them.
fn collect(k: &Kernel, block: BlockId, out: &mut Vec<BlockId>) {
    for op in k.block(block).ops.iter().map(|id| k.op(*id)) {
        if let OpKind::For { .. } = op.kind {
            out.extend(&op.blocks);
        }
        op.blocks.iter().for_each(|b| collect(k, *b, out));
    }
}
