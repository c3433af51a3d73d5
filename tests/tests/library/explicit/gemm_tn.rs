use monotile::prelude::*;

/// `gemm_tn` with explicit roles for X = f16, Y = f16, BM = 128, BN = 256, BK = 64.
#[tile::kernel]
pub fn gemm_tn(a: &Global<f16, 2>, b: &Global<f16, 2>, c: &mut Global<f16, 2>) {
    require!(a.dim(0) == b.dim(0));
    require!(c.dim(0) == a.dim(1));
    require!(c.dim(1) == b.dim(1));
    require!(a.dim(1) > 0);
    require!(b.dim(1) > 0);
    require!(a.dim(0) > 0);
    require!((a.dim(1) % 8) == 0);
    require!((b.dim(1) % 8) == 0);
    let [i, j] = work([cdiv(a.dim(1), 128i32), cdiv(b.dim(1), 256i32)]);
    let ring = Ring::<(Smem<f16, 64, 128>, Smem<f16, 64, 256>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(a.dim(0), 64i32) {
            ring.acquire().fill(a, [k, i]).fill(b, [k, j]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 256>::zero();
        'k: for _ in 0..cdiv(a.dim(0), 64i32) {
            let slot = ring.wait();
            let (at, bt) = slot.get();
            acc.mma(at.t(), bt);
            slot.release();
        }
        c.store([i, j], acc.cast::<f16>());
    });
}

/// What rings and roles of `gemm_tn` don't say.
#[tile::schedule(gemm_tn)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
