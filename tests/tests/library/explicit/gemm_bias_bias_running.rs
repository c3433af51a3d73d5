use monotile::prelude::*;

/// `gemm_bias` with explicit roles for X = bf16, Y = bf16, ACT = 2, BM = 128, BN = 256, BK = 64.
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
    let [i, j] = work([cdiv(a.dim(0), 128i32), cdiv(b.dim(0), 256i32)]);
    let ring = Ring::<(Smem<bf16, 128, 64>, Smem<bf16, 256, 64>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(a.dim(1), 64i32) {
            ring.acquire().fill(a, [i, k]).fill(b, [j, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 256>::zero();
        'k: for _ in 0..cdiv(a.dim(1), 64i32) {
            let slot = ring.wait();
            let (at, bt) = slot.get();
            acc.mma(at, bt.t());
            slot.release();
        }
        let column = (j * 4) + 0;
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
        let column_2 = (j * 4) + 1;
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
        let column_3 = (j * 4) + 2;
        let x_3 = acc.slice::<128, 64>(0, 128);
        let y_11 = x_3 * alpha;
        let y_12 = if beta != 0.0 {
            let t_3 = c.load::<Tile<bf16, 128, 64>>([i, column_3]).cast::<f32>() * beta;
            let y_13 = y_11 + t_3;
            y_13
        } else {
            y_11
        };
        let y_14 = y_12 + bias.load::<Tile<f32, 64>>([column_3]).rows::<128>();
        let y_15 = (y_14 * 0.5) * ((y_14 * 0.70710677).erf() + 1.0);
        c.store([i, column_3], y_15.cast::<bf16>());
        let column_4 = (j * 4) + 3;
        let x_4 = acc.slice::<128, 64>(0, 192);
        let y_16 = x_4 * alpha;
        let y_17 = if beta != 0.0 {
            let t_4 = c.load::<Tile<bf16, 128, 64>>([i, column_4]).cast::<f32>() * beta;
            let y_18 = y_16 + t_4;
            y_18
        } else {
            y_16
        };
        let y_19 = y_17 + bias.load::<Tile<f32, 64>>([column_4]).rows::<128>();
        let y_20 = (y_19 * 0.5) * ((y_19 * 0.70710677).erf() + 1.0);
        c.store([i, column_4], y_20.cast::<bf16>());
    });
}

/// What rings and roles of `gemm_bias` don't say.
#[tile::schedule(gemm_bias)]
pub fn bias_running() -> Schedule {
    Schedule::new().inflight("k.acc", 1).raster(Raster::Grouped(8))
}
