//! Fuzzing of everything that reads input from outside: no panic, no hang, no unbounded memory.
//!
//! Coverage-blind: seeds are mutated by bytes and by tokens. `cargo xtask fuzz` runs [`campaign`]; seeds beyond those that the
//! repository has anyway, and all inputs that once failed, lie in `tests/fuzz/TARGET/` and are replayed by a test. The macros'
//! target is in their own crate, since nothing else can call them. How to fuzz on a machine without cargo is told in
//! `docs/fuzzing.md`.

mod mutate;
mod targets;

pub use mutate::Mutator;
pub use targets::Target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What one input may take.
pub const LIMIT: Duration = Duration::from_secs(10);
/// Memory that the process may take, in KiB.
const MEMORY_KIB: u64 = 4 << 20;

/// What a campaign did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Campaign {
    /// Inputs tried.
    pub inputs: u64,
    /// Inputs that were accepted as well-formed.
    pub accepted: u64,
    /// Inputs on which the target panicked.
    pub panics: u64,
}

/// This checkout.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of a target in a copy of the repository.
pub fn folder(repository: &Path, target: Target) -> PathBuf {
    repository.join("tests/fuzz").join(target.name())
}

/// What lies in a target's folder.
///
/// # Errors
/// A file can't be read.
pub fn kept(repository: &Path, target: Target) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let Ok(entries) = std::fs::read_dir(folder(repository, target)) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
    files.sort();
    files.into_iter().map(|f| Ok((f.clone(), std::fs::read(f)?))).collect()
}

/// Gives an input to a target: whether it was accepted, or the panic's message.
pub fn attempt(target: Target, scratch: &Path, input: &[u8]) -> Result<bool, String> {
    catch_unwind(AssertUnwindSafe(|| target.run(scratch, input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    })
}

/// An input that is being tried, for the watch.
static CURRENT: Mutex<Option<(Instant, Target, Vec<u8>)>> = Mutex::new(None);

/// Mutates the seeds of a copy of the repository until the time is over. An input that panics is kept; one that takes too long or too much memory is kept and
/// ends the process, since it can't be stopped otherwise.
///
/// # Errors
/// Seeds can't be read, or findings not be kept.
pub fn campaign(repository: &Path, target: Target, seed: u64, time: Duration) -> std::io::Result<Campaign> {
    let seeds = target.seeds(repository)?;
    if seeds.is_empty() {
        let folder = folder(repository, target);
        return Err(std::io::Error::other(format!("there are no seeds in {}", folder.display())));
    }
    let scratch = std::env::temp_dir().join(format!("monotile-fuzz-{}-{}", target.name(), std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let (mut mutator, mut done) = (Mutator::new(seed), Campaign::default());
    let over = AtomicBool::new(false);
    let result = std::thread::scope(|s| {
        s.spawn(|| watch(repository, &over));
        let begin = Instant::now();
        let mut outcome = Ok(());
        while begin.elapsed() < time && outcome.is_ok() {
            let input = mutator.input(&seeds);
            if let Ok(mut current) = CURRENT.lock() {
                *current = Some((Instant::now(), target, input.clone()));
            }
            done.inputs += 1;
            match attempt(target, &scratch, &input) {
                Ok(accepted) => done.accepted += u64::from(accepted),
                Err(why) => {
                    done.panics += 1;
                    println!("{}: panicked: {why}", target.name());
                    outcome = keep(repository, target, "panic", &input).map(drop);
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        outcome
    });
    if let Ok(mut current) = CURRENT.lock() {
        *current = None;
    }
    std::fs::remove_dir_all(&scratch)?;
    result.map(|()| done)
}

/// Keeps an input beside the seeds, named by what it holds.
fn keep(repository: &Path, target: Target, kind: &str, input: &[u8]) -> std::io::Result<PathBuf> {
    let key = input.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let file = folder(repository, target).join(format!("{kind}-{key:016x}"));
    std::fs::create_dir_all(folder(repository, target))?;
    std::fs::write(&file, input)?;
    println!("kept as {}", file.display());
    Ok(file)
}

fn watch(repository: &Path, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let Ok(current) = CURRENT.lock() else { return };
        let Some((begin, target, input)) = current.as_ref() else { continue };
        let kind = match () {
            () if begin.elapsed() > LIMIT => "hang",
            () if resident_kib() > MEMORY_KIB => "memory",
            () => continue,
        };
        let _ = keep(repository, *target, kind, input);
        eprintln!("{}: an input took more than {LIMIT:?} or {MEMORY_KIB} KiB", target.name());
        std::process::exit(1);
    }
}

/// Memory of this process, where the system says.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutations that every run of the tests tries on each target.
    const MUTATIONS: usize = 400;

    #[test]
    fn seeds_findings_and_some_mutations_do_no_harm() {
        for target in Target::ALL {
            let scratch =
                std::env::temp_dir().join(format!("monotile-replay-{}-{}", target.name(), std::process::id()));
            std::fs::create_dir_all(&scratch).unwrap_or_else(|e| panic!("{e}"));
            let seeds = target.seeds(&repository()).unwrap_or_else(|e| panic!("{}: {e}", target.name()));
            let accepted = seeds.iter().filter(|s| attempt(target, &scratch, s) == Ok(true)).count();
            assert!(accepted > 0, "{}: no seed is well-formed", target.name());
            let mut mutator = Mutator::new(1);
            let mutated = (0..MUTATIONS).map(|_| mutator.input(&seeds));
            for input in seeds.iter().cloned().chain(mutated) {
                let begin = Instant::now();
                let text = String::from_utf8_lossy(&input);
                assert!(attempt(target, &scratch, &input).is_ok(), "{} panics on\n{text}", target.name());
                assert!(begin.elapsed() < LIMIT, "{} takes too long on\n{text}", target.name());
            }
            std::fs::remove_dir_all(&scratch).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}
