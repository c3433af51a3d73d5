//! Kernels as text at the stages between what was written and MLIR. What a stage decides and the text form has no words for
//! stands in comments before the kernel, so that every text can be read back.

use super::report::{kernel_report, ops_in, place};
use super::{Place, Transaction};
use crate::CodegenError;
use crate::layout::{Bit, Layout, assign};
use crate::lower::Machine;
use crate::passes::{lower_to_roles, ring_groups};
use std::fmt::Write;
use tile_lang::ir::{Kernel, Role, Stage};

/// The kernel with its staged loads grouped into transactions of the ring.
///
/// # Errors
/// A staged tile is larger than any slot.
pub fn scheduled(kernel: &Kernel, group_bytes: usize, brief: bool) -> Result<String, CodegenError> {
    let mut out = String::new();
    for (i, group) in ring_groups(kernel, group_bytes)?.iter().enumerate() {
        let places: Vec<Place> = group.loads.iter().map(|id| place(kernel, kernel.op(*id).span)).collect();
        let _ = writeln!(out, "// transaction {i}: {} bytes", group.bytes());
        for (part, place) in group.parts.iter().zip(places) {
            let _ = writeln!(out, "//   +{} {} bytes of {}, {place}", part.offset, part.bytes(), part.dtype);
        }
    }
    let kernel = Kernel { stage: Stage::Scheduled, ..kernel.clone() };
    Ok(out + &print(&kernel, brief))
}

/// One body per role, with explicit rings.
///
/// # Errors
/// As [`scheduled`].
pub fn specialised(kernel: &Kernel, group_bytes: usize, brief: bool) -> Result<String, CodegenError> {
    Ok(print(&lower_to_roles(kernel, group_bytes)?, brief))
}

/// As [`specialised`], with the layouts of the consumer's tiles and what the slots of the ring hold.
///
/// # Errors
/// As [`scheduled`].
pub fn allocated(kernel: &Kernel, machine: Machine, brief: bool) -> Result<String, CodegenError> {
    let kernel = Kernel { stage: Stage::Allocated, ..lower_to_roles(kernel, machine.group_bytes)? };
    let mut out = String::new();
    for Transaction { place, bytes, parts } in &kernel_report(&kernel, &[], machine.target).ring.transactions {
        let _ = writeln!(out, "// slot: {bytes} bytes, {place}");
        for p in parts {
            let _ = writeln!(out, "//   +{} {} bytes of `{}`", p.offset, p.bytes, p.param);
        }
    }
    if let Some(body) = kernel.body(Role::Consumer) {
        let layouts = assign(&kernel, body, machine.target);
        let _ = writeln!(out, "// layouts: bits as axis.bit, lowest first; `-` copies, `+` partial sums");
        for id in ops_in(&kernel, body) {
            let op = kernel.op(id);
            for r in &op.results {
                if let Some(l) = layouts.native.get(r) {
                    let place = place(&kernel, op.span);
                    let (name, ty) = (op.kind.mnemonic(), kernel.ty(*r));
                    let _ = writeln!(out, "//   {place} {name} {ty}: {}", layout(l));
                }
            }
        }
    }
    Ok(out + &print(&kernel, brief))
}

/// A module in the LLVM dialect without the places of its ops and the scopes of debug information that they name.
pub fn without_places(mlir: &str) -> String {
    let mut out = String::new();
    for line in mlir.lines().filter(|l| !l.starts_with('#')) {
        let end = line.rfind(" loc(").unwrap_or(line.len());
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}

fn print(kernel: &Kernel, brief: bool) -> String {
    if brief { format!("{kernel:#}\n") } else { format!("{kernel}\n") }
}

fn layout(l: &Layout) -> String {
    let bit = |b: &Bit| format!("{}.{}", b.0, b.1);
    let maybe = |b: &Option<Bit>| b.as_ref().map_or("-".into(), bit);
    let registers: Vec<String> = l.reg.iter().map(bit).collect();
    let lanes: Vec<String> = l.lane.iter().map(maybe).collect();
    let warps = l.warp.iter().zip(l.partial).map(|(b, partial)| if partial { "+".into() } else { maybe(b) });
    let warps: Vec<String> = warps.collect();
    format!("registers {} | lanes {} | warps {}", registers.join(" "), lanes.join(" "), warps.join(" "))
}
