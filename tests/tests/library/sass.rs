//! The machine code of every library kernel, role by role and loop by loop.

use super::library;
use std::ops::RangeInclusive;
use tile_codegen::lower::ParamFacts;
use tile_codegen::ptxas::disassemble;
use tile_codegen::sass::Sass;
use tile_codegen::{Compiled, Debug, compile_kernels, target};
use tile_lang::ir::{Kernel, OpKind, Role, parse};
use tile_models::kernels::library::samples;
use tile_models::kernels::schedules::fp8_blocks_in_turns;
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

/// A kernel of the library as its samples have it.
fn instance(name: &str) -> Kernel {
    let sample = samples().into_iter().find(|s| s.def.name == name).unwrap();
    sample.def.instance(&sample.generics).unwrap()
}

/// A kernel of which nothing is known of its arguments, so that no loop is unrolled.
fn compiled(name: &str, kernel: Kernel) -> Compiled {
    let facts = vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()];
    compile_kernels(name, &[kernel], &[facts], target::DEFAULT, Debug::Strip).unwrap()
}

/// A sample's machine code, and the loops of its consumers that multiply and have no such loop in them.
fn loops(name: &str) -> (Sass, Vec<RangeInclusive<usize>>) {
    let sass = compiled(name, instance(name)).sass.expect("machine code");
    let consumer = sass.role(Role::Consumer).unwrap();
    let multiplies = |l: &RangeInclusive<usize>| l.clone().any(|i| consumer[i] && sass.code[i].text.contains("GMMA"));
    let loops: Vec<_> = sass.loops(&consumer).into_iter().filter(multiplies).collect();
    let within =
        |a: &RangeInclusive<usize>, b: &RangeInclusive<usize>| a != b && b.contains(a.start()) && b.contains(a.end());
    let inner = loops.iter().filter(|l| !loops.iter().any(|other| within(other, l))).cloned().collect();
    (sass, inner)
}

/// Of each such loop: products, and waits that leave one running.
fn running(name: &str) -> Vec<[usize; 2]> {
    let (sass, loops) = loops(name);
    let consumer = sass.role(Role::Consumer).unwrap();
    let count = |l: &RangeInclusive<usize>, words: &[&str]| {
        let all = |i: &usize| consumer[*i] && words.iter().all(|w| sass.code[*i].text.contains(w));
        l.clone().filter(all).count()
    };
    loops.iter().map(|l| [count(l, &["GMMA"]), count(l, &["WARPGROUP.DEPBAR", "0x1"])]).collect()
}

/// The number of a register.
fn register(operand: &str) -> Option<usize> {
    operand.trim().strip_prefix('R')?.split('.').next()?.parse().ok()
}

/// The operands of an instruction, without its predicate.
fn operands(text: &str) -> Vec<&str> {
    let text = text.trim_end_matches([' ', ';']);
    let text = if text.starts_with('@') { text.split_once(' ').map_or("", |(_, t)| t) } else { text };
    text.split_once(' ').map_or_else(Vec::new, |(_, list)| list.split(',').map(str::trim).collect())
}

/// Where a product reads four registers of its first operand that are written while it may still run: the product and the instruction that writes,
/// in the order of a loop that goes round.
fn overwritten(code: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for (start, product) in code.iter().enumerate().filter(|(_, t)| t.contains("GMMA")) {
        let Some(first) = operands(product).get(1).and_then(|r| register(r)) else { continue };
        let mut later = 0;
        for text in code[start + 1..].iter().chain(&code[..start]) {
            if text.contains("GMMA") {
                later += 1;
            } else if text.contains("WARPGROUP.DEPBAR") {
                let left =
                    operands(text).last().and_then(|n| usize::from_str_radix(n.trim_start_matches("0x"), 16).ok());
                if left.is_some_and(|left| left <= later) {
                    break;
                }
            }
            let list = operands(text);
            let written = list.iter().find(|o| !o.starts_with('P')).and_then(|o| register(o));
            let wide = if text.contains(".128") {
                4
            } else if text.contains(".64") || text.contains(".WIDE") {
                2
            } else {
                1
            };
            if written.is_some_and(|w| !text.contains("GMMA") && w < first + 4 && first < w + wide) {
                out.push(format!("{product} … {text}"));
            }
        }
    }
    out
}

#[test]
fn products_run_on_while_the_next_step_begins() {
    // A step is four instructions.
    for kernel in ["gemm", "gemm_bias", "gemm_fp8", "gemm_grouped"] {
        let loops = running(kernel);
        assert!(!loops.is_empty() && loops.iter().all(|l| *l == [4, 1]), "{kernel}: {loops:?}");
    }
    // A part is an instruction; the last one of a step is waited for behind the next step's first.
    for kernel in ["project_mxfp4", "project_nvfp4"] {
        let loops = running(kernel);
        assert!(!loops.is_empty() && loops.iter().all(|l| *l == [4, 2]), "{kernel}: {loops:?}");
    }
}

#[test]
fn registers_of_running_products_are_not_written() {
    for kernel in ["project_mxfp4", "project_nvfp4", "project_add_mxfp4", "project_gated_mxfp4"] {
        let (sass, loops) = loops(kernel);
        for l in loops {
            let code: Vec<&str> = sass.code[l].iter().map(|i| i.text.as_str()).collect();
            assert_eq!(overwritten(&code), Vec::<String>::new(), "{kernel}");
            // Without the waits every product runs on for ever.
            let never: Vec<&str> = code.iter().copied().filter(|t| !t.contains("WARPGROUP.DEPBAR")).collect();
            assert!(!overwritten(&never).is_empty(), "{kernel}: writes aren't seen");
        }
    }
}

/// A warpgroup takes its turn right before its products and gives it on right behind them: what it computes with them comes after that.
#[test]
fn a_turn_holds_products_and_nothing_else() {
    let kernel = instance("gemm_fp8_blocks");
    let kernel = fp8_blocks_in_turns::DEF.schedule(&kernel).unwrap().attach(kernel).unwrap();
    let sass = compiled("turns", kernel).sass.expect("machine code");
    let consumer = sass.role(Role::Consumer).unwrap();
    let is = |i: usize, name: &str| consumer[i] && sass.code[i].is(name);
    let products: Vec<usize> = (0..sass.code.len()).filter(|i| is(*i, "QGMMA")).collect();
    assert_eq!(products.len(), 4, "a step is four instructions");
    let (first, last) = (products[0], products[3]);
    let taken = (0..first).rev().find(|i| is(*i, "BAR")).unwrap();
    let given = (last..sass.code.len()).find(|i| is(*i, "BAR")).unwrap();
    assert!(is(taken, "BAR.SYNC") && is(given, "BAR.ARV"), "{} {}", sass.code[taken].text, sass.code[given].text);
    let waits = (last..sass.code.len()).find(|i| is(*i, "WARPGROUP.DEPBAR")).unwrap();
    assert!(given < waits, "the turn is given before the products are over");
    assert!(!(taken..waits).any(|i| is(i, "FFMA")), "promotion within a turn");
    assert_eq!((waits..sass.code.len()).filter(|i| is(*i, "FFMA")).count(), 64);
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
