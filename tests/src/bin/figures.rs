//! How long it takes to check each kernel of the library: staging and verifying it (the language), completing its schedule, and the
//! static checkers. `cargo xtask figures` calls it.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use tile_codegen::lower::{Assembled, Machine, ParamFacts, assemble};
use tile_codegen::{check, schedule, target};
use tile_lang::ir::{Kernel, verify};
use tile_models::kernels::library::samples;

/// Runs of each step, of which the mean is taken: the system counts a thread's time in steps of some milliseconds.
const RUNS: u32 = 20;
/// What checking a kernel may take.
const MOST: Duration = Duration::from_millis(50);

/// Time on a processor that this thread has had; the clock on the wall where the system doesn't say.
fn on_processor(begin: Instant) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
    nanoseconds.map_or_else(|| begin.elapsed(), Duration::from_nanos)
}

/// The mean of some runs, and what the last one gave.
fn mean<T>(mut f: impl FnMut() -> Result<T, String>) -> Result<(Duration, T), String> {
    let begin = Instant::now();
    let before = on_processor(begin);
    let mut value = f()?;
    for _ in 1..RUNS {
        value = f()?;
    }
    Ok((on_processor(begin).saturating_sub(before) / RUNS, value))
}

fn lowered(kernel: &Kernel, machine: Machine) -> Result<Assembled, String> {
    let facts = vec![ParamFacts { dims: None, aligned: 64, copied_later: true }; kernel.params.len()];
    assemble(&kernel.name, std::slice::from_ref(kernel), &[facts], machine).map_err(|e| e.to_string())
}

fn run() -> Result<Duration, String> {
    println!("{:<22} {:>10} {:>10} {:>10} {:>10}", "ms on a processor", "language", "schedule", "checkers", "together");
    let mut slowest = (Duration::ZERO, String::new());
    for sample in samples() {
        let (language, kernel) = mean(|| {
            let kernel = sample.def.instance(&sample.generics).map_err(|e| e.to_string())?;
            verify(&kernel).map_err(|e| e.to_string())?;
            Ok(kernel)
        })?;
        // Lowering is what the checkers look at, and is no check itself.
        let target = target::first_for([&kernel]).unwrap_or(target::DEFAULT);
        let assembled = lowered(&kernel, target.machine())?;
        let (scheduled, ()) = mean(|| {
            let whole = schedule::complete(&assembled, target.machine()).map_err(|e| e.to_string())?;
            whole.attach(kernel.clone()).map(drop).map_err(|e| e.to_string())
        })?;
        let (checked, ()) = mean(|| {
            let layouts = check::assignments(&assembled.protocol, target);
            check::kernels(&assembled.protocol, &layouts).map(drop).map_err(|e| e.to_string())
        })?;
        let whole = language + scheduled + checked;
        let ms = |t: Duration| t.as_secs_f64() * 1e3;
        let row = [language, scheduled, checked, whole].map(|t| format!("{:>10.2}", ms(t)));
        println!("{:<22} {}", kernel.name, row.join(" "));
        if whole > slowest.0 {
            slowest = (whole, kernel.name.clone());
        }
    }
    println!(
        "slowest: {} with {:.2} ms; {} ms are allowed",
        slowest.1,
        slowest.0.as_secs_f64() * 1e3,
        MOST.as_millis()
    );
    Ok(slowest.0)
}

fn main() -> ExitCode {
    match run() {
        Ok(slowest) => ExitCode::from(u8::from(slowest > MOST)),
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}
