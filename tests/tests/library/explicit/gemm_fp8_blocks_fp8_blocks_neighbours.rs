use monotile::prelude::*;

/// `gemm_fp8_blocks` with explicit roles for Y = bf16, PARTS = 1, BM = 128, BN = 128.
#[tile::kernel]
pub fn gemm_fp8_blocks(a: &Global<e4m3, 2>, a_scales: &Global<f32, 2>, b: &Global<e4m3, 2>, b_scales: &Global<f32, 2>, c: &mut Global<bf16, 2>) {
    require!(a.dim(1) == b.dim(1));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0);
    require!(b.dim(0) > 0);
    require!(a.dim(1) > 0);
    require!((a.dim(1) % 16) == 0);
    require!((a_scales.dim(1) % 4) == 0);
    require!(a_scales.dim(0) == cdiv(a.dim(1), 128i32));
    require!(a_scales.dim(1) >= a.dim(0));
    require!(b_scales.dim(0) == cdiv(b.dim(0), 128i32));
    require!(b_scales.dim(1) == cdiv(b.dim(1), 128i32));
    let [i, j] = work([cdiv(a.dim(0), 128i32), cdiv(b.dim(0), 128i32)]);
    let ring = Ring::<(Smem<e4m3, 128, 128>, Smem<e4m3, 128, 128>, Smem<f32, 1, 128>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(a.dim(1), 128i32) {
            ring.acquire().fill_at(b, [j * 128, k * 128]).fill_at(a, [((i * 1) + 0) * 128, k * 128]).fill_at(a_scales, [k, ((i * 1) + 0) * 128]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc0 = Tile::<f32, 128, 128>::zero();
        for k_2 in 0..cdiv(a.dim(1), 128i32) {
            let block = b_scales.at([(j * 128) / 128, k_2]);
            let slot = ring.wait();
            let (bt, at, rows) = slot.get();
            let scales = rows.read().col_sum();
            let part = mma(at, bt.t());
            slot.release();
            acc0 = part.mul_add((scales * block).cols::<128>(), acc0);
        }
        c.store([(i * 1) + 0, j], acc0.cast::<bf16>());
    });
}

/// What rings and roles of `gemm_fp8_blocks` don't say.
#[tile::schedule(gemm_fp8_blocks)]
pub fn fp8_blocks_neighbours() -> Schedule {
    Schedule::new().raster(Raster::Grouped(8)).cluster(2)
}
