use monotile::prelude::*;

/// `linear_mxfp4` with explicit roles for X = f32, Y = f32, NORM = 1, T = 8, BM = 16, BK = 1024, BS = 32.
#[tile::kernel]
pub fn linear_mxfp4(w: &Weight<e2m1, 2>, scales: &Weight<e8m0, 2>, x: &Global<f32, 2>, gain: &Global<f32, 1>, y: &mut Global<f32, 2>, eps: f32) {
    require!((scales.dim(1) * 32) == w.dim(1));
    require!(scales.dim(0) == w.dim(0));
    require!(x.dim(0) == 8);
    require!(y.dim(0) == 8);
    require!(w.dim(1) == x.dim(1));
    require!(w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), 16i32)]);
    let ring = Ring::<Smem<e2m1, 16, 1024>>::new::<4>();
    let ring_2 = Ring::<Smem<e8m0, 16, 32>>::new::<4>();
    role("load", 0, 0, || {
        for k in 0..cdiv(w.dim(1), 1024i32) {
            ring.acquire().fill(w, [i, k]).commit();
            ring_2.acquire().fill(scales, [i, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let n = x.dim(1);
        let mut squares = Tile::<f32, 8, 1024>::zero();
        for k_2 in 0..cdiv(n, 1024i32) {
            let v = x.load::<Tile<f32, 8, 1024>>([0, k_2]);
            squares = squares + (v * v);
        }
        let scale = ((squares.row_sum() / n.cast::<f32>()) + eps).rsqrt();
        let mut acc = Tile::<f32, 16, 8>::zero();
        for k_3 in 0..cdiv(w.dim(1), 1024i32) {
            let slot = ring.wait();
            let codes = slot.get();
            let slot_2 = ring_2.wait();
            let blocks = slot_2.get();
            let v_2 = x.load::<Tile<f32, 8, 1024>>([0, k_3]);
            let t = (v_2 * scale.cols::<1024>()) * gain.load::<Tile<f32, 1024>>([k_3]).rows::<8>();
            let h = t.cast::<bf16>().t();
            let t_2 = codes.read();
            slot.release();
            let t_3 = t_2.cast::<bf16>();
            let t_4 = blocks.read();
            slot_2.release();
            acc.mma(t_3 * t_4.cast::<bf16>().repeat::<1024>(), h);
        }
        y.store([0, i], acc.t());
    });
}
