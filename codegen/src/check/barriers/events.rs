//! What a run consists of: events of processes, the barriers they are about, the choices of trip counts and branches.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use tile_lang::ir::{OpId, ValueId};
use tile_lang::protocol::{Barrier, Fence, Group, Protocol, RingId, Side, Turns, Who};

/// Index of a barrier.
pub type Bar = usize;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// An op of a kernel.
    Op(usize, OpId),
    /// The entry of a nested block, named by its loop.
    Entry(usize, OpId),
    /// A list of the frame.
    Frame(&'static str),
}

/// An event of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Waits until `need` phases are complete, by parity.
    Wait { bar: Bar, need: u32, parity: u32 },
    /// Arrives, for this lap; with bytes it announces them. `times` counts the CTAs of the cluster that arrive there alike.
    Arrive { bar: Bar, lap: u32, who: Who, times: usize, bytes: Option<usize> },
    /// A copy into a slot starts; `depends` is the record whose dependencies it needs.
    Copy { bar: Bar, ring: RingId, slot: usize, lap: u32, bytes: usize, depends: Option<usize> },
    /// Meets the other consumers.
    Meet { id: u8, threads: usize },
    /// Waits for the turn of its warpgroup.
    TakeTurn { turns: Turns, group: Group },
    /// Gives the turn to the next warpgroup.
    GiveTurn { turns: Turns, group: Group },
    /// Fences.
    Fence(Fence, Who),
    /// Waits for the counters of a record.
    WaitCounters(usize),
    /// Waits for the last counter.
    WaitLast,
    /// Raises a record's counter.
    Raise(usize),
    /// Reads a staged tile.
    ReadSlot { slot: usize, lap: u32, by: Reader },
    /// Reads a record.
    ReadRecord { slot: usize, lap: u32 },
    /// Reads or writes a global array, in an item of a record.
    Global { record: usize, item: usize, array: ValueId, write: bool, one: bool, step: u32 },
    /// Reads or writes the exchange area.
    Exchange { write: bool, bytes: usize, step: u32 },
    /// Reads or writes bytes of the area of kept operands.
    Kept { write: bool, bytes: Range<usize>, step: u32 },
    /// Reads or writes the verdict at the end of a pass.
    Verdict { write: bool, step: u32 },
    /// The producer reads a global array for itself.
    Peek { record: usize },
    /// The producer begins a record; the fetcher may go this far ahead.
    Begin(usize),
    /// The fetcher may fetch a record once the producer has begun this one.
    Gate(usize),
    /// The producer goes on once the record is fetched.
    Fetched(usize),
    /// The fetcher has fetched a record.
    Fetch(usize),
}

/// What reads a staged tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Threads, into registers. Copies that overwrite what they have read come after a fence of the proxies.
    Threads,
    /// A product by warpgroups, through the proxy of copies.
    Product,
}

/// An event and its place.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Where.
    pub place: Place,
}

/// How a run goes: records of a pass as kernel and number of items, passes, trip counts and branches.
pub struct Setting<'a> {
    /// Records of one pass.
    pub records: Vec<(usize, usize)>,
    /// Passes.
    pub passes: usize,
    /// Iterations of a loop of a kernel's consumers, the n-th time it is met.
    pub trips: &'a dyn Fn(usize, OpId, usize) -> usize,
    /// Whether the first branch is taken.
    pub taken: &'a dyn Fn(usize, OpId, usize) -> bool,
}

/// A mistake that shows without running.
pub struct Fault {
    /// Its code.
    pub code: &'static str,
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

/// The lists of all processes.
#[derive(Default)]
pub struct Script {
    /// The producer's records and bodies.
    pub producer: Vec<Event>,
    /// The producer's fetches of records, which run ahead by themselves.
    pub fetcher: Vec<Event>,
    /// Each consumer warp.
    pub consumer: Vec<Event>,
    /// What the lists are wrong in by themselves.
    pub faults: Vec<Fault>,
    /// Uses of a slot: barrier and lap, with where.
    pub uses: BTreeMap<(Bar, u32), Place>,
    /// How often each role took a slot of the tile ring.
    pub taken: [usize; 2],
}

/// Numbers barriers and knows their counts.
pub struct Barriers {
    /// Slots of each ring, as modelled.
    pub slots: BTreeMap<RingId, usize>,
    index: HashMap<(RingId, Side, usize), Bar>,
    /// What each is.
    pub list: Vec<(RingId, Side, usize)>,
    /// Arrivals that complete a phase.
    pub counts: Vec<usize>,
}

impl Barriers {
    /// All barriers of a protocol, its rings cut to at most these many slots.
    pub fn new(p: &Protocol, most: &dyn Fn(RingId) -> usize) -> Self {
        let mut b = Barriers { slots: BTreeMap::new(), index: HashMap::new(), list: Vec::new(), counts: Vec::new() };
        for (ring, shape) in &p.rings {
            let slots = shape.slots.min(most(*ring));
            b.slots.insert(*ring, slots);
            for (side, count) in [(Side::Full, shape.full_arrivals), (Side::Empty, shape.empty_arrivals)] {
                for slot in 0..slots {
                    b.index.insert((*ring, side, slot), b.list.len());
                    b.list.push((*ring, side, slot));
                    b.counts.push(count);
                }
            }
        }
        b
    }

    /// The barrier at a slot.
    pub fn at(&self, barrier: Barrier, slot: usize) -> Option<Bar> {
        self.index.get(&(barrier.ring, barrier.side, slot)).copied()
    }
}
