//! What the compiler chooses for products by warpgroups, and what it leaves alone.

use super::schedules::program;
use tile_codegen::lower::Assembled;
use tile_lang::DType::{Bf16, F32};
use tile_lang::build::Generic;
use tile_lang::ir::Kernel;
use tile_lang::schedule::{Raster, Schedule};
use tile_models::kernels::{gemm, gemm_fp8};

fn dense(n: usize) -> Kernel {
    let generics = [Generic::from(Bf16), Bf16.into(), 128.into(), n.into(), 64.into()];
    gemm::gemm::DEF.instance(&generics).unwrap()
}

fn blocks(parts: usize, n: usize) -> Kernel {
    let generics = [Generic::from(F32), parts.into(), 128.into(), n.into()];
    gemm_fp8::gemm_fp8_blocks::DEF.instance(&generics).unwrap()
}

fn under(kernel: Kernel, schedule: Schedule) -> Kernel {
    schedule.attach(kernel).unwrap()
}

fn alone(kernel: &Kernel) -> Assembled {
    program(std::slice::from_ref(kernel)).unwrap()
}

/// What was chosen for the first kernel of a program, without the reasons.
fn items(assembled: &Assembled) -> Vec<&str> {
    assembled.chosen[0].choices.iter().map(|c| c.item.as_str()).collect()
}

#[test]
fn each_choice_has_its_reason() {
    let told = |k: &Kernel| alone(k).chosen[0].choices.iter().map(|c| format!("{c}\n")).collect::<String>();
    insta::assert_snapshot!("choices", told(&dense(256)) + "\n" + &told(&dense(128)) + "\n" + &told(&blocks(1, 128)));
}

#[test]
fn what_is_pinned_is_not_chosen() {
    let all = ["ring step0 [k.at, k.bt]", "raster grouped 8", "inflight k.acc 1"];
    let of = |s: Schedule| {
        let assembled = alone(&under(dense(256), s));
        items(&assembled).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of(Schedule::new()), all);
    assert_eq!(of(Schedule::new().inflight("acc", 0)), all[..2]);
    assert_eq!(of(Schedule::new().raster(Raster::RowMajor)), [all[0], all[2]]);
    assert_eq!(of(Schedule::new().ring("rows", ["at"])), all[1..]);
    assert_eq!(of(Schedule::new().cluster(2)), all);
    // Stages that are pinned are those of slots as they were, and these five hold no three steps.
    assert_eq!(of(Schedule::new().stages("any", 5)), all[1..2]);
    assert_eq!(of(Schedule::new().stages("any", 6)), all[1..]);
    // A product of warps.
    assert_eq!(of(Schedule::new().split("acc", [4, 2, 1])), Vec::<String>::new());
}

/// A program has one size of slots: a kernel of small tiles doesn't get larger ones because of another one's choice.
#[test]
fn steps_take_no_more_than_the_programs_slots() {
    let one = alone(&dense(256));
    assert_eq!((one.slots, one.slot_bytes), (4, 48 * 1024));
    let two = program(&[dense(256), dense(128)]).unwrap();
    assert_eq!(two.slot_bytes, 32 * 1024);
    assert!(!items(&two).iter().any(|i| i.starts_with("ring")), "{:?}", items(&two));
    // Beside a larger one it may.
    let wide = under(dense(256), Schedule::new().ring("steps", ["at", "bt"]));
    let generics = [Generic::from(F32), 1usize.into(), 128.into(), 128.into()];
    let small = gemm_fp8::gemm_fp8_blocks::DEF.instance(&generics).unwrap();
    let both = program(&[small, wide]).unwrap();
    assert_eq!(both.slot_bytes, 48 * 1024);
    assert!(items(&both).contains(&"ring step0 [k.bt, k.at, k.rows]"), "{:?}", items(&both));
}
