//! Everything that must hold before a change is merged.

use crate::setup::setup;
use crate::shell::{cargo, run, say, succeeds};
use std::time::Instant;

/// Sets up, runs every check and sums up; one that fails doesn't keep the others from running.
pub fn test() -> Result<(), String> {
    let tools = setup()?.tools;
    let checks: [(&str, &[&str], &[&str]); 4] = [
        ("formatting", &["fmt", "--version"], &["fmt", "--all", "--check"]),
        ("tests", &[], &["test", "--workspace", "--no-fail-fast"]),
        ("the build without LLVM", &[], &["build", "--package", "monotile", "--no-default-features"]),
        ("lints", &["clippy", "--version"], &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    ];
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (name, probe, args) in checks {
        if !probe.is_empty() && !succeeds(&mut cargo(probe, None)) {
            rows.push(format!("{name:<24} left out: `cargo {}` is not installed", args[0]));
            continue;
        }
        let begin = Instant::now();
        let result = run(cargo(args, Some(&tools)).env("INSTA_UPDATE", "no"));
        let word = if result.is_ok() { "passed" } else { "FAILED" };
        rows.push(format!("{name:<24} {word} in {:.0} s", begin.elapsed().as_secs_f64()));
        if let Err(e) = result {
            say(&e);
            failed.push(name);
        }
    }
    say("summary");
    for row in rows {
        println!("  {row}");
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}
