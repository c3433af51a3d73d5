//! The persistent kernel around the op bodies.
//!
//! One CTA per SM stays for the whole run. Warps 0 to 7 are consumers, one thread of the last warpgroup is the producer.
//! Both walk the program's records, which arrive in shared memory through a small ring of their own, and both take this
//! CTA's share of each instruction's work items: item `cta`, `cta + ctas`, …. The producer doesn't wait for other
//! instructions unless its copies depend on them, so weights of the next ones arrive while the present one computes.
//! After each instruction the CTAs that had items raise its counter; waits compare counters with what all passes so
//! far amount to, so nothing is ever reset. At the end of a pass the consumer decides whether there is another one and
//! tells the producer.

use super::body::{ArrayArg, Body};
use super::emit::{Emitter, Ssa};
use super::facts::ParamFacts;
use super::sync;
use crate::CodegenError;
use crate::layout::{WARPS, assign, ring_sources};
use crate::passes::lower_to_roles;
use std::collections::{HashMap, HashSet};
use tile_lang::dtype::DType;
use tile_lang::ir::{Access, Kernel, OpKind, Role, Type};
use tile_lang::packing::{Packing, TileOrder, fragment_width};
use tile_lang::record::{self, control, trace};

/// Threads of a CTA: the consumers and one warpgroup for the producer.
pub const THREADS: usize = WARPS * 32 + 128;
/// Registers of a producer and of a consumer thread: 128 × 56 + 256 × 224 ≤ 65,536.
const PRODUCER_REGISTERS: usize = 56;
const CONSUMER_REGISTERS: usize = 224;
/// Records in flight.
const RECORD_SLOTS: usize = 8;
/// Polls of a counter between two looks at the clock and at the abort flag; a power of two.
const POLLS: i64 = 256;
/// Name of the kernel.
pub const ENTRY: &str = "monotile_program";

/// Sizes of the target that the assembly needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Dynamic shared memory of a CTA in bytes.
    pub shared_bytes: usize,
    /// Bytes up to which staged loads share a ring slot.
    pub group_bytes: usize,
}

impl Machine {
    /// One H100 or H200 SM.
    pub const SM_90A: Machine = Machine { shared_bytes: 232_448, group_bytes: 16_384 };
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
    /// Bytes of the area for changes of layout.
    pub exchange_bytes: usize,
    /// Storage of staged weights, by kernel and parameter.
    pub packings: Vec<Vec<Option<Packing>>>,
}

