//! What a schedule pins and this machine can't do, with the reason and what it can.

use super::{at, pinned_splits, rings, written};
use crate::CodegenError;
use crate::layout::{Assignment, consumer_warps};
use tile_lang::diag::{Diagnostic, Diagnostics, pointing};
use tile_lang::dtype::DType;
use tile_lang::ir::{Kernel, OpId, OpKind, Role, Stage, Type};
use tile_lang::protocol::Turns;
use tile_lang::record::MAX_EXTENTS;
use tile_lang::schedule::{NamedOp, OpClass, Raster, Resolved, Schedule, named_ops, ops_called};
use tile_lang::span::Span;

/// The most products that may run after another one was started.
pub(crate) const MOST_INFLIGHT: usize = 7;

/// CTAs that form a cluster: what every device with clusters can have.
const CLUSTERS: [usize; 3] = [2, 4, 8];

/// Everything about one kernel's schedule that can't be realised, whatever the program around it.
pub(super) fn refused(kernel: &Kernel, s: &Schedule, resolved: &Resolved) -> Vec<Diagnostic> {
    let mut r = Refusals { kernel, s, resolved, ops: named_ops(kernel), errors: Vec::new() };
    r.rings();
    r.roles();
    r.splits();
    r.asynchrony();
    r.cluster();
    r.raster();
    r.errors
}

struct Refusals<'a> {
    kernel: &'a Kernel,
    s: &'a Schedule,
    resolved: &'a Resolved,
    ops: Vec<NamedOp>,
    errors: Vec<Diagnostic>,
}

