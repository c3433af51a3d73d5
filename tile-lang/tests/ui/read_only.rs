use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn copy(x: &Global<f32, 2>, y: &Global<f32, 2>) {
    let a = x.load::<Tile<f32, 16, 16>>([0, 0]);
    y.store([0, 0], a);
    y.set([0, 0], 1.0);
}

fn main() {}
