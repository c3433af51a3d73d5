//! Every op on every element type becomes code that ptxas accepts, and the instructions that it was. The cases of one type
//! are one program: most of a small program is its frame.

use std::fmt::Write;
use tile_codegen::lower::ParamFacts;
use tile_codegen::target::{self, TARGETS};
use tile_codegen::{Debug, compile, compile_kernels};
use tile_lang::plan::{Operand, Plan};
use tile_tests::cases::{self, Case};
use tile_tests::ptx;
use tile_tests::targets::fitting;

/// The instructions of several cases in one plan.
fn joined(name: &str, cases: &[&Case]) -> Plan {
    let mut all = Plan::new(name);
    for case in cases {
        let (buffers, weights) = (all.buffers.len(), all.weights.len());
        for (i, b) in case.plan.buffers.iter().enumerate() {
            let mut b = b.clone();
            b.name = format!("{}.{i}", case.name);
            all.buffers.push(b);
        }
        for (i, w) in case.plan.weights.iter().enumerate() {
            let mut w = w.clone();
            w.name = format!("{}.{i}", case.name);
            all.weights.push(w);
        }
        for instr in &case.plan.program {
            let kernel = all.kernel(case.plan.kernels[instr.kernel].clone());
            let operands = instr.operands.iter().cloned().map(|o| match o {
                Operand::Buffer { id, offset, dims } => Operand::Buffer { id: id + buffers, offset, dims },
                Operand::Weight { id } => Operand::Weight { id: id + weights },
                number => number,
            });
            all.push(kernel, operands.collect(), &case.name, (file!(), line!())).unwrap_or_else(|e| panic!("{e}"));
        }
    }
    all.link();
    all
}

#[test]
fn every_op_assembles_to_the_instructions_it_did() {
    let cases = cases::ops().unwrap();
    let mut types: Vec<&str> = cases.iter().map(|c| &*c.dtype).collect();
    types.sort_unstable();
    types.dedup();
    let mut out = String::new();
    for name in types {
        let mut all: Vec<(&Case, &str)> =
            cases.iter().filter(|c| c.dtype == name).map(|c| (c, fitting(&c.plan).name)).collect();
        // What the tuned target can't do is a program of its own.
        all.sort_by_key(|(_, target)| TARGETS.iter().position(|t| t.name == *target));
        // The last instruction waits for the others, and a record has room for eight of them.
        for group in all.chunk_by(|a, b| a.1 == b.1).flat_map(|same| same.chunks(8)) {
            let group: Vec<&Case> = group.iter().map(|(case, _)| *case).collect();
            let plan = joined(name, &group);
            let compiled = compile(&plan, fitting(&plan)).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(!compiled.image.cubin.is_empty(), "{name}: ptxas gave no code");
            let names: Vec<&str> = group.iter().map(|c| &*c.name).collect();
            let _ = writeln!(out, "{}", names.join(" "));
            let counts = ptx::histogram(&compiled.image.ptx);
            let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let _ = writeln!(out, "  {}", counts.join(", "));
        }
    }
    insta::assert_snapshot!("ops", out);
}

mod said {
    use monotile::prelude::*;

    #[tile::kernel]
    pub fn said(w: &Weight<bf16, 2>, kinds: &Global<i32, 1>, y: &mut Global<f32, 2>) {
        let [i] = work([cdiv(w.dim(0), 16)]);
        mark!("load");
        let kind = kinds.load::<Tile<i32, 16>>([i]);
        device_assert!(kind.ge(0), "kind {} of item {}", kind, i);
        let rows = w.stage::<Smem<bf16, 16, 64>>([i, 0]).cast::<f32>();
        device_assert!(i < 1000);
        dbg_tile!("rows", rows);
        dbg_tile!(i);
        y.store([i, 0], rows);
    }
}

/// ptxas takes what assertions, shown tiles and marks become, and nothing of them is in what is shipped.
#[test]
fn what_kernels_say_assembles() {
    let kernel = said::said::instance().unwrap();
    let facts = vec![vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()]];
    let made = |debug| compile_kernels("said", std::slice::from_ref(&kernel), &facts, target::DEFAULT, debug).unwrap();
    let (kept, shipped) = (made(Debug::Keep), made(Debug::Strip));
    assert_eq!((kept.image.sites.len(), shipped.image.sites.len()), (5, 0));
    for text in ["atom.relaxed.gpu.global.cas.b32", "atom.relaxed.gpu.global.add.u64", "%globaltimer"] {
        let count = |ptx: &str| ptx.matches(text).count();
        assert!(count(&kept.image.ptx) > count(&shipped.image.ptx), "{text}");
    }
}
