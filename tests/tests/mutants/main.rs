//! Mutation tests: wrong programs must be rejected, or trapped when they run.
//!
//! Every library kernel, the frame around the bodies and the shipped model's plan are changed in one place at a time. What the static
//! checkers accept runs on the checked simulator, on the library's cases of the kernel or on the model. A mutant that behaves as
//! the original by the change alone does not count ([`judge::same`]), and running it must not show anything else; of the others at least
//! [`LEAST`] percent must be rejected or trapped. Those that are neither are listed in the snapshot, each with the reason.

mod generate;
mod judge;
mod run;

use generate::Mutation;
use run::{Outcome, Program, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tile_codegen::lower::{self, Machine, ParamFacts};
use tile_codegen::{check, protocol, target};
use tile_lang::ir::Kernel;
use tile_lang::plan::Plan;
use tile_lang::protocol::Protocol;
use tile_models::graph::GraphOptions;
use tile_models::kernels::library::samples;
use tile_tests::cases;
use tile_tests::model::Model;

/// Percent of the mutants that don't behave the same by the change alone which must be rejected or trapped.
const LEAST: f64 = 95.0;
/// Cases of a kernel that an accepted mutant runs on, of different shapes.
const CASES: usize = 2;
/// Adversaries for each case and each size of the ring.
const ADVERSARIES: u64 = 2;

/// A program to change: its name, its plan if that counts, its protocol, and the changes; with what runs it, if anything does.
struct Subject {
    name: String,
    plan: Option<Plan>,
    protocol: Protocol,
    mutations: Vec<Mutation>,
    trials: Vec<Trial>,
}

/// The protocol of one kernel with nothing known of its arguments; what it writes is copied later, so that it needs every fence.
fn alone(kernel: &Kernel) -> Protocol {
    let facts = vec![ParamFacts { dims: None, aligned: 64, copied_later: true }; kernel.params.len()];
    let kernels = std::slice::from_ref(kernel);
    let machine = target::first_for(kernels).unwrap_or(target::DEFAULT).machine();
    lower::assemble(&kernel.name, kernels, &[facts], machine).unwrap().protocol
}

fn subjects() -> Vec<Subject> {
    let mut out = Vec::new();
    let mut cases: Vec<cases::Case> = cases::all().unwrap().into_iter().filter(|c| !c.large).collect();
    for sample in samples() {
        let kernel = sample.def.instance(&sample.generics).unwrap();
        let protocol = alone(&kernel);
        let mut mutations = generate::of_bodies(&protocol);
        // The frame and the map are those of every kernel: one with dependent copies shows all of them.
        if kernel.name == "attention" {
            mutations.extend(generate::of_frame(&protocol));
            mutations.extend(generate::of_resources(&protocol));
        }
        let mut trials = Vec::new();
        while let Some(at) = cases.iter().position(|c| trials.len() < CASES && c.plan.kernels[0] == kernel) {
            trials.push(Trial::new(Program::Case(Box::new(cases.remove(at)))));
        }
        out.push(Subject { name: kernel.name.clone(), plan: None, protocol, mutations, trials });
    }
    let model = Model::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pico")).unwrap();
    let plan = model.plan(GraphOptions { context: 256, ..GraphOptions::default() }).unwrap();
    let protocol = protocol::derive(&plan, Machine::SM_90A).unwrap();
    let trials = vec![Trial::new(Program::Model(Box::new(model), Box::new(plan.clone())))];
    out.push(Subject {
        name: "pico".into(),
        mutations: generate::of_flags(&protocol),
        plan: Some(plan.clone()),
        protocol: protocol.clone(),
        trials,
    });
    // The order of instructions is checked without their kernels' protocol.
    let bare = Protocol { kernels: Vec::new(), bodies: Vec::new(), ..protocol };
    let mutations = generate::of_plan(&plan);
    out.push(Subject { name: "pico".into(), mutations, plan: Some(plan), protocol: bare, trials: Vec::new() });
    out
}

fn rejected(s: &Subject, m: &Mutation) -> bool {
    let protocol = generate::protocol(&s.protocol, m);
    match &s.plan {
        Some(plan) => check::program(&generate::plan(plan, m), &protocol, &[]).is_err(),
        None => check::kernels(&protocol, &[]).is_err(),
    }
}

/// What became of a mutant.
enum Verdict {
    /// Static checkers reject it.
    Rejected,
    /// It behaves as the original, by the change alone.
    Same(&'static str, Outcome),
    /// It is accepted: what running it shows, and why it is not wrong.
    Accepted(Outcome, Option<&'static str>),
}

fn judged(s: &Subject, m: &Mutation) -> Verdict {
    if rejected(s, m) {
        return Verdict::Rejected;
    }
    assert!(!s.trials.is_empty(), "{}: {m:?} is accepted, and nothing runs it", s.name);
    if let Some(why) = judge::same(&s.protocol, m) {
        return Verdict::Same(why, s.trials[0].once(&s.protocol, m));
    }
    let mut outcomes = s.trials.iter().map(|t| t.outcome(&s.protocol, m, ADVERSARIES));
    let outcome = outcomes.find(|o| *o != Outcome::Equal).unwrap_or(Outcome::Equal);
    Verdict::Accepted(outcome, judge::reason(&s.protocol, m))
}

/// Does all work items on all cores; results in order.
fn all<T: Sync, R: Send>(work: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = work.get(i) else { break };
                    let result = f(item);
                    done.lock().unwrap().push((i, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, r)| r).collect()
}

#[test]
fn wrong_programs_are_rejected_or_trapped() {
    let begin = Instant::now();
    let subjects = subjects();
    for s in &subjects {
        let sound = match &s.plan {
            Some(plan) => check::program(plan, &s.protocol, &[]),
            None => check::kernels(&s.protocol, &[]),
        };
        assert!(sound.is_ok(), "{}: {}", s.name, sound.unwrap_err());
    }
    let work: Vec<(&Subject, &Mutation)> =
        subjects.iter().flat_map(|s| s.mutations.iter().map(move |m| (s, m))).collect();
    let verdicts = all(&work, |(s, m)| judged(s, m));

    let (mut rejected, mut same, mut strict, mut wrong) = (0, BTreeMap::<&str, usize>::new(), 0, 0);
    let (mut trapped, mut equal, mut differ, mut lines) = (0, 0, 0, BTreeSet::new());
    for ((s, m), verdict) in work.iter().zip(&verdicts) {
        match verdict {
            Verdict::Rejected => rejected += 1,
            Verdict::Same(why, outcome) => {
                *same.entry(why).or_default() += 1;
                match outcome {
                    Outcome::Equal => {}
                    // The simulator asks for more order than the hardware.
                    Outcome::Trapped(code) => {
                        strict += 1;
                        lines.insert(format!("{}: the same by the change alone, trapped, {code}", m.kind()));
                    }
                    Outcome::Differs => {
                        wrong += 1;
                        println!("not the same in {}: {m:?}, but {why}", s.name);
                    }
                }
            }
            Verdict::Accepted(outcome, why) => {
                let why = why.unwrap_or("not explained");
                println!("accepted in {}: {m:?}: {outcome:?}: {why}", s.name);
                match outcome {
                    Outcome::Trapped(code) => {
                        trapped += 1;
                        lines.insert(format!("{}: trapped, {code}", m.kind()));
                        continue;
                    }
                    Outcome::Equal => equal += 1,
                    Outcome::Differs => differ += 1,
                }
                wrong += usize::from(why == "not explained" || *outcome == Outcome::Differs);
                lines.insert(format!("{}: {outcome:?}: {why}", m.kind()));
            }
        }
    }
    let behaves: usize = same.values().sum();
    let counted = rejected + trapped + equal + differ;
    let percent = 100.0 * (rejected + trapped) as f64 / counted as f64;
    println!(
        "{} mutants in {:.1?}: {behaves} behave the same by the change alone, {strict} of them trapped; of the other {counted}, {rejected} \
         are rejected, {trapped} trapped, {equal} give equal results, {differ} others: {percent:.2} %",
        work.len(),
        begin.elapsed()
    );
    same.iter().for_each(|(why, n)| println!("{n:>5} {why}"));
    assert_eq!(wrong, 0, "accepted mutants without a reason or with other results, listed above");
    assert!(percent >= LEAST, "{percent:.2} % of the mutants are rejected or trapped");
    let text: Vec<String> = lines.into_iter().collect();
    insta::assert_snapshot!(text.join("\n"));
}
