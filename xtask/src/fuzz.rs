//! Fuzzing of the readers of outside input and of the macros.

use crate::shell::{cargo, output, run, say};
use std::path::{Path, PathBuf};

/// The target that lives in the macros' own crate.
const MACRO: &str = "macro";
/// The build of the readers' targets.
const READERS: [&str; 5] = ["--package", "tile-tests", "--no-default-features", "--bin", "fuzz"];
/// The test that is the macros' campaign.
const CAMPAIGN: [&str; 4] = ["--ignored", "--exact", "--nocapture", "tests::fuzz::fuzz"];

/// Runs targets for `minutes` each, without a name all of them; or, with `--pack`, only builds what runs elsewhere.
pub fn fuzz(args: &[String]) -> Result<(), String> {
    let (mut target, mut minutes, mut seed, mut folder) = (None, "10".to_owned(), "1".to_owned(), None);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = |name: &str| rest.next().cloned().ok_or_else(|| format!("{name} needs a value"));
        match arg.as_str() {
            "--minutes" => minutes = value("--minutes")?,
            "--seed" => seed = value("--seed")?,
            "--pack" => folder = Some(PathBuf::from(value("--pack")?)),
            name if target.is_none() && !name.starts_with('-') => target = Some(name.to_owned()),
            other => {
                let usage = "fuzz [TARGET] [--minutes N] [--seed S], or fuzz --pack DIR";
                return Err(format!("`{other}` is too much; usage: {usage}"));
            }
        }
    }
    minutes.parse::<f64>().map_err(|_| format!("--minutes {minutes}: expected a number"))?;
    seed.parse::<u64>().map_err(|_| format!("--seed {seed}: expected a whole number"))?;
    if let Some(folder) = folder {
        return pack(&folder);
    }
    if target.as_deref().is_none_or(|t| t == MACRO) {
        let args = [&["test", "--package", "tile-macros", "--lib", "--"][..], &CAMPAIGN].concat();
        run(cargo(&args, None).env("MONOTILE_FUZZ_MINUTES", &minutes).env("MONOTILE_FUZZ_SEED", &seed))?;
    }
    if target.as_deref() == Some(MACRO) {
        return Ok(());
    }
    let mut args = [&["run"][..], &READERS, &["--"]].concat();
    args.extend(target.as_deref());
    args.extend(["--minutes", &minutes, "--seed", &seed]);
    run(&mut cargo(&args, None))
}

/// Builds the programs and puts them into a folder, with the library that the macros' tests load: all that a machine
/// without cargo needs beside a copy of the repository (docs/fuzzing.md).
fn pack(folder: &Path) -> Result<(), String> {
    let readers = built(&[&["build"][..], &READERS].concat())?;
    let macros = built(&["test", "--package", "tile-macros", "--lib", "--no-run"])?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = output(&mut crate::shell::command(rustc, &["--print", "target-libdir"]))
        .ok_or("rustc doesn't say where its libraries are")?;
    let libraries = std::fs::read_dir(libraries.trim()).map_err(|e| format!("{}: {e}", libraries.trim()))?;
    let std = libraries.flatten().map(|f| f.path()).find(|f| {
        let name = f.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".so")
    });
    // The tests of a crate of macros link the standard library dynamically.
    let std = std.ok_or("rustc has no libstd-*.so")?;
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let name = std.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for (from, name) in [(&readers, "fuzz"), (&macros, "fuzz-macro"), (&std, name.as_str())] {
        let to = folder.join(name);
        std::fs::copy(from, &to).map_err(|e| format!("{}: {e}", to.display()))?;
        say(&format!("{} ({:.1} MB)", to.display(), to.metadata().map_or(0.0, |m| m.len() as f64 / 1e6)));
    }
    Ok(())
}

/// Runs cargo and takes the program's path from its messages.
fn built(args: &[&str]) -> Result<PathBuf, String> {
    let args = [args, &["--message-format=json-render-diagnostics"]].concat();
    let mut command = cargo(&args, None);
    say(&crate::shell::shown(&command));
    let failed = || format!("`cargo {}` failed", args.join(" "));
    let out = command.stderr(std::process::Stdio::inherit()).output().map_err(|e| e.to_string())?;
    if !out.status.success() {
        return Err(failed());
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let mut path =
        text.lines().filter_map(|l| l.split_once("\"executable\":\"")).filter_map(|(_, r)| r.split_once('"'));
    path.next_back().map(|(p, _)| PathBuf::from(p)).ok_or_else(failed)
}
