//! `monotile kernel explain`: what the compiler makes of a kernel.

use super::super::error::CliError;
use super::super::{Instance, Io};
use super::lower;
use super::select::KernelArgs;
use serde_json::json;
use tile_codegen::explain::report;
use tile_codegen::lower::Machine;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    kernel: KernelArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Explains it.
pub fn run(args: &Args, kernels: &[Instance], io: &mut Io<'_>) -> Result<(), CliError> {
    let kernel = args.kernel.find(kernels)?;
    let assembled = lower(&kernel)?;
    let report = report(&kernel.name, std::slice::from_ref(&kernel), &assembled, Machine::SM_90A)?;
    let code = code(&kernel.name, &assembled.mlir)?;
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
    registers: u32,
    spill_stores: u32,
    spill_loads: u32,
    warnings: Vec<String>,
    sass: Option<tile_codegen::explain::sass::SassReport>,
}

impl Code {
    fn json(&self) -> serde_json::Value {
        json!({
            "registers": self.registers,
            "spill_stores": self.spill_stores,
            "spill_loads": self.spill_loads,
            "warnings": self.warnings,
            "sass": self.sass,
        })
    }

    fn print(&self, io: &mut Io<'_>) -> Result<(), CliError> {
        let (stores, loads) = (self.spill_stores, self.spill_loads);
        io.line(format_args!(
            "registers: {} a thread at entry, {stores} bytes spilled, {loads} loaded back",
            self.registers
        ))?;
        self.warnings.iter().try_for_each(|w| io.line(format_args!("ptxas: {w}")))?;
        self.sass.iter().try_for_each(|sass| io.line(sass))
    }
}

#[cfg(feature = "llvm")]
fn code(name: &str, mlir: &str) -> Result<Option<Code>, CliError> {
    use tile_codegen::explain::sass::analyse;
    use tile_codegen::{TARGETS, mlir::to_ptx, ptxas};
    if ptxas::find("ptxas").is_none() {
        return Ok(None);
    }
    let assembly = ptxas::assemble(&to_ptx(name, mlir)?, TARGETS[0])?;
    let sass = match ptxas::find("nvdisasm") {
        Some(_) => Some(analyse(&ptxas::disassemble(&assembly.cubin)?)),
        None => None,
    };
    Ok(Some(Code {
        registers: assembly.registers,
        spill_stores: assembly.spill_stores,
        spill_loads: assembly.spill_loads,
        warnings: assembly.warnings,
        sass,
    }))
}

#[cfg(not(feature = "llvm"))]
fn code(_: &str, _: &str) -> Result<Option<Code>, CliError> {
    Ok(None)
}
