//! `monotile compile`: a model ahead of time.

use super::Io;
use super::error::CliError;
use super::model::ChunkArgs;
#[cfg(feature = "llvm")]
use std::path::Path;
use std::path::PathBuf;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder: config.json, safetensors
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Artifact to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Architecture
    #[arg(long, default_value = "sm_90a", value_name = "ARCH")]
    pub target: String,
    /// Positions that the caches hold [default: 4096, or fewer if the model has fewer]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    #[command(flatten)]
    pub chunk: ChunkArgs,
    /// Keep `device_assert!`, `dbg_tile!` and `mark!`, which are left out of what is shipped
    #[arg(long)]
    pub debug: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(not(feature = "llvm"))]
pub fn run(_: &Args, _: &mut Io<'_>) -> Result<(), CliError> {
    Err(CliError::input("this monotile was built without LLVM and can't compile; build it with the feature `llvm`"))
}

/// Compiles, writes the artifact and sums up.
#[cfg(feature = "llvm")]
pub fn run(args: &Args, io: &mut Io<'_>) -> Result<(), CliError> {
    use super::model::Model;
    use std::time::Instant;
    use tile_lang::artifact::Artifact;
    use tile_models::weights::PlanWeights;

    check_out(&args.out)?;
    let target = super::target(&args.target)?;
    let begin = Instant::now();
    let model = Model::open(&args.model)?;
    let weights = PlanWeights::new(model.weights()?);
    let context = model.context(args.context)?;
    let plans = model.plans(&weights, context, args.chunk)?;
    let planning = begin.elapsed();
    let debug = if args.debug { tile_codegen::Debug::Keep } else { tile_codegen::Debug::Strip };
    let decode = tile_codegen::compile_with(&plans.decode, target, debug)?;
    let mut artifact = Artifact::new(plans.decode, decode.image.clone());
    let mut prompt = None;
    if let Some(plan) = plans.prompt {
        let compiled = tile_codegen::compile_with(&plan, target, debug)?;
        artifact = artifact.with_prompt(plan, compiled.image.clone());
        prompt = Some(compiled);
    }
    let begin = Instant::now();
    artifact.save(&args.out)?;
    let times = [planning, begin.elapsed()];
    let summary = summary::Summary::new(&artifact, &decode, prompt.as_ref(), times, context, &args.out);
    if args.json { io.json(&summary.json()) } else { io.line(summary) }
}

/// Whether the file can be written, before minutes go into what is written to it.
#[cfg(feature = "llvm")]
fn check_out(out: &Path) -> Result<(), CliError> {
    let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(CliError::input(format!("--out {}: there is no folder {}", out.display(), folder.display())));
    }
    if out.is_dir() {
        return Err(CliError::input(format!("--out {}: this is a folder; give a file", out.display())));
    }
    Ok(())
}

#[cfg(feature = "llvm")]
mod summary {
    //! What was made and what it took.

    use crate::cli::error;
    use serde_json::{Map, Value, json};
    use std::fmt;
    use std::path::Path;
    use std::time::Duration;
    use tile_codegen::Compiled;
    use tile_codegen::explain::SharedMap;
    use tile_codegen::sass::{SassReport, report};
    use tile_lang::artifact::{Artifact, Image};
    use tile_lang::diag::Diagnostics;
    use tile_lang::plan::{Pick, Plan};

