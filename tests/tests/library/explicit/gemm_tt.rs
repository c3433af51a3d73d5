use monotile::prelude::*;

/// `gemm_tt` with explicit roles for X = bf16, Y = bf16, BM = 128, BN = 256, BK = 64.
#[tile::kernel]
pub fn gemm_tt(a: &Global<bf16, 2>, b: &Global<bf16, 2>, c: &mut Global<bf16, 2>) {
    require!(a.dim(0) == b.dim(1));
    require!(c.dim(0) == a.dim(1));
    require!(c.dim(1) == b.dim(0));
    require!(a.dim(1) > 0);
    require!(b.dim(0) > 0);
    require!(a.dim(0) > 0);
    require!((a.dim(1) % 8) == 0);
    require!((b.dim(1) % 8) == 0);
    let [i, j] = work([cdiv(a.dim(1), 128i32), cdiv(b.dim(0), 256i32)]);
    let ring = Ring::<(Smem<bf16, 64, 128>, Smem<bf16, 256, 64>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(a.dim(0), 64i32) {
            ring.acquire().fill(a, [k, i]).fill(b, [j, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 256>::zero();
        'k: for _ in 0..cdiv(a.dim(0), 64i32) {
            let slot = ring.wait();
            let (at, bt) = slot.get();
            acc.mma(at.t(), bt.t());
            slot.release();
        }
        c.store([i, j], acc.cast::<bf16>());
    });
}

/// What rings and roles of `gemm_tt` don't say.
#[tile::schedule(gemm_tt)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
