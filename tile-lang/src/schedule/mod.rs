//! Schedules: how a kernel is to run, as data beside its body.
//!
//! A schedule names ops of one kernel ([`ops`]) and pins decisions that the compiler would take by itself: which staged loads
//! share a slot of a ring, which ops belong to which role, how many warps and registers a role has, how a product is split
//! over warps, in which order work items are taken. What it doesn't name stays the compiler's choice; what it names is
//! honoured or an error, never ignored.
//!
//! The same data is written in three ways: as a Rust function under `#[tile::schedule(kernel)]`, as `.sched` text
//! ([`parse`], `Display`), and inside of a kernel's own text form. [`diff`] says how two schedules differ.

mod def;
mod diff;
mod ops;
mod order;
mod parse;
mod print;
mod resolve;

pub use def::{Arguments, Parameter, ScheduleDef};
pub use diff::diff;
pub use ops::{NamedOp, OpClass, named_ops, ops_called};
pub use order::apply as apply_order;
pub(crate) use parse::parse_at;
pub use parse::{parse, parse_all};
pub(crate) use print::Places;
pub use resolve::{Resolved, ResolvedSplit, RingPlan, RolePlan, resolve};

use crate::diag::Diagnostics;
use crate::ir::Kernel;
use crate::span::Span;
use serde::{Deserialize, Serialize};
use std::panic::Location;

/// A schedule of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// The kernel that it is for; empty until it is known.
    pub kernel: String,
    /// Files that its spans point into.
    pub files: Vec<String>,
    /// Where it is written.
    pub span: Span,
    /// Which staged loads share a slot of a ring.
    pub rings: Vec<Ring>,
    /// Which ops belong to which role, and what the role has.
    pub roles: Vec<RoleSpec>,
    /// How products are split over the warps of their role.
    pub splits: Vec<Split>,
    /// How many groups of a product may be left running.
    pub inflight: Vec<InFlight>,
    /// Products that warpgroups start in turns.
    pub turns: Option<Turns>,
    /// Order in which work items are taken.
    pub raster: Option<Pinned<Raster>>,
    /// CTAs that form a cluster.
    pub cluster: Option<Pinned<usize>>,
}

/// The name of an op: labels of loops and its own name with dots between them, as `k.codes`. Labels may be left out; `#1`
/// at the end means the second of several ops that share a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OpName {
    /// As written.
    pub text: String,
    /// Where.
    pub span: Span,
}

impl From<&str> for OpName {
    fn from(text: &str) -> Self {
        OpName { text: text.into(), span: Span::NONE }
    }
}

impl From<String> for OpName {
    fn from(text: String) -> Self {
        OpName { text, span: Span::NONE }
    }
}

impl From<&String> for OpName {
    fn from(text: &String) -> Self {
        OpName { text: text.clone(), span: Span::NONE }
    }
}

/// Staged loads that share a slot. Without ops it stands for all staged loads, grouped as the compiler likes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// Its name, for people.
    pub name: String,
    /// The loads, in order.
    pub ops: Vec<OpName>,
    /// How many slots there are.
    pub stages: Option<usize>,
    /// Where it is written.
    pub span: Span,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSpec {
    /// Its name. One without ops is called `producer` or `consumer`.
    pub name: String,
    /// Warps that run it.
    pub warps: Option<usize>,
    /// Registers of each of its threads.
    pub registers: Option<usize>,
    /// Its ops. Where one role lists its ops, all roles do.
    pub ops: Vec<OpName>,
    /// Where it is written.
    pub span: Span,
}

/// How a product is split over warps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The product.
    pub op: OpName,
    /// Warps along its rows.
    pub rows: usize,
    /// Warps along its columns.
    pub columns: usize,
    /// Warps along its sums; each of them adds a part of the terms.
    pub depth: usize,
    /// Where it is written.
    pub span: Span,
}

/// How many groups of asynchronous products may be left running when the next one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// The product.
    pub op: OpName,
    /// Groups.
    pub groups: usize,
    /// Where it is written.
    pub span: Span,
}

/// Products that the warpgroups of the consumers start in turns: none starts its own before the one in front of it has started the same ones.
/// While the products of one run, the others compute. Without ops no product waits for a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    /// The products.
    pub ops: Vec<OpName>,
    /// Where it is written.
    pub span: Span,
}

/// A value with the place where it is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub span: Span,
}

/// In which order the items of a grid are taken: item 0 first, item 1 next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Raster {
    /// The last coordinate changes fastest.
    RowMajor,
    /// The first coordinate changes fastest.
    ColumnMajor,
    /// In bands of this many rows, column by column inside of a band: neighbours share rows and columns. The last two axes
    /// are rows and columns.
    Grouped(usize),
}

impl Schedule {
    /// A schedule that pins nothing.
    #[track_caller]
    pub fn new() -> Self {
        let mut s = Schedule::default();
        s.span = s.here();
        s
    }

    /// The place of the builder's caller.
    #[track_caller]
    fn here(&mut self) -> Span {
        let at = Location::caller();
        let file = match self.files.iter().position(|f| f == at.file()) {
            Some(i) => i,
            None => {
                self.files.push(at.file().into());
                self.files.len() - 1
            }
        };
        Span { file: file as u32, line: at.line(), col: at.column(), len: 1 }
    }

    /// Staged loads that share a slot: of each, one copy goes into every slot.
    #[track_caller]
    #[must_use]
    pub fn ring<N: Into<OpName>>(mut self, name: &str, ops: impl IntoIterator<Item = N>) -> Self {
        let span = self.here();
        let ops = ops.into_iter().map(Into::into).collect();
        self.rings.push(Ring { name: name.into(), ops, stages: None, span });
        self
    }

