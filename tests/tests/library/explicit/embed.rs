use monotile::prelude::*;

/// `embed` with explicit roles for E = bf16, BK = 1024.
#[tile::kernel]
pub fn embed(table: &Global<bf16, 2>, tokens: &Global<i32, 1>, x: &mut Global<f32, 2>) {
    require!(table.dim(1) == x.dim(1));
    require!(tokens.dim(0) == x.dim(0));
    let [t, k] = work([x.dim(0), cdiv(x.dim(1), 1024i32)]);
    role("math", 0, 0, || {
        let row = table.load::<Tile<bf16, 1024>>([tokens.at([t]), k]);
        x.store([t, k], row.cast::<f32>());
    });
}
