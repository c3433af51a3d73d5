//! Kernels that the tests lower.

use tile_lang::dsl::*;
use tile_lang::tile;

/// A product whose second operand is scaled by a sum over the first pass.
#[tile::kernel(crate = tile_lang)]
pub fn scaled<const BK: usize>(w: &Weight<bf16, 2>, x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    let n = cdiv(w.dim(1), BK);
    let mut sum = Tile::<f32, 8>::zero();
    for k in 0..n {
        sum += x.load::<Tile<f32, 8, BK>>([0, k]).row_sum();
    }
    let mut acc = Tile::<f32, 16, 8>::zero();
    for k in 0..n {
        let codes = w.stage::<Smem<bf16, 16, BK>>([i, k]);
        let h = x.load::<Tile<f32, 8, BK>>([0, k]) * sum.cols::<BK>();
        acc.mma(codes.read(), h.cast::<bf16>().t());
    }
    y.store([0, i], acc.t());
}

/// Two weights in one iteration, a third under a condition.
#[tile::kernel(crate = tile_lang)]
pub fn three<const BK: usize>(
    a: &Weight<bf16, 2>,
    b: &Weight<bf16, 2>,
    c: &Weight<bf16, 2>,
    count: &Global<i32, 1>,
    y: &mut Global<f32, 2>,
) {
    let [i] = work([cdiv(a.dim(0), 16)]);
    let first = a.stage::<Smem<bf16, 16, BK>>([i, 0]).cast::<f32>();
    let second = b.stage::<Smem<bf16, 16, BK>>([i, 0]).cast::<f32>();
    let mut sum = first + second;
    if i < count.at([0]) {
        sum += c.stage::<Smem<bf16, 16, BK>>([i, 0]).cast::<f32>();
    }
    y.store([i, 0], sum);
}
