//! Fuzzing of the readers of outside input and of the macros.

use crate::shell::{cargo, run};

/// The target that lives in the macros' own crate.
const MACRO: &str = "macro";

/// Runs targets for `minutes` each; without a name all of them.
pub fn fuzz(args: &[String]) -> Result<(), String> {
    let (mut target, mut minutes, mut seed) = (None, "10".to_owned(), "1".to_owned());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = |name: &str| rest.next().cloned().ok_or_else(|| format!("{name} needs a value"));
        match arg.as_str() {
            "--minutes" => minutes = value("--minutes")?,
            "--seed" => seed = value("--seed")?,
            name if target.is_none() && !name.starts_with('-') => target = Some(name.to_owned()),
            other => return Err(format!("`{other}` is too much; usage: fuzz [TARGET] [--minutes N] [--seed S]")),
        }
    }
    minutes.parse::<f64>().map_err(|_| format!("--minutes {minutes}: expected a number"))?;
    seed.parse::<u64>().map_err(|_| format!("--seed {seed}: expected a whole number"))?;
    if target.as_deref().is_none_or(|t| t == MACRO) {
        let args =
            ["test", "--package", "tile-macros", "--lib", "--", "--ignored", "--exact", "--nocapture", "tests::fuzz"];
        run(cargo(&args, None).env("MONOTILE_FUZZ_MINUTES", &minutes).env("MONOTILE_FUZZ_SEED", &seed))?;
    }
    if target.as_deref() == Some(MACRO) {
        return Ok(());
    }
    let mut args = vec!["run", "--package", "tile-tests", "--no-default-features", "--bin", "fuzz", "--"];
    args.extend(target.as_deref());
    args.extend(["--minutes", &minutes, "--seed", &seed]);
    run(&mut cargo(&args, None))
}
