//! Kernels of a user's crate: its own binary around `monotile::cli()` is built and asked.

use super::super::Io;
use super::super::error::CliError;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the crate's binary with the same arguments; its exit code becomes ours.
pub fn run(manifest: &Path, raw: &[OsString], io: &mut Io<'_>) -> Result<(), CliError> {
    let file = if manifest.is_dir() { manifest.join("Cargo.toml") } else { manifest.to_owned() };
    if !file.is_file() {
        return Err(CliError::input(format!("--manifest-path {}: there is no Cargo.toml", manifest.display())));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--manifest-path"]).arg(&file).arg("--").args(forwarded(raw));
    // What cargo and the crate say of errors goes straight through.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| CliError::input(format!("cargo can't be started: {e}")))?;
    io.out.write_all(&output.stdout)?;
    match output.status.code() {
        Some(0) => Ok(()),
        code => Err(CliError::Forwarded(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1))),
    }
}

/// The arguments without `--manifest-path`.
fn forwarded(raw: &[OsString]) -> Vec<OsString> {
    let (mut out, mut skip) = (Vec::new(), false);
    for arg in raw {
        let text = arg.to_string_lossy();
        if std::mem::take(&mut skip) {
            continue;
        }
        match &*text {
            "--manifest-path" => skip = true,
            t if t.starts_with("--manifest-path=") => {}
            _ => out.push(arg.clone()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_else_is_forwarded() {
        let raw = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for given in ["kernel --manifest-path a/b run axpy --seed 1", "kernel run --manifest-path=a axpy --seed 1"] {
            assert_eq!(forwarded(&raw(given)), raw("kernel run axpy --seed 1"));
        }
    }
}
