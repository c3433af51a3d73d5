//! Actions of the protocol: waits, arrivals, meetings, fences, counters.

use super::agent::Blocked;
use super::barrier::{Arrival, Meeting};
use super::copies::ring_name;
use super::machine::{Machine, Went};
use super::stream::{Part, Place, Use};
use super::trap::Trap;
use crate::protocol::{Action, At, Barrier, Fence, Parity, RingId, Side, Who};

/// Threads of a warp.
const LANES: usize = 32;
/// Named barriers of a CTA.
const NAMED: u8 = 16;

impl<'a> Machine<'a> {
    /// Carries an action out; `index` is its place among the events of the agent's stream.
    pub fn act(&mut self, a: usize, index: usize, place: Place, action: &'a Action) -> Result<Went, Box<Trap>> {
        let first = self.agents[a].is_first();
        let mine = |who: Who| who == Who::EachWarp || first;
        match action {
            Action::Own => {}
            Action::Wait { barrier, parity } => return self.wait(a, place, *barrier, *parity),
            Action::Expect { barrier, bytes } => {
                let turn = self.agents[a].turn(barrier.ring, place.part);
                self.arrive(a, place, (self.agents[a].cta, *barrier), turn, Some(*bytes))?;
            }
            Action::Copy { ring, part, bytes, reach } => {
                let reached = self.world.reached(self.agents[a].cta, *reach);
                self.start_copy(a, place, (*ring, *part, *bytes), reached)?;
            }
            Action::Arrive { barrier, at, who, reach } if mine(*who) => {
                let turn = match at {
                    // Its one slot needs no cursor to arrive at: each pass is a turn.
                    At::Cursor if barrier.ring == RingId::PassEnd => u64::from(place.pass),
                    At::Cursor => self.agents[a].turn(barrier.ring, place.part),
                    At::TakenBy(op) => match self.agents[a].taken.get(op) {
                        Some(turn) => *turn,
                        None => return Err(self.misplaced(a, place, "a release of a slot that was never taken")),
                    },
                    At::PutOffBy(op) => match self.agents[a].put_off.remove(op) {
                        Some(turn) => turn,
                        None => return Ok(Went::On),
                    },
                };
                if barrier.ring == RingId::Tiles && barrier.side == Side::Empty {
                    self.still_read(a, turn, place)?;
                    self.agents[a].release(turn, place);
                }
                for cta in self.world.reached(self.agents[a].cta, *reach) {
                    self.arrive(a, place, (cta, *barrier), turn, None)?;
                }
            }
            Action::Arrive { .. } => {}
            Action::PutOff { at } => {
                let (At::TakenBy(taken), Part::Op(release)) = (at, place.part) else {
                    return Err(self.misplaced(a, place, "a release put off of a slot that no op took"));
                };
                let agent = &mut self.agents[a];
                let Some(turn) = agent.taken.get(taken).copied() else {
                    return Err(self.misplaced(a, place, "a release put off of a slot that was never taken"));
                };
                if agent.put_off.insert(release, turn).is_some() {
                    return Err(self.misplaced(a, place, "a second release put off before the first was made up for"));
                }
            }
            Action::Advance(ring) => self.agents[a].advance(*ring, place.part),
            Action::Meet { id, threads } => return self.meet(a, place, *id, *threads),
            Action::TakeTurn { turns, group } => return self.take_turn(a, place, *turns, *group),
            Action::GiveTurn { turns, group } => self.give_turn(a, place, *turns, *group)?,
            Action::Fence(fence, who) if mine(*who) => {
                let Machine { world, agents, .. } = self;
                let agent = &mut agents[a];
                match fence {
                    Fence::ProxyAsync => agent.sight.fence(),
                    Fence::ProxyShared(reach) => {
                        agent.sight.fence_shared(&world.space, world.reached(agent.cta, *reach));
                    }
                    Fence::Gpu => {
                        agent.sight.join(&agent.read);
                        agent.published.clone_from(&agent.sight);
                    }
                }
            }
            Action::Fence(..) => {}
            Action::WaitCounters if first => return self.wait_counters(a, place),
            Action::WaitLast if first => {
                let last = self.world.range.end - 1;
                return Ok(self.wait_counter(a, last, self.world.target(last, place.pass)));
            }
            Action::Raise if first => self.raise(a, place)?,
            Action::WaitCounters | Action::WaitLast | Action::Raise => {}
            Action::Start { terms } => self.start_product(a, index, place, terms.start)?,
            Action::WaitProducts { left } => self.end_products(a, index, place, *left)?,
            Action::Keep { value } => self.keep(a, index, place, *value)?,
            Action::ExchangeWrite { bytes } => self.areas(a, index, place, vec![(0..*bytes, Use::ExchangeWrite)])?,
            Action::ExchangeRead { bytes } => self.areas(a, index, place, vec![(0..*bytes, Use::ExchangeRead)])?,
        }
        Ok(Went::On)
    }

