use monotile::prelude::*;

/// `experts_swiglu_fp8` with explicit roles for X = f32, NORM = 1, T = 8, BM = 16, BK = 256, KB = 2.
#[tile::kernel]
pub fn experts_swiglu_fp8(gate: &Weight<e4m3, 3>, gate_scales: &Weight<f32, 3>, up: &Weight<e4m3, 3>, up_scales: &Weight<f32, 3>, list: &Global<i32, 1>, count: &Global<i32, 1>, x: &Global<f32, 2>, gain: &Global<f32, 1>, y: &mut Global<bf16, 3>, eps: f32) {
    require!(gate_scales.dim(1) == cdiv(gate.dim(2), 128i32));
    require!(up_scales.dim(1) == gate_scales.dim(1));
    require!(x.dim(0) == 8);
    require!(y.dim(1) == 8);
    require!(gate.dim(2) == x.dim(1));
    require!(gate.dim(1) == y.dim(2));
    require!(up.dim(0) == gate.dim(0));
    require!(up.dim(1) == gate.dim(1));
    require!(up.dim(2) == gate.dim(2));
    require!(y.dim(0) <= list.dim(0));
    let [s, i] = work([y.dim(0), cdiv(gate.dim(1), 16i32)]);
    let ring = Ring::<(Smem<e4m3, 16, 256>, Smem<f32, 2, 16>, Smem<e4m3, 16, 256>, Smem<f32, 2, 16>)>::new::<0>();
    role("load", 0, 0, || {
        if s < count.at([0]) {
            let e = list.at([s]);
            for k in 0..cdiv(gate.dim(2), 256i32) {
                ring.acquire().fill(gate, [e, i, k]).fill(gate_scales, [e, k, i]).fill(up, [e, i, k]).fill(up_scales, [e, k, i]).commit();
            }
        }
    });
    role("math", 0, 0, || {
        if s < count.at([0]) {
            let n = x.dim(1);
            let mut squares = Tile::<f32, 8, 256>::zero();
            for k_2 in 0..cdiv(n, 256i32) {
                let v = x.load::<Tile<f32, 8, 256>>([0, k_2]);
                squares = squares + (v * v);
            }
            let scale = ((squares.row_sum() / n.cast::<f32>()) + eps).rsqrt();
            let mut g = Tile::<f32, 16, 8>::zero();
            let mut u = Tile::<f32, 16, 8>::zero();
            for k_3 in 0..cdiv(gate.dim(2), 256i32) {
                let slot = ring.wait();
                let (gate_codes, gate_blocks, up_codes, up_blocks) = slot.get();
                let t = (k_3 * 2) + 0;
                let v_2 = x.load::<Tile<f32, 8, 128>>([0, t]);
                let t_2 = (v_2 * scale.cols::<128>()) * gain.load::<Tile<f32, 128>>([t]).rows::<8>();
                let h = t_2.cast::<bf16>().t();
                let part = mma(gate_codes.slice::<16, 128>(0, 0).read().cast::<bf16>(), h);
                let t_3 = gate_blocks.slice::<1, 16>(0, 0).read().col_sum().cols::<8>();
                let sum = g + (part * t_3);
                let t_4 = (k_3 * 2) + 1;
                let v_3 = x.load::<Tile<f32, 8, 128>>([0, t_4]);
                let t_5 = (v_3 * scale.cols::<128>()) * gain.load::<Tile<f32, 128>>([t_4]).rows::<8>();
                let h_2 = t_5.cast::<bf16>().t();
                let part_2 = mma(gate_codes.slice::<16, 128>(0, 128).read().cast::<bf16>(), h_2);
                let t_6 = gate_blocks.slice::<1, 16>(1, 0).read().col_sum().cols::<8>();
                g = sum + (part_2 * t_6);
                let t_7 = (k_3 * 2) + 0;
                let v_4 = x.load::<Tile<f32, 8, 128>>([0, t_7]);
                let t_8 = (v_4 * scale.cols::<128>()) * gain.load::<Tile<f32, 128>>([t_7]).rows::<8>();
                let h_3 = t_8.cast::<bf16>().t();
                let part_3 = mma(up_codes.slice::<16, 128>(0, 0).read().cast::<bf16>(), h_3);
                let t_9 = part_3 * up_blocks.slice::<1, 16>(0, 0).read().col_sum().cols::<8>();
                let sum_2 = u + t_9;
                let t_10 = (k_3 * 2) + 1;
                let v_5 = x.load::<Tile<f32, 8, 128>>([0, t_10]);
                let t_11 = (v_5 * scale.cols::<128>()) * gain.load::<Tile<f32, 128>>([t_10]).rows::<8>();
                let h_4 = t_11.cast::<bf16>().t();
                let part_4 = mma(up_codes.slice::<16, 128>(0, 128).read().cast::<bf16>(), h_4);
                let t_12 = up_blocks.slice::<1, 16>(1, 0).read();
                slot.release();
                u = sum_2 + (part_4 * t_12.col_sum().cols::<8>());
            }
            y.store([s, 0, i], ((g / ((-g).exp() + 1.0)) * u).t().cast::<bf16>());
        }
    });
}
