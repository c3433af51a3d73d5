//! Arguments of the attributes.

use crate::errors::{Errors, SIGNATURE, is_nowhere};
use proc_macro2::TokenStream;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;

/// `crate = path`, or the facade's path.
pub fn crate_path(args: TokenStream, errors: &mut Errors) -> syn::Path {
    let facade: syn::Path = syn::parse_quote!(::monotile);
    if args.is_empty() {
        return facade;
    }
    let span = args.span();
    let parser = |input: ParseStream| {
        input.parse::<syn::Token![crate]>()?;
        input.parse::<syn::Token![=]>()?;
        let path = input.call(syn::Path::parse_mod_style)?;
        input.parse::<Option<syn::Token![,]>>()?;
        Ok(path)
    };
    match parser.parse2(args) {
        Ok(path) => path,
        Err(e) => {
            let span = if is_nowhere(e.span()) { span } else { e.span() };
            errors.push(
                span,
                SIGNATURE,
                "the attribute takes `crate = path` only",
                "write `crate = tile_lang` or nothing",
            );
            facade
        }
    }
}
