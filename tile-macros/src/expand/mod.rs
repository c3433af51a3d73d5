//! From the checked tree to staging code.

mod expr;
mod stmt;

use crate::ast::{Elem, Expr, ExprKind, Function, FunctionKind, Generic, ParamKind, ResultType, TileType};
use crate::time::Times;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote};

/// Emits one body.
pub struct Expand<'a> {
    /// Binding times.
    pub times: Times<'a>,
    /// The builder.
    pub cx: Ident,
    /// Index of the source file.
    pub file: Ident,
    /// Module with everything that expansions call.
    pub rt: Ident,
}

/// A local name that user code can't see.
fn hidden(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The module that goes beside the function.
pub fn module(function: &Function, item: &syn::ItemFn, krate: &syn::Path) -> TokenStream {
    let ex = Expand {
        times: Times { vars: &function.vars, generics: &function.generics },
        cx: hidden("cx"),
        file: hidden("file"),
        rt: hidden("__rt"),
    };
    let (name, vis) = (&item.sig.ident, &item.vis);
    let rt = &ex.rt;
    let cfgs = item.attrs.iter().filter(|a| a.path().is_ident("cfg"));
    let content = match function.kind {
        FunctionKind::Kernel => ex.kernel(function, name),
        FunctionKind::Func => ex.func(function, name),
    };
    let doc = match function.kind {
        FunctionKind::Kernel => format!("Staged form of the kernel `{name}`."),
        FunctionKind::Func => format!("Staged form of the tile function `{name}`."),
    };
    quote! {
        #[doc = #doc]
        #[allow(
            non_snake_case, unused, unused_qualifications, clippy::all, clippy::pedantic,
            reason = "staged form of the function of the same name"
        )]
        #(#cfgs)*
        #vis mod #name {
            use super::*;
            use #krate::build::stage as #rt;
            #content
        }
    }
}

