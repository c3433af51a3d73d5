//! Who last wrote and read each part of a memory: runs of elements with the same history share one entry.

use super::clock::{By, Time};
use super::stream::Place;
use std::collections::BTreeMap;
use std::ops::Range;

/// One access.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub by: By,
    pub time: Time,
    pub place: Place,
    /// For slots of a ring: which of its takings, counted from 0.
    pub turn: u64,
}

#[derive(Clone, Debug, Default)]
struct Run {
    end: usize,
    write: Option<Access>,
    /// Since the last write, the latest of each reader.
    reads: Vec<Access>,
}

/// The history of one memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    /// By first element. Elements in no run were never touched.
    runs: BTreeMap<usize, Run>,
}

impl Shadow {
    /// Makes `at` a border between runs.
    fn split(&mut self, at: usize) {
        let Some((_, run)) = self.runs.range_mut(..at).next_back() else { return };
        if run.end > at {
            let tail = run.clone();
            run.end = at;
            self.runs.insert(at, tail);
        }
    }

    /// Notes a read. `check` is given the last write of each part, `None` where there was none.
    pub fn read<E>(
        &mut self,
        range: Range<usize>,
        access: Access,
        mut check: impl FnMut(Range<usize>, Option<&Access>) -> Result<(), E>,
    ) -> Result<(), E> {
        if range.is_empty() {
            return Ok(());
        }
        self.split(range.start);
        self.split(range.end);
        let mut gaps = Vec::new();
        let mut at = range.start;
        for (start, run) in self.runs.range_mut(range.clone()) {
            if at < *start {
                check(at..*start, None)?;
                gaps.push(at..*start);
            }
            check(*start..run.end, run.write.as_ref())?;
            match run.reads.iter_mut().find(|r| r.by == access.by) {
                Some(read) => *read = access,
                None => run.reads.push(access),
            }
            at = run.end;
        }
        if at < range.end {
            check(at..range.end, None)?;
            gaps.push(at..range.end);
        }
        for gap in gaps {
            self.runs.insert(gap.start, Run { end: gap.end, write: None, reads: vec![access] });
        }
        Ok(())
    }

    /// Notes a write. `check` is given every access since the last write, and that write: the part, the access, whether
    /// it was a write.
    pub fn write<E>(
        &mut self,
        range: Range<usize>,
        access: Access,
        mut check: impl FnMut(Range<usize>, &Access, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        if range.is_empty() {
            return Ok(());
        }
        self.split(range.start);
        self.split(range.end);
        let mut starts = Vec::new();
        for (start, run) in self.runs.range(range.clone()) {
            for read in &run.reads {
                check(*start..run.end, read, false)?;
            }
            if let Some(write) = &run.write {
                check(*start..run.end, write, true)?;
            }
            starts.push(*start);
        }
        for start in starts {
            self.runs.remove(&start);
        }
        self.runs.insert(range.start, Run { end: range.end, write: Some(access), reads: Vec::new() });
        Ok(())
    }

    /// Looks at the last write of an element, if there was one.
    pub fn written<E>(&self, at: usize, check: impl FnOnce(&Access) -> Result<(), E>) -> Result<(), E> {
        let run = self.runs.range(..=at).next_back().filter(|(_, run)| run.end > at);
        run.and_then(|(_, run)| run.write.as_ref()).map_or(Ok(()), check)
    }

    /// Runs that were written.
    pub fn written_runs(&self) -> impl Iterator<Item = Range<usize>> {
        self.runs.iter().filter(|(_, run)| run.write.is_some()).map(|(start, run)| *start..run.end)
    }

    /// The latest access to a part, as far as it is known.
    pub fn last(&self, range: Range<usize>) -> Option<Access> {
        let (_, run) = self.runs.range(..range.end).rev().find(|(_, run)| run.end > range.start)?;
        run.reads.last().copied().or(run.write)
    }
}
