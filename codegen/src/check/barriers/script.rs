//! What each process of a CTA does in one run: a list of events, with trip counts and branches chosen.
//!
//! Slots and laps are settled here, since each cursor moves as its own role's actions say and nothing else. A **lap** counts how
//! often the slots of a ring have started over; the n-th use of a slot is lap n of its barriers.

mod products;

use self::products::{Kept, Started};
use super::events::{Bar, Barriers, Event, Fault, Kind, Place, Reader, Script, Setting};
use super::matching::{Matching, uses_ring_in};
use std::collections::{BTreeMap, HashMap};
use tile_lang::ir::{Access, BlockId, Kernel, OpData, OpId, OpKind, Role, Type, ValueId};
use tile_lang::protocol::{Action, At, Barrier, Fence, KernelProtocol, Parity, Protocol, Reach, RingId, Side, Who};

/// A role's place in a ring.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    slot: usize,
    lap: u32,
}

/// One process while its list is written.
struct Writer<'a> {
    p: &'a Protocol,
    bars: &'a Barriers,
    role: Role,
    cursors: BTreeMap<RingId, Cursor>,
    out: Vec<Event>,
    faults: Vec<Fault>,
    uses: BTreeMap<(Bar, u32), Place>,
    advanced: usize,
    record: usize,
    item: usize,
    step: u32,
    /// Loops and branches of each kernel met so far.
    met: HashMap<(usize, OpId), usize>,
    /// Slots held, by the op that took them, and whether they were given back.
    taken: HashMap<OpId, (Cursor, bool)>,
    /// Slots whose release is put off, by the op that would have released them.
    put_off: HashMap<OpId, Cursor>,
    /// Operands kept in shared memory, and how far they are handed on.
    kept: HashMap<ValueId, Kept>,
    /// Products that were started and not waited for, oldest first.
    started: Vec<Started>,
    /// Which wait each view of shared memory comes from.
    views: HashMap<ValueId, (OpId, Cursor)>,
}

/// Writes the lists of all processes.
pub fn script(p: &Protocol, bars: &Barriers, matchings: &[Matching], setting: &Setting<'_>) -> Script {
    let writer = |role| Writer {
        p,
        bars,
        role,
        cursors: BTreeMap::new(),
        out: Vec::new(),
        faults: Vec::new(),
        uses: BTreeMap::new(),
        advanced: 0,
        record: 0,
        item: 0,
        step: 0,
        met: HashMap::new(),
        taken: HashMap::new(),
        put_off: HashMap::new(),
        kept: HashMap::new(),
        started: Vec::new(),
        views: HashMap::new(),
    };
    let (mut producer, mut fetcher, mut consumer) =
        (writer(Role::Producer), writer(Role::Producer), writer(Role::Consumer));
    let ahead = bars.slots.get(&RingId::Records).copied().unwrap_or(1).max(1);
    let count = setting.records.len();
    let frame = &p.frame;
    for pass in 0..setting.passes {
        for (i, (kernel, items)) in setting.records.iter().enumerate() {
            let record = pass * count + i;
            // Records are fetched ahead within a pass only.
            let gate = (record + 1).saturating_sub(ahead).max(pass * count);
            fetcher.push(Kind::Gate(gate), Place::Frame("fetch"));
            fetcher.list(&frame.fetch, "fetch");
            fetcher.push(Kind::Fetch(record), Place::Frame("fetch"));
            producer.record = record;
            producer.push(Kind::Begin(record), Place::Frame("producer_record"));
            producer.push(Kind::Fetched(record), Place::Frame("producer_record"));
            producer.record_of_producer(*kernel, *items, &matchings[*kernel], setting);
            consumer.record = record;
            consumer.record_of_consumer(*kernel, *items, setting);
        }
        consumer.decide(pass as u32);
        producer.list(&frame.learn, "learn");
        producer.push(Kind::Verdict { write: false, step: 2 * pass as u32 + 1 }, Place::Frame("learn"));
    }
    let taken = [producer.advanced, consumer.advanced];
    let mut faults = producer.faults;
    faults.extend(fetcher.faults);
    faults.extend(consumer.faults);
    let mut uses = producer.uses;
    uses.extend(fetcher.uses);
    uses.extend(consumer.uses);
    Script { producer: producer.out, fetcher: fetcher.out, consumer: consumer.out, faults, uses, taken }
}

