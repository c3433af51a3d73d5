//! Who goes next: seeded, adversarial, the same for the same seed.

use std::fmt;

/// A splitmix64 generator.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// How an adversary chooses among the agents that can move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Anyone, for a few steps.
    Random,
    /// Producers only when nobody else can move: rings run empty.
    StarveProducer,
    /// Consumers only when nothing else can move: rings run full.
    StarveConsumers,
    /// One warp of each CTA only when nobody else can move.
    StarveWarp,
    /// Copies land only when nobody can move, the last one first.
    LateCopies,
    /// The CTAs with high numbers first.
    Reverse,
    /// The same agent until it blocks.
    Depth,
    /// Random priorities that change now and then.
    Priorities,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 8] = [
        Strategy::Random,
        Strategy::StarveProducer,
        Strategy::StarveConsumers,
        Strategy::StarveWarp,
        Strategy::LateCopies,
        Strategy::Reverse,
        Strategy::Depth,
        Strategy::Priorities,
    ];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::Random => "random",
            Strategy::StarveProducer => "starve the producer",
            Strategy::StarveConsumers => "starve the consumers",
            Strategy::StarveWarp => "starve one warp",
            Strategy::LateCopies => "late copies",
            Strategy::Reverse => "reverse CTAs",
            Strategy::Depth => "depth first",
            Strategy::Priorities => "changing priorities",
        })
    }
}

/// Something that can move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub what: Moves,
    pub cta: usize,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    /// A producer: its agent.
    Producer(usize),
    /// A consumer warp: its agent and number.
    Warp(usize, usize),
    /// A copy: its place in the list of those in flight.
    Copy(usize),
}

/// The adversary.
#[derive(Debug)]
pub(super) struct Schedule {
    pub strategy: Strategy,
    random: Random,
    starved: usize,
    /// By agent.
    priorities: Vec<usize>,
}

impl Schedule {
    pub fn new(seed: u64, strategy: Strategy, agents: usize, warps: usize) -> Self {
        let mut random = Random::new(seed ^ 0x5eed_0000_0000_0000);
        let starved = random.below(warps);
        let priorities = (0..agents + 1).map(|_| random.below(1 << 16)).collect();
        Schedule { strategy, random, starved, priorities }
    }

    /// The candidate that moves, and for how many steps.
    pub fn pick(&mut self, candidates: &[Candidate]) -> (usize, usize) {
        let best = candidates.iter().map(|c| self.rank(c)).min().unwrap_or(0);
        let ties = candidates.iter().filter(|c| self.rank(c) == best).count();
        let only_copies = candidates.iter().all(|c| matches!(c.what, Moves::Copy(_)));
        let last = self.strategy == Strategy::LateCopies && only_copies;
        let chosen = if last { ties - 1 } else { self.random.below(ties) };
        let index = candidates.iter().enumerate().filter(|(_, c)| self.rank(c) == best).nth(chosen).map_or(0, |c| c.0);
        let steps = match self.strategy {
            Strategy::Depth => usize::MAX,
            Strategy::Priorities => {
                if self.random.below(16) == 0 {
                    let agent = self.random.below(self.priorities.len());
                    self.priorities[agent] = self.random.below(1 << 16);
                }
                1 + self.random.below(32)
            }
            _ => 1 + self.random.below(12),
        };
        (index, steps)
    }

    /// Who has the lowest rank goes first.
    fn rank(&self, c: &Candidate) -> usize {
        match (self.strategy, c.what) {
            (Strategy::Random | Strategy::Depth, _) => 0,
            (Strategy::StarveProducer, what) => matches!(what, Moves::Producer(_)) as usize,
            (Strategy::StarveConsumers, what) => matches!(what, Moves::Warp(..)) as usize,
            (Strategy::StarveWarp, what) => matches!(what, Moves::Warp(_, w) if w == self.starved) as usize,
            (Strategy::LateCopies, what) => matches!(what, Moves::Copy(_)) as usize,
            (Strategy::Reverse, _) => usize::MAX - c.cta,
            (Strategy::Priorities, Moves::Producer(a) | Moves::Warp(a, _)) => self.priorities[a],
            (Strategy::Priorities, Moves::Copy(_)) => self.priorities[self.priorities.len() - 1],
        }
    }
}
