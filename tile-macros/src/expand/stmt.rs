//! Blocks, statements, device control flow.

use super::{Expand, hidden};
use crate::ast::{Block, Expr, ExprKind, Let, Pat, Stmt, VarId};
use crate::time::{LIST_METHODS, carried, carried_by};
use proc_macro2::{Ident, TokenStream};
use quote::quote;
use std::collections::BTreeSet;

impl Expand<'_> {
    /// `{ … }`; with `lifted`, host numbers in its value become constants.
    pub fn block(&self, b: &Block, lifted: bool) -> TokenStream {
        let stmts = b.stmts.iter().map(|s| match s {
            Stmt::Let(l) => self.let_stmt(l),
            Stmt::Expr(e) => {
                let e = self.expr(e);
                quote!(#e;)
            }
            Stmt::Item(i) => quote!(#i),
            Stmt::Name(Some(name)) => self.begin_op(name),
            Stmt::Name(None) => {
                let cx = &self.cx;
                quote!(#cx.end_op();)
            }
        });
        let tail = b.tail.as_ref().map(|t| self.value(t, lifted));
        quote!({ #(#stmts)* #tail })
    }

    fn begin_op(&self, name: &Ident) -> TokenStream {
        let (cx, rt, file, text, at) = (&self.cx, &self.rt, &self.file, name.to_string(), name.span().start());
        let [line, col, len] = [at.line, at.column + 1, text.len()].map(proc_macro2::Literal::usize_unsuffixed);
        quote!(#cx.begin_op(#rt::at(#file, #line, #col, #len), #text);)
    }

    fn let_stmt(&self, l: &Let) -> TokenStream {
        let Some(init) = &l.init else { return quote!() };
        let pat = &l.pat.syn;
        let device = self.times.device(init) || l.pat.vars.iter().any(|(v, _)| self.times.vars[*v].device);
        if !device {
            let init = self.expr(init);
            let ty = l.ty.as_ref().filter(|t| !matches!(t, syn::Type::Array(a) if !matches!(a.len, syn::Expr::Lit(_))));
            let ty = ty.map(|t| quote!(: #t));
            return quote!(let #pat #ty = #init;);
        }
        let value = self.init(&l.pat, init);
        let labels = self.labels(&l.pat, init);
        quote!(let #pat = #value; #labels)
    }

    /// The initial value: lifted where a variable is assigned later.
    fn init(&self, pat: &Pat, init: &Expr) -> TokenStream {
        if let (Some(parts), ExprKind::Tuple(items)) = (&pat.tuple, &init.kind)
            && parts.len() == items.len()
        {
            let items = parts.iter().zip(items).map(|(p, e)| self.init(p, e));
            return quote!((#(#items,)*));
        }
        let lifted = pat.vars.iter().any(|(v, _)| self.times.vars[*v].device && self.times.vars[*v].assigned);
        self.value(init, lifted)
    }

    fn labels(&self, pat: &Pat, init: &Expr) -> TokenStream {
        if let (Some(parts), ExprKind::Tuple(items)) = (&pat.tuple, &init.kind)
            && parts.len() == items.len()
        {
            return parts.iter().zip(items).map(|(p, e)| self.labels(p, e)).collect();
        }
        if matches!(&init.kind, ExprKind::Method(_, name, ..) if LIST_METHODS.iter().any(|m| name == m)) {
            return quote!();
        }
        let known = |v: VarId| {
            let var = &self.times.vars[v];
            var.device && (self.times.device(init) || var.assigned)
        };
        pat.vars.iter().filter(|(v, _)| known(*v)).map(|(_, name)| self.label(name)).collect()
    }

    /// Records a variable's name.
    pub fn label(&self, name: &Ident) -> TokenStream {
        let (rt, cx, text) = (&self.rt, &self.cx, name.to_string());
        quote!(#rt::label(#cx, &#name, #text);)
    }

    /// An expression's value; with `lifted`, host numbers in it become constants.
    pub fn value(&self, e: &Expr, lifted: bool) -> TokenStream {
        if !lifted || self.times.unit(e) {
            return self.expr(e);
        }
        match &e.kind {
            ExprKind::Block(b) => self.block(b, true),
            ExprKind::If { .. } | ExprKind::Match(..) => self.choice(e, true),
            ExprKind::Macro(..) => self.expr(e),
            _ => self.lift(e),
        }
    }

    /// The carried variables as a nested pair, by `f`.
    fn cons(&self, vars: &BTreeSet<VarId>, f: impl Fn(Ident) -> TokenStream) -> TokenStream {
        vars.iter().rev().fold(quote!(()), |rest, v| {
            let item = f(self.times.vars[*v].name.clone());
            quote!((#item, #rest))
        })
    }

    /// `for`.
    pub fn for_loop(&self, e: &Expr, label: Option<&str>, pat: &Pat, iter: &Expr, body: &Block) -> TokenStream {
        let syn_pat = &pat.syn;
        if !self.times.device_loop(iter) {
            let (iter, body) = (self.expr(iter), self.block(body, false));
            return quote!(for #syn_pat in #iter #body);
        }
        let (range, stages) = match &iter.kind {
            ExprKind::Lang(_, Some(turbofish), _, args) => (args.first(), turbofish.args.first().map(|n| quote!(#n))),
            _ => (Some(iter), None),
        };
        let Some(Expr { kind: ExprKind::Range { from: Some(from), to: Some(to), limits }, .. }) = range else {
            return quote!();
        };
        let (cx, rt, at) = (&self.cx, &self.rt, self.at(e));
        let (from, to) = (self.arg(from), self.arg(to));
        let to = match limits {
            syn::RangeLimits::HalfOpen(_) => to,
            syn::RangeLimits::Closed(_) => quote!({
                let last = #to;
                #rt::Arg::from(#cx.binary(#at, #rt::BinaryOp::Add, last, 1))
            }),
        };
        let stages = stages.unwrap_or_else(|| quote!(0));
        let vars = carried(&[body]);
        let before = self.cons(&vars, |v| quote!(::core::clone::Clone::clone(&#v)));
        let inner = self.cons(&vars, |v| quote!(mut #v));
        let names = self.cons(&vars, |v| quote!(#v));
        let labels = pat.vars.iter().map(|(_, name)| self.label(name));
        let label = label.map(|text| quote!(#cx.loop_label(#text);));
        let body = self.block(body, false);
        let (from_name, to_name, after) = (hidden("from"), hidden("to"), hidden("after"));
        quote!({
            let #from_name = #from;
            let #to_name = #to;
            let #after = #cx.loop_over(#at, (#from_name, #to_name), #stages, #before, |#cx, #syn_pat, #inner| {
                #label
                #(#labels)*
                #body;
                #names
            });
            #names = #after;
        })
    }

    /// `if` and `match`; with `lifted`, host numbers in its value become constants.
    pub fn choice(&self, e: &Expr, lifted: bool) -> TokenStream {
        match &e.kind {
            ExprKind::If { condition, then, otherwise, .. } if self.times.device(condition) => {
                self.branch(e, condition, then, otherwise.as_deref())
            }
            ExprKind::If { condition, then, otherwise, .. } => {
                let condition = self.expr(condition);
                let then = self.block(then, lifted);
                match otherwise {
                    Some(e) => {
                        let e = self.value(e, lifted);
                        quote!(if #condition #then else { #e })
                    }
                    None => quote!(if #condition #then),
                }
            }
            ExprKind::Match(x, arms) => {
                let x = self.expr(x);
                let arms = arms.iter().map(|a| {
                    let (pat, body) = (&a.pat.syn, self.value(&a.body, lifted));
                    let guard = a.guard.as_ref().map(|g| {
                        let g = self.expr(g);
                        quote!(if #g)
                    });
                    quote!(#pat #guard => { #body })
                });
                quote!(match #x { #(#arms)* })
            }
            _ => self.expr(e),
        }
    }

    fn branch(&self, e: &Expr, condition: &Expr, then: &Block, otherwise: Option<&Expr>) -> TokenStream {
        let (cx, at) = (&self.cx, self.at(e));
        let mut vars = carried(&[then]);
        otherwise.iter().for_each(|e| vars.extend(carried_by(e)));
        let before = self.cons(&vars, |v| quote!(::core::clone::Clone::clone(&#v)));
        let inner = self.cons(&vars, |v| quote!(mut #v));
        let names = self.cons(&vars, |v| quote!(#v));
        let valued = self.times.device(e);
        let side = |value: TokenStream| {
            let out = hidden("out");
            if valued {
                quote!(|#cx, #inner| { let #out = #value; (#names, #out) })
            } else {
                quote!(|#cx, #inner| { #value; (#names, ()) })
            }
        };
        let first = side(self.block(then, valued));
        let second = side(otherwise.map_or_else(|| quote!(()), |e| self.value(e, valued)));
        let (test, after) = (hidden("test"), hidden("after"));
        let condition = self.expr(condition);
        quote!({
            let #test = #condition;
            let #after = #cx.branch(#at, #test, #before, #first, #second);
            #names = #after.0;
            #after.1
        })
    }
}
