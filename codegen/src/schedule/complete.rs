//! The whole schedule of an instance: what its own schedule pins and what the compiler chose for the rest, so that nothing is
//! left to choose when it is given back.

use super::{Chosen, machine_role, pinned_inflight};
use crate::CodegenError;
use crate::layout::assign;
use crate::lower::{Assembled, Machine};
use crate::passes::{lower_to_roles, ring_groups};
use std::collections::BTreeMap;
use tile_lang::ir::{OpId, Role, Stage};
use tile_lang::schedule::{
    InFlight, NamedOp, OpClass, OpName, Pinned, Raster, Ring, RoleSpec, Schedule, Split, Turns, named_ops, resolve,
};
use tile_lang::span::Span;

/// The schedule of a kernel as it was assembled in a program of its own.
///
/// # Errors
/// A program of several kernels, or a kernel that can't be lowered.
pub fn complete(assembled: &Assembled, machine: Machine) -> Result<Schedule, CodegenError> {
    let [Chosen { kernel, .. }] = &assembled.chosen[..] else {
        let message = format!("a schedule is of one kernel, this program has {}", assembled.chosen.len());
        return Err(CodegenError::Plan(message));
    };
    let own = kernel.schedule.as_deref().cloned().unwrap_or_default();
    let resolved = resolve(kernel, &own)?;
    let ops = named_ops(kernel);
    let name = |op: OpId| -> OpName { ops.iter().find(|n| n.op == op).map(NamedOp::id).unwrap_or_default().into() };
    let registers = assembled.protocol.registers;
    let mut out = Schedule {
        name: if own.name.is_empty() { "chosen".into() } else { own.name.clone() },
        kernel: kernel.name.clone(),
        raster: own.raster.or(Some(Pinned { value: Raster::RowMajor, span: Span::NONE })),
        cluster: Some(Pinned { value: own.cluster_size(), span: Span::NONE }),
        ..Schedule::default()
    };
    // Where rings and roles are written out, only numbers are left to say of them.
    let written = kernel.stage >= Stage::Specialised;
    let groups = if written { Vec::new() } else { ring_groups(kernel, machine.group_bytes)? };
    if written && kernel.body(Role::Producer).is_some_and(|b| !kernel.block(b).ops.is_empty()) {
        let name = own.rings.first().map_or("ring", |r| r.name.as_str()).to_owned();
        out.rings.push(Ring { name, ops: Vec::new(), stages: Some(assembled.slots), span: Span::NONE });
    }
    for (i, group) in groups.iter().enumerate() {
        let plan = resolved.rings.iter().find(|p| p.loads == group.loads);
        let ring = match plan.map(|p| &own.rings[p.ring].name) {
            Some(name) if out.rings.iter().all(|r| r.name != *name) => name.clone(),
            Some(name) => format!("{name}.{i}"),
            None => format!("ring{i}"),
        };
        let loads = group.loads.iter().map(|l| name(*l)).collect();
        out.rings.push(Ring { name: ring, ops: loads, stages: Some(assembled.slots), span: Span::NONE });
    }
    let of = |loads: bool| ops.iter().filter(|n| (n.class == OpClass::Load) == loads).map(|n| name(n.op)).collect();
    let (loads, others): (Vec<OpName>, Vec<OpName>) = (of(true), of(false));
    for (machine, role, warps, registers, list) in [
        (Role::Producer, "producer", 1, registers.producer, loads),
        (Role::Consumer, "consumer", assembled.protocol.warps, registers.consumer, others),
    ] {
        let named = (0..own.roles.len()).find(|at| machine_role(kernel, &own, &resolved, *at) == Some(machine));
        let explicit = kernel.resources.roles.iter().find(|r| r.role == machine);
        let otherwise = explicit.map_or(role, |r| r.name.as_str());
        let name = named.map_or(otherwise, |at| own.roles[at].name.as_str()).to_owned();
        let (warps, registers) = (Some(warps), Some(registers));
        let ops = if written { Vec::new() } else { list };
        out.roles.push(RoleSpec { name, warps, registers, ops, span: Span::NONE });
    }
    let lowered = lower_to_roles(kernel, machine.group_bytes)?;
    let inflight = pinned_inflight(&lowered);
    let layouts = lowered.body(Role::Consumer).map(|body| assign(&lowered, body, machine.target)).unwrap_or_default();
    let splits: BTreeMap<OpId, _> = layouts.splits.into_iter().collect();
    if !layouts.warpgroups.is_empty() {
        let turns = ops.iter().filter(|n| layouts.turns.contains(&n.op)).map(|n| name(n.op)).collect();
        out.turns = Some(Turns { ops: turns, span: Span::NONE });
    }
    // Ops that only compute keep their ids when roles are split.
    for named in ops.iter().filter(|n| n.class == OpClass::Product) {
        let Some(s) = splits.get(&named.op) else { continue };
        let (rows, columns, depth) = (1 << s.m, 1 << s.n, 1 << s.k);
        out.splits.push(Split { op: name(named.op), rows, columns, depth, span: Span::NONE });
        let groups = inflight.get(&named.op).copied().unwrap_or(0);
        out.inflight.push(InFlight { op: name(named.op), groups, span: Span::NONE });
    }
    Ok(out.without_places())
}
