//! Relative paths: the staged body lives one module deeper than the function it comes from.

use syn::visit_mut::{self, VisitMut};

struct Deepen;

impl VisitMut for Deepen {
    fn visit_path_mut(&mut self, path: &mut syn::Path) {
        deepen_path(path);
        visit_mut::visit_path_mut(self, path);
    }

    fn visit_use_tree_mut(&mut self, tree: &mut syn::UseTree) {
        let syn::UseTree::Path(p) = tree else { return };
        if p.ident == "self" {
            p.ident = syn::Ident::new("super", p.ident.span());
        } else if p.ident == "super" {
            let inner = tree.clone();
            *tree = syn::parse_quote!(super::#inner);
        }
    }
}

/// Rewrites `self::…` and `super::…` at the start of a path.
pub fn deepen_path(path: &mut syn::Path) {
    let alone = path.segments.len() == 1;
    let Some(first) = path.segments.first_mut() else { return };
    let span = first.ident.span();
    if first.ident == "self" && !alone {
        first.ident = syn::Ident::new("super", span);
    } else if first.ident == "super" {
        path.segments.insert(0, syn::PathSegment::from(syn::Ident::new("super", span)));
    }
}

/// Rewrites `self::…` and `super::…` in a body.
pub fn deepen_block(block: &mut syn::Block) {
    Deepen.visit_block_mut(block);
}

/// As [`deepen_block`], for an expression out of a macro's tokens.
pub fn deepen_expr(expr: &mut syn::Expr) {
    Deepen.visit_expr_mut(expr);
}

/// As [`deepen_block`], for a type of the signature.
pub fn deepen_type(ty: &mut syn::Type) {
    Deepen.visit_type_mut(ty);
}
