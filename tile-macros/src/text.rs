//! Source text of a token stream, for messages.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The tokens with the usual spaces.
pub fn tidy(tokens: &TokenStream) -> String {
    let mut out = String::new();
    write(tokens, &mut out);
    out
}

fn write(tokens: &TokenStream, out: &mut String) {
    let mut glued = true;
    for tree in tokens.clone() {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{ ", " }"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                if (open == "{ " && !glued) || (open == "(" && out.ends_with([',', '=', '%', '+', '/', '<', '|'])) {
                    out.push(' ');
                }
                out.push_str(open);
                write(&group.stream(), out);
                out.push_str(close);
                glued = false;
            }
            TokenTree::Punct(punct) => {
                let c = punct.as_char();
                let tight = matches!(c, '.' | ',' | ':' | ';');
                if !glued && !tight {
                    out.push(' ');
                }
                out.push(c);
                glued =
                    punct.spacing() == Spacing::Joint || matches!(c, '.' | ':') || (c == '!' && !out.ends_with(" !"));
            }
            other => {
                if !glued || out.ends_with(',') {
                    out.push(' ');
                }
                out.push_str(&other.to_string());
                glued = false;
            }
        }
    }
}
