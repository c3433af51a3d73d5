use monotile::prelude::*;

/// `rms_norm` with explicit roles for X = f32, Y = bf16, BK = 1024.
#[tile::kernel]
pub fn rms_norm(x: &Global<f32, 2>, gain: &Global<f32, 1>, y: &mut Global<bf16, 2>, eps: f32) {
    require!(x.dim(1) == gain.dim(0));
    require!(y.dim(0) == x.dim(0));
    require!(y.dim(1) == x.dim(1));
    let [t] = work([x.dim(0)]);
    role("math", 0, 0, || {
        let n = x.dim(1);
        let mut squares = Tile::<f32, 1024>::zero();
        for k in 0..cdiv(n, 1024i32) {
            let v = x.load::<Tile<f32, 1024>>([t, k]);
            squares = squares + (v * v);
        }
        let scale = rsqrt((squares.all_sum() / n.cast::<f32>()) + eps);
        for k_2 in 0..cdiv(n, 1024i32) {
            let v_2 = x.load::<Tile<f32, 1024>>([t, k_2]);
            let t_2 = ((v_2 * scale) * gain.load::<Tile<f32, 1024>>([k_2])).cast::<bf16>();
            y.store([t, k_2], t_2);
        }
    });
}
