//! Static checkers: what must hold of a plan and of its kernels' protocol before anything runs.
//!
//! Each checker is independent of the passes: it works on the finished data (a [`Plan`], a [`Protocol`], layouts as
//! they were assigned), derives anew what it needs, and shares no code with what made that data. [`plan`] proves the order of
//! instructions, [`grids`] that work items don't write each other's elements, [`shared`] the map of shared memory, [`registers`]
//! the register budget, [`barriers`] the protocol between roles, [`layouts`] that threads hold what ops take from them.
//! What is proved and what is assumed stands in `docs/checkers.md`.

mod barriers;
mod grids;
mod layouts;
mod plan;
mod registers;
mod shared;

use crate::layout::{Assignment, assign};
use crate::target::Target;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tile_lang::diag::{Diagnostic, Diagnostics, pointing};
use tile_lang::ir::{Kernel, OpId, Role};
use tile_lang::plan::{Instr, Plan};
use tile_lang::protocol::Protocol;
use tile_lang::span::Span;

/// What one checker did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The checker.
    pub name: &'static str,
    /// How many things it looked at.
    pub count: usize,
    /// What it counts.
    pub unit: &'static str,
    /// How long it took.
    pub time: Duration,
}

/// What all checkers did, and what they could not decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry for each checker.
    pub checks: Vec<Checked>,
    /// What no checker can decide before data is known, a line each; the checked simulator looks at it.
    pub notes: Vec<String>,
}

impl Report {
    /// Time of all checkers together.
    pub fn time(&self) -> Duration {
        self.checks.iter().map(|c| c.time).sum()
    }
}

/// Runs every checker on a program.
///
/// # Errors
/// All that is wrong.
pub fn program(plan: &Plan, protocol: &Protocol, layouts: &[Assignment]) -> Result<Report, Diagnostics> {
    run(Some(plan), protocol, layouts)
}

/// Runs the checkers that need no plan on the kernels of a protocol.
///
/// # Errors
/// All that is wrong.
pub fn kernels(protocol: &Protocol, layouts: &[Assignment]) -> Result<Report, Diagnostics> {
    run(None, protocol, layouts)
}

/// The layouts that the compiler gives to the consumers of each kernel on a target.
pub fn assignments(protocol: &Protocol, target: &Target) -> Vec<Assignment> {
    protocol.kernels.iter().map(|k| k.body(Role::Consumer).map(|b| assign(k, b, target)).unwrap_or_default()).collect()
}

fn run(plan: Option<&Plan>, protocol: &Protocol, layouts: &[Assignment]) -> Result<Report, Diagnostics> {
    let mut found = Findings::default();
    let mut report = Report::default();
    let mut check = |name, unit, f: &mut dyn FnMut(&mut Findings) -> usize| {
        let begin = Instant::now();
        let count = f(&mut found);
        report.checks.push(Checked { name, count, unit, time: begin.elapsed() });
    };
    if let Some(plan) = plan {
        check("plan", "instructions", &mut |out| plan::check(plan, out));
        check("grids", "instructions", &mut |out| grids::check(plan, out));
    }
    check("shared memory", "regions", &mut |out| shared::check(protocol, out));
    check("registers", "warpgroups", &mut |out| registers::check(&protocol.registers, protocol.warps, out));
    check("barriers", "runs", &mut |out| barriers::check(plan, protocol, out));
    check("layouts", "tiles", &mut |out| layouts::check(protocol, layouts, out));
    report.notes = found.notes;
    if found.errors.is_empty() { Ok(report) } else { Err(Diagnostics(found.errors)) }
}

/// Where an instruction was written.
fn span_of(instr: &Instr) -> Span {
    Span { file: 0, line: instr.line, col: 1, len: 1 }
}

/// What checkers find.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub errors: Vec<Diagnostic>,
    /// What could not be decided.
    pub notes: Vec<String>,
    seen: HashSet<(&'static str, String, Span)>,
}

impl Findings {
    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// An error at no place in a source.
    pub fn error(&mut self, code: &'static str, message: String, notes: Vec<String>) {
        self.push(Diagnostic { code, message, file: String::new(), span: Span::NONE, notes });
    }

    /// An error at an op.
    pub fn at(&mut self, kernel: &Kernel, op: OpId, code: &'static str, message: String, mut notes: Vec<String>) {
        let span = kernel.op(op).span;
        let file = kernel.files.get(span.file as usize).cloned().unwrap_or_default();
        notes.push(format!("in kernel `{}`, op {op} `{}`", kernel.name, kernel.op(op).kind.mnemonic()));
        self.push(Diagnostic { code, message, file, span, notes });
    }

    /// A note on what happens at an op, with its place.
    pub fn points(kernel: &Kernel, op: OpId, what: &str) -> String {
        let span = kernel.op(op).span;
        pointing(what, kernel.files.get(span.file as usize).map_or("", String::as_str), span)
    }

    /// An error at an instruction of a plan.
    pub fn instruction(&mut self, instr: &Instr, code: &'static str, message: String, notes: Vec<String>) {
        self.push(Diagnostic { code, message, file: instr.file.clone(), span: span_of(instr), notes });
    }

    /// Something that can't be decided about an instruction.
    pub fn note(&mut self, instr: &Instr, message: &str) {
        let note = match instr.line {
            0 => message.to_owned(),
            line => format!("{message} ({}:{line})", instr.file),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The same mistake shows in many runs: each message is kept once for a place.
    fn push(&mut self, d: Diagnostic) {
        if self.seen.insert((d.code, d.message.clone(), d.span)) {
            self.errors.push(d);
        }
    }
}
