//! Figures of the checks: what checking a kernel takes, and what the macros add to `cargo check`.

use crate::shell::{cargo, root, run, say};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

/// Kernels of the scratch crate.
const KERNELS: usize = 20;
/// Checks of each crate; the fastest counts.
const RUNS: usize = 3;
/// Seconds that the macros may take.
const MOST: f64 = 10.0;

/// Prints both.
pub fn figures() -> Result<(), String> {
    run(&mut cargo(&["run", "--quiet", "--package", "tile-tests", "--no-default-features", "--bin", "figures"], None))?;
    macros()
}

/// What `cargo check` takes of a crate with 20 kernels, and of the same crate whose functions have no attribute: rustc then
/// checks the functions as they stand, and nothing is expanded. The difference is the macros' share, code that they write included.
fn macros() -> Result<(), String> {
    let folder = root().join("target/figures");
    let sources = kernels()?;
    let mut times = Vec::new();
    for (name, with) in [("plain", false), ("kernels", true)] {
        let package = write(&folder.join(name), name, &sources, with)?;
        // The first check builds what the crate depends on.
        check(&package)?;
        let mut best = (f64::MAX, f64::MAX);
        for _ in 0..RUNS {
            touch(&package)?;
            let (wall, cpu) = check(&package)?;
            best = (best.0.min(wall), best.1.min(cpu));
        }
        say(&format!("cargo check of {KERNELS} functions, {name}: {:.2} s, {:.2} s on processors", best.0, best.1));
        times.push(best);
    }
    let share = times[1].1 - times[0].1;
    say(&format!("the macros' share: {share:.2} s on processors for {KERNELS} kernels; {MOST} s are allowed"));
    if share <= MOST { Ok(()) } else { Err(format!("the macros take {share:.2} s")) }
}

/// Texts of library kernels, each complete in one file: those that `kernel explain --as-source` prints, without those that a schedule stands beside.
fn kernels() -> Result<Vec<(String, String)>, String> {
    let folder = root().join("tests/tests/library/explicit");
    let files = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = files.flatten().map(|f| f.path()).filter(|p| !p.ends_with("mod.rs")).collect();
    files.sort();
    let mut out = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        if out.len() == KERNELS || text.contains("#[tile::schedule") {
            continue;
        }
        out.push((file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), text));
    }
    if out.len() == KERNELS { Ok(out) } else { Err(format!("{} has {} kernels", folder.display(), out.len())) }
}

/// Writes the crate. The language alone stands for the facade, so that nothing else is built.
fn write(folder: &Path, name: &str, sources: &[(String, String)], with: bool) -> Result<PathBuf, String> {
    let wrong = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(folder.join("src")).map_err(wrong)?;
    let language = root().join("tile-lang");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         monotile = {{ package = \"tile-lang\", path = {:?} }}\n\n[workspace]\n",
        language.display().to_string()
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).map_err(wrong)?;
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).map_err(wrong)?;
    let mut main = String::from("#![allow(unused, reason = \"only checked\")]\n");
    for (file, text) in sources {
        main += &format!("mod {file};\n");
        let text = text.replace("use monotile::prelude::*;", "use monotile::{dsl::*, tile};");
        let text = if with { text } else { text.replace("#[tile::kernel]\n", "") };
        std::fs::write(folder.join("src").join(format!("{file}.rs")), text).map_err(wrong)?;
    }
    std::fs::write(folder.join("src/main.rs"), main + "fn main() {}\n").map_err(wrong)?;
    Ok(folder.to_owned())
}

fn touch(package: &Path) -> Result<(), String> {
    let file = package.join("src/main.rs");
    let text = std::fs::read(&file).and_then(|text| std::fs::write(&file, text));
    text.map_err(|e| format!("{}: {e}", file.display()))
}

/// Seconds of a check without what an earlier one left of this crate: on the clock, and on processors.
fn check(package: &Path) -> Result<(f64, f64), String> {
    let (begin, before) = (Instant::now(), of_children());
    let target = root().join("target/figures/target");
    let manifest = package.join("Cargo.toml");
    let args = ["check", "--quiet", "--offline", "--manifest-path", &manifest.display().to_string()].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command = cargo(&args, None);
    // Cold: no incremental results of the crate itself.
    command.env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "0").stdin(Stdio::null());
    let status = command.status().map_err(|e| format!("cargo can't be started: {e}"))?;
    if !status.success() {
        return Err(format!("the crate {} can't be checked", package.display()));
    }
    Ok((begin.elapsed().as_secs_f64(), of_children() - before))
}

/// Processor time of all children that have ended, in seconds; 0 where the system doesn't say.
fn of_children() -> f64 {
    /// Linux counts in hundredths, whatever the kernel's own clock is.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold blanks; after it the numbers of the page proc(5) begin with the third.
    let numbers = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    numbers.split_whitespace().skip(13).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / TICKS
}