impl Expand<'_> {
    fn kernel(&self, function: &Function, name: &Ident) -> TokenStream {
        let Expand { cx, file, rt, .. } = self;
        let text = name.to_string();
        let declared = function.generics.iter().map(|g| {
            let (name, is_type) = (g.name.to_string(), g.is_type);
            quote!((#name, #is_type))
        });
        let bind = self.bind_generics(function);
        let notes = function.generics.iter().map(|g| {
            let (name, text) = (&g.name, g.name.to_string());
            quote!(#cx.note_generic(#text, #name);)
        });
        let params = function.params.iter().map(|p| {
            let (name, text) = (&p.name, p.name.to_string());
            match &p.kind {
                ParamKind::Array(elem, rank, access) => {
                    let (elem, access) = (self.elem(elem), Ident::new(access, Span::mixed_site()));
                    quote!(let mut #name = #cx.param_global(#text, #elem, #rank, #rt::Access::#access);)
                }
                ParamKind::Scalar(d) => {
                    let d = Ident::new(d, Span::mixed_site());
                    quote!(let mut #name = #cx.param_scalar(#text, #rt::DType::#d);)
                }
                ParamKind::Tile | ParamKind::Host | ParamKind::List(_) => quote!(),
            }
        });
        let body = self.block(&function.body, false);
        let (names, types): (Vec<_>, Vec<_>) = function
            .generics
            .iter()
            .map(|g| (&g.name, if g.is_type { quote!(#rt::DType) } else { quote!(usize) }))
            .unzip();
        let generics = hidden("generics");
        quote! {
            /// The kernel, not instantiated yet.
            pub const DEF: #rt::KernelDef = #rt::KernelDef {
                name: #text,
                module: ::core::module_path!(),
                generics: &[#(#declared),*],
                stage,
            };

            /// Stages the body for these generics.
            ///
            /// # Errors
            /// Wrong generics, or diagnostics at the kernel's lines.
            pub fn stage(#generics: &[#rt::Generic]) -> ::core::result::Result<#rt::Kernel, #rt::Diagnostics> {
                #rt::check_generics(DEF.name, DEF.generics, #generics)?;
                #bind
                let mut owner = #rt::Cx::new(#text, ::core::file!());
                let #cx = &mut owner;
                let #file = 0u32;
                #(#notes)*
                #(#params)*
                let _: () = #body;
                owner.finish()
            }

            /// As [`stage`], with the generics as arguments.
            ///
            /// # Errors
            /// Diagnostics at the kernel's lines.
            pub fn instance(#(#names: #types),*) -> ::core::result::Result<#rt::Kernel, #rt::InstanceError> {
                DEF.instance(&[#(#rt::Generic::from(#names)),*])
            }
        }
    }

    fn func(&self, function: &Function, name: &Ident) -> TokenStream {
        let Expand { cx, file, rt, .. } = self;
        let bind = self.bind_generics(function);
        let (generics, args, at) = (hidden("generics"), hidden("args"), hidden("at"));
        let count = function.generics.len();
        let params = function.params.iter().map(|p| {
            let name = &p.name;
            let reader = match &p.kind {
                ParamKind::Array(..) | ParamKind::Scalar(_) | ParamKind::Tile => "argument",
                ParamKind::Host => "host_argument",
                ParamKind::List(None) => "list_argument",
                ParamKind::List(Some(n)) => {
                    return quote!(let mut #name = #cx.array_argument::<#n>(#at, #args.next()););
                }
            };
            let reader = Ident::new(reader, Span::mixed_site());
            quote!(let mut #name = #cx.#reader(#at, #args.next());)
        });
        let result = self.result(&function.result);
        let body = self.block(&function.body, !matches!(function.result, ResultType::Unit));
        let doc = format!("Stages a call of `{name}`: the place of the call, its generics and its arguments.");
        quote! {
            /// How many generics a call writes.
            pub const GENERICS: usize = #count;

            #[doc = #doc]
            pub fn stage(#cx: &mut #rt::Cx, #at: #rt::Span, #generics: &[#rt::Generic], #args: ::std::vec::Vec<#rt::Arg>) -> #result {
                let mut #args = #args.into_iter();
                let #file = #cx.file(::core::file!());
                #bind
                #(#params)*
                #body
            }
        }
    }

    fn bind_generics(&self, function: &Function) -> TokenStream {
        let generics = hidden("generics");
        function
            .generics
            .iter()
            .enumerate()
            .map(|(i, g)| {
                let (name, rt) = (&g.name, &self.rt);
                if g.is_type {
                    quote!(let #name: #rt::DType = #generics[#i].dtype();)
                } else {
                    quote!(let #name: usize = #generics[#i].int();)
                }
            })
            .collect()
    }

    fn result(&self, ty: &ResultType) -> TokenStream {
        let rt = &self.rt;
        match ty {
            ResultType::Unit => quote!(()),
            ResultType::Value => quote!(#rt::Val),
            ResultType::Tuple(parts) => {
                let parts = parts.iter().map(|p| self.result(p));
                quote!((#(#parts,)*))
            }
            ResultType::Array(item, len) => {
                let item = self.result(item);
                match len {
                    Some(n) => quote!([#item; #n]),
                    None => quote!(::std::vec::Vec<#item>),
                }
            }
        }
    }

    fn elem(&self, elem: &Elem) -> TokenStream {
        let rt = &self.rt;
        match elem {
            Elem::Named(variant) => {
                let variant = Ident::new(variant, Span::mixed_site());
                quote!(#rt::DType::#variant)
            }
            Elem::Param(name) => quote!(#name),
        }
    }

    fn tile_type(&self, ty: &TileType) -> TokenStream {
        let rt = &self.rt;
        let space = Ident::new(if ty.smem { "Smem" } else { "Tile" }, Span::mixed_site());
        let dtype = match &ty.elem {
            Some(e) => {
                let e = self.elem(e);
                quote!(::core::option::Option::Some(#e))
            }
            None => quote!(::core::option::Option::None),
        };
        let dims = &ty.dims;
        quote!(#rt::TypeSpec { space: #rt::Space::#space, dtype: #dtype, shape: ::std::vec![#(#dims),*] })
    }

    fn generic(&self, generic: &Generic) -> TokenStream {
        let rt = &self.rt;
        let inner = match generic {
            Generic::Tile(t) => self.tile_type(t),
            Generic::Elem(e) => self.elem(e),
            Generic::Int(e) => quote!(#e),
        };
        quote!(#rt::Generic::from(#inner))
    }

    /// Where an expression's own token is, as an expression.
    fn at(&self, e: &Expr) -> TokenStream {
        let (rt, file, start) = (&self.rt, &self.file, e.span.start());
        // A loop is its `for` and its range, a condition its `if` and what it asks.
        let end = match &e.kind {
            ExprKind::For { last, .. } | ExprKind::If { last, .. } if last.end().line == start.line => last.end(),
            _ => e.span.end(),
        };
        let len = match &e.kind {
            // An operator of two characters is two tokens, and spans can't be joined on stable Rust.
            ExprKind::Binary(op, ..) | ExprKind::Assign { op: Some(op), .. } => op.to_token_stream().to_string().len(),
            _ if end.line == start.line => end.column.saturating_sub(start.column).max(1),
            _ => 1,
        };
        let [line, col, len] = [start.line, start.column + 1, len].map(Literal::usize_unsuffixed);
        quote!(#rt::at(#file, #line, #col, #len))
    }
}
