//! Planted faults: each is trapped under every adversary, with its code and both places.

use super::kernels;
use super::rig::{BK, Rig, chain, checked, dense, plain, protocol, under};
use tile_lang::dtype::DType;
use tile_lang::ir::{OpId, OpKind};
use tile_lang::plan::{ElementRef, Operand, Plan};
use tile_lang::protocol::{Action, Fence, Parity, Protocol, Reach, Region, RingId, Who};
use tile_lang::sim::checked::{Settings, Strategy, Trap};

/// Kernels of [`chain`].
pub const PRODUCT: usize = 0;
const ROWS: usize = 1;

/// A right program: two CTAs, three slots, five trips.
pub fn sound() -> (Plan, Protocol) {
    let plan = chain(64, 5 * BK, 2);
    let protocol = protocol(&plan, 3);
    (plan, protocol)
}

/// The first op of a kernel of the protocol that fits.
pub fn op(protocol: &Protocol, kernel: usize, fits: impl Fn(&OpKind) -> bool) -> OpId {
    let mut found = None;
    protocol.kernels[kernel].walk(|id, op| {
        if found.is_none() && fits(&op.kind) {
            found = Some(id);
        }
    });
    found.unwrap()
}

pub fn fill(kind: &OpKind) -> bool {
    matches!(kind, OpKind::RingFill(_))
}

fn wait(kind: &OpKind) -> bool {
    matches!(kind, OpKind::RingWait(_))
}

pub fn release(kind: &OpKind) -> bool {
    matches!(kind, OpKind::RingRelease)
}

/// The actions of such an op.
pub fn actions(protocol: &mut Protocol, kernel: usize, fits: impl Fn(&OpKind) -> bool) -> &mut Vec<Action> {
    let id = op(protocol, kernel, fits);
    protocol.bodies[kernel].actions.get_mut(&id).unwrap()
}

/// Traps with this code under every adversary; the message names both places. Returns the first.
pub fn trapped(plan: &Plan, protocol: &Protocol, ctas: usize, code: &str, places: [&str; 2]) -> Trap {
    trapped_with(plan, protocol, code, places, |strategy| under(strategy, 7, ctas))
}

fn trapped_with(
    plan: &Plan,
    protocol: &Protocol,
    code: &str,
    places: [&str; 2],
    settings: impl Fn(Strategy) -> Settings,
) -> Trap {
    let mut first = None;
    for strategy in Strategy::ALL {
        let trap = match checked(plan, protocol, 4, settings(strategy)) {
            Ok(_) => panic!("{strategy}: nothing was found, expected {code}"),
            Err(trap) => trap,
        };
        assert_eq!(trap.code, code, "{strategy}: {trap}");
        let (here, there) = (&trap.sites[0].what, trap.sites.get(1).map_or("", |s| s.what.as_str()));
        assert!(here.contains(places[0]) && there.contains(places[1]), "{strategy}: {trap}");
        assert!(trap.to_string().contains(&format!("seed 7, strategy `{strategy}`")), "{trap}");
        first.get_or_insert(*trap);
    }
    first.unwrap()
}

#[test]
fn a_slot_that_is_never_given_back() {
    let (plan, mut p) = sound();
    actions(&mut p, PRODUCT, release).clear();
    let trap = trapped(&plan, &p, 2, "E88", ["the producer of CTA", "took the slot in `product`"]);
    insta::assert_snapshot!(trap);
}

#[test]
fn an_arrival_too_many() {
    let (plan, mut p) = sound();
    let list = actions(&mut p, PRODUCT, release);
    list.push(list[0].clone());
    trapped(&plan, &p, 2, "E89", ["arrives in `product`", "arrived before in `product`"]);
}

#[test]
fn more_bytes_announced_than_copied() {
    let (plan, mut p) = sound();
    for a in actions(&mut p, PRODUCT, fill) {
        if let Action::Expect { bytes, .. } = a {
            *bytes += 16;
        }
    }
    let trap = trapped(&plan, &p, 2, "E87", ["waits for the bytes in `product`", "announced 2064 bytes in `product`"]);
    insta::assert_snapshot!(trap);
}

