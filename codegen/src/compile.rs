//! From a plan to an image.

use crate::explain::{self, ProgramReport};
use crate::lower::{self, Machine};
use crate::{CodegenError, mlir, ptxas};
use serde::Serialize;
use std::time::{Duration, Instant};
use tile_lang::artifact::Image;
use tile_lang::plan::Plan;

/// Architectures that images can be made for.
pub const TARGETS: [&str; 1] = ["sm_90a"];

/// An image and how it came about.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The image.
    pub image: Image,
    /// The module in the LLVM dialect that it was made from.
    pub mlir: String,
    /// What became of the kernels.
    pub report: ProgramReport,
    /// What ptxas warned of.
    pub warnings: Vec<String>,
    /// What took how long.
    pub times: Times,
}

/// Time by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Roles, layouts, the module's text.
    pub lowering: Duration,
    /// MLIR and LLVM.
    pub llvm: Duration,
    /// ptxas; zero where it is missing.
    pub ptxas: Duration,
}

/// Compiles a plan into one persistent kernel. With ptxas at hand the image holds machine code too.
///
/// # Errors
/// An unknown target, a kernel that can't be lowered, or PTX that ptxas rejects.
pub fn compile(plan: &Plan, target: &str) -> Result<Image, CodegenError> {
    compile_and_report(plan, target).map(|c| c.image)
}

/// As [`compile`], and says how it went.
///
/// # Errors
/// As [`compile`].
pub fn compile_and_report(plan: &Plan, target: &str) -> Result<Compiled, CodegenError> {
    if !TARGETS.contains(&target) {
        return Err(CodegenError::Plan(format!(
            "target `{target}` is unknown; this compiler knows {}",
            TARGETS.join(", ")
        )));
    }
    let mut times = Times::default();
    let begin = Instant::now();
    let facts = lower::facts(plan);
    let assembled = lower::assemble(&plan.name, &plan.kernels, &facts, Machine::SM_90A)?;
    let report = explain::report(&plan.name, &plan.kernels, &assembled, Machine::SM_90A)?;
    times.lowering = begin.elapsed();
    let begin = Instant::now();
    let ptx = mlir::to_ptx(&plan.name, &assembled.mlir)?;
    times.llvm = begin.elapsed();
    let mut image = Image {
        target: target.into(),
        entry: lower::ENTRY.into(),
        threads: lower::THREADS as u32,
        shared_bytes: assembled.shared_bytes as u32,
        ptx,
        cubin: Vec::new(),
        packings: assembled.packings,
        registers: 0,
        spills: 0,
    };
    let mut warnings = Vec::new();
    if ptxas::find("ptxas").is_some() {
        let begin = Instant::now();
        let assembly = ptxas::assemble(&image.ptx, target)?;
        times.ptxas = begin.elapsed();
        image.cubin = assembly.cubin;
        image.registers = assembly.registers;
        image.spills = assembly.spill_stores;
        warnings = assembly.warnings;
    }
    Ok(Compiled { image, mlir: assembled.mlir, report, warnings, times })
}
