use monotile::prelude::*;

/// `project_nvfp4` with explicit roles for Y = bf16, BM = 256, BN = 128, BK = 64, BS = 4.
#[tile::kernel]
pub fn project_nvfp4(w: &Weight<e2m1, 2>, scales: &Weight<e4m3, 2>, x: &Global<bf16, 2>, y: &mut Global<bf16, 2>, scale: f32) {
    require!((scales.dim(1) * 16) == w.dim(1));
    require!(scales.dim(0) == w.dim(0));
    require!(w.dim(1) == x.dim(1));
    require!(y.dim(0) == x.dim(0));
    require!(y.dim(1) == w.dim(0));
    let [j, i] = work([cdiv(w.dim(0), 128i32), cdiv(x.dim(0), 256i32)]);
    let ring = Ring::<(Smem<bf16, 256, 64>, Smem<e2m1, 128, 64>, Smem<e4m3, 128, 4>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(w.dim(1), 64i32) {
            ring.acquire().fill(x, [i, k]).fill(w, [j, k]).fill(scales, [j, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 256>::zero();
        'k: for _ in 0..cdiv(w.dim(1), 64i32) {
            let slot = ring.wait();
            let (rows, codes, blocks) = slot.get();
            let t = codes.read().cast::<bf16>() * blocks.read().cast::<bf16>().repeat::<64>();
            acc.mma(t, rows.t());
            slot.release();
        }
        y.store([i, j], (acc * scale).cast::<bf16>().t());
    });
}

/// What rings and roles of `project_nvfp4` don't say.
#[tile::schedule(project_nvfp4)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
