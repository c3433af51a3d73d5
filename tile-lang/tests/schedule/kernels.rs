//! Kernels and schedules that the tests share.

use tile_lang::DType;
use tile_lang::dsl::*;
use tile_lang::tile;

/// y = W·x with a scale for each row, and a second product of the first tile.
#[tile::kernel(crate = tile_lang)]
pub fn gemm<W: Elem, const T: usize, const BK: usize>(
    w: &Weight<W, 2>,
    scales: &Weight<f32, 2>,
    x: &Global<bf16, 2>,
    y: &mut Global<f32, 2>,
    z: &mut Global<f32, 2>,
) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    let head = w.stage::<Smem<W, 16, BK>>([i, 0]).cast::<bf16>();
    z.store([0, i], mma(head, x.load::<Tile<bf16, T, BK>>([0, 0]).t()).t());
    let mut acc = Tile::<f32, 16, T>::zero();
    'k: for t in 0..cdiv(w.dim(1), BK) {
        let codes = w.stage::<Smem<W, 16, BK>>([i, t]);
        let blocks = scales.stage::<Smem<f32, 1, 16>>([t, i]);
        acc.mma(codes.cast::<bf16>(), x.load::<Tile<bf16, T, BK>>([0, t]).t());
        acc += blocks.read().col_sum().cols::<T>();
    }
    for j in 0..2 {
        let part = w.stage::<Smem<W, 16, BK>>([i, j]).read();
        y.store([j, i], acc.t() + part.cast::<f32>().row_sum().rows::<T>());
    }
}

/// Pins everything there is.
#[tile::schedule(gemm, crate = tile_lang)]
pub fn whole(BK: usize, w: DType) -> Schedule {
    let load = ["head", "k.codes", "blocks", "part"];
    let stages = if BK > 128 || w == DType::F32 { 2 } else { 4 };
    Schedule::new()
        .ring("tiles", ["k.codes", "k.blocks"])
        .stages("tiles", stages)
        .role("load", load)
        .role("math", ["mma", "acc", "z.store", "y.store"])
        .warps("math", 8)
        .registers("load", 56)
        .registers("math", 224)
        .split("acc", [1, 1, 8])
        .inflight("k.acc", 0)
        .raster(Raster::RowMajor)
        .cluster(1)
}

/// Names what there is not.
#[tile::schedule(gemm, crate = tile_lang)]
pub fn wrong() -> Schedule {
    Schedule::new()
        .ring("a", ["k.code", "k.blocks"])
        .ring("b", ["blocks", "acc"])
        .split("codes", [1, 1, 8])
        .split("k.acc", [1, 1, 8])
        .split("acc", [1, 2, 4])
        .role("idle", [""; 0])
        .inflight("z.stor", 1)
}

/// Leaves ops without a role, and gives one two.
#[tile::schedule(gemm, crate = tile_lang)]
pub fn homeless() -> Schedule {
    Schedule::new().role("load", ["codes", "head", "part"]).role("math", ["acc", "y.store", "z.store"])
}

/// Asks for a generic that there is not.
#[tile::schedule(gemm, crate = tile_lang)]
pub fn generic(BN: usize) -> Schedule {
    Schedule::new().cluster(BN)
}

/// Two stores into one array and two products of one accumulator, told apart.
#[tile::kernel(crate = tile_lang)]
pub fn told_apart(w: &Weight<bf16, 2>, x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(w.dim(0), 16)]);
    let mut acc = Tile::<f32, 16, 8>::zero();
    for k in pipelined::<3>(0..cdiv(w.dim(1), 64)) {
        #[op(codes)]
        let t = w.stage::<Smem<bf16, 16, 64>>([i, k]).cast::<bf16>();
        let v = x.load::<Tile<bf16, 8, 64>>([0, k]);
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

/// A grid of two axes whose items write their own number's place.
#[tile::kernel(crate = tile_lang)]
pub fn grid<const N: usize>(order: &mut Global<i32, 3>) {
    let [b, i, j] = work([order.dim(0), order.dim(1), order.dim(2)]);
    order.set([b, i, j], b * 10000 + i * 100 + j + N as i32);
}
