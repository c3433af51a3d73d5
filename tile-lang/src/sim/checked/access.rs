//! Memory accesses, checked against what everyone knows of each other: ops' own work, staged tiles, records, the verdict.

use super::clock::{By, Clock};
use super::copies::ring_name;
use super::machine::{Landed, Machine};
use super::shadow::{Access, Was};
use super::stream::{Part, Place, Shared, SlotView, Use, reads_shared};
use super::trap::{Site, Trap};
use super::world::{Area, World};
use crate::interp::{How, Touch};
use crate::ir::{OpKind, Type};
use crate::protocol::RingId;
use std::ops::Range;

/// Bytes of a record's slot that roles look at: all of it.
const RECORD: usize = crate::record::RECORD_BYTES;

impl<'a> Machine<'a> {
    /// The op at hand: the first of a team computes it, all take part in its accesses.
    pub fn own(&mut self, a: usize, index: usize, place: Place, first: bool) -> Result<(), Box<Trap>> {
        if first {
            self.compute(a, index, place)?;
        }
        let Some(shared) = self.stream(a).events[index].shared.as_deref() else { return Ok(()) };
        let slots = shared.slots.clone();
        for view in &slots {
            if let Some(released) = self.agents[a].released.get(&view.turn) {
                return Err(self.read_after_release(a, place, view, *released));
            }
        }
        // One thread's access is its own; it waits for nobody.
        if shared.touch.as_ref().is_some_and(|t| t.how == How::Set) {
            if self.agents[a].is_first() {
                let touch = shared.touch.clone();
                let clock = self.agents[a].seen().clone();
                let access = self.access(self.agents[a].by(), a, place);
                if let Some(touch) = touch {
                    self.check_touch(&touch, access, &clock)?;
                }
            }
            return Ok(());
        }
        self.together(a, index, place)
    }

    fn access(&self, by: By, a: usize, place: Place) -> Access {
        Access { by, time: self.agents[a].at as u32 + 1, place, turn: 0 }
    }

    /// Runs the op once for its team, and notes what it touches.
    fn compute(&mut self, a: usize, index: usize, place: Place) -> Result<(), Box<Trap>> {
        let (cta, role) = (self.agents[a].cta, self.stream(a).role);
        let Some(step) = self.stream(a).step() else {
            // A block's entry, or the end of a loop.
            let went = self.stream_mut(a).walk.proceed();
            return went.map_err(|e| self.world.item_fault(e, role, cta, place));
        };
        let kernel = &self.world.protocol.kernels[self.world.plan.program[place.record as usize].kernel];
        let mut slots = Vec::new();
        if reads_shared(kernel, step) {
            for (i, v) in kernel.op(step.id).operands.iter().enumerate() {
                if matches!(kernel.ty(*v), Type::Smem(..)) {
                    slots.extend(self.stream(a).view(step, i));
                }
            }
        }
        let stream = self.stream_mut(a);
        let touch = stream.walk.touches(step);
        let touch = touch.map_err(|e| self.world.item_fault(e, role, cta, place))?;
        if let OpKind::RingWait(parts) = &step.kind {
            let Some(turn) = self.agents[a].taken.get(&step.id).copied() else {
                return Err(self.misplaced(a, place, "staged tiles that nobody waited for"));
            };
            let slot = (turn % self.world.slots(RingId::Tiles) as u64) as usize;
            for (i, part) in parts.iter().enumerate() {
                let cta = &mut self.ctas[cta];
                let tile = match cta.slots.get(&(RingId::Tiles, slot, i)) {
                    Some(Landed::Tile(tile)) => tile.clone(),
                    _ => cta.consumer.walk.nothing(part.dtype.is_int()),
                };
                let bytes = (part.offset, part.offset + part.bytes());
                cta.consumer.bind(step, i, tile, SlotView { turn, bytes });
            }
        }
        let stream = self.stream_mut(a);
        let went = stream.walk.proceed();
        if touch.is_some() || !slots.is_empty() {
            stream.events[index].shared = Some(Box::new(Shared { touch, slots, areas: Vec::new(), sight: None }));
        }
        went.map_err(|e| self.world.item_fault(e, role, cta, place))
    }

