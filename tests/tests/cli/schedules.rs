//! Schedules by name and by file.

use super::{Scratch, monotile};

#[test]
fn a_schedule_is_chosen_by_name_or_file() {
    let list = monotile(&["kernel", "list"]).good();
    let linear = list.lines().find(|l| l.starts_with("linear ")).unwrap_or_else(|| panic!("{list}"));
    assert!(linear.ends_with("schedules shallow, warpgroup, half"), "{linear}");
    let rows = monotile(&["kernel", "list", "--json"]).json();
    assert_eq!(rows[2]["schedules"], serde_json::json!(["shallow", "warpgroup", "half"]), "{rows}");
    let shallow = monotile(&["kernel", "check", "linear", "--schedule", "shallow"]).good();
    assert!(shallow.contains("3 ring slots"), "{shallow}");

    let folder = Scratch::new();
    let file = folder.0.join("linear.sched").display().to_string();
    monotile(&["kernel", "explain", "linear", "--schedule", "shallow", "--schedule-out", &file]).good();
    let mlir =
        |schedule: &str| monotile(&["kernel", "emit", "linear", "--schedule", schedule, "--stage", "mlir"]).good();
    assert_eq!(mlir("shallow"), mlir(&file));
    assert_ne!(mlir("default"), mlir(&file));
    let printed = monotile(&["kernel", "explain", "linear", "--schedule", &file, "--schedule-out", "-"]).good();
    assert_eq!(printed, std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{e}")));
    let run = |schedule: &str| monotile(&["kernel", "run", "linear", "--schedule", schedule, "--json"]).json();
    assert_eq!(run("default")["outputs"], run("half")["outputs"]);
}

#[test]
fn two_schedules_are_compared_with_what_the_compiler_chose() {
    let diff = |a: &str, b: &str| monotile(&["kernel", "diff", "linear", a, b]).good();
    assert_eq!(diff("default", "half"), "~ split k.sum depth: 8 -> 4\n");
    assert_eq!(diff("half", "half"), "no difference\n");
    let lines = monotile(&["kernel", "diff", "linear", "shallow", "default", "--json"]).json();
    assert_eq!(lines, serde_json::json!(["~ ring [k.codes] stages: 3 -> 13"]));
}

/// Roles, rings and counts as pinned run under an adversary, and give what the interpreter does.
#[test]
fn scheduled_kernels_run_on_the_checked_simulator() {
    for (kernel, schedules) in [
        ("linear", &["default", "shallow", "warpgroup"][..]),
        ("linear_mxfp4", &["alone"]),
        ("attention", &["default", "keys_and_values"]),
    ] {
        for schedule in schedules {
            let ran = monotile(&["kernel", "run", kernel, "--schedule", schedule, "--device", "checked:7"]);
            assert_eq!(ran.code, 0, "{kernel} {schedule}: {}{}", ran.out, ran.err);
        }
    }
}

#[test]
fn wrong_schedules_are_refused() {
    monotile(&["kernel", "check", "linear", "--schedule", "shalow"]).refused(&["did you mean `shallow`?"]);
    monotile(&["kernel", "check", "embed", "--schedule", "shallow"]).refused(&["has no schedule `shallow`"]);
    monotile(&["kernel", "check", "--schedule", "shallow"]).refused(&["--schedule: name the one kernel"]);
    monotile(&["kernel", "run", "linear", "--schedule", "no.sched"]).refused(&["no.sched: can't be read"]);
    let folder = Scratch::new();
    let file = |text: &str| {
        let path = folder.0.join("x.sched");
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{e}"));
        let ran = monotile(&["kernel", "explain", "linear", "--schedule", &path.display().to_string()]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        ran.err
    };
    let name = file("schedule s for linear {\n  ring a [k.code]\n}\n");
    assert!(name.starts_with("error[E20]: kernel `linear` has no op `k.code`"), "{name}");
    assert!(name.contains("x.sched:2:11") && name.contains("2 |   ring a [k.code]"), "{name}");
    assert!(name.contains("did you mean `k.codes`, which is written here: models/src/kernels/linear.rs:"), "{name}");
    let syntax = file("schedule s for linear {\n  ring a [k.codes\n  stages 4\n}\n");
    assert!(syntax.starts_with("error[E34]:"), "{syntax}");
    let other = file("schedule s for embed { cluster 1 }");
    assert!(other.starts_with("error[E20]: schedule `s` is for kernel `embed`"), "{other}");
    let machine =
        file("schedule s for linear {\n  role consumer warps 8 registers 240\n  role producer registers 56\n}\n");
    assert!(machine.starts_with("error[E22]:") && machine.contains("x.sched:2:3"), "{machine}");
    let two = file("schedule a { cluster 1 }\nschedule b { cluster 1 }\n");
    assert!(two.contains("holds the schedules a, b; name one for kernel `linear`"), "{two}");
}