    fn wait(&mut self, a: usize, place: Place, barrier: Barrier, parity: Parity) -> Result<Went, Box<Trap>> {
        let agent = &self.agents[a];
        let turn = agent.turn(barrier.ring, place.part);
        let round = turn / self.world.slots(barrier.ring) as u64;
        let index = self.barrier(barrier, turn);
        let (bit, wanted) = match parity {
            Parity::Phase => (round & 1, round + 1),
            Parity::Opposite => ((round & 1) ^ 1, round),
        };
        let consecutive = matches!(barrier.ring, RingId::Tiles | RingId::Records);
        let last = agent.waited.get(&(barrier.ring, barrier.side)).copied().filter(|_| consecutive);
        if let Some((before, at)) = last.filter(|(before, _)| before + 1 != turn) {
            return Err(self.not_carried(a, place, barrier, (turn, before), at));
        }
        let state = &self.ctas[agent.cta].barriers[index];
        if !state.passes(bit) && state.completed <= wanted {
            return Ok(Went::Waits(Blocked::Phase { barrier: index, parity: bit, wanted, turn }));
        }
        if state.completed != wanted {
            return Err(self.wrong_phase(a, place, barrier, index, turn, wanted));
        }
        let Machine { ctas, agents, .. } = self;
        let agent = &mut agents[a];
        agent.sight.join(&ctas[agent.cta].barriers[index].released);
        agent.waited.insert((barrier.ring, barrier.side), (turn, place));
        match (barrier.side, place.part) {
            (Side::Full, Part::Op(op)) if barrier.ring == RingId::Tiles => agent.take(op, turn, place),
            (Side::Empty, _) => {
                agent.acquired.insert(barrier.ring, turn);
            }
            _ => {}
        }
        Ok(Went::On)
    }

    /// The cursor stands elsewhere than after the slot that was taken last.
    fn not_carried(
        &self,
        a: usize,
        place: Place,
        barrier: Barrier,
        (turn, before): (u64, u64),
        last: Place,
    ) -> Box<Trap> {
        let by = self.agents[a].by();
        let slots = self.world.slots(barrier.ring) as u64;
        let what = if turn <= before { "a phase that is over" } else { "a phase that skips others" };
        Trap::new(
            "E90",
            format!(
                "a wait for {what}: {} of slot {} of the {} in round {}, after slot {} in round {}",
                side_name(barrier.side),
                turn % slots,
                ring_name(barrier.ring),
                turn / slots,
                before % slots,
                before / slots
            ),
            vec![self.world.site(by, "waits", place), self.world.site(by, "took the last one", last)],
            "carry slot and phase from one use of the ring to the next, and advance once for each slot taken",
        )
        .note(format!("the cursor is at taking {turn} of the ring, {} would be next", before + 1))
    }

    /// The wait returns, but for another phase than the cursor stands at.
    fn wrong_phase(&self, a: usize, place: Place, barrier: Barrier, index: usize, turn: u64, wanted: u64) -> Box<Trap> {
        let agent = &self.agents[a];
        let state = &self.ctas[agent.cta].barriers[index];
        let slots = self.world.slots(barrier.ring) as u64;
        let mut sites = vec![self.world.site(agent.by(), "waits", place)];
        if let Some(last) = state.arrivals.last().or(state.before.last()) {
            sites.push(self.world.site(self.agents[last.agent].by(), "arrived last", last.place));
        }
        Trap::new(
            "E90",
            format!(
                "a wait for the wrong phase: {} of slot {} of the {} has completed {} phases, {wanted} are expected",
                side_name(barrier.side),
                turn % slots,
                ring_name(barrier.ring),
                state.completed
            ),
            sites,
            "carry slot and phase from one use of the ring to the next, and advance once for each slot taken",
        )
        .note(format!(
            "one parity bit is all a wait sees: phases {} and {wanted} look the same to it; the cursor is at taking {turn} (slot {}, round {})",
            state.completed,
            turn % slots,
            turn / slots
        ))
    }

