//! What the commands on models share: folders, contexts, plans, devices.

use super::error::CliError;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tile_codegen::target;
use tile_lang::artifact::{self, Artifact};
use tile_lang::exec::{ExecError, Executor, WeightSource};
use tile_lang::plan::{Buffer, Plan, Weight};
use tile_lang::protocol::Protocol;
use tile_lang::sim::checked::{CheckedExecutor, Settings};
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::ModelConfig;
use tile_models::graph::{CHUNK_ROWS, GraphOptions};
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
    #[command(flatten)]
    pub chunk: ChunkArgs,
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

    /// The plans for a context: the one that decodes, and the one for prompts in chunks of so many rows.
    pub fn plans(&self, weights: &PlanWeights<'_>, context: usize, chunk: ChunkArgs) -> Result<Plans, CliError> {
        let options = GraphOptions { context, ..GraphOptions::default() };
        let prompt = match chunk.rows(context) {
            0 => None,
            rows => Some(zoo::plan(&self.config, weights, options.prompt(rows)).map_err(|e| {
                CliError::input(format!("the program for prompts: {e}; --prompt-rows 0 leaves that program out"))
            })?),
        };
        Ok(Plans { decode: zoo::plan(&self.config, weights, options)?, prompt })
    }
}

/// How prompts are taken.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ChunkArgs {
    /// Rows of a chunk of a prompt: a power of two from 16 to 1024; 0 leaves the program for prompts out, and they go through the one that
    /// decodes [default: 256, or fewer if the context is shorter]
    #[arg(long, value_name = "N")]
    prompt_rows: Option<usize>,
}

impl ChunkArgs {
    /// Rows of a chunk for a context.
    fn rows(self, context: usize) -> usize {
        self.prompt_rows.unwrap_or_else(|| context.next_power_of_two().clamp(16, CHUNK_ROWS))
    }

    /// The option, if it was given.
    pub fn asked(self) -> Option<usize> {
        self.prompt_rows
    }
}

/// The plans of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Plans {
    /// For new tokens, and short prompts.
    pub decode: Plan,
    /// For prompts.
    pub prompt: Option<Plan>,
}

/// What runs: plans made here, or an artifact's.
pub enum Program {
    /// Planned here.
    Planned(Box<Plans>),
    /// Loaded.
    Artifact(Box<Artifact>),
}

/// A model's programs on a device.
pub struct Executors {
    /// The one that decodes.
    pub decode: Box<dyn Executor>,
    /// The one for prompts, over the same arrays.
    pub prompt: Option<Box<dyn Executor>>,
}

impl Program {
    /// The artifact if one is given, else plans for `context` (or the default).
    pub fn prepare(
        model: &Model,
        weights: &PlanWeights<'_>,
        args: &ModelArgs,
        context: Option<usize>,
    ) -> Result<Self, CliError> {
        let Some(file) = args.artifact.as_deref() else {
            let plans = model.plans(weights, model.context(context)?, args.chunk)?;
            return Ok(Program::Planned(Box::new(plans)));
        };
        let artifact = Artifact::load(file)?;
        let chunk = artifact.prompt.as_ref().map_or(Some(0), |p| extent(&p.plan, "tokens"));
        if let (Some(asked), Some(have)) = (args.chunk.asked(), chunk)
            && asked != have
        {
            return Err(CliError::input(format!(
                "--prompt-rows {asked}: {} was compiled for chunks of {have}; compile it again with --prompt-rows {asked}",
                file.display()
            )));
        }
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
        let prompt = match &artifact.prompt {
            Some(p) => {
                let again = zoo::plan(&model.config, weights, options.prompt(chunk.unwrap_or(0)));
                again.is_ok_and(|plan| plan == p.plan)
            }
            None => true,
        };
        if !prompt || zoo::plan(&model.config, weights, options)? != artifact.plan {
            return Err(CliError::input(format!(
                "{}: compiled from another model or by another version than {}; compile it again",
                file.display(),
                model.folder.display()
            )));
        }
        Ok(Program::Artifact(Box::new(artifact)))
    }

    /// The plan that decodes.
    pub fn plan(&self) -> &Plan {
        match self {
            Program::Planned(plans) => &plans.decode,
            Program::Artifact(artifact) => &artifact.plan,
        }
    }

    /// Positions that its caches hold.
    pub fn context(&self) -> usize {
        extent(self.plan(), "prompt").unwrap_or(0)
    }

    /// Its plans.
    fn into_plans(self) -> Plans {
        match self {
            Program::Planned(plans) => *plans,
            Program::Artifact(artifact) => Plans { decode: artifact.plan, prompt: artifact.prompt.map(|p| p.plan) },
        }
    }

