use monotile::prelude::*;

/// `project_gated` with explicit roles for BM = 128, BN = 128, BK = 64.
#[tile::kernel]
pub fn project_gated(gate: &Weight<bf16, 2>, up: &Weight<bf16, 2>, x: &Global<bf16, 2>, y: &mut Global<bf16, 2>) {
    require!(gate.dim(1) == x.dim(1));
    require!(y.dim(0) == x.dim(0));
    require!(y.dim(1) == gate.dim(0));
    require!(up.dim(0) == gate.dim(0));
    require!(up.dim(1) == gate.dim(1));
    let [j, i] = work([cdiv(gate.dim(0), 128i32), cdiv(x.dim(0), 128i32)]);
    let ring = Ring::<Smem<bf16, 128, 64>>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(gate.dim(1), 64i32) {
            ring.acquire().fill(gate, [j, k]).commit();
            ring.acquire().fill(up, [j, k]).commit();
            ring.acquire().fill(x, [i, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut g = Tile::<f32, 128, 128>::zero();
        let mut u = Tile::<f32, 128, 128>::zero();
        'k: for _ in 0..cdiv(gate.dim(1), 64i32) {
            let slot = ring.wait();
            let gate_codes = slot.get();
            let slot_2 = ring.wait();
            let up_codes = slot_2.get();
            let slot_3 = ring.wait();
            let rows = slot_3.get();
            g.mma(rows, gate_codes.t());
            slot.release();
            u.mma(rows, up_codes.t());
            slot_3.release();
            slot_2.release();
        }
        y.store([i, j], ((g / ((-g).exp() + 1.0)) * u).cast::<bf16>());
    });
}
