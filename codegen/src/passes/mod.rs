//! Passes over tile IR, in the order that [`lower_to_roles`] runs them. A pass is one file and one function.

mod rank;
mod ring;
mod specialise;

pub(crate) use rank::staged_alike;
pub(crate) use ring::part_of;
pub use ring::{MAX_SLOT_BYTES, RingGroup, ring_groups};
pub use specialise::specialise;

use crate::{CodegenError, schedule};
use tile_lang::ir::{self, Kernel, OpKind, Role, Stage};

/// From a kernel as written to one body per role with explicit rings, as code is made for it: without the requirements, which
/// were checked before the launch. A kernel that was written with explicit roles has its bodies already.
///
/// The kernel is verified before and after.
///
/// # Errors
/// As [`explicit_roles`].
pub fn lower_to_roles(kernel: &Kernel, group_bytes: usize) -> Result<Kernel, CodegenError> {
    let mut lowered = explicit_roles(kernel, group_bytes)?;
    if let Some(consumer) = lowered.body(Role::Consumer) {
        ir::prune(&mut lowered, consumer, |kind| {
            kind.has_effect() && !matches!(kind, OpKind::Require(_) | OpKind::Yield)
        });
    }
    Ok(lowered)
}

/// A kernel in the form that level 3 of the language writes down: one body per role, explicit rings, requirements with the
/// consumer.
///
/// # Errors
/// A kernel that is not well-formed, roles that don't fit together, a staged tile that is larger than any ring slot, or a
/// schedule that can't be realised (`E20` to `E31`).
pub fn explicit_roles(kernel: &Kernel, group_bytes: usize) -> Result<Kernel, CodegenError> {
    ir::verify(kernel)?;
    let pinned = schedule::carry_out(kernel)?;
    let ordered = pinned.as_ref().map_or(kernel, |(k, ..)| k);
    let mut lowered = if kernel.stage >= Stage::Specialised {
        ir::check_rings(kernel)?;
        ordered.clone()
    } else {
        specialise(ordered, &ring_groups(ordered, group_bytes)?)
    };
    if let Some((_, s, resolved)) = &pinned {
        schedule::request(&mut lowered, kernel, s, resolved);
    }
    schedule::pin_loops(&mut lowered, kernel)?;
    ir::verify(&lowered).and_then(|()| ir::check_rings(&lowered)).map_err(|e| match &e.0[..] {
        // A copy's indices depend on what the role that fills the ring can't compute.
        [_, ..] if e.0.iter().all(|d| d.code == "E33") => CodegenError::Program(e),
        _ => {
            let message = format!("specialisation made a wrong kernel: {e}");
            CodegenError::Lowering { kernel: kernel.name.clone(), message }
        }
    })?;
    rank::in_step(&lowered)?;
    Ok(lowered)
}
