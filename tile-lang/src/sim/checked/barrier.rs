//! The state of mbarriers and named barriers.

use super::clock::{Sight, Space};
use super::stream::Place;

/// An arrival: the agent and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub agent: usize,
    pub place: Place,
    /// Bytes announced with it.
    pub bytes: Option<usize>,
}

/// An mbarrier. Hardware shows one bit of `completed`.
#[derive(Clone, Debug)]
pub(super) struct Barrier {
    /// Arrivals that complete a phase.
    pub count: usize,
    /// Arrivals of the present phase.
    pub arrivals: Vec<Arrival>,
    /// Arrivals of the phase before.
    pub before: Vec<Arrival>,
    /// Bytes announced and not landed.
    pub bytes: i64,
    /// Phases completed.
    pub completed: u64,
    /// What those who arrived in the present phase know.
    gathered: Sight,
    /// What those know who arrived in completed phases.
    pub released: Sight,
}

impl Barrier {
    pub fn new(count: usize, space: &Space) -> Self {
        Barrier {
            count,
            arrivals: Vec::new(),
            before: Vec::new(),
            bytes: 0,
            completed: 0,
            gathered: Sight::new(space),
            released: Sight::new(space),
        }
    }

    /// What `mbarrier.try_wait.parity` answers.
    pub fn passes(&self, parity: u64) -> bool {
        self.completed & 1 != parity & 1
    }

    /// One arrival. Whether the phase is complete now.
    pub fn arrive(&mut self, arrival: Arrival, sight: &Sight) -> bool {
        self.arrivals.push(arrival);
        self.bytes += arrival.bytes.unwrap_or(0) as i64;
        self.gathered.join(sight);
        self.complete()
    }

    /// A copy landed. Whether the phase is complete now.
    pub fn land(&mut self, bytes: usize, sight: &Sight) -> bool {
        self.bytes -= bytes as i64;
        self.gathered.join(sight);
        self.complete()
    }

    fn complete(&mut self) -> bool {
        if self.arrivals.len() < self.count || self.bytes != 0 {
            return false;
        }
        self.completed += 1;
        self.before = std::mem::take(&mut self.arrivals);
        self.released.join(&self.gathered);
        true
    }
}

/// A named barrier at which warps meet.
#[derive(Clone, Debug)]
pub(super) struct Meeting {
    /// Warps that are there.
    pub here: Vec<(usize, Place)>,
    /// Meetings that are over.
    pub over: u64,
    /// What all know who met.
    pub shared: Sight,
}

impl Meeting {
    pub fn new(space: &Space) -> Self {
        Meeting { here: Vec::new(), over: 0, shared: Sight::new(space) }
    }
}
