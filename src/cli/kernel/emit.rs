//! `monotile kernel emit`: a kernel at a stage of the compiler.

use super::super::error::CliError;
use super::super::{Instance, Io, target};
use super::select::KernelArgs;
use super::{chosen, lower};
use clap::ValueEnum;
use std::path::PathBuf;
use tile_codegen::explain::stages;
use tile_codegen::target::Target;
use tile_lang::ir::Kernel;
use tile_lang::ir::Places;
use tile_lang::schedule::ScheduleDef;

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
    /// Leave source places and lines out
    #[arg(long)]
    brief: bool,
    /// Architecture
    #[arg(long, default_value = "sm_90a", value_name = "ARCH")]
    target: String,
}

/// Prints it.
pub fn run(args: &Args, kernels: &[Instance], schedules: &[ScheduleDef], io: &mut Io<'_>) -> Result<(), CliError> {
    // What is printed as it was read keeps the places that it was read with.
    let places = if args.stage == Stage::Tile { Places::Recorded } else { Places::Text };
    let kernel = args.kernel.find_at(kernels, schedules, places)?;
    let target = target(&args.target)?;
    let group = target.machine().group_bytes;
    let text = match args.stage {
        Stage::Tile if args.brief => format!("{kernel:#}"),
        Stage::Tile => kernel.to_string(),
        Stage::Scheduled => stages::scheduled(&chosen(&kernel, target)?, group, args.brief)?,
        Stage::Specialised => stages::specialised(&chosen(&kernel, target)?, group, args.brief)?,
        Stage::Allocated => stages::allocated(&chosen(&kernel, target)?, target.machine(), args.brief)?,
        Stage::Mlir if args.brief => stages::without_places(&lower(&kernel, target)?.mlir),
        Stage::Mlir => lower(&kernel, target)?.mlir,
        later => machine(later, &kernel, target, args.brief)?,
    };
    match &args.out {
        None => io.line(text.trim_end()),
        Some(file) => std::fs::write(file, text)
            .map_err(|e| CliError::input(format!("--out {}: can't be written ({e})", file.display()))),
    }
}

#[cfg(feature = "llvm")]
fn machine(stage: Stage, kernel: &Kernel, target: &'static Target, brief: bool) -> Result<String, CliError> {
    use super::compile;
    use tile_codegen::{lines, mlir, ptxas};
    match stage {
        Stage::Llvm => Ok(mlir::to_llvm_ir(&kernel.name, &lower(kernel, target)?.mlir)?),
        Stage::Ptx => {
            let ptx = mlir::to_ptx(&kernel.name, &lower(kernel, target)?.mlir)?;
            Ok(if brief { tile_lang::ptx::stripped(&ptx) } else { lines::annotate_ptx(&ptx) })
        }
        _ => {
            let sass = ptxas::disassemble(&compile(kernel, target)?.image.cubin)?;
            Ok(if brief { lines::without_places(&sass) } else { lines::annotate_sass(&sass) })
        }
    }
}

#[cfg(not(feature = "llvm"))]
fn machine(stage: Stage, _: &Kernel, _: &'static Target, _: bool) -> Result<String, CliError> {
    let stage = stage.to_possible_value().map_or_else(String::new, |v| v.get_name().into());
    Err(CliError::input(format!(
        "--stage {stage}: this monotile was built without LLVM; the stages up to mlir can be printed"
    )))
}
