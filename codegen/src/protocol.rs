//! Derives the [`Protocol`] of a program: what each ring op and the frame around the bodies do to barriers and counters.
//!
//! Nothing else decides on barriers: the emitter carries these actions out, the simulator and the checkers read them. Changes of
//! layout are added by the emitter where it makes them.

use crate::CodegenError;
use crate::lower::{self, Machine, RECORD_SLOTS};
use std::collections::BTreeMap;
use tile_lang::ir::{Kernel, OpData, OpId, OpKind, RingPart, ValueId};
use tile_lang::plan::Plan;
use tile_lang::protocol::{
    Action, At, Barrier, Fence, Frame, Group, KernelProtocol, Parity, Protocol, Reach, RingId, RingShape, Side, Turns,
    Who,
};
use tile_lang::record::RECORD_BYTES;

/// The protocol of a plan's program as it is emitted for `machine`.
///
/// # Errors
/// A kernel that can't be lowered, or shared memory that is too small.
pub fn derive(plan: &Plan, machine: Machine) -> Result<Protocol, CodegenError> {
    Ok(lower::assemble(&plan.name, &plan.kernels, &lower::facts(plan), machine)?.protocol)
}

/// The barrier at which all consumer threads meet; 0 is for the whole CTA.
const CONSUMERS: u8 = 1;

/// The first of the barriers at which warpgroups wait for their turns; the others' follow.
const FIRST_TURN: u8 = CONSUMERS + 1;

/// The turns of `warps` consumer warps.
pub(crate) const fn turns(warps: usize) -> Turns {
    Turns { first: FIRST_TURN, groups: warps / Turns::WARPS }
}

/// The first warpgroup's first turn is there before the items of a record: the last warpgroup gives it. So each takes and gives in the same way,
/// and what is left over after the items is again the first one's turn.
fn first_turn(warps: usize) -> Action {
    let turns = turns(warps);
    Action::GiveTurn { turns, group: Group::One(turns.groups - 1) }
}

/// The first warpgroup takes the turn that is left over.
fn last_turn(warps: usize) -> Action {
    Action::TakeTurn { turns: turns(warps), group: Group::One(0) }
}

const fn full(ring: RingId) -> Barrier {
    Barrier { ring, side: Side::Full }
}

const fn empty(ring: RingId) -> Barrier {
    Barrier { ring, side: Side::Empty }
}

/// All consumer threads meet.
pub(crate) const fn meet(warps: usize) -> Action {
    Action::Meet { id: CONSUMERS, threads: 32 * warps }
}

/// The rings of a program whose tiles go through `slots` slots of `slot_bytes` to `warps` consumer warps, in clusters of `cluster` CTAs. A slot of
/// tiles is free when the warps of all of them are done with it.
pub(crate) fn rings(slots: usize, slot_bytes: usize, warps: usize, cluster: usize) -> BTreeMap<RingId, RingShape> {
    let shape = |slots, slot_bytes, empty_arrivals| RingShape { slots, slot_bytes, full_arrivals: 1, empty_arrivals };
    BTreeMap::from([
        (RingId::Tiles, shape(slots, slot_bytes, warps * cluster)),
        (RingId::Records, shape(RECORD_SLOTS, RECORD_BYTES, warps)),
        (RingId::Ready, shape(RECORD_SLOTS, 0, 0)),
        (RingId::PassEnd, shape(1, 0, 0)),
    ])
}

