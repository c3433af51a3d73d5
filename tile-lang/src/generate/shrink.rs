//! Making a program that fails smaller.

use super::{Pin, Program, Step};

/// The smallest program found that still fails, by dropping steps and decisions of the schedule, opening
/// blocks and simplifying choices, until nothing helps.
/// `fails` must hold for the program at hand.
pub fn shrink(program: &Program, mut fails: impl FnMut(&Program) -> bool) -> Program {
    let mut best = program.clone();
    loop {
        let smaller = candidates(&best).into_iter().find(|p| fails(p));
        match smaller {
            Some(p) => best = p,
            None => return best,
        }
    }
}

/// Programs that are a little smaller, the much smaller ones first.
fn candidates(p: &Program) -> Vec<Program> {
    let with = |steps| Program { steps, ..p.clone() };
    let mut out: Vec<Program> = pins(&p.pins).into_iter().map(|pins| Program { pins, ..p.clone() }).collect();
    out.extend(lists(&p.steps).into_iter().map(with));
    for (m, n, k, items) in [(16, 8, 32, [1, 1]), (16, 16, 32, [1, 1]), (16, 16, 32, [2, 1])] {
        let shape = super::Shape { m, n, k, items };
        let area = |s: super::Shape| s.m * s.n * s.k * s.items[0] * s.items[1];
        if area(shape) < area(p.shape) {
            out.push(Program { shape, ..p.clone() });
        }
    }
    out
}

/// Schedules that pin less: nothing at first, then without one decision each, then with simpler choices.
fn pins(pins: &[Pin]) -> Vec<Vec<Pin>> {
    let mut out = if pins.len() > 1 { vec![Vec::new()] } else { Vec::new() };
    out.extend((0..pins.len()).map(|i| [&pins[..i], &pins[i + 1..]].concat()));
    for (i, pin) in pins.iter().enumerate() {
        for (j, value) in pin.pick.into_iter().enumerate() {
            let simpler = [0, value / 2, value.saturating_sub(1)].into_iter().filter(|v| *v < value);
            out.extend(simpler.map(|v| {
                let mut list = pins.to_vec();
                list[i].pick[j] = v;
                list
            }));
        }
    }
    out
}

/// Smaller lists of steps.
fn lists(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut out = Vec::new();
    for half in [steps.len() / 2, steps.len() / 4] {
        if half > 1 {
            out.extend((0..steps.len()).step_by(half).map(|i| {
                let end = (i + half).min(steps.len());
                [&steps[..i], &steps[end..]].concat()
            }));
        }
    }
    for i in 0..steps.len() {
        out.push([&steps[..i], &steps[i + 1..]].concat());
    }
    let replaced = |i: usize, with: Vec<Step>| [&steps[..i], &with[..], &steps[i + 1..]].concat();
    for (i, step) in steps.iter().enumerate() {
        if !(step.body.is_empty() && step.other.is_empty()) {
            out.push(replaced(i, [&step.body[..], &step.other[..]].concat()));
        }
        let inner = lists(&step.body).into_iter().map(|body| Step { body, ..step.clone() });
        let inner = inner.chain(lists(&step.other).into_iter().map(|other| Step { other, ..step.clone() }));
        out.extend(inner.map(|s| replaced(i, vec![s])));
        for (j, value) in step.pick.into_iter().enumerate().filter(|(_, v)| *v > 0) {
            let mut pick = step.pick;
            for smaller in [0, value / 2, value - 1] {
                if smaller < value {
                    pick[j] = smaller;
                    out.push(replaced(i, vec![Step { pick, ..step.clone() }]));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Decision, Make};

    #[test]
    fn only_what_fails_is_left() {
        fn holds(steps: &[Step]) -> bool {
            steps.iter().any(|s| s.make == Make::Reduce || holds(&s.body) || holds(&s.other))
        }
        let large = (0..).map(Program::random).find(|p| p.size() > 20 && holds(&p.steps)).expect("one of them");
        let small = shrink(&large, |p| holds(&p.steps));
        assert_eq!((small.size(), small.steps[0].make, small.steps[0].pick), (1, Make::Reduce, [0; 4]));
        assert!(small.pins.is_empty());
    }

    #[test]
    fn a_schedule_that_fails_is_left_with_what_it_needs() {
        let fails = |p: &Program| {
            let schedule = p.kernel().schedule;
            schedule.is_some_and(|s| s.rings.iter().any(|r| r.ops.len() > 1))
        };
        let large = (0..).map(Program::random).find(|p| p.pins.len() > 2 && fails(p)).expect("one of them");
        let small = shrink(&large, fails);
        assert_eq!(small.pins.iter().map(|p| p.decision).collect::<Vec<_>>(), [Decision::Ring]);
        assert!(small.size() <= 2, "two loads: {small:?}");
    }
}
