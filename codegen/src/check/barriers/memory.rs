//! Accesses to memory in a run: slots, global arrays, the exchange area; whether clocks order them.

use super::events::{Bar, Place, Reader};
use super::run::{FIRST, PRODUCER, Run, Step};
use std::ops::Range;
use tile_lang::protocol::RingId;

/// Bytes at whose multiples kept operands begin.
const ATOM: usize = 1024;

/// Latest accesses of a process: the last two steps, with position.
pub(super) type Latest = [(u32, u32); 2];

/// A process's last reads of a slot: position and place of those of either kind.
#[derive(Clone, Copy, Default)]
pub(super) struct Reads {
    threads: (u32, Option<Place>),
    product: (u32, Option<Place>),
}

/// Accesses to one thing in memory, by process.
pub(super) struct Spot {
    writes: Vec<(Latest, Option<Place>)>,
    reads: Vec<(Latest, Option<Place>)>,
}

impl Spot {
    /// Nothing has happened yet.
    pub fn new(processes: usize) -> Self {
        let empty = || (0..processes).map(|_| ([(u32::MAX, 0); 2], None)).collect();
        Spot { writes: empty(), reads: empty() }
    }
}

impl Run<'_> {
    /// A copy overwrites a slot: all that was in it has landed and been read.
    pub(super) fn copy(&mut self, process: usize, bar: Bar, at: (RingId, usize), lap: u32, place: Place) {
        let clock = &self.clocks[process];
        if clock[self.entry(bar)] < lap {
            let text = format!("a copy into slot {} starts while the one before may still be under way", at.1);
            self.fault("E27", place, text, Vec::new());
        }
        let (clock, fenced) = self.clocks[process].split_at(self.fenced);
        // The fence is one of this slot: by the producer when it knew that the slot is free, or by the readers before they gave it back. That a fence for
        // another slot covers the reads, too, would follow from the number of slots, of which there are more than are modelled.
        let empty = self.empty(at.0, at.1);
        let by_producer = empty.is_some_and(|bar| fenced[self.entry(bar)] >= lap);
        let given_back = empty.and_then(|bar| self.states[bar].phases.get((lap as usize).checked_sub(1)?));
        let by_reader = |reader: usize| given_back.map_or(0, |(clock, _)| clock[self.fenced + reader]);
        let readers = self.read.get(&at).map_or(&[][..], Vec::as_slice).iter().enumerate();
        let all = readers.flat_map(|(p, r)| [(p, r.threads, true), (p, r.product, false)]);
        let wrong = all.filter_map(|(reader, (position, other), by_threads)| {
            let step =
                || Step { role: self.role(reader), place: other.unwrap_or(place), what: "reads the slot".into() };
            match () {
                () if position > clock[reader] => Some(("E27", step())),
                () if by_threads && !by_producer && position > by_reader(reader) => Some(("E29", step())),
                () => None,
            }
        });
        if let Some((code, step)) = wrong.min_by_key(|(code, _)| *code) {
            let text = match code {
                "E27" => format!("slot {} of the ring {:?} may be overwritten while it is still read", at.1, at.0),
                _ => format!(
                    "a copy overwrites slot {} of the ring {:?}, which was read through registers, without `fence.proxy.async` between",
                    at.1, at.0
                ),
            };
            self.fault(code, place, text, vec![step]);
        }
        let filled = self.filled.entry(at).or_default();
        *filled = (*filled).max(lap);
    }

    pub(super) fn copies_settled_data(&mut self, record: usize, place: Place) {
        let fence = self.facts[record].fence;
        if self.clocks[PRODUCER][FIRST] < fence {
            let text = "a copy of data starts before the record's dependencies are known to be met";
            self.fault("E27", place, text.into(), Vec::new());
        } else if self.proxy[FIRST] < fence {
            let text =
                "a bulk copy reads what was written through registers, without `fence.proxy.async` after the wait";
            self.fault("E29", place, text.into(), Vec::new());
        }
    }

    pub(super) fn read_slot(&mut self, process: usize, at: (RingId, usize), lap: u32, by: Reader, place: Place) {
        let arrived = self.full(at.0, at.1).is_some_and(|bar| self.clocks[process][self.entry(bar)] > lap);
        if !arrived {
            let text = format!("slot {} of the ring {:?} is read before its data is known to have arrived", at.1, at.0);
            self.fault("E27", place, text, Vec::new());
        }
        if self.filled.get(&at).is_some_and(|filled| *filled > lap) {
            let text = format!("slot {} of the ring {:?} is read when it may hold newer data", at.1, at.0);
            self.fault("E27", place, text, Vec::new());
        }
        let n = self.lists.len();
        let reads = &mut self.read.entry(at).or_insert_with(|| vec![Reads::default(); n])[process];
        let last = match by {
            Reader::Threads => &mut reads.threads,
            Reader::Product => &mut reads.product,
        };
        *last = (self.at[process] as u32 + 1, Some(place));
    }

    /// A use of the area of kept operands, atom by atom: no two operands share one.
    pub(super) fn kept(&mut self, process: usize, write: bool, bytes: &Range<usize>, step: u32, place: Place) {
        let n = self.lists.len();
        for atom in bytes.start / ATOM..bytes.end.div_ceil(ATOM) {
            let mut s = self.kept.remove(&atom).unwrap_or_else(|| Spot::new(n));
            self.touch(&mut s, process, write, step, place, "a kept operand");
            self.kept.insert(atom, s);
        }
    }

    pub(super) fn touch(&mut self, s: &mut Spot, process: usize, write: bool, step: u32, place: Place, what: &str) {
        let clock = &self.clocks[process];
        let late = |list: &[(Latest, Option<Place>)], same: bool| {
            list.iter().enumerate().filter(|(p, _)| *p != process).find_map(|(p, (latest, other))| {
                let open = latest.iter().any(|(t, position)| (same || *t != step) && *position > clock[p]);
                other.filter(|_| open).map(|other| (p, other))
            })
        };
        let found = late(&s.writes, false)
            .map(|x| (x, "writes"))
            .or_else(|| if write { late(&s.reads, true).map(|x| (x, "reads")) } else { None });
        if let Some(((other, at), verb)) = found {
            let own = if write { "written" } else { "read" };
            let text = format!("{what} is {own} by one warp while another still {verb} it: nothing makes them meet");
            let steps = vec![Step { role: self.role(other), place: at, what: format!("{verb} {what}") }];
            self.fault("E27", place, text, steps);
        }
        let list = if write { &mut s.writes } else { &mut s.reads };
        let (latest, at) = &mut list[process];
        if latest[0].0 != step {
            latest[1] = latest[0];
        }
        latest[0] = (step, self.at[process] as u32 + 1);
        *at = Some(place);
    }
}