impl Refusals<'_> {
    fn push(&mut self, span: Span, code: &'static str, message: String, notes: Vec<String>) {
        self.errors.push(at(self.s, span, code, message, notes));
    }

    fn id(&self, op: OpId) -> String {
        self.ops.iter().find(|n| n.op == op).map(NamedOp::id).unwrap_or_default()
    }

    fn here(&self, what: &str, op: OpId) -> String {
        let span = self.kernel.op(op).span;
        pointing(what, self.kernel.files.get(span.file as usize).map_or("", String::as_str), span)
    }

    fn rings(&mut self) {
        let s = self.s;
        if self.kernel.stage >= Stage::Specialised {
            self.errors.append(&mut written::contradictions(self.kernel, s, self.resolved));
        } else if let Err(mut errors) = rings::pinned_groups(self.kernel, s, self.resolved) {
            self.errors.append(&mut errors);
        }
        let mut pinned = s.rings.iter().filter_map(|r| r.stages.map(|n| (r, n)));
        let Some((first, stages)) = pinned.next() else { return };
        for (ring, n) in pinned.filter(|(_, n)| *n != stages) {
            let notes = vec![
                pointing(&format!("`{}` has {stages} stages here", first.name), &s.file(first.span), first.span),
                "all transactions of a CTA pass through one ring of slots, so that its rings have one number of stages"
                    .into(),
                format!("write `stages {stages}` for both, or for one of them only"),
            ];
            self.push(ring.span, "E30", format!("ring `{}` has {n} stages", ring.name), notes);
        }
        for (ring, _) in s.rings.iter().filter_map(|r| r.stages.map(|n| (r, n))).filter(|(_, n)| *n == 0) {
            let fix =
                "write 1 or more; the consumers hold a slot while they read it, so 2 let one copy run ahead".into();
            self.push(ring.span, "E30", format!("ring `{}` has no stages", ring.name), vec![fix]);
        }
    }

    fn roles(&mut self) {
        let s = self.s;
        let mut taken: Vec<(Role, usize)> = Vec::new();
        for plan in &self.resolved.roles {
            let role = &s.roles[plan.role];
            let class = |op: &OpId| OpClass::of(&self.kernel.op(*op).kind);
            let load = plan.ops.iter().find(|op| class(op) == Some(OpClass::Load));
            let other = plan.ops.iter().find(|op| class(op) != Some(OpClass::Load));
            if let (Some(load), Some(other)) = (load, other) {
                let message = format!(
                    "role `{}` both stages (`{}`) and computes (`{}`)",
                    role.name,
                    self.id(*load),
                    self.id(*other)
                );
                let notes = vec![
                    self.here(&format!("`{}` is here", self.id(*load)), *load),
                    self.here(&format!("`{}` is here", self.id(*other)), *other),
                    "one thread fills the ring and the other warps compute: give staged loads a role of their own"
                        .into(),
                ];
                self.push(role.span, "E30", message, notes);
                continue;
            }
            let Some(machine) = super::machine_role(self.kernel, s, self.resolved, plan.role) else { continue };
            match taken.iter().find(|(m, _)| *m == machine) {
                Some((_, first)) => {
                    let first = &s.roles[*first];
                    let what = if machine == Role::Producer { "fills the ring" } else { "computes" };
                    let notes = vec![
                        pointing(&format!("`{}` does too", first.name), &s.file(first.span), first.span),
                        format!("a program has one role that {what}: put their ops into one"),
                    ];
                    self.push(role.span, "E30", format!("role `{}` {what}, as another one does", role.name), notes);
                }
                None => taken.push((machine, plan.role)),
            }
            if machine == Role::Producer && role.warps.is_some_and(|n| n != 1) {
                let message =
                    format!("role `{}` fills the ring with {} warps", role.name, role.warps.unwrap_or_default());
                let fix = "one thread starts all copies, each with one instruction: write `warps 1`".into();
                self.push(role.span, "E30", message, vec![fix]);
            }
            if role.warps == Some(0) || role.registers == Some(0) {
                let fix = "leave the number out to have the compiler choose it".into();
                self.push(role.span, "E30", format!("role `{}` has 0 warps or registers", role.name), vec![fix]);
            }
        }
    }

    /// Warps that the schedule gives to the role that computes.
    fn warps(&self) -> usize {
        let machine = |at| super::machine_role(self.kernel, self.s, self.resolved, at);
        let mut roles = self.s.roles.iter().enumerate().filter(|(at, _)| machine(*at) == Some(Role::Consumer));
        let pinned = roles.find_map(|(_, r)| r.warps);
        pinned.unwrap_or_else(|| consumer_warps(self.kernel))
    }

    fn splits(&mut self) {
        let warps = self.warps();
        let list: Vec<(OpId, usize)> = self.resolved.splits.iter().map(|(op, split)| (*op, split.at)).collect();
        for (op, at) in list {
            let split = &self.s.splits[at];
            let data = self.kernel.op(op);
            let shape = |i: usize| self.kernel.ty(data.operands[i]).shape().to_vec();
            let (acc, a) = (shape(0), shape(1));
            let (m, n, k) = (acc[0], acc[1], a[1]);
            let most = [m / 16, n / 8, k / 16];
            let wanted = [split.rows, split.columns, split.depth];
            let fits = wanted.iter().zip(most).all(|(w, most)| w.is_power_of_two() && *w <= most)
                && wanted.iter().product::<usize>() <= warps;
            if fits {
                continue;
            }
            let [rows, columns, depth] = wanted;
            let message = format!(
                "`{}`, a product of {m}×{n}×{k}, can't be split over {rows}×{columns}×{depth} warps",
                self.id(op)
            );
            let notes = vec![
                self.here("the product is here", op),
                format!(
                    "powers of two: rows up to {} (of 16), columns up to {} (of 8), depth up to {} (of 16 terms), together at most {warps} warps",
                    most[0], most[1], most[2]
                ),
                format!("possible with all warps: {}", possible(most, warps)),
            ];
            self.push(split.span, "E30", message, notes);
        }
    }

    fn asynchrony(&mut self) {
        let list: Vec<(OpId, usize)> = self.resolved.inflight.iter().map(|(op, at)| (*op, *at)).collect();
        for (op, at) in list {
            let inflight = &self.s.inflight[at];
            if inflight.groups > MOST_INFLIGHT {
                let message = format!("{} products can't be left running at `{}`", inflight.groups, self.id(op));
                let notes = vec![
                    self.here("the product is here", op),
                    format!("a wait leaves at most {MOST_INFLIGHT} running"),
                    format!("write `inflight … {MOST_INFLIGHT}`, or leave it out"),
                ];
                self.push(inflight.span, "E30", message, notes);
            }
        }
    }

    fn cluster(&mut self) {
        let Some(cluster) = self.s.cluster.filter(|c| c.value != 1) else { return };
        let mut errors = Vec::new();
        if !CLUSTERS.contains(&cluster.value) {
            let message = format!("{} CTAs can't form a cluster", cluster.value);
            errors.push((message, vec!["write `cluster 2`, 4 or 8, or leave it out".to_owned()]));
        }
        let (mut axes, mut answers, mut stages) = (0, None, false);
        self.kernel.walk(|id, op| {
            if op.kind == OpKind::Work {
                axes = op.results.len();
            }
            stages |= matches!(op.kind, OpKind::Stage | OpKind::RingFill(_));
            if op.kind.writes_array() && !op.results.is_empty() {
                answers = Some(id);
            }
        });
        if axes == 0 || axes >= MAX_EXTENTS {
            let message = format!("items of {axes} axes can't be given to clusters");
            let fix = format!(
                "clusters take neighbouring items of the first axis of `work`, which needs 1 to {}",
                MAX_EXTENTS - 1
            );
            errors.push((message, vec![fix]));
        }
        if !stages {
            let fix = "leave the cluster out, or stage what neighbouring items both read".to_owned();
            errors.push(("a kernel that stages nothing has no copies for a cluster to share".to_owned(), vec![fix]));
        }
        if let Some(id) = answers {
            let notes = vec![
                self.here("this writes an array and gives a result", id),
                "where items don't fill the last cluster, copies of an item run that write nothing: they would have no result here".to_owned(),
                "leave the cluster out".to_owned(),
            ];
            errors.push(("a kernel that needs what a write found can't run in clusters".to_owned(), notes));
        }
        for (message, notes) in errors {
            self.push(cluster.span, "E30", message, notes);
        }
    }

    fn raster(&mut self) {
        let Some(raster) = self.s.raster else { return };
        let mut axes = 0;
        self.kernel.walk(|_, op| {
            if op.kind == OpKind::Work {
                axes = op.results.len();
            }
        });
        if raster.value == Raster::Grouped(0) {
            let fix = "write `grouped 8`, or row-major for no groups".into();
            self.push(raster.span, "E30", "a group of no rows".into(), vec![fix]);
        } else if raster.value != Raster::RowMajor && axes < 2 {
            let axes = if axes == 1 { "1 axis".to_owned() } else { format!("{axes} axes") };
            let message = format!("items can't be taken in {} order: the kernel's work has {axes}", raster.value);
            self.push(raster.span, "E30", message, vec!["an order needs two axes: leave the raster out".into()]);
        }
    }
}

