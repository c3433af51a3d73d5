use monotile::prelude::*;

/// `gemm_batched` with explicit roles for X = bf16, Y = bf16, BM = 128, BN = 128, BK = 64.
#[tile::kernel]
pub fn gemm_batched(a: &Global<bf16, 3>, b: &Global<bf16, 3>, c: &mut Global<bf16, 3>) {
    require!(a.dim(2) == b.dim(2));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == a.dim(1));
    require!(c.dim(2) == b.dim(1));
    require!((b.dim(0) == a.dim(0)) | (b.dim(0) == 1));
    require!(a.dim(0) > 0);
    require!(a.dim(1) > 0);
    require!(b.dim(1) > 0);
    require!(a.dim(2) > 0);
    require!((a.dim(2) % 8) == 0);
    let [z, i, j] = work([a.dim(0), cdiv(a.dim(1), 128i32), cdiv(b.dim(1), 128i32)]);
    let ring = Ring::<Smem<bf16, 128, 64>>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(a.dim(2), 64i32) {
            ring.acquire().fill(a, [z, i, k]).commit();
            ring.acquire().fill(b, [z.min(b.dim(0) - 1), j, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 128>::zero();
        'k: for _ in 0..cdiv(a.dim(2), 64i32) {
            let slot = ring.wait();
            let at = slot.get();
            let slot_2 = ring.wait();
            let bt = slot_2.get();
            acc.mma(at, bt.t());
            slot_2.release();
            slot.release();
        }
        c.store([z, i, j], acc.cast::<bf16>());
    });
}

/// What rings and roles of `gemm_batched` don't say.
#[tile::schedule(gemm_batched)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
