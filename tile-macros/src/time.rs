//! Binding time: which expressions are device values, which variables device control flow changes.

use crate::ast::{Block, Expr, ExprKind, Function, Generic, GenericParam, Stmt, Var, VarId};
use crate::parse::types;
use std::collections::BTreeSet;

/// Methods of lists of device values, run as plain Rust.
pub const LIST_METHODS: [&str; 13] = [
    "len",
    "is_empty",
    "iter",
    "into_iter",
    "push",
    "clone",
    "to_vec",
    "copied",
    "cloned",
    "enumerate",
    "rev",
    "zip",
    "swap",
];

/// Methods that give nothing.
pub const UNIT_METHODS: [&str; 7] =
    ["store", "store_at", "store_masked", "store_masked_at", "set", "prefetch", "prefetch_at"];

/// Methods that end the life of a slot or a view; they give nothing.
pub const ENDS: [&str; 2] = ["commit", "release"];

/// What binding-time questions are answered from.
pub struct Times<'a> {
    /// All bindings.
    pub vars: &'a [Var],
    /// The function's generics.
    pub generics: &'a [GenericParam],
}

impl Times<'_> {
    /// Whether an expression is a device value, or a list or tuple of such.
    pub fn device(&self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Var(v, _) => self.vars[*v].device,
            ExprKind::Leaf(_) | ExprKind::Opaque(..) | ExprKind::Macro(..) | ExprKind::Require(_) => false,
            ExprKind::Assert { .. } | ExprKind::Dbg(..) | ExprKind::Mark(_) => false,
            ExprKind::For { .. } | ExprKind::Assign { .. } | ExprKind::Role { .. } => false,
            ExprKind::Unary(_, x)
            | ExprKind::Prefix(_, x)
            | ExprKind::Cast(x, _)
            | ExprKind::Field(x, _)
            | ExprKind::Index(x, _) => self.device(x),
            ExprKind::Binary(_, a, b) => self.device(a) || self.device(b),
            ExprKind::Lang(name, _, _, args) => {
                name == "work" || ["mma", "mma_tf32"].iter().any(|m| name == m) || self.any(args)
            }
            ExprKind::Construct(..) | ExprKind::Keep { .. } | ExprKind::Ring { .. } | ExprKind::Tiles(..) => true,
            ExprKind::Call(path, args) => self.any(args) || self.names_generics(path),
            ExprKind::Method(recv, name, turbofish, args) => {
                if LIST_METHODS.iter().any(|m| name == m) {
                    return name != "len" && name != "is_empty" && self.device(recv);
                }
                self.device(recv) || self.any(args) || (name == "cast" && turbofish.is_some())
            }
            ExprKind::Array { items, .. } | ExprKind::Tuple(items) => self.any(items),
            ExprKind::Repeat { item, .. } => self.device(item),
            ExprKind::Block(b) => self.block_device(b),
            ExprKind::If { condition, then, otherwise, .. } => {
                let valued = then.tail.is_some() && otherwise.is_some();
                let branches = self.block_device(then) || otherwise.as_ref().is_some_and(|e| self.device(e));
                valued && !self.unit_block(then) && (self.device(condition) || branches)
            }
            ExprKind::Match(_, arms) => arms.iter().any(|a| self.device(&a.body)),
            ExprKind::Range { from, to, .. } => [from, to].into_iter().flatten().any(|e| self.device(e)),
        }
    }

    fn block_device(&self, b: &Block) -> bool {
        b.tail.as_ref().is_some_and(|t| self.device(t))
    }

    fn unit_block(&self, b: &Block) -> bool {
        b.tail.as_ref().is_none_or(|t| self.unit(t))
    }

    /// Whether an expression certainly gives nothing.
    pub fn unit(&self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Method(recv, name, _, args) => {
                let unit = UNIT_METHODS.iter().chain(&ENDS).any(|m| name == m);
                (unit && self.device(recv)) || (assigns_receiver(name) && changes_receiver(name, args.len()))
            }
            ExprKind::Assign { .. } | ExprKind::For { .. } | ExprKind::Require(_) | ExprKind::Role { .. } => true,
            ExprKind::Assert { .. } | ExprKind::Dbg(..) | ExprKind::Mark(_) => true,
            ExprKind::Block(b) => self.unit_block(b),
            ExprKind::If { then, otherwise, .. } => otherwise.is_none() || self.unit_block(then),
            ExprKind::Match(_, arms) => arms.iter().all(|a| self.unit(&a.body)),
            ExprKind::Tuple(items) => items.is_empty(),
            _ => false,
        }
    }

    fn any(&self, list: &[Expr]) -> bool {
        list.iter().any(|e| self.device(e))
    }

    /// Whether a call's turbofish names one of the function's own generics: then it can only be a tile function, as
    /// they are values while staging.
    fn names_generics(&self, path: &syn::ExprPath) -> bool {
        let Some(last) = path.path.segments.last() else { return false };
        let syn::PathArguments::AngleBracketed(args) = &last.arguments else { return false };
        let own = |name: &syn::Ident| self.generics.iter().any(|g| g.name == *name);
        types::generic_args(args, self.generics).is_ok_and(|list| {
            list.iter().any(|g| match g {
                Generic::Int(syn::Expr::Path(p)) => p.path.get_ident().is_some_and(own),
                Generic::Elem(crate::ast::Elem::Param(_)) => true,
                _ => false,
            })
        })
    }

    /// Whether a loop over `iter` is a loop of the IR.
    pub fn device_loop(&self, iter: &Expr) -> bool {
        match &iter.kind {
            ExprKind::Lang(name, ..) => name == "pipelined",
            ExprKind::Range { .. } => self.device(iter),
            _ => false,
        }
    }

    /// Whether evaluating an expression early could read what its guard forbids.
    pub fn reads_memory(&self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Method(recv, name, _, args) => {
                (name == "at" && self.device(recv))
                    || self.reads_memory(recv)
                    || args.iter().any(|e| self.reads_memory(e))
            }
            ExprKind::Call(_, args) => self.any(args),
            ExprKind::Unary(_, x)
            | ExprKind::Prefix(_, x)
            | ExprKind::Cast(x, _)
            | ExprKind::Field(x, _)
            | ExprKind::Index(x, _) => self.reads_memory(x),
            ExprKind::Binary(_, a, b) => self.reads_memory(a) || self.reads_memory(b),
            ExprKind::Lang(_, _, _, args) => args.iter().any(|e| self.reads_memory(e)),
            ExprKind::Block(_) | ExprKind::If { .. } | ExprKind::Match(..) => true,
            _ => false,
        }
    }
}

