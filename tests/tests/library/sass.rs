//! The machine code of every library kernel, role by role and loop by loop.

use super::library;
use tile_codegen::lower::ParamFacts;
use tile_codegen::ptxas::disassemble;
use tile_codegen::sass::Sass;
use tile_codegen::{Debug, compile_kernels, target};
use tile_lang::ir::{OpKind, parse};
use tile_tests::cases::Case;
use tile_tests::sass::{Demands, check};

fn demands(case: &Case) -> Demands {
    let (mut products, mut staged) = (false, false);
    case.plan.kernels[0].walk(|_, op| {
        products |= op.kind.is_product();
        staged |= matches!(op.kind, OpKind::Stage);
    });
    Demands { products, staged_products: products && staged }
}

#[test]
fn kernels_are_specialised_pipelined_and_do_not_spill() {
    let mut wrong = Vec::new();
    let mut streaming = 0;
    for entry in library() {
        let name = &entry.case.kernel;
        wrong.extend(entry.compiled.warnings.0.iter().map(|w| format!("{name}: {w}")));
        let demands = demands(&entry.case);
        streaming += usize::from(demands.staged_products);
        let sass = entry.compiled.sass.as_ref().expect("machine code");
        wrong.extend(check(sass, demands).into_iter().map(|w| format!("{name}: {w}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(streaming >= 16, "only {streaming} kernels multiply what they stage");
}

#[test]
fn machine_code_with_its_products_elsewhere_is_refused() {
    let entry = library().iter().find(|e| e.case.kernel == "linear").unwrap();
    let text = disassemble(&entry.compiled.image.cubin).unwrap();
    let demands = demands(&entry.case);
    let check = |text: &str| check(&Sass::parse(text), demands);
    assert_eq!(check(&text), Vec::<String>::new());
    let (products, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| l.contains("HMMA"));
    assert!(!products.is_empty());
    // Behind the end of the kernel, and in front of the producer's first copy.
    let exit = rest.iter().rposition(|l| l.contains("EXIT")).unwrap();
    let after = [&rest[..=exit], &products, &rest[exit + 1..]].concat().join("\n");
    assert_eq!(check(&after).len(), 2, "{:?}", check(&after));
    let copy = rest.iter().position(|l| l.contains("UBLKCP")).unwrap();
    let before = [&rest[..copy], &products, &rest[copy..]].concat().join("\n");
    assert!(check(&before).iter().any(|w| w == "the producer multiplies"));
    for dropped in ["USETMAXREG", "UBLKCP", "TRYWAIT", "LDS"] {
        let without: Vec<&str> = text.lines().filter(|l| !l.contains(dropped)).collect();
        assert!(!check(&without.join("\n")).is_empty(), "a kernel without {dropped} passes");
    }
}

#[test]
fn a_copy_that_can_never_run_is_not_missed() {
    let copies = |condition: &str| {
        let text = format!(
            "kernel @copy(%x: global<bf16, 2>, %y: global_mut<bf16, 2>) stage tile {{\n  %rows = dim[0] %x : i32\n  %i = work %rows : i32\n  \
             %c = {condition} : bool\n  if %c {{\n    %0 = const 0 : i32\n    %s = stage %x, %i, %0 : smem<bf16, 16x64>\n    \
             %t = read %s : tile<bf16, 16x64>\n    store %y, %t, %i, %0\n    yield\n  }} else {{\n    yield\n  }}\n}}\n"
        );
        let kernel = parse(&text, "copy.tile").unwrap();
        let facts = [vec![ParamFacts::default(); kernel.params.len()]];
        let compiled = compile_kernels("copy", &[kernel], &facts, target::DEFAULT, Debug::Strip).unwrap();
        compiled.sass.expect("machine code").code.iter().filter(|i| i.is("UTMALDG")).count()
    };
    assert_eq!(copies("eq %i, %i"), 1);
    assert_eq!(copies("ne %i, %i"), 0);
}
