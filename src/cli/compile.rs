//! `monotile compile`: a model ahead of time.

use super::Io;
use super::error::CliError;
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
    let plan = model.plan(&weights, context)?;
    let planning = begin.elapsed();
    let debug = if args.debug { tile_codegen::Debug::Keep } else { tile_codegen::Debug::Strip };
    let compiled = tile_codegen::compile_with(&plan, target, debug)?;
    let begin = Instant::now();
    let artifact = Artifact::new(plan, compiled.image.clone());
    artifact.save(&args.out)?;
    let summary = summary::Summary::new(&artifact, &compiled, planning, begin.elapsed(), context, &args.out)?;
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

    use crate::cli::error::{self, CliError};
    use serde_json::{Value, json};
    use std::fmt;
    use std::path::Path;
    use std::time::Duration;
    use tile_codegen::Compiled;
    use tile_codegen::explain::SharedMap;
    use tile_codegen::sass::{SassReport, report};
    use tile_lang::artifact::Artifact;
    use tile_lang::diag::Diagnostics;

    /// See the module.
    pub struct Summary {
        file: String,
        file_bytes: u64,
        model: String,
        target: String,
        context: usize,
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
        warnings: Diagnostics,
        times: [(&'static str, Duration); 5],
    }

    impl Summary {
        /// Sums up an artifact that has just been written.
        pub fn new(
            artifact: &Artifact,
            compiled: &Compiled,
            planning: Duration,
            writing: Duration,
            context: usize,
            file: &Path,
        ) -> Result<Self, CliError> {
            let (plan, image) = (&artifact.plan, &artifact.image);
            let product = |dims: &[usize]| dims.iter().product::<usize>();
            let t = compiled.times;
            Ok(Summary {
                file: file.display().to_string(),
                file_bytes: std::fs::metadata(file).map_or(0, |m| m.len()),
                model: plan.name.clone(),
                target: image.target.clone(),
                context,
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
                ptx_sha256: artifact.ptx_sha256(),
                shared: compiled.report.shared.clone(),
                sass: compiled.sass.as_ref().map(report),
                warnings: compiled.warnings.clone(),
                times: [
                    ("planning", planning),
                    ("lowering", t.lowering),
                    ("LLVM", t.llvm),
                    ("ptxas", t.ptxas),
                    ("writing", writing),
                ],
            })
        }

        /// As JSON.
        pub fn json(&self) -> Value {
            let seconds: serde_json::Map<String, Value> =
                self.times.iter().map(|(n, t)| (n.to_lowercase(), t.as_secs_f64().into())).collect();
            json!({
                "file": self.file,
                "file_bytes": self.file_bytes,
                "model": self.model,
                "target": self.target,
                "context": self.context,
                "kernels": self.kernels,
                "instructions": self.instructions,
                "edges": self.edges,
                "buffers": self.buffers,
                "buffer_bytes": self.buffer_bytes,
                "weights": self.weights,
                "weight_bytes": self.weight_bytes,
                "threads": self.threads,
                "registers": self.registers,
                "spill_bytes": self.spills,
                "ptx_bytes": self.ptx,
                "ptx_sha256": self.ptx_sha256,
                "machine_code_bytes": self.machine_code,
                "shared": self.shared,
                "sass": self.sass,
                "warnings": error::json(&self.warnings),
                "seconds": seconds,
            })
        }
    }

    fn mib(n: usize) -> f64 {
        n as f64 / (1u64 << 20) as f64
    }

    impl fmt::Display for Summary {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (kib, all) = (self.file_bytes as f64 / 1024.0, self.times.iter().map(|t| t.1).sum::<Duration>());
            writeln!(f, "{}: {} for {}, context {}, {kib:.0} KiB", self.file, self.model, self.target, self.context)?;
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
            for w in &self.warnings.0 {
                writeln!(f, "{w}")?;
            }
            write!(f, "time: {:.2} s", all.as_secs_f64())?;
            for (i, (name, t)) in self.times.iter().enumerate() {
                write!(f, "{}{name} {:.2}", if i == 0 { " = " } else { " + " }, t.as_secs_f64())?;
            }
            Ok(())
        }
    }

    /// A whole program has too many loops to list.
    fn without_loops(sass: &SassReport) -> SassReport {
        let mut sass = sass.clone();
        sass.roles.iter_mut().for_each(|r| r.loops.clear());
        sass
    }
}
