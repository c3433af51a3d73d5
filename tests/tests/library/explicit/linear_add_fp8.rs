use monotile::prelude::*;

/// `linear_add_fp8` with explicit roles for X = bf16, T = 8, BM = 16, BK = 512, KB = 4.
#[tile::kernel]
pub fn linear_add_fp8(w: &Weight<e4m3, 2>, scales: &Weight<f32, 2>, x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
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
        let mut acc = Tile::<f32, 16, 8>::zero();
        for k_2 in 0..cdiv(w.dim(1), 512i32) {
            let slot = ring.wait();
            let (codes, blocks) = slot.get();
            let h = x.load::<Tile<bf16, 8, 128>>([0, (k_2 * 4) + 0]).t();
            let part = mma(codes.slice::<16, 128>(0, 0).read().cast::<bf16>(), h);
            let t = part * blocks.slice::<1, 16>(0, 0).read().col_sum().cols::<8>();
            let acc_2 = acc + t;
            let h_2 = x.load::<Tile<bf16, 8, 128>>([0, (k_2 * 4) + 1]).t();
            let part_2 = mma(codes.slice::<16, 128>(0, 128).read().cast::<bf16>(), h_2);
            let t_2 = part_2 * blocks.slice::<1, 16>(1, 0).read().col_sum().cols::<8>();
            let acc_3 = acc_2 + t_2;
            let h_3 = x.load::<Tile<bf16, 8, 128>>([0, (k_2 * 4) + 2]).t();
            let part_3 = mma(codes.slice::<16, 128>(0, 256).read().cast::<bf16>(), h_3);
            let t_3 = part_3 * blocks.slice::<1, 16>(2, 0).read().col_sum().cols::<8>();
            let acc_4 = acc_3 + t_3;
            let h_4 = x.load::<Tile<bf16, 8, 128>>([0, (k_2 * 4) + 3]).t();
            let part_4 = mma(codes.slice::<16, 128>(0, 384).read().cast::<bf16>(), h_4);
            let t_4 = blocks.slice::<1, 16>(3, 0).read();
            slot.release();
            acc = acc_4 + (part_4 * t_4.col_sum().cols::<8>());
        }
        y.store([0, i], y.load::<Tile<f32, 8, 16>>([0, i]) + acc.t());
    });
}
