//! Slots, views and roles: what rustc's ownership can't say, or says without the reason. Every slot is committed and every view
//! released, in the block that took it; no tile of a view is read after that; roles stand in the kernel's outermost block and change nothing outside.

use crate::ast::{Block, Expr, ExprKind, Function, FunctionKind, Stmt, VarId};
use crate::errors::{Errors, ROLE, SLOT};
use crate::time::{Child, Times, carried, for_children};
use proc_macro2::Span;
use std::collections::BTreeMap;

/// Reports what is used wrongly.
pub fn check(function: &Function, errors: &mut Errors) {
    let times = Times { vars: &function.vars, generics: &function.generics };
    let mut linear = Linear {
        times,
        errors,
        path: Vec::new(),
        scope: Vec::new(),
        next: 0,
        held: BTreeMap::new(),
        tiles: BTreeMap::new(),
    };
    for s in &function.body.stmts {
        match s {
            Stmt::Expr(e) => linear.outermost(e, function.kind),
            other => linear.stmt(other),
        }
    }
    if let Some(tail) = &function.body.tail {
        linear.outermost(tail, function.kind);
    }
    linear.report();
}

/// What a value holds of the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Slot,
    View,
}

impl Holds {
    /// What must be done with it, and what it is when that was done.
    fn ending(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Holds::Slot => ("this slot", "committed", "call `.commit()`"),
            Holds::View => ("this view", "released", "call `.release()`"),
        }
    }

    /// The message and the fix for one that is never ended.
    fn never(self) -> (&'static str, &'static str) {
        match self {
            Holds::Slot => (
                "this slot is never committed",
                "call `.commit()` when all parts are filled: the other role waits for it",
            ),
            Holds::View => (
                "this view is never released",
                "call `.release()` after the last read: a slot that isn't given back is never filled again",
            ),
        }
    }
}

/// A binding that holds a slot.
struct Held {
    holds: Holds,
    taken: Span,
    /// Device loops and conditions around it, outermost first.
    path: Vec<usize>,
    ends: Vec<End>,
}

/// Where a slot is committed or a view released.
struct End {
    at: Span,
    /// Device loops and conditions around it.
    path: Vec<usize>,
    /// All blocks around it, host ones too. What stands later in the innermost of them comes after the end.
    scope: Vec<usize>,
}

struct Linear<'a> {
    times: Times<'a>,
    errors: &'a mut Errors,
    path: Vec<usize>,
    scope: Vec<usize>,
    next: usize,
    held: BTreeMap<VarId, Held>,
    /// Bindings of tiles that lie in a slot, with the view that holds it.
    tiles: BTreeMap<VarId, VarId>,
}

