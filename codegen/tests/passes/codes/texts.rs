//! What readers and the verifier say of texts: `.tile` and `.sched` files.

use super::super::kernels::pair;
use super::{Case, case, instance, message};
use tile_lang::dsl::*;
use tile_lang::ir::{self, Kernel};
use tile_lang::schedule::parse_all;
use tile_lang::tile;

pub const CASES: &[Case] = &[
    case("E20", "a name that no op has", || scheduled("schedule deep for pair {\n  ring tiles [k.c]\n}\n")),
    case("E20", "an op in two rings", || {
        scheduled("schedule deep for pair {\n  ring one [a, b]\n  ring two [k.b] stages 4\n}\n")
    }),
    case("E20", "a schedule of another kernel", || scheduled("schedule deep for three {\n  ring tiles [a]\n}\n")),
    case("E34", "text that is no schedule", || {
        message(parse_all("schedule deep for pair {\n  ring tiles [a b]\n  raster diagonal\n}\n", "deep.sched"))
    }),
    case("E70", "work that is asked for twice", || {
        verified(
            "kernel @k(%x: global_mut<i32, 1>, %n: i32) stage tile {\n  %i = work %n : i32\n  %j = work %n : i32\n  set %x, %i, %j\n}\n",
        )
    }),
    case("E71", "a sum of tiles of two shapes", || {
        verified(
            "kernel @k(%x: global<f32, 1>) stage tile {\n  %a = iota[0] : tile<i32, 16>\n  %b = iota[0] : tile<i32, 32>\n  %s = add %a, %b : tile<i32, 16>\n}\n",
        )
    }),
    case("E72", "an op of a later stage", || {
        verified(
            "kernel @k(%x: global<f32, 2>) stage tile {\n  %w = ring_wait[f32 16x16 of 2 at 0] : smem<f32, 16x16>\n  ring_release %w\n}\n",
        )
    }),
    case("E73", "work that data decides", || message(ir::verify(&instance(counted::instance())))),
    case("E75", "text that is no kernel", || {
        message(ir::parse_all(
            "kernel @k(%x: global<f32, 1>) stage tile {\n  %y = load %x %x : tile<f32, 16>\n  %z = at %q : f16x\n}\n",
            "k.tile",
        ))
    }),
];

/// A schedule given to a kernel of two weights.
fn scheduled(text: &str) -> String {
    let list = parse_all(text, "deep.sched").unwrap_or_else(|e| panic!("{e}"));
    message(list[0].clone().attach(instance(pair::instance(128))))
}

fn verified(text: &str) -> String {
    let kernels: Vec<Kernel> = match ir::parse_all(text, "k.tile") {
        Ok(kernels) => kernels,
        Err(e) => return e.to_string(),
    };
    message(ir::verify(&kernels[0]))
}

#[tile::kernel(crate = tile_lang)]
fn counted(counts: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let n = counts.at([0]);
    let [i] = work([n]);
    y.set([i], i);
}

#[test]
fn messages_of_texts() {
    insta::assert_snapshot!(super::provoked(CASES));
}
