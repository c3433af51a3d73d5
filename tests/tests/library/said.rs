//! What kernels say about themselves: the cases of the device suite on the simulators, and that the checks see what is otherwise.

use tile_codegen::protocol::derive;
use tile_lang::debug::{Marked, capture};
use tile_lang::exec::{Data, ExecError, Executor, Mailbox, RunStats};
use tile_lang::plan::Plan;
use tile_lang::sim::checked::{CheckedExecutor, Settings};
use tile_lang::sim::{Precision, SimExecutor};
use tile_tests::cases::{self, Said};
use tile_tests::said::{check, check_marks};
use tile_tests::targets::fitting;

fn sim(said: &Said) -> SimExecutor {
    let case = &said.case;
    SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn assertions_and_shown_tiles_are_the_simulator_s() {
    for said in cases::said().unwrap_or_else(|e| panic!("{e}")) {
        let errors = check(&said, &mut sim(&said)).unwrap_or_else(|e| panic!("{}: {e}", said.case.name));
        assert!(errors.passed(&said.case), "{}: {errors:?}", said.case.name);
    }
}

/// In roles, under an adversary: what was asserted is reported for the same item, element and values.
#[test]
fn assertions_in_roles_are_the_simulator_s() {
    let said = cases::said().unwrap_or_else(|e| panic!("{e}")).swap_remove(0);
    let case = &said.case;
    let protocol = derive(&case.plan, fitting(&case.plan).machine()).unwrap_or_else(|e| panic!("{e}"));
    let settings = Settings { seed: 3, ..Settings::default() };
    let made = CheckedExecutor::new(case.plan.clone(), &case.weights, Precision::Native, protocol, settings);
    let mut checked = made.unwrap_or_else(|e| panic!("{e}"));
    for wrong in &said.wrong {
        case.fill(&mut checked).unwrap_or_else(|e| panic!("{e}"));
        checked.write(wrong.buffer, wrong.element, &wrong.value).unwrap_or_else(|e| panic!("{e}"));
        // Captured, so that nothing of it comes among what another test captures.
        let (ran, _) = capture(|| checked.run(0..1, 1, &mut |_| std::ops::ControlFlow::Continue(())));
        let text = ran.map(drop).unwrap_err().to_string();
        for part in &wrong.reported {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
    }
}

/// A simulator that reports or computes otherwise.
struct Twisted {
    sim: SimExecutor,
    /// Runs that fail are told as if they had not.
    silent: bool,
    /// Added to what is written to the first buffer.
    added: f32,
}

impl Executor for Twisted {
    fn plan(&self) -> &Plan {
        self.sim.plan()
    }

    fn device(&self) -> String {
        self.sim.device()
    }

    fn write(&mut self, buffer: usize, offset: usize, data: &Data) -> Result<(), ExecError> {
        match data {
            Data::F32(x) => self.sim.write(buffer, offset, &Data::F32(x.iter().map(|x| x + self.added).collect())),
            other => self.sim.write(buffer, offset, other),
        }
    }

    fn read(&mut self, buffer: usize, offset: usize, len: usize) -> Result<Data, ExecError> {
        self.sim.read(buffer, offset, len)
    }

    fn run(
        &mut self,
        range: std::ops::Range<usize>,
        max_passes: usize,
        observe: &mut dyn FnMut(&mut dyn Mailbox) -> std::ops::ControlFlow<()>,
    ) -> Result<RunStats, ExecError> {
        match self.sim.run(range, max_passes, observe) {
            Err(_) if self.silent => Ok(RunStats::default()),
            other => other,
        }
    }
}

#[test]
fn what_is_said_otherwise_is_found() {
    let said = cases::said().unwrap_or_else(|e| panic!("{e}")).swap_remove(0);
    let mut silent = Twisted { sim: sim(&said), silent: true, added: 0.0 };
    let text = check(&said, &mut silent).unwrap_err();
    assert!(text.contains("was not reported"), "{text}");
    let mut other = Twisted { sim: sim(&said), silent: false, added: 1.0 };
    let text = check(&said, &mut other).unwrap_err();
    assert!(text.starts_with("at first: of 5 shown tiles number "), "{text}");
}

#[test]
fn marks_out_of_order_are_found() {
    let said = cases::said().unwrap_or_else(|e| panic!("{e}")).swap_remove(0);
    let mark = |name: &str, item: usize, clock: u64| Marked {
        name: name.into(),
        record: 0,
        cta: item % 2,
        item: vec![item],
        clock,
        nanoseconds: 10 * clock,
    };
    let all = || -> Vec<Marked> {
        let of = |item: usize| [mark("load", item, 100 * item as u64), mark("store", item, 100 * item as u64 + 7)];
        (0..said.items).flat_map(of).collect()
    };
    check_marks(&said, &all()).unwrap_or_else(|e| panic!("{e}"));
    let wrong = |change: fn(&mut Vec<Marked>)| {
        let mut marks = all();
        change(&mut marks);
        check_marks(&said, &marks).unwrap_err()
    };
    assert!(wrong(|m| m[2].clock = 1000).starts_with("item 1 passed"));
    assert!(wrong(|m| drop(m.remove(5))).starts_with("item 2 passed"));
    assert!(wrong(|m| m[1].cta = 9).starts_with("item 0 passed"));
    assert!(wrong(|m| m.push(m[0].clone())).starts_with("item 0 passed"));
    assert!(wrong(|m| m.push(Marked { item: vec![77], ..m[0].clone() })).starts_with("marks of item [77]"));
}
