use monotile::prelude::*;

/// `gemm_grouped` with explicit roles for X = bf16, Y = bf16, BM = 128, BN = 256, BK = 64, BITS = 7.
#[tile::kernel]
pub fn gemm_grouped(a: &Global<bf16, 2>, b: &Global<bf16, 3>, offsets: &Global<i32, 1>, c: &mut Global<bf16, 2>) {
    require!(a.dim(1) == b.dim(2));
    require!(c.dim(0) == a.dim(0));
    require!(c.dim(1) == b.dim(1));
    require!(offsets.dim(0) == (b.dim(0) + 1));
    require!(a.dim(0) > 0);
    require!(b.dim(0) > 0);
    require!(b.dim(1) > 0);
    require!(a.dim(1) > 0);
    require!((a.dim(1) % 8) == 0);
    require!(b.dim(0) < 128);
    let [slot, j] = work([(a.dim(0) / 128) + b.dim(0), cdiv(b.dim(1), 256i32)]);
    let ring = Ring::<(Smem<bf16, 128, 64>, Smem<bf16, 256, 64>)>::new::<0>();
    role("load", 0, 0, || {
        let group = 0i32.cast::<i32>();
        let next = group + 64;
        let t = if next < (offsets.dim(0) - 1) {
            ((offsets.at([next]) / 128) + next) <= slot
        } else {
            false
        };
        let next_2 = if t {
            next
        } else {
            group
        };
        let next_3 = next_2 + 32;
        let t_2 = if next_3 < (offsets.dim(0) - 1) {
            ((offsets.at([next_3]) / 128) + next_3) <= slot
        } else {
            false
        };
        let next_4 = if t_2 {
            next_3
        } else {
            next_2
        };
        let next_5 = next_4 + 16;
        let t_3 = if next_5 < (offsets.dim(0) - 1) {
            ((offsets.at([next_5]) / 128) + next_5) <= slot
        } else {
            false
        };
        let next_6 = if t_3 {
            next_5
        } else {
            next_4
        };
        let next_7 = next_6 + 8;
        let t_4 = if next_7 < (offsets.dim(0) - 1) {
            ((offsets.at([next_7]) / 128) + next_7) <= slot
        } else {
            false
        };
        let next_8 = if t_4 {
            next_7
        } else {
            next_6
        };
        let next_9 = next_8 + 4;
        let t_5 = if next_9 < (offsets.dim(0) - 1) {
            ((offsets.at([next_9]) / 128) + next_9) <= slot
        } else {
            false
        };
        let next_10 = if t_5 {
            next_9
        } else {
            next_8
        };
        let next_11 = next_10 + 2;
        let t_6 = if next_11 < (offsets.dim(0) - 1) {
            ((offsets.at([next_11]) / 128) + next_11) <= slot
        } else {
            false
        };
        let next_12 = if t_6 {
            next_11
        } else {
            next_10
        };
        let next_13 = next_12 + 1;
        let t_7 = if next_13 < (offsets.dim(0) - 1) {
            ((offsets.at([next_13]) / 128) + next_13) <= slot
        } else {
            false
        };
        let next_14 = if t_7 {
            next_13
        } else {
            next_12
        };
        let first = offsets.at([next_14]);
        let end = offsets.at([next_14 + 1]);
        let row = first + (((slot - (first / 128)) - next_14) * 128);
        if (first <= row) & (row < end) {
            for k in 0..cdiv(a.dim(1), 64i32) {
                ring.acquire().fill_at(a, [row, k * 64]).fill_at(b, [next_14, j * 256, k * 64]).commit();
            }
        }
    });
    role("math", 0, 0, || {
        let group_2 = 0i32.cast::<i32>();
        let next_15 = group_2 + 64;
        let t_8 = if next_15 < (offsets.dim(0) - 1) {
            ((offsets.at([next_15]) / 128) + next_15) <= slot
        } else {
            false
        };
        let next_16 = if t_8 {
            next_15
        } else {
            group_2
        };
        let next_17 = next_16 + 32;
        let t_9 = if next_17 < (offsets.dim(0) - 1) {
            ((offsets.at([next_17]) / 128) + next_17) <= slot
        } else {
            false
        };
        let next_18 = if t_9 {
            next_17
        } else {
            next_16
        };
        let next_19 = next_18 + 16;
        let t_10 = if next_19 < (offsets.dim(0) - 1) {
            ((offsets.at([next_19]) / 128) + next_19) <= slot
        } else {
            false
        };
        let next_20 = if t_10 {
            next_19
        } else {
            next_18
        };
        let next_21 = next_20 + 8;
        let t_11 = if next_21 < (offsets.dim(0) - 1) {
            ((offsets.at([next_21]) / 128) + next_21) <= slot
        } else {
            false
        };
        let next_22 = if t_11 {
            next_21
        } else {
            next_20
        };
        let next_23 = next_22 + 4;
        let t_12 = if next_23 < (offsets.dim(0) - 1) {
            ((offsets.at([next_23]) / 128) + next_23) <= slot
        } else {
            false
        };
        let next_24 = if t_12 {
            next_23
        } else {
            next_22
        };
        let next_25 = next_24 + 2;
        let t_13 = if next_25 < (offsets.dim(0) - 1) {
            ((offsets.at([next_25]) / 128) + next_25) <= slot
        } else {
            false
        };
        let next_26 = if t_13 {
            next_25
        } else {
            next_24
        };
        let next_27 = next_26 + 1;
        let t_14 = if next_27 < (offsets.dim(0) - 1) {
            ((offsets.at([next_27]) / 128) + next_27) <= slot
        } else {
            false
        };
        let next_28 = if t_14 {
            next_27
        } else {
            next_26
        };
        let first_2 = offsets.at([next_28]);
        let end_2 = offsets.at([next_28 + 1]);
        let row_2 = first_2 + (((slot - (first_2 / 128)) - next_28) * 128);
        if (first_2 <= row_2) & (row_2 < end_2) {
            let mut acc = Tile::<f32, 128, 256>::zero();
            'k: for _ in 0..cdiv(a.dim(1), 64i32) {
                let slot_2 = ring.wait();
                let (at, bt) = slot_2.get();
                acc.mma(at, bt.t());
                slot_2.release();
            }
            let y = acc.cast::<bf16>();
            if (row_2 + 128) <= end_2 {
                c.store_at([row_2, j * 256], y);
            } else {
                c.store_masked_at([row_2, j * 256], y, Tile::<i32, 128, 256>::row_index().lt(end_2 - row_2));
            }
        }
    });
}

/// What rings and roles of `gemm_grouped` don't say.
#[tile::schedule(gemm_grouped)]
pub fn chosen() -> Schedule {
    Schedule::new().inflight("k.acc", 1)
}
