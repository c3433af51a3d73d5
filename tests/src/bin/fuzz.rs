//! Fuzzes the readers of outside input for a time; `cargo xtask fuzz` calls it. It needs nothing but a copy of the repository.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tile_tests::fuzz::{Target, campaign, repository};

/// Mutates seeds and gives them to a reader.
#[derive(Parser)]
struct Args {
    /// A target; all of them, one after the other, without it.
    target: Option<String>,
    /// For each target.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Keys the mutations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A copy of the repository: seeds are read from it, findings are kept in its tests/fuzz.
    #[arg(long, default_value_os_t = repository())]
    repository: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let names: Vec<&str> = Target::ALL.iter().map(|t| t.name()).collect();
    let targets: Vec<Target> = match &args.target {
        None => Target::ALL.to_vec(),
        Some(name) => match Target::ALL.into_iter().find(|t| t.name() == name) {
            Some(target) => vec![target],
            None => {
                eprintln!("there is no target `{name}`; there are {}", names.join(", "));
                return ExitCode::from(2);
            }
        },
    };
    // Panics are counted and kept, one line each.
    std::panic::set_hook(Box::new(|info| println!("{info}")));
    let mut panics = 0;
    for target in targets {
        match campaign(&args.repository, target, args.seed, Duration::from_secs_f64(60.0 * args.minutes.max(0.0))) {
            Ok(c) => {
                panics += c.panics;
                println!("{}: {} inputs, {} accepted, {} panics", target.name(), c.inputs, c.accepted, c.panics);
            }
            Err(e) => {
                eprintln!("{}: {e}", target.name());
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(u8::from(panics > 0))
}
