//! Barriers, waits and signals.

use super::emit::{Emitter, Ssa};
use crate::target::Copies;

/// Address of barrier `index` of an array of mbarriers.
pub(super) fn barrier_address(e: &mut Emitter, base: &Ssa, index: &Ssa) -> Ssa {
    let offset = e.mul_const(index, 8);
    e.bin("add", base, &offset, "i32")
}

/// A number (i32) that is the same in all lanes of a warp, as its first lane has it: this tells ptxas that it is the same, so that what is
/// computed from it, descriptors and addresses of barriers, stays in uniform registers, of which a warp has one for all lanes.
pub(super) fn of_first_lane(e: &mut Emitter, x: &Ssa) -> Ssa {
    e.asm("shfl.sync.idx.b32 $0, $1, 0, 0x1f, 0xffffffff;", "=r,r", &[(x, "i32")], Some("i32"))
}

/// The warpgroup of one of the consumers' threads.
pub(super) fn warpgroup(e: &mut Emitter, thread: &Ssa) -> Ssa {
    e.entry(|e| {
        let seven = e.i32(7);
        let own = e.bin("lshr", thread, &seven, "i32");
        of_first_lane(e, &own)
    })
}

/// Next slot; the phase turns when the slots start over.
pub(super) fn advance(e: &mut Emitter, state: &(Ssa, Ssa), index: &Ssa, phase: &Ssa, slots: usize) {
    let next = e.add_const(index, 1);
    let (count, zero, one) = (e.i32(slots as i64), e.i32(0), e.i32(1));
    let wraps = e.icmp("eq", &next, &count, "i32");
    let next = e.select(&wraps, &zero, &next, "i32");
    let turned = e.bin("xor", phase, &one, "i32");
    let phase = e.select(&wraps, &turned, phase, "i32");
    e.store(&next, &state.0, "i32", 4, 0);
    e.store(&phase, &state.1, "i32", 4, 0);
}

/// Waits until the barrier's phase with this parity is complete, or the kernel is told to end: then the wait falls
/// through. Returns 1 (i32) in that case. All consumer threads wait alike, but may fall through one by one: what follows must
/// not let their paths part before they have voted ([`vote`]).
pub(super) fn wait_phase(e: &mut Emitter, barrier: &Ssa, phase: &Ssa, control: &Ssa) -> Ssa {
    let (again, slow, done) = (e.label(), e.label(), e.label());
    let (zero, one, flag) = (e.i32(0), e.i32(1), e.fresh());
    e.br(&again, &[]);
    e.block(&again, "");
    let ready = try_wait(e, barrier, phase);
    e.cond_br(&ready, &format!("{done}({zero} : i32)"), &slow);
    e.block(&slow, "");
    let stop = aborted(e, control);
    e.cond_br(&stop, &format!("{done}({one} : i32)"), &again);
    e.block(&done, &format!("({flag}: i32)"));
    // Lanes may leave the loop one by one; products and shuffles need them together again.
    e.asm("bar.warp.sync 0xffffffff;", "", &[], None);
    flag
}

/// As [`wait_phase`] for the producer, a single thread or the lanes of a warp: when the kernel is told to end they leave at once.
pub(super) fn wait_phase_or_leave(e: &mut Emitter, barrier: &Ssa, phase: &Ssa, control: &Ssa, leave: &str) {
    let (again, slow, done) = (e.label(), e.label(), e.label());
    e.br(&again, &[]);
    e.block(&again, "");
    let ready = try_wait(e, barrier, phase);
    e.cond_br(&ready, &done, &slow);
    e.block(&slow, "");
    let stop = aborted(e, control);
    e.cond_br(&stop, leave, &again);
    e.block(&done, "");
    if e.target.producer_lanes() > 1 {
        e.asm("bar.warp.sync 0xffffffff;", "", &[], None);
    }
}

/// Whether the phase is complete, after the hardware has waited for a while where it can.
fn try_wait(e: &mut Emitter, barrier: &Ssa, phase: &Ssa) -> Ssa {
    if e.target.copies == Copies::Lanes {
        return test_phase(e, barrier, phase);
    }
    let ok = e.asm(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [$1], $2; selp.b32 $0, 1, 0, p; }",
        "=r,r,r",
        &[(barrier, "i32"), (phase, "i32")],
        Some("i32"),
    );
    let zero = e.i32(0);
    e.icmp("ne", &ok, &zero, "i32")
}

