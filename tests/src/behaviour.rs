//! How the persistent kernel behaves, beside its results: it runs ahead, it can be stopped, it doesn't hang in silence.

use crate::model::{Failure, Model};
use std::ops::ControlFlow;
use std::time::Duration;
use tile_lang::artifact::Artifact;
use tile_lang::exec::{ExecError, Executor};
use tile_lang::plan::Plan;
use tile_models::session::{GenerateOptions, generate};
use tile_runtime::{GpuExecutor, Options, RunAhead};

/// Tokens after which a text is stopped.
const ENOUGH: usize = 5;

/// Whether an instruction streams anything through the ring.
fn streams(plan: &Plan, instr: usize) -> bool {
    let kernel = &plan.kernels[plan.program[instr].kernel];
    (0..kernel.params.len()).any(|p| Plan::staged_tile(kernel, p).is_some())
}

/// On how many borders between instructions the bytes of the next one are requested before the present one has ended, in the
/// pass after a text's last.
///
/// # Errors
/// The device failed, or the producer never runs ahead.
pub fn run_ahead(gpu: &mut GpuExecutor) -> Result<RunAhead, Failure> {
    let plan = gpu.plan().clone();
    let trace = gpu.trace(0..plan.program.len())?;
    let found = trace.run_ahead(|i| streams(&plan, i));
    if found.early == 0 {
        return Err(format!("of {} borders none is early: the producer doesn't run ahead", found.borders).into());
    }
    Ok(found)
}

/// Stops a text after a few tokens: how many it had when the kernel ended.
///
/// # Errors
/// The device failed, or the text went on to its end.
pub fn cancel(model: &Model, gpu: &mut GpuExecutor) -> Result<usize, Failure> {
    let options = GenerateOptions { max_new: 400, ..GenerateOptions::default() };
    let mut seen = 0;
    let text = generate(gpu, model.first_prompt(), &options, &mut |_| {
        seen += 1;
        if seen < ENOUGH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if text.tokens.len() < ENOUGH || text.tokens.len() == options.max_new {
        return Err(format!("a text stopped after {ENOUGH} tokens has {}", text.tokens.len()).into());
    }
    Ok(text.tokens.len())
}

/// Loses the signals of an instruction: the watchdog must end the kernel and name the edge.
///
/// # Errors
/// The kernel ended in another way.
pub fn watchdog(model: &Model, artifact: &Artifact, device: usize) -> Result<String, Failure> {
    let plan = &artifact.plan;
    let victim = plan.program.len() / 2;
    let label = &plan.program[victim].label;
    let options = Options { timeout: Duration::from_millis(200), lost_signal: Some(victim), ..Options::default() };
    let mut gpu = GpuExecutor::with_options(device, artifact, &model.source()?, options)?;
    match gpu.run(0..plan.program.len(), 1, &mut |_| ControlFlow::Continue(())) {
        Err(e @ ExecError::Stalled { .. }) => {
            let text = e.to_string();
            let named = matches!(&e, ExecError::Stalled { awaited, .. } if awaited == label);
            if named { Ok(text) } else { Err(format!("the watchdog names another edge than `{label}`: {text}").into()) }
        }
        Err(e) => Err(format!("the kernel ended in another way: {e}").into()),
        Ok(_) => Err(format!("`{label}` lost its signals and the kernel came to an end").into()),
    }
}
