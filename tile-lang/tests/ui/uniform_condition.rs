//! A condition is one number for all warps.

use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn rectified(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    let mut t = x.load::<Tile<f32, 16>>([0]);
    if t.lt(0.0) {
        t = -t;
    }
    y.store([0], t);
}

fn main() {}