/// Addresses in shared memory, and pointers to each role's ring position.
pub(super) struct SharedMap {
    pub ring_full: Ssa,
    pub ring_empty: Ssa,
    pub ring_base: Ssa,
    pub ring_address: Ssa,
    pub exchange_base: Ssa,
    pub control: Ssa,
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

/// A kernel with everything that doesn't depend on where it is emitted.
struct Prepared {
    kernel: Kernel,
    facts: Vec<ParamFacts>,
    ring: Vec<Vec<Packing>>,
    packings: Vec<Option<Packing>>,
    /// The producer reads what other instructions write.
    dependent: bool,
    /// Bytes of the largest ring transaction.
    slot_bytes: usize,
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
    let prepared = kernels
        .iter()
        .zip(facts)
        .map(|(k, f)| prepare(k, f, machine.group_bytes))
        .collect::<Result<Vec<_>, CodegenError>>()?;
    // One slot size for the whole program: what its largest transaction takes.
    let slot_bytes =
        prepared.iter().map(|p| p.slot_bytes).max().unwrap_or(0).max(machine.group_bytes).next_multiple_of(1024);
    // The first emission only measures the exchange area; the ring gets what is left.
    let (_, exchange) = emit(&prepared, slot_bytes, 2)?;
    let exchange = exchange.next_multiple_of(1024);
    let fixed = RING_BASE + exchange;
    let slots = machine.shared_bytes.saturating_sub(fixed) / slot_bytes;
    let slots = slots.min(MAX_SLOTS);
    if slots < 2 {
        return Err(CodegenError::Plan(format!(
            "`{name}`: shared memory of {} bytes holds {fixed} bytes of barriers and exchange area and no two ring slots of {} bytes",
            machine.shared_bytes, slot_bytes
        )));
    }
    let (mlir, _) = emit(&prepared, slot_bytes, slots)?;
    Ok(Assembled {
        mlir,
        shared_bytes: RING_BASE + slots * slot_bytes + exchange,
        slots,
        slot_bytes,
        exchange_bytes: exchange,
        packings: prepared.into_iter().map(|p| p.packings).collect(),
    })
}

fn prepare(kernel: &Kernel, facts: &[ParamFacts], group_bytes: usize) -> Result<Prepared, CodegenError> {
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
    Ok(Prepared { kernel: lowered, facts: facts.to_vec(), ring, packings, dependent, slot_bytes })
}

fn ops_in(k: &Kernel, block: tile_lang::ir::BlockId, f: &mut dyn FnMut(&tile_lang::ir::OpData)) {
    for &id in &k.block(block).ops {
        f(k.op(id));
        for &b in &k.op(id).blocks {
            ops_in(k, b, f);
        }
    }
}

/// Most ring slots that the barrier arrays have room for.
const MAX_SLOTS: usize = 32;
const FULL: usize = 0;
const EMPTY: usize = FULL + 8 * MAX_SLOTS;
const RECORD_FULL: usize = EMPTY + 8 * MAX_SLOTS;
const RECORD_EMPTY: usize = RECORD_FULL + 8 * RECORD_SLOTS;
const READY: usize = RECORD_EMPTY + 8 * RECORD_SLOTS;
const PASS_END: usize = READY + 8 * RECORD_SLOTS;
const VERDICT: usize = PASS_END + 8;
const RECORDS: usize = 1024;
const RING_BASE: usize = (RECORDS + RECORD_SLOTS * record::RECORD_BYTES).next_multiple_of(1024);

struct Frame {
    e: Emitter,
    map: SharedMap,
    thread: Ssa,
    cta: Ssa,
    ctas: Ssa,
    address: Ssa,
    shared: Ssa,
    slots: usize,
}

fn emit(prepared: &[Prepared], slot_bytes: usize, slots: usize) -> Result<(String, usize), CodegenError> {
    let mut e = Emitter::default();
    let (thread, cta, ctas, shared, address, states) = e.entry(|e| {
        let thread = e.op("nvvm.read.ptx.sreg.tid.x : i32");
        let cta = e.op("nvvm.read.ptx.sreg.ctaid.x : i32");
        let ctas = e.op("nvvm.read.ptx.sreg.nctaid.x : i32");
        let shared = e.op("llvm.mlir.addressof @shared : !llvm.ptr<3>");
        let address = e.op(&format!("llvm.ptrtoint {shared} : !llvm.ptr<3> to i32"));
        let one = e.i32(1);
        let states: Vec<Ssa> =
            (0..11).map(|_| e.op(&format!("llvm.alloca {one} x i32 : (i32) -> !llvm.ptr"))).collect();
        (thread, cta, ctas, shared, address, states)
    });
    let at = |e: &mut Emitter, offset: usize| e.entry(|e| e.add_const(&address, offset as i64));
    let pair = |i: usize| (states[i].clone(), states[i + 1].clone());
    let exchange = RING_BASE + slots * slot_bytes;
    let map = SharedMap {
        ring_full: at(&mut e, FULL),
        ring_empty: at(&mut e, EMPTY),
        ring_address: at(&mut e, RING_BASE),
        ring_base: e.entry(|e| e.offset_const(&shared, RING_BASE, 3)),
        exchange_base: e.entry(|e| e.offset_const(&shared, exchange, 3)),
        control: "%control".into(),
        slot_bytes,
        slots,
        producer: pair(0),
        consumer: pair(2),
    };
    let mut f = Frame { e, map, thread, cta, ctas, address, shared, slots };
    f.initialise(&states);
    let (producer, consumer, exit) = (f.e.label(), f.e.label(), f.e.label());
    let first = f.e.i32((WARPS * 32) as i64);
    let is_producer = f.e.icmp("uge", &f.thread, &first, "i32");
    f.e.cond_br(&is_producer, &producer, &consumer);

    f.e.block(&producer, "");
    f.e.line(&format!("nvvm.setmaxregister decrease {PRODUCER_REGISTERS}"));
    let elected = f.e.icmp("eq", &f.thread, &first, "i32");
    let lead = f.e.label();
    f.e.cond_br(&elected, &lead, &exit);
    f.e.block(&lead, "");
    let mut exchange_bytes = 0;
    f.role(Role::Producer, prepared, (pair(4), pair(8)), &states[10], &exit, &mut exchange_bytes)?;

    f.e.block(&consumer, "");
    f.e.line(&format!("nvvm.setmaxregister increase {CONSUMER_REGISTERS}"));
    f.role(Role::Consumer, prepared, (pair(6), pair(8)), &states[10], &exit, &mut exchange_bytes)?;

    f.e.block(&exit, "");
    f.e.line("llvm.return");
    let body = f.e.finish();
    let text = format!(
        "module attributes {{gpu.container_module}} {{\n  gpu.module @kernels [#nvvm.target<chip = \"sm_90a\", features = \"+ptx86\", O = 3>] {{\n  \
         llvm.mlir.global external @shared() {{addr_space = 3 : i32, alignment = 1024 : i64}} : !llvm.array<0 x i8>\n  \
         llvm.func @{ENTRY}(%records: !llvm.ptr<1> {{llvm.noalias}}, %begin: i32, %end: i32, %passes: i32, %control: !llvm.ptr<1>, %stop: !llvm.ptr<1>, %timeout: i64, %trace: i64) \
         attributes {{gpu.kernel, nvvm.kernel, nvvm.reqntid = array<i32: {THREADS}, 1, 1>, nvvm.minctasm = 1 : i32}} {{\n{body}  }}\n  }}\n}}\n"
    );
    Ok((text, exchange_bytes))
}

impl Frame {
    /// One thread initialises all barriers; everyone waits for it.
    fn initialise(&mut self, states: &[Ssa]) {
        let zero = self.e.i32(0);
        for s in states {
            self.e.store(&zero, s, "i32", 4, 0);
        }
        let (init, ready) = (self.e.label(), self.e.label());
        let first = self.e.icmp("eq", &self.thread.clone(), &zero, "i32");
        self.e.cond_br(&first, &init, &ready);
        self.e.block(&init, "");
        let mut barriers: Vec<(usize, usize)> = Vec::new();
        barriers.extend((0..self.slots).flat_map(|i| [(FULL + 8 * i, 1), (EMPTY + 8 * i, WARPS)]));
        barriers.extend(
            (0..RECORD_SLOTS)
                .flat_map(|i| [(RECORD_FULL + 8 * i, 1), (RECORD_EMPTY + 8 * i, WARPS), (READY + 8 * i, 1)]),
        );
        barriers.push((PASS_END, 1));
        for (offset, count) in barriers {
            let at = self.e.add_const(&self.address.clone(), offset as i64);
            let count = self.e.i32(count as i64);
            self.e.asm("mbarrier.init.shared::cta.b64 [$0], $1;", "r,r", &[(&at, "i32"), (&count, "i32")], None);
        }
        self.e.asm("fence.mbarrier_init.release.cluster;", "", &[], None);
        self.e.br(&ready, &[]);
        self.e.block(&ready, "");
        self.e.asm("bar.sync 0;", "", &[], None);
    }

