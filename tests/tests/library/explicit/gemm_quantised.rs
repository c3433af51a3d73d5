use monotile::prelude::*;

/// `gemm_quantised` with explicit roles for X = bf16, ACT = 4, BM = 128, BN = 128, BK = 64.
#[tile::kernel]
pub fn gemm_quantised(a: &Global<bf16, 2>, b: &Global<bf16, 2>, c: &mut Global<e4m3, 2>, scales: &mut Global<f32, 2>) {
    require!(a.dim(1) == b.dim(1));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0);
    require!(b.dim(0) > 0);
    require!(a.dim(1) > 0);
    require!((a.dim(1) % 8) == 0);
    require!(scales.dim(0) == cdiv(b.dim(0), 128i32));
    require!(scales.dim(1) >= a.dim(0));
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
        let block = (j * 1) + 0;
        let y = acc.slice::<128, 64>(0, 0);
        let y_2 = y * y.sigmoid();
        let y_3 = acc.slice::<128, 64>(0, 64);
        let y_4 = y_3 * y_3.sigmoid();
        let largest = y_2.abs().row_max();
        let largest_2 = largest.max(y_4.abs().row_max());
        let of_rows = select(largest_2.gt(0.0), largest_2 / 448.0, Tile::<f32, 128>::full(1.0));
        if block < scales.dim(0) {
            scales.store([block, i], of_rows);
        }
        c.store([i, 2 * block], (y_2 * of_rows.recip().cols::<64>()).cast::<e4m3>());
        c.store([i, (2 * block) + 1], (y_4 * of_rows.recip().cols::<64>()).cast::<e4m3>());
    });
}

/// What rings and roles of `gemm_quantised` don't say.
#[tile::schedule(gemm_quantised)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
