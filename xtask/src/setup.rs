//! What a build needs beside cargo: LLVM 22 with MLIR, and NVIDIA's assembler and disassembler.

use crate::shell::{command, find, output, path, root, run, say, succeeds};
use std::path::{Path, PathBuf};

/// Debian's packages, and for each a file that it brings: under LLVM's prefix, or anywhere if it begins with `/`.
const PACKAGES: &[(&str, &str)] = &[
    ("libmlir-22-dev", "include/mlir-c/IR.h"),
    ("mlir-22-tools", "bin/mlir-tblgen"),
    ("llvm-22-dev", "include/llvm-c/Core.h"),
    ("libclang-22-dev", "lib/libclang.so"),
    ("libpolly-22-dev", "lib/libPolly.a"),
    ("libzstd-dev", "/usr/include/zstd.h"),
    ("libz3-dev", "/usr/include/z3.h"),
    ("zlib1g-dev", "/usr/include/zlib.h"),
    ("libxml2-dev", "/usr/include/libxml2"),
    ("g++", "/usr/bin/g++"),
];
/// Where Debian puts LLVM 22.
const PREFIX: &str = "/usr/lib/llvm-22";
/// Python's packages with NVIDIA's tools.
const WHEELS: [&str; 2] = ["nvidia-cuda-nvcc==13.5.37", "nvidia-cuda-nvdisasm==13.5.37"];
/// The oldest CUDA whose assembler knows every target.
const OLDEST: (u32, u32) = (12, 8);

/// What the build uses.
pub struct Setup {
    /// Folder of ptxas and nvdisasm.
    pub tools: PathBuf,
}

/// Installs what is missing. Where a former run found everything in place, it only looks whether that is still so.
pub fn setup() -> Result<Setup, String> {
    let stamp = root().join("target/setup.stamp");
    let prefix = std::env::var("MLIR_SYS_220_PREFIX").unwrap_or_else(|_| PREFIX.into());
    if let Some(tools) = stamped(&stamp, &prefix) {
        say("set-up: nothing to do");
        return Ok(Setup { tools });
    }
    say("set-up: LLVM 22 with MLIR");
    llvm(Path::new(&prefix))?;
    say("set-up: ptxas and nvdisasm");
    let tools = tools()?;
    let text = contents(&prefix, &tools);
    std::fs::create_dir_all(root().join("target"))
        .and_then(|()| std::fs::write(&stamp, text))
        .map_err(|e| format!("{} can't be written: {e}", stamp.display()))?;
    say("set-up: done");
    Ok(Setup { tools })
}

fn contents(prefix: &str, tools: &Path) -> String {
    format!("{}\n{prefix}\n{}\n", WHEELS.join(" "), tools.display())
}

/// The tools' folder that a former run wrote down, if everything is still there.
fn stamped(stamp: &Path, prefix: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string(stamp).ok()?;
    let tools = PathBuf::from(text.lines().nth(2)?);
    let whole = text == contents(prefix, &tools) && has_llvm(Path::new(prefix)) && both(&tools);
    whole.then_some(tools)
}

fn both(folder: &Path) -> bool {
    folder.join("ptxas").is_file() && folder.join("nvdisasm").is_file()
}

fn has_llvm(prefix: &Path) -> bool {
    prefix.join("bin/llvm-config").is_file() && prefix.join("include/mlir-c/IR.h").is_file()
}

fn llvm(prefix: &Path) -> Result<(), String> {
    if prefix != Path::new(PREFIX) {
        return match has_llvm(prefix) {
            true => Ok(()),
            false => {
                Err(format!("MLIR_SYS_220_PREFIX names {}, where there is no LLVM 22 with MLIR", prefix.display()))
            }
        };
    }
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, file)| !prefix.join(file).exists()).map(|(package, _)| *package).collect();
    if missing.is_empty() && has_llvm(prefix) {
        say(&format!("  found in {PREFIX}"));
        return Ok(());
    }
    say(&format!("  missing: {}", missing.join(" ")));
    install(&missing)?;
    if has_llvm(prefix) { Ok(()) } else { Err(format!("the packages are installed, yet {PREFIX} lacks LLVM or MLIR")) }
}

