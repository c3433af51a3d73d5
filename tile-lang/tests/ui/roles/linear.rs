use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn never_ended(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>) {
    let ring = Ring::<Smem<bf16, 16, 32>>::new::<4>();
    role("load", 1, 56, || {
        let slot = ring.acquire();
        let filled = slot.fill(w, [0, 0]);
        ring.acquire();
    });
    role("math", 8, 224, || {
        let v = ring.wait();
        y.store([0, 0], v.get().cast::<f32>());
        let _ = ring.wait();
    });
}

#[tile::kernel(crate = tile_lang)]
fn one_branch(w: &Weight<bf16, 2>, y: &mut Global<f32, 2>, n: i32) {
    let ring = Ring::<Smem<bf16, 16, 32>>::new::<4>();
    role("load", 1, 56, || {
        let slot = ring.acquire();
        for k in 0..n {
            if k == 0 {
                slot.fill(w, [0, k]).commit();
            }
        }
    });
    role("math", 8, 224, || {
        let v = ring.wait();
        if n > 1 {
            y.store([0, 0], v.get().cast::<f32>());
            v.release();
        }
    });
}

fn main() {}
