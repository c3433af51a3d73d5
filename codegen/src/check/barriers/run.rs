//! Runs the lists of all processes once, with clocks that know what happens before what.
//!
//! Nothing in the protocol chooses by time (the producer's fetching ahead is a process of its own here), so all interleavings
//! do the same events in the same partial order: one run finds every deadlock, and comparing clocks finds every pair of
//! events that some interleaving could swap. What would break this is a barrier that completes a second phase before a
//! waiter has seen the first, since parity is one bit; that is checked from the same clocks.
//!
//! A clock has one entry for each process and one for each barrier: how many of its phases are known to be complete. What
//! bulk copies bring is known through the latter alone. A second half of the same entries says how far proxy fences have put that before
//! copies; it is handed on in the same way. Consumer warps run the same list; the first does what one
//! thread does, the second drifts freely, another stands for all others, or one for those of each warpgroup where warpgroups take turns.

use super::events::{Bar, Barriers, Event, Kind, Place, Reader, Script};
use super::memory::{Reads, Spot};
use super::turns::{self, Turn};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use tile_lang::ir::ValueId;
use tile_lang::protocol::{Fence, RingId, Side, Who};

/// The producer's process.
pub(super) const PRODUCER: usize = 0;
/// The fetches that run ahead, of the producer's thread.
pub(super) const FETCHER: usize = 1;
/// The first consumer warp.
pub(super) const FIRST: usize = 2;

pub(super) type Clock = Vec<u32>;

/// A mistake, at the place where it shows; `steps` say how it came about.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its code.
    pub code: &'static str,
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
    /// The trace, for deadlocks; otherwise the other place.
    pub steps: Vec<Step>,
}

/// One process at one place.
#[derive(Clone, Debug)]
pub struct Step {
    /// Who.
    pub role: String,
    /// Where.
    pub place: Place,
    /// What it does there.
    pub what: String,
}

/// What a record's instruction does to global memory, and what orders it.
#[derive(Clone, Debug, Default)]
pub struct RecordFacts {
    /// Position, from 1, of the fence after the wait for counters.
    pub fence: u32,
    /// Position of the last access and of the last write.
    pub last: u32,
    /// See `last`.
    pub last_write: u32,
    /// Position of the first fence of proxies by every warp after the last write.
    pub proxy: u32,
    /// Whether bulk copies read what the record writes.
    pub copied_later: bool,
}

pub(super) struct State {
    pub(super) completed: u32,
    pub(super) pending: i64,
    pub(super) bytes: i64,
    pub(super) clock: Clock,
    pub(super) transfers: bool,
    /// Clock, and whether bytes came, of each completed phase.
    pub(super) phases: Vec<(Clock, bool)>,
}

#[derive(Default)]
pub(super) struct Meeting {
    pub(super) threads: usize,
    pub(super) clock: Clock,
    pub(super) done: Vec<Clock>,
}

pub(super) struct Seen {
    process: usize,
    position: u32,
    bar: Bar,
    need: u32,
    place: Place,
}

/// One run.
pub struct Run<'a> {
    pub(super) bars: &'a Barriers,
    pub(super) lists: Vec<&'a [Event]>,
    pub(super) at: Vec<usize>,
    pub(super) clocks: Vec<Clock>,
    /// Where the second half of a clock begins.
    pub(super) fenced: usize,
    /// The consumer warps that each process stands for; none for the producer's.
    pub(super) stands_for: Vec<Range<usize>>,
    pub(super) facts: &'a [RecordFacts],
    pub(super) states: Vec<State>,
    pub(super) meetings: BTreeMap<u8, Meeting>,
    /// The meeting that a process is at: number and round.
    pub(super) waiting: Vec<Option<(u8, usize)>>,
    /// By named barrier.
    pub(super) turns: BTreeMap<u8, Turn>,
    pub(super) begun: HashMap<usize, Clock>,
    pub(super) fetched: HashMap<usize, Clock>,
    /// By ring and slot: the last lap whose copies were started, and each process's last read.
    pub(super) filled: HashMap<(RingId, usize), u32>,
    pub(super) read: HashMap<(RingId, usize), Vec<Reads>>,
    pub(super) arrays: HashMap<(usize, usize, ValueId), Spot>,
    pub(super) exchange: Spot,
    /// The area of kept operands, by atom.
    pub(super) kept: HashMap<usize, Spot>,
    pub(super) verdict: Spot,
    /// What the first warp knew at its last fence for counters, the producer at its last fence of proxies.
    pub(super) gpu: Clock,
    pub(super) proxy: Clock,
    pub(super) seen: Vec<Seen>,
    pub(super) faults: Vec<Fault>,
}