    /// The walk over passes and records of one role. `states` holds the position in the record ring for reading and, for
    /// the producer, for fetching.
    fn role(
        &mut self,
        role: Role,
        prepared: &[Prepared],
        states: ((Ssa, Ssa), (Ssa, Ssa)),
        arrivals_state: &Ssa,
        exit: &str,
        exchange_bytes: &mut usize,
    ) -> Result<(), CodegenError> {
        let (read_state, fetch_state) = states;
        let zero = self.e.i32(0);
        let (pass, issued) = (self.e.fresh(), self.e.fresh());
        let (pass_head, pass_end) = (self.e.label(), self.e.label());
        let count = self.e.bin("sub", "%end", "%begin", "i32");
        self.e.br(&pass_head, &[(zero.clone(), "i32")]);
        self.e.block(&pass_head, &format!("({pass}: i32)"));

        let (head, inside, index) = (self.e.label(), self.e.label(), self.e.fresh());
        self.e.br(&head, &[(zero.clone(), "i32"), (zero.clone(), "i32")]);
        self.e.block(&head, &format!("({index}: i32, {issued}: i32)"));
        let more = self.e.icmp("slt", &index, &count, "i32");
        self.e.cond_br(&more, &inside, &pass_end);
        self.e.block(&inside, "");
        let next_issued =
            if role == Role::Producer { self.fetch_ahead(&index, &issued, &count, &fetch_state) } else { issued };

        let (slot, phase) = (self.e.load(&read_state.0, "i32", 4, 0), self.e.load(&read_state.1, "i32", 4, 0));
        let full = self.e.add_const(&self.address.clone(), RECORD_FULL as i64);
        let full = sync::barrier_address(&mut self.e, &full, &slot);
        sync::wait_phase(&mut self.e, &full, &phase, &"%control".to_owned());
        let offset = self.e.mul_const(&slot, record::RECORD_BYTES as i64);
        let offset = self.e.add_const(&offset, RECORDS as i64);
        let record = self.e.offset(&self.shared.clone(), &offset, "i32", 3);
        let items = self.field(&record, record::ITEMS);
        let arrivals = self.e.op(&format!("llvm.intr.smin({items}, {}) : (i32, i32) -> i32", self.ctas));
        self.e.store(&arrivals, arrivals_state, "i32", 4, 0);
        let ready = self.e.add_const(&self.address.clone(), READY as i64);
        let ready = sync::barrier_address(&mut self.e, &ready, &slot);
        let (work, idle, done) = (self.e.label(), self.e.label(), self.e.label());
        let mine = self.e.icmp("slt", &self.cta.clone(), &items, "i32");
        self.e.cond_br(&mine, &work, &idle);
        self.e.block(&idle, "");
        if role == Role::Consumer {
            sync::arrive_first(&mut self.e, &ready, &self.thread.clone());
        }
        self.e.br(&done, &[]);
        self.e.block(&work, "");
        if role == Role::Consumer {
            self.wait_dependencies_as_group(&record, &pass, &ready);
            self.stamp(&index, &count, trace::CONSUMER_BEGIN);
        } else {
            self.stamp(&index, &count, trace::PRODUCER_BEGIN);
        }
        self.dispatch(role, prepared, &record, &items, (&ready, &phase), exchange_bytes)?;
        if role == Role::Consumer {
            sync::consumer_barrier(&mut self.e);
            self.stamp(&index, &count, trace::CONSUMER_END);
            self.signal(&record);
        } else {
            self.stamp(&index, &count, trace::PRODUCER_END);
        }
        self.e.br(&done, &[]);
        self.e.block(&done, "");
        if role == Role::Consumer {
            let empty = self.e.add_const(&self.address.clone(), RECORD_EMPTY as i64);
            let empty = sync::barrier_address(&mut self.e, &empty, &slot);
            sync::arrive_warp(&mut self.e, &empty, &self.thread.clone());
        }
        sync::advance(&mut self.e, &read_state, &slot, &phase, RECORD_SLOTS);
        let next = self.e.add_const(&index, 1);
        self.e.br(&head, &[(next, "i32"), (next_issued, "i32")]);

        self.e.block(&pass_end, "");
        let next_pass = self.e.add_const(&pass, 1);
        let again = match role {
            Role::Consumer => self.decide(&next_pass, arrivals_state),
            _ => self.learn(&pass),
        };
        let leave = self.e.label();
        self.e.line(&format!("llvm.cond_br {again}, {pass_head}({next_pass} : i32), {leave}"));
        self.e.block(&leave, "");
        if role == Role::Producer {
            self.let_copies_land();
        }
        self.e.br(exit, &[]);
        Ok(())
    }