/// Installs Debian packages.
fn install(packages: &[&str]) -> Result<(), String> {
    let list = packages.join(" ");
    if find("apt-get", path()).is_none() {
        return Err(format!(
            "this machine has no apt-get; install LLVM 22 with MLIR (in Debian: {list}) and set MLIR_SYS_220_PREFIX and \
             TABLEGEN_220_PREFIX to its folder"
        ));
    }
    let administrator = output(&mut command("id", &["-u"])).is_some_and(|id| id.trim() == "0");
    let front: &[&str] = match administrator {
        true => &["env", "DEBIAN_FRONTEND=noninteractive"],
        false if find("sudo", path()).is_some() => &["sudo", "env", "DEBIAN_FRONTEND=noninteractive"],
        false => return Err(format!("not root and no sudo; have these packages installed: {list}")),
    };
    let apt = |args: &[&str]| {
        let all = [&front[1..], &["apt-get", "-q"], args].concat();
        run(&mut command(front[0], &all))
    };
    apt(&["update"])?;
    let unknown: Vec<&str> =
        packages.iter().filter(|p| !succeeds(&mut command("apt-cache", &["show", p]))).copied().collect();
    if !unknown.is_empty() {
        return Err(format!(
            "the package repositories configured here have no {}; configure one that has LLVM 22, or set MLIR_SYS_220_PREFIX \
             and TABLEGEN_220_PREFIX to an LLVM 22 with MLIR",
            unknown.join(", ")
        ));
    }
    apt(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

/// The folder of ptxas and nvdisasm: CUDA's, or one on PATH, or a Python environment of ours.
fn tools() -> Result<PathBuf, String> {
    let cuda =
        ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(|home| PathBuf::from(home).join("bin"));
    for folder in cuda.chain(path()) {
        if !both(&folder) {
            continue;
        }
        match release(&folder) {
            Some(have) if have >= OLDEST => {
                say(&format!("  found in {} (CUDA {}.{})", folder.display(), have.0, have.1));
                return Ok(folder);
            }
            _ => say(&format!("  {} is older than CUDA {}.{}", folder.display(), OLDEST.0, OLDEST.1)),
        }
    }
    let venv = root().join("target/venv");
    let python = venv.join("bin/python");
    if let Some(folder) = wheel_tools(&venv)
        && pinned(&python)
    {
        say("  found in target/venv");
        return Ok(folder);
    }
    if !succeeds(&mut command(&python, &["-m", "pip", "--version"])) {
        environment(&venv)?;
    }
    let fetch = [&["-m", "pip", "install", "--quiet", "--disable-pip-version-check"], &WHEELS[..]].concat();
    run(&mut command(&python, &fetch)).map_err(|e| {
        format!(
            "{e}; ptxas and nvdisasm of CUDA {}.{} or newer on PATH or under CUDA_HOME do as well",
            OLDEST.0, OLDEST.1
        )
    })?;
    wheel_tools(&venv).ok_or_else(|| "pip has installed NVIDIA's packages, yet ptxas or nvdisasm is not in them".into())
}

/// Creates a Python environment; Debian has that ability in a package of its own.
fn environment(venv: &Path) -> Result<(), String> {
    if find("python3", path()).is_none() {
        install(&["python3", "python3-venv"])?;
    }
    let place = venv.to_string_lossy();
    let create = || run(&mut command("python3", &["-m", "venv", "--clear", &place]));
    if create().is_err() {
        install(&["python3-venv"])?;
        create()?;
    }
    Ok(())
}

/// CUDA's version, as ptxas in this folder says it.
fn release(folder: &Path) -> Option<(u32, u32)> {
    parse_release(&output(&mut command(folder.join("ptxas"), &["--version"]))?)
}

fn parse_release(text: &str) -> Option<(u32, u32)> {
    let version = text.split("release ").nth(1)?.split([',', ' ', '\n']).next()?;
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Where the wheels put both tools: `lib/python3.N/site-packages/nvidia/cuN/bin`.
fn wheel_tools(venv: &Path) -> Option<PathBuf> {
    let inside = |folder: PathBuf, start: &'static str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(move |e| e.file_name().to_string_lossy().starts_with(start)).map(|e| e.path())
    };
    inside(venv.join("lib"), "python3")
        .flat_map(|python| inside(python.join("site-packages/nvidia"), "cu"))
        .map(|cuda| cuda.join("bin"))
        .find(|bin| both(bin))
}

/// Whether the environment holds the versions wanted.
fn pinned(python: &Path) -> bool {
    output(&mut command(python, &["-m", "pip", "freeze", "--disable-pip-version-check"]))
        .is_some_and(|have| WHEELS.iter().all(|wheel| have.lines().any(|line| line == *wheel)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_ptxas() {
        let text = "Cuda compilation tools, release 13.0, V13.0.48\n";
        assert_eq!(parse_release(text), Some((13, 0)));
        assert_eq!(parse_release("no such thing"), None);
        assert!(parse_release("release 12.6, V1").is_some_and(|v| v < OLDEST));
    }
}
