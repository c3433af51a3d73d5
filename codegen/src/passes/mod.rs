//! Passes over tile IR, in the order that [`lower_to_roles`] runs them. A pass is one file and one function.

mod derived;
mod rank;
mod ring;
mod specialise;

pub(crate) use derived::{Axis, Derived};
pub(crate) use rank::{pinned_here, staged_alike};
pub(crate) use ring::part_of;
pub use ring::{MAX_SLOT_BYTES, RingGroup, ring_groups};
pub use specialise::specialise;

use crate::{CodegenError, schedule};
use tile_lang::ir::{self, Kernel, OpKind, Role, Stage};
use tile_lang::schedule::{Schedule, apply_order};

/// From a kernel as written to one body per role with explicit rings, as code is made for it: with its items in the order that is
/// pinned, and without the requirements, which were checked before the launch. A kernel that was written with explicit roles has its
/// bodies already.
///
/// The kernel is verified before and after.
///
/// # Errors
/// As [`explicit_roles`].
pub fn lower_to_roles(kernel: &Kernel, group_bytes: usize) -> Result<Kernel, CodegenError> {
    let mut lowered = in_order(in_roles(kernel, group_bytes)?)?;
    if let Some(consumer) = lowered.body(Role::Consumer) {
        ir::prune(&mut lowered, consumer, |kind| {
            kind.has_effect() && !matches!(kind, OpKind::Require(_) | OpKind::Yield)
        });
    }
    Ok(lowered)
}

/// A kernel in the form that level 3 of the language writes down: one body per role, explicit rings, requirements with the
/// consumer. What its schedule pins and neither rings nor roles say, of products and of the order of items, is still in its schedule.
///
/// # Errors
/// A kernel that is not well-formed, roles that don't fit together, a staged tile that is larger than any ring slot, or a
/// schedule that can't be realised (`E20` to `E31`).
pub fn explicit_roles(kernel: &Kernel, group_bytes: usize) -> Result<Kernel, CodegenError> {
    let explicit = in_roles(kernel, group_bytes)?;
    in_order(explicit.clone())?;
    Ok(explicit)
}

/// As [`explicit_roles`]; that the items can be taken in their order is not checked yet.
fn in_roles(kernel: &Kernel, group_bytes: usize) -> Result<Kernel, CodegenError> {
    ir::verify(kernel)?;
    let pinned = schedule::pinned(kernel)?;
    let mut lowered = if kernel.stage >= Stage::Specialised {
        ir::check_rings(kernel)?;
        kernel.clone()
    } else {
        specialise(kernel, &ring_groups(kernel, group_bytes)?)
    };
    if let Some((s, resolved)) = &pinned {
        schedule::request(&mut lowered, kernel, s, resolved);
    }
    schedule::pin_loops(&mut lowered, kernel)?;
    sound(&lowered, "specialisation")?;
    Ok(lowered)
}

/// Takes the items of a kernel in roles in the order that its schedule pins, as arithmetic in each body that needs it.
fn in_order(mut k: Kernel) -> Result<Kernel, CodegenError> {
    if k.schedule.as_deref().is_some_and(Schedule::orders_items) {
        k = apply_order(&k);
        k.schedule = k.schedule.filter(|s| !s.is_empty());
        ir::prune_roles(&mut k);
        sound(&k, "the order of items")?;
    }
    rank::in_step(&k)?;
    Ok(k)
}

/// Checks what a pass made.
fn sound(k: &Kernel, pass: &str) -> Result<(), CodegenError> {
    ir::verify(k).and_then(|()| ir::check_rings(k)).map_err(|e| match &e.0[..] {
        // A copy's indices depend on what the role that fills the ring can't compute.
        [_, ..] if e.0.iter().all(|d| d.code == "E33") => CodegenError::Program(e),
        _ => {
            let message = format!("{pass} made a wrong kernel: {e}");
            CodegenError::Lowering { kernel: k.name.clone(), message }
        }
    })
}
