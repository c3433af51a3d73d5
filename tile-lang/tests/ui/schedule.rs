use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn double<const N: usize>(x: &mut Global<f32, 1>) {
    let [i] = work([cdiv(x.dim(0), N)]);
    x.store([i], x.load::<Tile<f32, N>>([i]) * 2.0);
}

#[tile::schedule(crate = tile_lang)]
fn no_kernel() -> Schedule {
    Schedule::new()
}

#[tile::schedule(double, crate = tile_lang)]
fn generic<const N: usize>() -> Schedule {
    Schedule::new()
}

#[tile::schedule(double, crate = tile_lang)]
fn nothing() {}

#[tile::schedule(double, crate = tile_lang)]
fn float(N: f32) -> Schedule {
    Schedule::new().cluster(N as usize)
}

#[tile::schedule(triple, crate = tile_lang)]
fn of_another() -> Schedule {
    Schedule::new()
}

#[tile::schedule(double, crate = tile_lang)]
struct NotAFunction;

fn main() {}
