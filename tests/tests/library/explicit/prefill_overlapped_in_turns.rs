use monotile::prelude::*;

/// `prefill` with explicit roles for BQ = 128, BKV = 64, ND = 3, DC = 64, NV = 1, VC = 64, DV = 128.
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
    let ring = Ring::<Smem<bf16, 128, 64>>::new::<0>();
    let ring_2 = Ring::<(Smem<bf16, 64, 64>, Smem<bf16, 64, 64>)>::new::<0>();
    let ring_3 = Ring::<Smem<bf16, 64, 64>>::new::<0>();
    let ring_4 = Ring::<Smem<bf16, 64, 128>>::new::<0>();
    role("load", 0, 0, || {
        let down = 2 * i;
        let down_2 = if down < blocks {
            down
        } else {
            (2 * ((blocks - 1) - i)) + 1
        };
        let first = rows.at([text]);
        let row = down_2 * 128;
        let count = rows.at([text + 1]) - first;
        let total = keys.at([text]);
        if row < count {
            let place = (total - count) + row;
            let kv = h / (sinks.dim(0) / k.dim(1));
            ring.acquire().fill_at(q, [first + row, (h * 192) + 0]).commit();
            ring.acquire().fill_at(q, [first + row, (h * 192) + 64]).commit();
            ring.acquire().fill_at(q, [first + row, (h * 192) + 128]).commit();
            let begin = ((place + 1) - window).max(0) / 64;
            let end = cdiv(total.min((place + ahead) + 128), 64i32);
            let start = begin * 64;
            let t = pages.at([text, start / k.dim(2)]);
            let t_2 = start % k.dim(2);
            ring_2.acquire().fill_at(k, [t, kv, t_2, 0]).fill_at(k, [t, kv, t_2, 64]).commit();
            ring_3.acquire().fill_at(k, [t, kv, t_2, 128]).commit();
            for j in (begin + 1)..end {
                let start_2 = j * 64;
                let t_3 = pages.at([text, start_2 / k.dim(2)]);
                let t_4 = start_2 % k.dim(2);
                ring_2.acquire().fill_at(k, [t_3, kv, t_4, 0]).fill_at(k, [t_3, kv, t_4, 64]).commit();
                ring_3.acquire().fill_at(k, [t_3, kv, t_4, 128]).commit();
                let start_3 = (j - 1) * 64;
                ring_4.acquire().fill_at(v, [pages.at([text, start_3 / v.dim(2)]), kv, (start_3 % v.dim(2)) + 0, 0]).commit();
            }
            let start_4 = (end - 1) * 64;
            ring_4.acquire().fill_at(v, [pages.at([text, start_4 / v.dim(2)]), kv, (start_4 % v.dim(2)) + 0, 0]).commit();
        }
    });
    role("math", 0, 0, || {
        let down_3 = 2 * i;
        let down_4 = if down_3 < blocks {
            down_3
        } else {
            (2 * ((blocks - 1) - i)) + 1
        };
        let first_2 = rows.at([text]);
        let row_2 = down_4 * 128;
        let count_2 = rows.at([text + 1]) - first_2;
        let total_2 = keys.at([text]);
        if row_2 < count_2 {
            let place_2 = (total_2 - count_2) + row_2;
            let slot = ring.wait();
            let part = slot.get();
            let t_5 = part.read();
            slot.release();
            let slot_2 = ring.wait();
            let part_2 = slot_2.get();
            let t_6 = part_2.read();
            slot_2.release();
            let slot_3 = ring.wait();
            let part_3 = slot_3.get();
            let t_7 = part_3.read();
            slot_3.release();
            let begin_2 = ((place_2 + 1) - window).max(0) / 64;
            let end_2 = cdiv(total_2.min((place_2 + ahead) + 128), 64i32);
            let mut x = Tile::<f32, 128, 64>::zero();
            let slot_4 = ring_2.wait();
            let (keys_2, keys_3) = slot_4.get();
            x.mma(t_5, keys_2.t());
            x.mma(t_6, keys_3.t());
            slot_4.release();
            let slot_5 = ring_3.wait();
            let keys_4 = slot_5.get();
            x.mma(t_7, keys_4.t());
            slot_5.release();
            let start_5 = begin_2 * 64;
            let t_8 = place_2 - start_5;
            let t_9 = total_2 - start_5;
            let x_2 = if (64 > t_9.min((t_8 + ahead) + 1)) | ((t_8 + 128) > window) {
                let t_10 = Tile::<i32, 128, 64>::row_index();
                let t_11 = Tile::<i32, 128, 64>::col_index();
                let t_12 = t_11.lt((((t_8 + t_10) + ahead) + 1).min(t_9)) & t_11.gt((t_8 + t_10) - window);
                let x_3 = select(t_12, x, Tile::<f32, 128, 64>::full(-1e30));
                x_3
            } else {
                x
            };
            let sink = Tile::<f32, 128>::full(sinks.at([h]) * 1.442695);
            let m = sink.max(x_2.row_max());
            let weights = (x_2 - m.cols::<64>()).exp2();
            let sums = weights.slice::<128, 8>(0, 0);
            let sums_2 = sums + weights.slice::<128, 8>(0, 8);
            let sums_3 = sums_2 + weights.slice::<128, 8>(0, 16);
            let sums_4 = sums_3 + weights.slice::<128, 8>(0, 24);
            let sums_5 = sums_4 + weights.slice::<128, 8>(0, 32);
            let sums_6 = sums_5 + weights.slice::<128, 8>(0, 40);
            let sums_7 = sums_6 + weights.slice::<128, 8>(0, 48);
            let sums_8 = sums_7 + weights.slice::<128, 8>(0, 56);
            let mut m_2 = m;
            let mut l = sums_8 + ((sink - m).exp2() * 0.125).cols::<8>();
            let mut p = weights.cast::<bf16>();
            let mut o = Tile::<f32, 128, 128>::zero();
            for j_2 in (begin_2 + 1)..end_2 {
                let mut x_4 = Tile::<f32, 128, 64>::zero();
                let slot_6 = ring_2.wait();
                let (keys_5, keys_6) = slot_6.get();
                x_4.mma(t_5, keys_5.t());
                x_4.mma(t_6, keys_6.t());
                slot_6.release();
                let slot_7 = ring_3.wait();
                let keys_7 = slot_7.get();
                x_4.mma(t_7, keys_7.t());
                slot_7.release();
                let slot_8 = ring_4.wait();
                let values = slot_8.get();
                let mut o_2 = o;
                o_2.mma(p.slice::<128, 64>(0, 0), values);
                slot_8.release();
                let start_6 = j_2 * 64;
                let t_13 = place_2 - start_6;
                let t_14 = total_2 - start_6;
                let t_15 = (64 > t_14.min((t_13 + ahead) + 1)) | ((t_13 + 128) > window);
                let x_5 = if t_15 {
                    let t_16 = Tile::<i32, 128, 64>::row_index();
                    let t_17 = Tile::<i32, 128, 64>::col_index();
                    let t_18 = t_17.lt((((t_13 + t_16) + ahead) + 1).min(t_14)) & t_17.gt((t_13 + t_16) - window);
                    let x_6 = select(t_18, x_4, Tile::<f32, 128, 64>::full(-1e30));
                    x_6
                } else {
                    x_4
                };
                let next = m_2.max(x_5.row_max());
                let weights_2 = (x_5 - next.cols::<64>()).exp2();
                let shrink = (m_2 - next).exp2();
                let t_19 = l * shrink.cols::<8>();
                let sums_9 = weights_2.slice::<128, 8>(0, 0);
                let sums_10 = sums_9 + weights_2.slice::<128, 8>(0, 8);
                let sums_11 = sums_10 + weights_2.slice::<128, 8>(0, 16);
                let sums_12 = sums_11 + weights_2.slice::<128, 8>(0, 24);
                let sums_13 = sums_12 + weights_2.slice::<128, 8>(0, 32);
                let sums_14 = sums_13 + weights_2.slice::<128, 8>(0, 40);
                let sums_15 = sums_14 + weights_2.slice::<128, 8>(0, 48);
                let sums_16 = sums_15 + weights_2.slice::<128, 8>(0, 56);
                l = t_19 + sums_16;
                o = o_2 * shrink.cols::<128>();
                p = weights_2.cast::<bf16>();
                m_2 = next;
            }
            let slot_9 = ring_4.wait();
            let values_2 = slot_9.get();
            let mut o_3 = o;
            o_3.mma(p.slice::<128, 64>(0, 0), values_2);
            slot_9.release();
            let y = (o_3 * l.row_sum().recip().cols::<128>()).cast::<bf16>();
            if (row_2 + 128) <= count_2 {
                out.store_at([first_2 + row_2, h * 128], y);
            } else {
                out.store_masked_at([first_2 + row_2, h * 128], y, Tile::<i32, 128, 128>::row_index().lt(count_2 - row_2));
            }
        }
    });
}

/// What rings and roles of `prefill` don't say.
#[tile::schedule(prefill)]
pub fn overlapped_in_turns() -> Schedule {
    Schedule::new()
        .inflight("j_2.x_4#0", 4)
        .inflight("j_2.x_4#1", 4)
        .inflight("j_2.x_4#2", 4)
        .inflight("j_2.o_2", 4)
        .turns(["j_2.x_4#0", "j_2.x_4#1", "j_2.x_4#2", "j_2.o_2"])
}
