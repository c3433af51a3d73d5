use monotile::prelude::*;

/// `gemm_quantised_rows` with explicit roles for X = bf16, ACT = 1, BM = 128, BN = 128, BK = 64.
#[tile::kernel]
pub fn gemm_quantised_rows(a: &Global<bf16, 2>, b: &Global<bf16, 2>, scales: &Global<f32, 1>, c: &mut Global<e4m3, 2>) {
    require!(a.dim(1) == b.dim(1));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0);
    require!(b.dim(0) > 0);
    require!(a.dim(1) > 0);
    require!((a.dim(1) % 8) == 0);
    require!(scales.dim(0) == a.dim(0));
    let [i, j] = work([cdiv(a.dim(0), 128i32), cdiv(b.dim(0), 128i32)]);
    let ring = Ring::<Smem<bf16, 128, 64>>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(a.dim(1), 64i32) {
            ring.acquire().fill(a, [i, k]).commit();
            ring.acquire().fill(b, [j, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 128>::zero();
        'k: for _ in 0..cdiv(a.dim(1), 64i32) {
            let slot = ring.wait();
            let at = slot.get();
            let slot_2 = ring.wait();
            let bt = slot_2.get();
            acc.mma(at, bt.t());
            slot_2.release();
            slot.release();
        }
        let of_rows = scales.load::<Tile<f32, 128>>([i]);
        let y = acc.slice::<128, 64>(0, 0);
        let y_2 = y.max(0.0);
        c.store([i, (j * 2) + 0], (y_2 * of_rows.recip().cols::<64>()).cast::<e4m3>());
        let y_3 = acc.slice::<128, 64>(0, 64);
        let y_4 = y_3.max(0.0);
        c.store([i, (j * 2) + 1], (y_4 * of_rows.recip().cols::<64>()).cast::<e4m3>());
    });
}

/// What rings and roles of `gemm_quantised_rows` don't say.
#[tile::schedule(gemm_quantised_rows)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
