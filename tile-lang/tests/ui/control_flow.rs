use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn search(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let mut i = 0;
    while x.at([i]) > 0 {
        i += 1;
    }
    loop {
        y.set([0], i);
        break;
    }
    if i > 3 {
        return;
    }
    for k in 0..i {
        if k == 2 {
            continue;
        }
    }
}

#[tile::func(crate = tile_lang)]
fn tried(x: i32) -> Option<i32> {
    let y = Some(x)?;
    Some(y)
}

fn main() {}
