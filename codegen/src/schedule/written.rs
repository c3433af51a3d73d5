//! A schedule for a kernel whose rings and roles are written out: it says what they leave open, and nothing that they say otherwise.

use super::{at, machine_role};
use tile_lang::diag::{Diagnostic, pointing};
use tile_lang::ir::{Kernel, OpKind};
use tile_lang::schedule::{Resolved, Schedule};
use tile_lang::span::Span;

/// What a kernel with explicit roles and its schedule say differently: `E30` for each, with both places.
pub(super) fn contradictions(kernel: &Kernel, s: &Schedule, resolved: &Resolved) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    let mut push = |span: Span, message: String, notes: Vec<String>| errors.push(at(s, span, "E30", message, notes));
    let slots = kernel.resources.slots;
    for ring in &s.rings {
        if !ring.ops.is_empty() {
            let message =
                format!("ring `{}` lists loads, and kernel `{}` has its rings written out", ring.name, kernel.name);
            let fix = "write `ring NAME stages N` without loads, or take the ring out of the schedule";
            let first = first_fill(kernel).map(|span| here(kernel, "a slot is filled here", span));
            push(ring.span, message, first.into_iter().chain([fix.to_owned()]).collect());
        }
        if let Some(n) = ring.stages.filter(|n| slots > 0 && *n != slots) {
            let message = format!("ring `{}` has {n} stages here and {slots} slots where it is written out", ring.name);
            let notes = vec![
                here(kernel, "the ring is here", kernel.resources.slots_span),
                "write `new::<0>()` there, which leaves the number to the schedule, or take the stages out of the schedule".into(),
            ];
            push(ring.span, message, notes);
        }
    }
    for (index, role) in s.roles.iter().enumerate() {
        let Some(machine) = machine_role(kernel, s, resolved, index) else { continue };
        let written = kernel.resources.roles.iter().find(|r| r.role == machine);
        let place = || written.map(|r| here(kernel, &format!("`{}` is here", r.name), r.span));
        if !role.ops.is_empty() {
            let message =
                format!("role `{}` lists ops, and kernel `{}` has its roles written out", role.name, kernel.name);
            let fix = "leave its ops out: what stands in a role is its";
            push(role.span, message, place().into_iter().chain([fix.to_owned()]).collect());
        }
        let Some(written) = written else { continue };
        for (what, asked, has) in
            [("warps", role.warps, written.warps), ("registers", role.registers, written.registers)]
        {
            let Some(n) = asked.filter(|n| has > 0 && *n != has) else { continue };
            let message = format!("role `{}` has {n} {what} here and {has} where it is written out", role.name);
            let fix = format!(
                "write 0 {what} there, which leaves the number to the schedule, or take it out of the schedule"
            );
            push(role.span, message, place().into_iter().chain([fix]).collect());
        }
    }
    errors
}

/// A note that points into the kernel's source.
fn here(kernel: &Kernel, what: &str, span: Span) -> String {
    pointing(what, kernel.files.get(span.file as usize).map_or("", String::as_str), span)
}

/// Where the first slot is filled.
fn first_fill(kernel: &Kernel) -> Option<Span> {
    let mut first = None;
    kernel.walk(|_, op| {
        if matches!(op.kind, OpKind::RingFill(_)) {
            first.get_or_insert(op.span);
        }
    });
    first
}
