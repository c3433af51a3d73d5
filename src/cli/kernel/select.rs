//! Which kernel is meant: a name, or a `.tile` file.

use super::super::Instance;
use super::super::error::CliError;
use super::schedules::with_schedule;
use tile_lang::artifact::Artifact;
use tile_lang::build::Generic;
use tile_lang::diag::Diagnostics;
use tile_lang::dtype::DType;
use tile_lang::ir::{self, Kernel, Places};
use tile_lang::nearest::nearest;
use tile_lang::schedule::ScheduleDef;

/// One kernel on the command line.
#[derive(clap::Args)]
pub struct KernelArgs {
    /// Name of a kernel (see `kernel list`), `FILE.tile`, or `FILE.tile:NAME`
    pub kernel: String,
    /// Another value for a const or type parameter: `BK=256`, `X=bf16`
    #[arg(long = "generic", value_name = "NAME=VALUE")]
    pub generics: Vec<String>,
    /// A schedule in place of the kernel's own: its name (see `kernel list`), `FILE.sched`, `FILE.sched:NAME`, or `default`
    /// for none
    #[arg(long, value_name = "NAME|FILE.sched")]
    pub schedule: Option<String>,
}

impl KernelArgs {
    /// The kernel, staged or read, and verified. Places of a `.tile` file's kernels are its own lines.
    pub fn find(&self, kernels: &[Instance], schedules: &[ScheduleDef]) -> Result<Kernel, CliError> {
        self.find_at(kernels, schedules, Places::Text)
    }

    /// As [`KernelArgs::find`], with the places that are asked for.
    pub fn find_at(&self, kernels: &[Instance], schedules: &[ScheduleDef], places: Places) -> Result<Kernel, CliError> {
        let mut list = find_all(&self.kernel, kernels, &self.generics, places)?;
        if list.len() == 1 {
            let kernel = list.remove(0).1;
            return match &self.schedule {
                Some(name) => with_schedule(kernel, name, schedules),
                None => Ok(kernel),
            };
        }
        let names: Vec<String> = list.into_iter().map(|(name, _)| name).collect();
        let (file, names) = (&self.kernel, names.join(", "));
        Err(CliError::input(format!("{file} holds several kernels ({names}); name one, as {file}:NAME")))
    }
}

/// The kernels that a name stands for, one or all of a file, each with the name that it is chosen by.
pub fn find_all(
    name: &str,
    kernels: &[Instance],
    generics: &[String],
    places: Places,
) -> Result<Vec<(String, Kernel)>, CliError> {
    let found = match file_and_name(name) {
        Some((file, wanted)) => from_file(file, wanted, places)?,
        None => {
            let instance = kernels.iter().find(|k| k.name == name).ok_or_else(|| unknown(name, kernels))?;
            let instance = Instance { generics: with_generics(instance, generics)?, ..instance.clone() };
            return verified(vec![(instance.name.clone(), instance.stage()?)]);
        }
    };
    if !generics.is_empty() {
        return Err(CliError::input(format!(
            "--generic: the kernels of {name} are staged already and have none to set"
        )));
    }
    verified(found)
}

/// The parts of `FILE.tile` or `FILE.tile:NAME`; `None` for the name of a kernel that is known.
fn file_and_name(name: &str) -> Option<(&str, Option<&str>)> {
    match name.find(".tile:") {
        Some(at) => Some((&name[..at + ".tile".len()], Some(&name[at + ".tile:".len()..]))),
        None => name.ends_with(".tile").then_some((name, None)),
    }
}

/// Reports what is wrong with any of them.
fn verified(kernels: Vec<(String, Kernel)>) -> Result<Vec<(String, Kernel)>, CliError> {
    let errors: Vec<_> = kernels.iter().filter_map(|(_, k)| ir::verify(k).err()).flat_map(|e| e.0).collect();
    if errors.is_empty() { Ok(kernels) } else { Err(Diagnostics(errors).into()) }
}

fn unknown(name: &str, kernels: &[Instance]) -> CliError {
    let near = nearest(name, kernels.iter().map(|k| k.name.as_str()));
    let part = || kernels.iter().map(|k| k.name.as_str()).find(|k| k.contains(name) || name.contains(k));
    let hint = near.or_else(part).map_or("`kernel list` shows all".into(), |k| format!("did you mean `{k}`?"));
    CliError::input(format!("there is no kernel `{name}`; {hint}"))
}

fn from_file(file: &str, wanted: Option<&str>, places: Places) -> Result<Vec<(String, Kernel)>, CliError> {
    let bytes = std::fs::read(file).map_err(|e| CliError::input(format!("{file}: can't be read ({e})")))?;
    if Artifact::is_one(&bytes) {
        return Err(CliError::input(format!(
            "{file}: this is a compiled artifact, for `--artifact`; kernels are read from text"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
        CliError::input(format!("{file}: this is no text in UTF-8 (byte {at}, in line {line})"))
    })?;
    let all = numbered(ir::parse_all_at(&text, file, places)?);
    let Some(wanted) = wanted else { return Ok(all) };
    let names: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
    let found: Vec<(String, Kernel)> = all.into_iter().filter(|(name, _)| name == wanted).collect();
    if found.is_empty() {
        return Err(CliError::input(format!("{file} holds no kernel `{wanted}`, only {}", names.join(", "))));
    }
    Ok(found)
}

/// Instances of one kernel get a number after its name, from the second on.
fn numbered(kernels: Vec<Kernel>) -> Vec<(String, Kernel)> {
    let mut out: Vec<(String, Kernel)> = Vec::with_capacity(kernels.len());
    for k in kernels {
        let same = out.iter().filter(|(_, other)| other.name == k.name).count();
        let name = if same == 0 { k.name.clone() } else { format!("{}.{}", k.name, same + 1) };
        out.push((name, k));
    }
    out
}

/// The instance's generics with those of the command line in their places.
fn with_generics(instance: &Instance, given: &[String]) -> Result<Vec<Generic>, CliError> {
    let mut out = instance.generics.clone();
    for text in given {
        let bad = |problem: String| CliError::input(format!("--generic {text}: {problem}"));
        let (name, value) = text.split_once('=').ok_or_else(|| bad("expected NAME=VALUE".into()))?;
        let declared = instance.def.generics;
        let Some(at) = declared.iter().position(|(n, _)| *n == name) else {
            let names: Vec<&str> = declared.iter().map(|(n, _)| *n).collect();
            return Err(bad(format!("`{}` has {}", instance.name, names.join(", "))));
        };
        let generic = match declared[at].1 {
            true => Generic::Type(value.parse::<DType>().map_err(|e| bad(e.to_string()))?),
            false => Generic::Int(value.parse().map_err(|_| bad(format!("`{value}` is no number")))?),
        };
        match out.get_mut(at) {
            Some(slot) => *slot = generic,
            None => return Err(bad(format!("`{}` is listed with too few generics", instance.name))),
        }
    }
    Ok(out)
}

/// A generic's value, as it is written.
pub fn show(generic: &Generic) -> String {
    match generic {
        Generic::Int(n) => n.to_string(),
        Generic::Type(d) => d.to_string(),
        Generic::Spec(t) => format!("{t:?}"),
    }
}
