use monotile::prelude::*;

/// `linear_add` with explicit roles for W = bf16, X = bf16, T = 8, BM = 16, BK = 512.
#[tile::kernel]
pub fn linear_add(w: &Weight<bf16, 2>, x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
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
        let mut acc = Tile::<f32, 16, 8>::zero();
        for k_2 in 0..cdiv(w.dim(1), 512i32) {
            let slot = ring.wait();
            let codes = slot.get();
            let h = x.load::<Tile<bf16, 8, 512>>([0, k_2]).t();
            let t = codes.read();
            slot.release();
            acc.mma(t, h);
        }
        y.store([0, i], y.load::<Tile<f32, 8, 16>>([0, i]) + acc.t());
    });
}
