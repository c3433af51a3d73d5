//! Generated kernels mean the same before and after every pass, the checkers have nothing against them, and they run in roles
//! under an adversary to the same results. Schedules are honoured, and those with a mistake refused.

mod schedules;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tile_codegen::lower::Machine;
use tile_codegen::passes::{explicit_roles, lower_to_roles};
use tile_codegen::{check, protocol, target};
use tile_lang::generate::{self, Case, Output, Program};
use tile_lang::ir::{self, Kernel, Stage};
use tile_lang::sim::Precision;
use tile_lang::sim::checked::{CheckedExecutor, Settings};

/// Programs that every run of the tests compares.
const PROGRAMS: u64 = 1000;

/// Kinds of mistakes that schedules can make.
const MISTAKES: usize = 26;

/// What a stage makes of a kernel that isn't what it must be: the stage's name, a colon, the difference.
type Difference = String;

/// Counts of what the programs were tried with.
#[derive(Default)]
struct Tally {
    scheduled: usize,
    /// Whose splits did not fit together.
    without_splits: usize,
    mistakes: BTreeMap<&'static str, usize>,
}

/// Everything that must hold of one kernel; what doesn't. A panic is a failure as well.
fn check(kernel: &Kernel, tally: &Mutex<Tally>) -> Result<(), Difference> {
    let all = || {
        compare(kernel, tally)?;
        wrong_schedules(kernel, tally)
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(all))
        .unwrap_or_else(|_| Err("panic: a stage panicked".into()))
}

/// Compares the stages. A kernel whose splits are refused goes on without them.
fn compare(kernel: &Kernel, tally: &Mutex<Tally>) -> Result<(), Difference> {
    let plain = Kernel { schedule: None, ..kernel.clone() };
    let want = generate::run(&plain).map_err(|e| format!("as written: {e}"))?;
    match in_stages(kernel, &want).and_then(|()| in_roles(kernel, &want)) {
        Err(why) if schedules::is_about_splits(kernel, &why) => {
            lock(tally).without_splits += 1;
            let kernel = schedules::without_splits(kernel);
            in_stages(&kernel, &want)?;
            in_roles(&kernel, &want)?;
        }
        result => result?,
    }
    lock(tally).scheduled += usize::from(kernel.schedule.is_some());
    Ok(())
}

/// The kernel as it goes through the passes.
fn in_stages(kernel: &Kernel, want: &[Output]) -> Result<(), Difference> {
    let at = |stage: &str, e: &dyn std::fmt::Display| format!("{stage}: {e}");
    let same = |stage: &str, k: &Kernel| -> Result<(), String> {
        ir::verify(k).map_err(|e| at(stage, &e))?;
        let got = generate::run(k).map_err(|e| at(stage, &e))?;
        for (w, g) in want.iter().zip(&got) {
            let differ = w.bits.iter().zip(&g.bits).filter(|(a, b)| a != b).count();
            if differ > 0 || w.bits.len() != g.bits.len() || w.name != g.name {
                return Err(format!("{stage}: {differ} of {} elements of `{}` differ", w.bits.len(), w.name));
            }
        }
        Ok(())
    };
    let text = kernel.to_string();
    let read = ir::parse(&text, "generated.tile").map_err(|e| at("text", &e))?;
    if read.to_string() != text {
        return Err("text: it is printed otherwise after it was read".into());
    }
    same("text", &read)?;
    same("scheduled", &Kernel { stage: Stage::Scheduled, ..kernel.clone() })?;
    // Slots of one transaction, and slots that several loads share.
    for group in [1, 4096, Machine::SM_90A.group_bytes] {
        let roles = explicit_roles(kernel, group).map_err(|e| at("explicit roles", &e))?;
        same(&format!("explicit roles, {group} bytes"), &roles)?;
        let text = format!("{roles:#}");
        let read = ir::parse(&text, "roles.tile").map_err(|e| at("text of roles", &e))?;
        same("text of roles", &read)?;
        let lowered = lower_to_roles(kernel, group).map_err(|e| at("roles", &e))?;
        same(&format!("roles, {group} bytes"), &lowered)?;
        same("allocated", &Kernel { stage: Stage::Allocated, ..lowered })?;
    }
    Ok(())
}

