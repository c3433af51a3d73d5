use monotile::prelude::*;

/// `gemm_fp8` with explicit roles for Y = bf16, BM = 128, BN = 256, BK = 128.
#[tile::kernel]
pub fn gemm_fp8(a: &Global<e4m3, 2>, a_scale: &Global<f32, 1>, b: &Global<e4m3, 2>, b_scale: &Global<f32, 1>, c: &mut Global<bf16, 2>) {
    require!(a.dim(1) == b.dim(1));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0);
    require!(b.dim(0) > 0);
    require!(a.dim(1) > 0);
    require!((a.dim(1) % 16) == 0);
    require!(a_scale.dim(0) == 1);
    require!(b_scale.dim(0) == 1);
    let [i, j] = work([cdiv(a.dim(0), 128i32), cdiv(b.dim(0), 256i32)]);
    let ring = Ring::<(Smem<e4m3, 128, 128>, Smem<e4m3, 256, 128>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(a.dim(1), 128i32) {
            ring.acquire().fill(a, [i, k]).fill(b, [j, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 256>::zero();
        'k: for _ in 0..cdiv(a.dim(1), 128i32) {
            let slot = ring.wait();
            let (at, bt) = slot.get();
            acc.mma(at, bt.t());
            slot.release();
        }
        let t = Tile::<f32, 128, 256>::full(a_scale.at([0]) * b_scale.at([0]));
        c.store([i, j], (acc * t).cast::<bf16>());
    });
}

/// What rings and roles of `gemm_fp8` don't say.
#[tile::schedule(gemm_fp8)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
