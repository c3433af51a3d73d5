//! Roles and rings: what each role keeps, how staged loads share slots, what can't be staged.

mod kernels {
    use tile_lang::dsl::*;
    use tile_lang::tile;

    /// A product whose second operand is scaled by a sum over the first pass.
    #[tile::kernel(crate = tile_lang)]
    pub fn scaled<const BK: usize>(w: &Weight<bf16, 2>, x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
        let [i] = work([cdiv(w.dim(0), 16)]);
        let n = cdiv(w.dim(1), BK);
        let mut sum = Tile::<f32, 8>::zero();
        for k in 0..n {
            sum += x.load::<Tile<f32, 8, BK>>([0, k]).row_sum();
        }
        let mut acc = Tile::<f32, 16, 8>::zero();
        for k in 0..n {
            let codes = w.stage::<Smem<bf16, 16, BK>>([i, k]);
            let h = x.load::<Tile<f32, 8, BK>>([0, k]) * sum.cols::<BK>();
            acc.mma(codes.read(), h.cast::<bf16>().t());
        }
        y.store([0, i], acc.t());
    }

    /// Two weights in one iteration, a third under a condition.
    #[tile::kernel(crate = tile_lang)]
    pub fn three<const BK: usize>(
        a: &Weight<bf16, 2>,
        b: &Weight<bf16, 2>,
        c: &Weight<bf16, 2>,
        count: &Global<i32, 1>,
        y: &mut Global<f32, 2>,
    ) {
        let [i] = work([cdiv(a.dim(0), 16)]);
        let first = a.stage::<Smem<bf16, 16, BK>>([i, 0]).cast::<f32>();
        let second = b.stage::<Smem<bf16, 16, BK>>([i, 0]).cast::<f32>();
        let mut sum = first + second;
        if i < count.at([0]) {
            sum += c.stage::<Smem<bf16, 16, BK>>([i, 0]).cast::<f32>();
        }
        y.store([i, 0], sum);
    }
}

use tile_codegen::passes::{lower_to_roles, ring_groups};

#[test]
fn the_producer_keeps_only_what_its_copies_need() {
    let kernel = kernels::scaled::instance(128).unwrap();
    let lowered = lower_to_roles(&kernel, 16_384).unwrap();
    insta::assert_snapshot!(format!("{lowered:#}"));
}

#[test]
fn loads_of_one_block_share_a_slot_up_to_its_size() {
    let kernel = kernels::three::instance(128).unwrap();
    let parts = |bytes| ring_groups(&kernel, bytes).unwrap().iter().map(|g| g.parts.len()).collect::<Vec<_>>();
    assert_eq!(parts(16_384), [2, 1]);
    assert_eq!(parts(4_096), [1, 1, 1]);
    let lowered = lower_to_roles(&kernel, 16_384).unwrap();
    insta::assert_snapshot!(format!("{lowered:#}"));
}

#[test]
fn a_tile_larger_than_any_slot_is_an_error_at_its_line() {
    let kernel = kernels::scaled::instance(4096).unwrap();
    let error = lower_to_roles(&kernel, 16_384).unwrap_err().to_string();
    assert!(error.contains("error[E21]: this staged tile takes 131072 bytes, a ring slot can have 65536"), "{error}");
    assert!(error.contains("codegen/tests/specialise.rs:18"), "{error}");
}