/// The whole program of a kernel: assembled, checked, and run in roles on two CTAs. The length of the kernel decides how the
/// adversary begins, so that programs meet all strategies.
fn in_roles(kernel: &Kernel, want: &[Output]) -> Result<(), Difference> {
    let at = |stage: &str, e: &dyn std::fmt::Display| format!("{stage}: {e}");
    let case = Case::expecting("generated", &[("generated".into(), kernel.clone())], vec![want.to_vec()])?;
    let protocol = protocol::derive(&case.plan, Machine::SM_90A).map_err(|e| at("code", &e))?;
    schedules::honoured(kernel, &protocol).map_err(|e| at("schedule", &e))?;
    let layouts = check::assignments(&protocol, target::DEFAULT);
    check::program(&case.plan, &protocol, &layouts).map_err(|e| at("static checkers", &e))?;
    let settings = Settings { seed: kernel.ops.len() as u64, ..Settings::default() };
    let checked = CheckedExecutor::new(case.plan.clone(), &case.weights, Precision::Native, protocol, settings);
    let mut checked = checked.map_err(|e| at("checked simulator", &e))?;
    let compared = case.compare(&mut checked).map_err(|e| at("checked simulator", &e))?;
    match compared.iter().find(|c| c.disagreements > 0 || c.worst > 0.0) {
        Some(c) => Err(format!("checked simulator: {} of {} elements differ", c.disagreements, c.elements)),
        None => Ok(()),
    }
}

/// Two of the mistakes that a schedule of this kernel can make are refused, others for other kernels.
fn wrong_schedules(kernel: &Kernel, tally: &Mutex<Tally>) -> Result<(), Difference> {
    let all = generate::mistakes(kernel);
    for i in [0, all.len() / 2] {
        let mistake = &all[(kernel.ops.len() + i) % all.len()];
        schedules::refused(kernel, mistake)?;
        *lock(tally).mistakes.entry(mistake.what).or_default() += 1;
    }
    Ok(())
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/regressions")
}

/// Shrinks what failed and keeps it beside the tests, which run it from then on.
fn report(program: &Program, why: &str) -> String {
    let stage = |e: &str| e.split(':').next().unwrap_or_default().to_owned();
    let tally = Mutex::default();
    let fails = |p: &Program| check(&p.kernel(), &tally).is_err_and(|e| stage(&e) == stage(why));
    let small = generate::shrink(program, fails);
    let kernel = small.kernel();
    let why = check(&kernel, &tally).err().unwrap_or_default();
    let file = folder().join(format!("seed-{}.tile", program.seed));
    let comment: String = why.lines().map(|l| format!("// {l}\n")).collect();
    let kept = match std::fs::write(&file, format!("{comment}{kernel}")) {
        Ok(()) => format!("kept as {}", file.display()),
        Err(e) => format!("{} can't be written ({e})", file.display()),
    };
    format!("seed {}, {} steps: {why}\n{kept}\n{kernel:#}", program.seed, small.size())
}

#[test]
fn generated_programs_mean_the_same_at_every_stage() {
    let (next, failures, tally) = (AtomicU64::new(0), Mutex::new(Vec::new()), Mutex::default());
    let count = std::env::var("GENERATED_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(PROGRAMS);
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count || failures.lock().is_ok_and(|f| f.len() >= 5) {
                        return;
                    }
                    let program = Program::random(seed);
                    if let Err(why) = check(&program.kernel(), &tally) {
                        let text = report(&program, &why);
                        lock(&failures).push(text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(|e| e.into_inner());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let Tally { scheduled, without_splits, mistakes } = tally.into_inner().unwrap_or_else(|e| e.into_inner());
    println!(
        "{count} programs, {scheduled} with schedules, {without_splits} whose splits are refused; refused: {mistakes:?}"
    );
    if count >= PROGRAMS {
        assert!(scheduled >= count as usize / 2 && without_splits < scheduled / 20);
        assert!(mistakes.len() == MISTAKES, "{} mistakes were made: {mistakes:?}", mistakes.len());
    }
}

#[test]
fn kept_programs_mean_the_same_at_every_stage() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).expect("the folder is there").flatten().map(|e| e.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "tile"));
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let kernel = ir::parse(&text, &file.display().to_string()).unwrap_or_else(|e| panic!("{e}"));
        check(&kernel, &Mutex::default()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}
