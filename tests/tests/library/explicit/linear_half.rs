use monotile::prelude::*;

/// `linear` with explicit roles for W = bf16, X = f32, Y = f32, NORM = 1, T = 8, BM = 16, BK = 512.
#[tile::kernel]
pub fn linear(w: &Weight<bf16, 2>, x: &Global<f32, 2>, gain: &Global<f32, 1>, y: &mut Global<f32, 2>, eps: f32) {
    require!(x.dim(0) == 8);
    require!(y.dim(0) == 8);
    require!(w.dim(1) == x.dim(1));
    require!(w.dim(0) == y.dim(1));
    let [i] = work([cdiv(w.dim(0), 16i32)]);
    let ring = Ring::<Smem<bf16, 16, 512>>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(w.dim(1), 512i32) {
            ring.acquire().fill(w, [i, k]).commit();
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
            let codes = slot.get();
            let v_2 = x.load::<Tile<f32, 8, 512>>([0, k_3]);
            let t = (v_2 * scale.cols::<512>()) * gain.load::<Tile<f32, 512>>([k_3]).rows::<8>();
            let h = t.cast::<bf16>().t();
            let t_2 = codes.read();
            slot.release();
            acc.mma(t_2, h);
        }
        y.store([0, i], acc.t());
    });
}

/// What rings and roles of `linear` don't say.
#[tile::schedule(linear)]
pub fn half() -> Schedule {
    Schedule::new().split("k_3.acc", [1, 1, 4])
}
