use tile_lang::dsl::*;
use tile_lang::tile;

/// An operand that isn't scaled by blocks, operands of two kinds, scales that don't go with them, scales of the wrong form.
#[tile::kernel(crate = tile_lang)]
fn products(
    a: &Global<e2m1, 2>,
    wide: &Global<bf16, 2>,
    narrow: &Global<e4m3, 2>,
    powers: &Global<e8m0, 2>,
    fine: &Global<e4m3, 2>,
    plain: &Global<f32, 2>,
    c: &mut Global<f32, 2>,
) {
    let codes = a.load::<Tile<e2m1, 16, 128>>([0, 0]);
    let bytes = narrow.load::<Tile<e4m3, 16, 128>>([0, 0]);
    let scales = powers.load::<Tile<e8m0, 16, 4>>([0, 0]);
    let mut acc = Tile::<f32, 16, 16>::zero();
    acc.mma_scaled(wide.load::<Tile<bf16, 16, 128>>([0, 0]), scales, codes.t(), scales.t());
    acc.mma_scaled(codes, scales, bytes.t(), scales.t());
    let numbers = plain.load::<Tile<f32, 16, 4>>([0, 0]);
    acc.mma_scaled(codes, numbers, codes.t(), numbers.t());
    let eighths = fine.load::<Tile<e4m3, 16, 4>>([0, 0]);
    acc.mma_scaled(bytes, eighths, bytes.t(), eighths.t());
    acc.mma_scaled(codes, scales, codes.t(), eighths.t());
    acc.mma_scaled(codes, scales, codes, scales.t());
    acc.mma_scaled(codes, scales, codes.t(), scales);
    c.store([0, 0], acc);
}

fn main() {}
