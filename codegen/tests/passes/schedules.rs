//! Schedules: what they pin is what is emitted, what can't be is refused, and what the compiler chose can be given back.

use super::kernels::{copied, deep, moved, pair, scaled, three, uneven};
use tile_codegen::lower::{Assembled, Machine, ParamFacts, assemble};
use tile_codegen::passes::{lower_to_roles, ring_groups};
use tile_codegen::schedule::complete;
use tile_lang::DType::Bf16;
use tile_lang::build::Generic;
use tile_lang::ir::{Kernel, OpKind, Role};
use tile_lang::schedule::{Raster, Schedule, diff, parse};
use tile_models::kernels::{gemm, gemm_fp8};

pub fn program(kernels: &[Kernel]) -> Result<Assembled, String> {
    let facts = |k: &Kernel| vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; k.params.len()];
    let facts: Vec<_> = kernels.iter().map(facts).collect();
    assemble("test", kernels, &facts, Machine::SM_90A).map_err(|e| e.to_string())
}

fn three_kernel() -> Kernel {
    three::DEF.instance(&[Generic::from(128usize)]).unwrap()
}

fn pair_kernel() -> Kernel {
    pair::DEF.instance(&[Generic::from(256usize)]).unwrap()
}

fn scheduled(kernel: Kernel, s: Schedule) -> Result<Assembled, String> {
    program(&[s.attach(kernel).map_err(|e| e.to_string())?])
}

#[test]
fn a_complete_schedule_given_back_gives_the_same_module() {
    let pinned = Schedule::new()
        .ring("both", ["a", "b"])
        .stages("both", 3)
        .split("k.acc", [1, 2, 4])
        .registers("consumer", 232)
        .raster(Raster::Grouped(2))
        .attach(pair_kernel())
        .unwrap();
    let generics = [Generic::from(Bf16), 1usize.into(), 128.into(), 128.into()];
    let turning = gemm_fp8::gemm_fp8_blocks::DEF.instance(&generics).unwrap();
    for kernel in [scaled::instance(128).unwrap(), three_kernel(), pair_kernel(), pinned, turning] {
        let assembled = program(std::slice::from_ref(&kernel)).unwrap();
        let chosen = complete(&assembled, Machine::SM_90A).unwrap();
        let text = chosen.to_string();
        let read = parse(&text, "chosen.sched").unwrap();
        assert!(diff(&chosen, &read).is_empty());
        let plain = Kernel { schedule: None, ..kernel };
        let again = program(&[read.attach(plain).unwrap_or_else(|e| panic!("{text}\n{e}"))]);
        let again = again.unwrap_or_else(|e| panic!("{text}\n{e}"));
        assert_eq!(again.mlir, assembled.mlir, "{text}");
        assert_eq!((again.slots, again.shared_bytes), (assembled.slots, assembled.shared_bytes));
        insta::with_settings!({ snapshot_suffix => format!("{}_{}", chosen.kernel, chosen.name) }, {
            insta::assert_snapshot!(text);
        });
    }
}

#[test]
fn rings_are_grouped_as_pinned() {
    let parts = |s: Schedule| {
        let kernel = s.attach(pair::DEF.instance(&[Generic::from(128usize)]).unwrap()).unwrap();
        ring_groups(&kernel, 16_384).unwrap().iter().map(|g| g.parts.len()).collect::<Vec<_>>()
    };
    assert_eq!(parts(Schedule::new()), [2], "two tiles of 8 KiB share a slot by themselves");
    assert_eq!(parts(Schedule::new().ring("one", ["a"])), [1, 1]);
    assert_eq!(parts(Schedule::new().ring("one", ["a"]).ring("two", ["b"])), [1, 1]);
    assert_eq!(parts(Schedule::new().ring("both", ["b", "a"])), [2]);
    let kernel = Schedule::new().ring("one", ["k.b"]).attach(pair_kernel()).unwrap();
    let lowered = lower_to_roles(&kernel, 16_384).unwrap();
    let mut fills = 0;
    lowered.walk(|_, op| fills += usize::from(matches!(op.kind, OpKind::RingFill(_))));
    assert_eq!(fills, 2);
}

#[test]
fn stages_are_slots_of_the_ring() {
    for stages in [2, 3, 5] {
        let assembled = scheduled(pair_kernel(), Schedule::new().stages("any", stages)).unwrap();
        assert_eq!(assembled.slots, stages);
    }
    let held = scheduled(pair_kernel(), Schedule::new().stages("any", 1)).unwrap_err();
    assert!(held.contains("error[E26]: the consumer holds 2 slots at one time, the ring has 1"), "{held}");
    assert_eq!(scheduled(scaled::instance(128).unwrap(), Schedule::new().stages("any", 1)).unwrap().slots, 1);
}

