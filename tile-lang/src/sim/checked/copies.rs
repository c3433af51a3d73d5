//! Asynchronous copies: started at one time, landing at any later one.

use super::barrier::Arrival;
use super::clock::{By, Sight};
use super::machine::{Landed, Machine};
use super::shadow::Access;
use super::stream::{Part, Place};
use super::trap::Trap;
use crate::interp::Source;
use crate::ir::{OpKind, Role};
use crate::protocol::{Barrier, RingId, Side};
use std::ops::Range;
use std::rc::Rc;

/// A copy in flight, to one CTA: one that reaches several is as many of these.
#[derive(Debug)]
pub(super) struct Flight {
    /// Where it lands.
    pub cta: usize,
    /// Who started it.
    from: usize,
    pub ring: RingId,
    /// Which taking of the ring.
    pub turn: u64,
    part: usize,
    pub bytes: usize,
    what: Rc<Payload>,
    /// The barrier that its bytes count on, and the phase that they are meant for.
    pub barrier: usize,
    pub phase: u64,
    pub by: By,
    pub place: Place,
    /// What who starts it knows, and the copy itself.
    sight: Sight,
}

/// What it brings.
#[derive(Debug)]
enum Payload {
    Tile(Source),
    Record(usize),
}

impl Machine<'_> {
    /// Starts a copy into the slot under the cursor, of each CTA that it reaches. Of one that reaches several, the CTA brings its share.
    pub fn start_copy(
        &mut self,
        a: usize,
        place: Place,
        (ring, part, bytes): (RingId, usize, usize),
        reached: Range<usize>,
    ) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let (cta, by_agent, turn) = (agent.cta, agent.by(), agent.turn(ring, place.part));
        let slots = self.world.slots(ring) as u64;
        let slot = (turn % slots) as usize;
        let barrier = self.barrier(Barrier { ring, side: Side::Full }, turn);
        let name = ring_name(ring);
        if agent.acquired.get(&ring) != Some(&turn) {
            let mut trap = Trap::new(
                "E86",
                format!("a copy into slot {slot} of the {name}, which its producer has not acquired"),
                vec![self.world.site(by_agent, "starts the copy", place)],
                "wait for the slot's empty barrier before the copy, and advance only after the last copy of a slot",
            );
            let acquired = || {
                agent.waited.get(&(ring, Side::Empty)).map(|(_, at)| self.world.site(by_agent, "acquired another", *at))
            };
            trap.sites.extend(self.last_use(cta, ring, slot).or_else(acquired));
            let last = agent.acquired.get(&ring).map_or("none yet".into(), |t| format!("{} (slot {})", t, t % slots));
            return Err(trap.note(format!("the copy is for taking {turn}; the last one waited for is {last}")));
        }
        let component = self.world.copy_component(cta, ring, slot, part);
        let number = self.copies.entry(component).or_insert(0);
        *number += 1;
        let (by, time) = (By::Copy(component as u32), *number);
        let mut sight = self.agents[a].sight.clone();
        sight.seen.raise(component, time);
        sight.fenced.raise(component, time);
        sight.shared.raise(component, time);
        let access = Access { by, time, place, turn };
        let (what, offset) = match ring {
            RingId::Tiles => self.tile_source(a, place, part, access)?,
            _ => (Payload::Record(place.record as usize), 0),
        };
        let slot_bytes = self.world.ring(ring).map_or(0, |r| r.slot_bytes);
        let offset = offset + if reached.len() > 1 { (cta - reached.start) * bytes } else { 0 };
        if offset + bytes > slot_bytes {
            let site = self.world.site(by_agent, "starts the copy", place);
            return Err(Trap::new(
                "E84",
                format!("a copy of {bytes} bytes to byte {offset} of a slot of {slot_bytes} bytes"),
                vec![site],
                "stage smaller tiles, or make the slots larger",
            ));
        }
        let base = slot * slot_bytes + offset;
        let (phase, what, from) = (turn / slots, Rc::new(what), cta);
        for cta in reached {
            self.check_slot_write(a, cta, ring, base..base + bytes, access)?;
            let (what, sight) = (what.clone(), sight.clone());
            self.flights.push(Flight { cta, from, ring, turn, part, bytes, what, barrier, phase, by, place, sight });
        }
        Ok(())
    }

    /// Where a part of the ring fill at hand is read, checked against what else touches it; and its offset in the slot.
    fn tile_source(
        &mut self,
        a: usize,
        place: Place,
        part: usize,
        access: Access,
    ) -> Result<(Payload, usize), Box<Trap>> {
        let cta = self.agents[a].cta;
        let stream = &mut self.ctas[cta].producer;
        let Some(step) = stream.step() else { return Err(self.misplaced(a, place, "a copy outside of a staged load")) };
        let OpKind::RingFill(parts) = &step.kind else {
            return Err(self.misplaced(a, place, "a copy at an op that stages nothing"));
        };
        let Some(this) = parts.get(part) else {
            return Err(self.misplaced(a, place, "a copy of a part that the staged load doesn't have"));
        };
        let source = stream.walk.source(step, part);
        let source = source.map_err(|e| self.world.item_fault(e, Role::Producer, cta, place))?;
        let Some(source) = source else {
            return Err(self.misplaced(a, place, "a copy of a part that the staged load doesn't have"));
        };
        if let Some(buffer) = self.world.buffer(place.record as usize, source.param) {
            for run in source.runs() {
                self.check_copy_source(a, buffer, run, access)?;
            }
        }
        Ok((Payload::Tile(source), this.offset))
    }

    /// A copy lands: its bytes are there, and count on the barrier.
    pub fn land(&mut self, index: usize) -> Result<(), Box<Trap>> {
        let flight = self.flights.remove(index);
        let slot = (flight.turn % self.world.slots(flight.ring) as u64) as usize;
        // What is shared has the same source in all CTAs, so that any of them may read it.
        let landed = match &*flight.what {
            Payload::Tile(source) => Landed::Tile(source.read(&mut self.ctas[flight.from].producer.walk)),
            Payload::Record(record) => Landed::Record(*record),
        };
        let cta = &mut self.ctas[flight.cta];
        cta.slots.insert((flight.ring, slot, flight.part), landed);
        let barrier = &mut cta.barriers[flight.barrier];
        if barrier.completed != flight.phase {
            return Err(self.wrong_phase_of_bytes(&flight));
        }
        let complete = barrier.land(flight.bytes, &flight.sight);
        let surplus = barrier.bytes < 0 && barrier.arrivals.len() >= barrier.count;
        if surplus {
            return Err(self.too_many_bytes(&flight));
        }
        if complete {
            self.completed(flight.cta, flight.barrier)?;
        }
        Ok(())
    }

    /// A phase is complete: no copy that was meant for it may still be in flight.
    pub fn completed(&self, cta: usize, barrier: usize) -> Result<(), Box<Trap>> {
        let done = self.ctas[cta].barriers[barrier].completed;
        match self.flights.iter().find(|f| f.cta == cta && f.barrier == barrier && f.phase < done) {
            Some(flight) => Err(self.wrong_phase_of_bytes(flight)),
            None => Ok(()),
        }
    }

    fn wrong_phase_of_bytes(&self, flight: &Flight) -> Box<Trap> {
        let barrier = &self.ctas[flight.cta].barriers[flight.barrier];
        let before = barrier.before.iter().find(|a| a.bytes.is_some());
        self.bytes_trap(
            flight,
            before,
            format!("phase {} completes while bytes of it are still in flight", flight.phase),
        )
    }

    fn too_many_bytes(&self, flight: &Flight) -> Box<Trap> {
        let barrier = &self.ctas[flight.cta].barriers[flight.barrier];
        let expect = barrier.arrivals.iter().find(|a| a.bytes.is_some());
        let message = format!("copies bring {} bytes more than phase {} announces", -barrier.bytes, flight.phase);
        self.bytes_trap(flight, expect, message)
    }

    fn bytes_trap(&self, flight: &Flight, expect: Option<&Arrival>, what: String) -> Box<Trap> {
        let slot = flight.turn % self.world.slots(flight.ring) as u64;
        let name = ring_name(flight.ring);
        let mut sites = vec![self.world.site(flight.by, "was started", flight.place)];
        if let Some(expect) = expect {
            let bytes = expect.bytes.unwrap_or(0);
            let by = self.agents[expect.agent].by();
            sites.push(self.world.site(by, &format!("announced {bytes} bytes"), expect.place));
        }
        let total = self.copied_bytes(flight.place);
        Trap::new(
            "E87",
            format!("wrong transaction count at slot {slot} of the {name}: {what}"),
            sites,
            "announce the sum of the bytes of all copies of the phase",
        )
        .note(format!("the copies of this op bring {total} bytes"))
    }

    /// Bytes of all copies of an op or of a fetch.
    pub fn copied_bytes(&self, place: Place) -> usize {
        use crate::protocol::Action;
        let body = self.world.body(place.record as usize);
        let actions = match place.part {
            Part::Op(id) => body.actions.get(&id).map_or(&[][..], Vec::as_slice),
            _ => &self.world.protocol.frame.fetch,
        };
        actions.iter().map(|a| if let Action::Copy { bytes, .. } = a { *bytes } else { 0 }).sum()
    }
}

/// The ring, for people.
pub(super) fn ring_name(ring: RingId) -> &'static str {
    match ring {
        RingId::Tiles => "ring of tiles",
        RingId::Records => "ring of records",
        RingId::Ready => "ready barriers",
        RingId::PassEnd => "end of the pass",
    }
}
