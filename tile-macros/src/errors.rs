//! Diagnostics of the macros: collected, each at the user's token, with a code and one fix.

use proc_macro2::{Span, TokenStream};
use syn::spanned::Spanned;

/// What went wrong so far.
#[derive(Default)]
pub struct Errors(Vec<syn::Error>);

/// A Rust construct or type that the language lacks.
pub const CONSTRUCT: &str = "E01";
/// A parameter, generic or attribute that a kernel can't have.
pub const SIGNATURE: &str = "E15";
/// A type or extent must be written at the op.
pub const MISSING_TYPE: &str = "E16";
/// A device value where a host value is needed.
pub const HOST_NEEDED: &str = "E17";

/// A slot of the ring that is not committed, or not released.
pub const SLOT: &str = "E24";
/// A role in the wrong place, or one that changes what others see.
pub const ROLE: &str = "E33";

/// Whether an error of the Rust parser stands at no token: at the end of the input it stands at the whole attribute, whatever it says. It
/// belongs to the last token then.
pub fn is_nowhere(span: Span) -> bool {
    let attribute = Span::call_site();
    (span.start(), span.end()) == (attribute.start(), attribute.end())
}

impl Errors {
    /// Adds one: what is wrong and the fix.
    pub fn push(&mut self, span: Span, code: &str, what: impl AsRef<str>, fix: impl AsRef<str>) {
        let message = format!("[{code}] {}\nhelp: {}", what.as_ref(), fix.as_ref());
        self.0.push(syn::Error::new(span, message));
    }

    /// Adds the Rust parser's error on what should be a function; on another item, that it is none.
    pub fn not_a_function(&mut self, item: &TokenStream, error: syn::Error) {
        match syn::parse2::<syn::Item>(item.clone()) {
            Ok(syn::Item::Fn(_) | syn::Item::Verbatim(_)) | Err(_) => {
                let last = item.clone().into_iter().last().filter(|_| is_nowhere(error.span()));
                self.0.push(match last {
                    Some(last) => syn::Error::new(last.span(), &error),
                    None => error,
                });
            }
            Ok(other) => self.push(other.span(), SIGNATURE, "the attribute belongs on a function", "remove it"),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As `compile_error!` invocations.
    pub fn into_tokens(self) -> TokenStream {
        self.0.into_iter().map(|e| e.to_compile_error()).collect()
    }
}