    /// See the module.
    pub struct Summary {
        file: String,
        file_bytes: u64,
        model: String,
        target: String,
        context: usize,
        decode: Part,
        prompt: Option<Part>,
        times: [(&'static str, Duration); 5],
    }

    /// One program.
    struct Part {
        rows: usize,
        kernels: usize,
        instructions: usize,
        edges: usize,
        buffers: usize,
        weights: usize,
        weight_bytes: usize,
        buffer_bytes: usize,
        threads: u32,
        registers: u32,
        spills: u32,
        machine_code: usize,
        ptx: usize,
        ptx_sha256: String,
        shared: SharedMap,
        sass: Option<SassReport>,
        picks: Vec<Pick>,
        warnings: Diagnostics,
    }

    impl Summary {
        /// Sums up an artifact that has just been written; `times` are those of planning and writing.
        pub fn new(
            artifact: &Artifact,
            decode: &Compiled,
            prompt: Option<&Compiled>,
            [planning, writing]: [Duration; 2],
            context: usize,
            file: &Path,
        ) -> Self {
            let both = |time: fn(&Compiled) -> Duration| time(decode) + prompt.map_or(Duration::ZERO, time);
            let part = |(p, compiled): (&tile_lang::artifact::Program, _)| Part::new(&p.plan, &p.image, compiled);
            Summary {
                file: file.display().to_string(),
                file_bytes: std::fs::metadata(file).map_or(0, |m| m.len()),
                model: artifact.plan.name.clone(),
                target: artifact.image.target.clone(),
                context,
                decode: Part::new(&artifact.plan, &artifact.image, decode),
                prompt: artifact.prompt.as_ref().zip(prompt).map(part),
                times: [
                    ("planning", planning),
                    ("lowering", both(|c| c.times.lowering)),
                    ("LLVM", both(|c| c.times.llvm)),
                    ("ptxas", both(|c| c.times.ptxas)),
                    ("writing", writing),
                ],
            }
        }

        /// As JSON: the facts of the program that decodes beside those of the file, the program for prompts as one of them.
        pub fn json(&self) -> Value {
            let seconds: Map<String, Value> =
                self.times.iter().map(|(n, t)| (n.to_lowercase(), t.as_secs_f64().into())).collect();
            let mut all = self.decode.json();
            all.extend([
                ("file".into(), json!(self.file)),
                ("file_bytes".into(), json!(self.file_bytes)),
                ("model".into(), json!(self.model)),
                ("target".into(), json!(self.target)),
                ("context".into(), json!(self.context)),
                ("prompt".into(), json!(self.prompt.as_ref().map(Part::json))),
                ("seconds".into(), json!(seconds)),
            ]);
            Value::Object(all)
        }
    }

    impl Part {
        fn new(plan: &Plan, image: &Image, compiled: &Compiled) -> Self {
            let product = |dims: &[usize]| dims.iter().product::<usize>();
            let tokens = plan.buffers.iter().find(|b| b.name == "tokens");
            Part {
                rows: tokens.map_or(0, |b| product(&b.dims)),
                kernels: plan.kernels.len(),
                instructions: plan.program.len(),
                edges: plan.program.iter().map(|i| i.after.len()).sum(),
                buffers: plan.buffers.len(),
                weights: plan.weights.len(),
                weight_bytes: plan.weights.iter().map(|w| w.dtype.bytes(product(&w.dims))).sum(),
                buffer_bytes: plan.buffers.iter().map(|b| b.dtype.bytes(product(&b.dims))).sum(),
                threads: image.threads,
                registers: image.registers,
                spills: image.spills,
                machine_code: image.cubin.len(),
                ptx: image.ptx.len(),
                ptx_sha256: tile_lang::ptx::sha256(&image.ptx),
                shared: compiled.report.shared.clone(),
                sass: compiled.sass.as_ref().map(report),
                picks: plan.picks.clone(),
                warnings: compiled.warnings.clone(),
            }
        }

        fn json(&self) -> Map<String, Value> {
            let pick = |p: &Pick| json!({ "operation": p.operation, "kernel": p.kernel, "why": p.why });
            [
                ("rows", json!(self.rows)),
                ("kernels", json!(self.kernels)),
                ("instructions", json!(self.instructions)),
                ("edges", json!(self.edges)),
                ("buffers", json!(self.buffers)),
                ("buffer_bytes", json!(self.buffer_bytes)),
                ("weights", json!(self.weights)),
                ("weight_bytes", json!(self.weight_bytes)),
                ("threads", json!(self.threads)),
                ("registers", json!(self.registers)),
                ("spill_bytes", json!(self.spills)),
                ("ptx_bytes", json!(self.ptx)),
                ("ptx_sha256", json!(self.ptx_sha256)),
                ("machine_code_bytes", json!(self.machine_code)),
                ("shared", json!(self.shared)),
                ("sass", json!(self.sass)),
                ("picks", self.picks.iter().map(pick).collect()),
                ("warnings", error::json(&self.warnings)),
            ]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
        }
    }

    fn mib(n: usize) -> f64 {
        n as f64 / (1u64 << 20) as f64
    }

    impl fmt::Display for Summary {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (kib, all) = (self.file_bytes as f64 / 1024.0, self.times.iter().map(|t| t.1).sum::<Duration>());
            writeln!(f, "{}: {} for {}, context {}, {kib:.0} KiB", self.file, self.model, self.target, self.context)?;
            write!(f, "{}", self.decode)?;
            if let Some(prompt) = &self.prompt {
                writeln!(f, "\nfor prompts, in chunks of {} rows, over the same caches:", prompt.rows)?;
                write!(f, "{prompt}")?;
                writeln!(f)?;
            }
            write!(f, "time: {:.2} s", all.as_secs_f64())?;
            for (i, (name, t)) in self.times.iter().enumerate() {
                write!(f, "{}{name} {:.2}", if i == 0 { " = " } else { " + " }, t.as_secs_f64())?;
            }
            Ok(())
        }
    }

    impl fmt::Display for Part {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            writeln!(
                f,
                "program: {} instructions of {} kernel instances, {} edges",
                self.instructions, self.kernels, self.edges
            )?;
            writeln!(
                f,
                "data: {} weights of {:.1} MiB, {} buffers of {:.1} MiB",
                self.weights,
                mib(self.weight_bytes),
                self.buffers,
                mib(self.buffer_bytes)
            )?;
            for p in &self.picks {
                writeln!(f, "{}: {}, {}", p.operation, p.kernel, p.why)?;
            }
            match self.machine_code {
                0 => writeln!(f, "code: {} KiB of PTX (no ptxas here: the driver assembles it)", self.ptx / 1024)?,
                n => writeln!(
                    f,
                    "code: {} KiB of PTX, {} KiB of machine code; {} threads of {} registers, {} bytes spilled",
                    self.ptx / 1024,
                    n / 1024,
                    self.threads,
                    self.registers,
                    self.spills
                )?,
            }
            if let Some(sass) = &self.sass {
                writeln!(f, "{}", without_loops(sass))?;
            }
            writeln!(f, "{}", self.shared)?;
            self.warnings.0.iter().try_for_each(|w| writeln!(f, "{w}"))
        }
    }

    /// A whole program has too many loops to list.
    fn without_loops(sass: &SassReport) -> SassReport {
        let mut sass = sass.clone();
        sass.roles.iter_mut().for_each(|r| r.loops.clear());
        sass
    }
}
