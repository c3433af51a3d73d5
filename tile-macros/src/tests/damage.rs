//! Damaged token streams, and what every expansion of them must satisfy.

use super::{expand_all, tokens};
use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use std::path::{Path, PathBuf};

/// Where the sources lie: this checkout, unless the test binary was carried elsewhere.
pub fn repository() -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("MONOTILE_REPOSITORY").map_or_else(here, PathBuf::from)
}

/// The folder of inputs that once failed.
pub fn findings() -> PathBuf {
    repository().join("tests/fuzz/macro")
}

/// A small generator of numbers, the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }

    fn token(&mut self) -> TokenTree {
        const WORDS: [&str; 16] = [
            "x", "let", "for", "if", "match", "Tile", "mma", "super", "self", "load", "T", "return", "keep", "work",
            "usize", "_",
        ];
        let ident = |text: &str| TokenTree::Ident(Ident::new(text, Span::call_site()));
        let mut token = match self.below(5) {
            0 => TokenTree::Literal(Literal::i32_unsuffixed(self.below(300) as i32)),
            1 => {
                let c = ['+', '=', '<', '>', '.', ',', ';', ':', '&', '!', '|', '?', '#', '-'][self.below(14)];
                TokenTree::Punct(Punct::new(c, if self.below(2) == 0 { Spacing::Alone } else { Spacing::Joint }))
            }
            2 => {
                let d = [Delimiter::Parenthesis, Delimiter::Brace, Delimiter::Bracket, Delimiter::None][self.below(4)];
                TokenTree::Group(Group::new(d, TokenStream::new()))
            }
            _ => ident(WORDS[self.below(WORDS.len())]),
        };
        // A token of the user's has a place.
        token.set_span(PLACED.with(Clone::clone));
        token
    }

    /// Damages one place of the stream, at any depth.
    pub fn damage(&mut self, tokens: TokenStream) -> TokenStream {
        let mut list: Vec<TokenTree> = tokens.into_iter().collect();
        if list.is_empty() {
            return std::iter::once(self.token()).collect();
        }
        let at = self.below(list.len());
        let groups: Vec<usize> = (0..list.len()).filter(|i| matches!(list[*i], TokenTree::Group(_))).collect();
        if !groups.is_empty() && self.below(4) > 0 {
            let i = groups[self.below(groups.len())];
            if let TokenTree::Group(g) = &list[i] {
                let mut damaged = Group::new(g.delimiter(), self.damage(g.stream()));
                damaged.set_span(g.span());
                list[i] = TokenTree::Group(damaged);
            }
            return list.into_iter().collect();
        }
        match self.below(4) {
            0 => drop(list.remove(at)),
            1 => list.insert(at, list[at].clone()),
            2 => list[at] = self.token(),
            _ => {
                let other = self.below(list.len());
                list.swap(at, other);
            }
        }
        list.into_iter().collect()
    }
}

thread_local! {
    /// A place in some source. Parsing it once for each thread keeps the map of sources small.
    static PLACED: Span = tokens("x").into_iter().next().map_or_else(Span::call_site, |t| t.span());
}

/// The kernels, functions and models of the library, attributes left out.
pub fn library() -> Vec<TokenStream> {
    let models = repository().join("models/src");
    let mut out = Vec::new();
    for folder in ["kernels", "zoo"] {
        let files = std::fs::read_dir(models.join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
        let mut files: Vec<_> = files.flatten().map(|f| f.path()).collect();
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            out.extend(parsed.items.into_iter().filter_map(|item| match item {
                syn::Item::Fn(mut f) if f.attrs.iter().any(|a| a.path().segments[0].ident == "tile") => {
                    f.attrs.clear();
                    Some(quote::quote!(#f))
                }
                _ => None,
            }));
        }
    }
    out
}

/// Errors in expanded code that point at no token of the user's.
pub fn misplaced(expanded: TokenStream) -> usize {
    expanded
        .into_iter()
        .map(|t| match t {
            TokenTree::Group(g) => misplaced(g.stream()),
            TokenTree::Ident(i) if i == "compile_error" => usize::from(i.span().byte_range().is_empty()),
            _ => 0,
        })
        .sum()
}

/// Gives a damaged function to all attributes: code that parses, or errors that point at tokens.
pub fn survives(item: &TokenStream) {
    let parsed = syn::parse2::<syn::ItemFn>(item.clone());
    let is_function = parsed.is_ok();
    // `syn` joins a name in a group without delimiters with the generic arguments behind it. After `super` these don't parse without the
    // group, which is for rustc to say.
    let parses_again = parsed.is_ok_and(|f| syn::parse2::<syn::ItemFn>(quote::quote!(#f)).is_ok());
    for out in expand_all(item) {
        let text = out.to_string();
        if is_function {
            assert!(!parses_again || syn::parse2::<syn::File>(out.clone()).is_ok(), "{item}\n\n{text}");
        } else {
            assert!(text.contains("compile_error"), "{item}\n\n{text}");
        }
        assert!(item.is_empty() || misplaced(out) == 0, "an error points nowhere\n{item}\n\n{text}");
    }
}

/// What lies in the folder of findings; what isn't tokens can't reach a macro.
pub fn found() -> Vec<TokenStream> {
    let Ok(entries) = std::fs::read_dir(findings()) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    let texts = files.iter().map(|f| std::fs::read_to_string(f).unwrap_or_else(|e| panic!("{}: {e}", f.display())));
    texts.filter_map(|text| text.parse().ok()).map(undelimited).collect()
}

/// What stands for a group without delimiters in a text, where its tokens follow in braces: by itself a text can't show one.
const UNDELIMITED: &str = "__undelimited";

/// Tokens as a text that [`found`] reads again.
pub fn written(tokens: &TokenStream) -> String {
    fn marked(tokens: TokenStream) -> TokenStream {
        let mark = |g: Group| match g.delimiter() {
            Delimiter::None => {
                let name = Ident::new(UNDELIMITED, g.span());
                vec![TokenTree::Ident(name), TokenTree::Group(Group::new(Delimiter::Brace, marked(g.stream())))]
            }
            other => vec![TokenTree::Group(Group::new(other, marked(g.stream())))],
        };
        tokens.into_iter().flat_map(|t| if let TokenTree::Group(g) = t { mark(g) } else { vec![t] }).collect()
    }
    marked(tokens.clone()).to_string()
}

/// Reads [`written`] tokens.
pub fn undelimited(tokens: TokenStream) -> TokenStream {
    let mut out = Vec::new();
    for token in tokens {
        let TokenTree::Group(g) = token else {
            out.push(token);
            continue;
        };
        let mark = |t: &mut TokenTree| matches!(t, TokenTree::Ident(i) if i == UNDELIMITED);
        let delimiter = if out.pop_if(mark).is_some() { Delimiter::None } else { g.delimiter() };
        let mut group = Group::new(delimiter, undelimited(g.stream()));
        group.set_span(g.span());
        out.push(TokenTree::Group(group));
    }
    out.into_iter().collect()
}
