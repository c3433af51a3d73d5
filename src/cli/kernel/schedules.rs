//! Schedules on the command line: a name, or a `.sched` file; what the compiler chose; how two of them differ.

use super::super::error::CliError;
use super::super::{Instance, Io};
use super::lower;
use super::select::KernelArgs;
use serde_json::json;
use tile_codegen::schedule::complete;
use tile_codegen::target::{self, Target};
use tile_lang::ir::Kernel;
use tile_lang::nearest::nearest;
use tile_lang::schedule::{Schedule, ScheduleDef, diff, parse_all};

/// What stands for the compiler's own choices.
const DEFAULT: &str = "default";

/// Arguments of `diff`.
#[derive(clap::Args)]
pub struct DiffArgs {
    #[command(flatten)]
    kernel: KernelArgs,
    /// The first schedule: NAME, FILE.sched, FILE.sched:NAME, or `default` for the compiler's own choices
    a: String,
    /// The second one
    b: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The schedules of a kernel.
pub fn of_kernel<'s>(kernel: &str, schedules: &'s [ScheduleDef]) -> impl Iterator<Item = &'s ScheduleDef> {
    let kernel = kernel.to_owned();
    schedules.iter().filter(move |s| s.kernel.name == kernel)
}

/// The kernel with the schedule that a name stands for in place of its own.
pub fn with_schedule(mut kernel: Kernel, name: &str, schedules: &[ScheduleDef]) -> Result<Kernel, CliError> {
    kernel.schedule = None;
    if name == DEFAULT {
        return Ok(kernel);
    }
    let schedule = match name.split_once(".sched:") {
        Some((file, wanted)) => from_file(&format!("{file}.sched"), Some(wanted), &kernel)?,
        None if name.ends_with(".sched") => from_file(name, None, &kernel)?,
        None => known(name, &kernel, schedules)?.schedule(&kernel)?,
    };
    Ok(schedule.attach(kernel)?)
}

fn known<'s>(name: &str, kernel: &Kernel, schedules: &'s [ScheduleDef]) -> Result<&'s ScheduleDef, CliError> {
    of_kernel(&kernel.name, schedules).find(|s| s.name == name).ok_or_else(|| {
        let names: Vec<&str> = of_kernel(&kernel.name, schedules).map(|s| s.name).collect();
        let hint = match (nearest(name, names.iter().copied()), &names[..]) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => "it has none; give a `.sched` file".into(),
            (None, names) => format!("it has {}", names.join(", ")),
        };
        CliError::input(format!("kernel `{}` has no schedule `{name}`; {hint}", kernel.name))
    })
}

fn from_file(file: &str, wanted: Option<&str>, kernel: &Kernel) -> Result<Schedule, CliError> {
    let text = std::fs::read_to_string(file).map_err(|e| CliError::input(format!("{file}: can't be read ({e})")))?;
    let all = parse_all(&text, file)?;
    let names: Vec<String> = all.iter().map(|s| s.name.clone()).collect();
    let fits = |s: &Schedule| match wanted {
        Some(name) => s.name == name,
        // Of several, the one for this kernel.
        None => names.len() == 1 || s.kernel == kernel.name,
    };
    let mut found: Vec<Schedule> = all.into_iter().filter(fits).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(CliError::input(format!(
            "{file} holds the schedules {}; name one for kernel `{}`, as {file}:NAME",
            names.join(", "),
            kernel.name
        ))),
    }
}

/// Writes the whole schedule that a kernel was assembled with; `-` prints it.
pub fn write_complete(kernel: &Kernel, target: &'static Target, to: &str, io: &mut Io<'_>) -> Result<(), CliError> {
    let text = completed(kernel, target)?.to_string();
    if to == "-" {
        return io.line(text.trim_end());
    }
    std::fs::write(to, text).map_err(|e| CliError::input(format!("--schedule-out {to}: can't be written ({e})")))
}

fn completed(kernel: &Kernel, target: &'static Target) -> Result<Schedule, CliError> {
    Ok(complete(&lower(kernel, target)?, target.machine())?)
}

/// What differs between two schedules of a kernel, the compiler's choices for what they don't pin included.
pub fn run(args: &DiffArgs, kernels: &[Instance], schedules: &[ScheduleDef], io: &mut Io<'_>) -> Result<(), CliError> {
    let kernel = args.kernel.find(kernels, schedules)?;
    let one = |name: &str| completed(&with_schedule(kernel.clone(), name, schedules)?, target::DEFAULT);
    let lines = diff(&one(&args.a)?, &one(&args.b)?);
    if args.json {
        return io.json(&json!(lines));
    }
    if lines.is_empty() {
        return io.line("no difference");
    }
    lines.iter().try_for_each(|l| io.line(l))
}
