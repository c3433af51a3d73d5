//! Everything that can be wrong with a body whose binding times are known.

use crate::ast::{Block, Expr, ExprKind, Function, Pat, Stmt};
use crate::errors::{CONSTRUCT, Errors, HOST_NEEDED, MISSING_TYPE};
use crate::parse::types;
use crate::time::{Child, LIST_METHODS, Times, UNIT_METHODS, assigns_receiver, for_children};

/// Methods that may be called on a host value with device arguments: `2.0.max(x)`.
const OPS: [&str; 16] = [
    "add",
    "sub",
    "mul",
    "div",
    "rem",
    "min",
    "max",
    "shr_logical",
    "mul_high",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "cast",
];

/// Methods that need their turbofish, and how it looks.
const TURBOFISH: [(&str, &str); 11] = [
    ("prefetch", "::<Tile<f32, 16, 64>>"),
    ("prefetch_at", "::<Tile<f32, 16, 64>>"),
    ("load", "::<Tile<f32, 16, 64>>"),
    ("load_at", "::<Tile<f32, 16, 64>>"),
    ("stage", "::<Smem<bf16, 64, 64>>"),
    ("stage_at", "::<Smem<bf16, 64, 64>>"),
    ("cast", "::<bf16>"),
    ("cols", "::<N>"),
    ("rows", "::<N>"),
    ("repeat", "::<N>"),
    ("slice", "::<R, C>"),
];

/// Reports all that has no device form.
pub fn check(function: &Function, errors: &mut Errors) {
    let times = Times { vars: &function.vars, generics: &function.generics };
    Check { times, errors }.block(&function.body);
}

struct Check<'a> {
    times: Times<'a>,
    errors: &'a mut Errors,
}

