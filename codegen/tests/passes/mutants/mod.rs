//! Mutation tests: wrong programs must be rejected.
//!
//! Every library kernel, the frame around the bodies and the shipped model's plan are changed in one place at a time. A mutant that
//! behaves as the original does not count ([`same`] says why it does); of the others at least [`LEAST`] percent must be
//! rejected. Those that are accepted are listed in the snapshot, each with the reason.

mod generate;

use crate::programs::{alone, checked, library, model};
use generate::{Edit, Mutation, Site};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;
use tile_codegen::check;
use tile_lang::ir::{Access, Type, ValueId};
use tile_lang::plan::Plan;
use tile_lang::protocol::{Action, Barrier, Fence, Protocol, Side, Who};

/// Percent of the mutants with another behaviour that must be rejected.
const LEAST: f64 = 95.0;

/// Why a mutant behaves as the original, where that follows from the change alone.
fn same(p: &Protocol, m: &Mutation) -> Option<&'static str> {
    let Mutation::Action(site, at, edit, action) = m else { return None };
    let after = || match site {
        Site::Op(k, op) => p.bodies[*k].actions[op].get(at + 1).cloned(),
        Site::Entry(k, block) => p.bodies[*k].entries[block].get(at + 1).cloned(),
        Site::Frame("fetch") => p.frame.fetch.get(at + 1).cloned(),
        Site::Frame("consumer_begin") => p.frame.consumer_begin.get(at + 1).cloned(),
        Site::Frame(_) => None,
    };
    match (edit, action) {
        (Edit::Repeat, Action::Wait { .. }) => Some("the phase is over: a second wait for it returns at once"),
        (Edit::Repeat, Action::Fence(..)) => Some("a second fence orders nothing more"),
        (Edit::Repeat, Action::Meet { .. }) => Some("a second meeting orders nothing more"),
        (Edit::Repeat, Action::WaitCounters | Action::WaitLast) => Some("the counters have reached their targets"),
        (Edit::Repeat, Action::ExchangeWrite { .. } | Action::ExchangeRead { .. }) => {
            Some("the same registers once more")
        }
        (Edit::Replace("by others", Action::Fence(_, Who::EachWarp)), _) => Some("more warps fence than need to"),
        (Edit::Repeat, Action::Keep { .. }) => Some("the same bytes once more"),
        (Edit::Delete, Action::Keep { .. }) => Some("nothing is written, so nothing has to be handed on"),
        (Edit::Repeat, Action::Start) => Some("the same product is noted twice"),
        (Edit::Swap, Action::Own) if matches!(after(), Some(Action::Meet { .. })) && keeps_to_itself(p, site) => {
            Some("what the op computes, or reads of data that nobody writes meanwhile, needs no order")
        }
        (Edit::Swap, a) => match (a, after()?) {
            (Action::Copy { .. }, Action::Copy { .. }) => Some("copies of a slot have no order"),
            (Action::Expect { .. }, Action::Copy { .. }) => {
                Some("the arrival that is still to come keeps the phase open")
            }
            (Action::Wait { .. }, Action::Own) | (Action::Own, Action::Advance(_)) => {
                Some("a wait has no work of its own")
            }
            (Action::Arrive { barrier, .. }, Action::Meet { .. }) if barrier.side == Side::Full => {
                Some("the producer is told a little later")
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether an op touches no memory that some warp may write meanwhile: arrays that its kernel writes.
fn keeps_to_itself(p: &Protocol, site: &Site) -> bool {
    let Site::Op(k, op) = site else { return false };
    let kernel = &p.kernels[*k];
    let op = kernel.op(*op);
    let written = |v: &ValueId| matches!(kernel.ty(*v), Type::Global(_, _, Access::Write));
    op.blocks.is_empty() && !op.operands.iter().any(written)
}

/// Why a mutant that is accepted is not wrong, as far as known.
fn reason(m: &Mutation) -> Option<&'static str> {
    let (site, edit, action) = match m {
        Mutation::Flag(_, "copied_later") => {
            return Some("the kernel only reads what is copied later, it writes none of it");
        }
        Mutation::Action(site, _, edit, action) => (site, edit, action),
        _ => return None,
    };
    match (edit, action) {
        (Edit::Delete, Action::Meet { .. }) if matches!(site, Site::Frame("decide")) => {
            Some("the warps meet at every record before the verdict is written again")
        }
        (Edit::Delete | Edit::Swap, Action::Meet { .. }) => {
            Some("other meetings order the same accesses, or one thread makes them")
        }
        (Edit::Delete, Action::WaitProducts { .. }) => Some(
            "the next product adds to the same sum, and is waited for before that is read and any slot is given back",
        ),
        (_, Action::Fence(Fence::ProxyAsync, _)) | (Edit::Swap, Action::Keep { .. })
            if matches!(site, Site::Op(..)) =>
        {
            Some("an operand that is kept later has a fence of its own, before the products of both")
        }
        (Edit::Swap, Action::Own) => Some("no access of another op relied on this order"),
        (Edit::Swap, Action::Wait { barrier: Barrier { side: Side::Empty, .. }, .. }) => {
            Some("the phase before is known to be over, and the copies still wait for the slot")
        }
        (Edit::Delete | Edit::Replace("other barrier", _), Action::Wait { barrier, .. })
            if barrier.side == Side::Empty && matches!(site, Site::Op(..)) =>
        {
            Some("the wait before it is for a slot that every warp gives back later than this one")
        }
        _ => None,
    }
}

/// How many there were, and what was accepted.
#[derive(Default)]
struct Score {
    rejected: usize,
    accepted: Vec<(String, Mutation)>,
    same: BTreeMap<&'static str, usize>,
}

impl Score {
    fn add(&mut self, name: &str, p: &Protocol, m: &Mutation, rejected: bool) {
        match (rejected, same(p, m)) {
            (true, _) => self.rejected += 1,
            (false, Some(why)) => *self.same.entry(why).or_default() += 1,
            (false, None) => self.accepted.push((name.to_owned(), m.clone())),
        }
    }
}

/// A program to change: its name, its plan if that counts, its protocol, and the changes.
struct Subject {
    name: String,
    plan: Option<Plan>,
    protocol: Protocol,
    mutations: Vec<Mutation>,
}

fn subjects() -> Vec<Subject> {
    let mut out = Vec::new();
    for kernel in library() {
        let protocol = alone(&kernel);
        let mut mutations = generate::of_bodies(&protocol);
        // The frame and the map are those of every kernel: one with dependent copies shows all of them.
        if kernel.name == "attention" {
            mutations.extend(generate::of_frame(&protocol));
            mutations.extend(generate::of_resources(&protocol));
        }
        out.push(Subject { name: kernel.name.clone(), plan: None, protocol, mutations });
    }
    let (plan, protocol) = model("models/pico");
    out.push(Subject {
        name: "pico".into(),
        mutations: generate::of_flags(&protocol),
        plan: Some(plan.clone()),
        protocol: protocol.clone(),
    });
    // The order of instructions is checked without their kernels' protocol.
    let bare = Protocol { kernels: Vec::new(), bodies: Vec::new(), ..protocol };
    out.push(Subject { name: "pico".into(), mutations: generate::of_plan(&plan), plan: Some(plan), protocol: bare });
    out
}

fn rejected(s: &Subject, m: &Mutation) -> bool {
    let protocol = generate::protocol(&s.protocol, m);
    match &s.plan {
        Some(plan) => check::program(&generate::plan(plan, m), &protocol, &[]).is_err(),
        None => check::kernels(&protocol, &[]).is_err(),
    }
}

#[test]
fn wrong_programs_are_rejected() {
    let begin = Instant::now();
    let subjects = subjects();
    for s in &subjects {
        let sound = checked(s.plan.as_ref(), &s.protocol);
        assert!(sound.is_ok(), "{}: {}", s.name, sound.unwrap_err());
    }
    let score = Mutex::new(Score::default());
    let work: Vec<(&Subject, &Mutation)> =
        subjects.iter().flat_map(|s| s.mutations.iter().map(move |m| (s, m))).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((s, m)) = work.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let rejected = rejected(s, m);
                    score.lock().unwrap().add(&s.name, &s.protocol, m, rejected);
                }
            });
        }
    });
    let score = score.into_inner().unwrap();
    let same: usize = score.same.values().sum();
    let counted = score.rejected + score.accepted.len();
    let percent = 100.0 * score.rejected as f64 / counted as f64;
    println!(
        "{} mutants in {:.1?}: {same} behave the same, {} of {counted} others rejected: {percent:.2} %",
        work.len(),
        begin.elapsed(),
        score.rejected
    );
    let (mut lines, mut unexplained) = (BTreeSet::new(), 0);
    for (name, m) in &score.accepted {
        unexplained += usize::from(reason(m).is_none());
        let why = reason(m).unwrap_or("not explained");
        println!("accepted in {name}: {m:?}: {why}");
        lines.insert(format!("{}: {why}", m.kind()));
    }
    assert_eq!(unexplained, 0, "accepted mutants without a reason, listed above");
    assert!(percent >= LEAST, "{percent:.2} % of the mutants that change behaviour are rejected");
    let text: Vec<String> = lines.into_iter().collect();
    insta::assert_snapshot!(text.join("\n"));
}
