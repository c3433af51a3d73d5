//! ptxas and nvdisasm as external programs: assembling, SASS, and what ptxas says as diagnostics at the kernel's lines.

mod diagnose;
mod messages;

pub use diagnose::{Diagnose, SERIALISED};
pub use messages::{Message, Report, Resources, Severity, parse};

use crate::CodegenError;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What ptxas made of a PTX text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembly {
    /// Machine code, with line information; empty if ptxas rejected the text.
    pub cubin: Vec<u8>,
    /// What it said.
    pub report: Report,
}

/// Looks for a CUDA program: `MONOTILE_CUDA_BIN`, the project's own environment, `CUDA_HOME`, `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(std::env::var_os("MONOTILE_CUDA_BIN").map(PathBuf::from));
    for root in [Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from("target")] {
        let venv = root.join("venv/lib");
        for python in std::fs::read_dir(venv).into_iter().flatten().flatten() {
            let packages = python.path().join("site-packages/nvidia");
            for package in std::fs::read_dir(packages).into_iter().flatten().flatten() {
                places.push(package.path().join("bin"));
            }
        }
    }
    places.extend(std::env::var_os("CUDA_HOME").map(|h| PathBuf::from(h).join("bin")));
    places.extend(std::env::var_os("PATH").into_iter().flat_map(|p| std::env::split_paths(&p).collect::<Vec<_>>()));
    places.into_iter().map(|p| p.join(program)).find(|p| p.is_file())
}

/// A folder of its own for one run of a program, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("monotile-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Assembles PTX for a target. A text that ptxas rejects gives no code and a report with errors.
///
/// # Errors
/// ptxas is missing or can't be run.
pub fn assemble(ptx: &str, target: &str) -> Result<Assembly, CodegenError> {
    let missing = || CodegenError::Ptxas("not found; `cargo xtask setup` installs it, or set CUDA_HOME".into());
    let ptxas = find("ptxas").ok_or_else(missing)?;
    let io = |e: std::io::Error| CodegenError::Ptxas(e.to_string());
    let scratch = Scratch::new().map_err(io)?;
    let (source, target_file) = (scratch.0.join("kernel.ptx"), scratch.0.join("kernel.cubin"));
    std::fs::write(&source, ptx).map_err(io)?;
    let out = Command::new(ptxas)
        .args(["-v", "-O3", "-lineinfo", "-arch", target])
        .arg(&source)
        .arg("-o")
        .arg(&target_file)
        .output()
        .map_err(io)?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    let report = parse(&text);
    if out.status.success() {
        return Ok(Assembly { cubin: std::fs::read(&target_file).map_err(io)?, report });
    }
    if report.messages.iter().any(|m| m.severity == Severity::Error) {
        return Ok(Assembly { cubin: Vec::new(), report });
    }
    Err(CodegenError::Ptxas(format!("ended with {}: {}", out.status, text.trim())))
}

/// Disassembles machine code to SASS, with comments that name source lines.
///
/// # Errors
/// nvdisasm is missing or rejects the code.
pub fn disassemble(cubin: &[u8]) -> Result<String, CodegenError> {
    let missing =
        || CodegenError::Ptxas("nvdisasm not found; `cargo xtask setup` installs it, or set CUDA_HOME".into());
    let nvdisasm = find("nvdisasm").ok_or_else(missing)?;
    let io = |e: std::io::Error| CodegenError::Ptxas(e.to_string());
    let scratch = Scratch::new().map_err(io)?;
    let file = scratch.0.join("kernel.cubin");
    std::fs::write(&file, cubin).map_err(io)?;
    let out = Command::new(nvdisasm).args(["-c", "-g"]).arg(&file).output().map_err(io)?;
    if !out.status.success() {
        return Err(CodegenError::Ptxas(String::from_utf8_lossy(&out.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
