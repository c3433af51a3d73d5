//! Schedules of kernels whose roles and rings are written out: they say what those leave open, and nothing that those say otherwise.

use super::schedules::program;
use tile_codegen::explain::source::source_file;
use tile_codegen::lower::Machine;
use tile_codegen::passes::{explicit_roles, lower_to_roles};
use tile_codegen::schedule::complete;
use tile_lang::dsl::*;
use tile_lang::ir::{Kernel, Role};
use tile_lang::schedule::{Schedule, parse};
use tile_lang::tile;

/// C = A·Bᵀ with S slots and WARPS warps, or what the compiler takes for 0.
#[tile::kernel(crate = tile_lang)]
fn product<const S: usize, const WARPS: usize>(a: &Global<bf16, 2>, b: &Global<bf16, 2>, c: &mut Global<f32, 2>) {
    let [i, j] = work([cdiv(a.dim(0), 128), cdiv(b.dim(0), 128)]);
    let ring = Ring::<(Smem<bf16, 128, 64>, Smem<bf16, 128, 64>)>::new::<S>();
    role("load", 1, 0, || {
        for k in 0..cdiv(a.dim(1), 64) {
            ring.acquire().fill(a, [i, k]).fill(b, [j, k]).commit();
        }
    });
    role("math", WARPS, 0, || {
        let mut acc = Tile::<f32, 128, 128>::zero();
        'k: for _ in 0..cdiv(a.dim(1), 64) {
            let slot = ring.wait();
            let (at, bt) = slot.get();
            acc.mma(at, bt.t());
            slot.release();
        }
        c.store([i, j], acc);
    });
}

/// An array times two, with nothing staged.
#[tile::kernel(crate = tile_lang)]
fn doubled(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    let [i] = work([cdiv(x.dim(0), 256)]);
    y.store([i], x.load::<Tile<f32, 256>>([i]) * 2.0);
}

#[tile::schedule(product, crate = tile_lang)]
fn neighbours() -> Schedule {
    Schedule::new()
        .stages("tiles", 3)
        .registers("math", 232)
        .registers("producer", 40)
        .inflight("k.acc", 1)
        .raster(Raster::Grouped(4))
        .cluster(2)
}

fn kernel(slots: usize, warps: usize) -> Kernel {
    product::DEF.instance(&[slots.into(), warps.into()]).unwrap()
}

#[test]
fn what_is_left_open_is_the_schedule_s() {
    let kernel = neighbours::DEF.instance(&[0usize.into(), 0usize.into()]).unwrap();
    let assembled = program(std::slice::from_ref(&kernel)).unwrap();
    assert_eq!((assembled.slots, assembled.cluster), (3, 2));
    let registers = assembled.protocol.registers;
    assert_eq!((registers.producer, registers.consumer), (40, 232));
    // Arithmetic of the order stands only in bodies that need it, and the kernel's own roles keep their names.
    let lowered = lower_to_roles(&kernel, Machine::SM_90A.group_bytes).unwrap();
    let roles: Vec<(Role, &str, usize)> =
        lowered.resources.roles.iter().map(|r| (r.role, r.name.as_str(), r.registers)).collect();
    assert_eq!(roles, [(Role::Producer, "load", 40), (Role::Consumer, "math", 232)]);
    // All of it is in what is printed: numbers in roles and rings, the rest in a schedule.
    let explicit = explicit_roles(&kernel, Machine::SM_90A.group_bytes).unwrap();
    let text = source_file(&explicit).unwrap();
    for part in [
        "::new::<3>();",
        "role(\"load\", 1, 40, || {",
        "role(\"math\", 0, 232, || {",
        "#[tile::schedule(product)]\npub fn neighbours() -> Schedule {",
        "Schedule::new().inflight(\"k.acc\", 1).raster(Raster::Grouped(4)).cluster(2)",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // And in what the compiler says it chose, which can be given back.
    let chosen = complete(&assembled, Machine::SM_90A).unwrap().to_string();
    let plain = Kernel { schedule: None, ..kernel };
    let again = parse(&chosen, "chosen.sched").unwrap().attach(plain).unwrap();
    assert_eq!(program(&[again]).unwrap().mlir, assembled.mlir, "{chosen}");
}

/// A kernel that stages nothing has no ring and no role to carry numbers that its schedule pins all the same.
#[test]
fn numbers_without_a_ring_are_printed_as_a_schedule() {
    let kernel = Schedule::new().stages("tiles", 2).registers("producer", 40).attach(doubled::instance().unwrap());
    let explicit = explicit_roles(&kernel.unwrap(), Machine::SM_90A.group_bytes).unwrap();
    let text = source_file(&explicit).unwrap();
    assert!(text.contains("    Schedule::new().stages(\"ring\", 2).registers(\"producer\", 40)\n"), "{text}");
}

/// What a schedule and the roles beside it say differently: one message for each, with both places and the numbers.
#[test]
fn contradictions_are_refused_with_both_places() {
    let refused = |slots: usize, warps: usize, text: &str| {
        let schedule = parse(text, "x.sched").unwrap_or_else(|e| panic!("{e}"));
        match schedule.attach(kernel(slots, warps)) {
            Ok(k) => program(&[k]).unwrap_err(),
            Err(e) => e.to_string(),
        }
    };
    let mut out = String::new();
    for (slots, warps, item) in [
        (4, 8, "ring tiles stages 3"),
        (4, 8, "ring tiles [at, bt]"),
        (4, 8, "role math warps 4"),
        (4, 8, "role consumer warps 4"),
        (4, 8, "role load warps 1 [at]"),
        (4, 8, "role maths registers 232"),
        (4, 8, "role load warps 2"),
        (0, 0, "ring tiles stages 0"),
        (0, 4, "split acc rows 8 columns 1 depth 1"),
    ] {
        let text = refused(slots, warps, &format!("schedule s for product {{\n  {item}\n}}\n"));
        // Lines of this file move.
        let text = text.replace(&format!("{}:", file!()), "written.rs:");
        let text: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with(['|', '^'])).collect();
        out += &format!("--- {item}\n{}\n", text.join("\n"));
    }
    insta::assert_snapshot!(out);
}
