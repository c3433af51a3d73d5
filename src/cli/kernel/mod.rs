//! `monotile kernel …`: one kernel, out of the library, a `.tile` file or a user's crate.

mod case;
mod check;
mod contents;
mod crates;
mod emit;
mod explain;
mod pick;
mod run;
mod schedules;
mod select;

use super::error::CliError;
use super::{Instance, Io};
use clap::Subcommand;
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;
use tile_codegen::lower::{self, ParamFacts};
use tile_codegen::target::Target;
use tile_lang::ir::{self, Kernel, Places};
use tile_lang::schedule::ScheduleDef;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// A crate with kernels of its own: its binary around `monotile::cli()` is built and run instead
    #[arg(long, global = true, value_name = "DIR")]
    manifest_path: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the kernels
    List(ListArgs),
    /// Stage, verify and lower kernels; all of them if none is named
    Check(check::Args),
    /// Say what the compiler makes of a kernel
    Explain(explain::Args),
    /// Print a kernel at a stage of the compiler
    Emit(emit::Args),
    /// Run a kernel on random inputs
    Run(run::RunArgs),
    /// Measure a kernel on random inputs
    Bench(run::BenchArgs),
    /// Say how two schedules of a kernel differ
    Diff(schedules::DiffArgs),
    /// Say which tile and schedule measurements speak for
    Pick(pick::Args),
}

#[derive(clap::Args)]
struct ListArgs {
    /// `.tile` files, or names of kernels; all known kernels if there are none
    kernels: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand; `raw` are the arguments as they were given, after the program's name.
pub fn run(
    args: &Args,
    raw: &[OsString],
    kernels: &[Instance],
    schedules: &[ScheduleDef],
    io: &mut Io<'_>,
) -> Result<(), CliError> {
    if let Some(manifest) = &args.manifest_path {
        return crates::run(manifest, raw, io);
    }
    match &args.command {
        Command::List(args) => list(args, kernels, schedules, io),
        Command::Check(args) => check::run(args, kernels, schedules, io),
        Command::Explain(args) => explain::run(args, kernels, schedules, io),
        Command::Emit(args) => emit::run(args, kernels, schedules, io),
        Command::Run(args) => run::run(args, kernels, schedules, io),
        Command::Bench(args) => run::bench(args, kernels, schedules, io),
        Command::Diff(args) => schedules::run(args, kernels, schedules, io),
        Command::Pick(args) => pick::run(args, kernels, io),
    }
}

/// A row of the list: name, where it comes from, generics, schedules.
type Listed = (String, String, Vec<(String, String)>, Vec<String>);

fn list(args: &ListArgs, kernels: &[Instance], schedules: &[ScheduleDef], io: &mut Io<'_>) -> Result<(), CliError> {
    let of = |name: &str| schedules::of_kernel(name, schedules).map(|s| s.name.to_owned()).collect::<Vec<_>>();
    let known = |k: &Instance| -> Listed {
        let generics = k.def.generics.iter().zip(&k.generics).map(|((n, _), g)| ((*n).into(), select::show(g)));
        (k.name.clone(), k.def.module.into(), generics.collect(), of(k.def.name))
    };
    let mut rows: Vec<Listed> = Vec::new();
    for name in &args.kernels {
        match kernels.iter().find(|k| k.name == *name) {
            Some(k) => rows.push(known(k)),
            None => {
                let found = select::find_all(name, kernels, &[], Places::Text)?;
                rows.extend(found.into_iter().map(|(own, k)| (own, k.files.join(", "), k.generics, of(&k.name))));
            }
        }
    }
    if args.kernels.is_empty() {
        rows.extend(kernels.iter().map(known));
    }
    if args.json {
        let rows = rows.into_iter().map(|(name, module, generics, schedules)| {
            let generics: serde_json::Map<_, _> = generics.into_iter().map(|(n, v)| (n, v.into())).collect();
            json!({ "name": name, "module": module, "generics": generics, "schedules": schedules })
        });
        return io.json(&rows.collect());
    }
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for (name, module, generics, schedules) in rows {
        let mut list: Vec<String> = generics.iter().map(|(n, v)| format!("{n}={v}")).collect();
        if !schedules.is_empty() {
            list.push(format!(" schedules {}", schedules.join(", ")));
        }
        io.line(format_args!("{name:width$}  {module}  {}", list.join(" ")).to_string().trim_end())?;
    }
    Ok(())
}

/// `linear<T=8, BM=16>`.
fn title(kernel: &Kernel) -> String {
    let list: Vec<String> = kernel.generics.iter().map(|(n, v)| format!("{n}={v}")).collect();
    if list.is_empty() { kernel.name.clone() } else { format!("{}<{}>", kernel.name, list.join(", ")) }
}

/// Lowers one kernel to a program of its own, with nothing known of its arguments.
fn lower(kernel: &Kernel, target: &'static Target) -> Result<lower::Assembled, CliError> {
    ir::verify(kernel)?;
    Ok(lower::assemble(&kernel.name, std::slice::from_ref(kernel), &nothing_known(kernel), target.machine())?)
}

/// A kernel with the compiler's choices in its schedule, as it is assembled by itself.
fn chosen(kernel: &Kernel, target: &'static Target) -> Result<Kernel, CliError> {
    let assembled = lower(kernel, target)?;
    Ok(assembled.chosen.into_iter().next().map_or_else(|| kernel.clone(), |c| c.kernel))
}

/// As [`lower`], on to machine code.
#[cfg(feature = "llvm")]
fn compile(kernel: &Kernel, target: &'static Target) -> Result<tile_codegen::Compiled, CliError> {
    use tile_codegen::Debug;
    ir::verify(kernel)?;
    let facts = nothing_known(kernel);
    Ok(tile_codegen::compile_kernels(&kernel.name, std::slice::from_ref(kernel), &facts, target, Debug::Keep)?)
}

fn nothing_known(kernel: &Kernel) -> Vec<Vec<ParamFacts>> {
    vec![vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()]]
}
