use monotile::prelude::*;

/// `experts_swiglu_mxfp4` with explicit roles for X = f32, NORM = 1, T = 8, BM = 16, BK = 512, BS = 16.
#[tile::kernel]
pub fn experts_swiglu_mxfp4(gate: &Weight<e2m1, 3>, gate_scales: &Weight<e8m0, 3>, up: &Weight<e2m1, 3>, up_scales: &Weight<e8m0, 3>, list: &Global<i32, 1>, count: &Global<i32, 1>, x: &Global<f32, 2>, gain: &Global<f32, 1>, y: &mut Global<bf16, 3>, eps: f32) {
    require!((gate_scales.dim(2) * 32) == gate.dim(2));
    require!(up_scales.dim(2) == gate_scales.dim(2));
    require!(x.dim(0) == 8);
    require!(y.dim(1) == 8);
    require!(gate.dim(2) == x.dim(1));
    require!(gate.dim(1) == y.dim(2));
    require!(up.dim(0) == gate.dim(0));
    require!(up.dim(1) == gate.dim(1));
    require!(up.dim(2) == gate.dim(2));
    require!(y.dim(0) <= list.dim(0));
    let [s, i] = work([y.dim(0), cdiv(gate.dim(1), 16i32)]);
    let ring = Ring::<(Smem<e2m1, 16, 512>, Smem<e8m0, 16, 16>, Smem<e2m1, 16, 512>, Smem<e8m0, 16, 16>)>::new::<0>();
    role("load", 0, 0, || {
        if s < count.at([0]) {
            let e = list.at([s]);
            for k in 0..cdiv(gate.dim(2), 512i32) {
                ring.acquire().fill(gate, [e, i, k]).fill(gate_scales, [e, i, k]).fill(up, [e, i, k]).fill(up_scales, [e, i, k]).commit();
            }
        }
    });
    role("math", 0, 0, || {
        if s < count.at([0]) {
            let n = x.dim(1);
            let mut squares = Tile::<f32, 8, 512>::zero();
            for k_2 in 0..cdiv(n, 512i32) {
                let v = x.load::<Tile<f32, 8, 512>>([0, k_2]);
                squares = squares + (v * v);
            }
            let scale = ((squares.row_sum() / n.cast::<f32>()) + eps).rsqrt();
            let mut g = Tile::<f32, 16, 8>::zero();
            let mut u = Tile::<f32, 16, 8>::zero();
            for k_3 in 0..cdiv(gate.dim(2), 512i32) {
                let slot = ring.wait();
                let (gate_codes, gate_blocks, up_codes, up_blocks) = slot.get();
                let v_2 = x.load::<Tile<f32, 8, 512>>([0, k_3]);
                let t = (v_2 * scale.cols::<512>()) * gain.load::<Tile<f32, 512>>([k_3]).rows::<8>();
                let h = t.cast::<bf16>().t();
                let t_2 = gate_codes.read().cast::<bf16>() * gate_blocks.read().cast::<bf16>().repeat::<512>();
                g.mma(t_2, h);
                let t_3 = up_codes.read().cast::<bf16>();
                let t_4 = up_blocks.read();
                slot.release();
                u.mma(t_3 * t_4.cast::<bf16>().repeat::<512>(), h);
            }
            y.store([s, 0, i], ((g / ((-g).exp() + 1.0)) * u).t().cast::<bf16>());
        }
    });
}
