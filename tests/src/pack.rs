//! Compiling for the device suite, not again where nothing changed.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tile_codegen::target::Target;
use tile_codegen::{Compiled, Debug, compile_with};
use tile_lang::artifact::{Artifact, hex};
use tile_lang::plan::Plan;

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

/// Saves a plan's artifact for a target as `folder/name.tile`, with or without what its kernels say about themselves, unless one of the same
/// plan, target and `compiler` is there; what was compiled.
///
/// # Errors
/// The plan can't be compiled or the file not written.
pub fn save(
    plan: &Plan,
    folder: &Path,
    name: &str,
    compiler: &str,
    target: &'static Target,
    debug: Debug,
) -> Result<Option<Compiled>, Box<dyn std::error::Error>> {
    let (file, stamp) = (folder.join(format!("{name}.tile")), folder.join(format!("{name}.sha256")));
    let mut sum = Sha256::new();
    sum.update(compiler);
    sum.update(target.name);
    sum.update(format!("{debug:?}"));
    sum.update(serde_json::to_vec(plan)?);
    let key = hex(&sum.finalize());
    if std::fs::read_to_string(&stamp).is_ok_and(|k| k == key) && Artifact::load(&file).is_ok() {
        return Ok(None);
    }
    let compiled = compile_with(plan, target, debug).map_err(|e| format!("{name}: {e}"))?;
    if compiled.image.cubin.is_empty() {
        return Err("ptxas is missing: `cargo xtask setup` installs it".into());
    }
    Artifact::new(plan.clone(), compiled.image.clone()).save(&file)?;
    std::fs::write(&stamp, key)?;
    Ok(Some(compiled))
}
