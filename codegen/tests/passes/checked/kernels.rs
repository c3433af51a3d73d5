//! Kernels that run under adversaries.

use tile_lang::dsl::*;
use tile_lang::tile;

/// `y = x · wᵀ`: each item makes 16 columns of `y`, staging a tile of `w` in each trip; the warps' partial sums
/// meet in the exchange area.
#[tile::kernel(crate = tile_lang)]
pub fn product<const BK: usize>(w: &Weight<bf16, 2>, x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    let mut acc = Tile::<f32, 16, 8>::zero();
    for k in pipelined::<4>(0..cdiv(w.dim(1), BK)) {
        let part = w.stage::<Smem<bf16, 16, BK>>([i, k]);
        let h = x.load::<Tile<f32, 8, BK>>([0, k]);
        acc.mma(part.read(), h.cast::<bf16>().t());
    }
    y.store([0, i], acc.t());
}

/// Adds one to pieces of rows that are staged from an array which another instruction writes.
#[tile::kernel(crate = tile_lang)]
pub fn staged_rows(h: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let [i, j] = work([h.dim(0), h.dim(1) / 8]);
    let row = h.stage::<Smem<f32, 1, 8>>([i, j]).read();
    y.store([i, j], row + 1.0);
}

/// Counts passes, and sets the flag at the last one.
#[tile::kernel(crate = tile_lang)]
pub fn count(y: &Global<f32, 2>, passes: &mut Global<i32, 1>, last: i32) {
    let n = passes.at([0]) + 1;
    let enough = y.at([0, 0]) > -1000000.0;
    passes.set([0], n);
    if (n >= last) & enough {
        passes.set([1], 1);
    }
}

/// Two items that write the same elements.
#[tile::kernel(crate = tile_lang)]
pub fn overlap(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    let [i] = work([2]);
    let part = x.load::<Tile<f32, 32>>([i]);
    y.store([0], part);
}

/// Items that add to the same elements, and give what is there after that if they are told to.
#[tile::kernel(crate = tile_lang)]
pub fn counted(x: &Global<i32, 1>, sums: &mut Global<i32, 1>, y: &mut Global<i32, 1>, look: i32) {
    let [i] = work([2]);
    let part = x.load::<Tile<i32, 32>>([i]);
    sums.atomic_add([part], part + 1);
    if look > 0 {
        y.store([i], sums.load::<Tile<i32, 32>>([0]));
    }
}

/// An element at an index that comes from the host.
#[tile::kernel(crate = tile_lang)]
pub fn pick(x: &Global<f32, 1>, y: &mut Global<f32, 1>, index: i32) {
    let [i] = work([1]);
    y.set([i], x.at([index]));
}

/// `y = a · bᵀ` for many rows: both operands are boxes of arrays, and warpgroups multiply them where they lie.
#[tile::kernel(crate = tile_lang)]
pub fn dense(a: &Global<bf16, 2>, b: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(a.dim(0), 128)]);
    let mut acc = Tile::<f32, 128, 64>::zero();
    for k in 0..cdiv(a.dim(1), 64) {
        let at = a.stage::<Smem<bf16, 128, 64>>([i, k]);
        let bt = b.stage::<Smem<bf16, 64, 64>>([0, k]);
        acc.mma(at, bt.t());
    }
    y.store([i, 0], acc);
}

/// `y = Σ a · bₖᵀ` over the blocks `bₖ` of rows of `b`: the rows of `a` are loaded once and kept in shared memory for all products.
#[tile::kernel(crate = tile_lang)]
pub fn kept(a: &Global<bf16, 2>, b: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(a.dim(0), 128)]);
    let first = a.load::<Tile<bf16, 128, 64>>([i, 0]);
    let second = a.load::<Tile<bf16, 128, 64>>([i, 1]);
    let mut acc = Tile::<f32, 128, 64>::zero();
    for k in 0..cdiv(b.dim(0), 64) {
        let left = b.stage::<Smem<bf16, 64, 64>>([k, 0]);
        let right = b.stage::<Smem<bf16, 64, 64>>([k, 1]);
        acc.mma(first, left.t());
        acc.mma(second, right.t());
    }
    y.store([i, 0], acc);
}

/// `y = (w + w) · xᵀ`: the first operand is made of a staged weight in registers, part by part, and multiplied by warpgroups from there.
#[tile::kernel(crate = tile_lang)]
pub fn doubled(w: &Weight<bf16, 2>, x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(w.dim(0), 128)]);
    let mut acc = Tile::<f32, 128, 64>::zero();
    for k in 0..cdiv(w.dim(1), 64) {
        let once = w.stage::<Smem<bf16, 128, 64>>([i, k]);
        let rows = x.stage::<Smem<bf16, 64, 64>>([0, k]);
        acc.mma(once.read() + once.read(), rows.t());
    }
    y.store([i, 0], acc);
}
