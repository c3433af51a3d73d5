//! Operands that are kept in shared memory for the products of a loop: written through registers, handed on by a fence and a
//! meeting, read until the products are waited for.

use super::faults::trapped;
use super::kernels;
use super::rig::{self, Rig, checked, plain, under};
use tile_codegen::{check, target};
use tile_lang::dtype::DType;
use tile_lang::ir::ValueId;
use tile_lang::plan::{ElementRef, Plan};
use tile_lang::protocol::{Action, Fence, Protocol, Who};
use tile_lang::sim::checked::Strategy;

/// Slots of the ring.
const SLOTS: usize = 3;

/// `trips` blocks of `b`, and rows for five items, the last one not full: three for one of two CTAs.
fn plan(trips: usize) -> Plan {
    let mut rig = Rig::new();
    let stop = rig.buffer("passes", DType::I32, &[2]);
    let a = rig.buffer("a", DType::Bf16, &[600, 128]);
    let b = rig.buffer("b", DType::Bf16, &[trips * 64, 128]);
    let y = rig.buffer("y", DType::F32, &[600, 64]);
    rig.plan.stop = ElementRef { buffer: stop, element: 1 };
    let operands = [a, b, y].map(|id| rig.whole(id)).to_vec();
    rig.push(kernels::kept::instance().unwrap(), operands, "kept");
    rig.linked()
}

fn program() -> (Plan, Protocol) {
    let plan = plan(2);
    let protocol = rig::protocol(&plan, SLOTS);
    (plan, protocol)
}

/// What the static checkers say.
fn refused(plan: &Plan, protocol: &Protocol) -> String {
    let layouts = check::assignments(protocol, target::DEFAULT);
    check::program(plan, protocol, &layouts).map(|_| ()).unwrap_err().to_string()
}

/// Changes every list of actions.
fn edit(protocol: &mut Protocol, mut f: impl FnMut(&mut Vec<Action>)) {
    protocol.bodies[0].actions.values_mut().for_each(&mut f);
}

/// The lists of ops that keep something.
fn keepers(list: &[Action]) -> bool {
    list.iter().any(|a| matches!(a, Action::Keep { .. }))
}

fn kept(protocol: &Protocol) -> Vec<ValueId> {
    protocol.bodies[0].kept.keys().copied().collect()
}

#[test]
fn results_are_those_of_the_plain_simulator() {
    for trips in [0, 1, 2, 3, 4, 7] {
        let plan = plan(trips);
        let protocol = rig::protocol(&plan, SLOTS);
        assert_eq!(kept(&protocol).len(), 2, "two operands are kept");
        let want = plain(&plan, 2);
        for (seed, strategy) in Strategy::ALL.into_iter().enumerate() {
            let got = checked(&plan, &protocol, 2, under(strategy, seed as u64, 2));
            assert_eq!(got.unwrap_or_else(|trap| panic!("{trips} trips: {trap}")), want, "{trips} trips, {strategy}");
        }
    }
}

#[test]
fn no_fence_between_registers_and_products() {
    let (plan, mut p) = program();
    edit(&mut p, |list| list.retain(|a| !matches!(a, Action::Fence(Fence::ProxyShared(_), Who::EachWarp))));
    assert!(refused(&plan, &p).contains("error[E29]"));
    let trap = trapped(&plan, &p, 2, "E91", ["start a product that reads it in `kept`", "keep an operand in `kept`"]);
    insta::assert_snapshot!(trap);
}

/// The fence of the later operand covers the earlier one; a fence before the writes covers nothing.
#[test]
fn a_fence_before_the_writes_orders_nothing() {
    let (plan, mut p) = program();
    edit(&mut p, |list| {
        if keepers(list) {
            let at = list.iter().position(|a| matches!(a, Action::Fence(..))).unwrap();
            list.swap(at - 1, at);
        }
    });
    assert!(refused(&plan, &p).contains("error[E29]"));
    trapped(&plan, &p, 2, "E91", ["start a product that reads it in `kept`", "keep an operand in `kept`"]);
}

