//! What is chosen for products by warpgroups where their schedule pins nothing: which loads of a step share a slot, in which order items are
//! taken, which products run on. A choice is written down as a schedule pins it, so that what carries pins out carries it out; what is pinned stays
//! as it is.
//!
//! Choices never make a program impossible: one that takes more slots than the program has is not taken.

mod order;
mod running;
mod steps;

use super::pinned_inflight;
use crate::CodegenError;
use crate::layout::{Assignment, assign};
use crate::lower::Machine;
use crate::passes::lower_to_roles;
use serde::Serialize;
use std::fmt;
use tile_lang::ir::{Kernel, OpId, OpKind, Role};
use tile_lang::schedule::{NamedOp, Schedule, named_ops};

/// Something that the compiler chose, in a schedule's words, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// What, as an item of a schedule.
    pub item: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item, self.why)
    }
}

/// A kernel whose schedule has what was chosen for it beside what it pins.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The kernel.
    pub kernel: Kernel,
    /// What was chosen.
    pub choices: Vec<Choice>,
}

impl Chosen {
    /// The schedule that choices are written into.
    fn schedule(&mut self) -> &mut Schedule {
        let kernel = self.kernel.name.clone();
        let fresh = || Box::new(Schedule { name: "chosen".into(), kernel, ..Schedule::default() });
        self.kernel.schedule.get_or_insert_with(fresh)
    }

    /// The name of an op, if it has one.
    fn name(&self, op: OpId) -> Option<String> {
        named_ops(&self.kernel).iter().find(|n| n.op == op).map(NamedOp::id).filter(|id| !id.is_empty())
    }

    fn note(&mut self, item: String, why: String) {
        self.choices.push(Choice { item, why });
    }
}

/// The ring of the program that kernels are part of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingRoom {
    /// Bytes of shared memory for its slots.
    pub bytes: usize,
    /// The most slots that it can have.
    pub most_slots: usize,
    /// Slots begin at multiples of this.
    pub align: usize,
    /// Bytes that a slot has at least.
    pub least: usize,
}

impl RingRoom {
    /// Bytes of a slot for transactions of up to `bytes` bytes.
    fn slot(&self, bytes: usize) -> usize {
        bytes.max(self.least).next_multiple_of(self.align)
    }

    /// Slots of this size that there are.
    fn slots(&self, slot: usize) -> usize {
        (self.bytes / slot).min(self.most_slots)
    }
}

/// Chooses for the kernels of a program. `lowered` are the kernels in roles, as they come without choices.
///
/// # Errors
/// A kernel that can't be split into roles.
pub(crate) fn choose(
    kernels: &[Kernel],
    lowered: &[&Kernel],
    machine: Machine,
    room: RingRoom,
) -> Result<Vec<Chosen>, CodegenError> {
    let mut out: Vec<Chosen> = kernels.iter().map(|k| Chosen { kernel: k.clone(), choices: Vec::new() }).collect();
    if !machine.target.wgmma {
        return Ok(out);
    }
    let bytes: Vec<usize> = lowered.iter().map(|k| largest(k)).collect();
    let mut changed = Vec::new();
    for (i, chosen) in out.iter_mut().enumerate() {
        let Some(layouts) = products(lowered[i], machine) else { continue };
        // Slots of a program have one size: where other kernels are in it, a step gets no more than the program's slots have anyway.
        let others = bytes.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, b)| *b).max();
        let most = others.map(|o| room.slot(o.max(bytes[i])));
        let room = RingRoom { least: room.least.max(others.unwrap_or(0)), ..room };
        steps::choose(chosen, &layouts, machine, room, most)?;
        if one_product_a_step(lowered[i]) {
            order::choose(chosen, machine)?;
        }
        changed.push(i);
    }
    let mut now: Vec<Kernel> = lowered.iter().map(|k| (*k).clone()).collect();
    for &i in &changed {
        now[i] = lower_to_roles(&out[i].kernel, machine.group_bytes)?;
    }
    let slot = room.slot(now.iter().map(largest).max().unwrap_or(0));
    let pinned = now.iter().map(|k| k.resources.slots).filter(|n| *n > 0).min();
    let slots = pinned.unwrap_or(usize::MAX).min(room.slots(slot));
    for i in changed {
        if let Some(layouts) = products(&now[i], machine) {
            running::choose(&mut out[i], &now[i], &layouts, slots);
        }
    }
    Ok(out)
}

/// Layouts of a kernel in roles that has products by warpgroups.
fn products(lowered: &Kernel, machine: Machine) -> Option<Assignment> {
    let mut any = false;
    lowered.walk(|_, op| any |= op.kind == OpKind::Mma);
    let body = lowered.body(Role::Consumer).filter(|_| any)?;
    Some(assign(lowered, body, machine.target)).filter(|a| !a.warpgroups.is_empty())
}

/// Whether no block has two products. Where a step has two, their sums and what is done with both at the end take all registers, and the
/// arithmetic of another order is spilled.
fn one_product_a_step(k: &Kernel) -> bool {
    k.blocks.iter().all(|b| b.ops.iter().filter(|id| k.op(**id).kind.is_product()).count() < 2)
}

/// Bytes of the largest transaction of a kernel in roles.
fn largest(lowered: &Kernel) -> usize {
    let mut most = 0;
    lowered.walk(|_, op| {
        if let OpKind::RingFill(parts) = &op.kind {
            most = most.max(parts.iter().map(|p| p.offset + p.bytes()).max().unwrap_or(0));
        }
    });
    most
}
