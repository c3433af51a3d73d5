//! Every diagnostic code is provoked, and its message is looked at.
//!
//! Each table pairs a code with the smallest kernel, schedule, text, launch or damaged protocol that draws it. A table's test provokes
//! all of its cases: the message must carry the code and one fix, and is kept as a snapshot, so that a check that vanishes fails
//! here. What only the macros say counts where a `.stderr` file of trybuild has it. [`every_code_is_provoked`] compares with the pages.

mod launches;
mod machine;
mod protocols;
mod simulated;
mod staging;
mod texts;
mod tools;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tile_lang::build::InstanceError;
use tile_lang::diag::Diagnostics;
use tile_lang::ir::Kernel;

/// What provokes a code.
struct Case {
    code: &'static str,
    /// What is wrong, in words.
    what: &'static str,
    /// Makes the mistake; the rendered message.
    provoke: fn() -> String,
}

/// A row of a table.
const fn case(code: &'static str, what: &'static str, provoke: fn() -> String) -> Case {
    Case { code, what, provoke }
}

/// All tables.
const TABLES: [&[Case]; 7] =
    [staging::CASES, texts::CASES, launches::CASES, machine::CASES, protocols::CASES, simulated::CASES, tools::CASES];

/// Provokes all of a table. Each message has its code, and says more than that: a fix, a number, another place.
fn provoked(cases: &[Case]) -> String {
    let mut out = String::new();
    for Case { code, what, provoke } in cases {
        let message = provoke();
        let kind = if code.starts_with('W') { "warning" } else { "error" };
        assert!(message.contains(&format!("{kind}[{code}]: ")), "{what}: no {code} in\n{message}");
        for one in message.split("\nerror[").flat_map(|m| m.split("\nwarning[")) {
            assert!(one.contains("\n  = "), "{what}: a message without a fix\n{one}");
        }
        out += &format!("== {what}\n{}\n\n", without_numbers(&message));
    }
    out
}

/// The message of what must be wrong.
fn message<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Err(e) => e.to_string(),
        Ok(value) => panic!("nothing is wrong with {value:?}"),
    }
}

/// Staging of an instance, which goes well.
fn instance(kernel: Result<Kernel, InstanceError>) -> Kernel {
    kernel.unwrap_or_else(|e| panic!("{e}"))
}

/// One message as text.
fn rendered(list: Vec<tile_lang::diag::Diagnostic>) -> String {
    assert!(!list.is_empty(), "nothing is wrong");
    Diagnostics(list).to_string()
}

/// A message without the numbers of lines in these files, which change with every edit: what stands there is shown anyway.
fn without_numbers(message: &str) -> String {
    let lines = message.lines().map(|line| {
        let number = line.trim_start().split(" | ").next().unwrap_or_default();
        if !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()) && line.contains(" | ") {
            return line.replacen(number, &" ".repeat(number.len()), 1);
        }
        let Some(at) = line.find(".rs:") else { return line.to_owned() };
        let (before, after) = line.split_at(at + 4);
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{before}…{rest}")
    });
    let text: Vec<String> = lines.collect();
    text.join("\n")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Codes in the messages that trybuild compares: `[E24]` of a macro's error.
fn of_macros() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let ui = repository().join("tile-lang/tests/ui");
    for folder in [ui.clone(), ui.join("roles")] {
        let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let files = files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "stderr"));
        for file in files {
            assert!(file.with_extension("rs").exists(), "{} belongs to no test", file.display());
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let codes = text.lines().filter_map(|l| l.strip_prefix("error: [")).filter_map(|l| l.split_once(']'));
            out.extend(codes.map(|(code, _)| code.to_owned()));
        }
    }
    out
}

#[test]
fn every_code_is_provoked() {
    let mut provoked = of_macros();
    assert!(!provoked.is_empty());
    provoked.extend(TABLES.into_iter().flatten().map(|c| c.code.to_owned()));
    let pages = std::fs::read_dir(repository().join("docs/errors")).unwrap_or_else(|e| panic!("{e}"));
    let pages = pages.flatten().filter_map(|p| Some(p.path().file_stem()?.to_string_lossy().into_owned()));
    assert_eq!(provoked, pages.collect());
}
