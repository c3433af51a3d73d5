//! Chores of the workspace: `cargo xtask setup`, `demo`, `test`, `fuzz`, `figures`. Plain standard library, so that it builds in seconds.

mod demo;
mod figures;
mod fuzz;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <chore>

  setup   install LLVM 22 with MLIR and NVIDIA's assembler, where they are missing
  demo    set up, build, compile the model that ships with the sources and let it write
  test    set up, then formatting, tests, the build without LLVM, lints
  fuzz    [TARGET] [--minutes N] [--seed S]: mutated inputs for the macros (`macro`) and for the readers `tile`, `sched`,
          `safetensors`, `config`, `tokenizer`, `artifact`; 10 minutes each. --pack DIR: only build programs that do
          the same on a machine without cargo (docs/fuzzing.md)
  figures what checking each kernel of the library takes, and what the macros add to `cargo check`
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next();
    let rest: Vec<String> = args.collect();
    if let Some(extra) = rest.first().filter(|_| chore.as_deref() != Some("fuzz")) {
        eprintln!("cargo xtask takes one word, `{extra}` is too much\n\n{USAGE}");
        return ExitCode::from(2);
    }
    let done = match chore.as_deref() {
        Some("setup") => setup::setup().map(|_| ()),
        Some("demo") => demo::demo(),
        Some("test") => test::test(),
        Some("fuzz") => fuzz::fuzz(&rest),
        Some("figures") => figures::figures(),
        Some("help" | "-h" | "--help") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            let what = other.map_or("a chore is missing".into(), |o| format!("there is no chore `{o}`"));
            eprintln!("{what}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