/// Splits that use all warps, or as many as the product has room for.
fn possible(most: [usize; 3], warps: usize) -> String {
    let powers = |most: usize| (0..8).map(|i| 1usize << i).filter(move |n| *n <= most);
    let mut all: Vec<[usize; 3]> = Vec::new();
    for rows in powers(most[0]) {
        for columns in powers(most[1]) {
            all.extend(powers(most[2]).map(|depth| [rows, columns, depth]));
        }
    }
    let used = |s: &[usize; 3]| s.iter().product::<usize>();
    let best = all.iter().map(used).filter(|n| *n <= warps).max().unwrap_or(1);
    let show = |[rows, columns, depth]: &[usize; 3]| format!("{rows}×{columns}×{depth}");
    all.iter().filter(|s| used(s) == best).map(show).collect::<Vec<_>>().join(", ")
}

/// Products that are to be left running or started in turns and can't, and changes of layout that pinned splits would need and that there are none of: partial sums stay with their warps until they are
/// added, and 4-bit codes stay where they were read.
///
/// # Errors
/// `E30` at the split.
pub(crate) fn unconvertible(kernel: &Kernel, layouts: &Assignment) -> Result<(), CodegenError> {
    let Some(s) = kernel.schedule.as_deref() else { return Ok(()) };
    let mut errors = Vec::new();
    let ops = named_ops(kernel);
    let called = s.inflight.iter().flat_map(|i| ops_called(&ops, &i.op.text).into_iter().map(move |n| (n, i)));
    for (op, inflight) in called {
        let product = op.class == OpClass::Product;
        if product && inflight.groups > 0 && !layouts.warpgroups.contains(&op.op) {
            let span = kernel.op(op.op).span;
            let file = kernel.files.get(span.file as usize).map_or("", String::as_str);
            let notes = vec![
                pointing("the product is here", file, span),
                "products that whole warpgroups carry out run by themselves: on sm_90a, 64 rows for each warpgroup, 64 to 256 columns, the second operand staged, no split but over rows; others are done when their instructions are".to_owned(),
                "write `inflight … 0`, or leave it out".to_owned(),
            ];
            errors.push(at(s, inflight.span, "E30", format!("`{}` can't be left running", op.id()), notes));
        }
    }
    errors.extend(without_partners(kernel, s, layouts));
    if !errors.is_empty() || s.splits.is_empty() {
        return if errors.is_empty() { Ok(()) } else { Err(CodegenError::Program(Diagnostics(errors))) };
    }
    let definitions = kernel.definitions();
    let mut values: Vec<_> = layouts.demands.iter().collect();
    values.sort_by_key(|(v, _)| **v);
    for (v, demands) in values {
        let Some(native) = layouts.native.get(v) else { continue };
        let codes = matches!(kernel.ty(*v), Type::Tile(DType::E2m1, _));
        let moved = |to: &&crate::layout::Layout| !native.same_threads(to);
        let Some(to) = demands.iter().find(moved) else { continue };
        if !(codes || native.is_partial() && to.is_partial()) {
            continue;
        }
        let why = if codes {
            "4-bit codes are used where they were read"
        } else {
            "sums that are split over warps can't be split in another way before they are added up"
        };
        let split = &s.splits[0];
        let mut notes = vec![why.to_owned()];
        if let Some(op) = definitions[v.index()] {
            let span = kernel.op(op).span;
            let file = kernel.files.get(span.file as usize).map_or("", String::as_str);
            notes.push(pointing("the value is made here", file, span));
        }
        notes.push("give all products that add to one accumulator the same split".into());
        errors.push(at(s, split.span, "E30", "these splits don't fit together".into(), notes));
        break;
    }
    if errors.is_empty() { Ok(()) } else { Err(CodegenError::Program(Diagnostics(errors))) }
}

