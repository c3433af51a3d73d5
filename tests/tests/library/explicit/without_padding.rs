use monotile::prelude::*;

/// `without_padding` with explicit roles for DVP = 128.
#[tile::kernel]
pub fn without_padding(x: &Global<bf16, 3>, y: &mut Global<bf16, 3>) {
    require!(x.dim(0) == y.dim(0));
    require!(x.dim(1) == y.dim(1));
    require!(x.dim(2) == 128);
    require!(y.dim(2) <= 128);
    let [t, h] = work([x.dim(0), x.dim(1)]);
    role("math", 0, 0, || {
        y.store([t, h, 0], x.load::<Tile<bf16, 128>>([t, h, 0]));
    });
}
