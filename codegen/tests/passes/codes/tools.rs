//! What NVIDIA's tools say, as diagnostics: their output as it was printed. That real code draws it is tested in `ptxas.rs`.

use super::super::programs::alone;
use super::super::ptxas::{BOUND, kernels, ptx};
use super::{Case, case, message, rendered};
use tile_codegen::ptxas::{Diagnose, parse};
use tile_codegen::sass::{Sass, intents, missing};
use tile_codegen::target;

pub const CASES: &[Case] = &[
    case("E40", "setmaxnreg that is ignored", || {
        told(
            "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored; unable to determine register count at entry",
        )
    }),
    case("E41", "machine code without products and copies", || {
        let kernel = super::instance(super::super::kernels::scaled::instance(128));
        let p = alone(&kernel);
        let code = "/*00*/ @P0 BRA `(.L_x_1) ;\n/*10*/ USETMAXREG.DEALLOC 0x38 ;\n/*20*/ SYNCS.PHASECHK R0 ;\n/*30*/ EXIT ;\n\
                    .L_x_1:\n/*40*/ USETMAXREG.TRY_ALLOC UP0, 0xe0 ;\n/*50*/ SYNCS.PHASECHK R0 ;\n/*60*/ EXIT ;\n";
        rendered(missing(&Sass::parse(code), &intents(&p.kernels, target::DEFAULT)))
    }),
    case("E42", "an instruction that ptxas doesn't know", || {
        let text = ptx("sm_90a", BOUND, "\t.loc\t1 5 9\n\tadd.s32 %r1, %q1, 1;");
        let line = text.lines().position(|l| l.contains("%q1")).map_or(0, |n| n + 1);
        let printed = format!(
            "ptxas k.ptx, line {line}; error   : Unknown symbol '%q1'\nptxas fatal   : Ptx assembly aborted due to errors\n"
        );
        message::<(), _>(Err(Diagnose::new(&text, &kernels()).failure(&parse(&printed))))
    }),
    case("W01", "products one after the other", || {
        told(
            "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to wgmma pipeline crossing function boundary at a function call in the function 'k' in line 14",
        )
    }),
    case("W02", "registers that are spilled", || {
        told(
            "ptxas info    : Function properties for k\n    104 bytes stack frame, 116 bytes spill stores, 212 bytes spill loads",
        )
    }),
    case("W04", "a warning that has no code of its own", || {
        told("ptxas warning : Value of threads per SM for entry k is out of range. .minnctapersm will be ignored")
    }),
];

/// What is made of this output for a kernel whose body is at line 5 of its file.
fn told(printed: &str) -> String {
    let text = ptx("sm_90a", BOUND, "\t.loc\t1 5 9");
    rendered(Diagnose::new(&text, &kernels()).report(&parse(printed), None).0)
}

#[test]
fn messages_of_the_tools() {
    insta::assert_snapshot!(super::provoked(CASES));
}
