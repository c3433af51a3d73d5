//! Passes over tile IR, in the order that [`lower_to_roles`] runs them. A pass is one file and one function.

mod liveness;
mod ring;
mod specialise;

pub use ring::{MAX_SLOT_BYTES, RingGroup, ring_groups};
pub use specialise::specialise;

use crate::CodegenError;
use tile_lang::ir::Kernel;

/// From a kernel as written to one body per role with explicit rings.
///
/// # Errors
/// A staged tile is larger than any ring slot.
pub fn lower_to_roles(kernel: &Kernel, group_bytes: usize) -> Result<Kernel, CodegenError> {
    let groups = ring_groups(kernel, group_bytes)?;
    Ok(specialise(kernel, &groups))
}
