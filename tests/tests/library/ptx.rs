//! Snapshots of every library kernel's PTX, and which of them have changed since they last ran on a GPU.

use super::{Entry, library};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use tile_codegen::target;
use tile_tests::targets::fitting;
use tile_tests::{ptx, results};

fn snapshot(entry: &Entry) -> String {
    let image = &entry.compiled.image;
    let mut out = format!(
        "case {}\nsha256 {}\nregisters {}, shared bytes {}, ring slots {}\n",
        entry.case.name,
        tile_lang::ptx::sha256(&image.ptx),
        image.registers,
        image.shared_bytes,
        entry.compiled.report.shared.slots
    );
    if image.target != target::DEFAULT.name {
        let _ = writeln!(out, "target {}", image.target);
    }
    let mut width = 0;
    for (name, count) in ptx::histogram(&image.ptx) {
        let item = format!("{name} {count}");
        if width > 0 && width + item.len() > 100 {
            out.push('\n');
            width = 0;
        }
        let separator = if width > 0 { ", " } else { "" };
        let _ = write!(out, "{separator}{item}");
        width += item.len() + 2;
    }
    out
}

#[test]
fn ptx_is_as_it_was() {
    for entry in library() {
        let text = tile_lang::ptx::stripped(&entry.compiled.image.ptx);
        assert!(!text.contains(".rs") && !text.contains("/home"), "{}: PTX with paths", entry.case.name);
        insta::assert_snapshot!(entry.case.kernel.as_str(), snapshot(entry));
    }
}

#[test]
fn ptx_does_not_depend_on_the_run() {
    for entry in library().iter().step_by(5) {
        let again = tile_codegen::compile(&entry.case.plan, fitting(&entry.case.plan)).unwrap();
        assert_eq!(again.image.ptx, entry.compiled.image.ptx, "{}", entry.case.name);
    }
}

/// Says which kernels have changed since a device last ran them; fails for one that no device ever ran.
#[test]
fn every_kernel_has_run_on_a_device() {
    // Figures, and what was only compared.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let files: Vec<_> = ["device", "suite"].into_iter().flat_map(|suite| results::files(&folder, suite)).collect();
    if files.is_empty() {
        println!("there are no results of a device yet");
        return;
    }
    let mut last = HashMap::new();
    for file in &files {
        // Other targets have suites of their own.
        for row in results::read(file).unwrap().into_iter().filter(|row| row.suite == "device") {
            let (name, found) = ((row.work, row.shape), (row.ptx_sha256, row.date, row.machine));
            let newest = last.entry(name).or_insert_with(|| found.clone());
            if newest.1 < found.1 {
                *newest = found;
            }
        }
    }
    let mut never = Vec::new();
    // What needs another target has no device here to run on.
    for entry in library().iter().filter(|e| e.compiled.image.target == target::DEFAULT.name) {
        let name = (entry.case.kernel.clone(), entry.case.shape.clone());
        match last.get(&name) {
            Some((sha, ..)) if *sha == tile_lang::ptx::sha256(&entry.compiled.image.ptx) => {}
            Some((_, date, machine)) => println!("{} has changed since it ran on {machine} on {date}", name.0),
            None => never.push(name.0),
        }
    }
    assert!(never.is_empty(), "never ran on a device: {}", never.join(", "));
}
