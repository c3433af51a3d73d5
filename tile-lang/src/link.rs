//! Dependencies of a plan's instructions, derived from what they touch.

use crate::ir::{Access, Type};
use crate::plan::{Instr, Operand, Plan};
use crate::record::MAX_DEPS;
use std::ops::Range;

/// Elements of a buffer that an instruction touches.
#[derive(Clone, Debug)]
struct Touch {
    /// Index of the instruction.
    instr: usize,
    elements: Range<usize>,
    writes: bool,
}

impl Touch {
    fn meets(&self, other: &Touch) -> bool {
        let both = self.elements.start < other.elements.end && other.elements.start < self.elements.end;
        both && (self.writes || other.writes)
    }
}

impl Plan {
    /// Derives what each instruction waits for: it reads what an earlier one wrote, or writes what an earlier one read
    /// or wrote. Dependencies implied by others are left out. The last instruction waits for everything. Where more than a record
    /// holds are left, some of them wait for others in its place, as few as will do.
    pub fn link(&mut self) {
        let n = self.program.len();
        // By instruction: which earlier ones are done before it.
        let mut reach: Vec<Vec<bool>> = Vec::with_capacity(n);
        // By buffer: who touched it so far.
        let mut touched: Vec<Vec<Touch>> = vec![Vec::new(); self.buffers.len()];
        for i in 0..n {
            let mut before: Vec<usize> = Vec::new();
            for (buffer, touch) in self.touches(i, &self.program[i]) {
                before.extend(touched[buffer].iter().filter(|t| t.instr != i && t.meets(&touch)).map(|t| t.instr));
                touched[buffer].push(touch);
            }
            before.sort_unstable();
            before.dedup();
            if i + 1 == n {
                before = (0..i).collect();
            }
            let mut seen = vec![false; i];
            let mut after = Vec::new();
            for &j in before.iter().rev() {
                if !seen[j] {
                    after.push(j);
                    seen[j] = true;
                    join(&mut seen, &reach[j]);
                }
            }
            after.reverse();
            self.gather(&mut after, &mut reach);
            self.program[i].after = after;
            reach.push(seen);
        }
    }

    /// Shortens a list of dependencies, none of which implies another, to what a record holds: its last one that has room waits for
    /// some of the others in its place. What is done before that one, and before those that wait for it, `reach` says anew.
    fn gather(&mut self, after: &mut Vec<usize>, reach: &mut [Vec<bool>]) {
        while after.len() > MAX_DEPS {
            let room = |j: usize| MAX_DEPS.saturating_sub(self.program[j].after.len());
            let Some(at) = (1..after.len()).rev().find(|at| room(after[*at]) > 0) else { return };
            let last = after[at];
            let count = room(last).min(at).min(after.len() - MAX_DEPS);
            let moved: Vec<usize> = after.drain(at - count..at).collect();
            let mut gained = vec![false; last];
            for &j in &moved {
                gained[j] = true;
                join(&mut gained, &reach[j]);
            }
            let own = &mut self.program[last].after;
            own.extend(moved);
            own.sort_unstable();
            join(&mut reach[last], &gained);
            for later in reach[last + 1..].iter_mut().filter(|later| later[last]) {
                join(later, &gained);
            }
        }
    }

    /// What an instruction touches, by buffer.
    fn touches<'a>(&'a self, index: usize, instr: &'a Instr) -> impl Iterator<Item = (usize, Touch)> + 'a {
        let k = &self.kernels[instr.kernel];
        instr.operands.iter().zip(&k.params).filter_map(move |(o, p)| match o {
            Operand::Buffer { id, offset, dims } => {
                let writes = matches!(k.ty(p.value), Type::Global(_, _, Access::Write));
                let elements = *offset..offset + dims.iter().product::<usize>();
                Some((*id, Touch { instr: index, elements, writes }))
            }
            _ => None,
        })
    }
}

/// Adds a set to one that is as large or larger.
fn join(to: &mut [bool], more: &[bool]) {
    to.iter_mut().zip(more).for_each(|(t, m)| *t |= *m);
}