    /// Producer: makes sure that the copy of the present record is started, and starts those of the following ones as far as
    /// their slots are free already: waiting for a slot would tie the producer to the consumers. Returns how many of this
    /// pass are started.
    fn fetch_ahead(&mut self, index: &Ssa, issued: &Ssa, count: &Ssa, state: &(Ssa, Ssa)) -> Ssa {
        let (head, one, done, at) = (self.e.label(), self.e.label(), self.e.label(), self.e.fresh());
        let limit = self.e.add_const(index, RECORD_SLOTS as i64);
        let limit = self.e.op(&format!("llvm.intr.smin({limit}, {count}) : (i32, i32) -> i32"));
        self.e.br(&head, &[(issued.clone(), "i32")]);
        self.e.block(&head, &format!("({at}: i32)"));
        let more = self.e.icmp("slt", &at, &limit, "i32");
        self.e.cond_br(&more, &one, &done);
        self.e.block(&one, "");
        let (slot, phase) = (self.e.load(&state.0, "i32", 4, 0), self.e.load(&state.1, "i32", 4, 0));
        let turn = self.e.i32(1);
        let other = self.e.bin("xor", &phase, &turn, "i32");
        let empty = self.e.add_const(&self.address.clone(), RECORD_EMPTY as i64);
        let empty = sync::barrier_address(&mut self.e, &empty, &slot);
        let (must, may, start) = (self.e.label(), self.e.label(), self.e.label());
        let present = self.e.icmp("eq", &at, index, "i32");
        self.e.cond_br(&present, &must, &may);
        self.e.block(&must, "");
        sync::wait_phase(&mut self.e, &empty, &other, &"%control".to_owned());
        self.e.br(&start, &[]);
        self.e.block(&may, "");
        let free = sync::test_phase(&mut self.e, &empty, &other);
        self.e.cond_br(&free, &start, &done);
        self.e.block(&start, "");
        let full = self.e.add_const(&self.address.clone(), RECORD_FULL as i64);
        let full = sync::barrier_address(&mut self.e, &full, &slot);
        let bytes = self.e.i32(record::RECORD_BYTES as i64);
        self.e.asm(
            "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;",
            "r,r",
            &[(&full, "i32"), (&bytes, "i32")],
            None,
        );
        let target = self.e.mul_const(&slot, record::RECORD_BYTES as i64);
        let target = self.e.bin("add", &target, &self.address.clone(), "i32");
        let target = self.e.add_const(&target, RECORDS as i64);
        let number = self.e.bin("add", "%begin", &at, "i32");
        let number = self.e.op(&format!("llvm.sext {number} : i32 to i64"));
        let size = self.e.i64(record::RECORD_BYTES as i64);
        let offset = self.e.bin("mul", &number, &size, "i64");
        let source = self.e.offset("%records", &offset, "i64", 1);
        self.e.asm(
            "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [$0], [$1], $2, [$3];",
            "r,l,r,r",
            &[(&target, "i32"), (&source, "!llvm.ptr<1>"), (&bytes, "i32"), (&full, "i32")],
            None,
        );
        sync::advance(&mut self.e, state, &slot, &phase, RECORD_SLOTS);
        let next = self.e.add_const(&at, 1);
        self.e.br(&head, &[(next, "i32")]);
        self.e.block(&done, "");
        at
    }