    /// Puts it on a device.
    pub fn load(self, device: Device, weights: &PlanWeights<'_>, precision: Precision) -> Result<Executors, CliError> {
        let failed = |e: ExecError| CliError::input(e.to_string());
        match device {
            Device::Sim => {
                let plans = self.into_plans();
                require_memory(&plans)?;
                let decode = SimExecutor::new(plans.decode, weights, precision).map_err(failed)?;
                let beside = |plan| decode.beside(plan, weights).map_err(failed);
                let prompt = plans.prompt.map(beside).transpose()?;
                Ok(Executors { decode: Box::new(decode), prompt: prompt.map(|p| Box::new(p) as _) })
            }
            Device::Checked { seed, ctas } => {
                let plans = self.into_plans();
                require_memory(&plans)?;
                let decode = checked(plans.decode, weights, precision, (seed, ctas))?;
                let beside = |plan: Plan| {
                    let protocol = protocol(&plan)?;
                    decode.beside(plan, weights, protocol).map_err(failed)
                };
                let prompt = plans.prompt.map(beside).transpose()?;
                Ok(Executors { decode: Box::new(decode), prompt: prompt.map(|p| Box::new(p) as _) })
            }
            Device::Cuda(ordinal) => {
                if precision == Precision::F32 {
                    return Err(CliError::input("--precision f32 needs --device sim: GPUs multiply in bf16"));
                }
                // Before minutes go into compiling.
                list_devices()?;
                let artifact = match self {
                    Program::Artifact(artifact) => *artifact,
                    Program::Planned(plans) => assemble_all(*plans)?,
                };
                let decode = GpuExecutor::new(ordinal, &artifact, weights)?;
                let beside = |p: &artifact::Program| decode.beside(&p.plan, &p.image, weights);
                let prompt = artifact.prompt.as_ref().map(beside).transpose()?;
                Ok(Executors { decode: Box::new(decode), prompt: prompt.map(|p| Box::new(p) as _) })
            }
        }
    }
}

/// Compiles a model's plans in this process.
fn assemble_all(plans: Plans) -> Result<Artifact, CliError> {
    let artifact = assemble(plans.decode, Debugging::Strip)?;
    let Some(prompt) = plans.prompt else { return Ok(artifact) };
    let prompt = assemble(prompt, Debugging::Strip)?;
    Ok(artifact.with_prompt(prompt.plan, prompt.image))
}

/// A plan on the checked simulator with a seed and a number of CTAs, with the protocol that the compiler derives from it.
pub fn checked(
    plan: Plan,
    weights: &dyn WeightSource,
    precision: Precision,
    (seed, ctas): (u64, usize),
) -> Result<CheckedExecutor, CliError> {
    let protocol = protocol(&plan)?;
    let settings = Settings { seed, ctas, resident: ctas, ..Settings::default() };
    CheckedExecutor::new(plan, weights, precision, protocol, settings).map_err(|e| CliError::input(e.to_string()))
}

/// The protocol that the compiler derives from a plan.
fn protocol(plan: &Plan) -> Result<Protocol, CliError> {
    // What the tuned target can't do is checked as the first that can does it.
    let target = target::first_for(&plan.kernels).unwrap_or(target::DEFAULT);
    Ok(tile_codegen::protocol::derive(plan, target.machine())?)
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

/// Bytes of the plans' buffers and weights in the simulator, those that both declare alike once.
fn sim_bytes(plans: &Plans) -> usize {
    let product = |dims: &[usize]| dims.iter().fold(1usize, |n, d| n.saturating_mul(*d));
    // The simulator keeps what is written as one cell of four bytes for each element.
    let buffer = |b: &Buffer| product(&b.dims).saturating_mul(4);
    let weight = |w: &Weight| product(&w.dims).saturating_mul(w.dtype.bits()) / 8;
    let (first, then) = (&plans.decode, plans.prompt.as_ref());
    let buffers = then.into_iter().flat_map(|p| &p.buffers).filter(|b| !first.buffers.contains(b));
    let weights = then.into_iter().flat_map(|p| &p.weights).filter(|w| !first.weights.contains(w));
    let buffers = first.buffers.iter().chain(buffers).map(buffer);
    buffers.chain(first.weights.iter().chain(weights).map(weight)).fold(0, usize::saturating_add)
}

/// Says so before the system would end the process.
fn require_memory(plans: &Plans) -> Result<(), CliError> {
    let need = sim_bytes(plans);
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
