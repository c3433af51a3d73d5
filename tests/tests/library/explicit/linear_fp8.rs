use monotile::prelude::*;

/// `linear_fp8` with explicit roles for X = f32, Y = f32, NORM = 1, T = 8, BM = 16, BK = 512, KB = 4.
#[tile::kernel]
pub fn linear_fp8(w: &Weight<e4m3, 2>, scales: &Weight<f32, 2>, x: &Global<f32, 2>, gain: &Global<f32, 1>, y: &mut Global<f32, 2>, eps: f32) {
    require!(scales.dim(0) == cdiv(w.dim(1), 128i32));
    require!(scales.dim(1) == w.dim(0));
    require!(x.dim(0) == 8);
    require!(y.dim(0) == 8);
    require!(w.dim(1) == x.dim(1));
    require!(w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), 16i32)]);
    let ring = Ring::<(Smem<e4m3, 16, 512>, Smem<f32, 4, 16>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(w.dim(1), 512i32) {
            ring.acquire().fill(w, [i, k]).fill(scales, [k, i]).commit();
        }
    });
    role("math", 0, 0, || {
        let n = x.dim(1);
        let mut squares = Tile::<f32, 8, 512>::zero();
        for k_2 in 0..cdiv(n, 512i32) {
            let v = x.load::<Tile<f32, 8, 512>>([0, k_2]);
            squares = squares + (v * v);
        }
        let scale = ((squares.row_sum() / n.cast::<f32>()) + eps).rsqrt();
        let mut acc = Tile::<f32, 16, 8>::zero();
        for k_3 in 0..cdiv(w.dim(1), 512i32) {
            let slot = ring.wait();
            let (codes, blocks) = slot.get();
            let t = (k_3 * 4) + 0;
            let v_2 = x.load::<Tile<f32, 8, 128>>([0, t]);
            let t_2 = (v_2 * scale.cols::<128>()) * gain.load::<Tile<f32, 128>>([t]).rows::<8>();
            let h = t_2.cast::<bf16>().t();
            let part = mma(codes.slice::<16, 128>(0, 0).read().cast::<bf16>(), h);
            let t_3 = part * blocks.slice::<1, 16>(0, 0).read().col_sum().cols::<8>();
            let sum = acc + t_3;
            let t_4 = (k_3 * 4) + 1;
            let v_3 = x.load::<Tile<f32, 8, 128>>([0, t_4]);
            let t_5 = (v_3 * scale.cols::<128>()) * gain.load::<Tile<f32, 128>>([t_4]).rows::<8>();
            let h_2 = t_5.cast::<bf16>().t();
            let part_2 = mma(codes.slice::<16, 128>(0, 128).read().cast::<bf16>(), h_2);
            let t_6 = part_2 * blocks.slice::<1, 16>(1, 0).read().col_sum().cols::<8>();
            let sum_2 = sum + t_6;
            let t_7 = (k_3 * 4) + 2;
            let v_4 = x.load::<Tile<f32, 8, 128>>([0, t_7]);
            let t_8 = (v_4 * scale.cols::<128>()) * gain.load::<Tile<f32, 128>>([t_7]).rows::<8>();
            let h_3 = t_8.cast::<bf16>().t();
            let part_3 = mma(codes.slice::<16, 128>(0, 256).read().cast::<bf16>(), h_3);
            let t_9 = part_3 * blocks.slice::<1, 16>(2, 0).read().col_sum().cols::<8>();
            let sum_3 = sum_2 + t_9;
            let t_10 = (k_3 * 4) + 3;
            let v_5 = x.load::<Tile<f32, 8, 128>>([0, t_10]);
            let t_11 = (v_5 * scale.cols::<128>()) * gain.load::<Tile<f32, 128>>([t_10]).rows::<8>();
            let h_4 = t_11.cast::<bf16>().t();
            let part_4 = mma(codes.slice::<16, 128>(0, 384).read().cast::<bf16>(), h_4);
            let t_12 = blocks.slice::<1, 16>(3, 0).read();
            slot.release();
            acc = sum_3 + (part_4 * t_12.col_sum().cols::<8>());
        }
        y.store([0, i], acc.t());
    });
}
