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

/// Two weights in a labelled loop over a grid of two axes.
#[tile::kernel(crate = tile_lang)]
pub fn pair<const BK: usize>(u: &Weight<bf16, 2>, v: &Weight<bf16, 2>, x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i, j] = work([cdiv(u.dim(0), 32), cdiv(x.dim(0), 16)]);
    let mut acc = Tile::<f32, 32, 16>::zero();
    'k: for k in 0..cdiv(u.dim(1), BK) {
        let a = u.stage::<Smem<bf16, 32, BK>>([i, k]);
        let b = v.stage::<Smem<bf16, 32, BK>>([i, k]);
        let h = x.load::<Tile<bf16, 16, BK>>([j, k]);
        acc.mma(a, h.t());
        acc.mma(b, h.t());
    }
    y.store([j, i], acc.t());
}

/// Two products one after the other in one sum.
#[tile::kernel(crate = tile_lang)]
pub fn chain(u: &Weight<bf16, 2>, q: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(u.dim(0), 16)]);
    let keys = u.stage::<Smem<bf16, 16, 256>>([i, 0]);
    let mut x = Tile::<f32, 16, 16>::zero();
    for part in 0..2 {
        x.mma(keys.slice::<16, 128>(0, 128 * part), q.load::<Tile<bf16, 16, 128>>([0, part as i32]).t());
    }
    y.store([i, 0], x);
}

/// Work over the extents of an array that is written.
#[tile::kernel(crate = tile_lang)]
pub fn over_what_is_written<const N: usize>(x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([y.dim(0)]);
    let row = x.stage::<Smem<f32, 1, N>>([i, 0]).read();
    y.store([i, 0], row);
}

/// Nothing is staged.
#[tile::kernel(crate = tile_lang)]
pub fn copied<const N: usize>(x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([y.dim(0)]);
    y.store([i, 0], x.load::<Tile<f32, 1, N>>([i, 0]));
}

/// Three iterations of copies in flight; two products of one accumulator and two stores, told apart.
#[tile::kernel(crate = tile_lang)]
pub fn deep(w: &Weight<bf16, 2>, x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    let mut acc = Tile::<f32, 16, 8>::zero();
    for k in pipelined::<3>(0..cdiv(w.dim(1), 128)) {
        #[op(codes)]
        let t = w.stage::<Smem<bf16, 16, 128>>([i, k]);
        let v = x.load::<Tile<bf16, 8, 128>>([0, k]);
        #[op(first)]
        acc.mma(t, v.t());
        #[op(second)]
        acc.mma(t, v.t());
    }
    #[op(plain)]
    y.store([0, i], acc.t());
    #[op(doubled)]
    y.store([1, i], acc.t() * 2.0);
}

/// Two loops that want different depths.
#[tile::kernel(crate = tile_lang)]
pub fn uneven(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    let mut sum = Tile::<f32, 16, 64>::zero();
    for k in pipelined::<2>(0..cdiv(w.dim(1), 64)) {
        sum += w.stage::<Smem<bf16, 16, 64>>([i, k]).cast::<f32>();
    }
    for k in pipelined::<4>(0..cdiv(w.dim(1), 64)) {
        sum += w.stage::<Smem<bf16, 16, 64>>([i, k]).cast::<f32>();
    }
    y.store([i, 0], sum);
}

/// Products by warpgroups of which the second takes a part of a tile that warps have to move, and the third scales what it is given.
#[tile::kernel(crate = tile_lang)]
pub fn moved(a: &Global<bf16, 2>, b: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(a.dim(0), 128)]);
    let rows = a.load::<Tile<bf16, 128, 128>>([i, 0]);
    let mut acc = Tile::<f32, 128, 64>::zero();
    for k in 0..cdiv(a.dim(1), 64) {
        let at = a.stage::<Smem<bf16, 128, 64>>([i, k]);
        let first = b.stage::<Smem<bf16, 64, 64>>([0, k]);
        let second = b.stage::<Smem<bf16, 64, 64>>([1, k]);
        acc.mma(at, first.t());
        acc.mma(rows.slice::<128, 64>(0, 64), second.t());
    }
    y.store([i, 0], acc);
}
