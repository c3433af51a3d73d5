//! Arrays and vectors of device values.

use super::{ints, reals, run, staged};
use tile_lang::DType;
use tile_lang::dsl::*;
use tile_lang::interp::ArgValue;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn accumulators<const N: usize, const D: usize>(x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let mut sums = [Tile::<f32, N>::zero(); D];
    let mut best = [0.0; 2];
    let mut seen = vec![];
    for i in 0..x.dim(0) {
        let row = x.load::<Tile<f32, N>>([i, 0]);
        for d in 0..D {
            sums[d] += row * (d + 1) as f32;
        }
        if i == 1 {
            best[0] = row.all_max();
        } else {
            best[1] = best[1].max(row.all_min());
        }
    }
    for d in 0..D {
        seen.push(sums[d].all_sum());
        y.store([d as i32, 0], sums[d]);
    }
    let index = [D as i32, 0];
    y.set(index, best[0] + best[1]);
    let mut all = 0.0;
    for (i, s) in seen.iter().enumerate() {
        all += *s * i as f32;
    }
    y.set([D as i32, 1], all * seen.len() as f32);
}

#[test]
fn lists_are_carried_element_by_element() {
    let kernel = staged(accumulators::instance(2, 3));
    let out = run(&kernel, &[reals(&[2, 2], &[1.0, 2.0, 3.0, 4.0])], DType::F32, &[4, 2]).to_f32();
    assert_eq!(out, [4.0, 6.0, 8.0, 12.0, 12.0, 18.0, 5.0, (20.0 + 2.0 * 30.0) * 3.0]);
}

#[tile::kernel(crate = tile_lang)]
fn positions(n: i32, y: &mut Global<i32, 1>) {
    let grid = [2, n];
    let [i, j] = work(grid);
    let at = [i, j];
    let both = (at[0] * n + at[1], j);
    y.set([both.0], both.1);
}

#[test]
fn indices_in_lists_and_tuples() {
    let kernel = staged(positions::instance());
    assert_eq!(run(&kernel, &[ArgValue::I32(3)], DType::I32, &[6]).to_i32(), [0, 1, 2, 0, 1, 2]);
}

#[tile::kernel(crate = tile_lang)]
fn tables<const N: usize>(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let weights = [1, 10, 100];
    let sizes: Vec<i32> = (0..N).map(|i| i as i32 + 1).collect();
    let mut sum = x.at([0]) * 0;
    for (w, s) in weights.iter().zip(sizes.iter()) {
        sum += x.at([s - 1]) * *w;
    }
    let parts = [x.at([0]), 7, x.at([1])];
    for p in parts {
        sum += p;
    }
    y.set([0], sum);
}

#[test]
fn host_tables_steer_staging() {
    let kernel = staged(tables::instance(2));
    assert_eq!(run(&kernel, &[ints(&[2], &[3, 4])], DType::I32, &[1]).to_i32(), [3 + 40 + 3 + 7 + 4]);
}
