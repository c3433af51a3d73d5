//! What the static checkers say of protocols and plans that were damaged in one place.

use super::super::checked::faults::{PRODUCT, actions, fill, op, overlapped, release, sound};
use super::super::checked::rig::{dense, protocol};
use super::super::programs::{alone, checked, library};
use super::{Case, case, message};
use tile_codegen::{check, target};
use tile_lang::ir::OpKind;
use tile_lang::plan::{Operand, Plan};
use tile_lang::protocol::{Action, Fence, Parity, Protocol, Region};

pub const CASES: &[Case] = &[
    case("E21", "an exchange area that is too small", || changed(|_, p| region(p, Region::EXCHANGE).bytes = 16)),
    case("E22", "more registers than a CTA has", || changed(|_, p| p.registers.consumer += 8)),
    case("E23", "registers in no step of eight", || changed(|_, p| p.registers.producer -= 4)),
    case("E24", "a slot that is never given back", || changed(|_, p| actions(p, PRODUCT, release).clear())),
    case("E25", "more bytes announced than copied", || {
        changed(|_, p| {
            for a in actions(p, PRODUCT, fill) {
                if let Action::Expect { bytes, .. } = a {
                    *bytes += 16;
                }
            }
        })
    }),
    case("E26", "a producer that waits for the wrong phase", || {
        changed(|_, p| {
            for a in actions(p, PRODUCT, fill) {
                if let Action::Wait { parity, .. } = a {
                    *parity = Parity::Phase;
                }
            }
        })
    }),
    case("E26", "an instruction that waits for a later one", || changed(|plan, _| plan.program[1].after = vec![2])),
    case("E27", "an instruction that waits for nothing", || changed(|plan, _| plan.program[1].after.clear())),
    case("E27", "regions over one another", || {
        changed(|_, p| {
            let onto = region(p, Region::TILES).offset;
            region(p, Region::EXCHANGE).offset = onto;
        })
    }),
    case("E27", "a tile that is read after its slot was given back", || {
        changed(|_, p| {
            let id = op(p, PRODUCT, release);
            for block in &mut p.kernels[PRODUCT].blocks {
                if let Some(at) = block.ops.iter().position(|o| *o == id) {
                    block.ops.swap(at, at - 1);
                }
            }
        })
    }),
    case("E28", "a slot given back while a product reads it", || {
        let plan = dense(3 * 64);
        let mut p = protocol(&plan, 5);
        let product = op(&p, 0, |kind| *kind == OpKind::Mma);
        if let Some(list) = p.bodies[0].actions.get_mut(&product) {
            list.retain(|a| !matches!(a, Action::WaitProducts { .. }));
        }
        message(checked(None, &p))
    }),
    case("E29", "a counter that rises without a fence", || {
        changed(|_, p| p.frame.consumer_end.retain(|a| !matches!(a, Action::Fence(Fence::Gpu, _))))
    }),
    case("E31", "a producer of half a warpgroup", || changed(|_, p| p.registers.producer_threads = 64)),
    case("E32", "half of the threads at a meeting", || {
        changed(|_, p| {
            for a in &mut p.frame.consumer_end {
                if let Action::Meet { threads, .. } = a {
                    *threads /= 2;
                }
            }
        })
    }),
    case("E37", "items that write one tile", || {
        let plan = overlapped();
        message(checked(Some(&plan), &protocol(&plan, 2)))
    }),
    case("E38", "an operand beyond its buffer", || {
        changed(|plan, _| {
            if let Operand::Buffer { offset, .. } = &mut plan.program[0].operands[1] {
                *offset += 64;
            }
        })
    }),
    case("E39", "a sum whose operands lie with other threads", || {
        let kernel = library().into_iter().find(|k| k.name == "linear").unwrap_or_else(|| panic!("no `linear`"));
        let p = alone(&kernel);
        let mut layouts = check::assignments(&p, target::DEFAULT);
        let product = op(&p, 0, |kind| *kind == OpKind::Mma);
        let sum = p.kernels[0].op(product).results[0];
        if let Some(layout) = layouts[0].native.get_mut(&sum) {
            layout.lane.reverse();
        }
        message(check::kernels(&p, &layouts))
    }),
    case("E39", "operands that a loop keeps, one over the other", || {
        let kernel = library().into_iter().find(|k| k.name == "prefill").unwrap_or_else(|| panic!("no `prefill`"));
        let p = alone(&kernel);
        let mut layouts = check::assignments(&p, target::DEFAULT);
        assert_eq!(layouts[0].kept.len(), 3, "queries are kept");
        layouts[0].kept.values_mut().for_each(|at| *at = 0);
        message(check::kernels(&p, &layouts))
    }),
];

/// What is said of a program of three instructions with one change.
fn changed(change: impl FnOnce(&mut Plan, &mut Protocol)) -> String {
    let (mut plan, mut p) = sound();
    checked(Some(&plan), &p).unwrap_or_else(|e| panic!("{e}"));
    change(&mut plan, &mut p);
    message(checked(Some(&plan), &p))
}

fn region<'a>(p: &'a mut Protocol, name: &str) -> &'a mut Region {
    p.regions.iter_mut().find(|r| r.name == name).unwrap_or_else(|| panic!("no region `{name}`"))
}

#[test]
fn messages_of_the_static_checkers() {
    insta::assert_snapshot!(super::provoked(CASES));
}