#[test]
fn fewer_bytes_announced_than_copied() {
    let (plan, mut p) = sound();
    for a in actions(&mut p, PRODUCT, fill) {
        if let Action::Expect { bytes, .. } = a {
            *bytes /= 2;
        }
    }
    trapped(&plan, &p, 2, "E87", ["was started in `product`", "announced 1024 bytes in `product`"]);
}

#[test]
fn a_slot_given_back_while_a_product_runs() {
    let plan = dense(3 * 64 + 8);
    let mut p = protocol(&plan, 5);
    for strategy in Strategy::ALL {
        let sound = checked(&plan, &p, 1, under(strategy, 7, 2)).unwrap();
        assert_eq!(sound, plain(&plan, 1), "{strategy}");
    }
    let product = op(&p, 0, |kind| *kind == OpKind::Mma);
    let list = p.bodies[0].actions.get_mut(&product).unwrap();
    assert_eq!(*list, [Action::Own, Action::Start { terms: 0..64 }, Action::WaitProducts { left: 0 }]);
    list.pop();
    let trap = trapped(&plan, &p, 2, "E28", ["releases in `dense`", "starts the product in `dense`"]);
    insta::assert_snapshot!(trap);
    // One product may run on: the slots of the last one are still its own.
    p.bodies[0].actions.get_mut(&product).unwrap().push(Action::WaitProducts { left: 1 });
    trapped(&plan, &p, 2, "E28", ["releases in `dense`", "starts the product in `dense`"]);
}

#[test]
fn a_slot_given_back_before_its_last_read() {
    let (plan, mut p) = sound();
    let id = op(&p, PRODUCT, release);
    for block in &mut p.kernels[PRODUCT].blocks {
        if let Some(at) = block.ops.iter().position(|o| *o == id) {
            block.ops.remove(at);
            block.ops.insert(at - 1, id);
        }
    }
    let trap = trapped(&plan, &p, 2, "E85", ["reads it in `product`", "gave it back in `product`"]);
    insta::assert_snapshot!(trap);
}

#[test]
fn a_copy_into_a_slot_that_was_handed_on() {
    let (plan, mut p) = sound();
    let list = actions(&mut p, PRODUCT, fill);
    let at = list.iter().position(|a| matches!(a, Action::Copy { .. })).unwrap();
    list.swap(at, at + 1);
    assert!(matches!(list[at], Action::Advance(_)));
    let trap = trapped(&plan, &p, 2, "E86", ["starts the copy in `product`", "acquired another in `product`"]);
    insta::assert_snapshot!(trap);
}

#[test]
fn no_fence_between_registers_and_copies() {
    let (plan, mut p) = sound();
    p.frame.producer_depends.retain(|a| !matches!(a, Action::Fence(..)));
    p.frame.consumer_copied_later.clear();
    let trap = trapped(&plan, &p, 2, "E91", ["a copy into CTA", "wrote in `product`"]);
    insta::assert_snapshot!(trap);
}

/// Threads read what copies overwrite: an arrival alone doesn't order the two proxies.
#[test]
fn no_fence_before_copies_overwrite_what_threads_read() {
    let (plan, mut p) = sound();
    let fence = Action::Fence(Fence::ProxyShared(Reach::Cta), Who::One);
    let list = actions(&mut p, PRODUCT, fill);
    assert!(list.contains(&fence));
    list.retain(|a| *a != fence);
    let trap = trapped(&plan, &p, 2, "E91", ["overwrites the slot in `product`", "reads the slot in `product`"]);
    insta::assert_snapshot!(trap);
    // Records are such data, too; in a program that stages nothing no other fence orders them.
    let plan = counted(0);
    let mut p = protocol(&plan, 2);
    p.frame.fetch.retain(|a| *a != fence);
    for strategy in Strategy::ALL {
        let trap = checked(&plan, &p, 8, under(strategy, 7, 2)).unwrap_err();
        assert_eq!(trap.code, "E91", "{strategy}: {trap}");
        assert!(trap.sites[1].what.contains("reads the slot"), "{strategy}: {trap}");
    }
}

