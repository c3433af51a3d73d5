//! One thread of control: a producer thread or a consumer warp, with its cursors and what it knows.

use super::clock::{By, Clock, Sight, Space};
use super::products::Product;
use super::stream::{Part, Place};
use super::world::ring_index;
use crate::ir::OpId;
use crate::protocol::{RingId, Side};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// What an agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// A phase of an mbarrier: its index, the parity asked for, the phases that it must have completed, the ring, the turn.
    Phase { barrier: usize, parity: u64, wanted: u64, turn: u64 },
    /// The named barrier's meeting after so many.
    Meeting { id: u8, over: u64 },
    /// The turn after so many at a named barrier.
    Turn { id: u8, over: u64 },
    /// A counter of an instruction to reach a value.
    Counter { record: usize, target: u64 },
    /// The host's look at the pass.
    Host { pass: u32 },
}

/// The agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub cta: usize,
    /// Consumer warp; `None` for the producer.
    pub warp: Option<usize>,
    /// Its component in clocks.
    pub component: usize,
    /// Events of its stream that it is past.
    pub at: u64,
    pub sight: Sight,
    /// What it knew at its last GPU fence: what raising a counter hands on.
    pub published: Sight,
    /// What counters it has read handed to it; a GPU fence makes it known.
    pub read: Sight,
    /// Turns of each ring, by [`ring_index`]; the last one is the producer's cursor for fetching records.
    cursors: [u64; 5],
    /// Turns of staged tiles, by the op that took them last.
    pub taken: HashMap<OpId, u64>,
    /// The last turn that it waited for, by ring and side, and where.
    pub waited: HashMap<(RingId, Side), (u64, Place)>,
    /// Turns of staged tiles whose release is put off, by the op that would have released them.
    pub put_off: HashMap<OpId, u64>,
    /// Where it took staged tiles' slots, by turn; the latest ones.
    pub takes: BTreeMap<u64, Place>,
    /// Where it gave staged tiles' slots back, by turn; the latest ones.
    pub released: BTreeMap<u64, Place>,
    /// Products that it has started and not waited for, oldest first.
    pub products: VecDeque<Product>,
    /// Turns that it has waited for as the one who fills.
    pub acquired: HashMap<RingId, u64>,
    pub blocked: Option<Blocked>,
    /// At the end of its stream.
    pub done: bool,
    /// What it does or did last.
    pub place: Place,
}

/// Turns that are remembered: more than a ring has slots.
const TURNS: usize = 256;

fn remember(turns: &mut BTreeMap<u64, Place>, turn: u64, place: Place) {
    turns.insert(turn, place);
    if turns.len() > TURNS {
        turns.pop_first();
    }
}

/// Cursor of the producer's fetches.
const FETCH: usize = 4;

impl Agent {
    pub fn new(space: &Space, cta: usize, warp: Option<usize>) -> Self {
        let component = warp.map_or(space.producer(cta), |w| space.warp(cta, w));
        Agent {
            cta,
            warp,
            component,
            at: 0,
            sight: Sight::new(space),
            published: Sight::new(space),
            read: Sight::new(space),
            cursors: [0; 5],
            taken: HashMap::new(),
            put_off: HashMap::new(),
            waited: HashMap::new(),
            takes: BTreeMap::new(),
            released: BTreeMap::new(),
            products: VecDeque::new(),
            acquired: HashMap::new(),
            blocked: None,
            done: false,
            place: Place { pass: 0, record: 0, item: 0, part: Part::Begin },
        }
    }

    /// Whether it is the role's first thread, or part of it.
    pub fn is_first(&self) -> bool {
        self.warp.is_none_or(|w| w == 0)
    }

    pub fn by(&self) -> By {
        By::Agent(self.component as u32)
    }

    fn cursor(ring: RingId, part: Part) -> usize {
        match ring {
            RingId::Records | RingId::Ready if part == Part::Fetch => FETCH,
            RingId::Ready => ring_index(RingId::Records),
            ring => ring_index(ring),
        }
    }

    /// The turn that its cursor stands at.
    pub fn turn(&self, ring: RingId, part: Part) -> u64 {
        self.cursors[Self::cursor(ring, part)]
    }

    pub fn advance(&mut self, ring: RingId, part: Part) {
        self.cursors[Self::cursor(ring, part)] += 1;
    }

    /// Notes that it took a slot of staged tiles.
    pub fn take(&mut self, op: OpId, turn: u64, place: Place) {
        self.taken.insert(op, turn);
        remember(&mut self.takes, turn, place);
    }

    /// Notes that it gave a slot of staged tiles back.
    pub fn release(&mut self, turn: u64, place: Place) {
        remember(&mut self.released, turn, place);
    }

    /// What it knows.
    pub fn seen(&self) -> &Clock {
        &self.sight.seen
    }
}
