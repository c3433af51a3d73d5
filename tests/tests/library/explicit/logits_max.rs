use monotile::prelude::*;

/// `logits_max` with explicit roles for BV = 1024.
#[tile::kernel]
pub fn logits_max(logits: &Global<f32, 2>, state: &Global<i32, 1>, best: &mut Global<f32, 2>, token: &mut Global<i32, 2>) {
    require!(best.dim(0) == logits.dim(0));
    require!(best.dim(1) == cdiv(logits.dim(1), 1024i32));
    require!(token.dim(0) == best.dim(0));
    require!(token.dim(1) == best.dim(1));
    let [t, c] = work([best.dim(0), best.dim(1)]);
    role("math", 0, 0, || {
        let rows = state.at([1]);
        let t_2 = if t < rows {
            t >= (rows - state.at([2]))
        } else {
            false
        };
        if t_2 {
            let start = c * 1024;
            let t_3 = logits.load::<Tile<f32, 1024>>([t, c]);
            let t_4 = Tile::<i32, 1024>::row_index();
            let x = select((start + t_4).lt(logits.dim(1)), t_3, Tile::<f32, 1024>::full(f32::NEG_INFINITY));
            best.set([t, c], x.all_max());
            token.set([t, c], start + x.all_argmax());
        }
    });
}