impl Linear<'_> {
    fn outermost(&mut self, e: &Expr, kind: FunctionKind) {
        match &e.kind {
            ExprKind::Role { body, .. } if kind == FunctionKind::Kernel => self.role(e, body),
            _ => self.dropped(e),
        }
    }

    fn role(&mut self, e: &Expr, body: &Block) {
        for v in carried(&[body]) {
            let what = format!("this role changes `{}`, which lives outside of it", self.times.vars[v].name);
            let fix = "declare it in the role; roles share nothing but the ring";
            self.errors.push(e.span, ROLE, what, fix);
        }
        self.block(body);
    }

    fn block(&mut self, b: &Block) {
        b.stmts.iter().for_each(|s| self.stmt(s));
        if let Some(tail) = &b.tail {
            self.dropped(tail);
        }
    }

    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let(l) => {
                let Some(init) = &l.init else { return };
                self.expr(init);
                if let Some(view) = self.view_of(init) {
                    self.tiles.extend(l.pat.vars.iter().map(|(v, _)| (*v, view)));
                }
                let Some(holds) = self.holds(init) else { return };
                match &l.pat.vars[..] {
                    [(v, _)] if l.pat.tuple.is_none() => {
                        let held = Held { holds, taken: init.span, path: self.path.clone(), ends: Vec::new() };
                        self.held.insert(*v, held);
                    }
                    _ => self.never(holds, init.span),
                }
            }
            Stmt::Expr(e) => self.dropped(e),
            Stmt::Item(_) | Stmt::Name(_) => {}
        }
    }

    /// An expression whose value nobody takes.
    fn dropped(&mut self, e: &Expr) {
        self.expr(e);
        if let Some(holds) = self.holds(e) {
            self.never(holds, e.span);
        }
    }

    fn never(&mut self, holds: Holds, span: Span) {
        let (what, fix) = holds.never();
        self.errors.push(span, SLOT, what, fix);
    }

    /// What an expression's value holds.
    fn holds(&self, e: &Expr) -> Option<Holds> {
        match &e.kind {
            ExprKind::Method(recv, name, _, args) if self.times.device(recv) => {
                match (name.to_string().as_str(), args.len()) {
                    ("acquire", 0) => Some(Holds::Slot),
                    ("fill" | "fill_at", 2) => Some(Holds::Slot),
                    ("wait", 0) => Some(Holds::View),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The view whose slot an expression's tiles lie in: `view.get()`, and parts and transposes of such tiles.
    fn view_of(&self, e: &Expr) -> Option<VarId> {
        match &e.kind {
            ExprKind::Tiles(view, _) => match &view.kind {
                ExprKind::Var(v, _) if self.held.contains_key(v) => Some(*v),
                _ => None,
            },
            ExprKind::Var(v, _) => self.tiles.get(v).copied(),
            ExprKind::Method(recv, name, _, _) if name == "t" || name == "slice" => self.view_of(recv),
            ExprKind::Field(tuple, _) => self.view_of(tuple),
            _ => None,
        }
    }

    /// A tile of a view may be read until the release: rustc refuses the release then, without saying what it is for.
    fn read(&mut self, v: VarId, name: &str, at: Span) {
        let Some(view) = self.tiles.get(&v) else { return };
        let Some(end) = self.held[view].ends.iter().find(|end| self.scope.starts_with(&end.scope)) else { return };
        let view = &self.times.vars[*view].name;
        let what = format!(
            "`{name}` is read after its view `{view}` was released on line {}: the next copy may have overwritten it",
            end.at.start().line
        );
        let fix = format!("move `{view}.release()` below the last read of `{name}`");
        self.errors.push(at, SLOT, what, fix);
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Var(v, name) => return self.read(*v, &name.to_string(), name.span()),
            ExprKind::Assign { place, op: None, value } => {
                // Another tile from here on.
                if let ExprKind::Var(v, _) = &place.kind {
                    self.expr(value);
                    self.tiles.remove(v);
                    return;
                }
            }
            ExprKind::Role { body, .. } => {
                let fix =
                    "write roles as statements of the kernel's outermost block; loops and conditions go inside of them";
                self.errors.push(e.span, ROLE, "a role can't stand here", fix);
                return self.block(body);
            }
            ExprKind::Method(recv, name, _, _) => {
                let ends = ["commit", "release", "fill", "fill_at"].iter().any(|m| name == m);
                if let (ExprKind::Var(v, _), true) = (&recv.kind, ends) {
                    let end = End { at: e.span, path: self.path.clone(), scope: self.scope.clone() };
                    if let Some(held) = self.held.get_mut(v) {
                        held.ends.push(end);
                    }
                }
            }
            _ => {}
        }
        let device = match &e.kind {
            ExprKind::For { iter, .. } => self.times.device_loop(iter),
            ExprKind::If { condition, .. } => self.times.device(condition),
            _ => false,
        };
        let parent = &e.kind;
        for_children(e, &mut |c| match c {
            Child::Expr(e) => match &e.kind {
                // `else { … }` and `else if` are blocks of the condition.
                ExprKind::Block(b) => self.inside(device, |l| l.block(b)),
                ExprKind::If { .. } => self.inside(device, |l| l.expr(e)),
                // One arm's release is none for the next.
                _ if matches!(parent, ExprKind::Match(..)) => self.inside(device, |l| l.expr(e)),
                _ => self.expr(e),
            },
            Child::Block(b) => self.inside(device, |l| l.block(b)),
        });
    }

    fn inside(&mut self, device: bool, f: impl FnOnce(&mut Self)) {
        self.next += 1;
        self.scope.push(self.next);
        if device {
            self.path.push(self.next);
        }
        f(self);
        if device {
            self.path.pop();
        }
        self.scope.pop();
    }

    fn report(self) {
        let Linear { errors, held, .. } = self;
        for Held { holds, taken, path, ends } in held.into_values() {
            let (what, ended, how) = holds.ending();
            match ends.iter().find(|end| end.path != path) {
                _ if ends.is_empty() => {
                    let (what, fix) = holds.never();
                    errors.push(taken, SLOT, what, fix);
                }
                Some(end) => {
                    let line = taken.start().line;
                    let message = format!(
                        "{what}, taken on line {line}, is {ended} under a loop or condition that it was not taken in"
                    );
                    let fix = format!(
                        "{how} in the block that took it, so that it happens once on every way through the kernel"
                    );
                    errors.push(end.at, SLOT, message, fix);
                }
                None => {}
            }
        }
    }
}
