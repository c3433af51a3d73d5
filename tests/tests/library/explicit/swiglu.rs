use monotile::prelude::*;

/// `swiglu` with explicit roles for W = bf16, X = f32, NORM = 1, T = 8, BM = 16, BK = 256.
#[tile::kernel]
pub fn swiglu(gate: &Weight<bf16, 2>, up: &Weight<bf16, 2>, x: &Global<f32, 2>, gain: &Global<f32, 1>, y: &mut Global<bf16, 2>, eps: f32) {
    require!(x.dim(0) == 8);
    require!(y.dim(0) == 8);
    require!(gate.dim(1) == x.dim(1));
    require!(gate.dim(0) == y.dim(1));
    require!(up.dim(0) == gate.dim(0));
    require!(up.dim(1) == gate.dim(1));
    let [i] = work([cdiv(gate.dim(0), 16i32)]);
    let ring = Ring::<(Smem<bf16, 16, 256>, Smem<bf16, 16, 256>)>::new::<0>();
    role("load", 0, 0, || {
        for k in 0..cdiv(gate.dim(1), 256i32) {
            ring.acquire().fill(gate, [i, k]).fill(up, [i, k]).commit();
        }
    });
    role("math", 0, 0, || {
        let n = x.dim(1);
        let mut squares = Tile::<f32, 8, 256>::zero();
        for k_2 in 0..cdiv(n, 256i32) {
            let v = x.load::<Tile<f32, 8, 256>>([0, k_2]);
            squares = squares + (v * v);
        }
        let scale = ((squares.row_sum() / n.cast::<f32>()) + eps).rsqrt();
        let mut g = Tile::<f32, 16, 8>::zero();
        let mut u = Tile::<f32, 16, 8>::zero();
        for k_3 in 0..cdiv(gate.dim(1), 256i32) {
            let slot = ring.wait();
            let (gate_codes, up_codes) = slot.get();
            let v_2 = x.load::<Tile<f32, 8, 256>>([0, k_3]);
            let t = (v_2 * scale.cols::<256>()) * gain.load::<Tile<f32, 256>>([k_3]).rows::<8>();
            let h = t.cast::<bf16>().t();
            g.mma(gate_codes.read(), h);
            let t_2 = up_codes.read();
            slot.release();
            u.mma(t_2, h);
        }
        y.store([0, i], ((g / ((-g).exp() + 1.0)) * u).t().cast::<bf16>());
    });
}
