use tile_lang::dsl::*;
use tile_lang::tile;

fn host(x: i32) -> i32 {
    x + 1
}

#[tile::kernel(crate = tile_lang)]
fn mixed<const N: usize>(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let n = x.at([0]);
    let list = [1, 2, 3];
    let a = list[n as usize];
    let b = list.map(|l| l + n);
    let c = i32::pow(2, n as u32);
    assert!(n > 0);
    y.set([0], a + b[0] + c);
    let spare;
    spare = n;
    let range = 0..n;
    y.set([1], list.get(N).copied().unwrap_or(n) + spare + range.end);
}

#[tile::kernel(crate = tile_lang)]
fn calls(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    y.set([0], host(x.at([0])));
}

fn main() {}
