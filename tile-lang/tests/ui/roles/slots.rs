use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn filled_twice(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<Smem<bf16, 16, 32>>::new::<4>();
    role("load", 1, 56, || ring.acquire().fill(w, [0, 0]).fill(w, [0, 1]).commit());
    role("math", 8, 224, || {
        let v = ring.wait();
        y.store([0, 0], v.get().cast::<f32>());
        v.release();
    });
}

#[tile::kernel(crate = tile_lang)]
fn part_missing(w: &Weight<bf16, 2>, x: &Weight<f32, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<(Smem<bf16, 16, 32>, Smem<f32, 16, 32>)>::new::<4>();
    role("load", 1, 56, || ring.acquire().fill(w, [0, 0]).commit());
    role("math", 8, 224, || {
        let v = ring.wait();
        let (a, b) = v.get();
        y.store([0, 0], a.cast::<f32>() + b.read());
        v.release();
    });
    let _ = x.dim(0);
}

#[tile::kernel(crate = tile_lang)]
fn wrong_order(w: &Weight<bf16, 2>, x: &Weight<f32, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<(Smem<bf16, 16, 32>, Smem<f32, 16, 32>)>::new::<4>();
    role("load", 1, 56, || ring.acquire().fill(x, [0, 0]).fill(w, [0, 0]).commit());
    role("math", 8, 224, || {
        let v = ring.wait();
        let (a, b) = v.get();
        y.store([0, 0], a.cast::<f32>() + b.read());
        v.release();
    });
}

#[tile::kernel(crate = tile_lang)]
fn committed_twice(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<Smem<bf16, 16, 32>>::new::<4>();
    role("load", 1, 56, || {
        let slot = ring.acquire().fill(w, [0, 0]);
        slot.commit();
        slot.commit();
    });
    role("math", 8, 224, || {
        let v = ring.wait();
        y.store([0, 0], v.get().cast::<f32>());
        v.release();
    });
}

fn main() {}
