//! The expansions on well-formed and on damaged input.

use crate::ast::FunctionKind;
use crate::{expand_function, model, schedule};
use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

const SOURCES: [&str; 5] = [
    r#"
    pub fn linear<const T: usize, const BM: usize, W: Elem>(x: &Global<f32, 2>, w: &Weight<W, 2>, y: &mut Global<f32, 2>, eps: f32) {
        require!(x.dim(1) == w.dim(1), 2 * T == BM);
        let [i] = work([cdiv(w.dim(0), BM)]);
        let (mut a, mut list) = (0.0, vec![Tile::<f32, T>::zero(); 2]);
        'k: for k in pipelined::<4>(0..w.dim(1)) {
            let wt = w.stage::<Smem<W, BM, 16>>([i, k]);
            let mut acc = Tile::<f32, BM, T>::zero();
            acc.mma(wt.cast::<bf16>(), normed::<T, 16>(x, k).t());
            list[0] += acc.col_sum() * a as f32;
            a = if k % 2 == 0 && eps > 0.0 { a + 1.0 } else { -a };
        }
        for u in (0..T).step_by(2) {
            y.store([u as i32, i], list[u % 2].keep(|r, _| r < i || !(r != 3), NEG_INF));
        }
    }"#,
    r#"
    fn pick<const N: usize>(x: Tile<f32, N>, mode: usize, at: [i32; 2]) -> (Tile<f32, N>, [i32; N]) {
        let y: Tile<f32, N> = Tile::full(1.0);
        let z = match mode { 0 => x.exp(), n if n > 2 => x * n as f32, _ => { let q = x; q.max(y) } };
        if let Some(last) = [1, 2, 3].iter().map(|v| v + 1).last() { use_it(last); }
        let mut v = Vec::new();
        for a in at { v.push(a); }
        (z, [at[0] << 2 ^ v[1] & 7; N])
    }"#,
    r#"
    fn wrong(self, x: &[f32], (a, b): (i32, i32)) -> Option<i32> {
        while a > 0 { break; }
        let Some(c) = b else { return None };
        loop { continue; }
        let d = x?.iter().map(|y| a + y).collect::<Vec<_>>();
        unsafe { assert!(a == 0, "{}", b) }
        Point { x: a, ..d }.x.await
    }"#,
    r#"
    pub fn model(g: &Graph, layers: usize) -> i32 {
        let mut x = g.op("embed");
        for layer in 0..layers {
            if layer > 2 { x = g.op("late"); } else { g.op("early"); }
            match x { 0 => { let y = g.op("zero"); } _ => {} }
        }
        g.op("head") + x
    }"#,
    r#"
    pub fn wide(BK: usize, w: DType) -> Schedule {
        let ops = ["codes", "blocks"];
        let s = Schedule::new().ring("tiles", ops).stages("tiles", if BK > 128 { 2 } else { 4 });
        s.split("k.acc", [1, 1, 8]).role("load", ["codes", "blocks"]).raster(Raster::Grouped(8))
    }"#,
];

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
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
        token.set_span(placed());
        token
    }

    /// Damages one place of the stream, at any depth.
    fn damage(&mut self, tokens: TokenStream) -> TokenStream {
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

/// A place in some source.
fn placed() -> Span {
    tokens("x").into_iter().next().map_or_else(Span::call_site, |t| t.span())
}

/// The kernels, functions and models of the library, attributes left out.
fn library() -> Vec<TokenStream> {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/src");
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
fn misplaced(expanded: TokenStream) -> usize {
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
fn survives(item: &TokenStream) {
    let is_function = syn::parse2::<syn::ItemFn>(item.clone()).is_ok();
    for out in expand_all(item) {
        let text = out.to_string();
        if is_function {
            assert!(syn::parse2::<syn::File>(out.clone()).is_ok(), "{item}\n\n{text}");
        } else {
            assert!(text.contains("compile_error"), "{item}\n\n{text}");
        }
        assert!(item.is_empty() || misplaced(out) == 0, "an error points nowhere\n{item}\n\n{text}");
    }
}

#[test]
fn damaged_kernels_of_the_library_never_panic() {
    assert_eq!(misplaced(quote::quote!(compile_error!("nowhere"))), 1);
    let mut random = Random(23);
    let library = library();
    assert!(library.len() > 20, "{} functions", library.len());
    for source in &library {
        survives(source);
        for _ in 0..40 {
            let mut item = source.clone();
            for _ in 0..1 + random.below(4) {
                item = random.damage(item);
            }
            survives(&item);
        }
    }
}

/// As the test above, for the minutes that `MONOTILE_FUZZ_MINUTES` says; `cargo xtask fuzz macro`.
#[test]
#[ignore = "runs for minutes"]
fn fuzz() {
    let number = |name: &str, default: f64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let end = std::time::Duration::from_secs_f64(60.0 * number("MONOTILE_FUZZ_MINUTES", 1.0));
    let mut random = Random(number("MONOTILE_FUZZ_SEED", 1.0) as u64);
    let sources: Vec<TokenStream> = library().into_iter().chain(SOURCES.map(tokens)).collect();
    let (begin, mut inputs) = (std::time::Instant::now(), 0u64);
    while begin.elapsed() < end {
        let mut item = sources[random.below(sources.len())].clone();
        for _ in 0..1 + random.below(8) {
            item = random.damage(item);
        }
        let start = std::time::Instant::now();
        survives(&item);
        assert!(start.elapsed().as_secs() < 10, "takes too long: {item}");
        inputs += 1;
    }
    println!("macro: {inputs} inputs, 0 panics, every error at a token");
}

fn tokens(source: &str) -> TokenStream {
    source.parse().unwrap_or_else(|e| panic!("{e}"))
}

fn expand_all(item: &TokenStream) -> [TokenStream; 4] {
    let args = || tokens("crate = tile_lang");
    [
        expand_function(args(), item.clone(), FunctionKind::Kernel),
        expand_function(args(), item.clone(), FunctionKind::Func),
        model::expand(TokenStream::new(), item.clone()),
        schedule::expand(tokens("linear, crate = tile_lang"), item.clone()),
    ]
}

#[test]
fn well_formed_input_gives_well_formed_code() {
    for (i, source) in SOURCES.iter().enumerate() {
        for out in expand_all(&tokens(source)) {
            assert!(syn::parse2::<syn::File>(out.clone()).is_ok(), "{i}: {out}");
        }
    }
    let [kernel, ..] = expand_all(&tokens(SOURCES[0]));
    assert!(!kernel.to_string().contains("compile_error"), "{kernel}");
    let [_, func, ..] = expand_all(&tokens(SOURCES[1]));
    assert!(!func.to_string().contains("compile_error"), "{func}");
    let [.., schedule] = expand_all(&tokens(SOURCES[4]));
    assert!(!schedule.to_string().contains("compile_error"), "{schedule}");
    assert!(schedule.to_string().contains("linear :: DEF"), "{schedule}");
}

#[test]
fn every_mistake_of_a_function_is_reported() {
    let [kernel, ..] = expand_all(&tokens(SOURCES[2]));
    let found = kernel.to_string().matches("compile_error").count();
    assert!(found >= 10, "{found}: {kernel}");
    assert!(!kernel.to_string().contains("mod wrong"), "no staged form of a function with mistakes");
}

#[test]
fn damaged_input_never_panics() {
    let mut random = Random(7);
    let mut accepted = 0;
    for source in SOURCES {
        for _ in 0..600 {
            let mut item = tokens(source);
            for _ in 0..1 + random.below(4) {
                item = random.damage(item);
            }
            let is_function = syn::parse2::<syn::ItemFn>(item.clone()).is_ok();
            for out in expand_all(&item) {
                if is_function {
                    accepted += 1;
                    assert!(syn::parse2::<syn::File>(out.clone()).is_ok(), "{item}\n\n{out}");
                } else {
                    assert!(out.to_string().contains("compile_error"), "{item}\n\n{out}");
                }
            }
        }
    }
    assert!(accepted > 300, "too few damaged functions still parse: {accepted}");
}

#[test]
fn damaged_attributes_are_reported() {
    for args in ["crate", "crate =", "crate = 3", "schedule", "crate = a, b", "crate = a::b extra", "= crate"] {
        let out = expand_function(tokens(args), tokens("fn f() {}"), FunctionKind::Kernel).to_string();
        assert!(out.contains("compile_error"), "{args}");
    }
    for args in ["", "3", "crate =", "a b", "a::<b>", "a, crate", "a, crate = 3", "a,, crate = b", "a, b"] {
        let out = schedule::expand(tokens(args), tokens("fn f() -> Schedule { s() }")).to_string();
        assert!(out.contains("compile_error"), "{args}");
    }
    for args in ["a", "a::b", "super::a, crate = b", "self::a,", "crate::a::b"] {
        let out = schedule::expand(tokens(args), tokens("fn f() -> Schedule { s() }")).to_string();
        assert!(!out.contains("compile_error"), "{args}: {out}");
    }
    for item in
        ["fn f() {}", "fn f<T>() -> S {}", "fn f(self) -> S {}", "async fn f() -> S {}", "fn f((a, b): T) -> S {}"]
    {
        let out = schedule::expand(tokens("a"), tokens(item)).to_string();
        assert!(out.contains("compile_error"), "{item}");
    }
    for args in ["", "crate = a", "crate = ::a::b", "crate = crate", "crate = a,"] {
        let out = expand_function(tokens(args), tokens("fn f() {}"), FunctionKind::Kernel).to_string();
        assert!(!out.contains("compile_error"), "{args}: {out}");
    }
}
