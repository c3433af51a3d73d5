use monotile::prelude::*;

/// `combine` with explicit roles for DV = 128, DVP = 128, SP = 16, BKV = 32.
#[tile::kernel]
pub fn combine(part: &Global<f32, 4>, top: &Global<f32, 3>, sum: &Global<f32, 3>, state: &Global<i32, 1>, out: &mut Global<bf16, 2>, window: i32) {
    require!(top.dim(2) <= 16);
    require!(out.dim(1) == (top.dim(1) * 128));
    require!(part.dim(3) == 128);
    let [t, h] = work([top.dim(0), top.dim(1)]);
    role("math", 0, 0, || {
        if t < state.at([1]) {
            let t_2 = state.at([0]) + t;
            let t_3 = (-1e30f32).cast::<f32>();
            let t_4 = top.dim(2);
            let first = ((t_2 + 1) - window).max(0) / 32;
            let each = ((((t_2 / 32) + 1) - first) + (t_4 - 1)) / t_4;
            let splits = ((((t_2 / 32) + 1) - first) + (each - 1)) / each;
            let t_5 = top.load::<Tile<f32, 16>>([t, h, 0]);
            let m = select(Tile::<i32, 16>::row_index().lt(splits), t_5, Tile::<f32, 16>::full(-1e30));
            let largest = m.all_max().max(t_3);
            let weights = (m - largest).exp2();
            let t_6 = sum.load::<Tile<f32, 16>>([t, h, 0]);
            let l = select(Tile::<i32, 16>::row_index().lt(splits), t_6, Tile::<f32, 16>::zero());
            let total = (weights * l).all_sum() + (t_3 - largest).exp2();
            let mut o = Tile::<f32, 128>::zero();
            for i in 0..splits {
                let t_7 = part.load::<Tile<f32, 128>>([t, i, h, 0]) * (top.at([t, h, i]) - largest).exp2();
                o = o + t_7;
            }
            let columns = Tile::<i32, 128>::row_index().lt(128);
            out.store_masked_at([t, h * 128], (o / total).cast::<bf16>(), columns);
        }
    });
}
