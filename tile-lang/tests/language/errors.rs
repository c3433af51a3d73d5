//! What staging reports: shapes and types of an instance, at the user's tokens.

use tile_lang::build::{InstanceError, KernelDef};
use tile_lang::dsl::*;
use tile_lang::tile;
use tile_lang::{DType, diag::Diagnostic};

fn diagnostics(def: &KernelDef, generics: &[tile_lang::build::Generic]) -> Vec<Diagnostic> {
    match def.instance(generics) {
        Err(InstanceError::Staging(list)) => list.0,
        Err(e) => panic!("{e}"),
        Ok(kernel) => panic!("staged:\n{kernel:#}"),
    }
}

#[tile::kernel(crate = tile_lang)]
fn sizes<const N: usize, const HALF: usize>(x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    require!(2 * HALF == N);
    let a = x.load::<Tile<f32, N>>([0, 0]);
    y.store([0, 0], a.row_sum().exp());
    y.store([0, 0], a);
}

#[test]
fn all_mistakes_of_an_instance_are_reported_once() {
    let found = diagnostics(&sizes::DEF, &[6.into(), 2.into()]);
    let source = include_str!("errors.rs");
    let shown: Vec<String> = found
        .iter()
        .map(|d| {
            let line = source.lines().nth(d.span.line as usize - 1).unwrap_or_default();
            let token = line.get(d.span.col as usize - 1..(d.span.col + d.span.len) as usize - 1);
            format!("{} at `{}`: {}", d.code, token.unwrap_or_default(), d.message)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "E55 at `==`: these generics break the kernel's requirement `2 * HALF == N`",
            "E05 at `load`: a register tile of shape [6]: extents must be powers of two, one or two axes",
        ]
    );
    // With a legal extent the next mistake shows: a tile with one axis has no rows.
    let found = diagnostics(&sizes::DEF, &[8.into(), 4.into()]);
    assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["E03"]);
}

#[tile::kernel(crate = tile_lang)]
fn uneven<const N: usize>(x: &Global<f32, 1>, n: i32) {
    let mut list = vec![x.at([0])];
    for i in 0..n {
        list.push(x.at([i]));
    }
    if x.load::<Tile<f32, N>>([0]).all_max() > 0.0 {
        list.push(x.at([1]));
    }
}

#[test]
fn a_list_can_not_grow_in_a_device_loop() {
    let found = diagnostics(&uneven::DEF, &[4.into()]);
    assert!(found.iter().all(|d| d.code == "E52") && found.len() == 2, "{found:?}");
}

#[tile::kernel(crate = tile_lang)]
fn ordered<E: Elem>(x: &Global<E, 1>, y: &mut Global<bool, 1>) {
    y.store([0], x.load::<Tile<E, 8>>([0]).lt(x.load::<Tile<E, 8>>([1])));
}

#[test]
fn element_types_are_checked_for_each_instance() {
    assert!(ordered::instance(DType::F32).is_ok());
    let found = diagnostics(&ordered::DEF, &[DType::E4m3.into()]);
    assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["E04"]);
}