    fn field(&mut self, record: &Ssa, offset: usize) -> Ssa {
        let p = self.e.offset_const(record, offset, 3);
        self.e.load(&p, "i32", 4, 3)
    }

    /// One inlined case per op instance.
    fn dispatch(
        &mut self,
        role: Role,
        prepared: &[Prepared],
        record: &Ssa,
        items: &Ssa,
        (ready, phase): (&Ssa, &Ssa),
        exchange_bytes: &mut usize,
    ) -> Result<(), CodegenError> {
        let op = self.field(record, record::KERNEL);
        let join = self.e.label();
        let labels: Vec<String> = prepared.iter().map(|_| self.e.label()).collect();
        let cases: Vec<String> = labels.iter().enumerate().map(|(i, l)| format!("{i}: {l}")).collect();
        self.e.line(&format!("llvm.switch {op} : i32, {join} [{}]", cases.join(", ")));
        for (p, label) in prepared.iter().zip(&labels) {
            self.e.block(label, "");
            if role == Role::Producer && p.ring.is_empty() {
                self.e.br(&join, &[]);
                continue;
            }
            if role == Role::Producer && p.dependent {
                sync::wait_phase(&mut self.e, ready, phase, &"%control".to_owned());
                self.e.asm("fence.proxy.async;", "", &[], None);
            }
            self.instance(role, p, record, items, exchange_bytes)?;
            if role == Role::Consumer && p.facts.iter().any(|f| f.copied_later) {
                self.e.asm("fence.proxy.async;", "", &[], None);
            }
            self.e.br(&join, &[]);
        }
        self.e.at("", 0, 0);
        self.e.block(&join, "");
        Ok(())
    }

