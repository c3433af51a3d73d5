//! Turns of warpgroups: a turn is given once for each time that it is taken, and is taken before it is given again.
//!
//! Its barrier counts threads, those who give and those who take, and can't tell them apart: one that gives twice would let the barrier complete
//! without the one that waits. So whoever gives has to know that the turn before has been taken; what it knows it has from turns that were
//! given to itself, or from meetings.

use super::events::{Kind, Place, Script};
use super::run::{Clock, FIRST, Outcome, Run, join};
use tile_lang::protocol::{Group, Turns};

/// Half of a turn's barrier: the threads of one warpgroup.
const HALF: usize = Turns::THREADS / 2;

/// The state of a warpgroup's turns.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    /// Processes that have given the present turn, and those that wait for it.
    givers: Vec<(usize, Place)>,
    takers: Vec<usize>,
    /// Threads that have given it, and threads that wait for it.
    given: usize,
    waiting: usize,
    clock: Clock,
    /// Turns that were taken: what is known after, and who took it, with the positions.
    done: Vec<(Clock, Vec<(usize, u32)>)>,
}

impl Turn {
    /// Threads that have given the present turn.
    pub fn given(&self) -> usize {
        self.given
    }

    fn complete(&mut self, positions: impl Fn(usize) -> u32) {
        if self.given == HALF && self.waiting == HALF {
            let takers = std::mem::take(&mut self.takers).into_iter().map(|p| (p, positions(p))).collect();
            let empty = vec![0; self.clock.len()];
            self.done.push((std::mem::replace(&mut self.clock, empty), takers));
            self.givers.clear();
            (self.given, self.waiting) = (0, 0);
        }
    }
}

/// Warpgroups that take turns in a run; 1 where none do.
pub(super) fn groups(script: &Script) -> usize {
    let of = |kind: &Kind| match kind {
        Kind::TakeTurn { turns, .. } | Kind::GiveTurn { turns, .. } => Some(turns.groups),
        _ => None,
    };
    script.consumer.iter().find_map(|e| of(&e.kind)).unwrap_or(1)
}

impl Run<'_> {
    /// The warpgroup of a consumer process.
    pub(super) fn group_of(&self, process: usize) -> usize {
        Turns::group_of(self.stands_for[process].start)
    }

    /// The state of a barrier.
    fn turn(&mut self, id: u8) -> &mut Turn {
        let size = self.clocks[FIRST].len();
        self.turns.entry(id).or_insert_with(|| Turn { clock: vec![0; size], ..Turn::default() })
    }

    pub(super) fn give_turn(&mut self, process: usize, turns: Turns, group: Group, place: Place) {
        let own = self.group_of(process);
        if !group.holds(own) {
            return;
        }
        let id = turns.given_at(own);
        let (threads, mine) = (32 * self.warps_of(process), self.clocks[process].clone());
        let turn = self.turn(id);
        let before = turn.done.last().map(|(_, takers)| takers.clone()).unwrap_or_default();
        let again = turn.givers.iter().any(|(p, _)| *p == process) || turn.given + threads > HALF;
        let unseen = before.iter().any(|(taker, position)| mine[*taker] < *position);
        if again || unseen {
            let text = format!("the turn at named barrier {id} may be given again before it is taken");
            return self.fault("E24", place, text, Vec::new());
        }
        let turn = self.turn(id);
        turn.givers.push((process, place));
        turn.given += threads;
        join(&mut turn.clock, &mine);
        self.take_place(id);
    }

    pub(super) fn take_turn(&mut self, process: usize, turns: Turns, group: Group, place: Place) -> Outcome {
        let own = self.group_of(process);
        if !group.holds(own) {
            return Outcome::Done;
        }
        let id = turns.taken_at(own);
        let (threads, mine) = (32 * self.warps_of(process), self.clocks[process].clone());
        let round = match self.waiting[process] {
            Some((at, round)) if at == id => round,
            _ => {
                let turn = self.turn(id);
                let round = turn.done.len();
                if turn.waiting + threads > HALF {
                    let text = format!("more threads than a warpgroup has wait for the turn at named barrier {id}");
                    self.fault("E24", place, text, Vec::new());
                    return Outcome::Done;
                }
                turn.takers.push(process);
                turn.waiting += threads;
                join(&mut turn.clock, &mine);
                self.waiting[process] = Some((id, round));
                self.take_place(id);
                round
            }
        };
        let after = self.turn(id).done.get(round).map(|(clock, _)| clock.clone());
        match after {
            Some(clock) => {
                join(&mut self.clocks[process], &clock);
                self.waiting[process] = None;
                Outcome::Done
            }
            None => Outcome::Blocked,
        }
    }

    /// A turn is taken when all have given it and all wait for it.
    fn take_place(&mut self, id: u8) {
        let positions: Vec<u32> = self.at.iter().map(|at| *at as u32 + 1).collect();
        self.turn(id).complete(|process| positions[process]);
    }

    /// Turns that were given and that nobody takes: at the next record their barriers would complete too early.
    pub(super) fn turns_left(&mut self) {
        let left: Vec<(u8, Place)> =
            self.turns.iter().filter_map(|(id, turn)| Some((*id, turn.givers.first()?.1))).collect();
        let stuck = self.faults.iter().any(|f| f.code == "E26");
        for (id, place) in left.into_iter().filter(|_| !stuck) {
            let text = format!("the turn that is given at named barrier {id} is never taken");
            self.fault("E24", place, text, Vec::new());
        }
    }
}