    /// One agent's part in an access that its team does together. The last one's arrival completes it: then it lies
    /// before whatever all of them are known to have done.
    fn together(&mut self, a: usize, index: usize, place: Place) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let (cta, is_warp) = (agent.cta, agent.warp.is_some());
        let readers = if is_warp { self.world.protocol.warps } else { 1 };
        let by = if is_warp { By::Team(cta as u32) } else { agent.by() };
        let access = self.access(by, a, place);
        let cta_state = &mut self.ctas[cta];
        let stream = if is_warp { &mut cta_state.consumer } else { &mut cta_state.producer };
        let event = &mut stream.events[index];
        let last = event.passed + 1 == readers;
        let Some(shared) = &mut event.shared else { return Ok(()) };
        match &mut shared.sight {
            Some(sight) => sight.meet(&agent.sight),
            None => shared.sight = Some(agent.sight.clone()),
        }
        if !last {
            return Ok(());
        }
        let Some(done) = event.shared.take() else { return Ok(()) };
        let Shared { touch, slots, areas, sight: Some(sight) } = *done else { return Ok(()) };
        let clock = &sight.seen;
        if let Some(touch) = touch {
            self.check_touch(&touch, access, clock)?;
        }
        for view in slots {
            self.check_slot_read(a, &view, access, clock)?;
        }
        for (bytes, how) in areas {
            self.check_area(cta, bytes, how, access, &sight)?;
        }
        Ok(())
    }

    /// A warp's part in what its team does in areas of shared memory.
    pub fn areas(
        &mut self,
        a: usize,
        index: usize,
        place: Place,
        areas: Vec<(Range<usize>, Use)>,
    ) -> Result<(), Box<Trap>> {
        let event = &mut self.stream_mut(a).events[index];
        if event.passed == 0 && !areas.is_empty() {
            event.shared = Some(Box::new(Shared { touch: None, slots: Vec::new(), areas, sight: None }));
        }
        self.together(a, index, place)
    }

    /// An access to a global buffer.
    fn check_touch(&mut self, touch: &Touch, access: Access, clock: &Clock) -> Result<(), Box<Trap>> {
        let record = access.place.record as usize;
        let Some(buffer) = self.world.buffer(record, touch.param) else { return Ok(()) };
        for run in &touch.runs {
            match touch.how {
                How::Read => self.read_buffer(buffer, run.clone(), access, clock, false)?,
                How::Write | How::Set => self.write_buffer(buffer, run.clone(), access, clock)?,
                How::Atomic => self.change_buffer(buffer, run.clone(), access, clock)?,
            }
        }
        Ok(())
    }

    fn read_buffer(
        &mut self,
        buffer: usize,
        run: Range<usize>,
        access: Access,
        clock: &Clock,
        proxy: bool,
    ) -> Result<(), Box<Trap>> {
        let Machine { world, buffers, uninitialised, .. } = self;
        let name = &world.plan.buffers[buffer].name;
        buffers[buffer].read(run, access, |part, write| {
            let Some((write, was)) = write else {
                let given = uninitialised.get(&buffer);
                if let Some(at) = given.and_then(|g| part.clone().find(|i| !g.iter().any(|run| run.contains(i)))) {
                    let site = world.site(access.by, "reads", access.place);
                    let message = format!("element {at} of `{name}` is read and was never written");
                    return Err(Trap::new("E83", message, vec![site], "write the elements first"));
                }
                return Ok(());
            };
            if other_item(access.place, write.place) {
                let sites = vec![
                    world.site(access.by, "reads", access.place),
                    world.site(write.by, verb(was), write.place),
                ];
                return Err(Trap::new(
                    "E80",
                    format!("a work item reads elements {part:?} of `{name}` that another item of the same instruction writes"),
                    sites,
                    "split the instruction in two: items of one instruction run in any order",
                ));
            }
            if clock.covers(&world.space, write.by, write.time) {
                return Ok(());
            }
            let sites =
                vec![world.site(access.by, "reads", access.place), world.site(write.by, verb(was), write.place)];
            if proxy {
                return Err(Trap::new(
                    "E91",
                    format!("a copy reads elements {part:?} of `{name}` that were written through registers, without a proxy fence between"),
                    sites,
                    "fence the proxies (fence.proxy.async) between the write and the copy",
                ));
            }
            Err(race("E80", format!("data race on elements {part:?} of `{name}`"), sites))
        })
    }

    /// A write, which nothing else may touch meanwhile.
    fn write_buffer(
        &mut self,
        buffer: usize,
        run: Range<usize>,
        access: Access,
        clock: &Clock,
    ) -> Result<(), Box<Trap>> {
        let Machine { world, buffers, .. } = self;
        buffers[buffer].write(run, access, |part, before, was| {
            meets(world, buffer, (access, Was::Write), (before, was), part, clock)
        })
    }

    /// An atomic change of elements, which others may change so at the same time.
    fn change_buffer(
        &mut self,
        buffer: usize,
        run: Range<usize>,
        access: Access,
        clock: &Clock,
    ) -> Result<(), Box<Trap>> {
        let Machine { world, buffers, .. } = self;
        let own = (access, Was::Atomic);
        buffers[buffer].atomic(run, access, |part, before, was| meets(world, buffer, own, (before, was), part, clock))
    }

    /// What a copy reads in global memory.
    pub fn check_copy_source(
        &mut self,
        a: usize,
        buffer: usize,
        run: Range<usize>,
        access: Access,
    ) -> Result<(), Box<Trap>> {
        let seen = self.agents[a].seen().clone();
        self.read_buffer(buffer, run.clone(), access, &seen, false)?;
        let fenced = self.agents[a].sight.fenced.clone();
        self.read_buffer(buffer, run, access, &fenced, true)
    }

    /// What a copy overwrites in shared memory.
    pub fn check_slot_write(
        &mut self,
        a: usize,
        cta: usize,
        ring: RingId,
        bytes: Range<usize>,
        access: Access,
    ) -> Result<(), Box<Trap>> {
        let sight = self.agents[a].sight.clone();
        let slot_bytes = self.world.ring(ring).map_or(1, |r| r.slot_bytes.max(1));
        let (world, shadow) = (&self.world, &mut self.ctas[cta].shared);
        let at = world.shared(Area::of(ring), bytes.clone()).map_err(|m| outside(world, access, m))?;
        let (first, base) = (bytes.start, at.start);
        shadow.write(at, access, |part, before, was| {
            let by_threads = was == Was::Read && !world.is_product(before.place);
            let ordered = |clock: &Clock| clock.covers(&world.space, before.by, before.time);
            if ordered(&sight.seen) && (!by_threads || ordered(&sight.shared)) {
                return Ok(());
            }
            let verb = if was == Was::Write { "brings bytes" } else { "reads the slot" };
            let sites = vec![
                world.site(access.by, "overwrites the slot", access.place),
                world.site(before.by, verb, before.place),
            ];
            let slot = format!("slot {} of the {}", (part.start - base + first) / slot_bytes, ring_name(ring));
            if ordered(&sight.seen) {
                return Err(Trap::new(
                    "E91",
                    format!(
                        "a copy overwrites {slot}, which was read through registers, without a proxy fence between"
                    ),
                    sites,
                    "fence the proxies (fence.proxy.async) between the wait for the slot and the copy",
                ));
            }
            Err(race("E81", format!("data race in {slot}"), sites))
        })
    }

    /// What consumers read of a slot.
    fn check_slot_read(&mut self, a: usize, view: &SlotView, access: Access, clock: &Clock) -> Result<(), Box<Trap>> {
        let cta = self.agents[a].cta;
        let ring = RingId::Tiles;
        let (slots, slot_bytes) = (self.world.slots(ring) as u64, self.world.ring(ring).map_or(0, |r| r.slot_bytes));
        let slot = (view.turn % slots) as usize;
        let base = slot * slot_bytes;
        let (world, shadow) = (&self.world, &mut self.ctas[cta].shared);
        let access = Access { turn: view.turn, ..access };
        let at = world.shared(Area::Tiles, base + view.bytes.0..base + view.bytes.1);
        let at = at.map_err(|m| outside(world, access, m))?;
        let begin = at.start - view.bytes.0;
        shadow.read(at, access, |part, write| {
            let bytes = part.start - begin..part.end - begin;
            check_read(world, access, write.map(|w| w.0), clock, || {
                format!("bytes {bytes:?} of slot {slot} of the {}", ring_name(ring))
            })
        })
    }

    fn read_after_release(&self, a: usize, place: Place, view: &SlotView, released: Place) -> Box<Trap> {
        let by = self.agents[a].by();
        let slot = view.turn % self.world.slots(RingId::Tiles) as u64;
        Trap::new(
            "E85",
            format!("slot {slot} of the ring of tiles is read after it was given back"),
            vec![self.world.site(by, "reads it", place), self.world.site(by, "gave it back", released)],
            "release a slot after the last op that reads it",
        )
        .note("the producer may overwrite it from the release on".into())
    }

    /// Reads the record in the slot under the cursor.
    pub fn read_record(&mut self, a: usize, place: Place, first: bool) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let (cta, by, clock) = (agent.cta, agent.by(), agent.seen().clone());
        let turn = agent.turn(RingId::Records, place.part);
        let slot = (turn % self.world.slots(RingId::Records) as u64) as usize;
        let access = Access { by, time: agent.at as u32 + 1, place, turn };
        let world = &self.world;
        let bytes = world.ring(RingId::Records).map_or(RECORD, |r| r.slot_bytes);
        let at = world.shared(Area::Records, slot * bytes..slot * bytes + RECORD.min(bytes));
        let at = at.map_err(|m| outside(world, access, m))?;
        self.ctas[cta].shared.read(at, access, |_, write| {
            check_read(world, access, write.map(|w| w.0), &clock, || format!("slot {slot} of the ring of records"))
        })?;
        if first && let Some(Landed::Record(record)) = self.ctas[cta].slots.get(&(RingId::Records, slot, 0)) {
            let record = *record;
            self.stream_mut(a).record = record;
        }
        Ok(())
    }

    /// The first thread reads the stop element and writes the verdict.
    pub fn write_verdict(&mut self, a: usize, place: Place) -> Result<(), Box<Trap>> {
        if !self.agents[a].is_first() {
            return Ok(());
        }
        let (by, clock, cta) = (self.agents[a].by(), self.agents[a].seen().clone(), self.agents[a].cta);
        let access = self.access(by, a, place);
        let stop = self.world.plan.stop;
        // A strong access, as the write of a stop flag is: only what was written before it matters.
        let (world, name) = (&self.world, &self.world.plan.buffers[stop.buffer].name);
        self.buffers[stop.buffer].written(stop.element, |write| {
            if clock.covers(&world.space, write.by, write.time) {
                return Ok(());
            }
            let sites = vec![
                world.site(access.by, "reads the stop element", access.place),
                world.site(write.by, "wrote it", write.place),
            ];
            Err(race("E80", format!("data race on element {} of `{name}`", stop.element), sites))
        })?;
        let mut value = [0];
        if let Some(array) = self.arrays.get(stop.buffer) {
            // A plan's stop element is inside its buffer; the constructor has looked.
            let _ = array.read_i32(stop.element, &mut value);
        }
        let again = value == [0] && (place.pass as usize) + 1 < self.world.passes;
        let (world, cta) = (&self.world, &mut self.ctas[cta]);
        let at = world.shared(Area::Verdict, 0..4).map_err(|m| outside(world, access, m))?;
        cta.shared.write(at, access, |_, before, _| {
            if clock.covers(&world.space, before.by, before.time) {
                return Ok(());
            }
            let sites = vec![
                world.site(access.by, "writes the verdict", access.place),
                world.site(before.by, "reads it", before.place),
            ];
            Err(race("E81", "data race on the verdict".into(), sites))
        })?;
        cta.again = Some(again);
        Ok(())
    }

    /// Everyone reads the verdict.
    pub fn read_verdict(&mut self, a: usize, place: Place, first: bool) -> Result<(), Box<Trap>> {
        let (by, clock, cta) = (self.agents[a].by(), self.agents[a].seen().clone(), self.agents[a].cta);
        let access = self.access(by, a, place);
        let world = &self.world;
        let at = world.shared(Area::Verdict, 0..4).map_err(|m| outside(world, access, m))?;
        self.ctas[cta].shared.read(at, access, |_, write| {
            let Some((write, _)) = write else { return Err(unwritten(world, access, "the verdict")) };
            if clock.covers(&world.space, write.by, write.time) {
                return Ok(());
            }
            let sites = vec![
                world.site(access.by, "reads the verdict", access.place),
                world.site(write.by, "wrote it", write.place),
            ];
            Err(race("E81", "data race on the verdict".into(), sites))
        })?;
        if first {
            let again = self.ctas[cta].again.unwrap_or(false);
            self.stream_mut(a).again = again;
        }
        Ok(())
    }

    /// Who used a slot last.
    pub fn last_use(&self, cta: usize, ring: RingId, slot: usize) -> Option<Site> {
        let bytes = self.world.ring(ring)?.slot_bytes;
        let at = self.world.shared(Area::of(ring), slot * bytes..(slot + 1) * bytes).ok()?;
        let last = self.ctas[cta].shared.last(at)?;
        Some(self.world.site(last.by, "used the slot last", last.place))
    }
}

