use monotile::prelude::*;

/// `experts_down_mxfp4` with explicit roles for T = 8, BM = 16, BK = 1024, BS = 32.
#[tile::kernel]
pub fn experts_down_mxfp4(down: &Weight<e2m1, 3>, scales: &Weight<e8m0, 3>, list: &Global<i32, 1>, count: &Global<i32, 1>, weights: &Global<f32, 2>, x: &Global<bf16, 3>, y: &mut Global<f32, 2>) {
    require!((scales.dim(2) * 32) == down.dim(2));
    require!(scales.dim(1) == down.dim(1));
    require!(x.dim(1) == 8);
    require!(y.dim(0) == 8);
    require!(down.dim(2) == x.dim(2));
    require!(down.dim(1) == y.dim(1));
    require!(weights.dim(0) == down.dim(0));
    require!(weights.dim(1) == 8);
    let [i] = work([cdiv(down.dim(1), 16i32)]);
    let ring = Ring::<(Smem<e2m1, 16, 1024>, Smem<e8m0, 16, 32>)>::new::<0>();
    role("load", 0, 0, || {
        for s in 0..count.at([0]) {
            let e = list.at([s]);
            for k in 0..cdiv(down.dim(2), 1024i32) {
                ring.acquire().fill(down, [e, i, k]).fill(scales, [e, i, k]).commit();
            }
        }
    });
    role("math", 0, 0, || {
        let mut sum = Tile::<f32, 16, 8>::zero();
        for s_2 in 0..count.at([0]) {
            let e_2 = list.at([s_2]);
            let mut acc = Tile::<f32, 16, 8>::zero();
            for k_2 in 0..cdiv(down.dim(2), 1024i32) {
                let slot = ring.wait();
                let (codes, blocks) = slot.get();
                let h = x.load::<Tile<bf16, 8, 1024>>([s_2, 0, k_2]).t();
                let t = codes.read().cast::<bf16>();
                let t_2 = blocks.read();
                slot.release();
                acc.mma(t * t_2.cast::<bf16>().repeat::<1024>(), h);
            }
            sum = sum + (acc * weights.load::<Tile<f32, 8>>([e_2, 0]).rows::<16>());
        }
        y.store([0, i], y.load::<Tile<f32, 8, 16>>([0, i]) + sum.t());
    });
}
