//! Which kernel is meant: a name, or a `.tile` file.

use super::super::Instance;
use super::super::error::CliError;
use tile_lang::build::Generic;
use tile_lang::dtype::DType;
use tile_lang::ir::{self, Kernel};

/// One kernel on the command line.
#[derive(clap::Args)]
pub struct KernelArgs {
    /// Name of a kernel (see `kernel list`), `FILE.tile`, or `FILE.tile:NAME`
    pub kernel: String,
    /// Another value for a const or type parameter: `BK=256`, `X=bf16`
    #[arg(long = "generic", value_name = "NAME=VALUE")]
    pub generics: Vec<String>,
}

impl KernelArgs {
    /// The kernel, staged or read, and verified.
    pub fn find(&self, kernels: &[Instance]) -> Result<Kernel, CliError> {
        let mut list = find_all(&self.kernel, kernels, &self.generics)?;
        match (list.pop(), list.is_empty()) {
            (Some(kernel), true) => Ok(kernel),
            (last, _) => {
                list.extend(last);
                let names: Vec<&str> = list.iter().map(|k| k.name.as_str()).collect();
                let (file, names) = (&self.kernel, names.join(", "));
                Err(CliError::input(format!("{file} holds several kernels ({names}); name one, as {file}:NAME")))
            }
        }
    }
}

/// The kernels that a name stands for: one, or all of a file.
pub fn find_all(name: &str, kernels: &[Instance], generics: &[String]) -> Result<Vec<Kernel>, CliError> {
    let found = match name.split_once(".tile:") {
        Some((file, wanted)) => from_file(&format!("{file}.tile"), Some(wanted))?,
        None if name.ends_with(".tile") => from_file(name, None)?,
        None => {
            let instance = kernels.iter().find(|k| k.name == name).ok_or_else(|| unknown(name, kernels))?;
            let instance = Instance { generics: with_generics(instance, generics)?, ..instance.clone() };
            return verified(vec![instance.stage()?]);
        }
    };
    if !generics.is_empty() {
        return Err(CliError::input(format!(
            "--generic: the kernels of {name} are staged already and have none to set"
        )));
    }
    verified(found)
}

fn verified(kernels: Vec<Kernel>) -> Result<Vec<Kernel>, CliError> {
    kernels.iter().try_for_each(ir::verify)?;
    Ok(kernels)
}

fn unknown(name: &str, kernels: &[Instance]) -> CliError {
    let near = kernels.iter().find(|k| k.name.contains(name) || name.contains(&k.name));
    let hint = near.map_or("`kernel list` shows all".into(), |k| format!("did you mean `{}`?", k.name));
    CliError::input(format!("there is no kernel `{name}`; {hint}"))
}

fn from_file(file: &str, wanted: Option<&str>) -> Result<Vec<Kernel>, CliError> {
    let text = std::fs::read_to_string(file).map_err(|e| CliError::input(format!("{file}: can't be read ({e})")))?;
    let all = ir::parse_all(&text, file)?;
    let Some(wanted) = wanted else { return Ok(all) };
    let names: Vec<String> = all.iter().map(|k| k.name.clone()).collect();
    let found: Vec<Kernel> = all.into_iter().filter(|k| k.name == wanted).collect();
    if found.is_empty() {
        return Err(CliError::input(format!("{file} holds no kernel `{wanted}`, only {}", names.join(", "))));
    }
    Ok(found)
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
