//! `#[tile::schedule(kernel)]`: a host function that gives a schedule, tied to its kernel.
//!
//! The function stays as it is. Beside it a module of the same name holds `DEF`, which calls the function with the generics of
//! an instance and knows where every string literal of the body stands: those are the names of ops.

use crate::attr;
use crate::errors::{Errors, SIGNATURE};
use crate::paths;
use proc_macro2::{Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::Parser;
use syn::spanned::Spanned;

/// Expands the attribute.
pub fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let (kernel, krate) = arguments(args, &mut errors);
    let function = match syn::parse2::<syn::ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(e) => {
            errors.not_a_function(&item, e);
            let errors = errors.into_tokens();
            return quote!(#item #errors);
        }
    };
    let params = parameters(&function, &mut errors);
    let original = quote! {
        #[allow(non_snake_case, reason = "parameters are called like the kernel's generics")]
        #function
    };
    let (Some(kernel), true) = (kernel, errors.is_empty()) else {
        let errors = errors.into_tokens();
        return quote!(#original #errors);
    };
    let (name, vis) = (&function.sig.ident, &function.vis);
    let cfgs = function.attrs.iter().filter(|a| a.path().is_ident("cfg"));
    let text = name.to_string();
    let doc = format!("The schedule `{text}`, to be built for an instance of its kernel.");
    let rt = syn::Ident::new("__rt", Span::mixed_site());
    let given = syn::Ident::new("given", Span::mixed_site());
    let mut literals = Vec::new();
    collect(function.block.to_token_stream(), &mut literals);
    let literals = literals.iter().map(|(text, span)| {
        let at = place(&rt, *span);
        quote!((#text, #at))
    });
    let values = params.iter().map(|ident| {
        let (text, at) = (ident.to_string(), place(&rt, ident.span()));
        quote_spanned!(ident.span()=> #given.value(#text, #at)?)
    });
    let at = place(&rt, name.span());
    quote! {
        #original

        #[doc = #doc]
        #[allow(unused, clippy::all, clippy::pedantic, reason = "what the command knows of the function of the same name")]
        #(#cfgs)*
        #vis mod #name {
            use super::*;
            use #krate::build::stage as #rt;

            /// The schedule, not built yet.
            pub const DEF: #rt::ScheduleDef = #rt::ScheduleDef {
                name: #text,
                kernel: #kernel::DEF,
                file: ::core::file!(),
                span: #at,
                literals: &[#(#literals),*],
                build,
            };

            fn build(#given: &#rt::Arguments<'_>) -> ::core::result::Result<#rt::Schedule, #rt::Diagnostics> {
                ::core::result::Result::Ok(super::#name(#(#values),*))
            }
        }
    }
}

/// The kernel's path, and the facade's.
fn arguments(args: TokenStream, errors: &mut Errors) -> (Option<syn::Path>, syn::Path) {
    let span = args.span();
    let parser = |input: syn::parse::ParseStream| {
        let mut kernel = input.call(syn::Path::parse_mod_style)?;
        paths::deepen_path(&mut kernel);
        let rest = match input.parse::<Option<syn::Token![,]>>()? {
            Some(_) => input.parse::<TokenStream>()?,
            None => TokenStream::new(),
        };
        if !input.is_empty() {
            return Err(input.error("unexpected"));
        }
        Ok((kernel, rest))
    };
    match parser.parse2(args) {
        Ok((kernel, rest)) => (Some(kernel), attr::crate_path(rest, errors)),
        Err(_) => {
            let fix = "write `#[tile::schedule(kernel)]`, or `#[tile::schedule(kernel, crate = tile_lang)]`";
            errors.push(span, SIGNATURE, "the attribute takes the path of a kernel", fix);
            (None, attr::crate_path(TokenStream::new(), errors))
        }
    }
}

/// Names of the parameters.
fn parameters(function: &syn::ItemFn, errors: &mut Errors) -> Vec<syn::Ident> {
    let mut out = Vec::new();
    for arg in &function.sig.inputs {
        match arg {
            syn::FnArg::Typed(arg) => match &*arg.pat {
                syn::Pat::Ident(p) if p.by_ref.is_none() && p.subpat.is_none() => {
                    out.push(p.ident.clone());
                }
                other => {
                    let fix = "name the parameter like the generic of the kernel that it stands for";
                    errors.push(other.span(), SIGNATURE, "a parameter can't be a pattern", fix);
                }
            },
            syn::FnArg::Receiver(r) => {
                errors.push(r.span(), SIGNATURE, "a schedule is no method", "write a free function");
            }
        }
    }
    let generics = &function.sig.generics;
    if !generics.params.is_empty() {
        let fix = "take the kernel's generics as parameters of the same names: `fn wide(BK: usize) -> Schedule`";
        errors.push(generics.span(), SIGNATURE, "a schedule has no generics of its own", fix);
    }
    if matches!(function.sig.output, syn::ReturnType::Default) {
        let fix = "write `-> Schedule`";
        errors.push(function.sig.ident.span(), SIGNATURE, "a schedule's function gives a `Schedule`", fix);
    }
    for (token, what) in [
        (function.sig.asyncness.as_ref().map(Spanned::span), "async"),
        (function.sig.unsafety.as_ref().map(Spanned::span), "unsafe"),
    ] {
        if let Some(span) = token {
            errors.push(span, SIGNATURE, format!("a schedule's function can't be {what}"), "write it without");
        }
    }
    out
}

/// String literals at any depth.
fn collect(tokens: TokenStream, out: &mut Vec<(String, Span)>) {
    for tree in tokens {
        match tree {
            TokenTree::Group(g) => collect(g.stream(), out),
            TokenTree::Literal(l) => {
                if let Ok(text) = syn::parse2::<syn::LitStr>(TokenTree::Literal(l.clone()).into()) {
                    out.push((text.value(), l.span()));
                }
            }
            _ => {}
        }
    }
}

/// A span as an expression; the file is filled in when the schedule is built.
fn place(rt: &syn::Ident, span: Span) -> TokenStream {
    let (start, end) = (span.start(), span.end());
    let len = if end.line == start.line { end.column.saturating_sub(start.column).max(1) } else { 1 };
    let [line, col, len] = [start.line, start.column + 1, len].map(Literal::usize_unsuffixed);
    quote!(#rt::at(0, #line, #col, #len))
}