/// The variables that a block changes and that live outside of it.
pub fn carried(blocks: &[&Block]) -> BTreeSet<VarId> {
    let mut sets = Sets::default();
    for b in blocks {
        sets.block(b);
    }
    &sets.assigned - &sets.declared
}

/// As [`carried`], for an expression.
pub fn carried_by(e: &Expr) -> BTreeSet<VarId> {
    let mut sets = Sets::default();
    sets.expr(e);
    &sets.assigned - &sets.declared
}

#[derive(Default)]
struct Sets {
    assigned: BTreeSet<VarId>,
    declared: BTreeSet<VarId>,
}

impl Sets {
    fn block(&mut self, b: &Block) {
        for s in &b.stmts {
            match s {
                Stmt::Let(l) => {
                    self.declared.extend(l.pat.vars.iter().map(|(v, _)| *v));
                    l.init.iter().for_each(|e| self.expr(e));
                }
                Stmt::Expr(e) => self.expr(e),
                Stmt::Item(_) | Stmt::Name(_) => {}
            }
        }
        b.tail.iter().for_each(|e| self.expr(e));
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Assign { place, .. } => self.assigned.extend(place.base()),
            ExprKind::Method(recv, name, _, args) if changes_receiver(name, args.len()) => {
                self.assigned.extend(recv.base())
            }
            ExprKind::For { pat, .. } => self.declared.extend(pat.vars.iter().map(|(v, _)| *v)),
            ExprKind::Match(_, arms) => {
                arms.iter().for_each(|a| self.declared.extend(a.pat.vars.iter().map(|(v, _)| *v)))
            }
            _ => {}
        }
        for_children(e, &mut |c| match c {
            Child::Expr(e) => self.expr(e),
            Child::Block(b) => self.block(b),
        });
    }
}

