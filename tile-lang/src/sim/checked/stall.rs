//! Nobody can move: which wait is at fault, and what everyone is doing.

use super::act::side_name;
use super::agent::{Agent, Blocked};
use super::clock::By;
use super::copies::ring_name;
use super::machine::Machine;
use super::stream::{Part, Place};
use super::trap::Trap;
use super::turns::Turn;
use crate::protocol::{Reach, RingId, Side, Turns};
use std::ops::Range;

/// Most agents that a report lists.
const LISTED: usize = 40;

impl Machine<'_> {
    /// Says why nobody moves: the most telling of the waits, and the state of every agent.
    pub fn stalled(&self) -> Box<Trap> {
        let known = self.not_resident().or_else(|| self.turn_cause()).or_else(|| self.phase_cause());
        let mut trap = known.unwrap_or_else(|| self.plain_stall());
        let states = self.states();
        let more = states.len().saturating_sub(LISTED);
        trap.notes.extend(states.into_iter().take(LISTED));
        if more > 0 {
            trap.notes.push(format!("and {more} more"));
        }
        trap
    }

    /// What everyone is doing; warps of a CTA that do the same share a line.
    fn states(&self) -> Vec<String> {
        let mut lines: Vec<(usize, Option<usize>, usize, String)> = Vec::new();
        for agent in &self.agents {
            let state = self.state(agent);
            match (lines.last_mut(), agent.warp) {
                (Some((cta, Some(_), to, same)), Some(w)) if *cta == agent.cta && *to + 1 == w && *same == state => {
                    *to = w
                }
                _ => lines.push((agent.cta, agent.warp, agent.warp.unwrap_or(0), state)),
            }
        }
        let name = |(cta, from, to, state): (usize, Option<usize>, usize, String)| match from {
            None => format!("the producer of CTA {cta}: {state}"),
            Some(w) if w == to => format!("warp {w} of CTA {cta}: {state}"),
            Some(w) => format!("warps {w} to {to} of CTA {cta}: {state}"),
        };
        lines.into_iter().map(name).collect()
    }

    /// Waits for a counter that a CTA must raise which isn't there.
    fn not_resident(&self) -> Option<Box<Trap>> {
        let world = &self.world;
        let (agent, record, target) = self
            .counter_waits()
            .find(|(_, record, _)| world.plan.program[*record].items().min(world.ctas) > world.resident)?;
        let value = self.counters.get(&record).map_or(0, |c| c.value);
        let missing = Place { record: record as u32, part: Part::End, pass: agent.place.pass, item: 0 };
        let absent = By::Team(world.resident as u32);
        let trap = Trap::new(
            "E93",
            format!("CTA {} is not resident: {} CTAs are launched, {} fit", world.resident, world.ctas, world.resident),
            vec![
                world.site(agent.by(), "waits for it", agent.place),
                world.site(absent, "would raise the counter", missing),
            ],
            "launch no more CTAs than fit on the device at once",
        );
        Some(trap.note(format!("the counter of instruction {record} stands at {value}, {target} are needed")))
    }

    fn counter_waits(&self) -> impl Iterator<Item = (&Agent, usize, u64)> {
        self.agents.iter().filter_map(|a| match a.blocked {
            Some(Blocked::Counter { record, target }) => Some((a, record, target)),
            _ => None,
        })
    }

    /// A phase that cannot complete: bytes that no copy brings, or an arrival that an agent has gone past.
    fn phase_cause(&self) -> Option<Box<Trap>> {
        let waits = || {
            self.agents.iter().filter_map(|agent| match agent.blocked {
                Some(Blocked::Phase { barrier, wanted, turn, .. })
                    if self.ctas[agent.cta].barriers[barrier].completed < wanted =>
                {
                    Some((agent, barrier, turn))
                }
                _ => None,
            })
        };
        let open = |agent: &Agent, barrier: usize| self.ctas[agent.cta].barriers[barrier].bytes != 0;
        // Nothing is on its way now. What those who copy have gone past never comes; who waits behind that is no cause.
        let lost = waits().find(|(agent, barrier, turn)| open(agent, *barrier) && self.copied(agent, *barrier, *turn));
        lost.map(|(agent, barrier, _)| self.bytes_missing(agent, barrier))
            .or_else(|| waits().find_map(|(agent, barrier, turn)| self.arrival_missing(agent, barrier, turn)))
            .or_else(|| {
                waits().find(|(agent, barrier, _)| open(agent, *barrier)).map(|(a, b, _)| self.bytes_missing(a, b))
            })
    }

    /// Whose actions at a ring's barriers count in a CTA.
    fn partners(&self, cta: usize, ring: RingId) -> Range<usize> {
        self.world.reached(cta, if ring == RingId::Tiles { Reach::Cluster } else { Reach::Cta })
    }

    /// Whether all who copy into a slot in this turn have gone past it.
    fn copied(&self, agent: &Agent, barrier: usize, turn: u64) -> bool {
        let (ring, side, _) = self.barrier_name(barrier);
        let partners = self.partners(agent.cta, ring);
        let mut producers = self.agents.iter().filter(|other| other.warp.is_none() && partners.contains(&other.cta));
        producers.all(|other| self.is_past(other, ring, side, turn))
    }

    /// Who should have arrived where an agent waits, and is past the place.
    fn arrival_missing(&self, agent: &Agent, barrier: usize, turn: u64) -> Option<Box<Trap>> {
        let state = &self.ctas[agent.cta].barriers[barrier];
        let (ring, side, slot) = self.barrier_name(barrier);
        let partners = self.partners(agent.cta, ring);
        let absent = self.agents.iter().enumerate().find(|(i, other)| {
            partners.contains(&other.cta)
                && self.arrives(other, ring, side)
                && self.is_past(other, ring, side, turn)
                && !state.arrivals.iter().any(|x| x.agent == *i)
        });
        let (_, absent) = absent?;
        let mut trap = Trap::new(
            "E88",
            format!(
                "missing arrival: {} of slot {slot} of the {} has {} of {} arrivals, and {} has gone on without",
                side_name(side),
                ring_name(ring),
                state.arrivals.len(),
                state.count,
                self.world.who(absent.by())
            ),
            vec![self.world.site(agent.by(), "waits", agent.place)],
            "arrive once in each phase; a slot that is taken is given back before the ring is needed again",
        );
        let taken = self.concerned(ring, side, turn).and_then(|t| absent.takes.get(&t));
        let (verb, at) = taken.map_or(("is now", absent.place), |at| ("took the slot", *at));
        trap.sites.push(self.world.site(absent.by(), verb, at));
        Some(trap.note(self.missing(agent.cta, barrier)))
    }

    fn bytes_missing(&self, agent: &Agent, barrier: usize) -> Box<Trap> {
        let state = &self.ctas[agent.cta].barriers[barrier];
        let (ring, _, slot) = self.barrier_name(barrier);
        let mut sites = vec![self.world.site(agent.by(), "waits for the bytes", agent.place)];
        let mut trap_note = String::new();
        if let Some(expect) = state.arrivals.iter().find(|x| x.bytes.is_some()) {
            let by = self.agents[expect.agent].by();
            let bytes = expect.bytes.unwrap_or(0);
            sites.push(self.world.site(by, &format!("announced {bytes} bytes"), expect.place));
            trap_note = format!("the copies of this op bring {} bytes", self.copied_bytes(expect.place));
        }
        let trap = Trap::new(
            "E87",
            format!(
                "wrong transaction count at slot {slot} of the {}: phase {} never completes, {} bytes are announced that no copy brings",
                ring_name(ring),
                state.completed,
                state.bytes
            ),
            sites,
            "announce the sum of the bytes of all copies of the phase",
        );
        if trap_note.is_empty() { trap } else { trap.note(trap_note) }
    }

    /// Whether an agent is one of those who arrive at such a barrier.
    fn arrives(&self, agent: &Agent, ring: RingId, side: Side) -> bool {
        match (ring, side) {
            (RingId::Tiles | RingId::Records, Side::Full) => agent.warp.is_none(),
            (RingId::Tiles | RingId::Records, Side::Empty) => agent.warp.is_some(),
            (RingId::Ready | RingId::PassEnd, _) => agent.warp == Some(0),
        }
    }

    /// The turn whose arrivals a wait needs: an empty barrier's phase ends the round before the one that its waiter begins.
    fn concerned(&self, ring: RingId, side: Side, turn: u64) -> Option<u64> {
        if side == Side::Empty { turn.checked_sub(self.world.slots(ring) as u64) } else { Some(turn) }
    }

    /// Whether an agent's cursor is past the turn that a wait on the other side concerns.
    fn is_past(&self, agent: &Agent, ring: RingId, side: Side, turn: u64) -> bool {
        let part = if ring == RingId::Records && agent.warp.is_none() { Part::Fetch } else { Part::Begin };
        self.concerned(ring, side, turn).is_some_and(|t| match ring {
            RingId::PassEnd => matches!(agent.blocked, Some(Blocked::Host { .. })) || agent.done,
            _ => agent.turn(ring, part) > t,
        })
    }

    /// Nothing more telling: the wait of the earliest instruction.
    fn plain_stall(&self) -> Box<Trap> {
        let counter = self.counter_waits().min_by_key(|(_, record, _)| *record);
        if let Some((agent, record, target)) = counter {
            let world = &self.world;
            let value = self.counters.get(&record).map_or(0, |c| c.value);
            let raised = Place { record: record as u32, part: Part::End, pass: agent.place.pass, item: 0 };
            let absent = (0..world.ctas.min(world.plan.program[record].items())).find(|cta| {
                let last = self.counters.get(&record).and_then(|c| c.raised.get(cta));
                last.is_none_or(|p| p.pass < agent.place.pass)
            });
            let who = By::Team(absent.unwrap_or(0) as u32);
            let trap = Trap::new(
                "E92",
                format!("deadlock: the counter of instruction {record} stands at {value}, {target} are waited for"),
                vec![world.site(agent.by(), "waits", agent.place), world.site(who, "would raise it", raised)],
                "raise the counter once in each CTA that has items, and wait for earlier instructions only",
            );
            return trap;
        }
        let waits = self.agents.iter().filter(|a| a.blocked.is_some_and(|b| !matches!(b, Blocked::Host { .. })));
        let sites = waits.take(2).map(|a| self.world.site(a.by(), "waits", a.place)).collect();
        Trap::new(
            "E92",
            "deadlock: nobody can move".into(),
            sites,
            "let every wait have someone who signals it before waiting itself",
        )
    }

    /// Who has arrived at a barrier in the present phase.
    pub fn missing(&self, cta: usize, barrier: usize) -> String {
        let state = &self.ctas[cta].barriers[barrier];
        let here: Vec<String> = state.arrivals.iter().map(|x| self.world.who(self.agents[x.agent].by())).collect();
        let here = if here.is_empty() { "nobody".into() } else { here.join(", ") };
        format!("phase {}: {here} arrived, {} expected", state.completed, state.count)
    }

    /// What an agent is doing.
    fn state(&self, agent: &Agent) -> String {
        let when = self.world.when(agent.place);
        let Some(on) = agent.blocked else {
            return if agent.done { "done".into() } else { format!("at {} {when}", self.world.op_name(agent.place)) };
        };
        let what = match on {
            Blocked::Phase { barrier, wanted, turn, .. } => {
                let (ring, side, slot) = self.barrier_name(barrier);
                let state = &self.ctas[agent.cta].barriers[barrier];
                format!(
                    "{} of slot {slot} of the {} (taking {turn}): {} phases complete, {wanted} needed, {} of {} arrivals, {} bytes to come",
                    side_name(side),
                    ring_name(ring),
                    state.completed,
                    state.arrivals.len(),
                    state.count,
                    state.bytes
                )
            }
            Blocked::Meeting { id, .. } => {
                let here = self.ctas[agent.cta].meetings.get(&id).map_or(0, |m| m.here.len());
                format!("a meeting at named barrier {id}: {here} of {} warps are there", self.world.protocol.warps)
            }
            Blocked::Turn { id, .. } => {
                let given = self.ctas[agent.cta].turns.get(&id).map_or(0, Turn::given);
                format!("its turn at named barrier {id}: {given} of {} warps have given it", Turns::WARPS)
            }
            Blocked::Counter { record, target } => {
                let value = self.counters.get(&record).map_or(0, |c| c.value);
                let label = &self.world.plan.program[record].label;
                format!("the counter of `{label}`: {value} of {target}")
            }
            Blocked::Host { pass } => format!("the end of pass {pass}"),
        };
        format!("waits for {what}; {} {when}", self.world.op_name(agent.place))
    }
}
