//! The kernel and the schedules of `docs/schedules.md`: the page shows this file, and what the compiler says here.

use super::schedules::program;
use tile_codegen::lower::Machine;
use tile_codegen::schedule::complete;
use tile_lang::build::Generic;
use tile_lang::dsl::*;
use tile_lang::ir::Kernel;
use tile_lang::schedule::{diff, parse_all};
use tile_lang::tile;

/// y = W·x for T rows, each BK columns of the weight with a scale for each of its rows.
#[tile::kernel(crate = tile_lang)]
fn dense<const T: usize, const BM: usize, const BK: usize>(
    w: &Weight<bf16, 2>,
    scales: &Weight<f32, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<f32, 2>,
) {
    let [i, j] = work([cdiv(w.dim(0), BM), cdiv(x.dim(0), T)]);
    let mut acc = Tile::<f32, BM, T>::zero();
    'k: for k in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<bf16, BM, BK>>([i, k]);
        let factors = scales.stage::<Smem<f32, 1, BM>>([k, i]);
        let part = mma(codes, x.load::<Tile<bf16, T, BK>>([j, k]).t());
        acc += part * factors.read().col_sum().cols::<T>();
    }
    y.store([j, i], acc.t());
}

#[tile::schedule(dense, crate = tile_lang)]
fn deep(BK: usize) -> Schedule {
    Schedule::new()
        .ring("tiles", ["k.codes", "k.factors"])
        .stages("tiles", if BK > 256 { 4 } else { 8 })
        .role("load", ["k.codes", "k.factors"])
        .role("math", ["k.part", "y.store"])
        .registers("math", 232)
        .split("k.part", [1, 1, 8])
        .raster(Raster::Grouped(8))
}

const PAGE: &str = include_str!("../../../docs/schedules.md");

fn instance() -> Kernel {
    dense::DEF.instance(&[Generic::from(8usize), Generic::from(32usize), Generic::from(128usize)]).unwrap()
}

/// The blocks of the page in this language.
fn blocks(language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let rest = PAGE.split(&begin).skip(1);
    rest.map(|text| text.split("```").next().unwrap_or_default().to_owned()).collect()
}

fn whole(kernel: &Kernel) -> Schedule {
    let assembled = program(std::slice::from_ref(kernel)).unwrap();
    complete(&assembled, Machine::SM_90A).unwrap()
}

#[test]
fn rust_on_the_page_is_this_file() {
    let source = include_str!("page.rs").replace("(crate = tile_lang)", "").replace(", crate = tile_lang", "");
    let shown = blocks("rust");
    assert!(!shown.is_empty());
    for block in shown {
        assert!(source.contains(block.trim_end()), "{block}");
    }
}

#[test]
fn schedules_on_the_page_can_be_given_to_the_kernel() {
    let texts = blocks("sched");
    assert_eq!(texts.len(), 2);
    for text in &texts {
        for schedule in parse_all(text, "docs/schedules.md").unwrap() {
            let kernel = schedule.attach(instance()).unwrap_or_else(|e| panic!("{e}"));
            program(&[kernel]).unwrap_or_else(|e| panic!("{text}\n{e}"));
        }
    }
    // The first is what the compiler chooses, the second what the function says.
    let chosen = whole(&instance());
    assert_eq!(texts[0], chosen.to_string());
    let written = deep::DEF.schedule(&instance()).unwrap();
    assert_eq!(texts[1], written.to_string());
}

#[test]
fn the_difference_on_the_page_is_what_the_command_finds() {
    let deep = deep::DEF.schedule(&instance()).unwrap().attach(instance()).unwrap();
    let lines = diff(&whole(&instance()), &whole(&deep)).join("\n");
    assert!(blocks("diff").iter().any(|b| b.trim_end() == lines), "{lines}");
}
