//! What the compiler says of kernels and schedules that the machine can't honour.

use super::super::kernels::{chain, pair, scaled, three};
use super::{Case, case, instance, message};
use tile_codegen::lower::{Machine, ParamFacts, assemble};
use tile_codegen::target;
use tile_lang::dsl::*;
use tile_lang::ir::Kernel;
use tile_lang::schedule::parse;
use tile_lang::tile;

pub const CASES: &[Case] = &[
    case("E07", "ops that a target lacks", || compiled(&[instance(narrowed::instance())], &[None, None], of("sm_80"))),
    case("E18", "a box of too many rows", || alone(instance(boxed::instance(512, 64)))),
    case("E18", "a box of short rows", || alone(instance(boxed::instance(64, 4)))),
    case("E18", "boxes of two shapes", || alone(instance(two_boxes::instance()))),
    case("E12", "a weight in tiles of two shapes", || alone(instance(two_packings::instance()))),
    case("E19", "rows that are not aligned", || {
        let dims = [Some(vec![1000, 100]), Some(vec![1000, 100])];
        compiled(&[instance(boxed::instance(64, 64))], &dims, Machine::SM_90A)
    }),
    case("E21", "a staged tile that is too large", || alone(instance(boxed_f32::instance(128, 256)))),
    case("E21", "a ring that puts too much into a slot", || {
        scheduled(instance(pair::instance(1024)), "ring both [a, b]")
    }),
    case("E21", "more stages than fit", || {
        scheduled(instance(pair::instance(256)), "ring one [a]\n  ring two [b] stages 30")
    }),
    case("E21", "slots of which no two fit", || {
        compiled(&[instance(boxed_f32::instance(256, 64))], &[], of("sm_120a"))
    }),
    case("E22", "more registers than there are", || {
        scheduled(instance(pair::instance(256)), "role producer registers 56\n  role consumer registers 240")
    }),
    case("E23", "a number of registers that no thread can have", || {
        scheduled(instance(pair::instance(256)), "role consumer registers 100")
    }),
    case("E26", "fewer slots than the consumer holds", || {
        scheduled(instance(pair::instance(256)), "ring one [a] stages 1\n  ring two [b]")
    }),
    case("E30", "loads of two blocks in one slot", || {
        scheduled(instance(three::instance(128)), "ring both [first, c.stage]")
    }),
    case("E30", "splits of one sum that don't fit", || {
        scheduled(
            instance(chain::instance()),
            "split x#0 rows 1 columns 1 depth 8\n  split x#1 rows 1 columns 2 depth 4",
        )
    }),
    case("E30", "an order of items along one axis", || {
        scheduled(instance(scaled::instance(128)), "raster column-major")
    }),
    case("E30", "warps that only one of two kernels asks for", || {
        let four = with(instance(pair::instance(256)), "role consumer warps 4");
        let other = instance(three::instance(128));
        compiled(&[four, other], &[None, None, None, None, None], Machine::SM_90A)
    }),
    case("E31", "six warps", || scheduled(instance(pair::instance(256)), "role consumer warps 6")),
];

/// The message of compiling kernels whose arguments have these extents.
fn compiled(kernels: &[Kernel], dims: &[Option<Vec<usize>>], machine: Machine) -> String {
    let fact = |dims: Option<Vec<usize>>| ParamFacts { dims, aligned: 64, copied_later: false };
    let of = |k: &Kernel| (0..k.params.len()).map(|p| fact(dims.get(p).cloned().flatten())).collect();
    let facts: Vec<Vec<ParamFacts>> = kernels.iter().map(of).collect();
    message(assemble("codes", kernels, &facts, machine))
}

fn of(name: &str) -> Machine {
    target::find(name).unwrap_or_else(|| panic!("no target {name}")).machine()
}

fn alone(kernel: Kernel) -> String {
    compiled(&[kernel], &[], Machine::SM_90A)
}

fn with(kernel: Kernel, items: &str) -> Kernel {
    let text = format!("schedule pinned for {} {{\n  {items}\n}}\n", kernel.name);
    let schedule = parse(&text, "pinned.sched").unwrap_or_else(|e| panic!("{e}"));
    schedule.attach(kernel).unwrap_or_else(|e| panic!("{e}"))
}

fn scheduled(kernel: Kernel, items: &str) -> String {
    alone(with(kernel, items))
}

/// Two conversions to FP8 and a box whose columns begin anywhere.
#[tile::kernel(crate = tile_lang)]
fn narrowed(x: &Global<bf16, 2>, y: &mut Global<e4m3, 2>, first: i32) {
    let [i] = work([cdiv(x.dim(0), 16)]);
    let a = x.stage_at::<Smem<bf16, 16, 64>>([16 * i, first]).cast::<e4m3>();
    y.store([i, 0], a);
    y.store([i, 1], (a.cast::<f32>() * 2.0).cast::<e4m3>());
}

#[tile::kernel(crate = tile_lang)]
fn boxed<const R: usize, const C: usize>(x: &Global<bf16, 2>, y: &mut Global<bf16, 2>) {
    let [i] = work([cdiv(x.dim(0), R)]);
    y.store([i, 0], x.stage::<Smem<bf16, R, C>>([i, 0]).read());
}

#[tile::kernel(crate = tile_lang)]
fn boxed_f32<const R: usize, const C: usize>(x: &Global<f32, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(x.dim(0), R)]);
    y.store([i, 0], x.stage::<Smem<f32, R, C>>([i, 0]).read());
}

#[tile::kernel(crate = tile_lang)]
fn two_boxes(x: &Global<bf16, 2>, y: &mut Global<bf16, 2>) {
    y.store([0, 0], x.stage::<Smem<bf16, 16, 64>>([0, 0]).read());
    y.store([1, 0], x.stage::<Smem<bf16, 32, 64>>([1, 0]).read());
}

#[tile::kernel(crate = tile_lang)]
fn two_packings(w: &Weight<bf16, 2>, y: &mut Global<bf16, 2>) {
    y.store([0, 0], w.stage::<Smem<bf16, 16, 64>>([0, 0]).read());
    y.store([1, 0], w.stage::<Smem<bf16, 32, 64>>([1, 0]).read());
}

#[test]
fn messages_of_the_compiler() {
    insta::assert_snapshot!(super::provoked(CASES));
}
