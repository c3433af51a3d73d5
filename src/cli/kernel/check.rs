//! `monotile kernel check`: everything that needs no MLIR, for each kernel.

use super::super::error::CliError;
use super::super::{Instance, Io, target};
use super::case::CaseArgs;
use super::{lower, schedules, select, title};
use std::time::Instant;
use tile_codegen::check::{self, Report};
use tile_codegen::target::{DEFAULT, Target, first_for};
use tile_lang::ir::{Kernel, Places};
use tile_lang::protocol::Protocol;
use tile_lang::schedule::ScheduleDef;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Names of kernels, or `.tile` files
    kernels: Vec<String>,
    /// Another value for a const or type parameter of the one kernel: `BK=256`
    #[arg(long = "generic", value_name = "NAME=VALUE")]
    generics: Vec<String>,
    /// A schedule of the one kernel, as for `explain`
    #[arg(long, value_name = "NAME|FILE.sched")]
    schedule: Option<String>,
    /// GPU architecture that the kernels must compile for; if none is named sm_90a, or the first that can do what a kernel asks for
    #[arg(long)]
    target: Option<String>,
}

/// Checks kernels; all that is wrong is printed.
pub fn run(args: &Args, kernels: &[Instance], schedules: &[ScheduleDef], io: &mut Io<'_>) -> Result<(), CliError> {
    for (given, what) in [(!args.generics.is_empty(), "--generic"), (args.schedule.is_some(), "--schedule")] {
        if given && args.kernels.len() != 1 {
            return Err(CliError::input(format!("{what}: name the one kernel that it is for")));
        }
    }
    let target = args.target.as_deref().map(target).transpose()?;
    let mut names = args.kernels.clone();
    if names.is_empty() {
        names = kernels.iter().map(|k| k.name.clone()).collect();
    }
    let mut wrong = Vec::new();
    for name in &names {
        let checked = select::find_all(name, kernels, &args.generics, Places::Text).and_then(|list| {
            let alone = names.len() == 1 && list.len() == 1;
            list.into_iter().try_for_each(|(_, kernel)| {
                let kernel = match &args.schedule {
                    Some(name) => schedules::with_schedule(kernel, name, schedules)?,
                    None => kernel,
                };
                one(&kernel, target, alone, io)
            })
        });
        if let Err(e) = checked {
            if names.len() == 1 {
                return Err(e);
            }
            e.print(io.err);
            wrong.push(name.as_str());
        }
    }
    match wrong.len() {
        0 => Ok(()),
        n => Err(CliError::input(format!("{n} of {} can't be compiled: {}", names.len(), wrong.join(", ")))),
    }
}

/// One kernel; with what each checker did if it is the only one.
fn one(kernel: &Kernel, target: Option<&'static Target>, alone: bool, io: &mut Io<'_>) -> Result<(), CliError> {
    let begin = Instant::now();
    // What the tuned target can't do is checked for the first that can.
    let fitting = || first_for([kernel]).unwrap_or(DEFAULT);
    let target = target.unwrap_or_else(fitting);
    let assembled = lower(kernel, target)?;
    let lowered = begin.elapsed();
    let report = checked(kernel, target, &assembled.protocol)?;
    let other = if target.name == DEFAULT.name { String::new() } else { format!(", for {}", target.name) };
    io.line(format_args!(
        "ok  {}: {} ring slots, {} KiB of shared memory{other}",
        title(kernel),
        assembled.slots,
        assembled.shared_bytes / 1024
    ))?;
    if !alone {
        return Ok(());
    }
    let ms = |t: std::time::Duration| t.as_secs_f64() * 1e3;
    io.line(format_args!("    {:<14} {:>21} {:>8.2} ms", "lowering", "", ms(lowered)))?;
    for c in &report.checks {
        io.line(format_args!("    {:<14} {:>6} {:<14} {:>8.2} ms", c.name, c.count, c.unit, ms(c.time)))?;
    }
    report.notes.iter().try_for_each(|note| io.line(format_args!("    note: {note}")))
}

/// The static checkers, on a plan of one instruction where extents can be made up.
fn checked(kernel: &Kernel, target: &Target, protocol: &Protocol) -> Result<Report, CliError> {
    let layouts = check::assignments(protocol, target);
    let case = CaseArgs { args: Vec::new(), seed: 0 }.case(kernel.clone());
    Ok(match case {
        Ok(case) => check::program(&case.plan, protocol, &layouts)?,
        // Without extents there is no plan to check; the kernel itself can be.
        Err(_) => check::kernels(protocol, &layouts)?,
    })
}