/// Whether a method is a product, which gives its receiver a new value.
pub fn assigns_receiver(name: &proc_macro2::Ident) -> bool {
    ["mma", "mma_tf32", "mma_scaled"].iter().any(|m| name == m)
}

/// Whether a method changes the variable that it is called on.
pub fn changes_receiver(name: &proc_macro2::Ident, args: usize) -> bool {
    (["mma", "mma_tf32"].iter().any(|m| name == m) && args == 2)
        || (name == "mma_scaled" && args == 4)
        || (name == "push" && args == 1)
        || (name == "swap" && args == 2)
}

/// A direct part of an expression.
pub enum Child<'a> {
    /// An expression.
    Expr(&'a Expr),
    /// A block.
    Block(&'a Block),
}

/// Visits the direct parts of an expression in order.
pub fn for_children<'a>(e: &'a Expr, f: &mut dyn FnMut(Child<'a>)) {
    match &e.kind {
        ExprKind::Var(..) | ExprKind::Leaf(_) | ExprKind::Opaque(..) | ExprKind::Macro(..) | ExprKind::Ring { .. } => {}
        ExprKind::Mark(_) => {}
        ExprKind::Assert { condition, values, .. } => {
            f(Child::Expr(condition));
            values.iter().for_each(|e| f(Child::Expr(e)));
        }
        ExprKind::Dbg(_, x)
        | ExprKind::Tiles(x, _)
        | ExprKind::Unary(_, x)
        | ExprKind::Prefix(_, x)
        | ExprKind::Cast(x, _)
        | ExprKind::Field(x, _) => f(Child::Expr(x)),
        ExprKind::Binary(_, a, b) | ExprKind::Index(a, b) => {
            f(Child::Expr(a));
            f(Child::Expr(b));
        }
        ExprKind::Lang(_, _, _, list)
        | ExprKind::Construct(_, _, list)
        | ExprKind::Call(_, list)
        | ExprKind::Array { items: list, .. }
        | ExprKind::Tuple(list) => list.iter().for_each(|e| f(Child::Expr(e))),
        ExprKind::Method(recv, _, _, list) => {
            f(Child::Expr(recv));
            list.iter().for_each(|e| f(Child::Expr(e)));
        }
        ExprKind::Keep { recv, condition, other, .. } => {
            f(Child::Expr(recv));
            f(Child::Expr(other));
            f(Child::Expr(condition));
        }
        ExprKind::Repeat { item, len, .. } => {
            f(Child::Expr(item));
            f(Child::Expr(len));
        }
        ExprKind::Block(b) => f(Child::Block(b)),
        ExprKind::If { condition, then, otherwise, .. } => {
            f(Child::Expr(condition));
            f(Child::Block(then));
            otherwise.iter().for_each(|e| f(Child::Expr(e)));
        }
        ExprKind::Match(x, arms) => {
            f(Child::Expr(x));
            for a in arms {
                a.guard.iter().for_each(|e| f(Child::Expr(e)));
                f(Child::Expr(&a.body));
            }
        }
        ExprKind::For { iter, body, .. } => {
            f(Child::Expr(iter));
            f(Child::Block(body));
        }
        ExprKind::Range { from, to, .. } => [from, to].into_iter().flatten().for_each(|e| f(Child::Expr(e))),
        ExprKind::Assign { place, value, .. } => {
            f(Child::Expr(place));
            f(Child::Expr(value));
        }
        ExprKind::Role { name, warps, registers, body } => {
            [name, warps, registers].into_iter().for_each(|e| f(Child::Expr(e)));
            f(Child::Block(body));
        }
        ExprKind::Require(list) => list.iter().for_each(|(e, _)| f(Child::Expr(e))),
    }
}

/// Decides every variable's binding time: repeats until nothing changes, as assignments and device control flow reach
/// back to a variable's `let`.
pub fn infer(function: &mut Function) {
    loop {
        let before =
            function.vars.iter().filter(|v| v.device).count() + function.vars.iter().filter(|v| v.assigned).count();
        let mut marks = Marks {
            times: Times { vars: &function.vars, generics: &function.generics },
            device: BTreeSet::new(),
            assigned: BTreeSet::new(),
        };
        marks.block(&function.body);
        let Marks { device, assigned, .. } = marks;
        device.into_iter().for_each(|v| function.vars[v].device = true);
        assigned.into_iter().for_each(|v| function.vars[v].assigned = true);
        let after =
            function.vars.iter().filter(|v| v.device).count() + function.vars.iter().filter(|v| v.assigned).count();
        if before == after {
            return;
        }
    }
}

struct Marks<'a> {
    times: Times<'a>,
    device: BTreeSet<VarId>,
    assigned: BTreeSet<VarId>,
}