/// Around the bodies.
pub(crate) fn frame(warps: usize) -> Frame {
    use Action::{Advance, Arrive, Copy, Expect, Raise, Wait, WaitCounters, WaitLast};
    let arrive = |barrier, who| Arrive { barrier, at: At::Cursor, who, reach: Reach::Cta };
    Frame {
        fetch: vec![
            Wait { barrier: empty(RingId::Records), parity: Parity::Opposite },
            Action::Fence(Fence::ProxyShared(Reach::Cta), Who::One),
            Expect { barrier: full(RingId::Records), bytes: RECORD_BYTES },
            Copy { ring: RingId::Records, part: 0, bytes: RECORD_BYTES, reach: Reach::Cta },
            Advance(RingId::Records),
        ],
        producer_record: vec![Wait { barrier: full(RingId::Records), parity: Parity::Phase }],
        producer_depends: vec![
            Wait { barrier: full(RingId::Ready), parity: Parity::Phase },
            Action::Fence(Fence::ProxyAsync, Who::One),
        ],
        producer_next: vec![Advance(RingId::Records)],
        consumer_record: vec![Wait { barrier: full(RingId::Records), parity: Parity::Phase }],
        consumer_begin: vec![
            WaitCounters,
            Action::Fence(Fence::Gpu, Who::One),
            arrive(full(RingId::Ready), Who::One),
            meet(warps),
        ],
        consumer_copied_later: vec![Action::Fence(Fence::ProxyAsync, Who::EachWarp)],
        consumer_end: vec![meet(warps), Action::Fence(Fence::Gpu, Who::One), Raise],
        consumer_next: vec![arrive(empty(RingId::Records), Who::EachWarp), Advance(RingId::Records)],
        decide: vec![
            WaitLast,
            Action::Fence(Fence::Gpu, Who::One),
            arrive(full(RingId::PassEnd), Who::One),
            meet(warps),
            meet(warps),
        ],
        learn: vec![Wait { barrier: full(RingId::PassEnd), parity: Parity::Phase }, Advance(RingId::PassEnd)],
    }
}

/// The actions of a kernel's ring ops. `kernel` is split into roles; `shared` says of each array whether all CTAs of a cluster copy the same
/// tiles of it.
pub(crate) fn ring_actions(
    kernel: &Kernel,
    dependent: bool,
    copied_later: bool,
    shared: &dyn Fn(ValueId) -> bool,
) -> KernelProtocol {
    let cluster = kernel.resources.cluster.max(1);
    let given_to = if cluster > 1 { Reach::Cluster } else { Reach::Cta };
    let definitions = kernel.definitions();
    let mut actions = BTreeMap::new();
    kernel.walk(|id, op| {
        let list = match &op.kind {
            OpKind::RingFill(parts) => fill(op, parts, cluster, shared),
            OpKind::RingWait(_) => vec![
                Action::Wait { barrier: full(RingId::Tiles), parity: Parity::Phase },
                Action::Own,
                Action::Advance(RingId::Tiles),
            ],
            OpKind::RingRelease => {
                let wait: Option<OpId> = op.operands.first().and_then(|v| definitions[v.index()]);
                let at = wait.map_or(At::Cursor, At::TakenBy);
                vec![Action::Arrive { barrier: empty(RingId::Tiles), at, who: Who::EachWarp, reach: given_to }]
            }
            _ => return,
        };
        actions.insert(id, list);
    });
    KernelProtocol { actions, dependent, copied_later, ..KernelProtocol::default() }
}

/// Before a transaction's copies overwrite what threads may have read, they fence: reads through registers and writes by copies go through
/// different proxies, and an arrival alone doesn't order these.
pub(crate) fn fence_fills(kernel: &Kernel, bodies: &mut KernelProtocol) {
    let reach = if kernel.resources.cluster > 1 { Reach::Cluster } else { Reach::Cta };
    for (id, list) in &mut bodies.actions {
        let fills = matches!(kernel.op(*id).kind, OpKind::RingFill(_));
        if let Some(wait) = list.iter().position(|a| matches!(a, Action::Wait { .. })).filter(|_| fills) {
            list.insert(wait + 1, Action::Fence(Fence::ProxyShared(reach), Who::One));
        }
    }
}

/// What consumers do around the items of a kernel whose warpgroups start products in turns.
pub(crate) fn add_turns(to: &mut KernelProtocol, warps: usize) {
    to.before_items.push(first_turn(warps));
    to.after_items.push(last_turn(warps));
}

fn fill(op: &OpData, parts: &[RingPart], cluster: usize, shared: &dyn Fn(ValueId) -> bool) -> Vec<Action> {
    let bytes = parts.iter().map(RingPart::bytes).sum();
    let mut list = vec![
        Action::Wait { barrier: empty(RingId::Tiles), parity: Parity::Opposite },
        Action::Expect { barrier: full(RingId::Tiles), bytes },
    ];
    let mut at = 0;
    for (part, p) in parts.iter().enumerate() {
        let all = cluster > 1 && shared(op.operands[at]);
        let (bytes, reach) = if all { (p.bytes() / cluster, Reach::Cluster) } else { (p.bytes(), Reach::Cta) };
        list.push(Action::Copy { ring: RingId::Tiles, part, bytes, reach });
        at += 1 + p.rank;
    }
    list.push(Action::Advance(RingId::Tiles));
    list
}
