use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn in_a_loop(y: &mut Global<f32, 2>, n: i32) {
    for k in 0..n {
        role("math", 8, 224, || y.store([k, 0], Tile::<f32, 16, 16>::zero()));
    }
    role("rest", 8, 224, || {
        role("inner", 8, 224, || y.store([0, 0], Tile::<f32, 16, 16>::zero()));
    });
}

#[tile::func(crate = tile_lang)]
fn in_a_function(y: &mut Global<f32, 2>) {
    role("math", 8, 224, || y.store([0, 0], Tile::<f32, 16, 16>::zero()));
}

#[tile::kernel(crate = tile_lang)]
fn shared_variable(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<Smem<bf16, 16, 32>>::new::<4>();
    let mut last = 0;
    role("load", 1, 56, || {
        last = w.dim(1) - 1;
        ring.acquire().fill(w, [0, 0]).commit();
    });
    role("math", 8, 224, || {
        let v = ring.wait();
        y.store([0, last], v.get().cast::<f32>());
        v.release();
    });
}

#[tile::kernel(crate = tile_lang)]
fn forms(y: &mut Global<f32, 2>) {
    let ring = Ring::new::<4>();
    let tiles = Ring::<Tile<f32, 16, 16>>::new::<4>();
    role("math", || y.store([0, 0], Tile::<f32, 16, 16>::zero()));
}

fn main() {}
