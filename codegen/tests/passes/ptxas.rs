//! What ptxas says of real code, as diagnostics at source lines: small texts that draw each of its messages, and its output as
//! it was printed.

use std::fmt::Write;
use tile_codegen::ptxas::{Assembly, Diagnose, Report, assemble, disassemble, find, parse};
use tile_codegen::sass::Sass;
use tile_lang::ir::{Kernel, parse as parse_kernel};

/// A kernel of 128 threads whose body stands at lines of `data/kernel.rs`; file 2 is the frame.
pub fn ptx(target: &str, directives: &str, body: &str) -> String {
    format!(
        ".version 8.6\n.target {target}\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u64 q)\n{directives}\n{{\n\
         \t.reg .f32 %f<200>;\n\t.reg .b64 %rd<8>;\n\t.reg .b32 %r<8>;\n\t.reg .pred %p<4>;\n\
         \t.loc\t2 1 1\n\tld.param.u64 %rd1, [p];\n\tld.param.u64 %rd2, [q];\n{body}\n\tret;\n}}\n\
         \t.file\t1 \"tests/data/kernel.rs\"\n\t.file\t2 \"monotile\"\n"
    )
}

/// One CTA a multiprocessor, of 128 threads.
pub const BOUND: &str = ".reqntid 128, 1, 1\n.minnctapersm 1";

fn run(ptx: &str, target: &str) -> Assembly {
    assert!(find("ptxas").is_some(), "ptxas is missing: `cargo xtask setup` installs it");
    assemble(ptx, target).unwrap()
}

/// A kernel that knows the length of the text at line 5, column 9.
pub fn kernels() -> Vec<Kernel> {
    let text = "kernel @k(%x: global<f32, 1>) stage tile {\n  %n = dim[0] %x : i32\n}\n";
    let mut kernel = parse_kernel(text, "k.tile").unwrap();
    kernel.files = vec!["tests/data/kernel.rs".into()];
    for op in &mut kernel.ops {
        op.span.file = 0;
        (op.span.line, op.span.col, op.span.len) = (5, 9, 36);
    }
    vec![kernel]
}

fn told(ptx: &str, assembly: &Assembly) -> String {
    let kernels = kernels();
    let diagnose = Diagnose::new(ptx, &kernels);
    if assembly.cubin.is_empty() {
        return diagnose.failure(&assembly.report).to_string();
    }
    let sass = Sass::parse(&disassemble(&assembly.cubin).unwrap());
    diagnose.report(&assembly.report, Some(&sass)).to_string()
}

/// A loop around a product of a warpgroup, with code between the product and its wait.
fn product(between: &str, wait: &str) -> String {
    format!(
        "\tmov.f32 %f0, 0f00000000;\n\tmov.f32 %f1, 0f00000000;\n\tmov.f32 %f2, 0f00000000;\n\tmov.f32 %f3, 0f00000000;\n\
         \tmov.b32 %r1, 0;\n\t.loc\t1 4 5\n$L1:\n\twgmma.fence.sync.aligned;\n\t.loc\t1 5 9\n\
         \twgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%f0,%f1,%f2,%f3}}, %rd1, %rd2, 1, 1, 1, 0, 0;\n\
         \twgmma.commit_group.sync.aligned;\n\t.loc\t1 6 9\n{between}\n\tadd.s32 %r1, %r1, 1;\n\tsetp.lt.s32 %p1, %r1, 100;\n\
         \t@%p1 bra $L1;\n\t.loc\t1 8 5\n{wait}\n\tst.global.f32 [%rd1], %f0;\n\tst.global.f32 [%rd1+4], %f3;"
    )
}

/// More values at once than registers.
fn pressure(values: usize) -> String {
    let mut body = String::from("\t.loc\t1 5 9\n");
    for i in 0..values {
        let _ = writeln!(body, "\tld.volatile.global.f32 %f{i}, [%rd1+{}];", 4 * i);
    }
    body += "\t.loc\t1 8 5\n";
    for i in 0..values {
        let _ = writeln!(body, "\tst.volatile.global.f32 [%rd2+{}], %f{i};", 4 * (values - i));
    }
    body
}

#[test]
fn messages_of_real_code() {
    let setmaxnreg = "\tsetmaxnreg.dec.sync.aligned.u32 40;\n\tst.global.u64 [%rd1], %rd2;";
    let wait = "\twgmma.wait_group.sync.aligned 0;";
    let cases = [
        ("setmaxnreg without known threads", "sm_90a", "", setmaxnreg.into()),
        ("an accumulator read before its wait", "sm_90a", BOUND, product("\tadd.f32 %f0, %f0, %f1;", wait)),
        ("an accumulator written in flight", "sm_90a", BOUND, product("\tmov.f32 %f0, 0f3f800000;", wait)),
        ("a product that nothing waits for", "sm_90a", BOUND, product("", "")),
        ("more values than registers", "sm_90a", ".reqntid 128, 1, 1\n.maxnreg 40", pressure(96)),
        ("an unknown shape", "sm_90a", BOUND, product("", wait).replace("m64n8k16", "m64n8k17")),
        ("an unknown register", "sm_90a", BOUND, "\t.loc\t1 3 19\n\tadd.s32 %r1, %q1, 1;".into()),
        ("an instruction of another target", "sm_80", BOUND, product("", wait)),
        ("nothing to say", "sm_90a", BOUND, "\tst.global.u64 [%rd1], %rd2;".into()),
    ];
    let mut out = String::new();
    for (name, target, directives, body) in cases {
        let text = ptx(target, directives, &body);
        let _ = writeln!(out, "== {name}\n{}\n", told(&text, &run(&text, target)));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn resources_are_read() {
    let text = ptx("sm_90a", ".reqntid 128, 1, 1\n.maxnreg 40", &pressure(96));
    let Report { resources, messages } = run(&text, "sm_90a").report;
    assert_eq!(resources.registers, 40);
    assert!(resources.stack > 0 && resources.spill_stores > 100 && resources.spill_loads > 100, "{resources:?}");
    assert_eq!(messages, []);
}

/// Output that takes more than a small text to provoke, as ptxas printed it.
#[test]
fn messages_as_they_were_printed() {
    let printed = "\
ptxas info    : (C7504) Potential Performance Loss: 'setmaxnreg' ignored to maintain compatibility across compilation units.
ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to wgmma pipeline crossing function boundary at a function call in the function 'k' in line 9
ptxas info    : (C7602) Function 'k' needs more registers than allowed
ptxas warning : Value of threads per SM for entry k is out of range. .minnctapersm will be ignored
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k' for 'sm_90a'
ptxas info    : Function properties for k
    104 bytes stack frame, 116 bytes spill stores, 212 bytes spill loads
ptxas info    : Used 168 registers, used 2 barriers, 104 bytes cumulative stack size
ptxas info    : Compile time = 53.531 ms
";
    let report = parse(printed);
    let r = report.resources;
    assert_eq!((r.registers, r.stack, r.spill_stores, r.spill_loads), (168, 104, 116, 212));
    let codes: Vec<_> = report.messages.iter().map(|m| (m.code, m.line)).collect();
    assert_eq!(codes, [(Some(7504), None), (Some(7510), Some(9)), (Some(7602), None), (None, None)]);
    let text = ptx("sm_90a", BOUND, "\t.loc\t1 3 5");
    let found = Diagnose::new(&text, &[]).report(&report, None);
    let codes: Vec<&str> = found.0.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["E40", "W01", "W02", "W04", "W02"]);
}
