//! The walk of one role over passes and records, with one inlined case per op instance.

use super::actions::Cursor;
use super::body::{ArrayArg, Body};
use super::emit::{Emitter, Ssa};
use super::notes::Notes;
use super::prepare::{Prepared, work_axes};
use super::program::{RECORD_SLOTS, RECORDS, SharedMap};
use super::{actions, sync};
use crate::CodegenError;
use crate::layout::assign;
use crate::target::Copies;
use std::collections::{BTreeMap, HashMap, HashSet};
use tile_lang::debug::Site;
use tile_lang::dtype::DType;
use tile_lang::ir::{Role, Type};
use tile_lang::protocol::{self, Action, Barrier, KernelProtocol, RingId, RingShape, Side, Who};
use tile_lang::record::{self, trace};

/// The persistent kernel under construction.
pub(super) struct Frame {
    pub e: Emitter,
    pub map: SharedMap,
    /// Consumer warps.
    pub warps: usize,
    /// CTAs of a cluster.
    pub cluster: usize,
    /// Thread, CTA and number of CTAs.
    pub thread: Ssa,
    pub cta: Ssa,
    pub ctas: Ssa,
    /// Shared memory as a number and as a pointer.
    pub address: Ssa,
    pub shared: Ssa,
    /// The rings and their barriers.
    pub rings: BTreeMap<RingId, RingShape>,
    /// What happens around the bodies.
    pub actions: protocol::Frame,
    /// What happens in them, by op instance; changes of layout are noted as they are emitted.
    pub bodies: Vec<KernelProtocol>,
    /// Largest use of the exchange area so far, in bytes.
    pub exchange_bytes: usize,
    /// Ops of the program that say something.
    pub sites: Vec<Site>,
}

impl Frame {
    /// One thread initialises all barriers; everyone of the cluster waits for it.
    pub fn initialise(&mut self, states: &[Ssa]) {
        let zero = self.e.i32(0);
        for s in states {
            self.e.store(&zero, s, "i32", 4, 0);
        }
        let (init, ready) = (self.e.label(), self.e.label());
        let first = self.e.icmp("eq", &self.thread.clone(), &zero, "i32");
        self.e.cond_br(&first, &init, &ready);
        self.e.block(&init, "");
        for (ring, shape) in self.rings.clone() {
            for side in [Side::Full, Side::Empty] {
                let arrivals = actions::arrivals(&self.e, side, &shape);
                for slot in 0..if arrivals > 0 { shape.slots } else { 0 } {
                    let index = self.e.i32(slot as i64);
                    let at = actions::barrier(&mut self.e, &self.address.clone(), Barrier { ring, side }, &index);
                    let count = self.e.i32(arrivals as i64);
                    self.e.asm(
                        "mbarrier.init.shared::cta.b64 [$0], $1;",
                        "r,r",
                        &[(&at, "i32"), (&count, "i32")],
                        None,
                    );
                }
            }
        }
        if self.e.target.copies == Copies::Bulk {
            self.e.asm("fence.mbarrier_init.release.cluster;", "", &[], None);
        }
        self.e.br(&ready, &[]);
        self.e.block(&ready, "");
        if self.cluster > 1 {
            sync::meet_cluster(&mut self.e);
        } else {
            self.e.asm("bar.sync 0;", "", &[], None);
        }
    }

    /// The walk over passes and records of one role. `states` holds the cursors: of the record ring for reading and, for the
    /// producer, for fetching, and of the pass end.
    pub fn role(
        &mut self,
        role: Role,
        prepared: &[Prepared],
        states: ((Ssa, Ssa), (Ssa, Ssa), (Ssa, Ssa)),
        arrivals_state: &Ssa,
        exit: &str,
    ) -> Result<(), CodegenError> {
        let (read_state, fetch_state, end_state) = states;
        let zero = self.e.i32(0);
        let leave = self.e.label();
        self.map.leave.clone_from(&leave);
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
            if role == Role::Producer { self.fetch_ahead(&index, &issued, &count, &fetch_state)? } else { issued };

        let cursor = Cursor::load(&mut self.e, &read_state);
        let (before, after) = match role {
            Role::Consumer => (self.actions.consumer_record.clone(), self.actions.consumer_next.clone()),
            _ => (self.actions.producer_record.clone(), self.actions.producer_next.clone()),
        };
        let waited = self.carry_out(&before, role, &cursor)?;
        let offset = self.e.mul_const(&cursor.index, record::RECORD_BYTES as i64);
        let offset = self.e.add_const(&offset, RECORDS as i64);
        let record = self.e.offset(&self.shared.clone(), &offset, "i32", 3);
        if role == Role::Consumer {
            self.agree(&record, &pass, &cursor, &waited, &leave)?;
        }
        let items = self.field(&record, record::ITEMS);
        let arrivals = self.e.op(&format!("llvm.intr.smin({items}, {}) : (i32, i32) -> i32", self.ctas));
        self.e.store(&arrivals, arrivals_state, "i32", 4, 0);
        let (work, done) = (self.e.label(), self.e.label());
        let mine = self.e.icmp("slt", &self.cta.clone(), &items, "i32");
        self.e.cond_br(&mine, &work, &done);
        self.e.block(&work, "");
        let begin = if role == Role::Consumer { trace::CONSUMER_BEGIN } else { trace::PRODUCER_BEGIN };
        self.stamp(&index, &count, begin);
        self.dispatch(role, prepared, &record, &items, &cursor)?;
        if role == Role::Consumer {
            self.finish(&record, &index, &count, &cursor)?;
        } else {
            self.stamp(&index, &count, trace::PRODUCER_END);
        }
        self.e.br(&done, &[]);
        self.e.block(&done, "");
        self.carry_out(&after, role, &cursor)?;
        let next = self.e.add_const(&index, 1);
        self.e.br(&head, &[(next, "i32"), (next_issued, "i32")]);

        self.e.block(&pass_end, "");
        let next_pass = self.e.add_const(&pass, 1);
        let again = match role {
            Role::Consumer => self.decide(&next_pass, arrivals_state)?,
            _ => self.learn(&end_state)?,
        };
        self.e.line(&format!("llvm.cond_br {again}, {pass_head}({next_pass} : i32), {leave}"));
        self.e.block(&leave, "");
        if role == Role::Producer {
            self.let_copies_land();
        }
        self.e.br(exit, &[]);
        Ok(())
    }