impl Check<'_> {
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

    fn pat(&mut self, pat: &Pat, init: &Expr) {
        if self.times.device(init) && !plain(&pat.syn) {
            let fix = "use names, `_`, tuples and arrays of them";
            self.errors.push(init.span, CONSTRUCT, "a device value can't be taken apart by this pattern", fix);
        }
    }

    fn host(&mut self, e: &Expr, what: &str, fix: &str) {
        if self.times.device(e) {
            self.errors.push(e.span, HOST_NEEDED, what, fix);
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Opaque(_, vars, what) => {
                if let Some((v, span)) = vars.iter().find(|(v, _)| self.times.vars[*v].device) {
                    let name = &self.times.vars[*v].name;
                    let fix = "compute it with ops of the language, or from host values only";
                    self.errors.push(
                        *span,
                        HOST_NEEDED,
                        format!("{what} runs while staging and can't use the device value `{name}`"),
                        fix,
                    );
                }
            }
            ExprKind::Macro(mac, vars) => {
                if let Some((v, span)) = vars.iter().find(|(v, _)| self.times.vars[*v].device) {
                    let name = &self.times.vars[*v].name;
                    let what = format!("a macro runs while staging and can't use the device value `{name}`");
                    let is_assert = mac.path.segments.last().is_some_and(|s| s.ident.to_string().contains("assert"));
                    let fix = if is_assert { "write `require!(…)`" } else { "use host values only" };
                    self.errors.push(*span, HOST_NEEDED, what, fix);
                }
            }
            ExprKind::Cast(x, ty) if self.times.device(x) => {
                let name = types::last_name(ty).unwrap_or_default();
                if name != "f32" && name != "i32" {
                    let fix = "device numbers are f32 and i32; host numbers come from const parameters";
                    self.errors.push(e.span, HOST_NEEDED, format!("a device value can't become `{name}`"), fix);
                }
            }
            ExprKind::Index(list, index) => {
                if self.times.device(index) {
                    let fix = "an array is indexed by `x.at([i])`; a list of tiles needs an index known while staging";
                    self.errors.push(e.span, HOST_NEEDED, "a device value can't be an index in brackets", fix);
                }
                if matches!(list.kind, ExprKind::Tuple(_)) {
                    self.errors.push(e.span, CONSTRUCT, "this can't be indexed", "bind it to a name first");
                }
            }
            ExprKind::Field(x, syn::Member::Named(name)) if self.times.device(x) => {
                let fix = "device values are tiles, numbers, tuples and arrays of them";
                self.errors.push(name.span(), HOST_NEEDED, "a device value has no fields", fix);
            }
            ExprKind::Match(x, _) => {
                self.host(x, "`match` on a device value", "write `if` on a uniform condition, or `select`");
            }
            ExprKind::Construct(None, name, _) => {
                let fix = format!("write `Tile::<f32, 16, 64>::{name}`");
                self.errors.push(e.span, MISSING_TYPE, "the tile's type is missing", fix);
            }
            ExprKind::Call(path, _) if self.times.device(e) => self.generics(path.path.segments.last(), e),
            ExprKind::Lang(name, ..) if name == "pipelined" => {
                self.errors.push(
                    e.span,
                    CONSTRUCT,
                    "`pipelined` outside of a `for`",
                    "write `for k in pipelined::<4>(0..n)`",
                );
            }
            ExprKind::Method(recv, name, turbofish, _) => self.method(e, recv, name, turbofish.as_ref()),
            ExprKind::For { pat, iter, body, .. } => return self.for_loop(pat, iter, body),
            ExprKind::Range { .. } => {
                self.host(e, "a range of device values outside of a `for`", "write the range in the `for`");
            }
            ExprKind::Assign { place, .. }
                if place
                    .base()
                    .is_none_or(|v| matches!(place.kind, ExprKind::Prefix(..)) && self.times.vars[v].device) =>
            {
                let fix = "assign to a variable or to an element of a list";
                self.errors.push(e.span, CONSTRUCT, "this can't be assigned", fix);
            }
            ExprKind::Keep { params, .. }
                if (params.len() != 2
                    || !params.iter().all(|p| matches!(p.syn, syn::Pat::Ident(_) | syn::Pat::Wild(_)))) =>
            {
                let fix = "write `x.keep(|row, col| condition, other)`";
                self.errors.push(e.span, CONSTRUCT, "`keep` takes a condition on the row and the column", fix);
            }
            _ => {}
        }
        for_children(e, &mut |c| match c {
            Child::Expr(e) => self.expr(e),
            Child::Block(b) => self.block(b),
        });
    }

    fn generics(&mut self, segment: Option<&syn::PathSegment>, e: &Expr) {
        let Some(syn::PathArguments::AngleBracketed(args)) = segment.map(|s| &s.arguments) else { return };
        if let Err((what, fix)) = types::generic_args(args, self.times.generics) {
            self.errors.push(e.span, MISSING_TYPE, what, fix);
        }
    }

    fn method(
        &mut self,
        e: &Expr,
        recv: &Expr,
        name: &syn::Ident,
        turbofish: Option<&syn::AngleBracketedGenericArguments>,
    ) {
        if !self.times.device(e) || LIST_METHODS.iter().any(|m| name == m) {
            return;
        }
        let known = |list: &[&str]| list.iter().any(|m| name == m);
        if !self.times.device(recv) && !known(&OPS) && !self.unsure_list(recv, name) {
            let what = format!("`{name}` runs on the host and can't take a device value");
            self.errors.push(
                e.span,
                HOST_NEEDED,
                what,
                "compute it with ops of the language, or from host values only",
            );
            return;
        }
        if let ExprKind::Method(_, outer, ..) = &recv.kind
            && LIST_METHODS.iter().any(|m| outer == m)
            && !["clone", "to_vec"].iter().any(|m| outer == m)
        {
            let what = format!("`{name}` of an iterator over device values");
            self.errors.push(e.span, CONSTRUCT, what, "write a `for` loop; it runs while staging");
            return;
        }
        if name == "keep" {
            self.errors.push(
                e.span,
                CONSTRUCT,
                "`keep` takes a closure",
                "write `x.keep(|row, col| condition, other)`",
            );
        }
        if (assigns_receiver(name) || known(&UNIT_METHODS)) && recv.base().is_none() {
            self.errors.push(
                e.span,
                CONSTRUCT,
                format!("`{name}` changes a value that has no name"),
                "bind it with `let mut` first",
            );
        }
        match turbofish {
            Some(list) => {
                if let Err((what, fix)) = types::generic_args(list, self.times.generics) {
                    self.errors.push(e.span, MISSING_TYPE, what, fix);
                }
            }
            None => {
                if let Some((_, form)) = TURBOFISH.iter().find(|(m, _)| name == m) {
                    let what = format!(
                        "`{name}` lacks the {}",
                        if form.contains("<N") || form.contains("<R") { "extents" } else { "type" }
                    );
                    self.errors.push(e.span, MISSING_TYPE, what, format!("write `{name}{form}(…)`"));
                }
            }
        }
    }

    fn unsure_list(&self, recv: &Expr, name: &syn::Ident) -> bool {
        recv.base().is_some() && name == "push"
    }

    fn for_loop(&mut self, pat: &Pat, iter: &Expr, body: &Block) {
        if self.times.device_loop(iter) {
            let (range, span) = match &iter.kind {
                ExprKind::Lang(_, turbofish, _, args) => {
                    if turbofish.as_ref().is_none_or(|t| t.args.len() != 1) {
                        self.errors.push(
                            iter.span,
                            MISSING_TYPE,
                            "`pipelined` lacks its depth",
                            "write `pipelined::<4>(0..n)`",
                        );
                    }
                    (args.first().map(|a| &a.kind), iter.span)
                }
                other => (Some(other), iter.span),
            };
            match range {
                Some(ExprKind::Range { from: Some(from), to: Some(to), .. }) => {
                    self.expr(from);
                    self.expr(to);
                }
                _ => {
                    let fix = "write `for k in from..to`";
                    self.errors.push(span, CONSTRUCT, "a device loop runs over a range with both ends", fix);
                }
            }
            if !matches!(&pat.syn, syn::Pat::Ident(p) if p.by_ref.is_none() && p.subpat.is_none())
                && !matches!(pat.syn, syn::Pat::Wild(_))
            {
                self.errors.push(iter.span, CONSTRUCT, "a loop variable is one name", "write `for k in 0..n`");
            }
        } else if self.range_inside(iter) {
            let fix = "write `for k in 0..n` and compute the index in the body, for example `4 * k` or `n - 1 - k`";
            self.errors.push(iter.span, CONSTRUCT, "a device loop counts up by one", fix);
        } else {
            self.expr(iter);
            self.pat(pat, iter);
        }
        self.block(body);
    }

    /// A range of device values below methods such as `step_by` or `rev`.
    fn range_inside(&self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Method(recv, ..) => self.range_inside(recv),
            ExprKind::Range { .. } => self.times.device(e),
            ExprKind::Lang(name, ..) => name == "pipelined",
            _ => false,
        }
    }
}

fn plain(pat: &syn::Pat) -> bool {
    match pat {
        syn::Pat::Ident(p) => p.by_ref.is_none() && p.subpat.is_none(),
        syn::Pat::Wild(_) => true,
        syn::Pat::Tuple(t) => t.elems.iter().all(plain),
        syn::Pat::Slice(t) => t.elems.iter().all(plain),
        syn::Pat::Reference(r) => plain(&r.pat),
        syn::Pat::Paren(p) => plain(&p.pat),
        _ => false,
    }
}
