//! What the checked simulator says: one planted fault for each of its codes. That every adversary finds them is tested where the
//! faults are (`checked/faults.rs`).

use super::super::checked::faults::{PRODUCT, actions, fill, op, overlapped, picked, release, sound};
use super::super::checked::rig::{checked, dense, protocol, under};
use super::{Case, case, message};
use tile_lang::ir::OpKind;
use tile_lang::plan::Plan;
use tile_lang::protocol::{Action, Protocol, RingId};
use tile_lang::sim::checked::{Settings, Strategy};

pub const CASES: &[Case] = &[
    case("E28", "a slot given back while a product reads it", || {
        let plan = dense(3 * 64);
        let mut p = protocol(&plan, 5);
        let product = op(&p, 0, |kind| *kind == OpKind::Mma);
        if let Some(list) = p.bodies[0].actions.get_mut(&product) {
            list.retain(|a| !matches!(a, Action::WaitProducts { .. }));
        }
        trapped(&plan, &p)
    }),
    case("E80", "a dependency that is missing", || changed(|plan, _| plan.program[1].after.clear())),
    case("E81", "warps that don't meet between write and read", || {
        changed(|_, p| {
            for list in p.bodies[PRODUCT].actions.values_mut() {
                let written = |w: &[Action]| matches!(w, [Action::ExchangeWrite { .. }, Action::Meet { .. }]);
                while let Some(at) = list.windows(2).position(written) {
                    list.remove(at + 1);
                }
            }
        })
    }),
    case("E82", "two items that write one tile", || {
        let plan = overlapped();
        let p = protocol(&plan, 2);
        trapped(&plan, &p)
    }),
    case("E83", "bytes that no copy brought", || {
        changed(|_, p| {
            for a in actions(p, PRODUCT, fill) {
                if let Action::Expect { bytes, .. } | Action::Copy { bytes, .. } = a {
                    *bytes /= 2;
                }
            }
        })
    }),
    case("E84", "an index outside of an array", || {
        let plan = picked(32);
        let p = protocol(&plan, 2);
        trapped(&plan, &p)
    }),
    case("E85", "a slot read after it was given back", || {
        changed(|_, p| {
            let id = op(p, PRODUCT, release);
            for block in &mut p.kernels[PRODUCT].blocks {
                if let Some(at) = block.ops.iter().position(|o| *o == id) {
                    block.ops.swap(at, at - 1);
                }
            }
        })
    }),
    case("E86", "a copy into a slot that was handed on", || {
        changed(|_, p| {
            let list = actions(p, PRODUCT, fill);
            if let Some(at) = list.iter().position(|a| matches!(a, Action::Copy { .. })) {
                list.swap(at, at + 1);
            }
        })
    }),
    case("E87", "more bytes announced than copied", || {
        changed(|_, p| {
            for a in actions(p, PRODUCT, fill) {
                if let Action::Expect { bytes, .. } = a {
                    *bytes += 16;
                }
            }
        })
    }),
    case("E88", "a slot that is never given back", || changed(|_, p| actions(p, PRODUCT, release).clear())),
    case("E89", "a slot that is given back twice", || {
        changed(|_, p| {
            let list = actions(p, PRODUCT, release);
            list.extend(list.clone());
        })
    }),
    case("E90", "a cursor that moves too far", || {
        changed(|_, p| {
            let store = op(p, PRODUCT, |k| matches!(k, OpKind::Store));
            let list = p.bodies[PRODUCT].actions.entry(store).or_insert_with(|| vec![Action::Own]);
            list.push(Action::Advance(RingId::Tiles));
        })
    }),
    case("E91", "no fence between registers and copies", || {
        changed(|_, p| {
            p.frame.producer_depends.retain(|a| !matches!(a, Action::Fence(..)));
            p.frame.consumer_copied_later.clear();
        })
    }),
    case("E92", "a counter that nobody raises", || {
        changed(|_, p| p.frame.consumer_end.retain(|a| *a != Action::Raise))
    }),
    case("E93", "a CTA that is not resident", || {
        let (plan, p) = sound();
        let settings = Settings { ctas: 3, resident: 2, ..under(Strategy::Random, 7, 3) };
        message(checked(&plan, &p, 4, settings))
    }),
    case("E94", "counters in the wrong order", || changed(|plan, _| plan.program[1].after = vec![2])),
    case("E95", "half of the threads at a meeting", || {
        changed(|_, p| {
            for a in &mut p.frame.consumer_end {
                if let Action::Meet { threads, .. } = a {
                    *threads /= 2;
                }
            }
        })
    }),
];

fn trapped(plan: &Plan, p: &Protocol) -> String {
    message(checked(plan, p, 4, under(Strategy::Random, 7, 2)))
}

/// What a program of three instructions with one change runs into.
fn changed(change: impl FnOnce(&mut Plan, &mut Protocol)) -> String {
    let (mut plan, mut p) = sound();
    change(&mut plan, &mut p);
    trapped(&plan, &p)
}

#[test]
fn messages_of_the_checked_simulator() {
    insta::assert_snapshot!(super::provoked(CASES));
}
