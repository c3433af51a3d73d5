//! What a launch says: arguments and what the work items do with them.

use super::{Case, case, instance, message};
use std::sync::Arc;
use tile_lang::DType;
use tile_lang::dsl::*;
use tile_lang::interp::{self, ArgValue, Array, Options, Prepared};
use tile_lang::ir::Kernel;
use tile_lang::tile;

pub const CASES: &[Case] = &[
    case("E60", "extents that break a requirement", || launched(instance(alike::instance()), &[zeros(8), zeros(4)])),
    case("E61", "too few arguments", || launched(instance(alike::instance()), &[zeros(8)])),
    case("E61", "an argument of another type", || launched(instance(alike::instance()), &[zeros(8), 3.into()])),
    case("E62", "a negative extent", || launched(instance(fewer::instance()), &[zeros(4)])),
    case("E63", "an index outside of its array", || launched(instance(picked::instance()), &[zeros(4), 7.into()])),
    case("E65", "an assertion that doesn't hold", || {
        launched(instance(asserted::instance()), &[zeros(4), (-3).into()])
    }),
    case("E64", "a producer alone", || {
        let text = "kernel @k(%x: global<f32, 2>) stage specialised {\n  producer {\n  }\n}\n";
        let kernel: Kernel = text.parse().unwrap_or_else(|e| panic!("{e}"));
        message(Prepared::new(&kernel).map(|_| ()))
    }),
];

fn zeros(n: usize) -> ArgValue {
    Arc::new(Array::zeros(DType::F32, [n])).into()
}

fn launched(kernel: Kernel, args: &[ArgValue]) -> String {
    message(interp::launch(&kernel, args, Options::default()))
}

#[tile::kernel(crate = tile_lang)]
fn alike(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    require!(x.dim(0) == y.dim(0));
    y.set([0], x.at([0]));
}

#[tile::kernel(crate = tile_lang)]
fn fewer(x: &mut Global<f32, 1>) {
    let [i] = work([x.dim(0) - 8]);
    x.set([i], 1.0);
}

#[tile::kernel(crate = tile_lang)]
fn picked(x: &mut Global<f32, 1>, i: i32) {
    x.set([0], x.at([i]));
}

#[tile::kernel(crate = tile_lang)]
fn asserted(x: &mut Global<f32, 1>, n: i32) {
    device_assert!(n >= 0, "n is {}", n);
    x.set([0], n as f32);
}

#[test]
fn messages_of_launches() {
    insta::assert_snapshot!(super::provoked(CASES));
}
