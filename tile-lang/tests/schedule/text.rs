//! Schedules as text.

use super::kernels::whole;
use proptest::prelude::*;
use tile_lang::DType::Bf16;
use tile_lang::ir;
use tile_lang::schedule::{
    InFlight, OpName, Pinned, Raster, Ring, RoleSpec, Schedule, Split, Turns, diff, parse, parse_all,
};
use tile_lang::span::Span;

const EXAMPLE: &str = r#"
// Two schedules of one file.
schedule deep for linear {
  ring tiles [k.codes, k.blocks] stages 4
  role load warps 4 registers 56 [k.codes, k.blocks]
  role math warps 8 registers 224 [
    k.acc,      // over several lines
    y.store
  ]
  split k.acc rows 1 columns 2 depth 4
  inflight k.acc 0
  turns [k.acc]
  raster grouped 8
  cluster 1
}
schedule "a name" { ring tiles stages 2 turns [] raster column-major }
"#;

#[test]
fn a_file_is_read() {
    let list = parse_all(EXAMPLE, "deep.sched").unwrap();
    assert_eq!(list.len(), 2);
    let deep = &list[0];
    assert_eq!((deep.name.as_str(), deep.kernel.as_str()), ("deep", "linear"));
    assert_eq!(deep.rings[0].stages, Some(4));
    assert_eq!(deep.roles[1].ops.len(), 2);
    assert_eq!((deep.roles[1].warps, deep.roles[1].registers), (Some(8), Some(224)));
    assert_eq!([deep.splits[0].rows, deep.splits[0].columns, deep.splits[0].depth], [1, 2, 4]);
    assert_eq!(deep.turns.as_ref().map(|t| t.ops[0].text.as_str()), Some("k.acc"));
    assert_eq!(deep.raster.map(|p| p.value), Some(Raster::Grouped(8)));
    let at = deep.rings[0].ops[1].span;
    assert_eq!((at.line, at.col, at.len), (4, 24, 8));
    assert_eq!(list[1].name, "a name");
    assert_eq!(list[1].raster.map(|p| p.value), Some(Raster::ColumnMajor));
}

#[test]
fn every_mistake_of_a_text_is_reported() {
    let text = "schedule s for k {\n  ring a [x y]\n  role b warps many\n  split x rows 1 columns 1\n  cluster 1\n  \
                cluster 2\n  raster diagonal\n  stages 4\n  inflight x 99999999999999999999\n  turns [a]\n  turns [b]\n}\n";
    let error = parse(text, "wrong.sched").unwrap_err();
    assert_eq!(error.0.len(), 8, "{error}");
    insta::assert_snapshot!(error.to_string());
    for text in ["", "schedule", "schedule s {", "schedule s { ring", "ring a", "schedule s {} x", "schedule s { } }"] {
        let error = parse(text, "wrong.sched").unwrap_err().to_string();
        assert!(error.contains("error[E34]"), "{text}: {error}");
    }
    assert!(parse(EXAMPLE, "two.sched").unwrap_err().to_string().contains("the text has 2"));
}

#[test]
fn a_kernel_keeps_its_schedule_in_its_text() {
    let kernel = whole::DEF.instance(&[Bf16.into(), 8.into(), 128.into()]).unwrap();
    let text = kernel.to_string();
    let read = ir::parse(&text, "gemm.tile").unwrap();
    assert_eq!(read.schedule, kernel.schedule);
    assert_eq!(read.to_string(), text);
    let brief = format!("{kernel:#}");
    assert!(brief.contains("  schedule whole for gemm {\n    ring tiles [k.codes, k.blocks] stages 4\n"), "{brief}");
    let read = ir::parse(&brief, "gemm.tile").unwrap();
    assert_eq!(format!("{read:#}"), brief);
    let schedule = read.schedule.unwrap();
    assert_eq!(schedule.without_places(), kernel.schedule.unwrap().without_places());
    // Without a table of files the places are those of the text.
    assert_eq!((schedule.rings[0].span.line, schedule.rings[0].span.col), (3, 5));
    assert_eq!(schedule.file(schedule.span), "gemm.tile");
}

#[test]
fn instances_with_different_schedules_are_different() {
    let kernel = whole::DEF.instance(&[Bf16.into(), 8.into(), 128.into()]).unwrap();
    let plain = super::kernels::gemm::instance(Bf16, 8, 128).unwrap();
    let mut plan = tile_lang::plan::Plan::new("two");
    assert_eq!([plan.kernel(kernel.clone()), plan.kernel(plain), plan.kernel(kernel)], [0, 1, 0]);
    let stored = serde_json::to_string(&plan).unwrap();
    let read: tile_lang::plan::Plan = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, plan);
}