#[test]
fn warps_that_do_not_meet_before_the_products() {
    let (plan, mut p) = program();
    let mut left = 0;
    edit(&mut p, |list| {
        if let Some(at) = list.iter().position(|a| matches!(a, Action::Fence(..))).filter(|_| keepers(list)) {
            assert!(matches!(list[at + 1], Action::Meet { .. }));
            list.remove(at + 1);
            left += 1;
        }
    });
    assert_eq!(left, 1, "operands are stored in one go");
    assert!(refused(&plan, &p).contains("error[E27]"));
    trapped(&plan, &p, 2, "E81", ["start a product that reads it in `kept`", "keep an operand in `kept`"]);
}

/// Nothing else makes the warps meet between the products of an item and the writes of the next.
#[test]
fn warps_that_do_not_meet_before_the_next_item() {
    let (plan, mut p) = program();
    edit(&mut p, |list| {
        if let Some(at) = list.iter().position(|a| matches!(a, Action::Keep { .. })) {
            assert!(matches!(list[at - 1], Action::Meet { .. }));
            list.remove(at - 1);
        }
    });
    let error = refused(&plan, &p);
    assert!(error.contains("error[E27]") && error.contains("a kept operand is written by one warp"), "{error}");
    let places = ["keep an operand in `kept`", "run a product that reads what lies there in `kept`"];
    let trap = trapped(&plan, &p, 2, "E81", places);
    insta::assert_snapshot!(trap);
}

#[test]
fn an_operand_that_is_never_written() {
    let (plan, mut p) = program();
    edit(&mut p, |list| list.retain(|a| !matches!(a, Action::Keep { .. })));
    assert!(refused(&plan, &p).contains("error[E27]"));
    trapped(&plan, &p, 2, "E83", ["reads in `kept`", ""]);
}

/// In the first item nothing is there; what a later item finds is the operand of the one before.
#[test]
fn an_operand_of_the_item_before() {
    let (plan, mut p) = program();
    let values = kept(&p);
    // The second is not written, and read where the first one lies.
    edit(&mut p, |list| list.retain(|a| *a != Action::Keep { value: values[1] }));
    let first = p.bodies[0].kept[&values[0]].clone();
    p.bodies[0].kept.insert(values[1], first);
    assert!(refused(&plan, &p).contains("error[E27]"));
    trapped(&plan, &p, 2, "E83", ["start a product that reads it in `kept`", "keep an operand in `kept`"]);
}

#[test]
fn two_operands_in_the_same_bytes() {
    let (plan, mut p) = program();
    let values = kept(&p);
    let first = p.bodies[0].kept[&values[0]].clone();
    p.bodies[0].kept.insert(values[1], first);
    let error = refused(&plan, &p);
    assert!(error.contains("error[E27]: two operands are kept in bytes"), "{error}");
    trapped(&plan, &p, 2, "E81", ["keep an operand in `kept`", "keep one there in `kept`"]);
}

#[test]
fn an_operand_beyond_its_area() {
    let (plan, mut p) = program();
    let values = kept(&p);
    let size = p.bodies[0].kept[&values[1]].len();
    p.bodies[0].kept.insert(values[1], 65536..65536 + size);
    let error = refused(&plan, &p);
    assert!(error.contains("error[E21]: an operand is kept in bytes 65536"), "{error}");
    trapped(&plan, &p, 2, "E84", ["the consumers of CTA", ""]);
}

#[test]
fn an_operand_overwritten_while_a_product_runs() {
    let plan = plan(1);
    let mut p = rig::protocol(&plan, 8);
    // Slots are not given back, which would be found first; there are enough of them for two items.
    edit(&mut p, |list| {
        list.retain(|a| !matches!(a, Action::WaitProducts { .. } | Action::Arrive { .. }));
    });
    assert!(refused(&plan, &p).contains("error[E28]"));
    trapped(&plan, &p, 2, "E28", ["keeps an operand in `kept`", "starts the product in `kept`"]);
}
