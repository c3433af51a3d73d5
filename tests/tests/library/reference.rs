//! Every case on the simulator against the reference: that the cases are right before a device is measured by them.

use std::collections::HashSet;
use std::ops::ControlFlow;
use tile_codegen::protocol::derive;
use tile_lang::exec::{Data, Executor};
use tile_lang::sim::checked::{CheckedExecutor, Settings, Strategy};
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::kernels::library::samples;
use tile_tests::cases::{self, Case};
use tile_tests::compare::compare;
use tile_tests::targets::fitting;

fn run(case: &Case) -> Result<String, String> {
    let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).map_err(|e| e.to_string())?;
    case.fill(&mut sim).map_err(|e| e.to_string())?;
    sim.run(0..1, 1, &mut |_| ControlFlow::Continue(())).map_err(|e| e.to_string())?;
    let errors = compare(case, &mut sim).map_err(|e| e.to_string())?;
    let text = format!("{:.1e} of {:.0e}, {} unequal", errors.largest, case.tolerance, errors.unequal);
    if errors.passed(case) { Ok(text) } else { Err(text) }
}

#[test]
fn the_simulator_computes_what_the_reference_does() {
    let mut failed = 0;
    for case in cases::all().unwrap() {
        match run(&case) {
            Ok(text) => println!("{}: {text}", case.name),
            Err(text) => {
                failed += 1;
                println!("FAILED {}: {text}", case.name);
            }
        }
    }
    assert_eq!(failed, 0, "cases failed, listed above");
}

/// Adversaries that a case meets; the cases together meet all of them many times.
const ADVERSARIES: usize = 3;

/// Runs a case's roles under some adversaries, by its number; what it writes must be what the simulator writes.
fn run_checked(case: &Case, number: usize, want: &[Data]) -> Result<(), String> {
    let protocol = derive(&case.plan, fitting(&case.plan).machine()).map_err(|e| e.to_string())?;
    for seed in number * ADVERSARIES..(number + 1) * ADVERSARIES {
        let strategy = Strategy::ALL[seed % Strategy::ALL.len()];
        let settings = Settings { seed: seed as u64, strategy: Some(strategy), ..Settings::default() };
        let made =
            CheckedExecutor::new(case.plan.clone(), &case.weights, Precision::Native, protocol.clone(), settings);
        let mut executor = made.map_err(|e| e.to_string())?;
        case.fill(&mut executor).map_err(|e| e.to_string())?;
        executor.run(0..1, 1, &mut |_| ControlFlow::Continue(())).map_err(|e| e.to_string())?;
        if contents(&mut executor)? != want {
            return Err(format!("`{strategy}` gives other numbers than the simulator"));
        }
    }
    Ok(())
}

fn contents(executor: &mut dyn Executor) -> Result<Vec<Data>, String> {
    let sizes: Vec<usize> = executor.plan().buffers.iter().map(|b| b.dims.iter().product()).collect();
    let read = |(b, n): (usize, &usize)| executor.read(b, 0, *n).map_err(|e| e.to_string());
    sizes.iter().enumerate().map(read).collect()
}

#[test]
fn the_library_runs_under_adversaries() {
    let mut failed = Vec::new();
    for (number, case) in cases::representatives().unwrap().into_iter().enumerate() {
        let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).unwrap();
        case.fill(&mut sim).unwrap();
        sim.run(0..1, 1, &mut |_| ControlFlow::Continue(())).unwrap();
        let want = contents(&mut sim).unwrap();
        failed.extend(run_checked(&case, number, &want).err().map(|e| format!("{}: {e}", case.name)));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Several products in flight, of two sums, one with its first operand in registers.
#[test]
fn attention_whose_products_overlap_runs_under_adversaries() {
    let cases: Vec<Case> = cases::all().unwrap().into_iter().filter(|c| c.name.ends_with("_overlapped")).collect();
    assert!(!cases.is_empty());
    for (number, case) in cases.iter().enumerate() {
        println!("{}: {}", case.name, run(case).unwrap());
        let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).unwrap();
        case.fill(&mut sim).unwrap();
        sim.run(0..1, 1, &mut |_| ControlFlow::Continue(())).unwrap();
        let want = contents(&mut sim).unwrap();
        run_checked(case, number, &want).unwrap();
    }
}

#[test]
fn every_kernel_has_at_least_three_cases() {
    let all = cases::all().unwrap();
    let names: HashSet<&str> = all.iter().map(|c| &*c.name).collect();
    assert_eq!(names.len(), all.len(), "names of cases are not unique");
    for sample in samples() {
        let count = all.iter().filter(|c| c.kernel == sample.def.name).count();
        assert!(count >= 3, "`{}` has {count} cases", sample.def.name);
    }
}

#[test]
fn a_wrong_result_is_found() {
    let mut found = 0;
    for case in cases::representatives().unwrap() {
        let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).unwrap();
        case.fill(&mut sim).unwrap();
        // Nothing ran: no output is as it must be, unless nothing had to be written.
        let errors = compare(&case, &mut sim).unwrap();
        assert!(!errors.passed(&case), "`{}` passes without having run", case.name);
        found += 1;
    }
    assert_eq!(found, samples().len());
}
