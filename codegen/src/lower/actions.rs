//! Carries out the protocol's actions: barriers, fences and cursors as instructions.

use super::emit::{Emitter, Ssa};
use super::program::{EMPTY, FULL, PASS_END, READY, RECORD_EMPTY, RECORD_FULL};
use super::{lanes, sync};
use crate::target::Copies;
use tile_lang::ir::Role;
use tile_lang::protocol::{Barrier, Fence, Group, Parity, Reach, RingId, RingShape, Side, Turns};

/// A role's position in a ring, loaded.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    /// Slot, i32.
    pub index: Ssa,
    /// The same, shown to be alike in all lanes where that matters: descriptors of products are made of it.
    pub alike: Ssa,
    /// Phase bit, i32.
    pub phase: Ssa,
    /// Where both are kept.
    pub state: (Ssa, Ssa),
}

impl Cursor {
    /// Loads the cursor that is kept at `state`.
    pub fn load(e: &mut Emitter, state: &(Ssa, Ssa)) -> Cursor {
        let (index, phase) = (e.load(&state.0, "i32", 4, 0), e.load(&state.1, "i32", 4, 0));
        Cursor { alike: index.clone(), index, phase, state: state.clone() }
    }

    /// The phase that a wait names.
    pub fn parity(&self, e: &mut Emitter, parity: Parity) -> Ssa {
        match parity {
            Parity::Phase => self.phase.clone(),
            Parity::Opposite => {
                let one = e.i32(1);
                e.bin("xor", &self.phase, &one, "i32")
            }
        }
    }

    /// The next of `slots` slots.
    pub fn advance(&self, e: &mut Emitter, slots: usize) {
        sync::advance(e, &self.state, &self.index, &self.phase, slots);
    }
}

/// Byte offset of a ring's first barrier in shared memory.
const fn barriers(barrier: Barrier) -> usize {
    match (barrier.ring, barrier.side) {
        (RingId::Tiles, Side::Full) => FULL,
        (RingId::Tiles, Side::Empty) => EMPTY,
        (RingId::Records, Side::Full) => RECORD_FULL,
        (RingId::Records, Side::Empty) => RECORD_EMPTY,
        (RingId::Ready, _) => READY,
        (RingId::PassEnd, _) => PASS_END,
    }
}

/// Address of a barrier at a slot. `shared` is the address of shared memory.
pub(super) fn barrier(e: &mut Emitter, shared: &Ssa, barrier: Barrier, index: &Ssa) -> Ssa {
    let base = e.entry(|e| e.add_const(shared, barriers(barrier) as i64));
    if barrier.ring == RingId::PassEnd { base } else { sync::barrier_address(e, &base, index) }
}

/// Waits for a phase. When the kernel is told to end, the producer goes to `leave` at once, and consumers go on: 1 (i32) tells
/// them, 0 is the ordinary case.
pub(super) fn wait(e: &mut Emitter, role: Role, address: &Ssa, parity: &Ssa, leave: &str) -> Ssa {
    let control = "%control".to_owned();
    if role == Role::Producer {
        sync::wait_phase_or_leave(e, address, parity, &control, leave);
        return e.i32(0);
    }
    sync::wait_phase(e, address, parity, &control)
}

/// One arrival that announces bytes. Where lanes copy, they arrive themselves when their copies are done ([`copies_started`]).
pub(super) fn expect(e: &mut Emitter, address: &Ssa, bytes: usize) {
    if e.target.copies == Copies::Bulk {
        let bytes = e.i32(bytes as i64);
        let text = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;";
        e.asm(text, "r,r", &[(address, "i32"), (&bytes, "i32")], None);
    }
}

/// CTAs of a cluster as a copy's mask.
fn everyone(cluster: usize) -> u32 {
    (1u32 << cluster) - 1
}

/// Starts the copy of a multiple of 16 bytes from global memory at `source` to shared memory at `target`, which counts on the
/// barrier.
pub(super) fn copy(e: &mut Emitter, target: &Ssa, source: &Ssa, bytes: usize, barrier: &Ssa, thread: &Ssa) {
    match e.target.copies {
        Copies::Bulk => {
            let bytes = e.i32(bytes as i64);
            e.asm(
                "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [$0], [$1], $2, [$3];",
                "r,l,r,r",
                &[(target, "i32"), (source, "!llvm.ptr<1>"), (&bytes, "i32"), (barrier, "i32")],
                None,
            );
        }
        Copies::Lanes => lanes::copy(e, target, source, bytes, thread),
    }
}

/// Starts a bulk copy to the same place of every CTA of a cluster, where it counts on the barrier at the same place.
pub(super) fn copy_to_all(e: &mut Emitter, target: &Ssa, source: &Ssa, bytes: usize, barrier: &Ssa, cluster: usize) {
    let bytes = e.i32(bytes as i64);
    let text = format!(
        "{{ .reg .b16 m; mov.b16 m, {}; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [$0], [$1], $2, [$3], m; }}",
        everyone(cluster)
    );
    let operands = [(target.as_str(), "i32"), (source.as_str(), "!llvm.ptr<1>"), (&bytes, "i32"), (barrier, "i32")];
    e.asm(&text, "r,l,r,r", &operands, None);
}