    /// Arguments out of the record, then the loop over this CTA's items around the body.
    fn instance(
        &mut self,
        role: Role,
        p: &Prepared,
        record: &Ssa,
        items: &Ssa,
        exchange_bytes: &mut usize,
    ) -> Result<(), CodegenError> {
        let k = &p.kernel;
        let Some(block) = k.body(role) else { return Ok(()) };
        let (mut arrays, mut scalars) = (HashMap::new(), HashMap::new());
        for ((param, at), facts) in k.params.iter().zip(record::param_offsets(k)).zip(&p.facts) {
            let pointer = self.e.offset_const(record, at, 3);
            match k.ty(param.value) {
                Type::Global(_, rank, _) => {
                    let address = self.e.load(&pointer, "i64", 8, 3);
                    let address = self.e.op(&format!("llvm.inttoptr {address} : i64 to !llvm.ptr<1>"));
                    let dims = (0..*rank)
                        .map(|i| match &facts.dims {
                            Some(d) => self.e.i32(d[i] as i64),
                            None => self.field(record, at + 8 + 4 * i),
                        })
                        .collect();
                    arrays.insert(param.value, ArrayArg { pointer: address, dims, facts: facts.clone() });
                }
                Type::Scalar(DType::F32) => {
                    scalars.insert(param.value, self.e.load(&pointer, "f32", 4, 3));
                }
                Type::Scalar(DType::Bool) => {
                    let word = self.e.load(&pointer, "i32", 4, 3);
                    let zero = self.e.i32(0);
                    scalars.insert(param.value, self.e.icmp("ne", &word, &zero, "i32"));
                }
                _ => {
                    scalars.insert(param.value, self.e.load(&pointer, "i32", 4, 3));
                }
            }
        }
        let axes = work_axes(k);
        let extents: Vec<Ssa> = (0..axes).map(|i| self.field(record, record::EXTENTS + 4 * i)).collect();
        let (head, inside, done, item) = (self.e.label(), self.e.label(), self.e.label(), self.e.fresh());
        self.e.br(&head, &[(self.cta.clone(), "i32")]);
        self.e.block(&head, &format!("({item}: i32)"));
        let more = self.e.icmp("slt", &item, items, "i32");
        self.e.cond_br(&more, &inside, &done);
        self.e.block(&inside, "");
        let mut work = vec![Ssa::new(); axes];
        let mut rest = item.clone();
        for i in (0..axes).rev() {
            if i == 0 {
                work[0] = rest.clone();
            } else {
                work[i] = self.e.bin("urem", &rest, &extents[i], "i32");
                rest = self.e.bin("udiv", &rest, &extents[i], "i32");
            }
        }
        let layouts = if role == Role::Consumer { assign(k, block) } else { crate::layout::Assignment::default() };
        let mut body = Body {
            e: &mut self.e,
            k,
            role,
            layouts,
            map: &self.map,
            thread: self.thread.clone(),
            arrays,
            scalars,
            literals: HashMap::new(),
            tiles: vec![HashMap::new()],
            shared: HashMap::new(),
            slots: HashMap::new(),
            ring: &p.ring,
            ring_at: 0,
            definitions: k.definitions(),
            written: HashSet::new(),
            read: HashSet::new(),
            work,
            exchange_bytes,
        };
        body.block(block)?;
        self.e.at("", 0, 0);
        let next = self.e.bin("add", &item, &self.ctas.clone(), "i32");
        self.e.br(&head, &[(next, "i32")]);
        self.e.block(&done, "");
        Ok(())
    }

    /// Consumer: one thread waits and tells the producer; the other consumers wait for it.
    fn wait_dependencies_as_group(&mut self, record: &Ssa, pass: &Ssa, ready: &Ssa) {
        let (poll, join) = (self.e.label(), self.e.label());
        let zero = self.e.i32(0);
        let first = self.e.icmp("eq", &self.thread.clone(), &zero, "i32");
        self.e.cond_br(&first, &poll, &join);
        self.e.block(&poll, "");
        self.wait_dependencies(record, pass);
        self.e.asm("mbarrier.arrive.shared::cta.b64 _, [$0];", "r", &[(ready, "i32")], None);
        self.e.br(&join, &[]);
        self.e.block(&join, "");
        sync::consumer_barrier(&mut self.e);
    }

    /// Waits for every dependency of a record that belongs to this run.
    fn wait_dependencies(&mut self, record: &Ssa, pass: &Ssa) {
        let (head, one, wait, next, done, i) =
            (self.e.label(), self.e.label(), self.e.label(), self.e.label(), self.e.label(), self.e.fresh());
        let count = self.field(record, record::DEPS);
        let own = self.field(record, record::COUNTER);
        let zero = self.e.i32(0);
        self.e.br(&head, &[(zero, "i32")]);
        self.e.block(&head, &format!("({i}: i32)"));
        let more = self.e.icmp("slt", &i, &count, "i32");
        self.e.cond_br(&more, &one, &done);
        self.e.block(&one, "");
        let offset = self.e.mul_const(&i, 8);
        let entry = self.e.offset(record, &offset, "i32", 3);
        let counter = self.field(&entry, record::DEP_LIST);
        let arrivals = self.field(&entry, record::DEP_LIST + 4);
        let ours = self.e.icmp("sge", &counter, "%begin", "i32");
        self.e.cond_br(&ours, &wait, &next);
        self.e.block(&wait, "");
        let passes = self.e.add_const(pass, 1);
        let target = self.e.bin("mul", &arrivals, &passes, "i32");
        self.wait_counter(&counter, &target, &own);
        self.e.br(&next, &[]);
        self.e.block(&next, "");
        let following = self.e.add_const(&i, 1);
        self.e.br(&head, &[(following, "i32")]);
        self.e.block(&done, "");
    }

    fn counter_address(&mut self, counter: &Ssa) -> Ssa {
        let offset = self.e.mul_const(counter, control::COUNTER_STRIDE as i64);
        let offset = self.e.add_const(&offset, control::BYTES as i64);
        self.e.offset("%control", &offset, "i32", 1)
    }

