//! The persistent kernel around the op bodies.
//!
//! One CTA per SM stays for the whole run. The first warps (8, or as many as schedules pin) are consumers, one thread of the
//! last warpgroup is the producer.
//! Both walk the program's records, which arrive in shared memory through a small ring of their own, and both take this
//! CTA's share of each instruction's work items: item `cta`, `cta + ctas`, …. The producer doesn't wait for other
//! instructions unless its copies depend on them, so weights of the next ones arrive while the present one computes.
//! After each instruction the CTAs that had items raise its counter; waits compare counters with what all passes so
//! far amount to, so nothing is ever reset. At the end of a pass the consumer decides whether there is another one and
//! tells the producer.

use super::emit::{Emitter, Ssa};
use super::facts::ParamFacts;
use super::frame::Frame;
use super::prepare::{Prepared, prepare};
use super::resources::{REGISTER_FILE, RingSpace, SLOT_ALIGN, Threads, cluster, ring_slots, threads};
use super::sync;
use crate::schedule::{Chosen, RingRoom, choose, with_pinned_split};
use crate::target::{self, Target};
use crate::{CodegenError, protocol};
use tile_lang::artifact::TensorBox;
use tile_lang::debug::Site;
use tile_lang::diag::Diagnostics;
use tile_lang::ir::{Kernel, Role};
use tile_lang::packing::Packing;
use tile_lang::protocol::{KernelProtocol, Protocol, Region, Registers};
use tile_lang::record;

/// Records in flight.
pub(crate) const RECORD_SLOTS: usize = 8;
/// Name of the kernel.
pub const ENTRY: &str = "monotile_program";

/// Sizes of the target that the assembly needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Dynamic shared memory of a CTA in bytes.
    pub shared_bytes: usize,
    /// Bytes up to which staged loads share a ring slot.
    pub group_bytes: usize,
    /// What it can do.
    pub target: &'static Target,
}

impl Machine {
    /// One H100 or H200 SM.
    pub const SM_90A: Machine = target::DEFAULT.machine();
}

/// Module text and what a launcher must know.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The module in the LLVM dialect.
    pub mlir: String,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: usize,
    /// Slots of the ring.
    pub slots: usize,
    /// Bytes of each.
    pub slot_bytes: usize,
    /// Bytes of operands that products take from shared memory for a whole loop.
    pub kept_bytes: usize,
    /// Bytes of the area for changes of layout.
    pub exchange_bytes: usize,
    /// CTAs of a cluster.
    pub cluster: usize,
    /// Storage of staged weights, by kernel and parameter.
    pub packings: Vec<Vec<Option<Packing>>>,
    /// What tensor copies cut out of arrays, by kernel and parameter.
    pub boxes: Vec<Vec<Option<TensorBox>>>,
    /// What the roles do to each other, as it is emitted.
    pub protocol: Protocol,
    /// Ops that say something about the run.
    pub sites: Vec<Site>,
    /// The kernels as they came, with what was chosen for each in its schedule.
    pub chosen: Vec<Chosen>,
}

/// Addresses in shared memory, and pointers to each role's ring position.
pub(super) struct SharedMap {
    /// Shared memory's address as a number.
    pub address: Ssa,
    pub ring_base: Ssa,
    pub ring_address: Ssa,
    pub kept_base: Ssa,
    pub kept_address: Ssa,
    pub exchange_base: Ssa,
    /// Where the role that is being emitted ends.
    pub leave: String,
    pub slot_bytes: usize,
    pub slots: usize,
    producer: (Ssa, Ssa),
    consumer: (Ssa, Ssa),
}

impl SharedMap {
    /// Where a role keeps its slot index and phase.
    pub fn ring_state(&self, role: Role) -> (Ssa, Ssa) {
        if role == Role::Producer { self.producer.clone() } else { self.consumer.clone() }
    }
}