/// All copies into a slot are started: where lanes copy, each will arrive on the barrier when its own are done.
pub(super) fn copies_started(e: &mut Emitter, barrier: &Ssa) {
    if e.target.copies == Copies::Lanes {
        e.asm("cp.async.mbarrier.arrive.noinc.shared.b64 [$0];", "r", &[(barrier, "i32")], None);
    }
}

/// Arrivals that complete a phase of a barrier, with which it is initialised. The announcement of bytes is one arrival in the
/// protocol; lanes that copy make one each.
pub(super) fn arrivals(e: &Emitter, side: Side, shape: &RingShape) -> usize {
    match side {
        Side::Full if shape.slot_bytes > 0 => shape.full_arrivals * e.target.producer_lanes(),
        Side::Full => shape.full_arrivals,
        Side::Empty => shape.empty_arrivals,
    }
}

/// Starts a bulk tensor copy: the box at these coordinates, outermost axis first, of the array that `map` describes, to the same place of
/// `reached` CTAs of the cluster (1: this one's).
pub(super) fn tensor_copy(e: &mut Emitter, target: &Ssa, map: &Ssa, at: &[Ssa], barrier: &Ssa, reached: usize) {
    let rank = at.len();
    let coordinates: Vec<String> = (0..rank).map(|i| format!("${}", i + 3)).collect();
    let coordinates = coordinates.join(", ");
    let text = if reached == 1 {
        format!(
            "cp.async.bulk.tensor.{rank}d.shared::cta.global.tile.mbarrier::complete_tx::bytes [$0], [$1, {{{coordinates}}}], [$2];"
        )
    } else {
        format!(
            "{{ .reg .b16 m; mov.b16 m, {}; cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [$0], [$1, {{{coordinates}}}], [$2], m; }}",
            everyone(reached)
        )
    };
    let mut operands: Vec<(&str, &str)> = vec![(target, "i32"), (map, "i64"), (barrier, "i32")];
    operands.extend(at.iter().rev().map(|x| (x.as_str(), "i32")));
    let constraints = format!("r,l,r{}", ",r".repeat(rank));
    e.asm(&text, &constraints, &operands, None);
}

/// One arrival of the thread that comes here.
pub(super) fn arrive_one(e: &mut Emitter, address: &Ssa) {
    e.asm("mbarrier.arrive.shared::cta.b64 _, [$0];", "r", &[(address, "i32")], None);
}

/// A fence by every thread that comes here.
pub(super) fn fence(e: &mut Emitter, fence: Fence) {
    match fence {
        Fence::Gpu => drop(e.asm("fence.acq_rel.gpu;", "", &[], None)),
        // Copies by lanes go through the same proxy as other accesses.
        Fence::ProxyAsync | Fence::ProxyShared(_) if e.target.copies == Copies::Lanes => {}
        Fence::ProxyAsync => drop(e.asm("fence.proxy.async;", "", &[], None)),
        Fence::ProxyShared(Reach::Cta) => drop(e.asm("fence.proxy.async.shared::cta;", "", &[], None)),
        Fence::ProxyShared(Reach::Cluster) => drop(e.asm("fence.proxy.async.shared::cluster;", "", &[], None)),
    }
}

/// Threads meet at a named barrier.
pub(super) fn meet(e: &mut Emitter, id: u8, threads: usize) {
    e.asm(&format!("bar.sync {id}, {threads};"), "", &[], None);
}

/// A warpgroup waits for its turn.
pub(super) fn take_turn(e: &mut Emitter, turns: Turns, group: Group, thread: &Ssa) {
    at_turn(e, "bar.sync", turns, group, thread, 0);
}

/// A warpgroup gives the turn to the next one.
pub(super) fn give_turn(e: &mut Emitter, turns: Turns, group: Group, thread: &Ssa) {
    at_turn(e, "bar.arrive", turns, group, thread, 1);
}

/// An instruction at the barrier of the warpgroup that comes so many after a thread's own. Where one warpgroup alone is meant the instruction is
/// predicated, by what all lanes of a warp have alike: a branch would be one that LLVM may copy a barrier into the arms of.
fn at_turn(e: &mut Emitter, instruction: &str, turns: Turns, group: Group, thread: &Ssa, ahead: usize) {
    let own = sync::warpgroup(e, thread);
    let threads = Turns::THREADS;
    match group {
        Group::Each => {
            let number = e.entry(|e| {
                let (mut to, first) = (own.clone(), i64::from(turns.first));
                for _ in 0..ahead {
                    let next = e.add_const(&to, 1);
                    let (groups, zero) = (e.i32(turns.groups as i64), e.i32(0));
                    let around = e.icmp("eq", &next, &groups, "i32");
                    to = e.select(&around, &zero, &next, "i32");
                }
                e.add_const(&to, first)
            });
            e.asm(&format!("{instruction} $0, {threads};"), "r", &[(&number, "i32")], None);
        }
        Group::One(one) => {
            let number = turns.taken_at((one + ahead) % turns.groups);
            let text = format!("{{ .reg .pred p; setp.eq.u32 p, $0, {one}; @p {instruction} {number}, {threads}; }}");
            e.asm(&text, "r", &[(&own, "i32")], None);
        }
    }
}