#[test]
fn splits_are_honoured() {
    let counts = |split: [usize; 3]| {
        let assembled = scheduled(pair_kernel(), Schedule::new().split("acc", split)).unwrap();
        assembled.mlir.matches("mma.sync").count()
    };
    // 32 × 16 × 256 is 2 × 2 × 16 steps of 16 × 8 × 16, twice for the two products of an iteration.
    let steps = 2 * 2 * 16;
    for split in [[2, 2, 2], [1, 1, 8], [2, 1, 4], [1, 2, 4]] {
        assert_eq!(counts(split), 2 * steps / 8, "{split:?}");
    }
    assert_eq!(counts([1, 1, 1]), 2 * steps, "warps beyond the split hold copies");
    let a = scheduled(pair_kernel(), Schedule::new().split("acc", [2, 2, 2])).unwrap();
    let b = scheduled(pair_kernel(), Schedule::new().split("acc", [1, 1, 8])).unwrap();
    assert_ne!(a.mlir, b.mlir);
}

#[test]
fn warps_and_registers_of_a_program_of_one_kernel_are_free() {
    let assembled = scheduled(pair_kernel(), Schedule::new().warps("consumer", 4)).unwrap();
    assert_eq!((assembled.protocol.warps, assembled.protocol.registers.threads()), (4, 256));
    assert!(assembled.mlir.contains("nvvm.reqntid = array<i32: 256, 1, 1>"));
    assert!(assembled.mlir.contains("bar.sync 1, 128;") && !assembled.mlir.contains("bar.sync 1, 256;"));
    let registers = |s: Schedule| {
        let r = scheduled(pair_kernel(), s).unwrap().protocol.registers;
        (r.producer, r.consumer)
    };
    assert_eq!(registers(Schedule::new()), (56, 224));
    assert_eq!(registers(Schedule::new().registers("consumer", 232)), (40, 232), "the producer gives way");
    assert_eq!(registers(Schedule::new().registers("producer", 24)), (24, 240), "the consumers get what is left");
    assert_eq!(registers(Schedule::new().registers("producer", 40).registers("consumer", 208)), (40, 208));
    assert_eq!(registers(Schedule::new().registers("consumer", 160)), (56, 160), "all start with fewer");
    assert_eq!(registers(Schedule::new().registers("consumer", 248).warps("consumer", 4)), (56, 248));
}

#[test]
fn kernels_of_one_program_agree_or_are_refused() {
    let with = |kernel: Kernel, s: Schedule| s.attach(kernel).unwrap();
    let four = || Schedule::new().warps("consumer", 4);
    let both = program(&[with(pair_kernel(), four()), with(three_kernel(), four())]).unwrap();
    assert_eq!(both.protocol.warps, 4);
    let one = program(&[with(pair_kernel(), four()), three_kernel()]).unwrap_err();
    assert!(one.contains("error[E30]: role `consumer` asks for 4 warps"), "{one}");
    assert!(one.contains("the role that computes has 8 warps of 224 registers"), "{one}");
    assert!(one.contains("schedules.rs:"), "{one}");
    let stages = |n| Schedule::new().stages("any", n);
    let two = program(&[with(pair_kernel(), stages(3)), with(three_kernel(), stages(4))]).unwrap_err();
    assert!(two.contains("error[E30]: kernel `three` asks for a ring of 4 slots"), "{two}");
    let default = Schedule::new().warps("consumer", 8).registers("consumer", 224);
    assert!(program(&[with(pair_kernel(), default), three_kernel()]).is_ok());
}

#[test]
fn what_cannot_be_realised_says_why_and_what_can() {
    let refused = |kernel: Kernel, s: Schedule| scheduled(kernel, s).unwrap_err();
    let many = Schedule::new()
        .ring("both", ["first", "c.stage"])
        .role("all", ["first", "second", "c.stage", "y.store"])
        .inflight("nothing", 1);
    let text = refused(three_kernel(), many);
    assert!(text.contains("error[E20]: kernel `three` has no op `nothing`"), "{text}");
    let rings = Schedule::new()
        .ring("both", ["first", "c.stage"])
        .stages("both", 2)
        .role("all", ["first", "second", "c.stage", "y.store"])
        .stages("other", 3);
    insta::assert_snapshot!("rings_and_roles", refused(three_kernel(), rings));
    let roles = Schedule::new()
        .role("load", ["a"])
        .role("more", ["b"])
        .role("math", ["acc"])
        .role("store", ["y.store"])
        .warps("load", 4)
        .registers("math", 100)
        .split("acc", [4, 1, 2])
        .inflight("acc", 8)
        .raster(Raster::Grouped(0))
        .cluster(3);
    insta::assert_snapshot!("roles_and_products", refused(pair_kernel(), roles));
    let text = refused(pair_kernel(), Schedule::new().inflight("acc", 1));
    assert!(text.contains("error[E30]: `k.acc#0` can't be left running"), "{text}");
    let text = refused(scaled::instance(128).unwrap(), Schedule::new().cluster(2));
    assert!(text.contains("error[E30]: 2 CTAs of a cluster have nothing to share"), "{text}");
    let text = refused(copied::instance(8).unwrap(), Schedule::new().cluster(2));
    assert!(text.contains("error[E30]: a kernel that stages nothing has no copies for a cluster to share"), "{text}");
    let machine = [
        Schedule::new().registers("consumer", 100),
        Schedule::new().registers("consumer", 240).registers("producer", 56),
        Schedule::new().registers("producer", 200).registers("consumer", 104),
        Schedule::new().warps("consumer", 6),
        Schedule::new().warps("consumer", 16),
        Schedule::new().stages("any", 30),
        Schedule::new().ring("all", ["a"]).stages("all", 0),
    ];
    let texts: Vec<String> = machine.into_iter().map(|s| refused(pair_kernel(), s)).collect();
    insta::assert_snapshot!("machine", texts.join("\n"));
    let line = Schedule::new().raster(Raster::ColumnMajor);
    let text = refused(scaled::instance(128).unwrap(), line);
    assert!(
        text.contains("error[E30]: items can't be taken in column-major order: the kernel's work has 1 axis"),
        "{text}"
    );
}

