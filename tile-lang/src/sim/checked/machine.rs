//! The machine: resident CTAs with their agents, barriers, slots and copies in flight, and the counters between them. It runs
//! one launch of a range of the program, as many passes as the program asks for.

use super::agent::{Agent, Blocked};
use super::barrier::{Barrier, Meeting};
use super::clock::Sight;
use super::copies::Flight;
use super::schedule::{Candidate, Moves, Schedule, Strategy};
use super::shadow::Shadow;
use super::stream::{Deed, Place, Stream};
use super::trap::Trap;
use super::turns::Turn;
use super::world::{RINGS, World, ring_index};
use crate::interp::{Array, Staged};
use crate::ir::Role;
use crate::protocol::{Action, Parity, RingId};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What landed in a part of a slot.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    Tile(Staged),
    Record(usize),
}

/// One resident CTA.
#[derive(Debug)]
pub(super) struct Cta<'a> {
    pub producer: Stream<'a>,
    pub consumer: Stream<'a>,
    pub barriers: Vec<Barrier>,
    pub meetings: BTreeMap<u8, Meeting>,
    /// Turns of warpgroups, by named barrier.
    pub turns: BTreeMap<u8, Turn>,
    /// Contents of slots: ring, slot, part.
    pub slots: BTreeMap<(RingId, usize, usize), Landed>,
    /// History of shared memory, by address.
    pub shared: Shadow,
    /// What the consumers decided.
    pub again: Option<bool>,
}

/// An instruction's counter.
#[derive(Debug)]
pub(super) struct Counter {
    pub value: u64,
    /// What those know who raised it.
    pub sight: Sight,
    /// Who raised it last, by CTA.
    pub raised: BTreeMap<usize, Place>,
}

/// A launch under way.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub world: World<'a>,
    pub ctas: Vec<Cta<'a>>,
    pub agents: Vec<Agent>,
    pub flights: Vec<Flight>,
    /// By record.
    pub counters: BTreeMap<usize, Counter>,
    /// History of each buffer.
    pub buffers: Vec<Shadow>,
    /// Contents of each buffer.
    pub arrays: &'a [Arc<Array>],
    /// Buffers that hold nothing before they are written, with the elements that were written before the launch.
    pub uninitialised: &'a BTreeMap<usize, Vec<Range<usize>>>,
    /// Passes that the host has seen.
    pub seen_passes: u32,
    /// How many copies have landed or are on their way, by component.
    pub copies: BTreeMap<usize, u32>,
    schedule: Schedule,
    seed: u64,
    /// Where each ring's barriers begin: full, then empty.
    base: [usize; 4],
    /// Steps taken.
    pub steps: u64,
}

/// How a step of an agent went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// It moved.
    On,
    /// It waits.
    Waits(Blocked),
}

/// What remains when nobody moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// All wait for the host to look at this pass.
    Boundary,
    /// All have ended.
    End,
}

impl<'a> Machine<'a> {
    pub fn new(
        world: World<'a>,
        arrays: &'a [Arc<Array>],
        uninitialised: &'a BTreeMap<usize, Vec<Range<usize>>>,
        seed: u64,
        strategy: Strategy,
    ) -> Self {
        let space = &world.space;
        let mut base = [0; 4];
        let mut barriers = Vec::new();
        for ring in RINGS {
            base[ring_index(ring)] = barriers.len();
            if let Some(shape) = world.ring(ring) {
                barriers.extend((0..shape.slots).map(|_| Barrier::new(shape.full_arrivals, space)));
                barriers.extend((0..shape.slots).map(|_| Barrier::new(shape.empty_arrivals, space)));
            }
        }
        let ctas: Vec<Cta<'a>> = (0..world.resident)
            .map(|cta| Cta {
                producer: Stream::new(Role::Producer, cta),
                consumer: Stream::new(Role::Consumer, cta),
                barriers: barriers.clone(),
                meetings: BTreeMap::new(),
                turns: BTreeMap::new(),
                slots: BTreeMap::new(),
                shared: Shadow::default(),
                again: None,
            })
            .collect();
        let mut agents = Vec::new();
        for cta in 0..world.resident {
            agents.push(Agent::new(space, cta, None));
            agents.extend((0..world.protocol.warps).map(|w| Agent::new(space, cta, Some(w))));
        }
        let counter = || Counter { value: 0, sight: Sight::new(space), raised: BTreeMap::new() };
        let counters = world.range.clone().map(|r| (r, counter())).collect();
        let schedule = Schedule::new(seed, strategy, agents.len(), world.protocol.warps);
        Machine {
            ctas,
            agents,
            flights: Vec::new(),
            counters,
            buffers: arrays.iter().map(|_| Shadow::default()).collect(),
            arrays,
            uninitialised,
            seen_passes: 0,
            copies: BTreeMap::new(),
            schedule,
            seed,
            base,
            steps: 0,
            world,
        }
    }

