use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn gemm<const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<bf16, 2>,
    b: &Global<bf16, 2>,
    c: &mut Global<f32, 2>,
) {
    let at = a.load::<Tile<bf16, BM, BK>>([0, 0]);
    let bt = b.load::<Tile<bf16, BN, BK>>([0, 0]);
    c.store([0, 0], mma(at, bt));
    let mut acc = Tile::<f32, BM, BN>::zero();
    acc.mma(at, bt);
    c.store([0, 0], acc);
}

fn main() {}
