use monotile::prelude::*;

/// `prefill` with explicit roles for BQ = 128, BKV = 64, ND = 3, DC = 64, D = 192, DV = 128.
#[tile::kernel]
pub fn prefill(q: &Global<bf16, 2>, k: &Global<bf16, 4>, v: &Global<bf16, 4>, pages: &Global<i32, 2>, rows: &Global<i32, 1>, keys: &Global<i32, 1>, sinks: &Global<f32, 1>, out: &mut Global<bf16, 2>, blocks: i32, window: i32, ahead: i32) {
    require!(k.dim(3) >= 192);
    require!(v.dim(3) >= 128);
    require!((k.dim(2) % 64) == 0);
    require!(v.dim(0) == k.dim(0));
    require!(v.dim(1) == k.dim(1));
    require!(v.dim(2) == k.dim(2));
    require!((sinks.dim(0) % k.dim(1)) == 0);
    require!(q.dim(1) == (sinks.dim(0) * 192));
    require!(out.dim(1) == (sinks.dim(0) * 128));
    require!(out.dim(0) == q.dim(0));
    require!(rows.dim(0) == (keys.dim(0) + 1));
    require!(pages.dim(0) == keys.dim(0));
    require!(window > 0);
    require!(ahead >= 0);
    let [text, i, h] = work([keys.dim(0), blocks, sinks.dim(0)]);
    let ring = Ring::<Smem<bf16, 64, 192>>::new::<0>();
    let ring_2 = Ring::<Smem<bf16, 64, 128>>::new::<0>();
    role("load", 0, 0, || {
        let first = rows.at([text]);
        let row = ((blocks - 1) - i) * 128;
        let count = rows.at([text + 1]) - first;
        let total = keys.at([text]);
        if row < count {
            let place = (total - count) + row;
            let kv = h / (sinks.dim(0) / k.dim(1));
            for j in (((place + 1) - window).max(0) / 64)..cdiv(total.min((place + ahead) + 128), 64i32) {
                let start = j * 64;
                let page = pages.at([text, start / k.dim(2)]);
                let at = start % k.dim(2);
                ring.acquire().fill_at(k, [page, kv, at, 0]).commit();
                ring_2.acquire().fill_at(v, [page, kv, at, 0]).commit();
            }
        }
    });
    role("math", 0, 0, || {
        let first_2 = rows.at([text]);
        let row_2 = ((blocks - 1) - i) * 128;
        let count_2 = rows.at([text + 1]) - first_2;
        let total_2 = keys.at([text]);
        if row_2 < count_2 {
            let place_2 = (total_2 - count_2) + row_2;
            let t = q.load_at::<Tile<bf16, 128, 64>>([first_2 + row_2, (h * 192) + 0]);
            let t_2 = q.load_at::<Tile<bf16, 128, 64>>([first_2 + row_2, (h * 192) + 64]);
            let t_3 = q.load_at::<Tile<bf16, 128, 64>>([first_2 + row_2, (h * 192) + 128]);
            let mut m = Tile::<f32, 128>::full(sinks.at([h]) * 1.442695);
            let mut l = Tile::<f32, 128>::full(1.0);
            let mut o = Tile::<f32, 128, 128>::zero();
            for j_2 in (((place_2 + 1) - window).max(0) / 64)..cdiv(total_2.min((place_2 + ahead) + 128), 64i32) {
                let start_2 = j_2 * 64;
                let slot = ring.wait();
                let keys_2 = slot.get();
                let slot_2 = ring_2.wait();
                let values = slot_2.get();
                let mut x = Tile::<f32, 128, 64>::zero();
                x.mma(t, keys_2.slice::<64, 64>(0, 0).t());
                x.mma(t_2, keys_2.slice::<64, 64>(0, 64).t());
                x.mma(t_3, keys_2.slice::<64, 64>(0, 128).t());
                slot.release();
                let t_4 = ((start_2 + 64) > total_2.min((place_2 + ahead) + 1)) | (start_2 < ((place_2 + 128) - window));
                let x_2 = if t_4 {
                    let limit = total_2 - start_2;
                    let near = place_2 - start_2;
                    let t_5 = Tile::<i32, 128, 64>::row_index();
                    let t_6 = Tile::<i32, 128, 64>::col_index();
                    let t_7 = (t_6.lt(limit) & t_6.le((near + t_5) + ahead)) & t_6.gt((near + t_5) - window);
                    let x_3 = select(t_7, x, Tile::<f32, 128, 64>::full(-1e30));
                    x_3
                } else {
                    x
                };
                let next = m.max(x_2.row_max());
                let p = (x_2 - next.cols::<64>()).exp2();
                let shrink = (m - next).exp2();
                l = (l * shrink) + p.row_sum();
                o = o * shrink.cols::<128>();
                o.mma(p.cast::<bf16>(), values);
                slot_2.release();
                m = next;
            }
            let y = (o * l.recip().cols::<128>()).cast::<bf16>();
            if (row_2 + 128) <= count_2 {
                out.store_at([first_2 + row_2, h * 128], y);
            } else {
                out.store_masked_at([first_2 + row_2, h * 128], y, Tile::<i32, 128, 128>::row_index().lt(count_2 - row_2));
            }
        }
    });
}
