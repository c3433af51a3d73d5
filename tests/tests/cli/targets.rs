//! `kernel check` for other targets, and what a kernel pins on any device.

use super::{Scratch, line, monotile};

/// Two conversions that sm_80 has no instruction for, on lines 4 and 5.
const NARROW: &str = "\
kernel @narrow(%x: global<f32, 1>, %y: global_mut<e4m3, 1>, %z: global_mut<e5m2, 1>) stage tile {
  %0 = const 0 : i32
  %a = load %x, %0 : tile<f32, 32>
  %b = cast %a : tile<e4m3, 32>
  %c = cast %a : tile<e5m2, 32>
  store %y, %b, %0
  store %z, %c, %0
}
";

#[test]
fn what_a_target_lacks_is_reported_at_each_op() {
    let scratch = Scratch::new();
    let file = scratch.file("narrow.tile", NARROW);
    let check = |target: &str| monotile(&line(&format!("kernel check {{}} --target {target}"), &file));
    for target in ["sm_90a", "sm_89", "sm_100a", "sm_120a"] {
        assert!(check(target).good().starts_with("ok  narrow"), "{target}");
    }
    let old = check("sm_80");
    assert!(old.code == 2 && old.out.is_empty(), "{}{}", old.out, old.err);
    assert_eq!(old.err.matches("error[E07]: sm_80 can't do this: converting to").count(), 2, "{}", old.err);
    for place in ["narrow.tile:4:3", "narrow.tile:5:3"] {
        assert!(old.err.contains(place), "no {place} in\n{}", old.err);
    }
    assert_eq!(old.err.matches("targets that can: sm_90a, sm_89, sm_100a, sm_120a").count(), 2, "{}", old.err);
    check("sm_75").refused(&["--target sm_75", "sm_90a, sm_80, sm_89"]);
}

#[test]
fn the_library_is_checked_for_a_target() {
    let names = ["linear", "linear_mxfp4", "attention"];
    let check = |target: &str| monotile(&[&["kernel", "check"][..], &names, &["--target", target]].concat()).good();
    for (target, slots) in [("sm_90a", "13 ring slots"), ("sm_80", "9 ring slots"), ("sm_120a", "11 ring slots")] {
        let told = check(target);
        assert_eq!(told.lines().filter(|l| l.starts_with("ok  ")).count(), names.len(), "{target}: {told}");
        assert!(told.contains(slots), "{target}: {told}");
    }
}

/// The simulator has no memory that could run out: what is pinned must be possible all the same.
#[test]
fn a_ring_that_does_not_fit_is_refused_on_the_simulator_too() {
    let scratch = Scratch::new();
    let file = scratch.file("deep.sched", "schedule deep for linear {\n  ring tiles [k.codes] stages 30\n}\n");
    for verb in ["check", "run", "bench"] {
        let ran = monotile(&line(&format!("kernel {verb} linear --schedule {{}}"), &file));
        assert!(ran.code == 2 && ran.out.is_empty(), "{verb}: {}{}", ran.out, ran.err);
        assert!(
            ran.err.contains("error[E21]: a ring of 30 slots of 16384 bytes does not fit, 13 slots do"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("deep.sched:2:3"), "{}", ran.err);
    }
}

#[test]
fn source_with_explicit_roles_has_what_a_schedule_pins() {
    let source = |schedule: &str| monotile(&["kernel", "explain", "linear", "--schedule", schedule, "--as-source"]);
    assert!(source("shallow").good().contains("::new::<3>();"));
    assert!(source("warpgroup").good().contains("role(\"consumer\", 4, 0, || {"));
    let half = source("half").good();
    assert!(half.contains("#[tile::schedule(linear)]\npub fn half() -> Schedule {\n"), "{half}");
    assert!(half.contains(".acc\", [1, 1, 4])"), "{half}");
    // A schedule that can't be honoured is not printed.
    let scratch = Scratch::new();
    let file = scratch.file("rows.sched", "schedule rows for linear {\n  cluster 2\n}\n");
    let ran = monotile(&line("kernel explain linear --as-source --schedule {}", &file));
    assert!(ran.code == 2 && ran.out.is_empty(), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("error[E30]: 2 CTAs of a cluster have nothing to share"), "{}", ran.err);
}
