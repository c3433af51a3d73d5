//! `monotile kernel pick`: the tile and the schedule that measurements speak for.

use super::super::error::CliError;
use super::super::{Instance, Io};
use serde_json::json;
use tile_lang::nearest::nearest;
use tile_models::picks::{Measured, Pick, measured, ranked};

/// Variants that are shown.
const SHOWN: usize = 5;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// A kernel that was swept (`gemm`, `gemm_fp8`, …)
    kernel: String,
    /// Rows and columns of the result, and terms: `4096x4096x4096`
    extents: String,
    /// Print JSON, all variants
    #[arg(long)]
    json: bool,
}

/// Prints the best variants, and what speaks for them.
pub fn run(args: &Args, kernels: &[Instance], io: &mut Io<'_>) -> Result<(), CliError> {
    let extents = parse(&args.extents)?;
    let all = measured();
    let list = ranked(&all, &args.kernel, extents);
    let Some(best) = list.first() else { return Err(unknown(&args.kernel, &all, kernels)) };
    if args.json {
        let list: Vec<_> = list.iter().map(|p| json!({ "pick": p, "flags": flags(p) })).collect();
        return io.json(&json!({ "kernel": args.kernel, "extents": extents, "variants": list }));
    }
    let [m, n, k] = extents;
    io.line(format!("{} {m}x{n}x{k}: {}", args.kernel, flags(best)))?;
    for p in list.iter().take(SHOWN) {
        let [am, an, ak] = p.measured_at;
        let from = if p.is_measured(extents) {
            format!("measured on {}", p.by)
        } else {
            format!("from {:.1} us at {am}x{an}x{ak} on {}, by rounds of tiles and terms", p.measured_us, p.by)
        };
        let tile: Vec<String> = p.tile.iter().map(usize::to_string).collect();
        io.line(format!("  {:9.1} us  {:12} {:24} {from}", p.us, tile.join("x"), p.schedule))?;
    }
    if list.len() > SHOWN {
        io.line(format!("  {} slower ones", list.len() - SHOWN))?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<[usize; 3], CliError> {
    let numbers: Option<Vec<usize>> = text.split('x').map(|n| n.parse().ok().filter(|n| *n > 0)).collect();
    let three = numbers.and_then(|n| <[usize; 3]>::try_from(n).ok());
    three.ok_or_else(|| CliError::input(format!("`{text}`: expected three extents of 1 or more, as 4096x4096x4096")))
}

fn unknown(kernel: &str, all: &[Measured], kernels: &[Instance]) -> CliError {
    let mut names: Vec<&str> = all.iter().map(|m| m.kernel.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let swept = match names[..] {
        [] => "nothing was swept yet".to_owned(),
        _ => format!("measured are {}", names.join(", ")),
    };
    let what = match (kernels.iter().any(|k| k.name == kernel), nearest(kernel, names.iter().copied())) {
        (true, _) => "there are no measurements of it".to_owned(),
        (false, Some(near)) => format!("there is no such kernel; did you mean `{near}`?"),
        (false, None) => "there is no such kernel".to_owned(),
    };
    CliError::input(format!("`{kernel}`: {what}; {swept}"))
}

/// What the other commands are told to take the variant.
fn flags(pick: &Pick) -> String {
    let generics: Vec<String> = pick.generics.iter().map(|(name, size)| format!("--generic {name}={size} ")).collect();
    format!("{}--schedule {}", generics.concat(), pick.schedule)
}
