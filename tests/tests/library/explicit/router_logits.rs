use monotile::prelude::*;

/// `router_logits` with explicit roles for W = f32, X = f32, NORM = 1, SPLIT = 1, T = 8, BM = 16, BK = 256.
#[tile::kernel]
pub fn router_logits(w: &Weight<f32, 2>, x: &Global<f32, 2>, gain: &Global<f32, 1>, part: &mut Global<f32, 3>, eps: f32) {
    require!(x.dim(0) == 8);
    require!(part.dim(1) == 8);
    require!(w.dim(1) == x.dim(1));
    require!(w.dim(0) == part.dim(2));
    let [i, s] = work([cdiv(w.dim(0), 16i32), part.dim(0)]);
    let ring = Ring::<Smem<f32, 16, 256>>::new::<0>();
    role("load", 0, 0, || {
        let steps = cdiv(w.dim(1), 256i32);
        let t = part.dim(0);
        let each = (steps + (t - 1)) / t;
        let end = ((s * each) + each).min(steps);
        for k in (s * each)..end {
            ring.acquire().fill(w, [i, k]).commit();
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
        let steps_2 = cdiv(w.dim(1), 256i32);
        let t_2 = part.dim(0);
        let each_2 = (steps_2 + (t_2 - 1)) / t_2;
        let end_2 = ((s * each_2) + each_2).min(steps_2);
        let mut acc = Tile::<f32, 16, 8>::zero();
        for k_3 in (s * each_2)..end_2 {
            let slot = ring.wait();
            let part_2 = slot.get();
            let codes = part_2.read();
            slot.release();
            let v_2 = x.load::<Tile<f32, 8, 256>>([0, k_3]);
            let h = (v_2 * scale.cols::<256>()) * gain.load::<Tile<f32, 256>>([k_3]).rows::<8>();
            let high = h.cast::<bf16>();
            let low = (h - high.cast::<f32>()).cast::<bf16>();
            let weight = codes.cast::<bf16>();
            let mut acc_2 = acc;
            acc_2.mma(weight, low.t());
            acc_2.mma((codes - weight.cast::<f32>()).cast::<bf16>(), high.t());
            acc = acc_2;
            acc.mma(weight, high.t());
        }
        part.store([s, 0, i], acc.t());
    });
}
