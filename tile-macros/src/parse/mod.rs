//! From `syn`'s tree to the macros' own.

mod expr;
mod roles;
mod stmt;
pub mod types;

use crate::ast::{Function, FunctionKind, GenericParam, Param, ParamKind, ResultType, Var, VarId};
use crate::errors::{Errors, SIGNATURE};
use crate::paths;
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
pub use roles::Arity;
use std::collections::HashMap;
pub use stmt::without_names;
use syn::spanned::Spanned;

/// Parser state: names in scope and errors so far.
pub struct Parser<'e> {
    /// Errors so far.
    pub errors: &'e mut Errors,
    /// All bindings so far.
    pub vars: Vec<Var>,
    /// The function's generic parameters.
    pub generics: &'e [GenericParam],
    scopes: Vec<HashMap<String, VarId>>,
    /// Bindings that are rings, slots or views.
    rings: HashMap<VarId, Arity>,
}

impl Parser<'_> {
    /// Binds a name in the innermost scope.
    pub fn bind(&mut self, name: &Ident) -> VarId {
        self.vars.push(Var { name: name.clone(), device: false, assigned: false });
        let id = self.vars.len() - 1;
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_string(), id);
        }
        id
    }

    fn lookup(&self, name: &Ident) -> Option<VarId> {
        let name = name.to_string();
        self.scopes.iter().rev().find_map(|s| s.get(&name).copied())
    }

    fn scoped<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        self.scopes.push(HashMap::new());
        let result = f(self);
        self.scopes.pop();
        result
    }

    /// The bindings that host code mentions. Names after `.` are fields or methods; `own` are bound in the code itself.
    fn mentioned(&self, tokens: TokenStream, own: &[String]) -> Vec<(VarId, Span)> {
        let mut found = Vec::new();
        self.scan(tokens, own, &mut found);
        found
    }

    fn scan(&self, tokens: TokenStream, own: &[String], found: &mut Vec<(VarId, Span)>) {
        let mut after_dot = false;
        for tree in tokens {
            match &tree {
                TokenTree::Group(g) => self.scan(g.stream(), own, found),
                TokenTree::Ident(i) if !after_dot && !own.contains(&i.to_string()) => {
                    found.extend(self.lookup(i).map(|v| (v, i.span())));
                }
                _ => {}
            }
            after_dot = matches!(&tree, TokenTree::Punct(p) if p.as_char() == '.');
        }
    }
}

/// Parses a kernel or tile function.
pub fn function(item: &syn::ItemFn, kind: FunctionKind, errors: &mut Errors) -> Function {
    let signature = &item.sig;
    let generics = generics(&signature.generics, errors);
    let mut parser =
        Parser { errors, vars: Vec::new(), generics: &generics, scopes: vec![HashMap::new()], rings: HashMap::new() };
    for (present, span, what) in [
        (signature.asyncness.is_some(), signature.asyncness.span(), "`async`"),
        (signature.unsafety.is_some(), signature.unsafety.span(), "`unsafe`"),
        (signature.abi.is_some(), signature.abi.span(), "`extern`"),
        (signature.constness.is_some(), signature.constness.span(), "`const`"),
        (signature.variadic.is_some(), signature.variadic.span(), "`...`"),
    ] {
        if present {
            parser.errors.push(span, SIGNATURE, format!("a kernel or tile function can't be {what}"), "remove it");
        }
    }
    let params = signature.inputs.iter().filter_map(|p| parser.param(p, kind)).collect();
    let result = match (&signature.output, kind) {
        (syn::ReturnType::Default, _) => ResultType::Unit,
        (syn::ReturnType::Type(_, ty), FunctionKind::Func) => types::result(ty),
        (syn::ReturnType::Type(_, ty), FunctionKind::Kernel) => {
            let fix = "write results through `&mut Global` parameters";
            parser.errors.push(ty.span(), SIGNATURE, "a kernel returns nothing", fix);
            ResultType::Unit
        }
    };
    let mut block = (*item.block).clone();
    paths::deepen_block(&mut block);
    if let (syn::ReturnType::Type(_, ty), Some(syn::Stmt::Expr(tail, None))) =
        (&signature.output, block.stmts.last_mut())
        && types::is_tile(ty)
    {
        stmt::complete(tail, ty);
    }
    let body = parser.block(&block);
    let vars = parser.vars;
    Function { kind, generics, params, result, body, vars }
}

fn generics(generics: &syn::Generics, errors: &mut Errors) -> Vec<GenericParam> {
    let mut out = Vec::new();
    for param in &generics.params {
        match param {
            syn::GenericParam::Lifetime(_) => {}
            syn::GenericParam::Const(c) => {
                if types::last_name(&c.ty).is_none_or(|n| n != "usize") {
                    let fix = format!("write `const {}: usize`", c.ident);
                    errors.push(c.ty.span(), SIGNATURE, "a const parameter is a `usize`", fix);
                }
                out.push(GenericParam { name: c.ident.clone(), is_type: false });
            }
            syn::GenericParam::Type(t) => {
                let is_elem = |b: &syn::TypeParamBound| match b {
                    syn::TypeParamBound::Trait(t) => t.path.segments.last().is_some_and(|s| {
                        ["Elem", "Number", "Word", "Bits", "Int", "Float", "Truth", "Factor"]
                            .iter()
                            .any(|n| s.ident == n)
                    }),
                    _ => false,
                };
                if !t.bounds.iter().any(is_elem) {
                    let fix = format!("write `{}: Elem`", t.ident);
                    errors.push(t.ident.span(), SIGNATURE, "a type parameter is an element type", fix);
                }
                out.push(GenericParam { name: t.ident.clone(), is_type: true });
            }
        }
    }
    if let Some(clause) = &generics.where_clause {
        let fix = "write the bound at the parameter; relations between numbers go into `require!`";
        errors.push(clause.span(), SIGNATURE, "kernels and tile functions have no `where`", fix);
    }
    out
}

impl Parser<'_> {
    fn param(&mut self, arg: &syn::FnArg, kind: FunctionKind) -> Option<Param> {
        let syn::FnArg::Typed(arg) = arg else {
            self.errors.push(arg.span(), SIGNATURE, "kernels and tile functions are no methods", "name the parameter");
            return None;
        };
        let syn::Pat::Ident(syn::PatIdent { ident, by_ref: None, subpat: None, .. }) = &*arg.pat else {
            let fix = "name the parameter, take it apart in the body";
            self.errors.push(arg.pat.span(), SIGNATURE, "a parameter can't be a pattern", fix);
            return None;
        };
        let var = self.bind(ident);
        let mut ty = (*arg.ty).clone();
        paths::deepen_type(&mut ty);
        match types::param(&ty, kind, self.generics) {
            Ok(param) => {
                self.vars[var].device = !matches!(param, ParamKind::Host);
                Some(Param { name: ident.clone(), kind: param })
            }
            Err((what, fix)) => {
                self.vars[var].device = true;
                self.errors.push(arg.ty.span(), SIGNATURE, what, fix);
                None
            }
        }
    }
}