    /// Index of a barrier among a CTA's.
    pub fn barrier(&self, barrier: crate::protocol::Barrier, turn: u64) -> usize {
        let slots = self.world.slots(barrier.ring);
        let side = match barrier.side {
            crate::protocol::Side::Full => 0,
            crate::protocol::Side::Empty => slots,
        };
        self.base[ring_index(barrier.ring)] + side + (turn % slots as u64) as usize
    }

    /// The ring, side and slot of a barrier's index.
    pub fn barrier_name(&self, index: usize) -> (RingId, crate::protocol::Side, usize) {
        let ring =
            RINGS.into_iter().rev().find(|r| self.world.ring(*r).is_some() && self.base[ring_index(*r)] <= index);
        let ring = ring.unwrap_or(RingId::Tiles);
        let (at, slots) = (index - self.base[ring_index(ring)], self.world.slots(ring));
        let side = if at < slots { crate::protocol::Side::Full } else { crate::protocol::Side::Empty };
        (ring, side, at % slots)
    }

    /// Runs until the host has to look, or the end.
    ///
    /// # Errors
    /// What the program does wrong, with the seed that shows it.
    pub fn run(&mut self) -> Result<Pause, Box<Trap>> {
        self.advance().map_err(|mut trap| {
            let run = format!(
                "seed {}, strategy `{}`, {} CTAs, step {}",
                self.seed, self.schedule.strategy, self.world.ctas, self.steps
            );
            trap.run = run;
            trap
        })
    }

