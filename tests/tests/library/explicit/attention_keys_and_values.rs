use monotile::prelude::*;

/// `attention` with explicit roles for GROUP = 16, GP = 16, ND = 3, DC = 64, KP = 200, DVP = 128, VP = 136, BKV = 32.
#[tile::kernel]
pub fn attention(q: &Global<bf16, 2>, k: &Global<bf16, 3>, v: &Global<bf16, 3>, state: &Global<i32, 1>, part: &mut Global<f32, 4>, top: &mut Global<f32, 3>, sum: &mut Global<f32, 3>, window: i32) {
    require!(q.dim(0) == (k.dim(0) * 16));
    require!(window > 0);
    require!((k.dim(1) % 32) == 0);
    require!(v.dim(1) == k.dim(1));
    require!(k.dim(2) == 200);
    require!(v.dim(2) == 136);
    require!(q.dim(1) == (top.dim(0) * 192));
    require!(part.dim(1) == top.dim(2));
    require!(part.dim(2) == q.dim(0));
    let [t, h, s] = work([top.dim(0), k.dim(0), top.dim(2)]);
    let ring = Ring::<(Smem<bf16, 32, 200>, Smem<bf16, 32, 136>)>::new::<0>();
    role("load", 0, 0, || {
        let position = state.at([0]) + t;
        let t_2 = top.dim(2);
        let first = ((position + 1) - window).max(0) / 32;
        let each = ((((position / 32) + 1) - first) + (t_2 - 1)) / t_2;
        let begin = first + (s * each);
        let end = (begin + each).min((position / 32) + 1);
        if (t < state.at([1])) & (begin < end) {
            for j in begin..end {
                ring.acquire().fill(k, [h, j, 0]).fill(v, [h, j, 0]).commit();
            }
        }
    });
    role("math", 0, 0, || {
        let position_2 = state.at([0]) + t;
        let t_3 = top.dim(2);
        let first_2 = ((position_2 + 1) - window).max(0) / 32;
        let each_2 = ((((position_2 / 32) + 1) - first_2) + (t_3 - 1)) / t_3;
        let begin_2 = first_2 + (s * each_2);
        let end_2 = (begin_2 + each_2).min((position_2 / 32) + 1);
        if (t < state.at([1])) & (begin_2 < end_2) {
            let t_4 = q.load_at::<Tile<bf16, 16, 64>>([h * 16, (t * 192) + 0]);
            let t_5 = q.load_at::<Tile<bf16, 16, 64>>([h * 16, (t * 192) + 64]);
            let t_6 = q.load_at::<Tile<bf16, 16, 64>>([h * 16, (t * 192) + 128]);
            let mut m = Tile::<f32, 16>::full(-1e30);
            let mut l = Tile::<f32, 16>::zero();
            let mut o = Tile::<f32, 16, 128>::zero();
            for j_2 in begin_2..end_2 {
                let slot = ring.wait();
                let (keys, values) = slot.get();
                let mut x = Tile::<f32, 16, 32>::zero();
                x.mma(t_4, keys.slice::<32, 64>(0, 0).t());
                x.mma(t_5, keys.slice::<32, 64>(0, 64).t());
                x.mma(t_6, keys.slice::<32, 64>(0, 128).t());
                let start = j_2 * 32;
                let t_7 = Tile::<i32, 16, 32>::col_index();
                let t_8 = (start + t_7).le(position_2) & (start + t_7).gt(position_2 - window);
                let x_2 = select(t_8, x, Tile::<f32, 16, 32>::full(-1e30));
                let next = m.max(x_2.row_max());
                let p = (x_2 - next.cols::<32>()).exp2();
                let shrink = (m - next).exp2();
                l = (l * shrink) + p.row_sum();
                o = o * shrink.cols::<128>();
                o.mma(p.cast::<bf16>(), values.slice::<32, 128>(0, 0));
                slot.release();
                m = next;
            }
            let heads = Tile::<i32, 16, 128>::row_index().lt(16);
            let each_head = Tile::<i32, 16, 1>::row_index().lt(16);
            part.store_masked([t, s, h, 0], o, heads);
            top.store_masked_at([t, h * 16, s], m.cols::<1>(), each_head);
            sum.store_masked_at([t, h * 16, s], l.cols::<1>(), each_head);
        }
    });
}

/// What rings and roles of `attention` don't say.
#[tile::schedule(attention)]
pub fn keys_and_values() -> Schedule {
    Schedule::new()
        .split("j_2.x#0", [1, 4, 2])
        .split("j_2.x#1", [1, 4, 2])
        .split("j_2.x#2", [1, 4, 2])
        .split("j_2.o", [1, 8, 1])
        .raster(Raster::ColumnMajor)
}
