//! `monotile kernel emit`: a kernel at a stage of the compiler.

use super::super::error::CliError;
use super::super::{Instance, Io};
use super::lower;
use super::select::KernelArgs;
use clap::ValueEnum;
use std::path::PathBuf;
use tile_codegen::explain::stages;
use tile_codegen::lower::Machine;
use tile_lang::ir::Places;

/// The stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Tile IR as staged
    Tile,
    /// With staged loads grouped into transactions
    Scheduled,
    /// One body per role, with rings
    Specialised,
    /// With the layouts of tiles
    Allocated,
    /// The module in the LLVM dialect of MLIR
    Mlir,
    /// LLVM IR
    Llvm,
    /// PTX
    Ptx,
    /// Machine code, disassembled
    Sass,
}

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    kernel: KernelArgs,
    /// Stage to print
    #[arg(long, value_enum)]
    stage: Stage,
    /// File to write instead of printing
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave source places out
    #[arg(long)]
    brief: bool,
}

/// Prints it.
pub fn run(args: &Args, kernels: &[Instance], io: &mut Io<'_>) -> Result<(), CliError> {
    // What is printed as it was read keeps the places that it was read with.
    let places = if args.stage == Stage::Tile { Places::Recorded } else { Places::Text };
    let kernel = args.kernel.find_at(kernels, places)?;
    let group = Machine::SM_90A.group_bytes;
    let text = match args.stage {
        Stage::Tile if args.brief => format!("{kernel:#}"),
        Stage::Tile => kernel.to_string(),
        Stage::Scheduled => stages::scheduled(&kernel, group, args.brief)?,
        Stage::Specialised => stages::specialised(&kernel, group, args.brief)?,
        Stage::Allocated => stages::allocated(&kernel, group, args.brief)?,
        Stage::Mlir => lower(&kernel)?.mlir,
        later => machine(later, &kernel.name, &lower(&kernel)?.mlir)?,
    };
    match &args.out {
        None => io.line(text.trim_end()),
        Some(file) => std::fs::write(file, text)
            .map_err(|e| CliError::input(format!("--out {}: can't be written ({e})", file.display()))),
    }
}

#[cfg(feature = "llvm")]
fn machine(stage: Stage, name: &str, mlir: &str) -> Result<String, CliError> {
    use tile_codegen::mlir::{to_llvm_ir, to_ptx};
    use tile_codegen::{TARGETS, ptxas};
    if stage == Stage::Llvm {
        return Ok(to_llvm_ir(name, mlir)?);
    }
    let ptx = to_ptx(name, mlir)?;
    if stage == Stage::Ptx {
        return Ok(ptx);
    }
    Ok(ptxas::disassemble(&ptxas::assemble(&ptx, TARGETS[0])?.cubin)?)
}

#[cfg(not(feature = "llvm"))]
fn machine(stage: Stage, _: &str, _: &str) -> Result<String, CliError> {
    let stage = stage.to_possible_value().map_or_else(String::new, |v| v.get_name().into());
    Err(CliError::input(format!(
        "--stage {stage}: this monotile was built without LLVM; the stages up to mlir can be printed"
    )))
}