    /// Carries out actions at a slot of the ring of records, or at the end of a pass. Returns what the last wait returned, 0
    /// if there is none.
    pub fn carry_out(&mut self, list: &[Action], role: Role, cursor: &Cursor) -> Result<Ssa, CodegenError> {
        let mut waited = self.e.i32(0);
        for action in list {
            match action {
                Action::Wait { barrier, parity } => {
                    let address = actions::barrier(&mut self.e, &self.address.clone(), *barrier, &cursor.index);
                    let parity = cursor.parity(&mut self.e, *parity);
                    let leave = self.map.leave.clone();
                    waited = actions::wait(&mut self.e, role, &address, &parity, &leave);
                }
                Action::Expect { barrier, bytes } => {
                    let address = actions::barrier(&mut self.e, &self.address.clone(), *barrier, &cursor.index);
                    actions::expect(&mut self.e, &address, *bytes);
                }
                Action::Arrive { barrier, who, .. } => {
                    let address = actions::barrier(&mut self.e, &self.address.clone(), *barrier, &cursor.index);
                    match who {
                        Who::One => actions::arrive_one(&mut self.e, &address),
                        Who::EachWarp => sync::arrive_warp(&mut self.e, &address, &self.thread.clone(), 1, None),
                    }
                }
                Action::Advance(ring) => cursor.advance(&mut self.e, self.rings[ring].slots),
                Action::Fence(fence, _) => actions::fence(&mut self.e, *fence),
                Action::Meet { id, threads } => actions::meet(&mut self.e, *id, *threads),
                Action::TakeTurn { turns, group } => {
                    actions::take_turn(&mut self.e, *turns, *group, &self.thread.clone());
                }
                Action::GiveTurn { turns, group } => {
                    actions::give_turn(&mut self.e, *turns, *group, &self.thread.clone());
                }
                other => return Err(misplaced(other)),
            }
        }
        Ok(waited)
    }

    /// Producer: makes sure that the copy of the present record is started, and starts those of the following ones as far as
    /// their slots are free already: waiting for a slot would tie the producer to the consumers. Returns how many of this
    /// pass are started.
    fn fetch_ahead(&mut self, index: &Ssa, issued: &Ssa, count: &Ssa, state: &(Ssa, Ssa)) -> Result<Ssa, CodegenError> {
        let (head, one, done, at) = (self.e.label(), self.e.label(), self.e.label(), self.e.fresh());
        let limit = self.e.add_const(index, RECORD_SLOTS as i64);
        let limit = self.e.op(&format!("llvm.intr.smin({limit}, {count}) : (i32, i32) -> i32"));
        self.e.br(&head, &[(issued.clone(), "i32")]);
        self.e.block(&head, &format!("({at}: i32)"));
        let more = self.e.icmp("slt", &at, &limit, "i32");
        self.e.cond_br(&more, &one, &done);
        self.e.block(&one, "");
        let cursor = Cursor::load(&mut self.e, state);
        for action in self.actions.fetch.clone() {
            match action {
                Action::Wait { barrier, parity } => {
                    let address = actions::barrier(&mut self.e, &self.address.clone(), barrier, &cursor.index);
                    let parity = cursor.parity(&mut self.e, parity);
                    let (must, may, start) = (self.e.label(), self.e.label(), self.e.label());
                    let present = self.e.icmp("eq", &at, index, "i32");
                    self.e.cond_br(&present, &must, &may);
                    self.e.block(&must, "");
                    let leave = self.map.leave.clone();
                    actions::wait(&mut self.e, Role::Producer, &address, &parity, &leave);
                    self.e.br(&start, &[]);
                    self.e.block(&may, "");
                    let free = sync::test_phase_alike(&mut self.e, &address, &parity);
                    self.e.cond_br(&free, &start, &done);
                    self.e.block(&start, "");
                }
                Action::Copy { bytes, .. } => {
                    let full = Barrier { ring: RingId::Records, side: Side::Full };
                    let full = actions::barrier(&mut self.e, &self.address.clone(), full, &cursor.index);
                    let target = self.e.mul_const(&cursor.index, bytes as i64);
                    let target = self.e.bin("add", &target, &self.address.clone(), "i32");
                    let target = self.e.add_const(&target, RECORDS as i64);
                    let number = self.e.bin("add", "%begin", &at, "i32");
                    let number = self.e.op(&format!("llvm.sext {number} : i32 to i64"));
                    let size = self.e.i64(bytes as i64);
                    let offset = self.e.bin("mul", &number, &size, "i64");
                    let source = self.e.offset("%records", &offset, "i64", 1);
                    actions::copy(&mut self.e, &target, &source, bytes, &full, &self.thread.clone());
                    actions::copies_started(&mut self.e, &full);
                }
                other => {
                    self.carry_out(&[other], Role::Producer, &cursor)?;
                }
            }
        }
        let next = self.e.add_const(&at, 1);
        self.e.br(&head, &[(next, "i32")]);
        self.e.block(&done, "");
        Ok(at)
    }

