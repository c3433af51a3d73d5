//! `monotile verify`: a model on a device against the answers of another implementation.

use super::Io;
use super::error::CliError;
use super::model::{Executors, Model, ModelArgs, Program};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::path::PathBuf;
use tile_lang::sim::Precision;
use tile_models::reference::Reference;
use tile_models::reference::golden::Golden;
use tile_models::session::verify::{Check, Choices, Report, Tolerance, verify};
use tile_models::weights::PlanWeights;

/// What the CPU reference may differ from the file by, in σ of the logits.
const REFERENCE_TOLERANCE: f64 = 1e-4;

/// How the device rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rounding {
    /// Values of bf16 keep all bits of f32; on `sim` only.
    F32,
    /// As the device does.
    Native,
}

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The answers [default: reference.safetensors in the model folder]
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// How values are rounded
    #[arg(long, value_enum, default_value = "native")]
    precision: Rounding,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Verifies; differences beyond the tolerance fail the job.
pub fn run(args: &Args, io: &mut Io<'_>) -> Result<(), CliError> {
    let model = Model::open(&args.model.model)?;
    let config = &model.config;
    let file = args.reference.clone().unwrap_or_else(|| model.folder.join("reference.safetensors"));
    if !file.is_file() {
        return Err(CliError::input(format!(
            "{}: there is no such file; --reference takes a safetensors file with another implementation's answers",
            file.display()
        )));
    }
    let golden = Golden::open(&file, config.layers.len(), config.hidden, config.vocab)?;
    let (precision, tolerance) = match args.precision {
        Rounding::F32 => (Precision::F32, Tolerance::F32),
        Rounding::Native => (Precision::Native, Tolerance::NATIVE),
    };
    let checked = model.weights()?;
    let weights = PlanWeights::new(checked);
    let longest = golden.prompts.iter().map(|p| p.ids.len() + p.greedy.len()).max().unwrap_or(0);
    let program = Program::prepare(&model, &weights, &args.model, None)?;
    if longest > program.context() {
        return Err(CliError::input(format!(
            "{}: its longest text has {longest} tokens, the plan's context is {}",
            file.display(),
            program.context()
        )));
    }
    let Executors { mut decode, prompt } = program.load(args.model.device, &weights, precision)?;
    let reference = Reference::new(&checked)?;
    let cpu = cpu_check(&reference, &golden)?;
    let device = decode.device();
    let decoded = verify(&mut *decode, &reference, &golden, &tolerance)?;
    let chunked = prompt.map(|mut p| verify(&mut *p, &reference, &golden, &tolerance)).transpose()?;
    let mut reports = vec![("decoding", &decoded)];
    reports.extend(chunked.as_ref().map(|report| ("prompts", report)));
    let passed = cpu.passed() && reports.iter().all(|(_, r)| r.passed());
    if args.json {
        io.json(&to_json(&cpu, &decoded, chunked.as_ref(), &device, passed))?;
    } else {
        print(io, &cpu, &reports, &device)?;
    }
    if passed {
        return Ok(());
    }
    let mut failed = Vec::new();
    if !cpu.passed() {
        failed.push(cpu.name.clone());
    }
    for (program, report) in &reports {
        let names = checks(report).filter(|c| !c.passed()).map(|c| c.name.as_str());
        let choices = (!report.choices.passed()).then_some("greedy choices");
        failed.extend(names.chain(choices).map(|name| format!("{name} ({program})")));
    }
    Err(CliError::failed(format!("beyond tolerance: {}", failed.join(", "))))
}

/// The CPU reference in f32 against the file.
fn cpu_check(reference: &Reference<'_>, golden: &Golden) -> Result<Check, CliError> {
    let (mut worst, mut rows) = (0.0f64, 0);
    for prompt in &golden.prompts {
        let got = reference.forward(&prompt.ids, &mut reference.cache())?.logits;
        let n = prompt.logits.len().max(1) as f64;
        let mean = prompt.logits.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let sigma = (prompt.logits.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n).sqrt();
        for (a, b) in got.iter().zip(&prompt.logits) {
            let error = f64::from((a - b).abs()) / sigma.max(f64::MIN_POSITIVE);
            worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        }
        rows += prompt.ids.len();
    }
    let name = "CPU reference, f32".into();
    Ok(Check { name, worst, tolerance: REFERENCE_TOLERANCE, rows, near_ties: 0, excused: 0 })
}

fn checks(report: &Report) -> impl Iterator<Item = &Check> {
    report.parts.iter().chain([&report.whole, &report.drift])
}

fn print(io: &mut Io<'_>, cpu: &Check, reports: &[(&str, &Report)], device: &str) -> Result<(), CliError> {
    io.line(format_args!("device: {device}"))?;
    io.line(format_args!("errors are in σ, the standard deviation of what is compared\n"))?;
    io.line(format_args!(
        "{:<22} {:>9} {:>9} {:>6} {:>10} {:>8}",
        "check", "worst", "allowed", "rows", "near ties", "excused"
    ))?;
    let line = |io: &mut Io<'_>, c: &Check| {
        let allowed = if c.tolerance.is_finite() { format!("{:.1e}", c.tolerance) } else { "any".into() };
        let verdict = if c.passed() { "" } else { "  FAILED" };
        io.line(format_args!(
            "{:<22} {:>9.1e} {allowed:>9} {:>6} {:>10} {:>8}{verdict}",
            c.name, c.worst, c.rows, c.near_ties, c.excused
        ))
    };
    line(io, cpu)?;
    for (program, report) in reports {
        io.line(format_args!("\nprogram for {program}"))?;
        for c in checks(report) {
            line(io, c)?;
        }
        let c = &report.choices;
        let verdict = if c.passed() { "" } else { "  FAILED" };
        io.line(format_args!(
            "greedy choices: {} of {} equal, {} excused (nearer than the error), widest margin of the others {:.1e} σ{verdict}",
            c.equal, c.compared, c.excused, c.largest_margin
        ))?;
    }
    Ok(())
}

fn to_json(cpu: &Check, decode: &Report, prompt: Option<&Report>, device: &str, passed: bool) -> Value {
    let check = |c: &Check| {
        json!({
            "name": c.name,
            "worst": finite(c.worst),
            "tolerance": finite(c.tolerance),
            "rows": c.rows,
            "near_ties": c.near_ties,
            "excused": c.excused,
            "passed": c.passed(),
        })
    };
    let choices = |c: &Choices| {
        json!({
            "compared": c.compared,
            "equal": c.equal,
            "excused": c.excused,
            "largest_margin": finite(c.largest_margin),
            "passed": c.passed(),
        })
    };
    let list = |report: &Report| checks(report).map(check).collect::<Vec<_>>();
    let first = [vec![check(cpu)], list(decode)].concat();
    json!({
        "passed": passed,
        "device": device,
        "checks": first,
        "choices": choices(&decode.choices),
        "prompt": prompt.map(|report| json!({ "checks": list(report), "choices": choices(&report.choices) })),
    })
}

/// JSON has no infinity.
fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}
