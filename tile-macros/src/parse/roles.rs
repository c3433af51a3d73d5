//! `Ring::<…>::new::<S>()`, `role(…)`, `view.get()`.

use super::{Parser, types};
use crate::ast::{Block, Expr, ExprKind, Stmt, TileType};
use crate::errors::{CONSTRUCT, MISSING_TYPE};
use proc_macro2::Ident;
use syn::spanned::Spanned;

/// How many tiles a slot has; `None` for one tile that is no tuple.
pub type Arity = Option<usize>;

/// How a role is written.
const ROLE: &str = "write `role(\"load\", 1, 56, || { … })`: name, warps, registers of a thread, body";
/// How a ring is written.
const RING: &str = "write `Ring::<(Smem<bf16, 16, 256>, Smem<f32, 1, 256>)>::new::<4>()`";

impl Parser<'_> {
    /// `role(name, warps, registers, || body)`.
    pub fn role(&mut self, call: &syn::ExprCall, name: &Ident) -> Expr {
        let args: Vec<&syn::Expr> = call.args.iter().collect();
        let [title, warps, registers, syn::Expr::Closure(body)] = &args[..] else {
            self.errors.push(name.span(), CONSTRUCT, "this is no role", ROLE);
            return self.nothing(name.span());
        };
        if !body.inputs.is_empty() {
            self.errors.push(body.or1_token.span, CONSTRUCT, "the body of a role has no parameters", ROLE);
        }
        let [title, warps, registers] = [title, warps, registers].map(|e| Box::new(self.expr(e)));
        let body = match &*body.body {
            syn::Expr::Block(b) if b.label.is_none() => self.block(&b.block),
            other => {
                let e = self.scoped(|p| p.expr(other));
                Block { stmts: vec![Stmt::Expr(Box::new(e))], tail: None }
            }
        };
        Expr { kind: ExprKind::Role { name: title, warps, registers, body }, span: name.span() }
    }

    /// `Ring::<parts>::new::<S>()`.
    pub fn ring(
        &mut self,
        owner: &syn::PathSegment,
        name: &Ident,
        slots: Option<&syn::AngleBracketedGenericArguments>,
    ) -> ExprKind {
        let syn::PathArguments::AngleBracketed(list) = &owner.arguments else {
            return self.no_ring(owner.ident.span(), "the ring's parts are missing");
        };
        let (Some(syn::GenericArgument::Type(ty)), 1) = (list.args.first(), list.args.len()) else {
            return self.no_ring(owner.ident.span(), "a ring has one type, the parts of its slots");
        };
        let slots = slots.map(|s| types::generic_args(s, self.generics));
        let slots = match slots.as_ref().map(|r| r.as_deref()) {
            Some(Ok([crate::ast::Generic::Int(n)])) if name == "new" => n.clone(),
            _ => return self.no_ring(owner.ident.span(), "the number of slots is missing"),
        };
        let (parts, arity): (Vec<&syn::Type>, Arity) = match ty {
            syn::Type::Tuple(t) => (t.elems.iter().collect(), Some(t.elems.len())),
            one => (vec![one], None),
        };
        let mut tiles: Vec<TileType> = Vec::new();
        for part in parts {
            match types::tile_of(part, self.generics) {
                Some(Ok(tile)) if tile.smem && tile.elem.is_some() => tiles.push(tile),
                Some(Err((what, fix))) => {
                    self.errors.push(part.span(), MISSING_TYPE, what, fix);
                    return ExprKind::Tuple(Vec::new());
                }
                _ => return self.no_ring(part.span(), "a slot holds `Smem` tiles with their element types"),
            }
        }
        ExprKind::Ring { parts: tiles, slots: Box::new(slots), arity }
    }

    fn no_ring(&mut self, span: proc_macro2::Span, what: &str) -> ExprKind {
        self.errors.push(span, MISSING_TYPE, what, RING);
        ExprKind::Tuple(Vec::new())
    }

    /// How many parts the slots have that an expression is about: a ring, or what comes of one.
    pub fn arity(&self, e: &Expr) -> Option<Arity> {
        match &e.kind {
            ExprKind::Ring { arity, .. } => Some(*arity),
            ExprKind::Var(v, _) => self.rings.get(v).copied(),
            ExprKind::Prefix(_, x) => self.arity(x),
            ExprKind::Method(recv, name, _, _) if SLOT_METHODS.iter().any(|m| name == m) => self.arity(recv),
            _ => None,
        }
    }
}

/// Methods whose results are about the same ring as their receivers.
const SLOT_METHODS: [&str; 4] = ["acquire", "wait", "fill", "fill_at"];