#[test]
fn one_of_the_two_proxy_fences_is_enough() {
    let (plan, p) = sound();
    let (mut writer, mut reader) = (p.clone(), p);
    writer.frame.producer_depends.retain(|a| !matches!(a, Action::Fence(..)));
    reader.frame.consumer_copied_later.clear();
    for p in [writer, reader] {
        checked(&plan, &p, 4, under(Strategy::Random, 0, 2)).unwrap();
    }
}

#[test]
fn a_phase_that_is_wrong_after_an_odd_number_of_trips() {
    // As if trips came in pairs: after the loop the cursor is rounded up.
    for (trips, right) in [(4, true), (5, false)] {
        let plan = chain(64, trips * BK, 2);
        let mut p = protocol(&plan, 1);
        let store = op(&p, PRODUCT, |k| matches!(k, OpKind::Store));
        let list = p.bodies[PRODUCT].actions.entry(store).or_insert_with(|| vec![Action::Own]);
        list.extend((trips..trips.next_multiple_of(2)).map(|_| Action::Advance(RingId::Tiles)));
        if right {
            checked(&plan, &p, 4, under(Strategy::Random, 0, 2)).unwrap();
        } else {
            let trap = trapped(&plan, &p, 2, "E90", ["waits in `product`", "took the last one in `product`"]);
            insta::assert_snapshot!(trap);
        }
    }
}

#[test]
fn a_phase_that_is_not_carried_to_the_next_tile() {
    let (plan, _) = sound();
    let mut p = protocol(&plan, 1);
    actions(&mut p, ROWS, wait).retain(|a| !matches!(a, Action::Advance(_)));
    let trap = trapped(&plan, &p, 2, "E90", ["waits in `rows`", "took the last one in `rows`"]);
    insta::assert_snapshot!(trap);
}

#[test]
fn a_wait_for_the_wrong_parity_reads_what_has_not_landed() {
    let (plan, mut p) = sound();
    for a in actions(&mut p, PRODUCT, wait) {
        if let Action::Wait { parity, .. } = a {
            *parity = Parity::Opposite;
        }
    }
    for strategy in Strategy::ALL {
        let trap = checked(&plan, &p, 4, under(strategy, 0, 2)).unwrap_err();
        assert!(["E81", "E83", "E90"].contains(&trap.code), "{trap}");
    }
}

#[test]
fn a_read_of_bytes_that_no_copy_brought() {
    let (plan, mut p) = sound();
    for a in actions(&mut p, PRODUCT, fill) {
        if let Action::Expect { bytes, .. } | Action::Copy { bytes, .. } = a {
            *bytes /= 2;
        }
    }
    let trap = trapped(&plan, &p, 2, "E83", ["reads in `product`", ""]);
    assert!(trap.message.contains("bytes 1024..2048 of slot"), "{trap}");
    insta::assert_snapshot!(trap);
}

#[test]
fn an_array_that_is_read_before_it_is_written() {
    let (plan, p) = sound();
    let buffer = |name| plan.buffers.iter().position(|b| b.name == name).unwrap();
    let settings = |name, strategy| Settings { uninitialised: vec![buffer(name)], ..under(strategy, 7, 2) };
    // The second pass reads what the first one wrote; the host writes `x`.
    for name in ["h", "x"] {
        checked(&plan, &p, 4, settings(name, Strategy::Random)).unwrap();
    }
    let places = ["reads in `count`", ""];
    let trap = trapped_with(&plan, &p, "E83", places, |strategy| settings("passes", strategy));
    assert!(trap.message.contains("element 0 of `passes`"), "{trap}");
}

#[test]
fn an_exchange_area_that_nobody_wrote() {
    let (plan, mut p) = sound();
    for list in p.bodies[PRODUCT].actions.values_mut() {
        list.retain(|a| !matches!(a, Action::ExchangeWrite { .. }));
    }
    trapped(&plan, &p, 2, "E83", ["the consumers of CTA", ""]);
}

