//! Atomic ops that give back what was there, and what kernels say about themselves: lowered, checked, printed as source.

use super::programs::{alone, checked};
use super::schedules::program;
use tile_codegen::explain::source::source_file;
use tile_codegen::lower::Machine;
use tile_codegen::passes::explicit_roles;
use tile_lang::debug::{Saying, without};
use tile_lang::dsl::*;
use tile_lang::tile;

/// Counts the rows of each kind, gives each row a place, and says what it does.
#[tile::kernel(crate = tile_lang)]
fn placed(
    w: &Weight<bf16, 2>,
    kinds: &Global<i32, 1>,
    counts: &mut Global<i32, 1>,
    best: &mut Global<f32, 1>,
    y: &mut Global<f32, 2>,
) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    mark!("load");
    let kind = kinds.load::<Tile<i32, 16>>([i]);
    device_assert!(kind.ge(0), "kind {} of item {}", kind, i);
    let place = counts.atomic_add([kind], 1);
    let seen = counts.atomic_cas_ordered([place], kind, 7, Order::AcqRel, Scope::System);
    let rows = w.stage::<Smem<bf16, 16, 64>>([i, 0]).cast::<f32>();
    let top = rows.row_max();
    best.atomic_max([seen], top);
    mark!("store");
    dbg_tile!("places", place);
    device_assert!(i < 1000);
    dbg_tile!(i);
    y.store([i, 0], rows * place.cast::<f32>().cols::<64>());
}

#[test]
fn atomic_ops_and_what_is_said_lower_and_pass_the_checkers() {
    let kernel = placed::instance().unwrap();
    let assembled = program(std::slice::from_ref(&kernel)).unwrap();
    let count = |text: &str| assembled.mlir.matches(text).count();
    // Two failures, one compare and swap for each element of a tile of which every thread holds one, one in the loop of `max`.
    assert_eq!(count("atom.relaxed.gpu.global.cas.b32 $0, [$1], $2, $3;\""), 2);
    assert_eq!(count("atom.acq_rel.sys.global.cas.b32"), 1);
    assert_eq!(count("atom.relaxed.gpu.global.add.s32"), 1);
    assert!(count("ld.relaxed.gpu.global.b32") >= 1);
    assert_eq!((count("%clock64"), count("%globaltimer") > 2), (4 + 2, true));
    let said: Vec<&Saying> = assembled.sites.iter().map(|s| &s.saying).collect();
    let kinds = |f: &dyn Fn(&Saying) -> bool| said.iter().filter(|s| f(s)).count();
    assert_eq!(
        (kinds(&|s| matches!(s, Saying::Assertion(..))), kinds(&|s| matches!(s, Saying::Tile(_))), said.len()),
        (2, 2, 6)
    );
    checked(None, &alone(&kernel)).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn what_is_shipped_pays_nothing_for_what_would_be_said() {
    let shipped = program(&[without(&placed::instance().unwrap())]).unwrap();
    assert!(shipped.sites.is_empty());
    // The vote before each record is left.
    assert_eq!(shipped.mlir.matches("bar.red").count(), 1);
}

#[test]
fn they_are_printed_as_source() {
    let explicit = explicit_roles(&placed::instance().unwrap(), Machine::SM_90A.group_bytes).unwrap();
    let text = source_file(&explicit).unwrap();
    for line in [
        "mark!(\"load\");",
        ", \"kind {} of item {}\", kind, i);",
        "atomic_add([kind], ",
        "atomic_cas_ordered([place], kind, ",
        ", Order::AcqRel, Scope::System)",
        "best.atomic_max([seen], top);",
        "dbg_tile!(\"places\", place);",
        "dbg_tile!(\"i\", i);",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// A copy whose place is known only to the role that computes.
#[tile::kernel(crate = tile_lang)]
fn dynamic(w: &Weight<bf16, 2>, next: &mut Global<i32, 1>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    let mine = next.atomic_add([Tile::<i32, 16>::zero()], 1).all_max();
    y.store([i, 0], w.stage::<Smem<bf16, 16, 64>>([mine, 0]).cast::<f32>());
}

#[test]
fn a_copy_does_not_wait_for_an_atomic_op() {
    let text = program(&[dynamic::instance().unwrap()]).unwrap_err();
    assert!(text.contains("error[E33]: `atomic` in the role that fills the ring"), "{text}");
}

/// A product of f32, of a tile that was prefetched and one that goes through the ring.
#[tile::kernel(crate = tile_lang)]
fn wide(w: &Weight<f32, 2>, x: &Global<f32, 3>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    x.prefetch::<Tile<f32, 8, 64>>([1, 0, i]);
    let mut acc = Tile::<f32, 16, 8>::zero();
    for k in 0..cdiv(w.dim(1), 64) {
        acc.mma_tf32(w.stage::<Smem<f32, 16, 64>>([i, k]), x.load::<Tile<f32, 8, 64>>([0, 0, k]).t());
    }
    y.store([0, i], acc.t());
}

#[test]
fn products_of_f32_and_prefetches_lower_and_pass_the_checkers() {
    let kernel = wide::instance().unwrap();
    let mlir = program(std::slice::from_ref(&kernel)).unwrap().mlir;
    let count = |text: &str| mlir.matches(text).count();
    // Each of eight warps takes 8 of the 64 terms: one instruction, of four and two registers.
    assert_eq!(count("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"), 1);
    assert_eq!(count("cvt.rna.tf32.f32"), 6);
    // 8 rows of 3 lines, 4 with the padding, over 256 threads.
    assert_eq!(count("prefetch.global.L2"), 1);
    checked(None, &alone(&kernel)).unwrap_or_else(|e| panic!("{e}"));
    let explicit = explicit_roles(&kernel, Machine::SM_90A.group_bytes).unwrap();
    let text = source_file(&explicit).unwrap();
    for line in ["x.prefetch_at::<Tile<f32, 8, 64>>([", ".mma_tf32("] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
