//! What kernels say about themselves, on any executor: the same as on the simulator.

use crate::cases::Said;
use crate::compare::{Errors, compare};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tile_lang::debug::{Marked, capture};
use tile_lang::exec::{ExecError, Executor};
use tile_lang::sim::{Precision, SimExecutor};

/// Runs a case that was filled: what became of it and the texts of its tiles, sorted: items run in any order.
fn run(executor: &mut dyn Executor) -> (Result<(), ExecError>, Vec<String>) {
    let (result, mut texts) = capture(|| executor.run(0..1, 1, &mut |_| ControlFlow::Continue(())));
    texts.sort();
    (result.map(drop), texts)
}

/// The report of a failed assertion without the CTA, which the simulator has none of.
fn report(e: &ExecError) -> String {
    let text = e.to_string();
    text.lines().filter(|l| !l.trim_start().starts_with("= CTA ")).collect::<Vec<_>>().join("\n")
}

/// Runs a case as it is, and once with each of its wrong elements: tiles are shown as the simulator shows them, each assertion that doesn't
/// hold ends its run with the simulator's report, and the next run goes as if nothing had been.
///
/// # Errors
/// What was otherwise, or the device failed.
pub fn check(said: &Said, subject: &mut dyn Executor) -> Result<Errors, String> {
    let case = &said.case;
    let text = |e: ExecError| e.to_string();
    let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).map_err(text)?;
    let mut whole = |subject: &mut dyn Executor, when: &str| -> Result<Errors, String> {
        for executor in [&mut sim as &mut dyn Executor, &mut *subject] {
            case.fill(executor).map_err(text)?;
        }
        let ((wanted, want), (ended, got)) = (run(&mut sim), run(subject));
        wanted.map_err(|e| format!("the simulator: {e}"))?;
        ended.map_err(|e| format!("{when}: {e}"))?;
        if let Some(at) = (0..want.len().max(got.len())).find(|i| want.get(*i) != got.get(*i)) {
            let (want, got) = (want.get(at), got.get(at));
            return Err(format!("{when}: of {} shown tiles number {at} is {got:?}, not {want:?}", said.items));
        }
        compare(case, subject).map_err(text)
    };
    let mut errors = whole(subject, "at first")?;
    for wrong in &said.wrong {
        let mut reports = Vec::new();
        let mut other = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).map_err(text)?;
        for executor in [&mut other as &mut dyn Executor, &mut *subject] {
            case.fill(executor).map_err(text)?;
            executor.write(wrong.buffer, wrong.element, &wrong.value).map_err(text)?;
            match run(executor).0 {
                Ok(()) => return Err(format!("{:?} of {wrong:?} was not reported", wrong.reported)),
                Err(e) => reports.push(report(&e)),
            }
        }
        if reports[0] != reports[1] {
            return Err(format!("reported:\n{}\nnot, as by the simulator:\n{}", reports[1], reports[0]));
        }
        if let Some(part) = wrong.reported.iter().find(|part| !reports[1].contains(*part)) {
            return Err(format!("no `{part}` in:\n{}", reports[1]));
        }
        let after = whole(subject, "after an assertion that failed")?;
        errors.largest = errors.largest.max(after.largest);
        errors.unequal += after.unequal;
    }
    Ok(errors)
}

/// Checks a run's marks: each item passed all of them once, in order, on one CTA.
///
/// # Errors
/// The first item that did otherwise.
pub fn check_marks(said: &Said, marks: &[Marked]) -> Result<(), String> {
    let mut by_item: BTreeMap<&[usize], Vec<&Marked>> = BTreeMap::new();
    for mark in marks {
        by_item.entry(&mark.item).or_default().push(mark);
    }
    for item in 0..said.items {
        let mut passed = by_item.remove(&[item][..]).unwrap_or_default();
        passed.sort_by_key(|m| m.clock);
        let names: Vec<&str> = passed.iter().map(|m| m.name.as_str()).collect();
        if names != said.marks || passed.iter().any(|m| m.cta != passed[0].cta) {
            return Err(format!("item {item} passed {passed:?}, not {:?} on one CTA", said.marks));
        }
    }
    match by_item.into_keys().next() {
        None => Ok(()),
        Some(item) => Err(format!("marks of item {item:?}, and there are {}", said.items)),
    }
}
