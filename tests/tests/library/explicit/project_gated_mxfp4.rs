use monotile::prelude::*;

/// `project_gated_mxfp4` with explicit roles for BM = 64, BN = 128, BK = 64, BS = 2.
#[tile::kernel]
pub fn project_gated_mxfp4(gate: &Weight<e2m1, 2>, gate_scales: &Weight<e8m0, 2>, up: &Weight<e2m1, 2>, up_scales: &Weight<e8m0, 2>, x: &Global<bf16, 2>, y: &mut Global<bf16, 2>) {
    require!((gate_scales.dim(1) * 32) == gate.dim(1));
    require!(gate_scales.dim(0) == gate.dim(0));
    require!(up_scales.dim(1) == gate_scales.dim(1));
    require!(up_scales.dim(0) == up.dim(0));
    require!(up.dim(1) == gate.dim(1));
    require!(gate.dim(1) == x.dim(1));
    require!(y.dim(0) == x.dim(0));
    require!(y.dim(1) == gate.dim(0));
    require!(up.dim(0) == gate.dim(0));
    let [j, i] = work([cdiv(gate.dim(0), 128i32), cdiv(x.dim(0), 64i32)]);
    let ring = Ring::<(Smem<bf16, 64, 64>, Smem<e2m1, 128, 64>, Smem<e8m0, 128, 2>, Smem<e2m1, 128, 64>, Smem<e8m0, 128, 2>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(gate.dim(1), 64i32) {
            ring.acquire().fill(x, [i, k]).fill(gate, [j, k]).fill(gate_scales, [j, k]).fill(up, [j, k]).fill(up_scales, [j, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let mut g = Tile::<f32, 128, 64>::zero();
        let mut u = Tile::<f32, 128, 64>::zero();
        'k: for _ in 0..cdiv(gate.dim(1), 64i32) {
            let slot = ring.wait();
            let (rows, gate_codes, gate_blocks, up_codes, up_blocks) = slot.get();
            let t = gate_codes.read().cast::<bf16>() * gate_blocks.read().cast::<bf16>().repeat::<64>();
            g.mma(t, rows.t());
            let t_2 = up_codes.read().cast::<bf16>() * up_blocks.read().cast::<bf16>().repeat::<64>();
            u.mma(t_2, rows.t());
            slot.release();
        }
        y.store([i, j], ((g / ((-g).exp() + 1.0)) * u).cast::<bf16>().t());
    });
}