    fn advance(&mut self) -> Result<Pause, Box<Trap>> {
        let mut candidates = Vec::with_capacity(self.agents.len() + 16);
        loop {
            candidates.clear();
            for (i, agent) in self.agents.iter().enumerate() {
                if !agent.done && agent.blocked.is_none_or(|b| self.holds(agent.cta, b)) {
                    let what = agent.warp.map_or(Moves::Producer(i), |w| Moves::Warp(i, w));
                    candidates.push(Candidate { what, cta: agent.cta });
                }
            }
            let copies = self.flights.iter().enumerate();
            candidates.extend(copies.map(|(i, f)| Candidate { what: Moves::Copy(i), cta: f.cta }));
            if candidates.is_empty() {
                return self.idle();
            }
            let (chosen, steps) = self.schedule.pick(&candidates);
            match candidates[chosen].what {
                Moves::Copy(i) => {
                    self.steps += 1;
                    self.land(i)?;
                }
                Moves::Producer(a) | Moves::Warp(a, _) => {
                    for _ in 0..steps {
                        if self.agents[a].done {
                            break;
                        }
                        self.steps += 1;
                        if let Went::Waits(on) = self.step(a)? {
                            self.agents[a].blocked = Some(on);
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Whether what an agent waits for has come.
    pub fn holds(&self, cta: usize, on: Blocked) -> bool {
        match on {
            Blocked::Phase { barrier, parity, .. } => self.ctas[cta].barriers[barrier].passes(parity),
            Blocked::Meeting { id, over } => self.ctas[cta].meetings.get(&id).is_some_and(|m| m.over > over),
            Blocked::Turn { id, over } => self.ctas[cta].turns.get(&id).is_some_and(|t| t.over > over),
            Blocked::Counter { record, target } => self.counters.get(&record).is_none_or(|c| c.value >= target),
            Blocked::Host { pass } => self.seen_passes > pass,
        }
    }

    /// Nobody can move.
    fn idle(&self) -> Result<Pause, Box<Trap>> {
        let at_boundary = |a: &Agent| a.done || matches!(a.blocked, Some(Blocked::Host { .. }));
        if self.agents.iter().all(at_boundary) {
            self.turns_left()?;
            let ended = self.agents.iter().all(|a| a.done);
            return Ok(if ended { Pause::End } else { Pause::Boundary });
        }
        Err(self.stalled())
    }

    pub fn stream(&self, a: usize) -> &Stream<'a> {
        let agent = &self.agents[a];
        let cta = &self.ctas[agent.cta];
        if agent.warp.is_some() { &cta.consumer } else { &cta.producer }
    }

    pub fn stream_mut(&mut self, a: usize) -> &mut Stream<'a> {
        let agent = &self.agents[a];
        let cta = &mut self.ctas[agent.cta];
        if agent.warp.is_some() { &mut cta.consumer } else { &mut cta.producer }
    }

    /// Lets an agent do the next event of its stream.
    fn step(&mut self, a: usize) -> Result<Went, Box<Trap>> {
        if self.stream(a).end() == self.agents[a].at {
            self.more(a)?;
            if self.stream(a).end() == self.agents[a].at {
                self.agents[a].done = self.stream(a).ended;
                return Ok(Went::On);
            }
        }
        let stream = self.stream(a);
        let index = (self.agents[a].at - stream.first) as usize;
        let (place, deed, first) =
            (stream.events[index].place, stream.events[index].deed, stream.events[index].passed == 0);
        let agent = &mut self.agents[a];
        agent.place = place;
        agent.sight.seen.raise(agent.component, agent.at as u32 + 1);
        let went = match deed {
            Deed::Act(action) => self.act(a, index, place, action)?,
            Deed::Own => {
                self.own(a, index, place, first)?;
                Went::On
            }
            Deed::ReadRecord => {
                self.read_record(a, place, first)?;
                Went::On
            }
            Deed::WriteVerdict => {
                self.write_verdict(a, place)?;
                Went::On
            }
            Deed::ReadVerdict => {
                self.read_verdict(a, place, first)?;
                Went::On
            }
            Deed::Boundary if self.seen_passes > place.pass => Went::On,
            Deed::Boundary => Went::Waits(Blocked::Host { pass: place.pass }),
        };
        if went == Went::On {
            let readers = if self.agents[a].warp.is_some() { self.world.protocol.warps } else { 1 };
            let agent = &mut self.agents[a];
            agent.at += 1;
            agent.blocked = None;
            let stream = self.stream_mut(a);
            stream.events[index].passed += 1;
            stream.forget(readers);
        }
        Ok(went)
    }

    /// Makes the next events of an agent's stream.
    fn more(&mut self, a: usize) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let cta = agent.cta;
        // Whether the next record's slot is free.
        let waits: Vec<(usize, u64)> = self
            .world
            .protocol
            .frame
            .fetch
            .iter()
            .filter_map(|action| match action {
                Action::Wait { barrier, parity } => {
                    let turn = agent.turn(barrier.ring, super::stream::Part::Fetch);
                    let round = turn / self.world.slots(barrier.ring) as u64;
                    Some((self.barrier(*barrier, turn), round + u64::from(*parity == Parity::Opposite)))
                }
                _ => None,
            })
            .collect();
        let Cta { producer, consumer, barriers, .. } = &mut self.ctas[cta];
        let free = |_: &Agent| waits.iter().all(|(index, parity)| barriers[*index].passes(*parity));
        let stream = if agent.warp.is_some() { consumer } else { producer };
        stream.more(&self.world, agent, &free)
    }
}