impl Writer<'_> {
    fn push(&mut self, kind: Kind, place: Place) {
        self.out.push(Event { kind, place });
    }

    fn fault(&mut self, code: &'static str, place: Place, message: impl Into<String>) {
        self.faults.push(Fault { code, place, message: message.into() });
    }

    fn list(&mut self, actions: &[Action], name: &'static str) {
        for a in actions {
            self.action(a, Place::Frame(name), None);
        }
    }

    /// `Ready` shares the cursor of the ring of records.
    fn cursor(&mut self, ring: RingId) -> Cursor {
        let own = if ring == RingId::Ready { RingId::Records } else { ring };
        *self.cursors.entry(own).or_default()
    }

    fn action(&mut self, action: &Action, place: Place, depends: Option<usize>) {
        match action {
            Action::Own => {}
            Action::Wait { barrier, parity } => {
                let c = self.cursor(barrier.ring);
                let Some(bar) = self.bars.at(*barrier, c.slot) else { return self.no_barrier(*barrier, place) };
                let (need, parity) = match parity {
                    Parity::Phase => (c.lap + 1, c.lap & 1),
                    Parity::Opposite => (c.lap, (c.lap & 1) ^ 1),
                };
                self.push(Kind::Wait { bar, need, parity }, place);
                if let Place::Op(_, op) = place
                    && self.role == Role::Consumer
                    && barrier.ring == RingId::Tiles
                {
                    self.taken.insert(op, (c, false));
                }
            }
            Action::Expect { barrier, bytes } => {
                let c = self.cursor(barrier.ring);
                let Some(bar) = self.bars.at(*barrier, c.slot) else { return self.no_barrier(*barrier, place) };
                self.push(Kind::Arrive { bar, lap: c.lap, who: Who::One, times: 1, bytes: Some(*bytes) }, place);
            }
            Action::Copy { ring, part, bytes, reach } => {
                if *ring == RingId::Records && *part != 0 {
                    self.fault("E25", place, format!("part {part} of a record is copied, it has one"));
                }
                let c = self.cursor(*ring);
                let barrier = Barrier { ring: *ring, side: Side::Full };
                let Some(bar) = self.bars.at(barrier, c.slot) else { return self.no_barrier(barrier, place) };
                let (slot, lap, bytes) = (c.slot, c.lap, *bytes * self.times(*reach));
                self.push(Kind::Copy { bar, ring: *ring, slot, lap, bytes, depends }, place);
            }
            Action::Arrive { barrier, at, who, reach } => {
                let c = match at {
                    At::Cursor => self.cursor(barrier.ring),
                    At::PutOffBy(op) => {
                        let Some(c) = self.put_off.remove(op) else { return };
                        self.taken
                            .values_mut()
                            .filter(|(t, _)| t.slot == c.slot && t.lap == c.lap)
                            .for_each(|t| t.1 = true);
                        self.still_read(c, place);
                        c
                    }
                    At::TakenBy(op) => match self.taken.get_mut(op) {
                        Some((c, given)) => {
                            *given |= barrier.side == Side::Empty;
                            let c = *c;
                            if barrier.side == Side::Empty {
                                self.still_read(c, place);
                            }
                            c
                        }
                        None => {
                            return self.fault("E24", place, format!("a slot is given back that {op} has not taken"));
                        }
                    },
                };
                let Some(bar) = self.bars.at(*barrier, c.slot) else { return self.no_barrier(*barrier, place) };
                let times = self.times(*reach);
                self.push(Kind::Arrive { bar, lap: c.lap, who: *who, times, bytes: None }, place);
            }
            Action::PutOff { at } => {
                let (At::TakenBy(taken), Place::Op(_, release)) = (at, place) else {
                    return self.fault("E24", place, "a release is put off of a slot that no op took");
                };
                match self.taken.get(taken) {
                    None => {
                        self.fault("E24", place, format!("a release is put off of a slot that {taken} has not taken"))
                    }
                    Some((c, _)) => {
                        if self.put_off.insert(release, *c).is_some() {
                            self.fault(
                                "E24",
                                place,
                                "a release is put off while the one before has not been made up for",
                            );
                        }
                    }
                }
            }
            Action::Advance(ring) => self.advance(*ring, place),
            Action::Meet { id, threads } => {
                self.kept_met();
                self.push(Kind::Meet { id: *id, threads: *threads }, place);
            }
            Action::TakeTurn { turns, group } => self.push(Kind::TakeTurn { turns: *turns, group: *group }, place),
            Action::GiveTurn { turns, group } => self.push(Kind::GiveTurn { turns: *turns, group: *group }, place),
            Action::Fence(fence, who) => {
                if *fence != Fence::Gpu && *who == Who::EachWarp {
                    self.kept_fenced();
                }
                self.push(Kind::Fence(*fence, *who), place);
            }
            Action::Keep { value } => self.keep(*value, place),
            Action::WaitCounters => self.push(Kind::WaitCounters(self.record), place),
            Action::WaitLast => self.push(Kind::WaitLast, place),
            Action::Raise => self.push(Kind::Raise(self.record), place),
            Action::Start { terms } => self.start_product(terms.start, place),
            Action::WaitProducts { left } => self.products_over(*left, place),
            Action::ExchangeWrite { bytes } => {
                self.step += 1;
                self.push(Kind::Exchange { write: true, bytes: *bytes, step: self.step }, place);
            }
            Action::ExchangeRead { bytes } => {
                self.step += 1;
                self.push(Kind::Exchange { write: false, bytes: *bytes, step: self.step }, place);
            }
        }
    }

    /// How often an action happens at this CTA's barriers when all CTAs of its cluster carry it out, as they do in step.
    fn times(&self, reach: Reach) -> usize {
        if reach == Reach::Cluster { self.p.cluster.max(1) } else { 1 }
    }

    fn no_barrier(&mut self, barrier: Barrier, place: Place) {
        self.fault("E24", place, format!("there is no ring {:?}, or it has no slots", barrier.ring));
    }

    /// The slot under the cursor was used, on both its sides.
    fn advance(&mut self, ring: RingId, place: Place) {
        let slots = self.bars.slots.get(&ring).copied().unwrap_or(0).max(1);
        let c = self.cursor(ring);
        let rings = if ring == RingId::Records { vec![ring, RingId::Ready] } else { vec![ring] };
        for r in rings {
            for side in [Side::Full, Side::Empty] {
                if let Some(bar) = self.bars.at(Barrier { ring: r, side }, c.slot).filter(|b| self.bars.counts[*b] > 0)
                {
                    self.uses.entry((bar, c.lap)).or_insert(place);
                }
            }
        }
        self.advanced += usize::from(ring == RingId::Tiles);
        let next = Cursor { slot: (c.slot + 1) % slots, lap: c.lap + u32::from(c.slot + 1 == slots) };
        self.cursors.insert(ring, next);
    }

    fn read_record(&mut self, name: &'static str) {
        let c = self.cursor(RingId::Records);
        self.push(Kind::ReadRecord { slot: c.slot, lap: c.lap }, Place::Frame(name));
    }

    fn record_of_producer(&mut self, kernel: usize, items: usize, m: &Matching, setting: &Setting<'_>) {
        let (p, k) = (self.p, &self.p.kernels[kernel]);
        self.list(&p.frame.producer_record, "producer_record");
        self.read_record("producer_record");
        let body = k.body(Role::Producer).filter(|b| uses_ring_in(k, *b));
        if let Some(body) = body.filter(|_| items > 0) {
            if p.bodies[kernel].dependent {
                self.list(&p.frame.producer_depends, "producer_depends");
            }
            for item in 0..items {
                self.begin_item(item);
                self.block(kernel, body, m, setting);
            }
        }
        self.read_record("producer_next");
        self.list(&p.frame.producer_next, "producer_next");
    }

    fn record_of_consumer(&mut self, kernel: usize, items: usize, setting: &Setting<'_>) {
        let (p, k) = (self.p, &self.p.kernels[kernel]);
        self.list(&p.frame.consumer_record, "consumer_record");
        self.read_record("consumer_record");
        let skipped = |a: &&Action| items > 0 || **a != Action::WaitCounters;
        for a in p.frame.consumer_begin.iter().filter(skipped) {
            self.action(a, Place::Frame("consumer_begin"), None);
        }
        if items > 0 {
            self.list(&p.bodies[kernel].before_items, "before_items");
            for item in 0..items {
                self.begin_item(item);
                if let Some(body) = k.body(Role::Consumer) {
                    self.block(kernel, body, &Matching::default(), setting);
                }
                if !self.put_off.is_empty() {
                    let text = "an item ends while the release of a slot is put off: it is never given back";
                    self.fault("E24", Place::Frame("consumer_end"), text);
                }
                if !std::mem::take(&mut self.started).is_empty() {
                    let text = "an item ends while a product that was started has not been waited for";
                    self.fault("E28", Place::Frame("consumer_end"), text);
                }
            }
            self.list(&p.bodies[kernel].after_items, "after_items");
            if p.bodies[kernel].copied_later {
                self.list(&p.frame.consumer_copied_later, "consumer_copied_later");
            }
            self.list(&p.frame.consumer_end, "consumer_end");
        }
        self.read_record("consumer_next");
        self.list(&p.frame.consumer_next, "consumer_next");
    }

    /// Values are those of one item of one kernel.
    fn begin_item(&mut self, item: usize) {
        self.item = item;
        self.views.clear();
        self.taken.clear();
        self.put_off.clear();
        self.kept.clear();
    }

    /// The verdict is written before the announcement, and read between the meetings.
    fn decide(&mut self, pass: u32) {
        let list = &self.p.frame.decide;
        let met = list.iter().position(|a| matches!(a, Action::Meet { .. }));
        let mut written = false;
        for (i, a) in list.iter().enumerate() {
            if matches!(a, Action::Arrive { .. }) && !written {
                self.push(Kind::Verdict { write: true, step: 2 * pass }, Place::Frame("decide"));
                written = true;
            }
            self.action(a, Place::Frame("decide"), None);
            if Some(i) == met {
                self.push(Kind::Verdict { write: false, step: 2 * pass + 1 }, Place::Frame("decide"));
            }
        }
        // The consumers' own barrier has one slot and they never wait on it: its lap is the pass.
        self.cursors.insert(RingId::PassEnd, Cursor { slot: 0, lap: pass + 1 });
    }

    fn block(&mut self, kernel: usize, block: BlockId, m: &Matching, setting: &Setting<'_>) {
        let k = &self.p.kernels[kernel];
        for &id in &k.block(block).ops {
            self.op(kernel, id, m, setting);
        }
    }

    fn op(&mut self, kernel: usize, id: OpId, m: &Matching, setting: &Setting<'_>) {
        let p = self.p;
        let (k, body): (&Kernel, &KernelProtocol) = (&p.kernels[kernel], &p.bodies[kernel]);
        let op = k.op(id);
        let place = Place::Op(kernel, id);
        match body.actions.get(&id) {
            None => self.own(kernel, id, op, m, setting),
            Some(list) => {
                let depends = self.depends(k, op);
                self.parts(op, list, place);
                for a in list {
                    if *a == Action::Own {
                        self.own(kernel, id, op, m, setting);
                    } else {
                        self.action(a, place, depends);
                    }
                }
            }
        }
        if let OpKind::RingWait(_) = op.kind
            && let Some((c, _)) = self.taken.get(&id).copied()
        {
            self.views.extend(op.results.iter().map(|v| (*v, (id, c))));
        }
    }

    /// The record whose dependencies a fill's copies need, if they copy what instructions write.
    fn depends(&self, k: &Kernel, op: &OpData) -> Option<usize> {
        let OpKind::RingFill(_) = op.kind else { return None };
        let data = |v: &ValueId| matches!(k.ty(*v), Type::Global(_, _, access) if *access != Access::Weight);
        op.operands.iter().any(data).then_some(self.record)
    }

    /// A fill copies each of its parts once, whole.
    fn parts(&mut self, op: &OpData, list: &[Action], place: Place) {
        let OpKind::RingFill(parts) = &op.kind else { return };
        for (i, part) in parts.iter().enumerate() {
            let want = part.shape.iter().product::<usize>() * part.dtype.bits() / 8;
            let got: Vec<usize> = list
                .iter()
                .filter_map(|a| match a {
                    Action::Copy { ring: RingId::Tiles, part, bytes, reach } if *part == i => {
                        Some(*bytes * self.times(*reach))
                    }
                    _ => None,
                })
                .collect();
            if got != [want] {
                let text = format!("part {i} has {want} bytes and is copied in pieces of {got:?} bytes");
                self.fault("E25", place, text);
            }
        }
        for a in list {
            if let Action::Copy { ring: RingId::Tiles, part, .. } = a
                && *part >= parts.len()
            {
                self.fault("E25", place, format!("part {part} is copied, the slot has {}", parts.len()));
            }
        }
    }

    /// The op's own work: its nested blocks, and what it reads and writes.
    fn own(&mut self, kernel: usize, id: OpId, op: &OpData, m: &Matching, setting: &Setting<'_>) {
        let k = &self.p.kernels[kernel];
        let place = Place::Op(kernel, id);
        match &op.kind {
            OpKind::For { .. } => self.repeat(kernel, id, op, m, setting),
            OpKind::If => {
                let first = (setting.taken)(kernel, self.partner(id, m), self.meet_again(kernel, id));
                let arm = op.blocks[usize::from(!first)];
                self.enter(kernel, id, arm);
                self.block(kernel, arm, m, setting);
                let ends = k.block(arm).ops.last().map(|e| k.op(*e).operands.clone()).unwrap_or_default();
                self.bind(&op.results, &ends);
            }
            OpKind::Slice(_) | OpKind::Transpose => self.bind(&op.results, &op.operands),
            OpKind::Load | OpKind::At | OpKind::Gather => self.global(op.operands[0], false, false, place),
            OpKind::Store | OpKind::StoreMasked | OpKind::Scatter | OpKind::Atomic(..) | OpKind::AtomicCas(_) => {
                self.global(op.operands[0], true, false, place)
            }
            OpKind::Set => self.global(op.operands[0], true, true, place),
            OpKind::RingFill(_) | OpKind::RingWait(_) | OpKind::RingRelease | OpKind::Yield => {}
            _ => {
                for v in &op.operands {
                    self.read_view(*v, place);
                }
            }
        }
    }

    fn read_view(&mut self, v: ValueId, place: Place) {
        let Some((wait, c)) = self.views.get(&v).copied() else { return };
        if self.taken.get(&wait).is_some_and(|(now, given)| *given && now.slot == c.slot && now.lap == c.lap) {
            self.fault("E27", place, "a staged tile is read after its slot was given back");
        }
        let by = if self.is_started(place) { Reader::Product } else { Reader::Threads };
        self.push(Kind::ReadSlot { slot: c.slot, lap: c.lap, by }, place);
    }

    fn global(&mut self, array: ValueId, write: bool, one: bool, place: Place) {
        if self.role == Role::Producer {
            return self.push(Kind::Peek { record: self.record }, place);
        }
        self.step += 1;
        let (record, item, step) = (self.record, self.item, self.step);
        self.push(Kind::Global { record, item, array, write, one, step }, place);
    }

    fn partner(&self, id: OpId, m: &Matching) -> OpId {
        m.partner.get(&id).copied().unwrap_or(id)
    }

    fn meet_again(&mut self, kernel: usize, id: OpId) -> usize {
        let n = self.met.entry((kernel, id)).or_default();
        *n += 1;
        *n - 1
    }

    fn repeat(&mut self, kernel: usize, id: OpId, op: &OpData, m: &Matching, setting: &Setting<'_>) {
        let k = &self.p.kernels[kernel];
        let trips = (setting.trips)(kernel, self.partner(id, m), self.meet_again(kernel, id));
        let block = op.blocks[0];
        let carried: Vec<ValueId> = k.block(block).args.iter().skip(1).copied().collect();
        self.bind(&carried, &op.operands[2..]);
        for _ in 0..trips {
            self.enter(kernel, id, block);
            self.block(kernel, block, m, setting);
            let ends = k.block(block).ops.last().map(|e| k.op(*e).operands.clone()).unwrap_or_default();
            self.bind(&carried, &ends);
        }
        self.bind(&op.results, &carried);
    }

    fn enter(&mut self, kernel: usize, id: OpId, block: BlockId) {
        if let Some(list) = self.p.bodies[kernel].entries.get(&block) {
            for a in list {
                self.action(a, Place::Entry(kernel, id), None);
            }
        }
    }

    /// Views are handed on.
    fn bind(&mut self, to: &[ValueId], from: &[ValueId]) {
        let views: Vec<_> = from.iter().map(|v| self.views.get(v).copied()).collect();
        for (to, view) in to.iter().zip(views) {
            match view {
                Some(view) => self.views.insert(*to, view),
                None => self.views.remove(to),
            };
        }
    }
}
