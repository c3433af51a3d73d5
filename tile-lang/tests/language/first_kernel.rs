//! The kernel of `docs/first-kernel.md`: the page shows this file, and the kernel is compared with a reference.

use super::{reals, run, staged};
use std::sync::Arc;
use tile_lang::DType;
use tile_lang::dsl::*;
use tile_lang::interp::{Array, round_bf16};
use tile_lang::tile;

/// y = softmax(x, along columns)·v: one work item makes BM rows and BN columns of y, and meets BK columns of x at a time.
#[tile::kernel(crate = tile_lang)]
fn softmax_matmul<const BM: usize, const BN: usize, const BK: usize, const S: usize>(
    x: &Global<f32, 2>,
    v: &Global<bf16, 2>,
    y: &mut Global<f32, 2>,
) {
    require!(x.dim(1) == v.dim(0), y.dim(0) == x.dim(0), y.dim(1) == v.dim(1));
    let [i, j] = work([cdiv(x.dim(0), BM), cdiv(v.dim(1), BN)]);
    let depth = x.dim(1);
    let blocks = cdiv(depth, BK);
    let ring = Ring::<Smem<bf16, BK, BN>>::new::<S>();

    role("load", 1, 56, || {
        for k in 0..blocks {
            ring.acquire().fill(v, [k, j]).commit();
        }
    });

    role("math", 8, 224, || {
        let mut acc = Tile::<f32, BM, BN>::zero();
        let mut top = Tile::<f32, BM>::full(NEG_INF);
        let mut sum = Tile::<f32, BM>::zero();
        for k in 0..blocks {
            let scores = x.load::<Tile<f32, BM, BK>>([i, k]);
            let scores = scores.keep(|_, c| k * BK as i32 + c < depth, NEG_INF);
            let higher = top.max(scores.row_max());
            let shrink = (top - higher).exp();
            let p = (scores - higher.cols::<BK>()).exp();
            sum = sum * shrink + p.row_sum();
            acc = acc * shrink.cols::<BN>();
            let view = ring.wait();
            acc.mma(p.cast::<bf16>(), view.get());
            view.release();
            top = higher;
        }
        y.store([i, j], acc / sum.cols::<BN>());
    });
}

const PAGE: &str = include_str!("../../../docs/first-kernel.md");

#[test]
fn the_page_shows_this_kernel() {
    let source = include_str!("first_kernel.rs").replace("(crate = tile_lang)", "");
    let block = PAGE.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let (_, kernel) = block.split_once("\n\n").unwrap_or_default();
    let (kernel, main) = kernel.split_once("fn main()").unwrap_or_default();
    assert!(kernel.contains("fn softmax_matmul<") && main.contains("softmax_matmul::DEF"), "{block}");
    assert!(source.contains(kernel.trim_end()), "{kernel}");
}

/// softmax(x)·v in f64, and the largest that an element of it can be for any signs in v.
fn reference(x: &[f32], v: &[f32], depth: usize, columns: usize) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    for row in x.chunks(depth) {
        let top = row.iter().fold(f64::NEG_INFINITY, |top, s| top.max(f64::from(*s)));
        let weights: Vec<f64> = row.iter().map(|s| (f64::from(*s) - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for column in 0..columns {
            let terms = || weights.iter().enumerate().map(|(k, p)| p / sum * f64::from(v[k * columns + column]));
            out.push((terms().sum(), terms().map(f64::abs).sum()));
        }
    }
    out
}

#[test]
fn softmax_matmul_is_a_softmax_and_a_product() {
    let kernel = staged(softmax_matmul::instance(16, 64, 64, 4));
    // One block, whole ones, even and odd numbers of them, and tails in each of the three extents.
    for (rows, depth, columns) in [(16, 64, 64), (16, 128, 64), (16, 192, 64), (40, 150, 96), (3, 1, 5), (17, 321, 70)]
    {
        let value = |i: usize, seed: usize| ((i * 37 + seed * 101) % 61) as f32 / 8.0;
        // All scores are below zero, so that a column outside of the array, read as 0, would weigh the most.
        let x: Vec<f32> = (0..rows * depth).map(|i| value(i, 5) - 9.0).collect();
        let v: Vec<f32> = (0..depth * columns).map(|i| round_bf16(value(i, 6) - 3.8)).collect();
        let values = Array::from_f32(DType::Bf16, [depth, columns], &v).unwrap_or_else(|e| panic!("{e}"));
        let inputs = [reals(&[rows, depth], &x), Arc::new(values).into()];
        let got = run(&kernel, &inputs, DType::F32, &[rows, columns]).to_f32();
        for (at, (got, (want, size))) in got.iter().zip(reference(&x, &v, depth, columns)).enumerate() {
            // Each weight is rounded to bf16: 8 bits.
            let error = (f64::from(*got) - want).abs();
            assert!(error <= size / 256.0 + 1e-6, "{rows}x{depth}x{columns} at {at}: {got}, not {want}");
        }
    }
}
