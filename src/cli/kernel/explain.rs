//! `monotile kernel explain`: what the compiler makes of a kernel.

use super::super::error::{self, CliError};
use super::super::{Instance, Io, target};
use super::schedules::write_complete;
use super::select::KernelArgs;
use serde_json::json;
use tile_codegen::explain::ProgramReport;
#[cfg(not(feature = "llvm"))]
use tile_codegen::explain::report;
use tile_codegen::explain::source::source_file;
use tile_codegen::passes::explicit_roles;
use tile_codegen::ptxas::Resources;
use tile_codegen::sass::SassReport;
use tile_codegen::target::Target;
use tile_lang::diag::Diagnostics;
use tile_lang::ir::Kernel;
use tile_lang::schedule::ScheduleDef;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    kernel: KernelArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Architecture
    #[arg(long, default_value = "sm_90a", value_name = "ARCH")]
    target: String,
    /// Write the whole schedule, the compiler's choices included, and nothing else; `-` prints it
    #[arg(long, value_name = "FILE")]
    schedule_out: Option<String>,
    /// Print the kernel as Rust source with explicit roles, and nothing else
    #[arg(long, conflicts_with_all = ["json", "schedule_out"])]
    as_source: bool,
}

/// Explains it.
pub fn run(args: &Args, kernels: &[Instance], schedules: &[ScheduleDef], io: &mut Io<'_>) -> Result<(), CliError> {
    let kernel = args.kernel.find(kernels, schedules)?;
    let target = target(&args.target)?;
    if let Some(to) = &args.schedule_out {
        return write_complete(&kernel, target, to, io);
    }
    if args.as_source {
        let explicit = explicit_roles(&super::chosen(&kernel, target)?, target.machine().group_bytes)?;
        return io.line(source_file(&explicit)?.trim_end());
    }
    let (report, code) = explained(&kernel, target)?;
    if args.json {
        return io.json(&json!({ "program": report, "code": code.as_ref().map(Code::json) }));
    }
    io.line(report)?;
    match code {
        Some(code) => code.print(io),
        None => io.line("machine code: not looked at (this needs a build with LLVM, ptxas and nvdisasm)"),
    }
}

/// What ptxas and nvdisasm say.
struct Code {
    resources: Resources,
    warnings: Diagnostics,
    sass: Option<SassReport>,
}

impl Code {
    fn json(&self) -> serde_json::Value {
        json!({
            "registers": self.resources.registers,
            "stack": self.resources.stack,
            "spill_stores": self.resources.spill_stores,
            "spill_loads": self.resources.spill_loads,
            "warnings": error::json(&self.warnings),
            "sass": self.sass,
        })
    }

    fn print(&self, io: &mut Io<'_>) -> Result<(), CliError> {
        let Resources { registers, spill_stores, spill_loads, .. } = self.resources;
        io.line(format_args!(
            "registers: {registers} a thread at entry, {spill_stores} bytes spilled, {spill_loads} loaded back"
        ))?;
        self.warnings.0.iter().try_for_each(|w| io.line(w))?;
        self.sass.iter().try_for_each(|sass| io.line(sass))
    }
}

#[cfg(feature = "llvm")]
fn explained(kernel: &Kernel, target: &'static Target) -> Result<(ProgramReport, Option<Code>), CliError> {
    let compiled = super::compile(kernel, target)?;
    let sass = compiled.sass.as_ref().map(tile_codegen::sass::report);
    let code = compiled.resources.map(|resources| Code { resources, warnings: compiled.warnings, sass });
    Ok((compiled.report, code))
}

#[cfg(not(feature = "llvm"))]
fn explained(kernel: &Kernel, target: &'static Target) -> Result<(ProgramReport, Option<Code>), CliError> {
    let assembled = super::lower(kernel, target)?;
    let report = report(&kernel.name, &assembled, target.machine());
    Ok((report, None))
}