impl Marks<'_> {
    fn pat(&mut self, pat: &crate::ast::Pat, init: &Expr) {
        if let (Some(parts), ExprKind::Tuple(items)) = (&pat.tuple, &init.kind)
            && parts.len() == items.len()
        {
            parts.iter().zip(items).for_each(|(p, e)| self.pat(p, e));
            return;
        }
        if self.times.device(init) {
            self.device.extend(pat.vars.iter().map(|(v, _)| *v));
        }
    }

    fn block(&mut self, b: &Block) {
        for s in &b.stmts {
            match s {
                Stmt::Let(l) => {
                    if let Some(init) = &l.init {
                        self.expr(init);
                        self.pat(&l.pat, init);
                    }
                }
                Stmt::Expr(e) => self.expr(e),
                Stmt::Item(_) | Stmt::Name(_) => {}
            }
        }
        b.tail.iter().for_each(|e| self.expr(e));
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Assign { place, value, .. } => {
                if let Some(v) = place.base() {
                    self.assigned.insert(v);
                    if self.times.device(value) {
                        self.device.insert(v);
                    }
                }
            }
            ExprKind::Method(recv, name, _, args) if changes_receiver(name, args.len()) => {
                if let Some(v) = recv.base() {
                    if assigns_receiver(name) || args.iter().any(|a| self.times.device(a)) {
                        self.device.insert(v);
                    }
                    if assigns_receiver(name) {
                        self.assigned.insert(v);
                    }
                }
            }
            ExprKind::For { pat, iter, body, .. } => {
                if self.times.device_loop(iter) {
                    self.device.extend(carried(&[body]));
                    self.device.extend(pat.vars.iter().map(|(v, _)| *v));
                } else {
                    self.pat(pat, iter);
                }
            }
            ExprKind::If { condition, then, otherwise, .. } if self.times.device(condition) => {
                self.device.extend(carried(&[then]));
                otherwise.iter().for_each(|e| self.device.extend(carried_by(e)));
            }
            ExprKind::Keep { params, .. } => {
                params.iter().for_each(|p| self.device.extend(p.vars.iter().map(|(v, _)| *v)));
            }
            _ => {}
        }
        for_children(e, &mut |c| match c {
            Child::Expr(e) => self.expr(e),
            Child::Block(b) => self.block(b),
        });
    }
}