    /// One thread waits until a counter reaches its target. A wait that takes longer than the limit writes what it saw and
    /// ends the kernel.
    fn wait_counter(&mut self, counter: &Ssa, target: &Ssa, record: &Ssa) {
        let address = self.counter_address(counter);
        let timer = |e: &mut Emitter| e.asm("mov.u64 $0, %globaltimer;", "=l", &[], Some("i64"));
        let [spin, slow, look, check, late, report, done] = std::array::from_fn(|_| self.e.label());
        let (polls, zero) = (self.e.fresh(), self.e.i32(0));
        let start = timer(&mut self.e);
        self.e.br(&spin, &[(zero.clone(), "i32")]);
        self.e.block(&spin, &format!("({polls}: i32)"));
        let value =
            self.e.asm("ld.relaxed.gpu.global.u32 $0, [$1];", "=r,l", &[(&address, "!llvm.ptr<1>")], Some("i32"));
        let ahead = self.e.bin("sub", &value, target, "i32");
        let reached = self.e.icmp("sge", &ahead, &zero, "i32");
        self.e.cond_br(&reached, &done, &slow);
        // The clock and the abort flag are looked at now and then only: each look costs as much as a poll.
        self.e.block(&slow, "");
        let next = self.e.add_const(&polls, 1);
        let mask = self.e.i32(POLLS - 1);
        let turn = self.e.bin("and", &next, &mask, "i32");
        let due = self.e.icmp("eq", &turn, &zero, "i32");
        self.e.line(&format!("llvm.cond_br {due}, {look}, {spin}({next} : i32)"));
        self.e.block(&look, "");
        let stop = sync::aborted(&mut self.e, &"%control".to_owned());
        self.e.cond_br(&stop, &done, &check);
        self.e.block(&check, "");
        let now = timer(&mut self.e);
        let waited = self.e.bin("sub", &now, &start, "i64");
        let over = self.e.icmp("ugt", &waited, "%timeout", "i64");
        self.e.line(&format!("llvm.cond_br {over}, {late}, {spin}({next} : i32)"));
        self.e.block(&late, "");
        let old = self.e.asm(
            "atom.relaxed.sys.global.cas.b32 $0, [$1], 0, 1;",
            "=r,l",
            &[("%control", "!llvm.ptr<1>")],
            Some("i32"),
        );
        let first = self.e.icmp("eq", &old, &zero, "i32");
        self.e.cond_br(&first, &report, &done);
        self.e.block(&report, "");
        let role_number = self.e.i32(1);
        let words = [self.cta.clone(), role_number, record.clone(), counter.clone(), value, target.clone()];
        for (i, w) in words.iter().enumerate() {
            let p = self.e.offset_const("%control", 4 * (control::REPORT + i), 1);
            self.e.store(w, &p, "i32", 4, 1);
        }
        self.e.br(&done, &[]);
        self.e.block(&done, "");
        // What the others wrote before they raised the counter is visible from here on.
        self.e.asm("fence.acq_rel.gpu;", "", &[], None);
    }

    /// Writes the SM's clock into the trace, if there is one: the producer thread, or the first consumer thread.
    fn stamp(&mut self, index: &Ssa, count: &Ssa, word: usize) {
        let (write, join) = (self.e.label(), self.e.label());
        let none = self.e.i64(0);
        let wanted = self.e.icmp("ne", "%trace", &none, "i64");
        let mask = self.e.i32((WARPS * 32 - 1) as i64);
        let place = self.e.bin("and", &self.thread.clone(), &mask, "i32");
        let zero = self.e.i32(0);
        // Thread 0 of the consumers, and the producer: the thread after all of them.
        let leads = self.e.icmp("eq", &place, &zero, "i32");
        let both = self.e.bin("and", &wanted, &leads, "i1");
        self.e.cond_br(&both, &write, &join);
        self.e.block(&write, "");
        let row = self.e.bin("mul", &self.cta.clone(), count, "i32");
        let row = self.e.bin("add", &row, index, "i32");
        let row = self.e.op(&format!("llvm.sext {row} : i32 to i64"));
        let stride = self.e.i64((8 * trace::WORDS) as i64);
        let offset = self.e.bin("mul", &row, &stride, "i64");
        let offset = self.e.bin("add", "%trace", &offset, "i64");
        let p = self.e.op(&format!("llvm.inttoptr {offset} : i64 to !llvm.ptr<1>"));
        let p = self.e.offset_const(&p, 8 * word, 1);
        let clock = self.e.asm("mov.u64 $0, %clock64;", "=l", &[], Some("i64"));
        self.e.store(&clock, &p, "i64", 8, 1);
        self.e.br(&join, &[]);
        self.e.block(&join, "");
    }