#[test]
fn differences_are_named() {
    let a = &parse_all(EXAMPLE, "a.sched").unwrap()[0];
    let text = EXAMPLE.replace("registers 224", "registers 232").replace("stages 4", "stages 3");
    let text =
        text.replace("inflight k.acc 0", "split y rows 1 columns 1 depth 1").replace(", k.blocks] stages", "] stages");
    let b =
        &parse_all(&text.replace("raster grouped 8", "").replace("turns [k.acc]", "turns []"), "b.sched").unwrap()[0];
    insta::assert_snapshot!(diff(a, b).join("\n"));
    assert!(diff(a, a).is_empty());
    assert!(diff(a, &a.without_places()).is_empty());
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_][a-z0-9_]{0,6}", "[ -~äß\n\"\\\\]{0,8}", Just("ring".to_owned()), Just("stages".to_owned())]
}

fn op() -> impl Strategy<Value = OpName> {
    let text = prop_oneof!["[a-z0-9_]{1,5}(\\.[a-z0-9_]{1,5}){0,2}(#[0-9]{1,2})?", "[ -~é\n]{0,8}"];
    (text, span()).prop_map(|(text, span)| OpName { text, span })
}

fn span() -> impl Strategy<Value = Span> {
    let known = (0..3u32, 1..99u32, 1..99u32, 1..9u32).prop_map(|(file, line, col, len)| Span { file, line, col, len });
    prop_oneof![Just(Span::NONE), known]
}

fn ops() -> impl Strategy<Value = Vec<OpName>> {
    prop::collection::vec(op(), 0..4)
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let number = || prop::option::of(0..5000usize);
    let ring = (name(), ops(), number(), span()).prop_map(|(name, ops, stages, span)| Ring { name, ops, stages, span });
    let role = (name(), number(), number(), ops(), span()).prop_map(|(name, warps, registers, ops, span)| RoleSpec {
        name,
        warps,
        registers,
        ops,
        span,
    });
    let split = (op(), 0..9usize, 0..9usize, 0..9usize, span()).prop_map(|(op, rows, columns, depth, span)| Split {
        op,
        rows,
        columns,
        depth,
        span,
    });
    let inflight = (op(), 0..9usize, span()).prop_map(|(op, groups, span)| InFlight { op, groups, span });
    let raster = prop_oneof![Just(Raster::RowMajor), Just(Raster::ColumnMajor), (0..99usize).prop_map(Raster::Grouped)];
    let raster = prop::option::of((raster, span()).prop_map(|(value, span)| Pinned { value, span }));
    let cluster = prop::option::of((0..9usize, span()).prop_map(|(value, span)| Pinned { value, span }));
    let lists = (
        prop::collection::vec(ring, 0..3),
        prop::collection::vec(role, 0..3),
        prop::collection::vec(split, 0..3),
        prop::collection::vec(inflight, 0..2),
        prop::option::of((ops(), span()).prop_map(|(ops, span)| Turns { ops, span })),
    );
    (name(), name(), prop::collection::vec("[ -~]{0,9}", 0..3), span(), lists, raster, cluster).prop_map(
        |(name, kernel, files, span, (rings, roles, splits, inflight, turns), raster, cluster)| Schedule {
            name,
            kernel,
            files,
            span,
            rings,
            roles,
            splits,
            inflight,
            turns,
            raster,
            cluster,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_reads_back_as_the_same_schedule(s in schedule()) {
        let text = s.to_string();
        let read = parse(&text, "x.sched").map_err(|e| TestCaseError::fail(format!("{text}\n{e}")))?;
        prop_assert_eq!(read.without_places(), s.without_places());
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn a_kernels_text_keeps_every_place(s in schedule()) {
        let mut kernel = super::kernels::grid::instance(1).unwrap();
        kernel.schedule = Some(Box::new(s));
        let text = kernel.to_string();
        let read = ir::parse(&text, "x.tile").map_err(|e| TestCaseError::fail(format!("{text}\n{e}")))?;
        prop_assert_eq!(&read.schedule, &kernel.schedule);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn damaged_text_is_read_or_refused(cut in 0..EXAMPLE.len(), len in 0..6usize, put in "[ -~\n]{0,4}") {
        let mut text: Vec<u8> = EXAMPLE.into();
        text.splice(cut..(cut + len).min(EXAMPLE.len()), put.bytes());
        if let Err(e) = parse_all(&String::from_utf8_lossy(&text), "x.sched") {
            prop_assert!(!e.0.is_empty() && e.0.iter().all(|d| d.code == "E34"));
        }
    }
}
