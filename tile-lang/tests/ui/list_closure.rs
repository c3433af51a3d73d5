use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn sums(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let list = [x.at([0]), x.at([1])];
    let total: i32 = list.iter().map(|v| v + 1).sum();
    y.set([0], total);
}

fn main() {}
