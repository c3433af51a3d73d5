//! Why mutants that the static checkers accept are not wrong.

use super::generate::{Around, Edit, Mutation, Site};
use tile_lang::ir::{Access, OpId, OpKind, Type, ValueId};
use tile_lang::protocol::{Action, At, Barrier, Fence, Protocol, Side, Who};

/// Why a mutant behaves as the original, where that follows from the change alone.
pub fn same(p: &Protocol, m: &Mutation) -> Option<&'static str> {
    let Mutation::Action(site, at, edit, action) = m else { return None };
    let after = || match site {
        Site::Op(k, op) => p.bodies[*k].actions[op].get(at + 1).cloned(),
        Site::Entry(k, block) => p.bodies[*k].entries[block].get(at + 1).cloned(),
        Site::Items(k, Around::Before) => p.bodies[*k].before_items.get(at + 1).cloned(),
        Site::Items(k, Around::After) => p.bodies[*k].after_items.get(at + 1).cloned(),
        Site::Frame("fetch") => p.frame.fetch.get(at + 1).cloned(),
        Site::Frame("consumer_begin") => p.frame.consumer_begin.get(at + 1).cloned(),
        Site::Frame(_) => None,
    };
    match (edit, action) {
        (Edit::Repeat, Action::Wait { .. }) => Some("the phase is over: a second wait for it returns at once"),
        (Edit::Repeat, Action::Fence(..)) => Some("a second fence orders nothing more"),
        (Edit::Repeat, Action::Meet { .. }) => Some("a second meeting orders nothing more"),
        (Edit::Repeat, Action::WaitCounters | Action::WaitLast) => Some("the counters have reached their targets"),
        (Edit::Repeat, Action::ExchangeWrite { .. } | Action::ExchangeRead { .. }) => {
            Some("the same registers once more")
        }
        (Edit::Replace("by others", Action::Fence(_, Who::EachWarp)), _) => Some("more warps fence than need to"),
        (Edit::Repeat, Action::Keep { .. }) => Some("the same bytes once more"),
        (Edit::Repeat, Action::WaitProducts { .. }) => Some("a second wait for the same products returns at once"),
        (Edit::Repeat, Action::Arrive { at: At::PutOffBy(_), .. }) => {
            Some("a slot whose release was put off is given back once: then there is none")
        }
        (Edit::Swap, Action::Own) if matches!(after(), Some(Action::Meet { .. })) && keeps_to_itself(p, site) => {
            Some("what the op computes, or reads of data that nobody writes meanwhile, needs no order")
        }
        (Edit::Swap, a) => match (a, after()?) {
            (Action::Copy { .. }, Action::Copy { .. }) => Some("copies of a slot have no order"),
            (Action::Arrive { at: At::PutOffBy(_), .. }, Action::Arrive { at: At::PutOffBy(_), .. }) => {
                Some("slots whose release was put off are given back in no order")
            }
            (Action::TakeTurn { .. }, Action::Own) | (Action::Start { .. }, Action::GiveTurn { .. }) => {
                Some("a turn says when a product begins, and nothing of what it reads")
            }
            (Action::GiveTurn { .. }, Action::WaitProducts { .. }) => Some("the turn is given a little later"),
            (Action::Keep { .. }, Action::Keep { .. }) => Some("operands are kept side by side, in no order"),
            (Action::Fence(Fence::ProxyShared(_), _), Action::Expect { .. }) => {
                Some("the announcement touches nothing that copies overwrite")
            }
            (Action::Expect { .. }, Action::Copy { .. }) => {
                Some("the arrival that is still to come keeps the phase open")
            }
            (Action::Wait { .. }, Action::Own) | (Action::Own, Action::Advance(_)) => {
                Some("a wait has no work of its own")
            }
            (Action::Arrive { barrier, .. }, Action::Meet { .. }) if barrier.side == Side::Full => {
                Some("the producer is told a little later")
            }
            (Action::Arrive { at: At::PutOffBy(_), .. }, Action::Start { .. }) => {
                Some("the producer is told a little later")
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether an op touches no memory that some warp may write meanwhile: arrays that its kernel writes.
fn keeps_to_itself(p: &Protocol, site: &Site) -> bool {
    let Site::Op(k, op) = site else { return false };
    let kernel = &p.kernels[*k];
    let op = kernel.op(*op);
    let written = |v: &ValueId| matches!(kernel.ty(*v), Type::Global(_, _, Access::Write));
    op.blocks.is_empty() && !op.operands.iter().any(written)
}

/// Why a mutant that is accepted is not wrong, as far as known.
pub fn reason(p: &Protocol, m: &Mutation) -> Option<&'static str> {
    let (site, edit, action) = match m {
        Mutation::Flag(_, "copied_later") => {
            return Some("the kernel only reads what is copied later, it writes none of it");
        }
        Mutation::Action(site, _, edit, action) => (site, edit, action),
        _ => return None,
    };
    match (edit, action) {
        (Edit::Delete, Action::Meet { .. }) if matches!(site, Site::Frame("decide")) => {
            Some("the warps meet at every record before the verdict is written again")
        }
        (Edit::Delete | Edit::Swap, Action::Meet { .. }) => {
            Some("other meetings order the same accesses, or one thread makes them")
        }
        (Edit::Delete, Action::WaitProducts { left: 0 }) | (Edit::Swap, Action::Start { .. })
            if is_waited_for_later(p, site) =>
        {
            Some("the next product is waited for before the sum is read and any slot is given back")
        }
        (Edit::Swap, Action::Start { terms }) if terms.start > 0 && runs_on(p, site) => {
            Some("one more part runs on, and both are waited for before what they read is written or given back")
        }
        (_, Action::Fence(Fence::ProxyShared(_), _)) | (Edit::Swap, Action::Keep { .. })
            if is_fenced_later(p, site) =>
        {
            Some("an operand that is kept later has a fence of its own, before the products of both")
        }
        (Edit::Swap, Action::Own) => Some("no access of another op relied on this order"),
        (Edit::Swap, Action::Wait { barrier: Barrier { side: Side::Empty, .. }, .. }) => {
            Some("the phase before is known to be over, and the copies still wait for the slot")
        }
        (Edit::Delete | Edit::Replace("other barrier", _), Action::Wait { barrier, .. })
            if barrier.side == Side::Empty && matches!(site, Site::Op(..)) =>
        {
            Some("the wait before it is for a slot that every warp gives back later than this one")
        }
        _ => None,
    }
}

/// Whether the last thing that an op does is to wait until one product runs.
fn runs_on(p: &Protocol, site: &Site) -> bool {
    let Site::Op(k, op) = site else { return false };
    p.bodies[*k].actions[op].last() == Some(&Action::WaitProducts { left: 1 })
}

/// Whether an op is a product and the block's next product is waited for, with nothing between the two that reads the sum, gives a slot back or
/// writes to shared memory.
fn is_waited_for_later(p: &Protocol, site: &Site) -> bool {
    let Site::Op(k, product) = site else { return false };
    let (kernel, body) = (&p.kernels[*k], &p.bodies[*k]);
    let sum = kernel.op(*product).results[0];
    let Some(block) = kernel.blocks.iter().find(|b| b.ops.contains(product)) else { return false };
    let after: Vec<OpId> = block.ops.iter().skip_while(|id| *id != product).skip(1).copied().collect();
    let Some(next) = after.iter().position(|id| kernel.op(*id).kind == OpKind::Mma) else { return false };
    let waited = body.actions.get(&after[next]).is_some_and(|l| l.last() == Some(&Action::WaitProducts { left: 0 }));
    let harmless = |id: &OpId| {
        let op = kernel.op(*id);
        let keeps = body.actions.get(id).is_some_and(|l| l.iter().any(|a| matches!(a, Action::Keep { .. })));
        op.blocks.is_empty() && op.kind != OpKind::RingRelease && !op.operands.contains(&sum) && !keeps
    };
    waited && !kernel.op(after[next]).operands[1..].contains(&sum) && after[..next].iter().all(harmless)
}

/// Whether an op keeps an operand, and a later op that does so too fences in every warp and lets all meet, before the first product that
/// takes the operand.
fn is_fenced_later(p: &Protocol, site: &Site) -> bool {
    let Site::Op(k, keeper) = site else { return false };
    let (kernel, body) = (&p.kernels[*k], &p.bodies[*k]);
    let list = |id: &OpId| body.actions.get(id).map_or(&[][..], Vec::as_slice);
    let kept = |id: &OpId| {
        let values = list(id).iter().filter_map(|a| if let Action::Keep { value } = a { Some(*value) } else { None });
        values.collect::<Vec<ValueId>>()
    };
    let own = kept(keeper);
    let mut order = Vec::new();
    kernel.walk(|id, _| order.push(id));
    let after: Vec<OpId> = order.into_iter().skip_while(|id| id != keeper).skip(1).collect();
    let takes =
        |id: &OpId| kernel.op(*id).kind == OpKind::Mma && kernel.op(*id).operands.iter().any(|v| own.contains(v));
    let hands_on = |id: &OpId| {
        let at = |wanted: &dyn Fn(&Action) -> bool| list(id).iter().rposition(wanted);
        let keep = at(&|a| matches!(a, Action::Keep { .. }));
        let fence = at(&|a| matches!(a, Action::Fence(Fence::ProxyShared(_), Who::EachWarp)));
        let meet = at(&|a| matches!(a, Action::Meet { .. }));
        keep.is_some() && keep < fence && fence < meet
    };
    !own.is_empty() && after.iter().take_while(|id| !takes(id)).any(hands_on)
}
