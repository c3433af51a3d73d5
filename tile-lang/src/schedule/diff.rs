//! What changed between two schedules.

use super::{OpName, Schedule};
use std::fmt::Display;

/// The differences from `a` to `b`, one line each: what only one of them pins (`-`, `+`), and what both pin otherwise (`~`).
/// Names of rings and roles, places and the order of items don't count.
pub fn diff(a: &Schedule, b: &Schedule) -> Vec<String> {
    let mut out = Vec::new();
    // Rings and roles are told apart by what they hold: names are for people.
    let rings = |s: &Schedule| s.rings.iter().map(|r| (held(&r.name, &r.ops), r.stages)).collect::<Vec<_>>();
    keyed(&mut out, "ring", &rings(a), &rings(b), |out, at, a, b| number(out, at, "stages", *a, *b));
    let roles =
        |s: &Schedule| s.roles.iter().map(|r| (held(&r.name, &r.ops), (r.warps, r.registers))).collect::<Vec<_>>();
    keyed(&mut out, "role", &roles(a), &roles(b), |out, at, a, b| {
        number(out, at, "warps", a.0, b.0);
        number(out, at, "registers", a.1, b.1);
    });
    let splits =
        |s: &Schedule| s.splits.iter().map(|x| (x.op.text.clone(), (x.rows, x.columns, x.depth))).collect::<Vec<_>>();
    keyed(&mut out, "split", &splits(a), &splits(b), |out, at, a, b| {
        number(out, at, "rows", Some(a.0), Some(b.0));
        number(out, at, "columns", Some(a.1), Some(b.1));
        number(out, at, "depth", Some(a.2), Some(b.2));
    });
    let inflight = |s: &Schedule| s.inflight.iter().map(|x| (x.op.text.clone(), x.groups)).collect::<Vec<_>>();
    keyed(&mut out, "inflight", &inflight(a), &inflight(b), |out, at, a, b| {
        number(out, at, "groups", Some(*a), Some(*b));
    });
    let turns = |s: &Schedule| s.turns.as_ref().map(|t| listed(&t.ops));
    number(&mut out, "turns", "", turns(a), turns(b));
    number(&mut out, "raster", "", a.raster.map(|p| p.value), b.raster.map(|p| p.value));
    number(&mut out, "cluster", "", a.cluster.map(|p| p.value), b.cluster.map(|p| p.value));
    out
}

/// Items by name: removed, added, or compared.
fn keyed<T>(
    out: &mut Vec<String>,
    kind: &str,
    a: &[(String, T)],
    b: &[(String, T)],
    mut both: impl FnMut(&mut Vec<String>, &str, &T, &T),
) {
    for (name, x) in a {
        match b.iter().find(|(n, _)| n == name) {
            Some((_, y)) => both(out, &format!("{kind} {name}"), x, y),
            None => out.push(format!("- {kind} {name}")),
        }
    }
    out.extend(b.iter().filter(|(n, _)| !a.iter().any(|(m, _)| m == n)).map(|(n, _)| format!("+ {kind} {n}")));
}

fn number<T: Display + PartialEq>(out: &mut Vec<String>, at: &str, what: &str, a: Option<T>, b: Option<T>) {
    if a == b {
        return;
    }
    let show = |x: Option<T>| x.map_or("the compiler's choice".into(), |x| x.to_string());
    let what = if what.is_empty() { String::new() } else { format!(" {what}") };
    out.push(format!("~ {at}{what}: {} -> {}", show(a), show(b)));
}

/// What a ring or role holds, or its name where the compiler fills it.
fn held(name: &str, ops: &[OpName]) -> String {
    match ops {
        [] => name.into(),
        ops => listed(ops),
    }
}

/// Ops in brackets.
fn listed(ops: &[OpName]) -> String {
    format!("[{}]", ops.iter().map(|o| o.text.as_str()).collect::<Vec<_>>().join(", "))
}
