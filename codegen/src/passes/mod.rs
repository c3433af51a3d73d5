//! Passes over tile IR, in the order that [`lower_to_roles`] runs them. A pass is one file and one function.

mod liveness;
mod ring;
mod specialise;

pub use ring::{RingGroup, ring_groups};
pub use specialise::specialise;

use crate::CodegenError;
use tile_lang::ir::Kernel;

/// From a kernel as written to one body per role with explicit rings.
///
/// # Errors
/// A staged iteration doesn't fit a ring slot of `slot_bytes`.
pub fn lower_to_roles(kernel: &Kernel, slot_bytes: usize) -> Result<Kernel, CodegenError> {
    let groups = ring_groups(kernel, slot_bytes)?;
    Ok(specialise(kernel, &groups))
}
