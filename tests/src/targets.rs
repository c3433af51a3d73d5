//! Which plans a target can run.

use tile_codegen::target::{self, Target};
use tile_lang::plan::Plan;

/// The target of this name, for arguments.
///
/// # Errors
/// There is none; the text names all.
pub fn named(name: &str) -> Result<&'static Target, String> {
    target::find(name).ok_or_else(|| format!("there is no target `{name}`; there are {}", target::names()))
}

/// Why a target can't run a plan, in one line; none if it can.
pub fn refusal(plan: &Plan, target: &Target) -> Option<String> {
    let found = plan.kernels.iter().flat_map(|k| target.unsupported(k)).next()?;
    Some(format!("{}: {}", found.code, found.message))
}

/// The target that a plan is tried on: the tuned one, or the first that can do what it asks for.
pub fn fitting(plan: &Plan) -> &'static Target {
    target::first_for(&plan.kernels).unwrap_or(target::DEFAULT)
}
