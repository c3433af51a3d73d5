use monotile::prelude::*;

/// `gemm_bias` with explicit roles for X = bf16, Y = bf16, ACT = 2, BM = 128, BN = 128, BK = 64.
#[tile::kernel]
pub fn gemm_bias(a: &Global<bf16, 2>, b: &Global<bf16, 2>, bias: &Global<f32, 1>, c: &mut Global<bf16, 2>, alpha: f32, beta: f32) {
    require!(a.dim(1) == b.dim(1));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0);
    require!(b.dim(0) > 0);
    require!(a.dim(1) > 0);
    require!((a.dim(1) % 8) == 0);
    require!(bias.dim(0) == b.dim(0));
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
        let x = acc.slice::<128, 64>(0, 0);
        let y = x * alpha;
        let y_2 = if beta != 0.0 {
            let t = c.load::<Tile<bf16, 128, 64>>([i, column]).cast::<f32>() * beta;
            let y_3 = y + t;
            y_3
        } else {
            y
        };
        let y_4 = y_2 + bias.load::<Tile<f32, 64>>([column]).rows::<128>();
        let y_5 = (y_4 * 0.5) * ((y_4 * 0.70710677).erf() + 1.0);
        c.store([i, column], y_5.cast::<bf16>());
        let column_2 = (j * 2) + 1;
        let x_2 = acc.slice::<128, 64>(0, 64);
        let y_6 = x_2 * alpha;
        let y_7 = if beta != 0.0 {
            let t_2 = c.load::<Tile<bf16, 128, 64>>([i, column_2]).cast::<f32>() * beta;
            let y_8 = y_6 + t_2;
            y_8
        } else {
            y_6
        };
        let y_9 = y_7 + bias.load::<Tile<f32, 64>>([column_2]).rows::<128>();
        let y_10 = (y_9 * 0.5) * ((y_9 * 0.70710677).erf() + 1.0);
        c.store([i, column_2], y_10.cast::<bf16>());
    });
}

/// What rings and roles of `gemm_bias` don't say.
#[tile::schedule(gemm_bias)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
