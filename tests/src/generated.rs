//! Generated kernels as plans of one instruction, for a GPU to be compared with the interpreter.

use tile_lang::generate::{Case, Program};

/// The program of a seed; its plan is called `generated-` and the seed.
///
/// # Errors
/// The program can't be run or made into a plan: a fault of the generator or the interpreter.
pub fn case(seed: u64) -> Result<Case, String> {
    Case::new(&format!("generated-{seed}"), &[(format!("generated-{seed}"), Program::random(seed).kernel())])
}
