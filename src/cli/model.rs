//! What the commands on models share: folders, contexts, plans, devices.

use super::error::CliError;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tile_codegen::target;
use tile_lang::artifact::Artifact;
use tile_lang::exec::{Executor, WeightSource};
use tile_lang::plan::Plan;
use tile_lang::sim::checked::{CheckedExecutor, Settings};
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::ModelConfig;
use tile_models::graph::GraphOptions;
use tile_models::weights::PlanWeights;
use tile_models::zoo;
use tile_runtime::{GpuExecutor, list_devices};

/// The context where none is asked for, unless the model has fewer positions.
const DEFAULT_CONTEXT: usize = 4096;

/// Where a plan runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The simulator.
    Sim,
    /// The checked simulator.
    Checked {
        /// The adversary's seed.
        seed: u64,
        /// CTAs, all of them resident.
        ctas: usize,
    },
    /// A GPU by number.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "sim" {
            return Ok(Device::Sim);
        }
        let expected = || {
            "expected `sim`, `checked`, `checked:SEED` or `checked:SEED:CTAS`, or `cuda:N` with the number of a GPU"
                .to_owned()
        };
        if let Some(rest) = text.strip_prefix("checked") {
            return checked_device(rest).ok_or_else(expected);
        }
        let number = match text.strip_prefix("cuda") {
            Some("") => return Ok(Device::Cuda(0)),
            Some(rest) => rest.strip_prefix(':').ok_or_else(expected)?,
            None => return Err(expected()),
        };
        if number.contains(',') {
            return Err("one plan runs on one GPU; give one number".into());
        }
        number.parse().map(Device::Cuda).map_err(|_| expected())
    }
}

/// Most CTAs of the checked simulator: each is a machine of its own in memory.
const MOST_CTAS: usize = 256;

/// What follows `checked`: nothing, `:SEED` or `:SEED:CTAS`.
fn checked_device(rest: &str) -> Option<Device> {
    let Settings { seed, ctas, .. } = Settings::default();
    if rest.is_empty() {
        return Some(Device::Checked { seed, ctas });
    }
    let (seed, ctas) = match rest.strip_prefix(':')?.split_once(':') {
        Some((seed, ctas)) => (seed.parse().ok()?, ctas.parse().ok()?),
        None => (rest.strip_prefix(':')?.parse().ok()?, ctas),
    };
    (1..=MOST_CTAS).contains(&ctas).then_some(Device::Checked { seed, ctas })
}

/// Folder, device and artifact of a model.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// Model folder: config.json, safetensors, tokenizer.json
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Artifact of `monotile compile` to run; without one the model is planned here
    #[arg(long, value_name = "FILE")]
    pub artifact: Option<PathBuf>,
    /// `sim`, `checked[:SEED[:CTAS]]` (the program's roles under an adversary), or `cuda:N`
    #[arg(long, default_value = "sim", value_name = "DEVICE")]
    pub device: Device,
}

/// An opened model folder.
pub struct Model {
    /// The folder.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: ModelConfig,
    /// Its weights' files.
    pub checkpoint: Checkpoint,
}

impl Model {
    /// Opens a folder.
    pub fn open(folder: &Path) -> Result<Self, CliError> {
        if !folder.is_dir() {
            let problem = if folder.exists() { "is not a folder" } else { "does not exist" };
            return Err(CliError::input(format!(
                "{} {problem}; --model takes a folder with config.json and the weights",
                folder.display()
            )));
        }
        let config = ModelConfig::open(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        Ok(Model { folder: folder.to_owned(), config, checkpoint })
    }

    /// Its weights, once every tensor's type and shape is found right.
    pub fn weights(&self) -> Result<Weights<'_>, CliError> {
        Ok(Weights::new(&self.config, &self.checkpoint)?)
    }

    /// The context of a plan that is made here.
    pub fn context(&self, asked: Option<usize>) -> Result<usize, CliError> {
        let most = self.config.max_positions;
        match asked {
            None => Ok(most.min(DEFAULT_CONTEXT)),
            Some(0) => Err(CliError::input("--context 0: a context holds at least one position")),
            Some(n) if n > most => {
                Err(CliError::input(format!("--context {n}: the model is made for {most} positions (config.json)")))
            }
            Some(n) => Ok(n),
        }
    }

    /// The plan for a context.
    pub fn plan(&self, weights: &PlanWeights<'_>, context: usize) -> Result<Plan, CliError> {
        Ok(zoo::plan(&self.config, weights, GraphOptions { context, ..GraphOptions::default() })?)
    }
}

/// What runs: a plan made here, or an artifact's.
pub enum Program {
    /// Planned here.
    Planned(Plan),
    /// Loaded.
    Artifact(Box<Artifact>),
}

impl Program {
    /// The artifact if one is given, else a plan for `context` (or the default).
    pub fn prepare(
        model: &Model,
        weights: &PlanWeights<'_>,
        artifact: Option<&Path>,
        context: Option<usize>,
    ) -> Result<Self, CliError> {
        let Some(file) = artifact else {
            return Ok(Program::Planned(model.plan(weights, model.context(context)?)?));
        };
        let artifact = Artifact::load(file)?;
        let (rows, have) = (extent(&artifact.plan, "tokens"), extent(&artifact.plan, "prompt"));
        let (Some(rows), Some(have)) = (rows, have) else {
            return Err(CliError::input(format!("{}: it holds no language model", file.display())));
        };
        if let Some(n) = context.filter(|n| *n > have) {
            return Err(CliError::input(format!(
                "--context {n}: {} was compiled for {have} positions; compile it again with --context {n}",
                file.display()
            )));
        }
        let options = GraphOptions { rows, context: have, ..GraphOptions::default() };
        if zoo::plan(&model.config, weights, options)? != artifact.plan {
            return Err(CliError::input(format!(
                "{}: compiled from another model or by another version than {}; compile it again",
                file.display(),
                model.folder.display()
            )));
        }
        Ok(Program::Artifact(Box::new(artifact)))
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        match self {
            Program::Planned(plan) => plan,
            Program::Artifact(artifact) => &artifact.plan,
        }
    }

