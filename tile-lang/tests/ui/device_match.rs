use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn pick(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let a = x.at([0]);
    let b = match a {
        0 => 1,
        _ => 2,
    };
    y.set([0], b);
    if let 3 = a {
        y.set([1], b);
    }
    for k in (0..a).step_by(2) {
        y.set([k], 0);
    }
    for k in (0..a).rev() {
        y.set([k], 0);
    }
}

fn main() {}