#[test]
fn warps_that_do_not_meet_between_write_and_read() {
    let (plan, mut p) = sound();
    for list in p.bodies[PRODUCT].actions.values_mut() {
        while let Some(at) =
            list.windows(2).position(|w| matches!(w, [Action::ExchangeWrite { .. }, Action::Meet { .. }]))
        {
            list.remove(at + 1);
        }
    }
    let trap = trapped(&plan, &p, 2, "E81", ["read the exchange area", "write it"]);
    insta::assert_snapshot!(trap);
}

/// Two arrays of 32 elements, of which one element is read at an index.
pub fn picked(index: i32) -> Plan {
    let mut rig = Rig::new();
    let stop = rig.buffer("stop", DType::I32, &[1]);
    let (x, y) = (rig.buffer("x", DType::F32, &[32]), rig.buffer("y", DType::F32, &[32]));
    rig.plan.stop = ElementRef { buffer: stop, element: 0 };
    let operands = vec![rig.whole(x), rig.whole(y), Operand::I32(index)];
    rig.push(kernels::pick::instance().unwrap(), operands, "pick");
    rig.linked()
}

#[test]
fn an_index_outside_of_an_array() {
    let plan = picked(32);
    let trap = trapped(&plan, &protocol(&plan, 2), 1, "E84", ["the consumers of CTA 0", ""]);
    insta::assert_snapshot!(trap);
}

#[test]
fn a_copy_beyond_its_slot() {
    let (plan, mut p) = sound();
    p.rings.get_mut(&RingId::Tiles).unwrap().slot_bytes = 1024;
    trapped(&plan, &p, 2, "E84", ["the producer of CTA", ""]);
}

/// Moves a region to where another one begins.
fn moved(protocol: &mut Protocol, name: &str, onto: &str) {
    let at = protocol.regions.iter().find(|r| r.name == onto).unwrap().offset;
    protocol.regions.iter_mut().find(|r| r.name == name).unwrap().offset = at;
}

#[test]
fn an_exchange_area_over_the_slots() {
    let (plan, mut p) = sound();
    moved(&mut p, Region::EXCHANGE, Region::TILES);
    for strategy in Strategy::ALL {
        let trap = checked(&plan, &p, 4, under(strategy, 0, 2)).unwrap_err();
        assert!(["E81", "E83"].contains(&trap.code), "{trap}");
    }
}

#[test]
fn slots_over_barriers() {
    let (plan, mut p) = sound();
    moved(&mut p, Region::TILES, "ready barriers");
    trapped(&plan, &p, 2, "E84", ["a copy into CTA", ""]);
}

/// Two items that write the same elements.
pub fn overlapped() -> Plan {
    let mut rig = Rig::new();
    let stop = rig.buffer("stop", DType::I32, &[1]);
    let (x, y) = (rig.buffer("x", DType::F32, &[64]), rig.buffer("y", DType::F32, &[64]));
    rig.plan.stop = ElementRef { buffer: stop, element: 0 };
    let operands = vec![rig.whole(x), rig.whole(y)];
    rig.push(kernels::overlap::instance().unwrap(), operands, "overlap");
    rig.linked()
}

#[test]
fn two_items_that_write_one_tile() {
    let plan = overlapped();
    let p = protocol(&plan, 2);
    let trap = trapped(&plan, &p, 2, "E82", ["writes in `overlap`, item", "wrote in `overlap`, item"]);
    insta::assert_snapshot!(trap);
    // One CTA does both, in order: it is no less wrong.
    trapped(&plan, &p, 1, "E82", ["writes in `overlap`, item 1", "wrote in `overlap`, item 0"]);
}

/// Two items add to the same elements; then each looks at them, or another instruction does.
fn counted(look: i32) -> Plan {
    let mut rig = Rig::new();
    let stop = rig.buffer("stop", DType::I32, &[1]);
    let ids = ["x", "sums", "y", "z"].map(|name| rig.buffer(name, DType::I32, &[64]));
    let [x, sums, y, z] = ids.map(|id| rig.whole(id));
    rig.plan.stop = ElementRef { buffer: stop, element: 0 };
    let kernel = kernels::counted::instance().unwrap();
    rig.push(kernel.clone(), vec![x.clone(), sums.clone(), y.clone(), Operand::I32(look)], "add");
    rig.push(kernel, vec![sums, z, y, Operand::I32(0)], "look");
    rig.linked()
}

