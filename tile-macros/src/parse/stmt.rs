//! Blocks, statements and patterns.

use super::{Parser, types};
use crate::ast::{Block, Expr, ExprKind, Let, Pat, Stmt};
use crate::errors::CONSTRUCT;
use proc_macro2::Ident;
use syn::spanned::Spanned;
use syn::visit::Visit;

impl Parser<'_> {
    /// A block, in a scope of its own.
    pub fn block(&mut self, block: &syn::Block) -> Block {
        self.scoped(|p| p.open_block(block))
    }

    /// A block in the scope that is open.
    pub fn open_block(&mut self, block: &syn::Block) -> Block {
        let mut stmts = Vec::new();
        let mut tail = None;
        let last = block.stmts.len().wrapping_sub(1);
        for (i, stmt) in block.stmts.iter().enumerate() {
            match stmt {
                syn::Stmt::Local(local) => stmts.push(Stmt::Let(Box::new(self.local(local)))),
                syn::Stmt::Item(syn::Item::Macro(m)) => {
                    let fix = "declare it outside of the kernel";
                    self.errors.push(m.span(), CONSTRUCT, "kernels have no macros that declare items", fix);
                }
                syn::Stmt::Item(item) => stmts.push(Stmt::Item(Box::new(item.clone()))),
                syn::Stmt::Expr(e, semi) => {
                    let expr = self.expr(e);
                    if semi.is_none() && i == last {
                        tail = Some(Box::new(expr));
                    } else {
                        stmts.push(Stmt::Expr(Box::new(expr)));
                    }
                }
                syn::Stmt::Macro(m) => {
                    let expr = self.macro_call(&m.mac);
                    let is_require = matches!(expr.kind, ExprKind::Require(_));
                    if m.semi_token.is_none() && i == last && !is_require {
                        tail = Some(Box::new(expr));
                    } else {
                        stmts.push(Stmt::Expr(Box::new(expr)));
                    }
                }
            }
        }
        Block { stmts, tail }
    }

    fn local(&mut self, local: &syn::Local) -> Let {
        let (syn_pat, ty) = match &local.pat {
            syn::Pat::Type(t) => ((*t.pat).clone(), Some((*t.ty).clone())),
            other => (other.clone(), None),
        };
        let init = local.init.as_ref().map(|init| {
            if let Some((token, _)) = &init.diverge {
                self.errors.push(token.span, CONSTRUCT, "kernels have no `let … else`", "test the condition with `if`");
            }
            let mut e = (*init.expr).clone();
            if let Some(ty) = ty.as_ref().filter(|t| types::is_tile(t)) {
                complete(&mut e, ty);
            }
            self.expr(&e)
        });
        if init.is_none() {
            self.errors.push(
                local.pat.span(),
                CONSTRUCT,
                "kernels have no `let` without a value",
                "give the variable its initial value",
            );
        }
        let pat = self.pat(&syn_pat);
        if let (syn::Pat::Ident(_), [(var, _)], Some(arity)) =
            (&syn_pat, &pat.vars[..], init.as_ref().and_then(|e| self.arity(e)))
        {
            self.rings.insert(*var, arity);
        }
        Let { pat, ty, init }
    }

    /// A pattern; its names are bound in the innermost scope.
    pub fn pat(&mut self, pat: &syn::Pat) -> Pat {
        struct Names(Vec<Ident>);
        impl Visit<'_> for Names {
            fn visit_pat_ident(&mut self, p: &syn::PatIdent) {
                self.0.push(p.ident.clone());
                if let Some((_, sub)) = &p.subpat {
                    self.visit_pat(sub);
                }
            }
        }
        if let syn::Pat::Tuple(t) = pat
            && !t.elems.iter().any(|p| matches!(p, syn::Pat::Rest(_)))
        {
            let parts: Vec<Pat> = t.elems.iter().map(|p| self.pat(p)).collect();
            let vars = parts.iter().flat_map(|p| p.vars.iter().cloned()).collect();
            return Pat { syn: pat.clone(), vars, tuple: Some(parts) };
        }
        let mut names = Names(Vec::new());
        names.visit_pat(pat);
        let vars = names.0.iter().map(|n| (self.bind(n), n.clone())).collect();
        Pat { syn: pat.clone(), vars, tuple: None }
    }

    /// A unit expression that stands where something was rejected.
    pub fn nothing(&self, span: proc_macro2::Span) -> Expr {
        Expr { kind: ExprKind::Tuple(Vec::new()), span }
    }
}

/// `let x: Tile<…> = g.load(…)`, `Tile::zero()` as a function's value: the type known stands in for the generics left
/// out.
pub fn complete(e: &mut syn::Expr, ty: &syn::Type) {
    match e {
        syn::Expr::MethodCall(m)
            if m.turbofish.is_none() && ["load", "load_at", "stage", "stage_at"].iter().any(|n| m.method == n) =>
        {
            m.turbofish = Some(syn::parse_quote!(::<#ty>));
        }
        syn::Expr::Call(call) => {
            let syn::Expr::Path(path) = &mut *call.func else { return };
            let n = path.path.segments.len();
            let bare = n == 2 && path.path.segments[0].ident == "Tile" && path.path.segments[0].arguments.is_none();
            if let (true, syn::Type::Path(full)) = (bare, ty)
                && let (Some(full), Some(first)) = (full.path.segments.last(), path.path.segments.first_mut())
            {
                first.arguments = full.arguments.clone();
            }
        }
        _ => {}
    }
}
