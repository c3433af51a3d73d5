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
            let named = self.op_name(stmt, i == last);
            stmts.extend(named.clone().map(|name| Stmt::Name(Some(name))));
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
            stmts.extend(named.map(|_| Stmt::Name(None)));
        }
        Block { stmts, tail }
    }

    /// The name that `#[op(name)]` gives to the op of a statement.
    fn op_name(&mut self, stmt: &syn::Stmt, last: bool) -> Option<Ident> {
        let attribute = attributes(stmt)?.iter().find(|a| a.path().is_ident("op"))?;
        let fix = "write `#[op(name)]` before `let x = w.stage(…);`, `acc.mma(a, b);` or `y.store(…);`";
        let block = matches!(
            stmt,
            syn::Stmt::Expr(syn::Expr::ForLoop(_) | syn::Expr::If(_) | syn::Expr::Block(_) | syn::Expr::Match(_), _)
                | syn::Stmt::Macro(_)
        );
        let value = last && matches!(stmt, syn::Stmt::Expr(_, None));
        match attribute.parse_args::<Ident>() {
            Ok(name) if !block && !value => Some(name),
            _ => {
                self.errors.push(attribute.span(), CONSTRUCT, "`#[op(…)]` names the op of one statement", fix);
                None
            }
        }
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

/// The attributes of a statement; those before an expression belong to what stands leftmost in it.
fn attributes(stmt: &syn::Stmt) -> Option<&Vec<syn::Attribute>> {
    fn of(e: &syn::Expr) -> Option<&Vec<syn::Attribute>> {
        use syn::Expr as E;
        match e {
            E::Assign(x) => of(&x.left),
            E::Binary(x) => of(&x.left),
            E::Cast(x) => of(&x.expr),
            E::MethodCall(x) => Some(&x.attrs),
            E::Call(x) => Some(&x.attrs),
            E::Path(x) => Some(&x.attrs),
            E::Index(x) => Some(&x.attrs),
            E::Field(x) => Some(&x.attrs),
            E::ForLoop(x) => Some(&x.attrs),
            E::If(x) => Some(&x.attrs),
            E::Block(x) => Some(&x.attrs),
            E::Match(x) => Some(&x.attrs),
            _ => None,
        }
    }
    match stmt {
        syn::Stmt::Local(l) => Some(&l.attrs),
        syn::Stmt::Expr(e, _) => of(e),
        syn::Stmt::Macro(m) => Some(&m.attrs),
        syn::Stmt::Item(_) => None,
    }
}

/// Takes `#[op(name)]` out of what rustc checks: it knows no such attribute.
pub fn without_names(function: &syn::ItemFn) -> syn::ItemFn {
    struct Names;
    impl syn::visit_mut::VisitMut for Names {
        fn visit_attributes_mut(&mut self, list: &mut Vec<syn::Attribute>) {
            list.retain(|a| !a.path().is_ident("op"));
        }
    }
    let mut out = function.clone();
    syn::visit_mut::VisitMut::visit_block_mut(&mut Names, &mut out.block);
    out
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
