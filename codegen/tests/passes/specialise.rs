//! Roles and rings: what each role keeps, how staged loads share slots, what can't be staged.

use crate::kernels;
use std::sync::Arc;
use tile_codegen::lower::{Machine, ParamFacts, assemble};
use tile_codegen::passes::{explicit_roles, lower_to_roles, ring_groups};
use tile_lang::DType;
use tile_lang::interp::{self, ArgValue, Array, Options};
use tile_lang::ir::{Kernel, Role, RoleResources};

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
    assert!(error.contains("codegen/tests/passes/kernels.rs:17"), "{error}");
}

#[test]
fn extents_of_a_written_array_are_the_same_in_both_roles() {
    lower_to_roles(&kernels::over_what_is_written::instance(64).unwrap(), 16_384).unwrap();
}

/// Runs a kernel on the same inputs; the last parameter is the output.
fn interpret(kernel: &Kernel, inputs: &[(DType, &[usize])], out: &[usize]) -> Vec<f32> {
    let mut args: Vec<ArgValue> = Vec::new();
    for (seed, (dtype, dims)) in inputs.iter().enumerate() {
        let n: usize = dims.iter().product();
        let array = if *dtype == DType::I32 {
            Array::from_i32(DType::I32, *dims, &[1])
        } else {
            let data: Vec<f32> = (0..n).map(|i| ((i * 37 + seed * 11) % 29) as f32 / 8.0 - 1.5).collect();
            Array::from_f32(*dtype, *dims, &data)
        };
        args.push(Arc::new(array.unwrap()).into());
    }
    let out = Arc::new(Array::zeros(DType::F32, out));
    args.push(out.clone().into());
    interp::launch(kernel, &args, Options::default()).unwrap_or_else(|e| panic!("{e}\n{kernel:#}"));
    out.to_f32()
}

#[test]
fn roles_in_lock_step_give_what_the_tile_form_gives() {
    let scaled = kernels::scaled::instance(128).unwrap();
    let lowered = explicit_roles(&scaled, 16_384).unwrap();
    let inputs: &[(DType, &[usize])] = &[(DType::Bf16, &[32, 384]), (DType::F32, &[8, 384])];
    let want = interpret(&scaled, inputs, &[8, 32]);
    assert!(want.iter().any(|x| *x != 0.0));
    assert_eq!(interpret(&lowered, inputs, &[8, 32]), want);
    // One slot is filled under a condition that only the first item meets.
    let three = kernels::three::instance(128).unwrap();
    let inputs: &[(DType, &[usize])] =
        &[(DType::Bf16, &[32, 128]), (DType::Bf16, &[32, 128]), (DType::Bf16, &[32, 128]), (DType::I32, &[1])];
    let want = interpret(&three, inputs, &[32, 128]);
    for bytes in [4_096, 16_384] {
        assert_eq!(interpret(&explicit_roles(&three, bytes).unwrap(), inputs, &[32, 128]), want);
    }
}

#[test]
fn roles_that_do_not_fit_together_are_refused() {
    let kernel = kernels::scaled::instance(128).unwrap();
    let text = explicit_roles(&kernel, 16_384).unwrap().to_string();
    let errors = |text: &str| {
        let kernel: Kernel = text.parse().unwrap();
        explicit_roles(&kernel, 16_384).unwrap_err().to_string()
    };
    let release = text.lines().find(|l| l.contains("ring_release")).unwrap();
    let never = errors(&text.replace(release, ""));
    assert!(never.contains("error[E24]: waits for a slot that is never released"), "{never}");
    let twice = errors(&text.replace(release, &format!("{release}\n{release}")));
    assert!(twice.contains("error[E24]: releases a slot twice"), "{twice}");
    // The producer's loop is one shorter.
    let dim = text.lines().find(|l| l.contains("= dim[1] %w")).unwrap();
    let shorter = errors(&text.replacen(dim, &dim.replace("dim[1] %w", "dim[0] %w"), 1));
    assert!(shorter.contains("error[E24]: the loops around this ring's slots run over different ranges"), "{shorter}");
    assert!(shorter.contains("the consumer's loop is here: codegen/tests/passes/kernels.rs:"), "{shorter}");
}

#[test]
fn what_roles_ask_for_is_honoured_or_refused() {
    let kernel = kernels::scaled::instance(128).unwrap();
    let assembled = |change: &dyn Fn(&mut Kernel)| {
        let mut kernel = explicit_roles(&kernel, 16_384).unwrap();
        change(&mut kernel);
        let facts = vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()];
        assemble("scaled", &[kernel], &[facts], Machine::SM_90A).map(|a| a.slots).map_err(|e| e.to_string())
    };
    let free = assembled(&|_| {}).unwrap();
    assert!(free > 4);
    assert_eq!(assembled(&|k| k.resources.slots = 3), Ok(3));
    let most = assembled(&|k| k.resources.slots = free + 1).unwrap_err();
    assert!(
        most.contains(&format!("error[E21]: a ring of {} slots of 16384 bytes does not fit, {free}", free + 1)),
        "{most}"
    );
    let small = explicit_roles(&kernels::scaled::instance(32).unwrap(), 1024).unwrap();
    let facts = vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; small.params.len()];
    let small = Kernel { resources: tile_lang::ir::Resources { slots: 99, ..small.resources.clone() }, ..small };
    let least = assemble("scaled", &[small], &[facts], Machine::SM_90A).map(|a| a.slots).map_err(|e| e.to_string());
    assert!(
        least.clone().is_err_and(|e| e.contains("; no slot takes less than 16384 bytes, of which yours use ")),
        "{least:?}"
    );
    let ask = |warps, registers| {
        assembled(&move |k: &mut Kernel| {
            let (name, span) = ("load".into(), tile_lang::span::Span::NONE);
            k.resources.roles = vec![RoleResources { role: Role::Producer, name, warps, registers, span }];
        })
    };
    assert_eq!(ask(1, 56), Ok(free));
    let more = ask(4, 40).unwrap_err();
    assert!(more.contains("error[E30]: role `load` asks for 4 warps of 40 registers"), "{more}");
}
