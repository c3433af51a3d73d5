//! The static checkers on programs as the compiler makes them.

use crate::programs::{MODELS, alone, checked, library, model, prompts};
use std::time::Duration;
use tile_codegen::check::{Checked, Report};
use tile_lang::ir::Type;

/// Far above what checking takes, for a build without optimisation on a busy machine.
const MOST: Duration = Duration::from_secs(5);

fn show(name: &str, report: &Report) {
    let list: Vec<String> =
        report.checks.iter().map(|c| format!("{} {} {} {:.1?}", c.name, c.count, c.unit, c.time)).collect();
    println!("{name}: {:.1?} ({})", report.time(), list.join(", "));
    assert!(report.time() < MOST, "{name} took {:?}", report.time());
}

#[test]
fn library_kernels_pass() {
    for kernel in library() {
        let report = checked(None, &alone(&kernel)).unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
        let tiles = kernel.values.iter().any(|v| matches!(v.ty, Type::Tile(..)));
        let looked_at = |c: &Checked| c.count > 0 || (c.name == "layouts" && !tiles);
        assert!(report.checks.iter().all(looked_at), "{}: {report:?}", kernel.name);
        show(&kernel.name, &report);
    }
}

#[test]
fn programs_for_prompts_pass() {
    for (path, rows) in MODELS.into_iter().zip([64, 256, 32, 128, 16]) {
        let (plan, p) = prompts(path, rows);
        let report = checked(Some(&plan), &p).unwrap_or_else(|e| panic!("{path}: {e}"));
        // Where a chunk lies in the caches, and which rows are a text's, stands in buffers; everything else is decided.
        let by_data = |n: &String| {
            let item = n.starts_with("not provable that work items of ");
            item && [" rope` touch different elements", " attention` touch different elements"]
                .iter()
                .any(|p| n.contains(p))
        };
        assert!(report.notes.iter().all(by_data), "{:?}", report.notes);
        show(path, &report);
    }
}

#[test]
fn models_pass() {
    for path in MODELS {
        let (plan, p) = model(path);
        let report = checked(Some(&plan), &p).unwrap_or_else(|e| panic!("{path}: {e}"));
        // Splits of attention are chosen by data; everything else is decided.
        assert!(report.notes.iter().all(|n| n.contains(" attention` touch different elements")), "{:?}", report.notes);
        show(path, &report);
    }
}
