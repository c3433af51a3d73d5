//! The protocol as the compiler derives it.

use crate::kernels;
use tile_codegen::lower::Machine;
use tile_codegen::protocol;
use tile_lang::dtype::DType;
use tile_lang::plan::{Buffer, Operand, Plan, Visibility, Weight};
use tile_lang::protocol::{Action, Protocol, RingId};

/// A plan of one instruction of `scaled` over a weight of 64 × 512.
fn derived() -> Protocol {
    let mut plan = Plan::new("scaled");
    let kernel = plan.kernel(kernels::scaled::instance(128).unwrap());
    plan.weights.push(Weight { name: "w".into(), dtype: DType::Bf16, dims: vec![64, 512] });
    for (name, dims) in [("x", [8, 512]), ("y", [8, 64])] {
        let (dims, visibility) = (dims.to_vec(), Visibility::Device);
        plan.buffers.push(Buffer { name: name.into(), dtype: DType::F32, dims, visibility });
    }
    let buffer = |id, dims: [usize; 2]| Operand::Buffer { id, offset: 0, dims: dims.to_vec() };
    let operands = vec![Operand::Weight { id: 0 }, buffer(0, [8, 512]), buffer(1, [8, 64])];
    plan.push(kernel, operands, "scaled", (file!(), line!())).unwrap();
    plan.link();
    protocol::derive(&plan, Machine::SM_90A).unwrap()
}

#[test]
fn every_op_that_touches_a_barrier_has_its_actions() {
    let p = derived();
    let (kernel, body) = (&p.kernels[0], &p.bodies[0]);
    let mut text = String::new();
    for (id, list) in &body.actions {
        text += &format!("{} {id}: {list:?}\n", kernel.op(*id).kind.mnemonic());
    }
    for (block, list) in &body.entries {
        text += &format!("entry of {block}: {list:?}\n");
    }
    insta::assert_snapshot!(text);
    assert!(!body.dependent, "the weight depends on nothing");
}

#[test]
fn announced_bytes_are_those_of_the_copies() {
    let p = derived();
    let mut fills = 0;
    for list in p.bodies[0].actions.values() {
        let copied: usize = list.iter().map(|a| if let Action::Copy { bytes, .. } = a { *bytes } else { 0 }).sum();
        for a in list {
            if let Action::Expect { bytes, .. } = a {
                fills += 1;
                assert_eq!(*bytes, copied);
            }
        }
    }
    assert_eq!(fills, 1);
}

#[test]
fn regions_are_disjoint_and_inside_the_limit() {
    let p = derived();
    for (i, a) in p.regions.iter().enumerate() {
        assert!(a.offset + a.bytes <= p.shared_limit && a.offset % a.align == 0, "{a:?}");
        for b in &p.regions[..i] {
            assert!(b.offset + b.bytes <= a.offset || a.offset + a.bytes <= b.offset, "{a:?} {b:?}");
        }
    }
    assert!(p.rings[&RingId::Tiles].slots >= 2);
}
