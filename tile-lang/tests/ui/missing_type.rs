use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn copy(x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let a = x.load([0, 0]) + Tile::<f32, 16, 16>::full(1.0);
    y.store([0, 0], a);
    let z = Tile::zero();
    y.store([0, 0], a + z);
    let b: Tile<f32, 16, 16> = a.row_sum().cols();
    y.store([0, 0], b);
    for k in pipelined(0..4) {
        y.store([k, 0], b.cast());
    }
}

fn main() {}