    /// Positions that its caches hold.
    pub fn context(&self) -> usize {
        extent(self.plan(), "prompt").unwrap_or(0)
    }

    /// Puts it on a device.
    pub fn load(
        self,
        device: Device,
        weights: &PlanWeights<'_>,
        precision: Precision,
    ) -> Result<Box<dyn Executor>, CliError> {
        match device {
            Device::Sim => {
                let plan = match self {
                    Program::Planned(plan) => plan,
                    Program::Artifact(artifact) => artifact.plan,
                };
                require_memory(&plan)?;
                let sim = SimExecutor::new(plan, weights, precision).map_err(|e| CliError::input(e.to_string()))?;
                Ok(Box::new(sim))
            }
            Device::Checked { seed, ctas } => {
                let plan = match self {
                    Program::Planned(plan) => plan,
                    Program::Artifact(artifact) => artifact.plan,
                };
                require_memory(&plan)?;
                Ok(Box::new(checked(plan, weights, precision, (seed, ctas))?))
            }
            Device::Cuda(ordinal) => {
                if precision == Precision::F32 {
                    return Err(CliError::input("--precision f32 needs --device sim: GPUs multiply in bf16"));
                }
                // Before minutes go into compiling.
                list_devices()?;
                let artifact = match self {
                    Program::Artifact(artifact) => *artifact,
                    Program::Planned(plan) => assemble(plan, Debugging::Strip)?,
                };
                Ok(Box::new(GpuExecutor::new(ordinal, &artifact, weights)?))
            }
        }
    }
}

/// A plan on the checked simulator with a seed and a number of CTAs, with the protocol that the compiler derives from it.
pub fn checked(
    plan: Plan,
    weights: &dyn WeightSource,
    precision: Precision,
    (seed, ctas): (u64, usize),
) -> Result<CheckedExecutor, CliError> {
    // What the tuned target can't do is checked as the first that can does it.
    let target = target::first_for(&plan.kernels).unwrap_or(target::DEFAULT);
    let protocol = tile_codegen::protocol::derive(&plan, target.machine())?;
    let settings = Settings { seed, ctas, resident: ctas, ..Settings::default() };
    CheckedExecutor::new(plan, weights, precision, protocol, settings).map_err(|e| CliError::input(e.to_string()))
}

/// What becomes of what kernels say about themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debugging {
    /// It is left out.
    Strip,
    /// It is said.
    Keep,
}

/// Compiles a plan in this process.
#[cfg(feature = "llvm")]
pub fn assemble(plan: Plan, debugging: Debugging) -> Result<Artifact, CliError> {
    let debug = match debugging {
        Debugging::Strip => tile_codegen::Debug::Strip,
        Debugging::Keep => tile_codegen::Debug::Keep,
    };
    let compiled = tile_codegen::compile_with(&plan, target::DEFAULT, debug)?;
    Ok(Artifact::new(plan, compiled.image))
}

/// Says that this build can't.
#[cfg(not(feature = "llvm"))]
pub fn assemble(_: Plan, _: Debugging) -> Result<Artifact, CliError> {
    Err(CliError::input(
        "this monotile was built without LLVM and can't compile; make an artifact elsewhere with `monotile compile` \
         and give it with --artifact",
    ))
}

fn extent(plan: &Plan, buffer: &str) -> Option<usize> {
    plan.buffers.iter().find(|b| b.name == buffer)?.dims.first().copied()
}

/// Bytes of a plan's buffers and weights in the simulator.
fn sim_bytes(plan: &Plan) -> usize {
    let product = |dims: &[usize]| dims.iter().fold(1usize, |n, d| n.saturating_mul(*d));
    // The simulator keeps what is written as one cell of four bytes for each element.
    let buffers = plan.buffers.iter().map(|b| product(&b.dims).saturating_mul(4));
    let weights = plan.weights.iter().map(|w| product(&w.dims).saturating_mul(w.dtype.bits()) / 8);
    buffers.chain(weights).fold(0, usize::saturating_add)
}

/// Says so before the system would end the process.
fn require_memory(plan: &Plan) -> Result<(), CliError> {
    let need = sim_bytes(plan);
    let Some(free) = free_memory() else { return Ok(()) };
    if need <= free {
        return Ok(());
    }
    let gib = |n: usize| n as f64 / (1u64 << 30) as f64;
    Err(CliError::input(format!(
        "the model needs {:.1} GiB of memory here, {:.1} GiB are free; choose a smaller --context or model",
        gib(need),
        gib(free)
    )))
}

/// Memory that can be had, where the system tells.
fn free_memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_name() {
        let checked = |seed, ctas| Ok(Device::Checked { seed, ctas });
        assert_eq!("checked".parse(), checked(0, 2));
        assert_eq!("checked:7".parse(), checked(7, 2));
        assert_eq!("checked:7:5".parse(), checked(7, 5));
        assert_eq!(("sim".parse(), "cuda:3".parse()), (Ok(Device::Sim), Ok(Device::Cuda(3))));
        for wrong in
            ["checked:", "checked7", "checked:x", "checked:1:", "checked:1:0", "checked:1:257", "checked:1:2:3", "gpu"]
        {
            let error = wrong.parse::<Device>().unwrap_err();
            assert!(error.contains("checked:SEED:CTAS"), "{wrong}: {error}");
        }
    }
}