/// Threads meet at a named barrier; whether any of them brings a non-zero flag.
pub(super) fn vote(e: &mut Emitter, flag: &Ssa, id: u8, threads: usize) -> Ssa {
    let text = format!(
        "{{ .reg .pred p, q; setp.ne.b32 q, $1, 0; bar.red.or.pred p, {id}, {threads}, q; selp.b32 $0, 1, 0, p; }}"
    );
    let any = e.asm(&text, "=r,r", &[(flag, "i32")], Some("i32"));
    let zero = e.i32(0);
    e.icmp("ne", &any, &zero, "i32")
}

/// Whether the barrier's phase with this parity is complete now.
pub(super) fn test_phase(e: &mut Emitter, barrier: &Ssa, phase: &Ssa) -> Ssa {
    let ok = e.asm(
        "{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [$1], $2; selp.b32 $0, 1, 0, p; }",
        "=r,r,r",
        &[(barrier, "i32"), (phase, "i32")],
        Some("i32"),
    );
    let zero = e.i32(0);
    e.icmp("ne", &ok, &zero, "i32")
}

/// As [`test_phase`] for the producer, whose lanes must all go the same way.
pub(super) fn test_phase_alike(e: &mut Emitter, barrier: &Ssa, phase: &Ssa) -> Ssa {
    let mine = test_phase(e, barrier, phase);
    if e.target.producer_lanes() == 1 {
        return mine;
    }
    let flag = e.op(&format!("llvm.zext {mine} : i1 to i32"));
    let all = e.asm(
        "{ .reg .pred p, q; setp.ne.b32 q, $1, 0; vote.sync.all.pred p, q, 0xffffffff; selp.b32 $0, 1, 0, p; }",
        "=r,r",
        &[(&flag, "i32")],
        Some("i32"),
    );
    let zero = e.i32(0);
    e.icmp("ne", &all, &zero, "i32")
}

/// Whether some wait ran out of time, so that the kernel must end.
pub(super) fn aborted(e: &mut Emitter, control: &Ssa) -> Ssa {
    let flag = e.asm("ld.relaxed.sys.global.b32 $0, [$1];", "=r,l", &[(control, "!llvm.ptr<1>")], Some("i32"));
    let zero = e.i32(0);
    e.icmp("ne", &flag, &zero, "i32")
}

/// The CTAs of a cluster meet; what they wrote before is seen after it. Threads that have ended count as there.
pub(super) fn meet_cluster(e: &mut Emitter) {
    e.asm("barrier.cluster.arrive.release;", "", &[], None);
    e.asm("barrier.cluster.wait.acquire;", "", &[], None);
}

/// One arrival from a warp at the barrier of each CTA of its cluster (of one: its own), once all its lanes are here: a lane for each
/// CTA. With a condition, which is the same in all lanes, only where it holds.
pub(super) fn arrive_warp(e: &mut Emitter, barrier: &Ssa, thread: &Ssa, cluster: usize, condition: Option<&Ssa>) {
    e.asm("bar.warp.sync 0xffffffff;", "", &[], None);
    let mask = e.i32(31);
    let lane = e.bin("and", thread, &mask, "i32");
    let ctas = e.i32(cluster as i64);
    let first = if cluster == 1 {
        let zero = e.i32(0);
        e.icmp("eq", &lane, &zero, "i32")
    } else {
        e.icmp("ult", &lane, &ctas, "i32")
    };
    let first = match condition {
        Some(c) => e.bin("and", &first, c, "i1"),
        None => first,
    };
    if cluster > 1 {
        let flag = e.op(&format!("llvm.zext {first} : i1 to i32"));
        let text = "{ .reg .pred p; .reg .b32 a; setp.ne.b32 p, $2, 0; @p mapa.shared::cluster.u32 a, $0, $1; \
                    @p mbarrier.arrive.shared::cluster.b64 _, [a]; }";
        e.asm(text, "r,r,r", &[(barrier, "i32"), (&lane, "i32"), (&flag, "i32")], None);
        return;
    }
    let flag = e.op(&format!("llvm.zext {first} : i1 to i32"));
    e.asm(
        "{ .reg .pred p; setp.ne.b32 p, $1, 0; @p mbarrier.arrive.shared::cta.b64 _, [$0]; }",
        "r,r",
        &[(barrier, "i32"), (&flag, "i32")],
        None,
    );
}
