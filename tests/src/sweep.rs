//! Runs a sweep that `device-pack` compiled: every variant is checked, then all are measured in turns.

use crate::cases::Case;
use crate::cases::sweep::{Sweep, Variant};
use crate::compare::compare;
use crate::model::Failure;
use crate::results::{Row, Run};
use std::ops::ControlFlow;
use std::path::Path;
use tile_lang::artifact::Artifact;
use tile_lang::exec::Executor;
use tile_runtime::{GpuExecutor, TimingOptions};

/// Rounds through all variants. Clocks rise and fall by a tenth within seconds: variants that are measured one after the other have met
/// different ones, those that take turns the same.
const ROUNDS: usize = 5;
/// Launches of a variant in a round.
const TURN: TimingOptions = TimingOptions { repeats: 5, warmup: 2, passes: 1, flush_l2: false };

/// What a variant took.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Its case's name.
    pub name: String,
    /// Median of the rounds' medians, µs.
    pub us: f64,
    /// The least round's median, µs.
    pub us_min: f64,
}

/// A variant that is ready to be measured.
struct Ready {
    variant: Variant,
    case: Case,
    gpu: GpuExecutor,
    error: f64,
    sha: String,
    rounds: Vec<f64>,
}

/// What came of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The variants that are right, fastest first.
    pub measured: Vec<Measured>,
    /// What is wrong with others.
    pub failed: Vec<String>,
    /// Variants that weren't packed, because they can't be had.
    pub absent: usize,
}

/// Runs the variants of which `folder` has an artifact, and appends their rows.
///
/// # Errors
/// No device, or no results can be written; what a single variant does wrong is in the outcome.
pub fn run(sweep: &Sweep, folder: &Path, device: usize, run: &Run) -> Result<Outcome, Failure> {
    let (mut ready, mut outcome) = (Vec::new(), Outcome::default());
    for variant in sweep.variants() {
        let Ok(case) = sweep.case(&variant) else {
            outcome.absent += 1;
            continue;
        };
        let file = folder.join(format!("{}.tile", case.name));
        if !file.is_file() {
            outcome.absent += 1;
            continue;
        }
        match prepare(variant, case, &file, device) {
            Ok(variant) => ready.push(variant),
            Err(e) => outcome.failed.push(e),
        }
    }
    for _ in 0..ROUNDS {
        for r in &mut ready {
            r.rounds.push(r.gpu.time(0..1, TURN)?.median_us);
        }
    }
    for mut r in ready {
        r.rounds.sort_by(f64::total_cmp);
        let (us, us_min) = (r.rounds[ROUNDS / 2], r.rounds[0]);
        let mut row = Row {
            work: r.case.kernel.clone(),
            shape: r.case.shape.clone(),
            dtype: r.case.dtype.clone(),
            us: Some(us),
            us_min: Some(us_min),
            bytes: r.case.bytes,
            flops: r.case.flops,
            error: Some(r.error),
            ptx_sha256: r.sha,
            machine: r.gpu.device(),
            ..Row::default()
        };
        row.more.insert("extents".into(), sweep.extents.to_vec().into());
        row.more.insert("tile".into(), r.variant.tile.to_vec().into());
        let numbers = r.case.plan.kernels[0].generics.iter();
        let numbers = numbers.filter_map(|(name, value)| Some((name.clone(), value.parse::<usize>().ok()?.into())));
        row.more.insert("generics".into(), serde_json::Value::Object(numbers.collect()));
        row.more.insert("schedule".into(), r.variant.schedule_name().into());
        run.write(row)?;
        outcome.measured.push(Measured { name: r.case.name, us, us_min });
    }
    outcome.measured.sort_by(|a, b| a.us.total_cmp(&b.us));
    Ok(outcome)
}

/// Loads a variant and sees that it is right.
fn prepare(variant: Variant, mut case: Case, file: &Path, device: usize) -> Result<Ready, String> {
    let said = |e: &dyn std::fmt::Display| format!("{}: {e}", case.name);
    let artifact = Artifact::load(file).map_err(|e| said(&e))?;
    if artifact.plan != case.plan {
        return Err(said(&"the artifact is of another plan; pack again"));
    }
    let mut gpu = GpuExecutor::new(device, &artifact, &case.weights).map_err(|e| said(&e))?;
    case.fill(&mut gpu).map_err(|e| said(&e))?;
    gpu.run(0..1, 1, &mut |_| ControlFlow::Continue(())).map_err(|e| said(&e))?;
    let errors = compare(&case, &mut gpu).map_err(|e| said(&e))?;
    if !errors.passed(&case) {
        let (largest, allowed, unequal) = (errors.largest, case.tolerance, errors.unequal);
        return Err(said(&format!(
            "wrong: {largest:.1e} of {allowed:.1e} allowed, {unequal} elements written that must stay"
        )));
    }
    // The device has its copies; those of all variants together would not fit in memory.
    case.start.clear();
    case.expect = Box::new(Vec::new);
    let sha = tile_lang::ptx::sha256(&artifact.image.ptx);
    Ok(Ready { variant, case, gpu, error: errors.largest, sha, rounds: Vec::new() })
}