/// Assembles one persistent kernel out of op instances.
///
/// # Errors
/// An instance can't be lowered, or shared memory is too small.
pub fn assemble(
    name: &str,
    kernels: &[Kernel],
    facts: &[Vec<ParamFacts>],
    machine: Machine,
) -> Result<Assembled, CodegenError> {
    let unsupported: Vec<_> = kernels.iter().flat_map(|k| machine.target.unsupported(k)).collect();
    if !unsupported.is_empty() {
        return Err(CodegenError::Program(Diagnostics(unsupported)));
    }
    let as_pinned =
        kernels.iter().zip(facts).map(|(k, f)| prepare(k, f, machine)).collect::<Result<Vec<_>, CodegenError>>()?;
    let lowered: Vec<&Kernel> = as_pinned.iter().map(|p| &p.kernel).collect();
    let threads = threads(&lowered, machine.target)?;
    let cluster = cluster(&lowered, machine.target)?;
    // The first emission only measures the exchange area; the ring gets what is left.
    let measured = emit(&as_pinned, slot_bytes(&as_pinned, machine), 2, threads, cluster, machine.target)
        .map_err(|e| with_pinned_split(&lowered, e))?;
    let exchange = measured.exchange_bytes.next_multiple_of(1024);
    let kept = kept_bytes(&as_pinned);
    let room = RingRoom {
        bytes: machine.shared_bytes.saturating_sub(RING_BASE + exchange + kept),
        most_slots: MAX_SLOTS,
        align: SLOT_ALIGN,
        least: machine.group_bytes,
    };
    let chosen = choose(kernels, &lowered, machine, room)?;
    let with_choices = |((p, c), f): ((Prepared, &Chosen), &Vec<ParamFacts>)| match c.choices[..] {
        [] => Ok(p),
        _ => prepare(&c.kernel, f, machine),
    };
    let mut prepared: Vec<Prepared> =
        as_pinned.into_iter().zip(&chosen).zip(facts).map(with_choices).collect::<Result<_, _>>()?;
    // One ring serves all kernels: whose copies come next into a slot that threads have read, its own kernel doesn't say.
    if prepared.iter().any(Prepared::is_read_by_threads) {
        prepared.iter_mut().for_each(|p| protocol::fence_fills(&p.kernel, &mut p.protocol));
    }
    let slot_bytes = slot_bytes(&prepared, machine);
    let space = RingSpace {
        shared_bytes: machine.shared_bytes,
        control_bytes: RING_BASE,
        exchange_bytes: exchange,
        kept_bytes: kept,
        slot_bytes,
        used_bytes: used_bytes(&prepared),
    };
    let slots = ring_slots(name, &prepared.iter().map(|p| &p.kernel).collect::<Vec<_>>(), &space)?;
    let emitted = emit(&prepared, slot_bytes, slots, threads, cluster, machine.target)?;
    if emitted.exchange_bytes > exchange {
        let message =
            format!("`{name}`: its choices need {} bytes to exchange, not {exchange}", emitted.exchange_bytes);
        return Err(CodegenError::Plan(message));
    }
    let boxes = prepared.iter().map(|p| p.boxes.clone()).collect();
    let (packings, kernels) = prepared.into_iter().map(|p| (p.packings, p.kernel)).unzip();
    let protocol = Protocol {
        warps: threads.warps,
        cluster,
        rings: protocol::rings(slots, slot_bytes, threads.warps, cluster),
        frame: protocol::frame(threads.warps),
        kernels,
        bodies: emitted.bodies,
        regions: regions(slots, slot_bytes, kept, exchange),
        shared_limit: machine.shared_bytes,
        registers: Registers {
            producer: threads.producer_registers,
            consumer: threads.consumer_registers,
            producer_threads: threads.producer_threads,
            consumer_threads: threads.warps * 32,
            file: REGISTER_FILE,
        },
    };
    Ok(Assembled {
        chosen,
        sites: Site::all(&protocol.kernels),
        mlir: emitted.mlir,
        shared_bytes: RING_BASE + slots * slot_bytes + kept + exchange,
        slots,
        slot_bytes,
        kept_bytes: kept,
        exchange_bytes: exchange,
        cluster,
        packings,
        boxes,
        protocol,
    })
}

