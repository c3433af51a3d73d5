use monotile::prelude::*;

/// `gemm_residual` with explicit roles for X = bf16, R = f32, Y = f32, ACT = 0, BM = 128, BN = 128, BK = 64.
#[tile::kernel]
pub fn gemm_residual(a: &Global<bf16, 2>, b: &Global<bf16, 2>, bias: &Global<f32, 1>, r: &Global<f32, 2>, c: &mut Global<f32, 2>) {
    require!(a.dim(1) == b.dim(1));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0);
    require!(b.dim(0) > 0);
    require!(a.dim(1) > 0);
    require!((a.dim(1) % 8) == 0);
    require!(bias.dim(0) == b.dim(0));
    require!(r.dim(0) == c.dim(0));
    require!(r.dim(1) == c.dim(1));
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
        let column = (j * 2) + 0;
        let x = acc.slice::<128, 64>(0, 0) + bias.load::<Tile<f32, 64>>([column]).rows::<128>();
        let x_2 = x + r.load::<Tile<f32, 128, 64>>([i, column]);
        c.store([i, column], x_2);
        let column_2 = (j * 2) + 1;
        let x_3 = acc.slice::<128, 64>(0, 64) + bias.load::<Tile<f32, 64>>([column_2]).rows::<128>();
        let x_4 = x_3 + r.load::<Tile<f32, 128, 64>>([i, column_2]);
        c.store([i, column_2], x_4);
    });
}

/// What rings and roles of `gemm_residual` don't say.
#[tile::schedule(gemm_residual)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