/// What an access before did, for a report.
fn verb(was: Was) -> &'static str {
    match was {
        Was::Read => "reads",
        Was::Write => "wrote",
        Was::Atomic => "changed atomically",
    }
}

/// Whether a write or an atomic change of elements of a buffer may follow an access before it.
fn meets(
    world: &World<'_>,
    buffer: usize,
    (access, own): (Access, Was),
    (before, was): (&Access, Was),
    part: Range<usize>,
    clock: &Clock,
) -> Result<(), Box<Trap>> {
    let name = &world.plan.buffers[buffer].name;
    let what = if own == Was::Write { "writes" } else { "changes atomically" };
    let sites = || vec![world.site(access.by, what, access.place), world.site(before.by, verb(was), before.place)];
    if other_item(access.place, before.place) {
        if was == Was::Write && own == Was::Write {
            return Err(Trap::new(
                "E82",
                format!("two work items of one instruction write elements {part:?} of `{name}`"),
                sites(),
                "let each element be written by one item: index the tile by all of the item's coordinates",
            ));
        }
        return Err(Trap::new(
            "E80",
            format!(
                "a work item {what} elements {part:?} of `{name}` that another item of the same instruction {}",
                verb(was)
            ),
            sites(),
            "split the instruction in two: items of one instruction run in any order",
        ));
    }
    if clock.covers(&world.space, before.by, before.time) {
        return Ok(());
    }
    Err(race("E80", format!("data race on elements {part:?} of `{name}`"), sites()))
}