/// Bytes of the program's largest transaction.
fn used_bytes(prepared: &[Prepared]) -> usize {
    prepared.iter().map(|p| p.slot_bytes).max().unwrap_or(0)
}

/// One slot size for the whole program: what its largest transaction takes.
fn slot_bytes(prepared: &[Prepared], machine: Machine) -> usize {
    used_bytes(prepared).max(machine.group_bytes).next_multiple_of(SLOT_ALIGN)
}

/// Bytes of kept operands: instructions run one after the other, so they share an area.
fn kept_bytes(prepared: &[Prepared]) -> usize {
    prepared.iter().map(|p| p.kept_bytes).max().unwrap_or(0)
}

/// The map of shared memory.
fn regions(slots: usize, slot_bytes: usize, kept: usize, exchange: usize) -> Vec<Region> {
    let region = |name: &str, offset, bytes, align| Region { name: name.into(), offset, bytes, align };
    vec![
        region("full barriers of the tile ring", FULL, 8 * slots, 8),
        region("empty barriers of the tile ring", EMPTY, 8 * slots, 8),
        region("full barriers of the record ring", RECORD_FULL, 8 * RECORD_SLOTS, 8),
        region("empty barriers of the record ring", RECORD_EMPTY, 8 * RECORD_SLOTS, 8),
        region("ready barriers", READY, 8 * RECORD_SLOTS, 8),
        region("pass-end barrier", PASS_END, 8, 8),
        region(Region::VERDICT, VERDICT, 4, 4),
        region(Region::RECORDS, RECORDS, RECORD_SLOTS * record::RECORD_BYTES, 16),
        region(Region::TILES, RING_BASE, slots * slot_bytes, 128),
        region(Region::KEPT, RING_BASE + slots * slot_bytes, kept, 1024),
        region(Region::EXCHANGE, RING_BASE + slots * slot_bytes + kept, exchange, 128),
    ]
}

/// Most ring slots that the barrier arrays have room for.
pub(super) const MAX_SLOTS: usize = 32;
pub(super) const FULL: usize = 0;
pub(super) const EMPTY: usize = FULL + 8 * MAX_SLOTS;
pub(super) const RECORD_FULL: usize = EMPTY + 8 * MAX_SLOTS;
pub(super) const RECORD_EMPTY: usize = RECORD_FULL + 8 * RECORD_SLOTS;
pub(super) const READY: usize = RECORD_EMPTY + 8 * RECORD_SLOTS;
pub(super) const PASS_END: usize = READY + 8 * RECORD_SLOTS;
pub(super) const VERDICT: usize = PASS_END + 8;
pub(super) const RECORDS: usize = 1024;
const RING_BASE: usize = (RECORDS + RECORD_SLOTS * record::RECORD_BYTES).next_multiple_of(1024);

/// A module and what was noted while it was written.
struct Emitted {
    mlir: String,
    exchange_bytes: usize,
    bodies: Vec<KernelProtocol>,
}

