//! The static checkers on programs as the compiler makes them.

use crate::programs::{MODELS, alone, checked, library, model};
use std::time::Instant;

#[test]
fn library_kernels_pass() {
    for kernel in library() {
        let p = alone(&kernel);
        let begin = Instant::now();
        let report = checked(None, &p).unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
        println!(
            "{} {:?}: {:?}",
            kernel.name,
            begin.elapsed(),
            report.checks.iter().map(|c| (c.name, c.count, c.time)).collect::<Vec<_>>()
        );
    }
}

#[test]
fn models_pass() {
    for path in MODELS {
        let (plan, p) = model(path);
        let report = checked(Some(&plan), &p).unwrap_or_else(|e| panic!("{path}: {e}"));
        println!(
            "{path} {:?}: {:?}",
            report.time(),
            report.checks.iter().map(|c| (c.name, c.count, c.time)).collect::<Vec<_>>()
        );
        for n in &report.notes {
            println!("{n}");
        }
    }
}
