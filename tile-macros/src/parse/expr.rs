//! Expressions.

use super::{Parser, types};
use crate::ast::{Arm, Block, Expr, ExprKind, Pat};
use crate::errors::CONSTRUCT;
use crate::paths;
use crate::text;
use proc_macro2::{Ident, Span};
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;

/// The language's free functions.
const FUNCTIONS: [&str; 12] = [
    "work",
    "pipelined",
    "mma",
    "mma_tf32",
    "select",
    "cdiv",
    "rsqrt",
    "erf",
    "to_bits",
    "from_bits",
    "shr_logical",
    "mul_high",
];

type Args = Punctuated<syn::Expr, syn::Token![,]>;

impl Parser<'_> {
    /// An expression.
    pub fn expr(&mut self, e: &syn::Expr) -> Expr {
        use syn::Expr as E;
        let span = e.span();
        let at = |span: Span, kind: ExprKind| Expr { kind, span };
        match e {
            E::Paren(p) => self.expr(&p.expr),
            E::Group(g) => self.expr(&g.expr),
            E::Path(p) => match p.path.get_ident().and_then(|i| self.lookup(i).map(|v| (v, i))) {
                Some((v, i)) => at(i.span(), ExprKind::Var(v, i.clone())),
                None => at(span, ExprKind::Leaf(p.to_token_stream())),
            },
            E::Lit(l) => at(span, ExprKind::Leaf(l.to_token_stream())),
            E::Unary(u) => {
                let inner = Box::new(self.expr(&u.expr));
                match u.op {
                    syn::UnOp::Deref(star) => at(inner.span, ExprKind::Prefix(star.to_token_stream(), inner)),
                    op => at(op.span(), ExprKind::Unary(op, inner)),
                }
            }
            E::Reference(r) => {
                let mutability = &r.mutability;
                let inner = Box::new(self.expr(&r.expr));
                at(inner.span, ExprKind::Prefix(quote!(& #mutability), inner))
            }
            E::Binary(b) => {
                let (left, right) = (Box::new(self.expr(&b.left)), Box::new(self.expr(&b.right)));
                match plain_op(&b.op) {
                    Some(op) => at(b.op.span(), ExprKind::Assign { place: left, op: Some(op), value: right }),
                    None => at(b.op.span(), ExprKind::Binary(b.op, left, right)),
                }
            }
            E::Assign(a) => {
                let (place, value) = (Box::new(self.expr(&a.left)), Box::new(self.expr(&a.right)));
                at(a.eq_token.span, ExprKind::Assign { place, op: None, value })
            }
            E::Cast(c) => at(c.as_token.span, ExprKind::Cast(Box::new(self.expr(&c.expr)), (*c.ty).clone())),
            E::Call(c) => self.call(c),
            E::MethodCall(m) => self.method(m),
            E::Index(i) => {
                let (list, index) = (Box::new(self.expr(&i.expr)), Box::new(self.expr(&i.index)));
                at(i.index.span(), ExprKind::Index(list, index))
            }
            E::Field(f) => at(f.member.span(), ExprKind::Field(Box::new(self.expr(&f.base)), f.member.clone())),
            E::Array(a) => at(span, ExprKind::Array { items: self.list(&a.elems), vec: false }),
            E::Repeat(r) => {
                let (item, len) = (Box::new(self.expr(&r.expr)), Box::new(self.expr(&r.len)));
                at(span, ExprKind::Repeat { item, len, vec: false })
            }
            E::Tuple(t) => at(span, ExprKind::Tuple(self.list(&t.elems))),
            E::Block(b) if b.label.is_none() => at(span, ExprKind::Block(self.block(&b.block))),
            E::If(i) => self.condition(i),
            E::Match(m) => {
                let scrutinee = Box::new(self.expr(&m.expr));
                let arms = m.arms.iter().map(|a| self.scoped(|p| p.arm(a))).collect();
                at(m.match_token.span, ExprKind::Match(scrutinee, arms))
            }
            E::ForLoop(f) => self.scoped(|p| p.for_loop(f)),
            E::Range(r) => {
                let from = r.start.as_ref().map(|e| Box::new(self.expr(e)));
                let to = r.end.as_ref().map(|e| Box::new(self.expr(e)));
                at(r.limits.span(), ExprKind::Range { from, to, limits: r.limits })
            }
            E::Macro(m) => self.macro_call(&m.mac),
            E::Closure(c) => {
                let mut own = Vec::new();
                self.scoped(|p| {
                    for input in &c.inputs {
                        own.extend(p.pat(input).vars.into_iter().map(|(_, i)| i.to_string()));
                    }
                });
                let vars = self.mentioned(c.to_token_stream(), &own);
                at(c.or1_token.span, ExprKind::Opaque(c.to_token_stream(), vars, "a closure"))
            }
            E::Struct(s) => self.opaque(s, "a struct"),
            E::While(w) => {
                let fix = "write `for i in 0..n`; stop early by making the rest a no-op with `select`";
                self.reject(w.while_token.span, "kernels have no `while`", fix)
            }
            E::Loop(l) => self.reject(l.loop_token.span, "kernels have no `loop`", "write `for i in 0..n`"),
            E::Break(b) => {
                let fix = "run all iterations; make the rest a no-op with `if` or `select`";
                self.reject(b.break_token.span, "kernels have no `break`", fix)
            }
            E::Continue(c) => {
                self.reject(c.continue_token.span, "kernels have no `continue`", "put the rest of the body in an `if`")
            }
            E::Return(r) => {
                let fix = "give the value as the last expression of the function; put the rest of the body in an `if`";
                self.reject(r.return_token.span, "kernels have no early `return`", fix)
            }
            E::Try(t) => {
                self.reject(t.question_token.span(), "kernels have no `?`", "check it on the host, before the launch")
            }
            E::Unsafe(u) => self.reject(u.unsafe_token.span, "kernels have no `unsafe`", "write it without"),
            E::Async(a) => self.reject(a.async_token.span, "kernels have no `async`", "write it without"),
            E::Await(a) => self.reject(a.await_token.span, "kernels have no `await`", "write it without"),
            E::Let(l) => {
                self.reject(l.let_token.span, "`let` inside of a condition", "write `if let … { }` on its own")
            }
            E::Block(b) => self.reject(b.span(), "kernels have no labelled blocks", "use `if` and a variable"),
            other => self.opaque(other, "this expression"),
        }
    }

    fn list(&mut self, list: &Args) -> Vec<Expr> {
        list.iter().map(|e| self.expr(e)).collect()
    }

    fn reject(&mut self, span: Span, what: &str, fix: &str) -> Expr {
        self.errors.push(span, CONSTRUCT, what, fix);
        self.nothing(span)
    }

    fn opaque(&mut self, e: &impl ToTokens, what: &'static str) -> Expr {
        let tokens = e.to_token_stream();
        let vars = self.mentioned(tokens.clone(), &[]);
        Expr { span: tokens.span(), kind: ExprKind::Opaque(tokens, vars, what) }
    }

    fn call(&mut self, c: &syn::ExprCall) -> Expr {
        if let syn::Expr::Path(func) = &*c.func
            && let Some(last) = func.path.segments.last()
            && last.ident == "role"
            && in_language(&func.path)
            && self.lookup(&last.ident).is_none()
        {
            return self.role(c, &last.ident);
        }
        let args = self.list(&c.args);
        let syn::Expr::Path(func) = &*c.func else { return self.opaque(c, "a call of a computed function") };
        let segments = &func.path.segments;
        let Some(last) = segments.last() else { return self.opaque(c, "this call") };
        let (span, name) = (last.ident.span(), last.ident.clone());
        let turbofish = match &last.arguments {
            syn::PathArguments::AngleBracketed(a) => Some(a.clone()),
            _ => None,
        };
        let owner = segments.len().checked_sub(2).and_then(|i| segments.get(i));
        let kind = match owner {
            None if self.lookup(&name).is_some() => return self.opaque(c, "a call of a closure"),
            None if FUNCTIONS.iter().any(|f| name == f) => ExprKind::Lang(name, turbofish, func.path.clone(), args),
            Some(o) if ["dsl", "prelude"].iter().any(|m| o.ident == m) && FUNCTIONS.iter().any(|f| name == f) => {
                ExprKind::Lang(name, turbofish, func.path.clone(), args)
            }
            Some(o) if o.ident == "Tile" => self.construct(o, name, args),
            Some(o) if o.ident == "Ring" => self.ring(o, &name, turbofish.as_ref()),
            Some(o)
                if segments.len() == 2 && matches!(o.ident.to_string().as_str(), "f32" | "i32") && !args.is_empty() =>
            {
                let mut args = args;
                let recv = Box::new(args.remove(0));
                ExprKind::Method(recv, name, None, args)
            }
            _ => ExprKind::Call(func.clone(), args),
        };
        Expr { kind, span }
    }

    fn construct(&mut self, tile: &syn::PathSegment, name: Ident, args: Vec<Expr>) -> ExprKind {
        if tile.arguments.is_none() {
            return ExprKind::Construct(None, name, args);
        }
        match types::tile(tile, self.generics) {
            Ok(ty) => ExprKind::Construct(Some(ty), name, args),
            Err((what, fix)) => {
                self.errors.push(tile.ident.span(), crate::errors::MISSING_TYPE, what, fix);
                ExprKind::Tuple(Vec::new())
            }
        }
    }

    fn method(&mut self, m: &syn::ExprMethodCall) -> Expr {
        let recv = Box::new(self.expr(&m.receiver));
        let span = m.method.span();
        if m.method == "keep"
            && m.args.len() == 2
            && let syn::Expr::Closure(c) = &m.args[0]
        {
            let (params, condition) = self.scoped(|p| {
                let params: Vec<Pat> = c
                    .inputs
                    .iter()
                    .map(|i| match i {
                        syn::Pat::Type(t) => p.pat(&t.pat),
                        other => p.pat(other),
                    })
                    .collect();
                (params, Box::new(p.expr(&c.body)))
            });
            let other = Box::new(self.expr(&m.args[1]));
            return Expr { kind: ExprKind::Keep { recv, params, condition, other }, span };
        }
        if m.method == "get"
            && m.args.is_empty()
            && let Some(arity) = self.arity(&recv)
        {
            return Expr { kind: ExprKind::Tiles(recv, arity), span };
        }
        let args = self.list(&m.args);
        Expr { kind: ExprKind::Method(recv, m.method.clone(), m.turbofish.clone(), args), span }
    }

    fn condition(&mut self, i: &syn::ExprIf) -> Expr {
        let span = i.if_token.span;
        let otherwise = |p: &mut Self| i.else_branch.as_ref().map(|(_, e)| Box::new(p.expr(e)));
        if let syn::Expr::Let(l) = &*i.cond {
            let scrutinee = Box::new(self.expr(&l.expr));
            let first = self.scoped(|p| {
                let pat = p.pat(&l.pat);
                let body = Expr { kind: ExprKind::Block(p.block(&i.then_branch)), span };
                Arm { pat, guard: None, body }
            });
            let body = match otherwise(self) {
                Some(e) => *e,
                None => Expr { kind: ExprKind::Block(Block { stmts: Vec::new(), tail: None }), span },
            };
            let wild = Pat { syn: syn::parse_quote!(_), vars: Vec::new(), tuple: None };
            return Expr { kind: ExprKind::Match(scrutinee, vec![first, Arm { pat: wild, guard: None, body }]), span };
        }
        let condition = Box::new(self.expr(&i.cond));
        let then = self.block(&i.then_branch);
        let otherwise = otherwise(self);
        let last = last_token(&i.cond);
        Expr { kind: ExprKind::If { condition, then, otherwise, last }, span }
    }

    fn arm(&mut self, arm: &syn::Arm) -> Arm {
        let pat = self.pat(&arm.pat);
        let guard = arm.guard.as_ref().map(|(_, e)| self.expr(e));
        Arm { pat, guard, body: self.expr(&arm.body) }
    }

    fn for_loop(&mut self, f: &syn::ExprForLoop) -> Expr {
        let iter = Box::new(self.expr(&f.expr));
        let pat = self.pat(&f.pat);
        let body = self.block(&f.body);
        let label = f.label.as_ref().map(|l| l.name.ident.to_string());
        let last = last_token(&f.expr);
        Expr { kind: ExprKind::For { label, pat, iter, body, last }, span: f.for_token.span }
    }

    /// `device_assert!`, `dbg_tile!` and `mark!`.
    fn debug_call(&mut self, mac: &syn::Macro, name: &str) -> Expr {
        let span = mac.path.span();
        let Ok(mut args) = mac.parse_body_with(Args::parse_terminated) else {
            let fix = "write `device_assert!(condition, \"message {}\", x)`, `dbg_tile!(x)` or `mark!(\"phase\")`";
            return self.reject(span, "this macro takes expressions", fix);
        };
        args.iter_mut().for_each(paths::deepen_expr);
        let args: Vec<&syn::Expr> = args.iter().collect();
        let kind = match (name, &args[..]) {
            ("mark", [phase]) if string(phase).is_some() => ExprKind::Mark(string(phase).unwrap_or_default()),
            ("dbg_tile", [label, x]) if string(label).is_some() => {
                ExprKind::Dbg(string(label).unwrap_or_default(), Box::new(self.expr(x)))
            }
            ("dbg_tile", [x]) => ExprKind::Dbg(text::tidy(&x.to_token_stream()), Box::new(self.expr(x))),
            ("device_assert", [condition]) => {
                let message = text::tidy(&condition.to_token_stream()).replace("{}", "{ }");
                ExprKind::Assert { condition: Box::new(self.expr(condition)), message, values: Vec::new() }
            }
            ("device_assert", [condition, message, values @ ..]) if string(message).is_some() => {
                let message = string(message).unwrap_or_default();
                let condition = Box::new(self.expr(condition));
                ExprKind::Assert { condition, message, values: values.iter().map(|e| self.expr(e)).collect() }
            }
            ("mark", _) => return self.reject(span, "`mark!` takes a name in quotes", "write `mark!(\"phase\")`"),
            ("dbg_tile", _) => {
                return self.reject(
                    span,
                    "`dbg_tile!` takes a value",
                    "write `dbg_tile!(x)` or `dbg_tile!(\"label\", x)`",
                );
            }
            _ => {
                let fix = "write `device_assert!(condition, \"message {}\", x)`";
                return self.reject(span, "`device_assert!` takes a condition, a message and values", fix);
            }
        };
        Expr { kind, span }
    }

    /// A macro call: `require!` and `vec!` are understood, others are host code.
    pub fn macro_call(&mut self, mac: &syn::Macro) -> Expr {
        let name = mac.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
        let span = mac.path.span();
        if name == "require" {
            let Ok(mut clauses) = mac.parse_body_with(Args::parse_terminated) else {
                return self.reject(span, "`require!` takes conditions", "write `require!(a.dim(0) == b.dim(1), …)`");
            };
            clauses.iter_mut().for_each(paths::deepen_expr);
            let list = clauses.iter().map(|c| (self.expr(c), text::tidy(&c.to_token_stream()))).collect();
            return Expr { kind: ExprKind::Require(list), span };
        }
        if ["device_assert", "dbg_tile", "mark"].iter().any(|m| name == *m) {
            return self.debug_call(mac, &name);
        }
        if name == "vec" {
            if let Ok(mut items) = mac.parse_body_with(Args::parse_terminated) {
                items.iter_mut().for_each(paths::deepen_expr);
                return Expr { kind: ExprKind::Array { items: self.list(&items), vec: true }, span };
            }
            let tokens = &mac.tokens;
            if let Ok(mut repeat) = syn::parse2::<syn::ExprRepeat>(quote!([#tokens])) {
                paths::deepen_expr(&mut repeat.expr);
                paths::deepen_expr(&mut repeat.len);
                let (item, len) = (Box::new(self.expr(&repeat.expr)), Box::new(self.expr(&repeat.len)));
                return Expr { kind: ExprKind::Repeat { item, len, vec: true }, span };
            }
        }
        let vars = self.mentioned(mac.tokens.clone(), &[]);
        Expr { kind: ExprKind::Macro(mac.clone(), vars), span }
    }
}

/// A string literal.
fn string(e: &syn::Expr) -> Option<String> {
    match e {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// Whether a path is a bare name, or one in `dsl` or `prelude`.
fn in_language(path: &syn::Path) -> bool {
    match path.segments.len().checked_sub(2).and_then(|i| path.segments.get(i)) {
        Some(owner) => owner.ident == "dsl" || owner.ident == "prelude",
        None => true,
    }
}

/// `+` of `+=`.
fn plain_op(op: &syn::BinOp) -> Option<syn::BinOp> {
    use syn::BinOp as B;
    let span = op.span();
    Some(match op {
        B::AddAssign(_) => B::Add(syn::Token![+](span)),
        B::SubAssign(_) => B::Sub(syn::Token![-](span)),
        B::MulAssign(_) => B::Mul(syn::Token![*](span)),
        B::DivAssign(_) => B::Div(syn::Token![/](span)),
        B::RemAssign(_) => B::Rem(syn::Token![%](span)),
        B::BitXorAssign(_) => B::BitXor(syn::Token![^](span)),
        B::BitAndAssign(_) => B::BitAnd(syn::Token![&](span)),
        B::BitOrAssign(_) => B::BitOr(syn::Token![|](span)),
        B::ShlAssign(_) => B::Shl(syn::Token![<<](span)),
        B::ShrAssign(_) => B::Shr(syn::Token![>>](span)),
        _ => return None,
    })
}

/// The last token of an expression: spans can't be joined on stable Rust.
fn last_token(e: &syn::Expr) -> Span {
    e.to_token_stream().into_iter().last().map_or_else(|| e.span(), |token| token.span())
}
