use monotile::prelude::*;

/// `rope_cache` with explicit roles for T = 8, D = 192, DV = 128, HALF = 32, HALFP = 32, REST = 128, RESTP = 128, DVP = 128.
#[tile::kernel]
pub fn rope_cache(qkv: &Global<f32, 2>, inv_freq: &Global<f32, 1>, state: &Global<i32, 1>, q: &mut Global<bf16, 3>, k: &mut Global<bf16, 3>, v: &mut Global<bf16, 3>, scale: f32, value_scale: f32) {
    require!(inv_freq.dim(0) == 32);
    require!(qkv.dim(0) == 8);
    require!(q.dim(1) == 8);
    require!(q.dim(2) >= 192);
    require!(k.dim(2) >= 192);
    require!(v.dim(0) == k.dim(0));
    require!(v.dim(1) == k.dim(1));
    require!(v.dim(2) >= 128);
    let t = qkv.dim(1) == (((q.dim(0) + k.dim(0)) * 192) + (k.dim(0) * 128));
    require!(t);
    let turned = q.dim(0) + k.dim(0);
    let [j] = work([turned + k.dim(0)]);
    role("math", 0, 0, || {
        let rows = state.at([1]);
        let position = state.at([0]);
        if j < turned {
            let base = j * 192;
            let place = (Tile::<i32, 8, 32>::row_index() + position).cast::<f32>();
            let angle = inv_freq.load::<Tile<f32, 32>>([0]).rows::<8>() * place;
            let cos = angle.cos();
            let sin = angle.sin();
            let a = qkv.load_at::<Tile<f32, 8, 32>>([0, base]);
            let b = qkv.load_at::<Tile<f32, 8, 32>>([0, base + 32]);
            let low = (a * cos) - (b * sin);
            let high = (b * cos) + (a * sin);
            let rest = qkv.load_at::<Tile<f32, 8, 128>>([0, base + 64]);
            if j < q.dim(0) {
                let t_2 = low * scale;
                let t_3 = 0i32.cast::<i32>();
                let t_4 = 0i32.cast::<i32>();
                let mask = Tile::<i32, 8, 32>::row_index().lt(rows);
                q.store_masked_at([j, t_3, t_4], t_2.cast::<bf16>(), mask);
                let t_5 = high * scale;
                let t_6 = 0i32.cast::<i32>();
                let t_7 = 32i32.cast::<i32>();
                let mask_2 = Tile::<i32, 8, 32>::row_index().lt(rows);
                q.store_masked_at([j, t_6, t_7], t_5.cast::<bf16>(), mask_2);
                let t_8 = rest * scale;
                let t_9 = 0i32.cast::<i32>();
                let t_10 = 64i32.cast::<i32>();
                let mask_3 = Tile::<i32, 8, 128>::row_index().lt(rows);
                q.store_masked_at([j, t_9, t_10], t_8.cast::<bf16>(), mask_3);
            } else {
                let t_11 = j - q.dim(0);
                let t_12 = 0i32.cast::<i32>();
                let mask_4 = Tile::<i32, 8, 32>::row_index().lt(rows);
                k.store_masked_at([t_11, position, t_12], low.cast::<bf16>(), mask_4);
                let t_13 = j - q.dim(0);
                let t_14 = 32i32.cast::<i32>();
                let mask_5 = Tile::<i32, 8, 32>::row_index().lt(rows);
                k.store_masked_at([t_13, position, t_14], high.cast::<bf16>(), mask_5);
                let t_15 = j - q.dim(0);
                let t_16 = 64i32.cast::<i32>();
                let mask_6 = Tile::<i32, 8, 128>::row_index().lt(rows);
                k.store_masked_at([t_15, position, t_16], rest.cast::<bf16>(), mask_6);
            }
        } else {
            let head = j - turned;
            let x = qkv.load_at::<Tile<f32, 8, 128>>([0, (turned * 192) + (head * 128)]);
            let t_17 = x * value_scale;
            let t_18 = 0i32.cast::<i32>();
            let mask_7 = Tile::<i32, 8, 128>::row_index().lt(rows);
            v.store_masked_at([head, position, t_18], t_17.cast::<bf16>(), mask_7);
        }
    });
}