/// Whether two accesses are of different items of the same instruction and pass.
fn other_item(a: Place, b: Place) -> bool {
    let in_body = |p: Place| matches!(p.part, Part::Op(_) | Part::Entry(_));
    in_body(a) && in_body(b) && (a.pass, a.record) == (b.pass, b.record) && a.item != b.item
}

pub(super) fn race(code: &'static str, message: String, sites: Vec<Site>) -> Box<Trap> {
    let fix = match code {
        "E80" => "order the two: a dependency between the instructions, or a meeting of the warps",
        _ => "let the warps meet between the two, or wait for the slot's barrier",
    };
    Trap::new(code, message, sites, fix)
}

/// An access beyond its area of shared memory.
pub(super) fn outside(world: &World<'_>, access: Access, message: String) -> Box<Trap> {
    let sites = vec![world.site(access.by, "is", access.place)];
    Trap::new("E84", message, sites, "make the region as large as what lies there, and let no two share bytes")
}

pub(super) fn unwritten(world: &World<'_>, access: Access, what: &str) -> Box<Trap> {
    let sites = vec![world.site(access.by, "reads", access.place)];
    Trap::new("E83", format!("{what}: read and never written"), sites, "wait for the barrier of what writes it")
}

/// A read of what a copy brought: written at all, known to have landed, and by this turn's copy.
fn check_read(
    world: &World<'_>,
    access: Access,
    write: Option<&Access>,
    clock: &Clock,
    what: impl Fn() -> String,
) -> Result<(), Box<Trap>> {
    let Some(write) = write else { return Err(unwritten(world, access, &what())) };
    let sites = || vec![world.site(access.by, "reads", access.place), world.site(write.by, "was started", write.place)];
    if !clock.covers(&world.space, write.by, write.time) {
        return Err(race("E81", format!("data race on {}", what()), sites()));
    }
    if write.turn != access.turn {
        return Err(Trap::new(
            "E83",
            format!("{}: read, but no copy of this turn wrote it", what()),
            sites(),
            "copy all bytes that are read, in each phase",
        )
        .note(format!("turn {} is read, what lies there is of turn {}", access.turn, write.turn)));
    }
    Ok(())
}