pub(super) fn join(a: &mut Clock, b: &Clock) {
    for (x, y) in a.iter_mut().zip(b) {
        *x = (*x).max(*y);
    }
}

pub(super) enum Outcome {
    Done,
    Blocked,
}

/// Runs a script; returns what is wrong.
pub fn run(script: &Script, bars: &Barriers, warps: usize, facts: &[RecordFacts]) -> Vec<Fault> {
    let mut stands_for = vec![0..0; FIRST];
    stands_for.extend(told_apart(warps, turns::groups(script)));
    let n = stands_for.len();
    let mut lists: Vec<&[Event]> = vec![&script.producer, &script.fetcher];
    lists.resize(n, script.consumer.as_slice());
    let fenced = n + bars.list.len();
    let size = 2 * fenced;
    let state = |count: &usize| State {
        completed: 0,
        pending: *count as i64,
        bytes: 0,
        clock: vec![0; size],
        transfers: false,
        phases: Vec::new(),
    };
    let mut r = Run {
        bars,
        at: vec![0; n],
        clocks: vec![vec![0; size]; n],
        fenced,
        stands_for,
        facts,
        states: bars.counts.iter().map(state).collect(),
        meetings: BTreeMap::new(),
        waiting: vec![None; n],
        turns: BTreeMap::new(),
        begun: HashMap::new(),
        fetched: HashMap::new(),
        filled: HashMap::new(),
        read: HashMap::new(),
        arrays: HashMap::new(),
        exchange: Spot::new(n),
        kept: HashMap::new(),
        verdict: Spot::new(n),
        gpu: vec![0; size],
        proxy: vec![0; size],
        seen: Vec::new(),
        faults: Vec::new(),
        lists,
    };
    let mut moved = true;
    while moved {
        moved = false;
        for process in 0..n {
            while r.at[process] < r.lists[process].len() {
                match r.step(process) {
                    Outcome::Done => {
                        r.at[process] += 1;
                        moved = true;
                    }
                    Outcome::Blocked => break,
                }
            }
        }
    }
    r.stuck();
    r.turns_left();
    r.phases_ahead();
    r.faults
}

/// The consumer warps that each process stands for. Of the first warpgroup the first warp does what one thread does, the second drifts freely,
/// and a third process stands for the others; the warps of another warpgroup all do the same.
fn told_apart(warps: usize, groups: usize) -> Vec<Range<usize>> {
    let size = warps.div_ceil(groups.max(1)).max(1);
    let others = (size..warps).step_by(size).map(|w| w..(w + size).min(warps));
    [0..1, 1..2, 2..size].into_iter().filter(|r| r.start < r.end.min(size)).chain(others).collect()
}

