//! Products whose first operand is made in registers part by part: what they do to the ring, with and without one that runs on.

use super::rig::{self, checked, doubled, plain, under};
use tile_codegen::check;
use tile_codegen::target;
use tile_lang::ir::OpKind;
use tile_lang::plan::Plan;
use tile_lang::protocol::{Action, At, Protocol};
use tile_lang::schedule::Schedule;
use tile_lang::sim::checked::Strategy;

/// Terms of a slot.
const BK: usize = 64;
/// Slots of the ring: the two of a step, the two of the one before, and one more.
const SLOTS: usize = 5;

fn schedules() -> [Schedule; 2] {
    [0, 1].map(|running| Schedule::new().inflight("acc", running))
}

fn proved(plan: &Plan, protocol: &Protocol) -> Result<(), String> {
    let layouts = check::assignments(protocol, target::DEFAULT);
    check::program(plan, protocol, &layouts).map(|_| ()).map_err(|e| e.to_string())
}

/// What the product does.
fn of_product(protocol: &mut Protocol) -> &mut Vec<Action> {
    let kernel = protocol.kernels[0].clone();
    let mut product = None;
    kernel.walk(|id, op| product = product.or((op.kind == OpKind::Mma).then_some(id)));
    protocol.bodies[0].actions.get_mut(&product.unwrap()).unwrap()
}

#[test]
fn each_part_is_started_by_itself() {
    let [mut waiting, mut running] = schedules().map(|s| rig::protocol(&doubled(130, 4 * BK, s), SLOTS));
    let starts = [0, 16, 32, 48].map(|at| Action::Start { terms: at..at + 16 });
    let list = of_product(&mut waiting);
    assert_eq!(
        (&list[0], &list[1..5], &list[5..]),
        (&Action::Own, &starts[..], &[Action::WaitProducts { left: 0 }][..])
    );
    // The step before is over when the first part of this one runs: only then are the registers of its last part written again.
    let list = of_product(&mut running);
    assert_eq!(list[..3], [Action::Own, starts[0].clone(), Action::WaitProducts { left: 1 }]);
    assert!(matches!(list[3], Action::Arrive { at: At::PutOffBy(_), .. }), "{list:?}");
    assert_eq!(list[4..], [&starts[1..], &[Action::WaitProducts { left: 1 }]].concat());
}

#[test]
fn results_are_those_of_the_interpreter() {
    for (i, schedule) in schedules().into_iter().enumerate() {
        for trips in [0, 1, 2, 3, 6] {
            let plan = doubled(130, trips * BK, schedule.clone());
            let protocol = rig::protocol(&plan, SLOTS);
            let about = format!("schedule {i}, {trips} trips");
            proved(&plan, &protocol).unwrap_or_else(|e| panic!("{about}: {e}"));
            let want = plain(&plan, 1);
            for (seed, strategy) in Strategy::ALL.into_iter().enumerate() {
                let got = checked(&plan, &protocol, 1, under(strategy, seed as u64, 2));
                assert_eq!(got.unwrap_or_else(|trap| panic!("{about}: {trap}")), want, "{about}, {strategy}");
            }
        }
    }
}

/// Without the wait a slot is given back that some part may still read.
#[test]
fn a_wait_that_is_missing_is_found() {
    for schedule in schedules() {
        let plan = doubled(130, 4 * BK, schedule);
        let mut protocol = rig::protocol(&plan, SLOTS);
        let list = of_product(&mut protocol);
        let first = list.iter().position(|a| matches!(a, Action::WaitProducts { .. })).unwrap();
        list.remove(first);
        let error = proved(&plan, &protocol).unwrap_err();
        assert!(error.contains("E28"), "{error}");
        let mut runs = Strategy::ALL.into_iter().enumerate();
        let trap = runs.find_map(|(i, s)| checked(&plan, &protocol, 1, under(s, i as u64, 2)).err());
        assert_eq!(trap.expect("a fault that no adversary finds").code, "E28");
    }
}

/// Whether an action starts the part from this term.
fn starts(a: &Action, term: usize) -> bool {
    matches!(a, Action::Start { terms } if terms.start == term)
}

/// A part that is left out, started twice, or out of its turn.
#[test]
fn parts_that_are_not_all_of_the_product_are_found() {
    let plan = doubled(130, 4 * BK, Schedule::new().inflight("acc", 0));
    let changes: [fn(&mut Vec<Action>); 4] = [
        |l| l.retain(|a| !starts(a, 16)),
        |l| l.retain(|a| !starts(a, 48)),
        |l| l.insert(2, l[2].clone()),
        |l| l.swap(2, 3),
    ];
    for change in changes {
        let mut protocol = rig::protocol(&plan, SLOTS);
        change(of_product(&mut protocol));
        let error = proved(&plan, &protocol).unwrap_err();
        assert!(error.contains("E28") && error.contains("of the 64 terms of a product"), "{error}");
    }
}

/// Without the last wait of a step the next one makes its first part in registers that are still read.
#[test]
fn registers_that_are_written_too_early_are_found() {
    let plan = doubled(130, 4 * BK, Schedule::new().inflight("acc", 1));
    let mut protocol = rig::protocol(&plan, SLOTS);
    assert_eq!(of_product(&mut protocol).pop(), Some(Action::WaitProducts { left: 1 }));
    let error = proved(&plan, &protocol).unwrap_err();
    assert!(error.contains("E28") && error.contains("registers of a first operand are written"), "{error}");
    let mut runs = Strategy::ALL.into_iter().enumerate();
    let trap = runs.find_map(|(i, s)| checked(&plan, &protocol, 1, under(s, i as u64, 2)).err()).unwrap();
    assert!(trap.message.contains("registers of a first operand are written"), "{trap}");
    assert_eq!(trap.sites.len(), 2, "{trap}");
}