    /// Consumer: everything written is visible before the counter rises. All consumers have met.
    fn signal(&mut self, record: &Ssa) {
        let (raise, join) = (self.e.label(), self.e.label());
        let zero = self.e.i32(0);
        let first = self.e.icmp("eq", &self.thread.clone(), &zero, "i32");
        self.e.cond_br(&first, &raise, &join);
        self.e.block(&raise, "");
        let counter = self.field(record, record::COUNTER);
        let address = self.counter_address(&counter);
        self.e.asm("fence.acq_rel.gpu;", "", &[], None);
        self.e.asm("red.release.gpu.global.add.u32 [$0], 1;", "l", &[(&address, "!llvm.ptr<1>")], None);
        self.e.br(&join, &[]);
        self.e.block(&join, "");
    }

    /// Consumer, at the end of a pass: waits for the program's last instruction, looks at the stop element, tells the
    /// producer. Returns whether there is another pass.
    fn decide(&mut self, next_pass: &Ssa, arrivals_state: &Ssa) -> Ssa {
        let (poll, join) = (self.e.label(), self.e.label());
        let zero = self.e.i32(0);
        let first = self.e.icmp("eq", &self.thread.clone(), &zero, "i32");
        let verdict = self.e.offset_const(&self.shared.clone(), VERDICT, 3);
        self.e.cond_br(&first, &poll, &join);
        self.e.block(&poll, "");
        let arrivals = self.e.load(arrivals_state, "i32", 4, 0);
        let target = self.e.bin("mul", &arrivals, next_pass, "i32");
        let last = self.e.add_const("%end", -1);
        self.wait_counter(&last, &target, &last.clone());
        let flag = self.e.asm("ld.relaxed.sys.global.b32 $0, [$1];", "=r,l", &[("%stop", "!llvm.ptr<1>")], Some("i32"));
        let running = self.e.icmp("eq", &flag, &zero, "i32");
        let aborted = sync::aborted(&mut self.e, &"%control".to_owned());
        let truth = self.e.bool(true);
        let alive = self.e.bin("xor", &aborted, &truth, "i1");
        let more = self.e.icmp("slt", next_pass, "%passes", "i32");
        let again = self.e.bin("and", &running, &alive, "i1");
        let again = self.e.bin("and", &again, &more, "i1");
        let word = self.e.op(&format!("llvm.zext {again} : i1 to i32"));
        self.e.store(&word, &verdict, "i32", 4, 3);
        let barrier = self.e.add_const(&self.address.clone(), PASS_END as i64);
        self.e.asm("mbarrier.arrive.shared::cta.b64 _, [$0];", "r", &[(&barrier, "i32")], None);
        self.e.br(&join, &[]);
        self.e.block(&join, "");
        sync::consumer_barrier(&mut self.e);
        let word = self.e.load(&verdict, "i32", 4, 3);
        // Nobody overwrites the verdict before everyone has read it.
        sync::consumer_barrier(&mut self.e);
        self.e.icmp("ne", &word, &zero, "i32")
    }

    /// Producer, at the end of a pass: waits for the consumer's verdict.
    fn learn(&mut self, pass: &Ssa) -> Ssa {
        let (one, zero) = (self.e.i32(1), self.e.i32(0));
        let parity = self.e.bin("and", pass, &one, "i32");
        let barrier = self.e.add_const(&self.address.clone(), PASS_END as i64);
        sync::wait_phase(&mut self.e, &barrier, &parity, &"%control".to_owned());
        let stop = sync::aborted(&mut self.e, &"%control".to_owned());
        let verdict = self.e.offset_const(&self.shared.clone(), VERDICT, 3);
        let word = self.e.load(&verdict, "i32", 4, 3);
        let again = self.e.icmp("ne", &word, &zero, "i32");
        let truth = self.e.bool(true);
        let alive = self.e.bin("xor", &stop, &truth, "i1");
        self.e.bin("and", &again, &alive, "i1")
    }

    /// Producer, before it ends: after an abort, copies may still be on their way into this CTA's shared memory.
    fn let_copies_land(&mut self) {
        let (wait, done) = (self.e.label(), self.e.label());
        let stop = sync::aborted(&mut self.e, &"%control".to_owned());
        self.e.cond_br(&stop, &wait, &done);
        self.e.block(&wait, "");
        for _ in 0..4 {
            self.e.asm("nanosleep.u32 1000000;", "", &[], None);
        }
        self.e.br(&done, &[]);
        self.e.block(&done, "");
    }
}

/// Axes of the grid of work items.
fn work_axes(k: &Kernel) -> usize {
    let mut axes = 0;
    k.walk(|_, op| {
        if op.kind == OpKind::Work {
            axes = op.results.len();
        }
    });
    axes
}