impl Run<'_> {
    pub(super) fn fault(&mut self, code: &'static str, place: Place, message: String, steps: Vec<Step>) {
        if !self.faults.iter().any(|f| f.code == code && f.place == place && f.message == message) {
            self.faults.push(Fault { code, place, message, steps });
        }
    }

    pub(super) fn role(&self, process: usize) -> String {
        match process {
            PRODUCER => "producer".into(),
            FETCHER => "producer, fetching ahead".into(),
            w => match &self.stands_for[w] {
                one if one.len() == 1 => format!("consumer warp {}", one.start),
                all => format!("each of consumer warps {} to {}", all.start, all.end - 1),
            },
        }
    }

    pub(super) fn bar_name(&self, bar: Bar) -> String {
        let (ring, side, slot) = self.bars.list[bar];
        let side = if side == Side::Full { "full" } else { "empty" };
        format!("`{side}` of slot {slot} of the ring {ring:?}")
    }

    pub(super) fn entry(&self, bar: Bar) -> usize {
        self.lists.len() + bar
    }

    pub(super) fn full(&self, ring: RingId, slot: usize) -> Option<Bar> {
        self.bars.list.iter().position(|b| *b == (ring, Side::Full, slot))
    }

    pub(super) fn empty(&self, ring: RingId, slot: usize) -> Option<Bar> {
        self.bars.list.iter().position(|b| *b == (ring, Side::Empty, slot))
    }

    /// Warps that a process stands for; the producer's are one thread.
    pub(super) fn warps_of(&self, process: usize) -> usize {
        self.stands_for[process].len().max(1)
    }

    fn step(&mut self, process: usize) -> Outcome {
        let position = self.at[process] as u32 + 1;
        let event = &self.lists[process][self.at[process]];
        let place = event.place;
        let skip = |who: Who| process > FIRST && who == Who::One;
        self.clocks[process][process] = position;
        match &event.kind {
            Kind::Wait { bar, need, parity } => return self.wait(process, *bar, *need, *parity, place),
            Kind::Arrive { bar, lap, who, times, bytes } => {
                if !skip(*who) {
                    let weight = times * if *who == Who::EachWarp { self.warps_of(process) } else { 1 };
                    self.arrive(process, *bar, *lap, weight, *bytes, place);
                }
            }
            Kind::Copy { bar, ring, slot, lap, bytes, depends } => {
                self.copy(process, *bar, (*ring, *slot), *lap, place);
                if let Some(record) = depends {
                    self.copies_settled_data(*record, place);
                }
                let state = &mut self.states[*bar];
                state.bytes -= *bytes as i64;
                state.transfers = true;
                join(&mut state.clock, &self.clocks[process]);
                self.complete(*bar);
            }
            Kind::Meet { id, threads } => return self.meet(process, *id, *threads),
            Kind::TakeTurn { turns, group } => return self.take_turn(process, *turns, *group, place),
            Kind::GiveTurn { turns, group } => self.give_turn(process, *turns, *group, place),
            Kind::Fence(fence, who) => {
                if !skip(*who) {
                    if *fence != Fence::Gpu {
                        let (seen, fenced) = self.clocks[process].split_at_mut(self.fenced);
                        fenced.copy_from_slice(seen);
                    }
                    match (fence, process) {
                        (Fence::Gpu, FIRST) => self.gpu.clone_from(&self.clocks[process]),
                        (Fence::ProxyAsync, PRODUCER) => self.proxy.clone_from(&self.clocks[process]),
                        _ => {}
                    }
                }
            }
            Kind::WaitCounters(_) | Kind::WaitLast => {}
            Kind::Raise(record) => {
                if process == FIRST {
                    self.raise(*record, place);
                }
            }
            Kind::ReadSlot { slot, lap, by } => self.read_slot(process, (RingId::Tiles, *slot), *lap, *by, place),
            Kind::ReadRecord { slot, lap } => {
                self.read_slot(process, (RingId::Records, *slot), *lap, Reader::Threads, place);
            }
            Kind::Global { record, item, array, write, one, step } => {
                if self.clocks[process][FIRST] < self.facts[*record].fence {
                    let text = "global memory is touched before the record's dependencies are known to be met";
                    self.fault("E27", place, text.into(), Vec::new());
                }
                if !(*one && process > FIRST) {
                    let n = self.lists.len();
                    let mut s = self.arrays.remove(&(*record, *item, *array)).unwrap_or_else(|| Spot::new(n));
                    self.touch(&mut s, process, *write, *step, place, "a global array");
                    self.arrays.insert((*record, *item, *array), s);
                }
            }
            Kind::Exchange { write, step, .. } => {
                let mut s = std::mem::replace(&mut self.exchange, Spot::new(0));
                self.touch(&mut s, process, *write, *step, place, "the exchange area");
                self.exchange = s;
            }
            Kind::Kept { write, bytes, step } => self.kept(process, *write, bytes, *step, place),
            Kind::Verdict { write, step } => {
                if !(*write && process > FIRST) {
                    let mut s = std::mem::replace(&mut self.verdict, Spot::new(0));
                    self.touch(&mut s, process, *write, *step, place, "the verdict");
                    self.verdict = s;
                }
            }
            Kind::Peek { record } => {
                if self.clocks[process][FIRST] < self.facts[*record].fence {
                    let text = "the producer reads global memory before the record's dependencies are known to be met";
                    self.fault("E27", place, text.into(), Vec::new());
                }
            }
            Kind::Begin(record) => {
                self.begun.insert(*record, self.clocks[process].clone());
            }
            Kind::Fetch(record) => {
                self.fetched.insert(*record, self.clocks[process].clone());
            }
            Kind::Gate(record) => match self.begun.get(record) {
                Some(c) => join(&mut self.clocks[process], c),
                None => return Outcome::Blocked,
            },
            Kind::Fetched(record) => match self.fetched.get(record) {
                Some(c) => join(&mut self.clocks[process], c),
                None => return Outcome::Blocked,
            },
        }
        Outcome::Done
    }

    fn wait(&mut self, process: usize, bar: Bar, need: u32, parity: u32, place: Place) -> Outcome {
        if self.states[bar].completed & 1 == parity {
            return Outcome::Blocked;
        }
        if need > 1 && !self.knows(process, bar, need - 1) {
            let name = self.bar_name(bar);
            let text = format!("a wait for phase {need} of {name} may return while phase {} is not over", need - 1);
            self.fault("E27", place, text, Vec::new());
        }
        let state = &self.states[bar];
        let over = need.min(state.completed) as usize;
        if over > 0 {
            join(&mut self.clocks[process], &state.phases[over - 1].0);
        }
        let position = self.at[process] as u32 + 1;
        self.seen.push(Seen { process, position, bar, need, place });
        Outcome::Done
    }

    /// Whether these many phases of a barrier are over in every interleaving that reaches this event: what completed the
    /// last of them happened before, and its bytes were waited for.
    fn knows(&self, process: usize, bar: Bar, phases: u32) -> bool {
        let mine = &self.clocks[process];
        mine[self.entry(bar)] >= phases
            || self.states[bar]
                .phases
                .get(phases as usize - 1)
                .is_some_and(|(clock, transfers)| !transfers && (0..self.lists.len()).all(|i| clock[i] <= mine[i]))
    }

    fn arrive(&mut self, process: usize, bar: Bar, lap: u32, weight: usize, bytes: Option<usize>, place: Place) {
        let entry = self.entry(bar);
        let known = lap == 0 || self.knows(process, bar, lap);
        if self.states[bar].completed != lap || !known {
            let text =
                format!("an arrival for phase {} of {} may fall into another phase", lap + 1, self.bar_name(bar));
            self.fault("E27", place, text, Vec::new());
        }
        let clock = &mut self.clocks[process];
        clock[entry] = clock[entry].max(lap.min(self.states[bar].completed));
        let state = &mut self.states[bar];
        state.pending -= weight as i64;
        state.bytes += bytes.unwrap_or(0) as i64;
        join(&mut state.clock, &self.clocks[process]);
        self.complete(bar);
    }

    fn complete(&mut self, bar: Bar) {
        let entry = self.entry(bar);
        let count = self.bars.counts[bar] as i64;
        let state = &mut self.states[bar];
        if state.pending > 0 || state.bytes != 0 || count == 0 {
            return;
        }
        state.completed += 1;
        state.pending += count;
        let size = state.clock.len();
        let mut clock = std::mem::replace(&mut state.clock, vec![0; size]);
        clock[entry] = state.completed;
        state.phases.push((clock, std::mem::take(&mut state.transfers)));
    }

    fn raise(&mut self, record: usize, place: Place) {
        let facts = &self.facts[record];
        let warps = FIRST..self.lists.len();
        let clock = &self.clocks[FIRST];
        let late = warps.clone().find(|w| clock[*w] < facts.last);
        let unfenced = warps.clone().any(|w| self.gpu[w] < facts.last);
        let uncrossed = facts.copied_later && facts.proxy > 0 && warps.clone().any(|w| clock[w] < facts.proxy);
        if let Some(w) = late {
            let text = format!("the counter rises before {} is known to be done with memory", self.role(w));
            self.fault("E27", place, text, Vec::new());
        } else if unfenced {
            let text = "the counter rises without `fence.acq_rel.gpu` after the last access to memory";
            self.fault("E29", place, text.into(), Vec::new());
        } else if uncrossed {
            let text = "the counter rises before every warp has fenced its writes for bulk copies";
            self.fault("E29", place, text.into(), Vec::new());
        }
    }

    fn meet(&mut self, process: usize, id: u8, threads: usize) -> Outcome {
        let (own, size) = (32 * self.warps_of(process), self.clocks[process].len());
        let m = self.meetings.entry(id).or_insert_with(|| Meeting { clock: vec![0; size], ..Meeting::default() });
        let round = match self.waiting[process] {
            Some((at, round)) if at == id => round,
            _ => {
                let round = m.done.len();
                self.waiting[process] = Some((id, round));
                m.threads += own;
                join(&mut m.clock, &self.clocks[process]);
                if m.threads >= threads {
                    m.threads = 0;
                    m.done.push(std::mem::replace(&mut m.clock, vec![0; size]));
                }
                round
            }
        };
        match m.done.get(round) {
            Some(clock) => {
                join(&mut self.clocks[process], clock);
                self.waiting[process] = None;
                Outcome::Done
            }
            None => Outcome::Blocked,
        }
    }

    /// No barrier completes a second phase before every waiter for the first has seen it.
    fn phases_ahead(&mut self) {
        let mut late: Vec<(Place, Bar, u32, usize)> = Vec::new();
        for s in &self.seen {
            if let Some((clock, _)) = self.states[s.bar].phases.get(s.need as usize)
                && clock[s.process] < s.position
            {
                late.push((s.place, s.bar, s.need, s.process));
            }
        }
        for (place, bar, need, process) in late {
            let text = format!(
                "{} may complete phase {} before {} has seen that phase {need} is over: one parity bit can't tell them apart",
                self.bar_name(bar),
                need + 1,
                self.role(process)
            );
            self.fault("E27", place, text, Vec::new());
        }
    }
}