/// Products that are to be started in turns, and are no warpgroup's or have one warpgroup alone.
fn without_partners(kernel: &Kernel, s: &Schedule, layouts: &Assignment) -> Vec<Diagnostic> {
    let Some(turns) = &s.turns else { return Vec::new() };
    let ops = named_ops(kernel);
    let warps = consumer_warps(kernel);
    let called = turns.ops.iter().flat_map(|name| ops_called(&ops, &name.text));
    let why = |op: &NamedOp| {
        if !layouts.warpgroups.contains(&op.op) {
            Some("products that whole warpgroups carry out have turns: on sm_90a, 64 rows for each warpgroup, 64 to 256 columns, the second operand staged, no split but over rows".to_owned())
        } else if warps < 2 * Turns::WARPS {
            Some(format!("{warps} warps are one warpgroup, which has nobody to take turns with"))
        } else {
            None
        }
    };
    let wrong = called.filter(|op| op.class == OpClass::Product).filter_map(|op| Some((why(op)?, op)));
    let diagnostic = |(why, op): (String, &NamedOp)| {
        let span = kernel.op(op.op).span;
        let file = kernel.files.get(span.file as usize).map_or("", String::as_str);
        let notes =
            vec![pointing("the product is here", file, span), why, format!("leave `{}` out of `turns`", op.id())];
        at(s, turns.span, "E30", format!("`{}` can't be started in turns", op.id()), notes)
    };
    wrong.map(diagnostic).collect()
}

/// Warps meet between two products that a schedule has started in one turn: those that wait for the turn are not there.
pub(crate) fn meeting_in_turn(kernel: &Kernel, product: OpId) -> CodegenError {
    let ops = named_ops(kernel);
    let id = ops.iter().find(|n| n.op == product).map(NamedOp::id).unwrap_or_default();
    let span = kernel.op(product).span;
    let file = kernel.files.get(span.file as usize).map_or("", String::as_str);
    let notes = vec![
        pointing("the turn begins here", file, span),
        "those that wait for their turn are not there: between the products of one turn nothing may be moved between warps".to_owned(),
        "name only one of these products in `turns`, or those before or behind the meeting".to_owned(),
    ];
    let message = format!("all warps meet while one warpgroup has its turn at `{id}`");
    let written = kernel.schedule.as_deref().and_then(|s| Some((s, s.turns.as_ref()?)));
    let diagnostic = match written {
        Some((s, turns)) => at(s, turns.span, "E30", message, notes),
        None => Diagnostic { code: "E30", message, file: file.into(), span, notes },
    };
    CodegenError::Program(Diagnostics(vec![diagnostic]))
}

/// An internal error that comes of a split which the user pinned is told as what it is: a split that can't be realised.
pub(crate) fn with_pinned_split(kernels: &[&Kernel], error: CodegenError) -> CodegenError {
    let CodegenError::Lowering { kernel, message } = &error else { return error };
    let pinned = kernels.iter().find(|k| k.name == *kernel && !pinned_splits(k).is_empty());
    let Some(s) = pinned.and_then(|k| k.schedule.as_deref()) else { return error };
    let Some(split) = s.splits.first() else { return error };
    let fix = "try another split, or leave it to the compiler".to_owned();
    let notes = vec![message.clone(), fix];
    CodegenError::Program(Diagnostics(vec![at(s, split.span, "E30", "this split can't be realised".into(), notes)]))
}
