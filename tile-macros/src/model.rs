//! `#[tile::model]`: statements announce themselves to the graph they record on.

use crate::errors::{Errors, SIGNATURE};
use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::visit_mut::VisitMut;

/// Expands the attribute.
pub fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    if !args.is_empty() {
        errors.push(args.span(), SIGNATURE, "the attribute takes no arguments", "write `#[tile::model]`");
    }
    let mut function = match syn::parse2::<syn::ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(e) => {
            errors.not_a_function(&item, e);
            let errors = errors.into_tokens();
            return quote!(#item #errors);
        }
    };
    let graph = match function.sig.inputs.first() {
        Some(syn::FnArg::Typed(arg)) => match &*arg.pat {
            syn::Pat::Ident(p) => Some(p.ident.clone()),
            _ => None,
        },
        _ => None,
    };
    let Some(graph) = graph else {
        let fix = "write `fn model(g: &Graph, …)`";
        errors.push(function.sig.span(), SIGNATURE, "a model's first parameter is the graph it records on", fix);
        let errors = errors.into_tokens();
        return quote!(#function #errors);
    };
    let (name, vis) = (&function.sig.ident, &function.vis);
    let text = name.to_string();
    let line = Literal::usize_unsuffixed(name.span().start().line);
    let module = quote! {
        #[doc = concat!("Facts of the model `", #text, "`.")]
        #vis mod #name {
            /// The function's name.
            pub const NAME: &str = #text;
            /// The source file.
            pub const FILE: &str = ::core::file!();
            /// The line of the function's name.
            pub const LINE: u32 = #line;
        }
    };
    Announce { graph }.visit_block_mut(&mut function.block);
    let errors = errors.into_tokens();
    quote!(#function #module #errors)
}

struct Announce {
    graph: syn::Ident,
}

impl VisitMut for Announce {
    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        let stmts = std::mem::take(&mut block.stmts);
        for mut stmt in stmts {
            block.stmts.extend(self.announcement(&stmt));
            self.visit_stmt_mut(&mut stmt);
            block.stmts.push(stmt);
        }
    }

    // A closure or an item may not see the graph.
    fn visit_expr_closure_mut(&mut self, _: &mut syn::ExprClosure) {}
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}

impl Announce {
    fn announcement(&self, stmt: &syn::Stmt) -> Option<syn::Stmt> {
        let (name, code) = match stmt {
            syn::Stmt::Local(l) => (bound(&l.pat), l.init.as_ref().map(|i| &*i.expr)?),
            syn::Stmt::Expr(syn::Expr::Assign(a), _) => (assigned(&a.left), &*a.right),
            syn::Stmt::Expr(e, _) => (String::new(), e),
            syn::Stmt::Item(_) | syn::Stmt::Macro(_) => return None,
        };
        if !calls(code) {
            return None;
        }
        let start = code.span().start();
        let (line, col) = (Literal::usize_unsuffixed(start.line), Literal::usize_unsuffixed(start.column + 1));
        let graph = &self.graph;
        Some(syn::parse_quote!(#graph.at(::core::file!(), #line, #col, #name);))
    }
}

fn bound(pat: &syn::Pat) -> String {
    struct Names(Vec<String>);
    impl Visit<'_> for Names {
        fn visit_pat_ident(&mut self, p: &syn::PatIdent) {
            self.0.push(p.ident.to_string());
        }
    }
    let mut names = Names(Vec::new());
    names.visit_pat(pat);
    names.0.join(", ")
}

fn assigned(place: &syn::Expr) -> String {
    match place {
        syn::Expr::Path(p) => p.path.get_ident().map(ToString::to_string).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Whether evaluating the expression calls anything outside of nested blocks, which announce their own statements.
fn calls(e: &syn::Expr) -> bool {
    struct Calls(bool);
    impl Visit<'_> for Calls {
        fn visit_expr_call(&mut self, _: &syn::ExprCall) {
            self.0 = true;
        }
        fn visit_expr_method_call(&mut self, _: &syn::ExprMethodCall) {
            self.0 = true;
        }
        fn visit_block(&mut self, _: &syn::Block) {}
        fn visit_expr_closure(&mut self, _: &syn::ExprClosure) {}
    }
    let mut found = Calls(false);
    found.visit_expr(e);
    found.0
}