    pub fn field(&mut self, record: &Ssa, offset: usize) -> Ssa {
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
        cursor: &Cursor,
    ) -> Result<(), CodegenError> {
        let op = self.field(record, record::KERNEL);
        let join = self.e.label();
        let labels: Vec<String> = prepared.iter().map(|_| self.e.label()).collect();
        let cases: Vec<String> = labels.iter().enumerate().map(|(i, l)| format!("{i}: {l}")).collect();
        self.e.line(&format!("llvm.switch {op} : i32, {join} [{}]", cases.join(", ")));
        for (number, (p, label)) in prepared.iter().zip(&labels).enumerate() {
            self.e.block(label, "");
            if role == Role::Producer && p.ring.is_empty() {
                self.e.br(&join, &[]);
                continue;
            }
            if role == Role::Producer && p.protocol.dependent {
                self.carry_out(&self.actions.producer_depends.clone(), role, cursor)?;
            }
            if role == Role::Consumer {
                self.carry_out(&p.protocol.before_items, role, cursor)?;
            }
            self.instance(role, number, p, record, items)?;
            if role == Role::Consumer {
                self.carry_out(&p.protocol.after_items, role, cursor)?;
                if p.protocol.copied_later {
                    self.carry_out(&self.actions.consumer_copied_later.clone(), role, cursor)?;
                }
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
        number: usize,
        p: &Prepared,
        record: &Ssa,
        items: &Ssa,
    ) -> Result<(), CodegenError> {
        let k = &p.kernel;
        let Some(block) = k.body(role) else { return Ok(()) };
        let (head, inside, done, item) = (self.e.label(), self.e.label(), self.e.label(), self.e.fresh());
        self.e.br(&head, &[(self.cta.clone(), "i32")]);
        self.e.block(&head, &format!("({item}: i32)"));
        let more = self.e.icmp("slt", &item, items, "i32");
        self.e.cond_br(&more, &inside, &done);
        self.e.block(&inside, "");
        // Read again for each item: what one needs only at its beginning takes no registers until the next one's.
        let (mut arrays, mut scalars) = (HashMap::new(), HashMap::new());
        let map_offsets = record::map_offsets(k);
        for (i, ((param, at), facts)) in k.params.iter().zip(record::param_offsets(k)).zip(&p.facts).enumerate() {
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
                    let map = p.boxes[i].and(map_offsets[i]).map(|at| {
                        let pointer = self.e.offset_const(record, at, 3);
                        self.e.load(&pointer, "i64", 8, 3)
                    });
                    arrays.insert(param.value, ArrayArg { pointer: address, dims, map, facts: facts.clone() });
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
        let layouts =
            if role == Role::Consumer { assign(k, block, self.e.target) } else { crate::layout::Assignment::default() };
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
            kept: HashMap::new(),
            taken: HashMap::new(),
            ring: &p.ring,
            ring_at: 0,
            definitions: k.definitions(),
            written: HashSet::new(),
            read: HashSet::new(),
            work,
            exchange_bytes: &mut self.exchange_bytes,
            actions: &p.protocol,
            notes: Notes::new(&mut self.bodies[number]),
            warps: self.warps,
            cta: self.cta.clone(),
            record: record.clone(),
            number,
            sites: &self.sites,
            cluster: self.cluster,
            flights: Vec::new(),
            late: HashMap::new(),
            to_keep: Vec::new(),
            computed: Vec::new(),
            turn: None,
        };
        body.block(block)?;
        body.land(0);
        self.e.at("", 0, 0);
        let next = self.e.bin("add", &item, &self.ctas.clone(), "i32");
        self.e.br(&head, &[(next, "i32")]);
        self.e.block(&done, "");
        Ok(())
    }
}

/// An action at a place where the emitter can't carry it out.
pub(super) fn misplaced(action: &Action) -> CodegenError {
    CodegenError::Plan(format!("the protocol has {action:?} at a place where it can't be carried out"))
}
