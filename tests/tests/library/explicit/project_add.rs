use monotile::prelude::*;

/// `project_add` with explicit roles for BM = 64, BN = 64, BK = 64.
#[tile::kernel]
pub fn project_add(w: &Weight<bf16, 2>, x: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    require!(w.dim(1) == x.dim(1));
    require!(y.dim(0) == x.dim(0));
    require!(y.dim(1) == w.dim(0));
    let [j, i] = work([cdiv(w.dim(0), 64i32), cdiv(x.dim(0), 64i32)]);
    let ring = Ring::<(Smem<bf16, 64, 64>, Smem<bf16, 64, 64>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(w.dim(1), 64i32) {
            ring.acquire().fill(w, [j, k]).fill(x, [i, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut acc = Tile::<f32, 64, 64>::zero();
        'k: for _ in 0..cdiv(w.dim(1), 64i32) {
            let slot = ring.wait();
            let (codes, rows) = slot.get();
            acc.mma(rows, codes.t());
            slot.release();
        }
        y.store([i, j], y.load::<Tile<f32, 64, 64>>([i, j]) + acc);
    });
}
