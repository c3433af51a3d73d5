//! Names of ops: what they are, which schedules are refused.

use super::kernels::{gemm, generic, homeless, told_apart, whole, wrong};
use tile_lang::DType::{Bf16, F32};
use tile_lang::build::Generic;
use tile_lang::ir::{Kernel, OpKind, parse};
use tile_lang::schedule::{ScheduleDef, named_ops, resolve};

fn generics() -> [Generic; 3] {
    [Bf16.into(), 8.into(), 128.into()]
}

fn kernel() -> Kernel {
    gemm::instance(Bf16, 8, 128).unwrap()
}

fn errors(def: ScheduleDef) -> String {
    def.instance(&generics()).unwrap_err().to_string()
}

#[test]
fn ops_are_called_as_in_the_source() {
    let ids: Vec<String> = named_ops(&kernel()).iter().map(|n| n.id()).collect();
    let want = ["head", "mma", "z.store", "k.codes", "k.blocks", "k.acc", "part#0", "y.store#0", "part#1", "y.store#1"];
    assert_eq!(ids, want);
}

#[test]
fn an_attribute_names_what_let_does_not_tell_apart() {
    let kernel = told_apart::instance().unwrap();
    let ids: Vec<String> = named_ops(&kernel).iter().map(|n| n.id()).collect();
    assert_eq!(ids, ["k.codes", "k.first", "k.second", "plain", "doubled"]);
    let text = kernel.to_string();
    assert!(text.contains("store 'doubled %y"), "{text}");
}

#[test]
fn an_attribute_on_what_has_no_op_is_refused() {
    use tile_lang::build::{Cx, Space, TypeSpec};
    let at = tile_lang::Span { file: 0, line: 3, col: 10, len: 4 };
    let mut cx = Cx::new("k", "k.rs");
    cx.begin_op(at, "none");
    let spec = TypeSpec { space: Space::Tile, dtype: Some(F32), shape: vec![16] };
    cx.constructor(at, &spec, "zero", vec![]);
    cx.end_op();
    let errors = cx.finish().unwrap_err().0;
    assert_eq!((errors[0].code, errors[0].span), ("E20", at));
    assert_eq!(errors[0].message, "`#[op(none)]` names no op that a schedule could name");
}

#[test]
fn names_survive_the_text_form() {
    for kernel in [kernel(), told_apart::instance().unwrap()] {
        survives(&kernel);
    }
}

fn survives(kernel: &Kernel) {
    for text in [kernel.to_string(), format!("{kernel:#}")] {
        let read = parse(&text, "gemm.tile").unwrap();
        let ids = |k: &Kernel| named_ops(k).iter().map(|n| n.id()).collect::<Vec<_>>();
        assert_eq!(ids(&read), ids(kernel));
    }
}

#[test]
fn labels_may_be_left_out_and_numbers_choose() {
    let kernel = kernel();
    let ops = named_ops(&kernel);
    let called = |name: &str| ops.iter().filter(|n| n.is_called(name)).map(|n| n.id()).collect::<Vec<_>>();
    assert_eq!(called("codes"), ["k.codes"]);
    assert_eq!(called("k.codes"), ["k.codes"]);
    assert_eq!(called("t.codes"), [""; 0], "a labelled loop goes by its label");
    assert_eq!(called("store"), ["z.store", "y.store#0", "y.store#1"]);
    assert_eq!(called("part"), ["part#0", "part#1"]);
    assert_eq!(called("part#1"), ["part#1"]);
    assert_eq!(called("part#2"), [""; 0]);
    assert_eq!(called("k"), [""; 0]);
}

#[test]
fn a_schedule_finds_its_ops() {
    let kernel = whole::DEF.instance(&generics()).unwrap();
    let schedule = kernel.schedule.as_deref().unwrap();
    assert_eq!((schedule.name.as_str(), schedule.kernel.as_str()), ("whole", "gemm"));
    let found = resolve(&kernel, schedule).unwrap();
    assert_eq!(found.rings.len(), 1);
    assert_eq!(found.rings[0].loads.len(), 2);
    assert!(found.rings[0].loads.iter().all(|op| kernel.op(*op).kind == OpKind::Stage));
    assert_eq!(found.roles.iter().map(|r| r.ops.len()).collect::<Vec<_>>(), [5, 5]);
    assert_eq!(found.splits.values().map(|s| s.warps).collect::<Vec<_>>(), [[1, 1, 8]]);
    assert_eq!(schedule.rings[0].stages, Some(4), "a parameter is the kernel's generic");
    let wide = whole::DEF.instance(&[F32.into(), 8.into(), 128.into()]).unwrap();
    assert_eq!(wide.schedule.unwrap().rings[0].stages, Some(2), "so is an element type");
}

#[test]
fn places_of_names_are_those_of_the_literals() {
    let kernel = whole::DEF.instance(&generics()).unwrap();
    let schedule = kernel.schedule.as_deref().unwrap();
    let source = include_str!("kernels.rs");
    let text = |line: u32, col: u32, len: u32| {
        let line = source.lines().nth(line as usize - 1).unwrap_or_default();
        line.chars().skip(col as usize - 1).take(len as usize).collect::<String>()
    };
    let ring = &schedule.rings[0];
    for op in &ring.ops {
        assert_eq!(text(op.span.line, op.span.col, op.span.len), format!("{:?}", op.text));
    }
    assert_eq!(text(schedule.span.line, schedule.span.col, schedule.span.len), "whole");
    // Names that were not written at the call point at the call.
    assert_eq!(text(schedule.roles[0].ops[0].span.line, schedule.roles[0].ops[0].span.col, 4), "role");
}

#[test]
fn every_wrong_name_is_reported_with_both_places() {
    insta::assert_snapshot!(errors(wrong::DEF));
    insta::assert_snapshot!(errors(homeless::DEF));
    insta::assert_snapshot!(errors(generic::DEF));
}

#[test]
fn a_schedule_of_another_kernel_is_refused() {
    let other = super::kernels::grid::instance(1).unwrap();
    let schedule = homeless::DEF.schedule(&other).unwrap();
    let text = schedule.attach(other).unwrap_err().to_string();
    assert!(text.contains("error[E20]: schedule `homeless` is for kernel `gemm`"), "{text}");
}
