//! Compiling for the device suite: step by step, so that each step is timed, and not again where nothing changed.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tile_codegen::lower::{self, Machine};
use tile_codegen::ptxas::{self, Assembly};
use tile_codegen::{CodegenError, mlir};
use tile_lang::artifact::{Artifact, Image, hex};
use tile_lang::plan::Plan;

/// What a plan became.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// PTX and machine code.
    pub image: Image,
    /// What ptxas said.
    pub assembly: Assembly,
    /// Slots of the ring.
    pub slots: usize,
    /// From the plan to PTX.
    pub ptx_time: Duration,
    /// From PTX to machine code.
    pub ptxas_time: Duration,
}

/// Compiles a plan for `sm_90a`, machine code included.
///
/// # Errors
/// A kernel that can't be lowered, ptxas missing, PTX that it rejects.
pub fn compile(plan: &Plan) -> Result<Compiled, CodegenError> {
    let target = "sm_90a";
    let start = Instant::now();
    let assembled = lower::assemble(&plan.name, &plan.kernels, &lower::facts(plan), Machine::SM_90A)?;
    let ptx = mlir::to_ptx(&plan.name, &assembled.mlir)?;
    let ptx_time = start.elapsed();
    let start = Instant::now();
    let assembly = ptxas::assemble(&ptx, target)?;
    let ptxas_time = start.elapsed();
    let image = Image {
        target: target.into(),
        entry: lower::ENTRY.into(),
        threads: lower::THREADS as u32,
        shared_bytes: assembled.shared_bytes as u32,
        ptx,
        cubin: assembly.cubin.clone(),
        packings: assembled.packings,
        registers: assembly.registers,
        spills: assembly.spill_stores,
    };
    Ok(Compiled { image, assembly, slots: assembled.slots, ptx_time, ptxas_time })
}

/// What a compiled plan depends on beside the plan: the sources of compiler and language, or where they aren't at hand
/// this program.
///
/// # Errors
/// A file can't be read.
pub fn compiler() -> std::io::Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["codegen/src", "tile-lang/src"] {
        sources(&root.join(folder), &mut files);
    }
    if files.is_empty() {
        files.push(std::env::current_exe()?);
    }
    files.sort();
    let mut sum = Sha256::new();
    for file in files {
        sum.update(std::fs::read(file)?);
    }
    Ok(hex(&sum.finalize()))
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Saves a plan's artifact as `folder/name.tile`, unless one of the same plan and `compiler` is there; what was compiled.
///
/// # Errors
/// The plan can't be compiled or the file not written.
pub fn save(
    plan: &Plan,
    folder: &Path,
    name: &str,
    compiler: &str,
) -> Result<Option<Compiled>, Box<dyn std::error::Error>> {
    let (file, stamp) = (folder.join(format!("{name}.tile")), folder.join(format!("{name}.sha256")));
    let mut sum = Sha256::new();
    sum.update(compiler);
    sum.update(serde_json::to_vec(plan)?);
    let key = hex(&sum.finalize());
    if std::fs::read_to_string(&stamp).is_ok_and(|k| k == key) && Artifact::load(&file).is_ok() {
        return Ok(None);
    }
    let compiled = compile(plan).map_err(|e| format!("{name}: {e}"))?;
    Artifact::new(plan.clone(), compiled.image.clone()).save(&file)?;
    std::fs::write(&stamp, key)?;
    Ok(Some(compiled))
}