#[test]
fn loads_larger_than_a_slot_are_listed() {
    let kernel = || pair::DEF.instance(&[Generic::from(1024usize)]).unwrap();
    let text = scheduled(kernel(), Schedule::new().ring("both", ["a", "b"])).unwrap_err();
    insta::assert_snapshot!(text);
    assert!(scheduled(kernel(), Schedule::new().ring("a", ["a"]).ring("b", ["b"])).is_ok());
}

#[test]
fn splits_of_one_sum_fit_together() {
    let kernel = || super::kernels::chain::DEF.instance(&[]).unwrap();
    let text = scheduled(kernel(), Schedule::new().split("x#0", [1, 1, 8]).split("x#1", [1, 2, 4])).unwrap_err();
    assert!(text.contains("error[E30]: these splits don't fit together"), "{text}");
    assert!(text.contains("schedules.rs:"), "{text}");
    scheduled(kernel(), Schedule::new().split("x", [1, 2, 4])).unwrap();
    scheduled(kernel(), Schedule::new().split("x#0", [1, 2, 1]).split("x#1", [1, 1, 8])).unwrap();
}

#[test]
fn the_raster_is_in_the_bodies_of_all_roles() {
    let kernel = Schedule::new().raster(Raster::Grouped(4)).attach(pair_kernel()).unwrap();
    let lowered = lower_to_roles(&kernel, 16_384).unwrap();
    for role in [Role::Producer, Role::Consumer] {
        let mut mins = 0;
        lowered.walk_block(lowered.body(role).unwrap(), &mut |_, op| {
            mins += usize::from(op.kind == OpKind::Binary(tile_lang::ir::BinaryOp::Min));
        });
        assert_eq!(mins, 2, "{role:?}\n{lowered:#}");
    }
}

#[test]
fn a_pipelined_loop_pins_the_slots_of_the_ring() {
    let kernel = deep::instance().unwrap();
    let assembled = program(std::slice::from_ref(&kernel)).unwrap();
    assert_eq!(assembled.slots, 3);
    // A schedule's number takes the place of the loop's, in what is printed as well.
    let kernel = Schedule::new().stages("tiles", 5).attach(kernel);
    let kernel = kernel.unwrap();
    assert_eq!(program(std::slice::from_ref(&kernel)).unwrap().slots, 5);
    let explicit = tile_codegen::passes::explicit_roles(&kernel, Machine::SM_90A.group_bytes).unwrap();
    let text = tile_codegen::explain::source::source_file(&explicit).unwrap();
    for part in ["::new::<5>();", "pipelined::<5>(", "#[op(first)]\n", "#[op(doubled)]\n        y.store("] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("pipelined::<3>"), "{text}");
}

#[test]
fn loops_that_pin_different_numbers_are_refused_with_both_places() {
    let text = program(&[uneven::instance().unwrap()]).unwrap_err();
    assert!(text.starts_with("error[E30]: `pipelined::<4>` asks for a ring of 4 slots"), "{text}");
    assert!(text.contains("this loop pins 2: "), "{text}");
    // A schedule settles it.
    let kernel = Schedule::new().stages("tiles", 6).attach(uneven::instance().unwrap()).unwrap();
    assert_eq!(program(&[kernel]).unwrap().slots, 6);
}

#[test]
fn turns_that_nobody_can_take_are_refused() {
    let refused = |kernel: Kernel, s: Schedule| scheduled(kernel, s).unwrap_err();
    let both = || moved::DEF.instance(&[]).unwrap();
    let narrow = || {
        let generics = [Generic::from(Bf16), Bf16.into(), 64.into(), 128.into(), 64.into()];
        gemm::gemm::DEF.instance(&generics).unwrap()
    };
    let texts = [
        refused(pair_kernel(), Schedule::new().turns(["b"])),
        refused(pair_kernel(), Schedule::new().turns(["acc#0", "acc#0"])),
        refused(pair_kernel(), Schedule::new().turns(["acc#0"])),
        refused(narrow(), Schedule::new().turns(["acc"]).warps("consumer", 4)),
        refused(both(), Schedule::new().turns(["acc"])),
    ];
    insta::assert_snapshot!("turns", texts.join("\n"));
    // One product alone has nothing within its turn.
    scheduled(both(), Schedule::new().turns(["acc#1"])).unwrap();
    scheduled(both(), Schedule::new().without_turns()).unwrap();
}
