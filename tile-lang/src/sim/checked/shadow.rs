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
    /// Since the last write, the latest of each who changed it atomically.
    atomics: Vec<Access>,
}

/// What an access found there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was {
    Read,
    Write,
    Atomic,
}

/// Keeps the latest access of each.
fn latest(list: &mut Vec<Access>, access: Access) {
    match list.iter_mut().find(|a| a.by == access.by) {
        Some(known) => *known = access,
        None => list.push(access),
    }
}

/// The history of one memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    /// By first element. Elements in no run were never touched.
    runs: BTreeMap<usize, Run>,
}

/// What is done with each run of a part.
type Visit<'f, E> = dyn FnMut(Range<usize>, &mut Run) -> Result<(), E> + 'f;

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

    /// Notes a read. `check` is given what wrote each part: the last write, `None` where there was none, and whoever changed it
    /// atomically since.
    pub fn read<E>(
        &mut self,
        range: Range<usize>,
        access: Access,
        mut check: impl FnMut(Range<usize>, Option<(&Access, Was)>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each(range, |part, run| {
            if run.write.is_some() || run.atomics.is_empty() {
                check(part.clone(), run.write.as_ref().map(|w| (w, Was::Write)))?;
            }
            run.atomics.iter().try_for_each(|a| check(part.clone(), Some((a, Was::Atomic))))?;
            latest(&mut run.reads, access);
            Ok(())
        })
    }

    /// Notes an atomic change. `check` is given every access since the last write, and that write, but no atomic one.
    pub fn atomic<E>(
        &mut self,
        range: Range<usize>,
        access: Access,
        mut check: impl FnMut(Range<usize>, &Access, Was) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each(range, |part, run| {
            run.reads.iter().try_for_each(|read| check(part.clone(), read, Was::Read))?;
            run.write.iter().try_for_each(|write| check(part.clone(), write, Was::Write))?;
            latest(&mut run.atomics, access);
            Ok(())
        })
    }

    /// Goes through the runs of a part, with new ones where there were none.
    fn each<E>(
        &mut self,
        range: Range<usize>,
        mut f: impl FnMut(Range<usize>, &mut Run) -> Result<(), E>,
    ) -> Result<(), E> {
        if range.is_empty() {
            return Ok(());
        }
        self.split(range.start);
        self.split(range.end);
        let (mut new, mut at) = (Vec::new(), range.start);
        let mut fill = |gap: Range<usize>, f: &mut Visit<'_, E>| {
            if gap.is_empty() {
                return Ok(());
            }
            let mut run = Run { end: gap.end, ..Run::default() };
            f(gap.clone(), &mut run)?;
            new.push((gap.start, run));
            Ok(())
        };
        for (start, run) in self.runs.range_mut(range.clone()) {
            fill(at..*start, &mut f)?;
            f(*start..run.end, run)?;
            at = run.end;
        }
        fill(at..range.end, &mut f)?;
        self.runs.extend(new);
        Ok(())
    }

    /// Notes a write. `check` is given every access since the last write, and that write.
    pub fn write<E>(
        &mut self,
        range: Range<usize>,
        access: Access,
        mut check: impl FnMut(Range<usize>, &Access, Was) -> Result<(), E>,
    ) -> Result<(), E> {
        if range.is_empty() {
            return Ok(());
        }
        self.split(range.start);
        self.split(range.end);
        let mut starts = Vec::new();
        for (start, run) in self.runs.range(range.clone()) {
            for read in &run.reads {
                check(*start..run.end, read, Was::Read)?;
            }
            for atomic in &run.atomics {
                check(*start..run.end, atomic, Was::Atomic)?;
            }
            if let Some(write) = &run.write {
                check(*start..run.end, write, Was::Write)?;
            }
            starts.push(*start);
        }
        for start in starts {
            self.runs.remove(&start);
        }
        self.runs.insert(range.start, Run { end: range.end, write: Some(access), ..Run::default() });
        Ok(())
    }

    /// Looks at the last write of an element, if there was one.
    pub fn written<E>(&self, at: usize, check: impl FnOnce(&Access) -> Result<(), E>) -> Result<(), E> {
        let run = self.runs.range(..=at).next_back().filter(|(_, run)| run.end > at);
        run.and_then(|(_, run)| run.write.as_ref()).map_or(Ok(()), check)
    }

    /// Runs that were written.
    pub fn written_runs(&self) -> impl Iterator<Item = Range<usize>> {
        self.runs
            .iter()
            .filter(|(_, run)| run.write.is_some() || !run.atomics.is_empty())
            .map(|(start, run)| *start..run.end)
    }

    /// The latest access to a part, as far as it is known.
    pub fn last(&self, range: Range<usize>) -> Option<Access> {
        let (_, run) = self.runs.range(..range.end).rev().find(|(_, run)| run.end > range.start)?;
        run.reads.last().or(run.atomics.last()).copied().or(run.write)
    }
}
