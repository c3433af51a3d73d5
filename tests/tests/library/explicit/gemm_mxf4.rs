use monotile::prelude::*;

/// `gemm_mxf4` with explicit roles for Y = bf16, BM = 128, BN = 128, BK = 128, BS = 4.
#[tile::kernel]
pub fn gemm_mxf4(a: &Global<e2m1, 2>, a_scales: &Global<e8m0, 2>, b: &Weight<e2m1, 2>, b_scales: &Weight<e8m0, 2>, c: &mut Global<bf16, 2>) {
    require!((a_scales.dim(1) * 32) == a.dim(1));
    require!(a_scales.dim(0) == a.dim(0));
    require!(c.dim(0) == a.dim(0));
    require!(b.dim(1) == a.dim(1));
    require!(b_scales.dim(1) == a_scales.dim(1));
    require!(b_scales.dim(0) == b.dim(0));
    require!(c.dim(1) == b.dim(0));
    let [i, j] = work([cdiv(a.dim(0), 128i32), cdiv(b.dim(0), 128i32)]);
    let ring = Ring::<Smem<e2m1, 128, 128>>::new::<0>();
    let ring_2 = Ring::<Smem<e8m0, 128, 4>>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(a.dim(1), 128i32) {
            ring.acquire().fill(a, [i, k]).commit();
            ring.acquire().fill(b, [j, k]).commit();
            ring_2.acquire().fill(b_scales, [j, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 128, 128>::zero();
        for k_2 in 0..cdiv(a.dim(1), 128i32) {
            let slot = ring.wait();
            let at = slot.get();
            let slot_2 = ring.wait();
            let bt = slot_2.get();
            let slot_3 = ring_2.wait();
            let bs = slot_3.get();
            acc.mma_scaled(at, a_scales.load::<Tile<e8m0, 128, 4>>([i, k_2]), bt.t(), bs.t());
            slot_3.release();
            slot_2.release();
            slot.release();
        }
        c.store([i, j], acc.cast::<bf16>());
    });
}
