use monotile::prelude::*;

/// `experts_down_fp8` with explicit roles for T = 8, BM = 16, BK = 512, KB = 4.
#[tile::kernel]
pub fn experts_down_fp8(down: &Weight<e4m3, 3>, scales: &Weight<f32, 3>, list: &Global<i32, 1>, count: &Global<i32, 1>, weights: &Global<f32, 2>, x: &Global<bf16, 3>, y: &mut Global<f32, 2>) {
    require!(scales.dim(1) == cdiv(down.dim(2), 128i32));
    require!(scales.dim(2) == down.dim(1));
    require!(x.dim(1) == 8);
    require!(y.dim(0) == 8);
    require!(down.dim(2) == x.dim(2));
    require!(down.dim(1) == y.dim(1));
    require!(weights.dim(0) == down.dim(0));
    require!(weights.dim(1) == 8);
    let [i] = work([cdiv(down.dim(1), 16i32)]);
    let ring = Ring::<(Smem<e4m3, 16, 512>, Smem<f32, 4, 16>)>::new::<0>();
    role("load", 0, 0, || {
        for s in 0..count.at([0]) {
            let e = list.at([s]);
            for k in 0..cdiv(down.dim(2), 512i32) {
                ring.acquire().fill(down, [e, i, k]).fill(scales, [e, k, i]).commit();
            }
        }
    });
    role("math", 0, 0, || {
        let mut sum = Tile::<f32, 16, 8>::zero();
        for s_2 in 0..count.at([0]) {
            let e_2 = list.at([s_2]);
            let mut acc = Tile::<f32, 16, 8>::zero();
            for k_2 in 0..cdiv(down.dim(2), 512i32) {
                let slot = ring.wait();
                let (codes, blocks) = slot.get();
                let h = x.load::<Tile<bf16, 8, 128>>([s_2, 0, (k_2 * 4) + 0]).t();
                let part = mma(codes.slice::<16, 128>(0, 0).read().cast::<bf16>(), h);
                let t = part * blocks.slice::<1, 16>(0, 0).read().col_sum().cols::<8>();
                let acc_2 = acc + t;
                let h_2 = x.load::<Tile<bf16, 8, 128>>([s_2, 0, (k_2 * 4) + 1]).t();
                let part_2 = mma(codes.slice::<16, 128>(0, 128).read().cast::<bf16>(), h_2);
                let t_2 = part_2 * blocks.slice::<1, 16>(1, 0).read().col_sum().cols::<8>();
                let acc_3 = acc_2 + t_2;
                let h_3 = x.load::<Tile<bf16, 8, 128>>([s_2, 0, (k_2 * 4) + 2]).t();
                let part_3 = mma(codes.slice::<16, 128>(0, 256).read().cast::<bf16>(), h_3);
                let t_3 = part_3 * blocks.slice::<1, 16>(2, 0).read().col_sum().cols::<8>();
                let acc_4 = acc_3 + t_3;
                let h_4 = x.load::<Tile<bf16, 8, 128>>([s_2, 0, (k_2 * 4) + 3]).t();
                let part_4 = mma(codes.slice::<16, 128>(0, 384).read().cast::<bf16>(), h_4);
                let t_4 = blocks.slice::<1, 16>(3, 0).read();
                slot.release();
                acc = acc_4 + (part_4 * t_4.col_sum().cols::<8>());
            }
            sum = sum + (acc * weights.load::<Tile<f32, 8>>([e_2, 0]).rows::<16>());
        }
        y.store([0, i], y.load::<Tile<f32, 8, 16>>([0, i]) + sum.t());
    });
}
