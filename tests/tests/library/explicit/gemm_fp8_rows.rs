use monotile::prelude::*;

/// `gemm_fp8_rows` with explicit roles for Y = bf16, BM = 128, BN = 256, BK = 128.
#[tile::kernel]
pub fn gemm_fp8_rows(a: &Global<e4m3, 2>, a_scales: &Global<f32, 1>, b: &Global<e4m3, 2>, b_scales: &Global<f32, 1>, c: &mut Global<bf16, 2>) {
    require!(a.dim(1) == b.dim(1));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0);
    require!(b.dim(0) > 0);
    require!(a.dim(1) > 0);
    require!((a.dim(1) % 16) == 0);
    require!(a_scales.dim(0) == a.dim(0));
    require!(b_scales.dim(0) == b.dim(0));
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
        let rows = a_scales.load::<Tile<f32, 128>>([i]).cols::<64>();
        let column = (j * 4) + 0;
        let columns = b_scales.load::<Tile<f32, 64>>([column]).rows::<128>();
        let t = ((acc.slice::<128, 64>(0, 0) * rows) * columns).cast::<bf16>();
        c.store([i, column], t);
        let column_2 = (j * 4) + 1;
        let columns_2 = b_scales.load::<Tile<f32, 64>>([column_2]).rows::<128>();
        let t_2 = ((acc.slice::<128, 64>(0, 64) * rows) * columns_2).cast::<bf16>();
        c.store([i, column_2], t_2);
        let column_3 = (j * 4) + 2;
        let columns_3 = b_scales.load::<Tile<f32, 64>>([column_3]).rows::<128>();
        let t_3 = ((acc.slice::<128, 64>(0, 128) * rows) * columns_3).cast::<bf16>();
        c.store([i, column_3], t_3);
        let column_4 = (j * 4) + 3;
        let columns_4 = b_scales.load::<Tile<f32, 64>>([column_4]).rows::<128>();
        let t_4 = ((acc.slice::<128, 64>(0, 192) * rows) * columns_4).cast::<bf16>();
        c.store([i, column_4], t_4);
    });
}

/// What rings and roles of `gemm_fp8_rows` don't say.
#[tile::schedule(gemm_fp8_rows)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
