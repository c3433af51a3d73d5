//! `monotile kernel run` and `bench`: random inputs, one instruction.

use super::super::error::CliError;
use super::super::model::{Debugging, Device, assemble, checked};
use super::super::{Instance, Io};
use super::case::{Case, CaseArgs};
use super::contents::{RandomWeights, fill};
use super::select::KernelArgs;
use super::{lower, title};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Instant;
use tile_codegen::target;
use tile_lang::artifact::hex;
use tile_lang::exec::{Data, Executor};
use tile_lang::ir::{Kernel, Resources};
use tile_lang::schedule::ScheduleDef;
use tile_lang::sim::{Precision, SimExecutor};
use tile_runtime::{GpuExecutor, Timing, TimingOptions, list_devices};

/// Values that are shown of each output.
const SHOWN: usize = 6;
/// Largest difference between a GPU and the simulator, relative to the norm of the output.
const TOLERANCE: f64 = 1e-2;

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    kernel: KernelArgs,
    #[command(flatten)]
    case: CaseArgs,
    /// `sim`; `checked[:SEED[:CTAS]]` to run the roles under an adversary, or `cuda:N`: both are compared with the simulator
    #[arg(long, default_value = "sim", value_name = "DEVICE")]
    device: Device,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct BenchArgs {
    #[command(flatten)]
    kernel: KernelArgs,
    #[command(flatten)]
    case: CaseArgs,
    /// `sim` or `cuda:N`
    #[arg(long, default_value = "sim", value_name = "DEVICE")]
    device: Device,
    /// Timed runs
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One output after a run.
struct Output {
    name: String,
    dims: Vec<usize>,
    data: Data,
}

/// Runs a kernel once; on a GPU or under an adversary also compares it with the simulator.
pub fn run(args: &RunArgs, kernels: &[Instance], schedules: &[ScheduleDef], io: &mut Io<'_>) -> Result<(), CliError> {
    let kernel = args.kernel.find(kernels, schedules)?;
    honoured(&kernel)?;
    let title = title(&kernel);
    let case = args.case.case(kernel)?;
    let seed = args.case.seed;
    let weights = RandomWeights::new(&case.plan, seed);
    let mut sim = simulator(&case, &weights)?;
    let want = outputs(&mut sim, &case, seed)?;
    let mut device = sim.device();
    let mut compared: Option<(Vec<Output>, Vec<f64>)> = None;
    let other: Option<Box<dyn Executor>> = match args.device {
        Device::Sim => None,
        Device::Checked { seed, ctas } => {
            Some(Box::new(checked(case.plan.clone(), &weights, Precision::Native, (seed, ctas))?))
        }
        Device::Cuda(ordinal) => Some(Box::new(gpu(&case, &weights, ordinal)?)),
    };
    if let Some(mut other) = other {
        device = other.device();
        let got = outputs(&mut *other, &case, seed)?;
        let errors = got.iter().zip(&want).map(|(g, w)| difference(&g.data, &w.data)).collect();
        compared = Some((got, errors));
    }
    let items = case.plan.program[0].items();
    let (shown, errors) = match &compared {
        Some((got, errors)) => (got, Some(errors)),
        None => (&want, None),
    };
    if args.json {
        let list = shown.iter().enumerate().map(|(i, o)| o.json(errors.map(|e| e[i])));
        let list: Vec<Value> = list.collect();
        io.json(&json!({ "kernel": title, "items": items, "device": device, "outputs": list }))?;
    } else {
        io.line(format_args!("{title}: {items} work items on {device}"))?;
        for (i, o) in shown.iter().enumerate() {
            o.print(io)?;
            if let Some(errors) = errors {
                io.line(format_args!("  differs from the simulator by {:.2e} of its norm", errors[i]))?;
            }
        }
    }
    let worst = errors.into_iter().flatten().fold(0.0f64, |a, b| if b.is_nan() { f64::INFINITY } else { a.max(*b) });
    if worst > TOLERANCE {
        return Err(CliError::failed(format!(
            "{device} and the simulator differ by {worst:.1e}, {TOLERANCE:.0e} is allowed"
        )));
    }
    Ok(())
}

/// Measures a kernel.
pub fn bench(
    args: &BenchArgs,
    kernels: &[Instance],
    schedules: &[ScheduleDef],
    io: &mut Io<'_>,
) -> Result<(), CliError> {
    let kernel = args.kernel.find(kernels, schedules)?;
    honoured(&kernel)?;
    let title = title(&kernel);
    let case = args.case.case(kernel)?;
    let weights = RandomWeights::new(&case.plan, args.case.seed);
    let repeats = args.repeats as usize;
    let (device, timing) = match args.device {
        Device::Checked { .. } => {
            return Err(CliError::input(
                "--device checked: its time says nothing of a kernel's speed; use sim or cuda:N",
            ));
        }
        Device::Sim => {
            let mut sim = simulator(&case, &weights)?;
            fill(&mut sim, &case, args.case.seed)?;
            pass(&mut sim)?;
            let mut us = Vec::with_capacity(repeats);
            for _ in 0..repeats {
                let begin = Instant::now();
                pass(&mut sim)?;
                us.push(begin.elapsed().as_secs_f64() * 1e6);
            }
            (sim.device(), Timing::new(us))
        }
        Device::Cuda(ordinal) => {
            let mut gpu = gpu(&case, &weights, ordinal)?;
            fill(&mut gpu, &case, args.case.seed)?;
            let timing = gpu.time(0..1, TimingOptions { repeats, ..TimingOptions::default() })?;
            (gpu.device(), timing)
        }
    };
    let bytes = bytes(&case);
    let rate = bytes as f64 / timing.median_us / 1e3;
    let share = ceiling(&device).map(|most| rate / most);
    if args.json {
        return io.json(&json!({
            "kernel": title,
            "device": device,
            "us": timing.median_us,
            "us_min": timing.min_us,
            "repeats": repeats,
            "bytes": bytes,
            "gb_per_s": rate,
            "share": share,
        }));
    }
    let cache = if args.device == Device::Sim { "a warm cache" } else { "a cold L2 cache" };
    io.line(format_args!("{title} on {device}"))?;
    io.line(format_args!(
        "median {:.2} µs, least {:.2} µs of {repeats} runs with {cache}",
        timing.median_us, timing.min_us
    ))?;
    let of = share.map_or(String::new(), |s| format!(", {:.0} % of what memory gives", 100.0 * s));
    io.line(format_args!("{bytes} bytes of operands, each once: {rate:.1} GB/s{of}"))
}

/// What reads of the device's memory were measured to reach, in GB/s.
fn ceiling(device: &str) -> Option<f64> {
    device.contains("H200").then_some(4711.0)
}

/// What a kernel pins must be possible on a GPU, also where it runs on the simulator, which has no memory to run out of.
fn honoured(kernel: &Kernel) -> Result<(), CliError> {
    if kernel.schedule.is_some() || kernel.resources != Resources::default() {
        lower(kernel, target::first_for([kernel]).unwrap_or(target::DEFAULT))?;
    }
    Ok(())
}

fn simulator(case: &Case, weights: &RandomWeights) -> Result<SimExecutor, CliError> {
    let sim = SimExecutor::new(case.plan.clone(), weights, Precision::Native);
    sim.map_err(|e| CliError::input(e.to_string()))
}

fn gpu(case: &Case, weights: &RandomWeights, ordinal: usize) -> Result<GpuExecutor, CliError> {
    list_devices()?;
    let artifact = assemble(case.plan.clone(), Debugging::Keep)?;
    Ok(GpuExecutor::new(ordinal, &artifact, weights)?)
}

fn pass(executor: &mut dyn Executor) -> Result<(), CliError> {
    executor.run(0..1, 1, &mut |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// Fills, runs once, reads what was written.
fn outputs(executor: &mut dyn Executor, case: &Case, seed: u64) -> Result<Vec<Output>, CliError> {
    fill(executor, case, seed)?;
    pass(executor)?;
    let mut out = Vec::with_capacity(case.outputs.len());
    for (name, id) in &case.outputs {
        let dims = case.plan.buffers[*id].dims.clone();
        let data = executor.read(*id, 0, dims.iter().product())?;
        out.push(Output { name: name.clone(), dims, data });
    }
    Ok(out)
}

/// ‖a − b‖ / ‖b‖; for integers the share of those that differ.
fn difference(a: &Data, b: &Data) -> f64 {
    match (a, b) {
        (Data::F32(a), Data::F32(b)) => {
            let (mut error, mut norm) = (0.0f64, 0.0f64);
            for (x, y) in a.iter().zip(b) {
                if x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan()) {
                    error += f64::from(x - y).powi(2);
                }
                norm += f64::from(*y).powi(2);
            }
            if error == 0.0 { 0.0 } else { (error / norm.max(f64::MIN_POSITIVE)).sqrt() }
        }
        (Data::I32(a), Data::I32(b)) => a.iter().zip(b).filter(|(x, y)| x != y).count() as f64 / a.len().max(1) as f64,
        _ => f64::INFINITY,
    }
}

/// Bytes of all operands.
fn bytes(case: &Case) -> usize {
    let product = |dims: &[usize]| dims.iter().product::<usize>();
    let weights = case.plan.weights.iter().map(|w| w.dtype.bytes(product(&w.dims)));
    // The first buffer is the plan's own stop flag.
    let buffers = case.plan.buffers.iter().skip(1).map(|b| b.dtype.bytes(product(&b.dims)));
    weights.chain(buffers).sum()
}

impl Output {
    /// The first values, as text and for JSON.
    fn first(&self) -> (Vec<String>, Value) {
        match &self.data {
            Data::F32(x) => {
                let x = &x[..x.len().min(SHOWN)];
                (x.iter().map(|v| format!("{v:.4}")).collect(), json!(x))
            }
            Data::I32(x) => {
                let x = &x[..x.len().min(SHOWN)];
                (x.iter().map(i32::to_string).collect(), json!(x))
            }
        }
    }

    /// The sum of all values, and a checksum of their bits.
    fn sums(&self) -> (f64, String) {
        use sha2::{Digest, Sha256};
        let (sum, bits): (f64, Vec<u8>) = match &self.data {
            Data::F32(x) => (x.iter().map(|v| f64::from(*v)).sum(), x.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Data::I32(x) => (x.iter().map(|v| f64::from(*v)).sum(), x.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        (sum, hex(&Sha256::digest(&bits)[..8]))
    }

    fn print(&self, io: &mut Io<'_>) -> Result<(), CliError> {
        let dims: Vec<String> = self.dims.iter().map(usize::to_string).collect();
        let ((first, _), (sum, checksum)) = (self.first(), self.sums());
        let first = first.join(", ");
        io.line(format_args!("{} [{}] = {first}, …; sum {sum:.6}, checksum {checksum}", self.name, dims.join(", ")))
    }

    fn json(&self, error: Option<f64>) -> Value {
        let ((_, first), (sum, checksum)) = (self.first(), self.sums());
        json!({
            "name": self.name,
            "dims": self.dims,
            "first": first,
            "sum": sum,
            "checksum": checksum,
            "difference_from_sim": error,
        })
    }
}