    /// How many slots a ring has; `name` is one given to [`Schedule::ring`] or, for the loads that the compiler groups, a new one.
    #[track_caller]
    #[must_use]
    pub fn stages(mut self, name: &str, stages: usize) -> Self {
        let span = self.here();
        match self.rings.iter_mut().rfind(|r| r.name == name) {
            Some(ring) => ring.stages = Some(stages),
            None => self.rings.push(Ring { name: name.into(), ops: Vec::new(), stages: Some(stages), span }),
        }
        self
    }

    /// The ops of a role.
    #[track_caller]
    #[must_use]
    pub fn role<N: Into<OpName>>(mut self, name: &str, ops: impl IntoIterator<Item = N>) -> Self {
        let span = self.here();
        let ops = ops.into_iter().map(Into::into).collect();
        self.roles.push(RoleSpec { name: name.into(), warps: None, registers: None, ops, span });
        self
    }

    /// How many warps a role has: one given to [`Schedule::role`], or `producer` or `consumer`.
    #[track_caller]
    #[must_use]
    pub fn warps(mut self, role: &str, warps: usize) -> Self {
        let span = self.here();
        self.role_named(role, span).warps = Some(warps);
        self
    }

    /// How many registers each thread of a role has.
    #[track_caller]
    #[must_use]
    pub fn registers(mut self, role: &str, registers: usize) -> Self {
        let span = self.here();
        self.role_named(role, span).registers = Some(registers);
        self
    }

    fn role_named(&mut self, name: &str, span: Span) -> &mut RoleSpec {
        let at = match self.roles.iter().rposition(|r| r.name == name) {
            Some(at) => at,
            None => {
                self.roles.push(RoleSpec { name: name.into(), warps: None, registers: None, ops: Vec::new(), span });
                self.roles.len() - 1
            }
        };
        &mut self.roles[at]
    }

    /// How many warps split a product along its rows, its columns and its sums.
    #[track_caller]
    #[must_use]
    pub fn split(mut self, op: impl Into<OpName>, [rows, columns, depth]: [usize; 3]) -> Self {
        let span = self.here();
        self.splits.push(Split { op: op.into(), rows, columns, depth, span });
        self
    }

    /// How many groups of a product may be left running.
    #[track_caller]
    #[must_use]
    pub fn inflight(mut self, op: impl Into<OpName>, groups: usize) -> Self {
        let span = self.here();
        self.inflight.push(InFlight { op: op.into(), groups, span });
        self
    }

    /// Products that warpgroups start in turns, beside those that were named before.
    #[track_caller]
    #[must_use]
    pub fn turns<N: Into<OpName>>(mut self, ops: impl IntoIterator<Item = N>) -> Self {
        let span = self.here();
        let ops = ops.into_iter().map(Into::into);
        self.turns.get_or_insert_with(|| Turns { ops: Vec::new(), span }).ops.extend(ops);
        self
    }

    /// No product waits for a turn.
    #[track_caller]
    #[must_use]
    pub fn without_turns(mut self) -> Self {
        let span = self.here();
        self.turns = Some(Turns { ops: Vec::new(), span });
        self
    }

    /// In which order work items are taken.
    #[track_caller]
    #[must_use]
    pub fn raster(mut self, raster: Raster) -> Self {
        let span = self.here();
        self.raster = Some(Pinned { value: raster, span });
        self
    }

    /// How many CTAs form a cluster.
    #[track_caller]
    #[must_use]
    pub fn cluster(mut self, ctas: usize) -> Self {
        let span = self.here();
        self.cluster = Some(Pinned { value: ctas, span });
        self
    }

    /// Whether it pins nothing.
    pub fn is_empty(&self) -> bool {
        self.rings.is_empty()
            && self.roles.is_empty()
            && self.splits.is_empty()
            && self.inflight.is_empty()
            && self.turns.is_none()
            && self.raster.is_none()
            && self.cluster.is_none()
    }

    /// Gives a kernel this schedule.
    ///
    /// # Errors
    /// Everything that is wrong with the names in it (`E20`).
    pub fn attach(self, mut kernel: Kernel) -> Result<Kernel, Diagnostics> {
        resolve(&kernel, &self)?;
        kernel.schedule = Some(Box::new(self));
        Ok(kernel)
    }

    /// The file that a span of this schedule points into.
    pub fn file(&self, span: Span) -> String {
        self.files.get(span.file as usize).filter(|_| span.is_known()).cloned().unwrap_or_default()
    }

    /// Visits every span.
    fn spans_mut(&mut self, f: &mut dyn FnMut(&mut Span)) {
        f(&mut self.span);
        for r in &mut self.rings {
            f(&mut r.span);
            r.ops.iter_mut().for_each(|o| f(&mut o.span));
        }
        for r in &mut self.roles {
            f(&mut r.span);
            r.ops.iter_mut().for_each(|o| f(&mut o.span));
        }
        for s in &mut self.splits {
            f(&mut s.span);
            f(&mut s.op.span);
        }
        for i in &mut self.inflight {
            f(&mut i.span);
            f(&mut i.op.span);
        }
        if let Some(t) = &mut self.turns {
            f(&mut t.span);
            t.ops.iter_mut().for_each(|o| f(&mut o.span));
        }
        self.raster.iter_mut().for_each(|p| f(&mut p.span));
        self.cluster.iter_mut().for_each(|p| f(&mut p.span));
    }

    /// The same without places: two schedules that pin the same are equal so.
    #[must_use]
    pub fn without_places(&self) -> Schedule {
        let mut out = self.clone();
        out.files.clear();
        out.spans_mut(&mut |s| *s = Span::NONE);
        out
    }
}
