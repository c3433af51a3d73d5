use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn released_twice(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<Smem<bf16, 16, 32>>::new::<4>();
    role("load", 1, 56, || ring.acquire().fill(w, [0, 0]).commit());
    role("math", 8, 224, || {
        let v = ring.wait();
        y.store([0, 0], v.get().cast::<f32>());
        v.release();
        v.release();
    });
}

#[tile::kernel(crate = tile_lang)]
fn read_after_release(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<Smem<bf16, 16, 32>>::new::<4>();
    role("load", 1, 56, || ring.acquire().fill(w, [0, 0]).commit());
    role("math", 8, 224, || {
        let v = ring.wait();
        let part = v.get().slice::<16, 16>(0, 0);
        v.release();
        y.store([0, 0], part.cast::<f32>());
    });
}

#[tile::kernel(crate = tile_lang)]
fn forgotten_transpose(a: &Weight<bf16, 2>, b: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<(Smem<bf16, 16, 32>, Smem<bf16, 8, 32>)>::new::<4>();
    role("load", 1, 56, || ring.acquire().fill(a, [0, 0]).fill(b, [0, 0]).commit());
    role("math", 8, 224, || {
        let mut acc = Tile::<f32, 16, 8>::zero();
        let v = ring.wait();
        let (a, b) = v.get();
        acc.mma(a, b);
        v.release();
        y.store([0, 0], acc);
    });
}

#[tile::kernel(crate = tile_lang)]
fn wrong_accumulator(a: &Weight<bf16, 2>, b: &Weight<bf16, 2>, y: &mut Global<bf16, 2>) {
    let ring = Ring::<(Smem<bf16, 16, 32>, Smem<bf16, 8, 32>)>::new::<4>();
    role("load", 1, 56, || ring.acquire().fill(a, [0, 0]).fill(b, [0, 0]).commit());
    role("math", 8, 224, || {
        let mut acc = Tile::<bf16, 16, 8>::zero();
        let v = ring.wait();
        let (a, b) = v.get();
        acc.mma(a, b.t());
        v.release();
        y.store([0, 0], acc);
    });
}

fn main() {}
