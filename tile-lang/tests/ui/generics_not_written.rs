use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::func(crate = tile_lang)]
fn doubled<const N: usize>(x: Tile<f32, N>) -> Tile<f32, N> {
    x + x
}

#[tile::kernel(crate = tile_lang)]
fn calls(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    y.store([0], doubled(x.load::<Tile<f32, 16>>([0])));
}

fn main() {}
