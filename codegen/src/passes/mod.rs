//! Passes over tile IR, in the order that [`lower_to_roles`] runs them. A pass is one file and one function.

mod liveness;
mod ring;
mod specialise;

pub use ring::{MAX_SLOT_BYTES, RingGroup, ring_groups};
pub use specialise::specialise;

use crate::CodegenError;
use tile_lang::ir::{self, Kernel};

/// From a kernel as written to one body per role with explicit rings.
///
/// The kernel is verified before and after.
///
/// # Errors
/// A kernel that is not well-formed, or a staged tile that is larger than any ring slot.
pub fn lower_to_roles(kernel: &Kernel, group_bytes: usize) -> Result<Kernel, CodegenError> {
    ir::verify(kernel)?;
    let groups = ring_groups(kernel, group_bytes)?;
    let lowered = specialise(kernel, &groups);
    ir::verify(&lowered).map_err(|e| CodegenError::Lowering {
        kernel: kernel.name.clone(),
        message: format!("specialisation made a wrong kernel: {e}"),
    })?;
    Ok(lowered)
}
