//! Procedural macros of the tile language.
//!
//! A function under one of the attributes is parsed into the macros' own tree (`ast`), binding times are inferred
//! (`time`), everything wrong is reported at once (`check`), and only an accepted tree is expanded (`expand`). The
//! function itself always stays, so that rustc checks it.

mod ast;
mod attr;
mod check;
mod errors;
mod expand;
mod linear;
mod model;
mod parse;
mod paths;
mod schedule;
#[cfg(test)]
mod tests;
mod text;
mod time;

use ast::FunctionKind;
use errors::Errors;
use proc_macro2::TokenStream;
use quote::quote;

/// A GPU kernel over tiles: `#[tile::kernel]` or `#[tile::kernel(crate = path)]`.
///
/// The function stays for rustc's checks. Beside it a module of the same name holds `DEF`, `stage` and `instance`, which
/// build the kernel's tile IR with the const and type parameters as values.
#[proc_macro_attribute]
pub fn kernel(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand_function(args.into(), item.into(), FunctionKind::Kernel).into()
}

/// A function over tiles that kernels call: `#[tile::func]`. Calls write all generics: `f::<T, 64>(x, k)`.
#[proc_macro_attribute]
pub fn func(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand_function(args.into(), item.into(), FunctionKind::Func).into()
}

/// A host function that records a model's graph on its first parameter: `#[tile::model]`. Every statement announces its
/// source place and the name that it binds.
#[proc_macro_attribute]
pub fn model(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    model::expand(args.into(), item.into()).into()
}

/// A schedule of a kernel: `#[tile::schedule(kernel)]` on a function that returns a `Schedule`. Its parameters, if any, are
/// generics of the kernel, by name. Beside the function a module of the same name holds `DEF`.
#[proc_macro_attribute]
pub fn schedule(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    schedule::expand(args.into(), item.into()).into()
}

fn expand_function(args: TokenStream, item: TokenStream, kind: FunctionKind) -> TokenStream {
    let mut errors = Errors::default();
    let krate = attr::crate_path(args, &mut errors);
    let parsed = match syn::parse2::<syn::ItemFn>(item.clone()) {
        Ok(parsed) => parsed,
        Err(e) => {
            errors.not_a_function(&item, e);
            let errors = errors.into_tokens();
            return quote!(#item #errors);
        }
    };
    let checked = parse::without_names(&parsed);
    let original = quote! {
        #[allow(
            dead_code, unused_labels, clippy::too_many_arguments, clippy::needless_range_loop, clippy::manual_clamp,
            reason = "kept for rustc's checks; its staged form runs"
        )]
        #checked
    };
    let mut function = parse::function(&parsed, kind, &mut errors);
    time::infer(&mut function);
    check::check(&function, &mut errors);
    linear::check(&function, &mut errors);
    if !errors.is_empty() {
        let errors = errors.into_tokens();
        return quote!(#original #errors);
    }
    let module = expand::module(&function, &parsed, &krate);
    quote!(#original #module)
}
