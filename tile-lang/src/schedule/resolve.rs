//! The names of a schedule against the ops of its kernel. Whether the machine can do what is pinned is the compiler's to say;
//! here it is settled which ops are meant, and that rings and roles take each of them once.

use super::ops::{NamedOp, OpClass, named_ops, ops_called};
use super::{OpName, RoleSpec, Schedule};
use crate::diag::{Diagnostic, Diagnostics, pointing};
use crate::ir::{Kernel, OpId, Stage};
use crate::nearest::{nearest, nearest_paths};
use crate::span::Span;
use std::collections::{BTreeMap, BTreeSet};

/// What roles without ops are called: those that the compiler makes.
const MACHINE_ROLES: [&str; 2] = ["producer", "consumer"];

/// A schedule with ops in place of names. Indices are into the schedule's lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Transactions that rings pin, in the order of their first loads.
    pub rings: Vec<RingPlan>,
    /// The ops of each role, by index.
    pub roles: Vec<RolePlan>,
    /// Splits of products.
    pub splits: BTreeMap<OpId, ResolvedSplit>,
    /// Groups left running, by product.
    pub inflight: BTreeMap<OpId, usize>,
    /// Products that warpgroups start in turns.
    pub turns: BTreeSet<OpId>,
}

/// One transaction of a ring: loads that share a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingPlan {
    /// Index into [`Schedule::rings`].
    pub ring: usize,
    /// The loads, in the order of the program.
    pub loads: Vec<OpId>,
}

/// The ops of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolePlan {
    /// Index into [`Schedule::roles`].
    pub role: usize,
    /// Its ops, in the order of the program.
    pub ops: Vec<OpId>,
}

/// How a product is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedSplit {
    /// Index into [`Schedule::splits`].
    pub at: usize,
    /// Warps along rows, columns and sums.
    pub warps: [usize; 3],
}

/// Finds the ops that a schedule names. Where rings and roles are written out in the kernel, what is in them is no matter of names: the
/// compiler refuses such lists.
///
/// # Errors
/// `E20` for each name that means no op, or several where one is meant, or an op that can't stand there; for an op in two
/// rings or roles; for an op in no role where roles list their ops; and for a schedule of another kernel.
pub fn resolve(kernel: &Kernel, schedule: &Schedule) -> Result<Resolved, Diagnostics> {
    let mut r = Resolver { kernel, s: schedule, ops: named_ops(kernel), errors: Vec::new() };
    if !schedule.kernel.is_empty() && schedule.kernel != kernel.name {
        let message = format!("schedule `{}` is for kernel `{}`", schedule.name, schedule.kernel);
        r.error(schedule.span, message, vec![format!("the kernel here is `{}`", kernel.name)]);
        return Err(Diagnostics(r.errors));
    }
    let (rings, roles, splits) = (r.rings(), r.roles(), r.splits());
    let out = Resolved { rings, roles, splits, inflight: r.inflight(), turns: r.turns() };
    if r.errors.is_empty() { Ok(out) } else { Err(Diagnostics(r.errors)) }
}

