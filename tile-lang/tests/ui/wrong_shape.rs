use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn add<const BM: usize, const BN: usize>(a: &Global<f32, 2>, b: &Global<bf16, 2>, c: &mut Global<f32, 2>) {
    let x = a.load::<Tile<f32, BM, BN>>([0, 0]);
    let y = a.load::<Tile<f32, BN, BM>>([0, 0]);
    c.store([0, 0], x + y);
    let z = b.load::<Tile<f32, BM, BN>>([0, 0]);
    c.store([0, 0], x.max(z.t()));
}

fn main() {}
