//! Schedules of the library: what the compiler chose can be given back, and what schedules pin is in the code.

use std::collections::BTreeSet;
use tile_codegen::lower::{assemble, facts};
use tile_codegen::schedule::complete;
use tile_codegen::{compile, target};
use tile_lang::plan::Plan;
use tile_lang::schedule::Schedule;
use tile_models::kernels::library;
use tile_tests::cases;
use tile_tests::targets::fitting;

fn mlir(plan: &Plan) -> String {
    assemble(&plan.name, &plan.kernels, &facts(plan), fitting(plan).machine()).unwrap_or_else(|e| panic!("{e}")).mlir
}

#[test]
fn every_kernel_given_its_own_schedule_is_the_same_code() {
    for case in cases::representatives().unwrap_or_else(|e| panic!("{e}")) {
        let plan = &case.plan;
        let machine = fitting(plan).machine();
        let assembled = assemble(&plan.name, &plan.kernels, &facts(plan), machine);
        let assembled = assembled.unwrap_or_else(|e| panic!("{e}"));
        let chosen = complete(&assembled, machine).unwrap_or_else(|e| panic!("{e}"));
        let mut again = plan.clone();
        let text = chosen.to_string();
        again.kernels[0] = chosen.attach(again.kernels[0].clone()).unwrap_or_else(|e| panic!("{text}\n{e}"));
        assert!(mlir(&again) == assembled.mlir, "{}:\n{text}", plan.name);
    }
}

#[test]
fn schedules_of_the_library_are_in_the_code() {
    let mut seen = BTreeSet::new();
    for case in cases::all().unwrap_or_else(|e| panic!("{e}")) {
        let Some(schedule) = case.plan.kernels[0].schedule.as_deref().map(|s| s.name.clone()) else { continue };
        let compiled = compile(&case.plan, target::DEFAULT).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut plan = case.plan.clone();
        plan.schedule(0, Schedule::default()).unwrap_or_else(|e| panic!("{e}"));
        assert!(compiled.mlir != mlir(&plan), "{}: `{schedule}` changes nothing", case.name);
        let roles = case.plan.kernels[0].schedule.iter().flat_map(|s| &s.roles);
        let warps = roles.filter_map(|r| r.warps).max().unwrap_or(8) as u32;
        assert_eq!(compiled.image.threads, 128 + 32 * warps, "{}", case.name);
        match schedule.as_str() {
            "shallow" => assert_eq!(compiled.report.shared.slots, 3),
            name if name.contains("neighbours") => assert_eq!(compiled.image.cluster, 2),
            _ => assert_eq!(compiled.image.cluster, 1),
        }
        assert_eq!(compiled.image.spills, 0, "{}", case.name);
        seen.insert(schedule);
    }
    let missing = library::schedules().into_iter().find(|s| !seen.contains(s.name));
    assert!(missing.is_none(), "no case runs under {missing:?}");
}