struct Resolver<'a> {
    kernel: &'a Kernel,
    s: &'a Schedule,
    ops: Vec<NamedOp>,
    errors: Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn error(&mut self, span: Span, message: String, notes: Vec<String>) {
        self.errors.push(Diagnostic { code: "E20", message, file: self.s.file(span), span, notes });
    }

    /// A note that points at an op in the kernel's source.
    fn points_at(&self, what: &str, op: OpId) -> String {
        let span = self.kernel.op(op).span;
        let file = self.kernel.files.get(span.file as usize).map_or("", String::as_str);
        pointing(what, file, span)
    }

    fn named(&self, op: OpId) -> Option<&NamedOp> {
        self.ops.iter().find(|n| n.op == op)
    }

    fn id(&self, op: OpId) -> String {
        self.named(op).map(NamedOp::id).unwrap_or_default()
    }

    /// The ops that a name means where ops of these classes may stand. They share one path.
    fn find(&mut self, name: &OpName, whole: Span, classes: &[OpClass], place: &str) -> Vec<OpId> {
        let span = if name.span.is_known() { name.span } else { whole };
        let called: Vec<NamedOp> = ops_called(&self.ops, &name.text).into_iter().cloned().collect();
        let fit: Vec<&NamedOp> = called.iter().filter(|n| classes.contains(&n.class)).collect();
        let Some(first) = fit.first() else {
            if let Some(other) = called.first() {
                let message = format!("`{}` is a {}; {place}", name.text, other.class.what());
                let note = self.points_at("it is written here", other.op);
                self.error(span, message, vec![note, self.all_of(classes)]);
            } else {
                self.unknown(name, span, classes);
            }
            return Vec::new();
        };
        // The same path with fewer loops around it is another op: `k.at` and `j.at` for `at`.
        if let Some(other) = fit.iter().find(|n| n.path != first.path || n.class != first.class) {
            let message = format!("`{}` means several ops: `{}` and `{}`", name.text, first.id(), other.id());
            let notes = vec![
                self.points_at(&format!("`{}` is written here", first.id()), first.op),
                self.points_at(&format!("`{}` is written here", other.id()), other.op),
                "write the loop before it, or give one of them another name in the source".into(),
            ];
            self.error(span, message, notes);
            return Vec::new();
        }
        fit.iter().map(|n| n.op).collect()
    }

    fn unknown(&mut self, name: &OpName, span: Span, classes: &[OpClass]) {
        let fitting = || self.ops.iter().filter(|n| classes.contains(&n.class));
        let ids: Vec<String> = fitting().map(NamedOp::id).collect();
        let near = nearest_paths(&name.text, ids.iter().map(String::as_str));
        let mut notes: Vec<String> = Vec::new();
        if let Some(best) = near.first().and_then(|n| fitting().find(|o| o.id() == *n)) {
            notes.push(self.points_at(&format!("did you mean `{}`, which is written here", best.id()), best.op));
        }
        let rest: Vec<String> = near.iter().skip(1).map(|n| format!("`{n}`")).collect();
        if !rest.is_empty() {
            notes.push(format!("also near: {}", rest.join(", ")));
        }
        if near.is_empty() {
            notes.push(self.all_of(classes));
        }
        let message = format!("kernel `{}` has no op `{}`", self.kernel.name, name.text);
        self.error(span, message, notes);
    }

    fn all_of(&self, classes: &[OpClass]) -> String {
        let ids: Vec<String> =
            self.ops.iter().filter(|n| classes.contains(&n.class)).map(|n| format!("`{}`", n.id())).collect();
        let what: Vec<String> = classes.iter().map(|c| c.what().to_owned()).collect();
        match ids.len() {
            0 => format!("the kernel has no {}", what.join(", ")),
            _ => format!("ops that can stand here: {}", ids.join(", ")),
        }
    }

    /// Reports an op that is taken twice.
    fn twice(&mut self, kind: &str, op: OpId, span: Span, (first, first_span): (&str, Span), second: &str) {
        let message = if first == second {
            format!("`{}` is twice in {kind} `{first}`", self.id(op))
        } else {
            format!("`{}` is in {kind}s `{first}` and `{second}`", self.id(op))
        };
        let file = self.s.file(first_span);
        let notes = vec![
            pointing("it is taken first here", &file, first_span),
            self.points_at("the op is written here", op),
            format!("leave it in one {kind}"),
        ];
        self.error(span, message, notes);
    }

    /// Whether rings and roles are written out in the kernel.
    fn written_out(&self) -> bool {
        self.kernel.stage >= Stage::Specialised
    }

    fn rings(&mut self) -> Vec<RingPlan> {
        let s = self.s;
        let mut taken: BTreeMap<OpId, (usize, Span)> = BTreeMap::new();
        let mut out: Vec<RingPlan> = Vec::new();
        for (at, ring) in s.rings.iter().enumerate() {
            if let Some(first) = s.rings[..at].iter().find(|r| r.name == ring.name) {
                let note = pointing("the first one is here", &s.file(first.span), first.span);
                self.error(ring.span, format!("two rings are called `{}`", ring.name), vec![note]);
            }
            if self.written_out() {
                continue;
            }
            let mut lists: Vec<Vec<OpId>> = Vec::new();
            for name in &ring.ops {
                let list = self.find(name, ring.span, &[OpClass::Load], "a ring holds staged loads");
                for op in &list {
                    match taken.get(op) {
                        Some((other, span)) => {
                            let first = (s.rings[*other].name.as_str(), *span);
                            self.twice("ring", *op, name.span, first, &ring.name);
                        }
                        None => drop(taken.insert(*op, (at, name.span))),
                    }
                }
                if !list.is_empty() {
                    lists.push(list);
                }
            }
            let count = lists.iter().map(Vec::len).max().unwrap_or(0);
            if let Some(odd) = lists.iter().find(|l| l.len() != count) {
                let message = format!(
                    "ring `{}` takes one of each op for a slot, but there are {} of `{}` and {count} of another",
                    ring.name,
                    odd.len(),
                    self.named(odd[0]).map(|n| n.path.join(".")).unwrap_or_default()
                );
                self.error(ring.span, message, vec!["name them one by one, with `#0`, `#1`, …".into()]);
                continue;
            }
            for i in 0..count {
                let mut loads: Vec<OpId> = lists.iter().map(|l| l[i]).collect();
                loads.sort_by_key(|op| self.ops.iter().position(|n| n.op == *op));
                out.push(RingPlan { ring: at, loads });
            }
        }
        out.sort_by_key(|p| self.ops.iter().position(|n| n.op == p.loads[0]));
        out
    }

    fn roles(&mut self) -> Vec<RolePlan> {
        let s = self.s;
        let all = [OpClass::Load, OpClass::Product, OpClass::Write];
        let mut taken: BTreeMap<OpId, (usize, Span)> = BTreeMap::new();
        let mut out = Vec::new();
        for (at, role) in s.roles.iter().enumerate() {
            if let Some(first) = s.roles[..at].iter().find(|r| r.name == role.name) {
                let note = pointing("the first one is here", &s.file(first.span), first.span);
                self.error(role.span, format!("two roles are called `{}`", role.name), vec![note]);
            }
            if self.written_out() {
                self.known_role(role);
                out.push(RolePlan { role: at, ops: Vec::new() });
                continue;
            }
            if role.ops.is_empty() && !MACHINE_ROLES.contains(&role.name.as_str()) {
                let message = format!("role `{}` has no ops", role.name);
                let fix = "name its ops, or call it `producer` or `consumer`, which are the compiler's roles";
                self.error(role.span, message, vec![fix.into()]);
            }
            let mut ops = Vec::new();
            for name in &role.ops {
                for op in self.find(name, role.span, &all, "a role holds staged loads, products and writes") {
                    match taken.get(&op) {
                        Some((other, span)) => {
                            let first = (s.roles[*other].name.as_str(), *span);
                            self.twice("role", op, name.span, first, &role.name);
                        }
                        None => {
                            taken.insert(op, (at, name.span));
                            ops.push(op);
                        }
                    }
                }
            }
            ops.sort_by_key(|op| self.ops.iter().position(|n| n.op == *op));
            out.push(RolePlan { role: at, ops });
        }
        // Names that could not be found say enough for now.
        if !taken.is_empty() && self.errors.is_empty() {
            let missing: Vec<NamedOp> = self.ops.iter().filter(|n| !taken.contains_key(&n.op)).cloned().collect();
            for n in missing {
                let names: Vec<String> = s.roles.iter().map(|r| format!("`{}`", r.name)).collect();
                let notes = vec![
                    self.points_at("the op is written here", n.op),
                    format!("add it to one of {}, or leave the ops of all roles to the compiler", names.join(", ")),
                ];
                let span = s.roles.iter().find(|r| !r.ops.is_empty()).map_or(s.span, |r| r.span);
                self.error(span, format!("`{}` is in no role", n.id()), notes);
            }
        }
        out
    }

    /// Reports a role that a kernel with its roles written out doesn't have.
    fn known_role(&mut self, role: &RoleSpec) {
        let written = &self.kernel.resources.roles;
        let names: Vec<&str> = written.iter().map(|r| r.name.as_str()).chain(MACHINE_ROLES).collect();
        if names.contains(&role.name.as_str()) {
            return;
        }
        let mut notes: Vec<String> = Vec::new();
        if let Some(r) = written.iter().find(|r| Some(r.name.as_str()) == nearest(&role.name, names.iter().copied())) {
            let file = self.kernel.files.get(r.span.file as usize).map_or("", String::as_str);
            notes.push(pointing(&format!("did you mean `{}`, which is written here", r.name), file, r.span));
        }
        let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
        notes.push(format!("roles that can stand here: {}", names.join(", ")));
        self.error(role.span, format!("kernel `{}` has no role `{}`", self.kernel.name, role.name), notes);
    }

    fn splits(&mut self) -> BTreeMap<OpId, ResolvedSplit> {
        let s = self.s;
        let mut out: BTreeMap<OpId, ResolvedSplit> = BTreeMap::new();
        for (at, split) in s.splits.iter().enumerate() {
            for op in self.find(&split.op, split.span, &[OpClass::Product], "only a product is split") {
                if let Some(first) = out.get(&op) {
                    let span = s.splits[first.at].span;
                    let note = pointing("the first one is here", &s.file(span), span);
                    let notes = vec![note, "leave one of them out".to_owned()];
                    self.error(split.span, format!("`{}` is split twice", self.id(op)), notes);
                }
                out.insert(op, ResolvedSplit { at, warps: [split.rows, split.columns, split.depth] });
            }
        }
        out
    }

    fn inflight(&mut self) -> BTreeMap<OpId, usize> {
        let s = self.s;
        let mut out: BTreeMap<OpId, usize> = BTreeMap::new();
        for (at, inflight) in s.inflight.iter().enumerate() {
            for op in self.find(&inflight.op, inflight.span, &[OpClass::Product], "only products run in groups") {
                if let Some(first) = out.insert(op, at) {
                    let span = s.inflight[first].span;
                    let notes = vec![
                        pointing("the first one is here", &s.file(span), span),
                        "leave one of them out".to_owned(),
                    ];
                    self.error(inflight.span, format!("`inflight` is said twice of `{}`", self.id(op)), notes);
                }
            }
        }
        out
    }

    fn turns(&mut self) -> BTreeSet<OpId> {
        let mut out = BTreeSet::new();
        let Some(turns) = &self.s.turns else { return out };
        for name in &turns.ops {
            for op in self.find(name, turns.span, &[OpClass::Product], "warpgroups take turns at products only") {
                if !out.insert(op) {
                    let notes = vec![self.points_at("the product is written here", op), "name it once".to_owned()];
                    self.error(turns.span, format!("`{}` is twice in `turns`", self.id(op)), notes);
                }
            }
        }
        out
    }
}