    /// One arrival at a barrier of a CTA, in the phase that `turn` belongs to.
    fn arrive(
        &mut self,
        a: usize,
        place: Place,
        (cta, barrier): (usize, Barrier),
        turn: u64,
        bytes: Option<usize>,
    ) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let round = turn / self.world.slots(barrier.ring) as u64;
        let index = self.barrier(barrier, turn);
        let state = &self.ctas[cta].barriers[index];
        let twice = state.arrivals.iter().find(|x| x.agent == a);
        let late = state.completed > round || state.arrivals.len() >= state.count;
        if twice.is_some() || late {
            let earlier = twice.or_else(|| state.before.iter().find(|x| x.agent == a)).or(state.before.last());
            return Err(self.too_many(a, place, (cta, barrier), turn, earlier.or(state.arrivals.last()).copied()));
        }
        if state.completed < round {
            let missing = self.missing(cta, index);
            let mut trap = Trap::new(
                "E90",
                format!(
                    "an arrival for phase {round} comes while phase {} of {} of slot {} of the {} is not complete",
                    state.completed,
                    side_name(barrier.side),
                    turn % self.world.slots(barrier.ring) as u64,
                    ring_name(barrier.ring)
                ),
                vec![self.world.site(agent.by(), "arrives", place)],
                "wait for the slot before it is used again, and carry slot and phase along",
            );
            if let Some(other) = state.arrivals.last().or(state.before.last()) {
                trap.sites.push(self.world.site(self.agents[other.agent].by(), "arrived before", other.place));
            }
            return Err(trap.note(missing));
        }
        let sight = agent.sight.clone();
        let state = &mut self.ctas[cta].barriers[index];
        let complete = state.arrive(Arrival { agent: a, place, bytes }, &sight);
        if !complete && state.bytes < 0 && state.arrivals.len() >= state.count {
            let expect = place;
            let total = self.copied_bytes(place);
            let by = self.agents[a].by();
            let announced = bytes.unwrap_or(0);
            return Err(Trap::new(
                "E87",
                format!(
                    "wrong transaction count at slot {} of the {}: more bytes have landed than are announced",
                    turn % self.world.slots(barrier.ring) as u64,
                    ring_name(barrier.ring)
                ),
                vec![self.world.site(by, &format!("announces {announced} bytes"), expect)],
                "announce the sum of the bytes of all copies of the phase",
            )
            .note(format!("the copies of this op bring {total} bytes")));
        }
        if complete {
            self.completed(cta, index)?;
        }
        Ok(())
    }

    fn too_many(
        &self,
        a: usize,
        place: Place,
        (cta, barrier): (usize, Barrier),
        turn: u64,
        earlier: Option<Arrival>,
    ) -> Box<Trap> {
        let slots = self.world.slots(barrier.ring) as u64;
        let index = self.barrier(barrier, turn);
        let state = &self.ctas[cta].barriers[index];
        let mut sites = vec![self.world.site(self.agents[a].by(), "arrives", place)];
        if let Some(e) = earlier {
            sites.push(self.world.site(self.agents[e.agent].by(), "arrived before", e.place));
        }
        Trap::new(
            "E89",
            format!(
                "too many arrivals: {} of slot {} of the {} expects {} in phase {}",
                side_name(barrier.side),
                turn % slots,
                ring_name(barrier.ring),
                state.count,
                turn / slots
            ),
            sites,
            "arrive once for each phase, or raise the barrier's count",
        )
        .note(format!(
            "{} phases are complete, the present one has {} arrivals",
            state.completed,
            state.arrivals.len()
        ))
    }

    fn meet(&mut self, a: usize, place: Place, id: u8, threads: usize) -> Result<Went, Box<Trap>> {
        let agent = &self.agents[a];
        let (cta, by) = (agent.cta, agent.by());
        let Some(warp) = agent.warp else {
            return Err(self.misplaced(a, place, "the producer, one thread, at a meeting of the consumers"));
        };
        let Machine { world, ctas, agents, .. } = self;
        let meeting = ctas[cta].meetings.entry(id).or_insert_with(|| Meeting::new(&world.space));
        if let Some(Blocked::Meeting { over, .. }) = agents[a].blocked {
            if meeting.over == over {
                return Ok(Went::Waits(Blocked::Meeting { id, over }));
            }
            agents[a].sight.join(&meeting.shared);
            return Ok(Went::On);
        }
        let all = world.protocol.warps;
        let differs = meeting.here.iter().find(|(_, at)| *at != place);
        if threads != all * LANES || id >= NAMED || differs.is_some() {
            let mut sites = vec![world.site(by, "meets", place)];
            if let Some((w, at)) = differs {
                sites.push(world.site(agents[*w].by(), "waits there", *at));
            }
            let trap = Trap::new(
                "E95",
                format!(
                    "a meeting that is not uniform: {threads} threads at named barrier {id}, the role has {}",
                    all * LANES
                ),
                sites,
                "let all warps of the role meet at the same place, with the role's number of threads and a number below 16",
            );
            return Err(trap.note(format!("warp {warp} is one of {all}")));
        }
        meeting.shared.join(&agents[a].sight);
        meeting.here.push((a, place));
        if meeting.here.len() < all {
            return Ok(Went::Waits(Blocked::Meeting { id, over: meeting.over }));
        }
        meeting.here.clear();
        meeting.over += 1;
        agents[a].sight.join(&meeting.shared);
        Ok(Went::On)
    }

    fn wait_counters(&mut self, a: usize, place: Place) -> Result<Went, Box<Trap>> {
        let record = place.record as usize;
        for &on in &self.world.plan.program[record].after {
            if on >= record {
                let by = self.agents[a].by();
                let later = Place { record: on as u32, part: Part::End, ..place };
                let label = self.world.plan.program.get(on).map_or("", |i| &i.label);
                return Err(Trap::new(
                    "E94",
                    format!("instruction {record} waits for the counter of instruction {on}, which comes later"),
                    vec![self.world.site(by, "waits", place), self.world.site(by, "would raise it", later)],
                    "let an instruction wait only for earlier ones: every CTA walks the program in order",
                )
                .note(format!("`{label}` raises its counter after this CTA is done with the present instruction")));
            }
            if on < self.world.range.start {
                continue;
            }
            let went = self.wait_counter(a, on, self.world.target(on, place.pass));
            if went != Went::On {
                return Ok(went);
            }
        }
        Ok(Went::On)
    }

    fn wait_counter(&mut self, a: usize, record: usize, target: u64) -> Went {
        let Some(counter) = self.counters.get(&record) else { return Went::On };
        if counter.value < target {
            return Went::Waits(Blocked::Counter { record, target });
        }
        self.agents[a].read.join(&counter.sight);
        Went::On
    }

    fn raise(&mut self, a: usize, place: Place) -> Result<(), Box<Trap>> {
        let record = place.record as usize;
        let (cta, by) = (self.agents[a].cta, self.agents[a].by());
        let Some(counter) = self.counters.get_mut(&record) else { return Ok(()) };
        counter.sight.join(&self.agents[a].published);
        counter.value += 1;
        let value = counter.value;
        if let Some(before) = counter.raised.insert(cta, place).filter(|b| b.pass == place.pass) {
            let target = self.world.target(record, place.pass);
            return Err(Trap::new(
                "E94",
                format!("a CTA raises the counter of instruction {record} twice in one pass"),
                vec![self.world.site(by, "raises it", place), self.world.site(by, "raised it before", before)],
                "raise a counter once in each pass, when all items of the CTA are done",
            )
            .note(format!("it stands at {value}, {target} are what this pass amounts to")));
        }
        Ok(())
    }

    /// The protocol asks for something that makes no sense here.
    pub fn misplaced(&self, a: usize, place: Place, what: &str) -> Box<Trap> {
        let site = self.world.site(self.agents[a].by(), "is", place);
        Trap::new("E95", format!("the protocol has {what}"), vec![site], "derive the protocol from the kernel anew")
    }
}

/// One of a slot's barriers, for people.
pub(super) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Full => "the full barrier",
        Side::Empty => "the empty barrier",
    }
}
