//! From a plan to an image.

use crate::lower::{self, Machine};
use crate::{CodegenError, mlir, ptxas};
use tile_lang::artifact::Image;
use tile_lang::plan::Plan;

/// Architectures that images can be made for.
pub const TARGETS: [&str; 1] = ["sm_90a"];

/// Compiles a plan into one persistent kernel. With ptxas at hand the image holds machine code too.
///
/// # Errors
/// An unknown target, a kernel that can't be lowered, or PTX that ptxas rejects.
pub fn compile(plan: &Plan, target: &str) -> Result<Image, CodegenError> {
    if !TARGETS.contains(&target) {
        return Err(CodegenError::Plan(format!(
            "target `{target}` is unknown; this compiler knows {}",
            TARGETS.join(", ")
        )));
    }
    let facts = lower::facts(plan);
    let assembled = lower::assemble(&plan.name, &plan.kernels, &facts, Machine::SM_90A)?;
    let ptx = mlir::to_ptx(&plan.name, &assembled.mlir)?;
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
    if ptxas::find("ptxas").is_some() {
        let assembly = ptxas::assemble(&image.ptx, target)?;
        image.cubin = assembly.cubin;
        image.registers = assembly.registers;
        image.spills = assembly.spill_stores;
    }
    Ok(image)
}
