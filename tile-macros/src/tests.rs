//! The expansions on well-formed and on damaged input.

mod damage;
mod fuzz;

use crate::ast::FunctionKind;
use crate::{expand_function, model, schedule};
use damage::{Random, found, library, misplaced, survives, undelimited, written};
use proc_macro2::TokenStream;
use quote::quote;

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

#[test]
fn damaged_kernels_of_the_library_never_panic() {
    assert_eq!(misplaced(quote!(compile_error!("nowhere"))), 1);
    found().iter().for_each(survives);
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

#[test]
fn groups_without_delimiters_are_kept_in_findings() {
    let text = "x : __undelimited { super (__undelimited { }) } < f32 >";
    let read = undelimited(tokens(text));
    assert!(!read.to_string().contains("__undelimited"), "{read}");
    assert_eq!(written(&read), tokens(text).to_string());
}

fn tokens(source: &str) -> TokenStream {
    source.parse().unwrap_or_else(|e| panic!("{e}"))
}

fn expand_all(item: &TokenStream) -> [TokenStream; 4] {
    [
        expand_function(quote!(crate = tile_lang), item.clone(), FunctionKind::Kernel),
        expand_function(quote!(crate = tile_lang), item.clone(), FunctionKind::Func),
        model::expand(TokenStream::new(), item.clone()),
        schedule::expand(quote!(linear, crate = tile_lang), item.clone()),
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
