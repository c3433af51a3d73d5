//! Clusters that share copies, and products that run on while the next one is started.

use super::rig::{self, checked, dense_rows, plain, under};
use tile_codegen::check;
use tile_codegen::target;
use tile_lang::plan::Plan;
use tile_lang::protocol::{Action, At, Protocol, Reach, RingId};
use tile_lang::schedule::Schedule;
use tile_lang::sim::checked::{Strategy, Trap};

/// Terms of a slot.
const BK: usize = 64;
/// Slots of the ring: the two that a product reads, the two of the one that runs on, and one more.
const SLOTS: usize = 5;

fn schedules() -> [Schedule; 3] {
    let cluster = || Schedule::new().cluster(2);
    [Schedule::new().inflight("acc", 1), cluster(), cluster().inflight("acc", 1)]
}

fn proved(plan: &Plan, protocol: &Protocol) -> Result<(), String> {
    let layouts = check::assignments(protocol, target::DEFAULT);
    check::program(plan, protocol, &layouts).map(|_| ()).map_err(|e| e.to_string())
}

/// One, two and three tiles of rows: clusters that are full and one that is not; trips around the ring's size.
#[test]
fn results_are_those_without_schedules() {
    for (i, schedule) in schedules().into_iter().enumerate() {
        for rows in [60, 130, 300] {
            for trips in [0, 1, 2, 3, 5, 6, 11] {
                let plan = dense_rows(rows, trips * BK, schedule.clone());
                let protocol = rig::protocol(&plan, SLOTS);
                let about = format!("schedule {i}, {rows} rows, {trips} trips");
                proved(&plan, &protocol).unwrap_or_else(|e| panic!("{about}: {e}\n{:#?}", protocol.bodies));
                let want = plain(&dense_rows(rows, trips * BK, Schedule::default()), 1);
                assert_eq!(plain(&plan, 1), want, "{about}: plain");
                for (seed, strategy) in Strategy::ALL.into_iter().enumerate() {
                    let got = checked(&plan, &protocol, 1, under(strategy, seed as u64, 2));
                    let got = got.unwrap_or_else(|trap| panic!("{about}: {trap}"));
                    assert_eq!(got, want, "{about}, {strategy}");
                }
            }
        }
    }
}

fn trapped(plan: &Plan, protocol: &Protocol) -> Box<Trap> {
    let runs = Strategy::ALL.into_iter().enumerate();
    let mut traps = runs.filter_map(|(i, s)| checked(plan, protocol, 1, under(s, i as u64, 2)).err());
    traps.next().expect("a fault that no adversary finds")
}

fn edit(protocol: &mut Protocol, mut f: impl FnMut(&mut Vec<Action>)) {
    protocol.bodies[0].actions.values_mut().for_each(&mut f);
}

#[test]
fn a_slot_given_back_to_one_cta_alone_is_found() {
    let plan = dense_rows(300, 4 * BK, Schedule::new().cluster(2));
    let mut protocol = rig::protocol(&plan, SLOTS);
    edit(&mut protocol, |list| {
        for a in list {
            if let Action::Arrive { reach, .. } = a {
                *reach = Reach::Cta;
            }
        }
    });
    let error = proved(&plan, &protocol).unwrap_err();
    assert!(error.contains("E24") && error.contains("expects 16 arrivals in each phase, gets 8"), "{error}");
    for strategy in Strategy::ALL {
        let trap = checked(&plan, &protocol, 1, under(strategy, 3, 2)).unwrap_err();
        assert_eq!((trap.code, trap.sites.len()), ("E88", 2), "{strategy}: {trap}");
    }
}

#[test]
fn a_share_that_reaches_one_cta_alone_is_found() {
    let plan = dense_rows(300, 4 * BK, Schedule::new().cluster(2));
    let mut protocol = rig::protocol(&plan, SLOTS);
    edit(&mut protocol, |list| {
        for a in list {
            if let Action::Copy { ring: RingId::Tiles, reach, .. } = a {
                *reach = Reach::Cta;
            }
        }
    });
    let error = proved(&plan, &protocol).unwrap_err();
    assert!(error.contains("E25"), "{error}");
    // Half of what each slot of `b` expects never comes, whoever goes first: nobody can find anything else.
    for strategy in Strategy::ALL {
        for seed in 0..4 {
            let trap = checked(&plan, &protocol, 1, under(strategy, seed, 2)).unwrap_err();
            assert_eq!(trap.code, "E87", "{strategy}, seed {seed}: {trap}");
            let [waits, announces] = &trap.sites[..] else { panic!("{strategy}, seed {seed}: {trap}") };
            assert!(waits.what.contains("waits for the bytes in `dense`, item"), "{strategy}, seed {seed}: {trap}");
            assert!(
                announces.what.contains("announced 8192 bytes in `dense`, item"),
                "{strategy}, seed {seed}: {trap}"
            );
            assert!(
                trap.message.contains("4096 bytes are announced that no copy brings"),
                "{strategy}, seed {seed}: {trap}"
            );
        }
    }
}

/// CTAs that wait for their own warps alone fill slots that the other's still read.
#[test]
fn a_slot_of_another_cta_filled_too_early_is_found() {
    let plan = dense_rows(300, 4 * BK, Schedule::new().cluster(2));
    let mut protocol = rig::protocol(&plan, SLOTS);
    protocol.rings.get_mut(&RingId::Tiles).unwrap().empty_arrivals = protocol.warps;
    edit(&mut protocol, |list| {
        for a in list {
            if let Action::Arrive { reach, .. } = a {
                *reach = Reach::Cta;
            }
        }
    });
    let trap = trapped(&plan, &protocol);
    assert_eq!(trap.code, "E81", "{trap}");
    assert_eq!(trap.sites.len(), 2, "{trap}");
}

#[test]
fn a_slot_given_back_before_the_product_is_waited_for_is_found() {
    let plan = dense_rows(130, 4 * BK, Schedule::new().inflight("acc", 1));
    let mut protocol = rig::protocol(&plan, SLOTS);
    let mut moved = 0;
    edit(&mut protocol, |list| {
        let wait = list.iter().position(|a| *a == Action::WaitProducts { left: 1 });
        if let Some(at) = wait
            && matches!(list.get(at + 1), Some(Action::Arrive { at: At::PutOffBy(_), .. }))
        {
            list.swap(at, at + 1);
            moved += 1;
        }
    });
    assert_eq!(moved, 1);
    let error = proved(&plan, &protocol).unwrap_err();
    assert!(error.contains("E28"), "{error}");
    let trap = trapped(&plan, &protocol);
    assert_eq!(trap.sites.len(), 2, "{trap}");
}

#[test]
fn a_release_that_is_never_made_up_for_is_found() {
    let plan = dense_rows(130, 4 * BK, Schedule::new().inflight("acc", 1));
    let mut protocol = rig::protocol(&plan, SLOTS);
    edit(&mut protocol, |list| list.retain(|a| !matches!(a, Action::Arrive { at: At::PutOffBy(_), .. })));
    let error = proved(&plan, &protocol).unwrap_err();
    assert!(error.contains("E24"), "{error}");
    trapped(&plan, &protocol);
}
