use monotile::prelude::*;

/// `rope_rows` with explicit roles for B = 16, D = 192, DV = 128, HALF = 32, HALFP = 32, REST = 128, RESTP = 128, DVP = 128, W = 192.
#[tile::kernel]
pub fn rope_rows(qkv: &Global<f32, 2>, inv_freq: &Global<f32, 1>, state: &Global<i32, 1>, q: &mut Global<bf16, 2>, k: &mut Global<bf16, 3>, v: &mut Global<bf16, 3>, scale: f32, value_scale: f32) {
    require!(inv_freq.dim(0) == 32);
    require!(q.dim(0) == qkv.dim(0));
    require!((q.dim(1) % 192) == 0);
    require!(k.dim(2) >= 192);
    require!(v.dim(0) == k.dim(0));
    require!(v.dim(1) == k.dim(1));
    require!(v.dim(2) >= 128);
    let t = qkv.dim(1) == ((((q.dim(1) / 192) + k.dim(0)) * 192) + (k.dim(0) * 128));
    require!(t);
    let queries = q.dim(1) / 192;
    let turned = queries + k.dim(0);
    let [j, b] = work([turned + k.dim(0), cdiv(qkv.dim(0), 16i32)]);
    role("math", 0, 0, || {
        let first = b * 16;
        let rows = state.at([1]) - first;
        let position = state.at([0]) + first;
        if rows > 0 {
            if j < turned {
                let base = j * 192;
                let place = (Tile::<i32, 16, 32>::row_index() + position).cast::<f32>();
                let angle = inv_freq.load::<Tile<f32, 32>>([0]).rows::<16>() * place;
                let cos = angle.cos();
                let sin = angle.sin();
                let low = qkv.load_at::<Tile<f32, 16, 32>>([first, base]);
                let high = qkv.load_at::<Tile<f32, 16, 32>>([first, base + 32]);
                let low_2 = (low * cos) - (high * sin);
                let high_2 = (high * cos) + (low * sin);
                let rest = qkv.load_at::<Tile<f32, 16, 128>>([first, base + 64]);
                if j < queries {
                    let at = j * 192;
                    let t_2 = low_2 * scale;
                    let mask = Tile::<i32, 16, 32>::row_index().lt(rows);
                    q.store_masked_at([first, at], t_2.cast::<bf16>(), mask);
                    let t_3 = at + 32;
                    let t_4 = high_2 * scale;
                    let mask_2 = Tile::<i32, 16, 32>::row_index().lt(rows);
                    q.store_masked_at([first, t_3], t_4.cast::<bf16>(), mask_2);
                    let t_5 = at + 64;
                    let t_6 = rest * scale;
                    let mask_3 = Tile::<i32, 16, 128>::row_index().lt(rows);
                    q.store_masked_at([first, t_5], t_6.cast::<bf16>(), mask_3);
                } else {
                    let t_7 = j - queries;
                    let t_8 = 0i32.cast::<i32>();
                    let mask_4 = Tile::<i32, 16, 32>::row_index().lt(rows);
                    k.store_masked_at([t_7, position, t_8], low_2.cast::<bf16>(), mask_4);
                    let t_9 = j - queries;
                    let t_10 = 32i32.cast::<i32>();
                    let mask_5 = Tile::<i32, 16, 32>::row_index().lt(rows);
                    k.store_masked_at([t_9, position, t_10], high_2.cast::<bf16>(), mask_5);
                    let t_11 = j - queries;
                    let t_12 = 64i32.cast::<i32>();
                    let mask_6 = Tile::<i32, 16, 128>::row_index().lt(rows);
                    k.store_masked_at([t_11, position, t_12], rest.cast::<bf16>(), mask_6);
                }
            } else {
                let head = j - turned;
                let x = qkv.load_at::<Tile<f32, 16, 128>>([first, (turned * 192) + (head * 128)]);
                let t_13 = x * value_scale;
                let t_14 = 0i32.cast::<i32>();
                let mask_7 = Tile::<i32, 16, 128>::row_index().lt(rows);
                v.store_masked_at([head, position, t_14], t_13.cast::<bf16>(), mask_7);
            }
        }
    });
}