#[test]
fn atomic_ops_of_several_items_may_meet() {
    let plan = counted(0);
    let p = protocol(&plan, 2);
    for strategy in Strategy::ALL {
        for ctas in [1, 2, 3] {
            assert_eq!(checked(&plan, &p, 1, under(strategy, 7, ctas)).unwrap(), plain(&plan, 1), "{strategy}");
        }
    }
}

#[test]
fn a_look_at_what_other_items_change_atomically() {
    let plan = counted(1);
    let p = protocol(&plan, 2);
    for strategy in Strategy::ALL {
        let trap = checked(&plan, &p, 1, under(strategy, 7, 2)).unwrap_err();
        assert_eq!((trap.code, trap.sites.len()), ("E80", 2), "{trap}");
        let text = trap.to_string();
        assert!(text.contains("reads") && text.contains("atomically in `add`, item"), "{text}");
    }
    insta::assert_snapshot!(*checked(&plan, &p, 1, under(Strategy::Random, 7, 2)).unwrap_err());
}

#[test]
fn an_atomic_change_that_no_counter_orders() {
    let (mut plan, p) = (counted(0), protocol(&counted(0), 2));
    checked(&plan, &p, 1, under(Strategy::Random, 7, 2)).unwrap();
    plan.program[1].after.clear();
    for strategy in Strategy::ALL {
        let trap = checked(&plan, &p, 1, under(strategy, 7, 2)).unwrap_err();
        let text = trap.to_string();
        assert!(trap.code == "E80" && text.contains("in `add`") && text.contains("in `look`"), "{text}");
        assert!(text.contains("atomically") && text.contains("reads"), "{text}");
    }
}

#[test]
fn a_counter_that_nobody_raises() {
    let (plan, mut p) = sound();
    p.frame.consumer_end.retain(|a| *a != Action::Raise);
    let trap = trapped(
        &plan,
        &p,
        2,
        "E92",
        ["waits before the items of `rows`", "would raise it after the items of `product`"],
    );
    insta::assert_snapshot!(trap);
}

#[test]
fn a_counter_raised_twice() {
    let (plan, mut p) = sound();
    p.frame.consumer_end.push(Action::Raise);
    trapped(&plan, &p, 2, "E94", ["raises it after the items", "raised it before after the items"]);
}

#[test]
fn a_counter_without_its_fence_orders_nothing() {
    let (plan, mut p) = sound();
    p.frame.consumer_end.retain(|a| !matches!(a, Action::Fence(Fence::Gpu, _)));
    trapped(&plan, &p, 2, "E80", ["`rows`", "wrote in `product`"]);
}

#[test]
fn a_dependency_that_is_missing() {
    let (mut plan, p) = sound();
    plan.program[1].after.clear();
    // Which of the two comes first depends on the adversary.
    let trap = trapped(&plan, &p, 2, "E80", ["", ""]);
    let text = trap.to_string();
    assert!(trap.sites.len() == 2 && text.contains("in `rows`") && text.contains("in `product`"), "{text}");
}

#[test]
fn counters_in_the_wrong_order() {
    let (mut plan, p) = sound();
    plan.program[1].after = vec![2];
    let trap =
        trapped(&plan, &p, 2, "E94", ["waits before the items of `rows`", "would raise it after the items of `count`"]);
    insta::assert_snapshot!(trap);
}

#[test]
fn a_cta_that_is_not_resident() {
    let (plan, p) = sound();
    let settings = |strategy| Settings { ctas: 3, resident: 2, ..under(strategy, 7, 3) };
    let places = ["waits for it", "the consumers of CTA 2 would raise the counter"];
    let trap = trapped_with(&plan, &p, "E93", places, settings);
    insta::assert_snapshot!(trap);
}

#[test]
fn half_of_the_warps_at_a_meeting() {
    let (plan, mut p) = sound();
    for a in &mut p.frame.consumer_end {
        if let Action::Meet { threads, .. } = a {
            *threads /= 2;
        }
    }
    trapped(&plan, &p, 2, "E95", ["meets after the items", ""]);
}
