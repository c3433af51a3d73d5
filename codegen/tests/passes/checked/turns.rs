//! Warpgroups that start products in turns.

use super::rig::{self, checked, dense_rows, plain, under};
use tile_codegen::check;
use tile_codegen::target;
use tile_lang::plan::Plan;
use tile_lang::protocol::{Action, Group, Protocol, Turns};
use tile_lang::schedule::Schedule;
use tile_lang::sim::checked::Strategy;

/// Terms of a slot.
const BK: usize = 64;
/// Slots of the ring: the two that a product reads, the two of the one that runs on, and one more.
const SLOTS: usize = 5;

fn turns() -> Schedule {
    Schedule::new().turns(["acc"])
}

fn proved(plan: &Plan, protocol: &Protocol) -> Result<(), String> {
    let layouts = check::assignments(protocol, target::DEFAULT);
    check::program(plan, protocol, &layouts).map(|_| ()).map_err(|e| e.to_string())
}

/// No tile of rows, one and three for two CTAs; trips around the ring's size; sums that are waited for in each step, and that run on.
#[test]
fn results_are_those_without_turns() {
    for (i, schedule) in [turns(), turns().inflight("acc", 1), turns().cluster(2)].into_iter().enumerate() {
        for (rows, trips) in [60, 130, 300].into_iter().flat_map(|r| [0, 1, 2, 5, 6].map(|t| (r, t))) {
            let plan = dense_rows(rows, trips * BK, schedule.clone());
            let protocol = rig::protocol(&plan, SLOTS);
            let about = format!("schedule {i}, {rows} rows, {trips} trips");
            proved(&plan, &protocol).unwrap_or_else(|e| panic!("{about}: {e}\n{:#?}", protocol.bodies));
            let want = plain(&dense_rows(rows, trips * BK, Schedule::default()), 1);
            for (seed, strategy) in Strategy::ALL.into_iter().enumerate() {
                let got = checked(&plan, &protocol, 1, under(strategy, seed as u64, 2));
                let got = got.unwrap_or_else(|trap| panic!("{about}: {trap}"));
                assert_eq!(got, want, "{about}, {strategy}");
            }
        }
    }
}

/// A program whose warpgroups take turns, and its protocol.
fn rigged() -> (Plan, Protocol) {
    let plan = dense_rows(300, 4 * BK, turns());
    let protocol = rig::protocol(&plan, SLOTS);
    (plan, protocol)
}

/// The static checkers' code and message, and what adversaries find, each of them something: codes, and how many places are named.
fn found(edit: impl Fn(&mut Protocol)) -> (String, Vec<(&'static str, usize)>) {
    let (plan, mut protocol) = rigged();
    let before = protocol.clone();
    edit(&mut protocol);
    assert_ne!(protocol, before, "nothing was planted");
    let run = |(i, s): (usize, Strategy)| checked(&plan, &protocol, 1, under(s, i as u64, 2)).unwrap_err();
    let mut traps: Vec<_> = Strategy::ALL.into_iter().enumerate().map(run).map(|t| (t.code, t.sites.len())).collect();
    traps.sort_unstable();
    traps.dedup();
    (proved(&plan, &protocol).unwrap_err(), traps)
}

/// Changes the lists of actions of the product.
fn of_products(protocol: &mut Protocol, mut f: impl FnMut(&mut Vec<Action>)) {
    protocol.bodies[0].actions.values_mut().for_each(&mut f);
}

fn takes(a: &Action) -> bool {
    matches!(a, Action::TakeTurn { .. })
}

fn gives(a: &Action) -> bool {
    matches!(a, Action::GiveTurn { .. })
}

#[test]
fn a_turn_that_is_not_given_on_is_found() {
    let (error, traps) = found(|p| of_products(p, |list| list.retain(|a| !gives(a))));
    assert!(error.contains("E26") && error.contains("waits for its turn at named barrier 3"), "{error}");
    assert_eq!(traps, [("E92", 2)]);
}

#[test]
fn a_turn_that_is_not_waited_for_is_found() {
    let (error, traps) = found(|p| of_products(p, |list| list.retain(|a| !takes(a))));
    assert!(error.contains("E24") && error.contains("may be given again before it is taken"), "{error}");
    assert_eq!(traps, [("E89", 2)]);
}

#[test]
fn a_turn_that_is_given_twice_is_found() {
    let twice = |list: &mut Vec<Action>| {
        if let Some(at) = list.iter().position(gives) {
            list.insert(at, list[at].clone());
        }
    };
    let (error, traps) = found(|p| of_products(p, twice));
    assert!(error.contains("E24") && error.contains("may be given again before it is taken"), "{error}");
    assert_eq!(traps, [("E89", 2)]);
}

/// The first warpgroup goes first: where it gives the first turn to the second, it waits for one that nobody gives after the items.
#[test]
fn a_first_turn_of_the_wrong_warpgroup_is_found() {
    let wrong = |p: &mut Protocol| {
        let Action::GiveTurn { group, .. } = &mut p.bodies[0].before_items[0] else { panic!("no first turn") };
        assert_eq!(*group, Group::One(1));
        *group = Group::One(0);
    };
    let (error, traps) = found(wrong);
    assert!(error.contains("E24") || error.contains("E26"), "{error}");
    assert_eq!(traps, [("E92", 2)]);
}

#[test]
fn a_first_turn_that_is_not_given_is_found() {
    let (error, traps) = found(|p| p.bodies[0].before_items.clear());
    assert!(error.contains("E26") && error.contains("waits for its turn at named barrier 2"), "{error}");
    assert_eq!(traps, [("E92", 2)]);
}

/// What is left over is half of a barrier: at the next record it would complete too early.
#[test]
fn a_turn_that_is_left_over_is_found() {
    let (error, traps) = found(|p| p.bodies[0].after_items.clear());
    assert!(error.contains("E24"), "{error}");
    assert_eq!(traps, [("E89", 1)]);
}

/// Warps that meet while one warpgroup has its turn wait for those that wait for the turn.
#[test]
fn a_meeting_within_a_turn_is_found() {
    let meet = |list: &mut Vec<Action>| {
        if let Some(at) = list.iter().position(takes) {
            list.insert(at + 1, Action::Meet { id: 1, threads: 256 });
        }
    };
    let (error, traps) = found(|p| of_products(p, meet));
    assert!(
        error.contains("E26") && error.contains("waits at named barrier 1; 128 of 256 threads are there"),
        "{error}"
    );
    assert_eq!(traps, [("E92", 2)]);
}

#[test]
fn barriers_that_are_others_are_refused() {
    let at = |first: u8, groups: usize| {
        move |p: &mut Protocol| {
            of_products(p, |list| {
                for a in list {
                    if let Action::TakeTurn { turns, .. } | Action::GiveTurn { turns, .. } = a {
                        *turns = Turns { first, groups };
                    }
                }
            });
        }
    };
    for (first, groups, part) in [
        (1, 2, "named barrier 1 is where warps meet, and where a warpgroup waits for its turn"),
        (15, 2, "named barrier 16: 0 belongs to the whole CTA, and the last is 15"),
        (2, 1, "1 warpgroups take turns, 8 consumer warps are others"),
    ] {
        let (plan, mut protocol) = rigged();
        at(first, groups)(&mut protocol);
        let error = proved(&plan, &protocol).unwrap_err();
        assert!(error.contains("E32") && error.contains(part), "{error}");
    }
}
