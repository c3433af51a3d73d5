//! Schedules against the machine: what a kernel's schedule pins is carried out by the passes, or refused here with the reason
//! and what is possible.
//!
//! [`pinned`] checks what one kernel's schedule says, [`request`] hands it on: warps, registers and stages as requests to the program
//! ([`tile_lang::ir::Resources`]); rings were groups of loads when the kernel was split into roles. What rings and roles don't say stays in the
//! schedule of the kernel in roles: splits of products, products that may be left running or are started in turns, which layouts look up, and the order of
//! items, which [`crate::passes`] makes arithmetic of. What is left open for products by warpgroups [`choose()`] pins first. [`complete`] is the way back: the schedule of what was chosen.

mod choose;
mod complete;
mod pipelined;
mod refuse;
mod rings;
mod written;

pub use choose::{Choice, Chosen};
pub(crate) use choose::{RingRoom, choose};
pub use complete::complete;
pub(crate) use pipelined::pin_loops;
pub(crate) use refuse::{MOST_INFLIGHT, meeting_in_turn, unconvertible, with_pinned_split};
pub(crate) use rings::pinned_groups;

use crate::CodegenError;
use crate::layout::{MmaSplit, Split};
use std::collections::{HashMap, HashSet};
use tile_lang::diag::{Diagnostic, Diagnostics};
use tile_lang::ir::{Kernel, OpId, Role, RoleResources};
use tile_lang::schedule::{OpClass, Resolved, Schedule, named_ops, ops_called, resolve};
use tile_lang::span::Span;

/// A diagnostic about an item of a schedule.
pub(crate) fn at(s: &Schedule, span: Span, code: &'static str, message: String, notes: Vec<String>) -> Diagnostic {
    Diagnostic { code, message, file: s.file(span), span, notes }
}

/// What a kernel's schedule asks for, with the ops that it names. `None` where nothing is pinned.
///
/// # Errors
/// All that can't be realised: `E20`, `E21`, `E30`.
pub(crate) fn pinned(kernel: &Kernel) -> Result<Option<(Schedule, Resolved)>, CodegenError> {
    let Some(schedule) = kernel.schedule.as_deref() else { return Ok(None) };
    let resolved = resolve(kernel, schedule)?;
    let errors = refuse::refused(kernel, schedule, &resolved);
    if !errors.is_empty() {
        return Err(CodegenError::Program(Diagnostics(errors)));
    }
    Ok(Some((schedule.clone(), resolved)))
}

/// Which of the machine's roles a role of a schedule is: the one that fills the ring holds all staged loads and nothing else. Roles that are
/// written out have their own names.
fn machine_role(kernel: &Kernel, s: &Schedule, resolved: &Resolved, at: usize) -> Option<Role> {
    if let Some(written) = kernel.resources.roles.iter().find(|r| r.name == s.roles[at].name) {
        return Some(written.role);
    }
    let ops = &resolved.roles.iter().find(|r| r.role == at)?.ops;
    let class = |op| OpClass::of(&kernel.op(op).kind);
    match ops.first() {
        None if s.roles[at].name == "producer" => Some(Role::Producer),
        None => Some(Role::Consumer),
        Some(op) if class(*op) == Some(OpClass::Load) => Some(Role::Producer),
        Some(_) => Some(Role::Consumer),
    }
}

/// Writes what a schedule asks of the program into a kernel that was split into roles, and leaves in its schedule what is
/// still to be done. A number that roles or rings leave open where they are written out is the schedule's.
pub(crate) fn request(lowered: &mut Kernel, original: &Kernel, s: &Schedule, resolved: &Resolved) {
    let mut place = |span: Span| {
        let file = s.file(span);
        let at = lowered.files.iter().position(|f| *f == file).unwrap_or_else(|| {
            lowered.files.push(file);
            lowered.files.len() - 1
        });
        Span { file: at as u32, ..span }
    };
    let mut resources = lowered.resources.clone();
    if let Some(ring) = s.rings.iter().find(|r| r.stages.is_some()) {
        resources.slots = ring.stages.unwrap_or_default();
        resources.slots_span = place(ring.span);
    }
    for (at, role) in s.roles.iter().enumerate() {
        let Some(machine) = machine_role(original, s, resolved, at) else { continue };
        let (warps, registers) = (role.warps.unwrap_or_default(), role.registers.unwrap_or_default());
        let span = place(role.span);
        match resources.roles.iter_mut().find(|r| r.role == machine) {
            Some(written) => {
                written.warps = warps.max(written.warps);
                written.registers = registers.max(written.registers);
                written.span = span;
            }
            None => {
                let name = role.name.clone();
                resources.roles.push(RoleResources { role: machine, name, warps, registers, span });
            }
        }
    }
    lowered.resources = resources;
    let rest = Schedule {
        name: s.name.clone(),
        kernel: s.kernel.clone(),
        files: s.files.clone(),
        span: s.span,
        splits: s.splits.clone(),
        inflight: s.inflight.clone(),
        turns: s.turns.clone(),
        raster: s.raster,
        cluster: s.cluster,
        ..Schedule::default()
    };
    lowered.schedule = (!rest.is_empty()).then(|| Box::new(rest));
}

/// How many products may run after each product that a kernel's schedule pins it for.
pub(crate) fn pinned_inflight(kernel: &Kernel) -> HashMap<OpId, usize> {
    let Some(schedule) = kernel.schedule.as_deref().filter(|s| !s.inflight.is_empty()) else { return HashMap::new() };
    let ops = named_ops(kernel);
    let mut out = HashMap::new();
    for inflight in &schedule.inflight {
        let called = ops_called(&ops, &inflight.op.text).into_iter().filter(|n| n.class == OpClass::Product);
        out.extend(called.map(|n| (n.op, inflight.groups)));
    }
    out
}

/// The products that warpgroups start in turns, as a kernel's schedule pins it.
pub(crate) fn pinned_turns(kernel: &Kernel) -> HashSet<OpId> {
    let Some(turns) = kernel.schedule.as_deref().and_then(|s| s.turns.as_ref()) else { return HashSet::new() };
    let ops = named_ops(kernel);
    let called = turns.ops.iter().flat_map(|name| ops_called(&ops, &name.text));
    called.filter(|n| n.class == OpClass::Product).map(|n| n.op).collect()
}

/// The splits that a kernel's schedule pins, by product. What can't be is refused elsewhere.
pub(crate) fn pinned_splits(kernel: &Kernel) -> Split {
    let Some(schedule) = kernel.schedule.as_deref().filter(|s| !s.splits.is_empty()) else { return Split::new() };
    let ops = named_ops(kernel);
    let mut out = Split::new();
    for split in &schedule.splits {
        let log2 = |n: usize| n.max(1).trailing_zeros() as usize;
        let pinned = MmaSplit { m: log2(split.rows), n: log2(split.columns), k: log2(split.depth) };
        for named in ops_called(&ops, &split.op.text).into_iter().filter(|n| n.class == OpClass::Product) {
            out.insert(named.op, pinned);
        }
    }
    out
}
