//! The whole library on every target: each kernel is assembled by ptxas, or refused at an op. The table in docs/targets.md is
//! what came of it.

use std::fmt::Write;
use std::path::Path;
use tile_codegen::lower::ParamFacts;
use tile_codegen::target::{TARGETS, Target};
use tile_codegen::{CodegenError, Debug, compile_kernels};
use tile_lang::ir::Kernel;
use tile_models::kernels::library::samples;

fn facts(kernel: &Kernel) -> Vec<ParamFacts> {
    vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()]
}

/// What becomes of a kernel: its ring and what it spills, or the codes of the errors, each at a place.
fn cell(kernel: &Kernel, target: &'static Target) -> String {
    let on = |what: &dyn std::fmt::Display| format!("{} on {}: {what}", kernel.name, target.name);
    match compile_kernels(&kernel.name, std::slice::from_ref(kernel), &[facts(kernel)], target, Debug::Keep) {
        Ok(compiled) => {
            assert!(!compiled.image.cubin.is_empty(), "ptxas is missing: `cargo xtask setup` installs it");
            assert!(compiled.image.ptx.contains(&format!(".target {}", target.name)), "{}", on(&"another target"));
            let (shared, spilled) = (&compiled.report.shared, compiled.image.spills);
            let ring = format!("{} × {} KiB", shared.slots, shared.slot_bytes / 1024);
            if spilled > 0 { format!("{ring}, {spilled} bytes spilled") } else { ring }
        }
        Err(CodegenError::Program(found)) => {
            assert!(found.0.iter().all(|d| d.code == "E07" && d.span.is_known()), "{}", on(&found));
            "E07".to_owned()
        }
        Err(e) => panic!("{}", on(&e)),
    }
}

/// A row for each kernel of the library, a column for each target; targets are compiled for side by side.
fn table() -> String {
    let kernels: Vec<Kernel> = samples().iter().map(|s| s.def.instance(&s.generics).unwrap()).collect();
    let columns: Vec<Vec<String>> = std::thread::scope(|scope| {
        let column = |target: &'static Target| kernels.iter().map(|k| cell(k, target)).collect();
        let running: Vec<_> = TARGETS.iter().map(|t| scope.spawn(move || column(t))).collect();
        running.into_iter().map(|c| c.join().unwrap()).collect()
    });
    let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    let mut out = format!("| kernel | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (i, kernel) in kernels.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|c| c[i].as_str()).collect();
        let _ = writeln!(out, "| {} | {} |", kernel.name, cells.join(" | "));
    }
    out
}

#[test]
fn every_kernel_is_assembled_for_every_target_or_refused_at_an_op() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/targets.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (begin, end) = ("<!-- table -->\n", "<!-- end of table -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (written, after) = rest.split_once(end).unwrap();
    let made = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, format!("{before}{begin}{made}{end}{after}")).unwrap();
    } else {
        assert_eq!(written, made, "docs/targets.md is not what the compiler does; UPDATE_DOCS=1 rewrites its table");
    }
}

/// Machine code of the oldest target: a warp copies, and nothing newer is asked for.
#[test]
fn the_oldest_target_copies_by_lanes() {
    let sample = samples().into_iter().find(|s| s.def.name == "linear").unwrap();
    let kernel = sample.def.instance(&sample.generics).unwrap();
    let target = TARGETS.iter().find(|t| t.name == "sm_80").unwrap();
    let compiled =
        compile_kernels("linear", std::slice::from_ref(&kernel), &[facts(&kernel)], target, Debug::Keep).unwrap();
    let ptx = &compiled.image.ptx;
    for newer in ["cp.async.bulk", "setmaxnreg", "try_wait", "expect_tx", "fence.proxy", "e4m3"] {
        assert!(!ptx.contains(newer), "{newer} for sm_80");
    }
    assert!(ptx.contains("cp.async.cg.shared.global") && ptx.contains("cp.async.mbarrier.arrive.noinc"), "{ptx}");
    // 32 lanes arrive on a slot's barrier for each fill: the counts must say so.
    assert_eq!(compiled.image.threads, 8 * 32 + 32);
}

#[test]
fn block_scales_are_an_error_at_the_op_where_there_are_none() {
    for sample in samples().into_iter().filter(|s| ["gemm_mxf4", "gemm_nvf4"].contains(&s.def.name)) {
        let kernel = sample.def.instance(&sample.generics).unwrap();
        for target in TARGETS.iter().filter(|t| t.name != "sm_120a") {
            let found = target.unsupported(&kernel);
            let told: Vec<&str> = found.iter().map(|d| d.code).collect();
            assert_eq!(told, ["E07"], "{}", target.name);
            assert!(found[0].message.contains("unpack both operands"), "{}", found[0].message);
            assert_eq!(found[0].notes, ["targets that can: sm_120a"]);
            assert!(found[0].file.ends_with("gemm_fp4.rs") && found[0].span.is_known());
        }
        assert_eq!(tile_codegen::target::first_for([&kernel]).map(|t| t.name), Some("sm_120a"));
    }
}

#[test]
fn what_a_target_can_not_do_is_an_error_at_the_op() {
    let text = "\
kernel @pack(%x: global<f32, 1>, %y: global_mut<e4m3, 1>, %a: global<bf16, 2>, %z: global_mut<f32, 2>, %at: i32) stage tile {
  %n = dim[0] %x : i32
  %i = work %n : i32
  %t = load %x, %i : tile<f32, 64>
  %c = cast %t : tile<e4m3, 64>
  store %y, %c, %i
  %s = stage %a, %i, %at : smem<bf16, 16x64>
  %r = read %s : tile<bf16, 16x64>
  %f = cast %r : tile<f32, 16x64>
  store %z, %f, %i, %at
}
";
    let kernel = tile_lang::ir::parse(text, "pack.tile").unwrap();
    let found = |name: &str| {
        let target = TARGETS.iter().find(|t| t.name == name).unwrap();
        target.unsupported(&kernel).iter().map(|d| (d.code, d.span.line, d.notes.join(" "))).collect::<Vec<_>>()
    };
    let copies = ("E07", 7, "targets that can: sm_90a, sm_100a, sm_120a".to_owned());
    let packs = ("E07", 5, "targets that can: sm_90a, sm_89, sm_100a, sm_120a".to_owned());
    assert_eq!(found("sm_80"), [packs, copies.clone()]);
    assert_eq!(found("sm_89"), [copies]);
    assert_eq!(found("sm_90a"), []);
}
