use monotile::prelude::*;

/// `project` with explicit roles for Y = f32, BM = 128, BN = 128, BK = 64.
#[tile::kernel]
pub fn project(w: &Weight<bf16, 2>, x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    require!(w.dim(1) == x.dim(1));
    require!(y.dim(0) == x.dim(0));
    require!(y.dim(1) == w.dim(0));
    let [j, i] = work([cdiv(w.dim(0), 128i32), cdiv(x.dim(0), 128i32)]);
    let ring = Ring::<Smem<bf16, 128, 64>>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(w.dim(1), 64i32) {
            ring.acquire().fill(w, [j, k]).commit();
            ring.acquire().fill(x, [i, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 128>::zero();
        'k: for _ in 0..cdiv(w.dim(1), 64i32) {
            let slot = ring.wait();
            let codes = slot.get();
            let slot_2 = ring.wait();
            let rows = slot_2.get();
            acc.mma(rows, codes.t());
            slot_2.release();
            slot.release();
        }
        y.store([i, j], acc);
    });
}

/// What rings and roles of `project` don't say.
#[tile::schedule(project)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