fn emit(
    prepared: &[Prepared],
    slot_bytes: usize,
    slots: usize,
    threads: Threads,
    cluster: usize,
    target: &'static Target,
) -> Result<Emitted, CodegenError> {
    let mut e = Emitter::new(target);
    let (thread, cta, ctas, shared, address, states) = e.entry(|e| {
        let thread = e.op("nvvm.read.ptx.sreg.tid.x : i32");
        let cta = e.op("nvvm.read.ptx.sreg.ctaid.x : i32");
        let ctas = e.op("nvvm.read.ptx.sreg.nctaid.x : i32");
        let shared = e.op("llvm.mlir.addressof @shared : !llvm.ptr<3>");
        let address = e.op(&format!("llvm.ptrtoint {shared} : !llvm.ptr<3> to i32"));
        let address = sync::of_first_lane(e, &address);
        let one = e.i32(1);
        let states: Vec<Ssa> =
            (0..13).map(|_| e.op(&format!("llvm.alloca {one} x i32 : (i32) -> !llvm.ptr"))).collect();
        (thread, cta, ctas, shared, address, states)
    });
    let at = |e: &mut Emitter, offset: usize| e.entry(|e| e.add_const(&address, offset as i64));
    let pair = |i: usize| (states[i].clone(), states[i + 1].clone());
    let kept = RING_BASE + slots * slot_bytes;
    let exchange = kept + kept_bytes(prepared);
    let map = SharedMap {
        address: address.clone(),
        ring_address: at(&mut e, RING_BASE),
        ring_base: e.entry(|e| e.offset_const(&shared, RING_BASE, 3)),
        kept_base: e.entry(|e| e.offset_const(&shared, kept, 3)),
        kept_address: at(&mut e, kept),
        exchange_base: e.entry(|e| e.offset_const(&shared, exchange, 3)),
        leave: String::new(),
        slot_bytes,
        slots,
        producer: pair(0),
        consumer: pair(2),
    };
    let mut f = Frame {
        e,
        map,
        thread,
        cta,
        ctas,
        address,
        shared,
        warps: threads.warps,
        cluster,
        rings: protocol::rings(slots, slot_bytes, threads.warps, cluster),
        actions: protocol::frame(threads.warps),
        bodies: prepared.iter().map(|p| p.protocol.clone()).collect(),
        exchange_bytes: 0,
        sites: Site::all(prepared.iter().map(|p| &p.kernel)),
    };
    f.initialise(&states);
    let (producer, consumer, exit, end) = (f.e.label(), f.e.label(), f.e.label(), f.e.label());
    let first = f.e.i32((threads.warps * 32) as i64);
    let is_producer = f.e.icmp("uge", &f.thread, &first, "i32");
    f.e.cond_br(&is_producer, &producer, &consumer);

    f.e.block(&producer, "");
    if target.setmaxnreg {
        f.e.line(&format!("nvvm.setmaxregister decrease {}", threads.producer_registers));
    }
    let elected = match target.producer_lanes() {
        1 => f.e.icmp("eq", &f.thread, &first, "i32"),
        lanes => {
            let last = f.e.i32((threads.warps * 32 + lanes) as i64);
            f.e.icmp("ult", &f.thread, &last, "i32")
        }
    };
    let lead = f.e.label();
    f.e.cond_br(&elected, &lead, &end);
    f.e.block(&lead, "");
    f.role(Role::Producer, prepared, (pair(4), pair(8), pair(10)), &states[12], &exit)?;

    f.e.block(&consumer, "");
    if target.setmaxnreg {
        f.e.line(&format!("nvvm.setmaxregister increase {}", threads.consumer_registers));
    }
    f.role(Role::Consumer, prepared, (pair(6), pair(8), pair(10)), &states[12], &exit)?;

    f.e.block(&exit, "");
    if cluster > 1 {
        // Others of the cluster may still arrive at this CTA's barriers.
        sync::meet_cluster(&mut f.e);
    }
    f.e.br(&end, &[]);
    f.e.block(&end, "");
    f.e.line("llvm.return");
    let (exchange_bytes, bodies) = (f.exchange_bytes, f.bodies);
    let (scopes, body) = f.e.finish();
    let mlir = format!(
        "{scopes}module attributes {{gpu.container_module}} {{\n  gpu.module @kernels [#nvvm.target<chip = \"{}\", features = \"{}\", O = 3>] {{\n  \
         llvm.mlir.global external @shared() {{addr_space = 3 : i32, alignment = 1024 : i64}} : !llvm.array<0 x i8>\n  \
         llvm.func @{ENTRY}(%records: !llvm.ptr<1> {{llvm.noalias}}, %begin: i32, %end: i32, %passes: i32, %control: !llvm.ptr<1>, %stop: !llvm.ptr<1>, %timeout: i64, %trace: i64) \
         attributes {{gpu.kernel, nvvm.kernel, nvvm.reqntid = array<i32: {}, 1, 1>, nvvm.minctasm = 1 : i32}} {{\n{body}  }} loc(fused<#program>[\"monotile\":1:1])\n  }}\n}}\n",
        target.name,
        target.features,
        threads.all()
    );
    Ok(Emitted { mlir, exchange_bytes, bodies })
}
