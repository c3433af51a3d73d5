//! Turns of warpgroups: named barriers at which the warps of one wait and those of the one in front of it arrive.
//!
//! A turn's barrier counts threads and can't tell those who give from those who take. A warp that gives a second time before the turn is taken
//! would stand in for one that waits; here that is trapped.

use super::agent::{Agent, Blocked};
use super::clock::{Sight, Space};
use super::machine::{Machine, Went};
use super::stream::Place;
use super::trap::Trap;
use crate::protocol::{Group, Turns};

/// The turns at one barrier.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// Warps that have given the present turn, and where.
    givers: Vec<(usize, Place)>,
    /// Warps that wait for it, and where.
    takers: Vec<(usize, Place)>,
    /// Turns that were taken.
    pub over: u64,
    /// What those know who gave turns or took them.
    shared: Sight,
}

impl Turn {
    fn new(space: &Space) -> Self {
        Turn { givers: Vec::new(), takers: Vec::new(), over: 0, shared: Sight::new(space) }
    }

    /// Warps that have given the present turn.
    pub fn given(&self) -> usize {
        self.givers.len()
    }

    /// The turn is taken when all have given it and all wait for it.
    fn complete(&mut self) {
        if self.givers.len() == Turns::WARPS && self.takers.len() == Turns::WARPS {
            self.givers.clear();
            self.takers.clear();
            self.over += 1;
        }
    }
}

impl Machine<'_> {
    /// The barrier at which a warp acts, if its warpgroup is meant.
    fn turn_of(
        &self,
        a: usize,
        place: Place,
        turns: Turns,
        group: Group,
        barrier: fn(Turns, usize) -> u8,
    ) -> Result<Option<u8>, Box<Trap>> {
        let Some(warp) = self.agents[a].warp else {
            return Err(self.misplaced(a, place, "a turn of the producer, which is one thread"));
        };
        if turns.groups < 2 || turns.groups * Turns::WARPS != self.world.protocol.warps {
            return Err(self.misplaced(a, place, "turns of other warpgroups than the consumers'"));
        }
        let own = Turns::group_of(warp);
        Ok(group.holds(own).then(|| barrier(turns, own)))
    }

    /// A warp gives the turn to the next warpgroup.
    pub fn give_turn(&mut self, a: usize, place: Place, turns: Turns, group: Group) -> Result<(), Box<Trap>> {
        let Some(id) = self.turn_of(a, place, turns, group, Turns::given_at)? else { return Ok(()) };
        let Machine { world, ctas, agents, .. } = self;
        let turn = ctas[agents[a].cta].turns.entry(id).or_insert_with(|| Turn::new(&world.space));
        let before = turn.givers.iter().find(|(other, _)| *other == a).or(turn.givers.get(Turns::WARPS - 1));
        if let Some((other, at)) = before {
            return Err(Trap::new(
                "E89",
                format!("too many arrivals: the turn at named barrier {id} is given again before it is taken"),
                vec![
                    world.site(agents[a].by(), "gives the turn", place),
                    world.site(agents[*other].by(), "gave it before", *at),
                ],
                "take a turn before the next one is given: each warpgroup takes and gives once, in a circle",
            ));
        }
        turn.givers.push((a, place));
        turn.shared.join(&agents[a].sight);
        turn.complete();
        Ok(())
    }

    /// A warp waits for the turn of its warpgroup.
    pub fn take_turn(&mut self, a: usize, place: Place, turns: Turns, group: Group) -> Result<Went, Box<Trap>> {
        let Some(id) = self.turn_of(a, place, turns, group, Turns::taken_at)? else { return Ok(Went::On) };
        let Machine { world, ctas, agents, .. } = self;
        let turn = ctas[agents[a].cta].turns.entry(id).or_insert_with(|| Turn::new(&world.space));
        let over = match agents[a].blocked {
            Some(Blocked::Turn { over, .. }) => over,
            _ => {
                let over = turn.over;
                turn.takers.push((a, place));
                turn.shared.join(&agents[a].sight);
                turn.complete();
                over
            }
        };
        if turn.over == over {
            return Ok(Went::Waits(Blocked::Turn { id, over }));
        }
        agents[a].sight.join(&turn.shared);
        Ok(Went::On)
    }

    /// Nobody can move, and a warp waits for its turn: the cause, unless those who are to give it wait for data themselves.
    pub fn turn_cause(&self) -> Option<Box<Trap>> {
        let groups = self.world.protocol.warps / Turns::WARPS;
        self.agents.iter().find_map(|agent| {
            let (Some(Blocked::Turn { id, .. }), Some(warp)) = (agent.blocked, agent.warp) else { return None };
            let front = (Turns::group_of(warp) + groups - 1) % groups;
            let given = &self.ctas[agent.cta].turns.get(&id)?.givers;
            let owes = |(a, other): &(usize, &Agent)| {
                let theirs = other.cta == agent.cta && other.warp.is_some_and(|w| Turns::group_of(w) == front);
                theirs && !given.iter().any(|(giver, _)| giver == a)
            };
            let (_, other) = self.agents.iter().enumerate().find(owes)?;
            if matches!(other.blocked, Some(Blocked::Phase { .. } | Blocked::Counter { .. })) {
                return None;
            }
            Some(Trap::new(
                "E92",
                format!("deadlock: the turn at named barrier {id} is never given"),
                vec![
                    self.world.site(agent.by(), "waits for its turn", agent.place),
                    self.world.site(other.by(), "has not given it, and is", other.place),
                ],
                "give the turn on after each product that it was taken for, and let nobody wait for others meanwhile",
            ))
        })
    }

    /// Fails if a turn was given that nobody takes: its barrier would stay half arrived.
    pub fn turns_left(&self) -> Result<(), Box<Trap>> {
        let left = self.ctas.iter().flat_map(|cta| &cta.turns).find_map(|(id, turn)| Some((id, turn.givers.first()?)));
        let Some((id, (by, at))) = left else { return Ok(()) };
        let site = self.world.site(self.agents[*by].by(), "gave the turn", *at);
        Err(Trap::new(
            "E89",
            format!("too many arrivals: the turn at named barrier {id} is given and never taken"),
            vec![site],
            "take the turn that is left over after the last item",
        ))
    }
}
