//! What can be settled about an op instance before any code is emitted: roles, storage of staged tiles, whether the
//! producer depends on other instructions.

use super::facts::ParamFacts;
use super::program::Machine;
use crate::CodegenError;
use crate::layout::{assign, consumer_warps, ring_sources};
use crate::passes::{lower_to_roles, staged_alike};
use crate::protocol::{add_turns, ring_actions};
use crate::schedule::unconvertible;
use crate::target::multiple_of;
use tile_lang::artifact::TensorBox;
use tile_lang::diag::{Diagnostics, pointing};
use tile_lang::dtype::DType;
use tile_lang::ir::{Access, BlockId, Kernel, OpData, OpKind, Role, Type, ValueId};
use tile_lang::packing::{PANEL_BYTES, Packing, TileOrder, fragment_width};
use tile_lang::protocol::KernelProtocol;
use tile_lang::span::Span;

/// Rows that the 128-byte swizzle permutes together.
const SWIZZLED_ROWS: usize = 8;
/// Where a tensor copy's target begins: a multiple of these bytes.
const COPY_ALIGN: usize = 128;
/// Most elements along an axis of a tensor copy's box.
const MOST_BOX: usize = 256;

/// A kernel with everything that doesn't depend on where it is emitted.
pub(super) struct Prepared {
    pub kernel: Kernel,
    pub facts: Vec<ParamFacts>,
    pub ring: Vec<Vec<Packing>>,
    pub packings: Vec<Option<Packing>>,
    /// By parameter: what tensor copies cut out of it.
    pub boxes: Vec<Option<TensorBox>>,
    /// What its roles do at ring ops.
    pub protocol: KernelProtocol,
    /// Bytes of the largest ring transaction.
    pub slot_bytes: usize,
    /// Bytes of shared memory for operands that are kept there.
    pub kept_bytes: usize,
}

impl Prepared {
    /// Whether threads read staged tiles into registers. Products by warpgroups don't: they read swizzled tiles, and nothing else reads those.
    pub fn is_read_by_threads(&self) -> bool {
        self.ring.iter().flatten().any(|packing| packing.order != TileOrder::Swizzled)
    }
}

/// Prepares one instance; staged loads share ring slots up to what `machine` groups.
pub(super) fn prepare(kernel: &Kernel, facts: &[ParamFacts], machine: Machine) -> Result<Prepared, CodegenError> {
    let lowered = lower_to_roles(kernel, machine.group_bytes)?;
    let broken = |m: &str| CodegenError::Lowering { kernel: kernel.name.clone(), message: m.into() };
    let consumer = lowered.body(Role::Consumer).ok_or_else(|| broken("no consumer body"))?;
    let producer = lowered.body(Role::Producer).ok_or_else(|| broken("no producer body"))?;
    let layouts = assign(&lowered, consumer, machine.target);
    unconvertible(&lowered, &layouts)?;
    // A parameter has one storage: fragments only if every staged tile of it allows them.
    let (mut waits, mut fills) = (Vec::new(), Vec::new());
    ops_in(&lowered, consumer, &mut |op| {
        if matches!(op.kind, OpKind::RingWait(_)) {
            waits.push(op.results.clone());
        }
    });
    ops_in(&lowered, producer, &mut |op| {
        if let OpKind::RingFill(parts) = &op.kind {
            let mut at = 0;
            let mut list = Vec::new();
            for p in parts {
                list.push((op.operands[at], p.clone(), op.operands[at + p.rank]));
                at += 1 + p.rank;
            }
            fills.push(list);
        }
    });
    let all_of = |param, holds: &dyn Fn(ValueId) -> bool| {
        fills.iter().zip(&waits).all(|(f, w)| f.iter().zip(w).all(|((g, ..), v)| *g != param || holds(*v)))
    };
    let cluster = lowered.resources.cluster.max(1);
    let shared = staged_alike(&lowered);
    let mut packings = vec![None; kernel.params.len()];
    let mut boxes: Vec<Option<TensorBox>> = vec![None; kernel.params.len()];
    let mut ring = Vec::new();
    let definitions = lowered.definitions();
    for fill in &fills {
        let mut list = Vec::new();
        for (global, part, column) in fill {
            let tile = [part.shape[0], part.shape[1]];
            let weight = matches!(lowered.ty(*global), Type::Global(_, _, Access::Weight));
            let fits = tile[0] % 16 == 0 && tile[1] % 16 == 0 && part.dtype.bits() <= 16;
            let swizzled = all_of(*global, &|v| layouts.swizzled.contains(&v));
            let order = if swizzled {
                TileOrder::Swizzled
            } else if weight && fits && all_of(*global, &|v| layouts.fragments.contains(&v)) {
                TileOrder::Fragment { wide: fragment_width(part.dtype, tile[1]) }
            } else {
                TileOrder::RowMajor
            };
            let packing = Packing { tile, order };
            let slot = lowered
                .params
                .iter()
                .position(|p| p.value == *global)
                .ok_or_else(|| broken("a copy from no parameter"))?;
            let share = if shared.contains(global) { cluster } else { 1 };
            divides(&packing, part.dtype, share)
                .map_err(|m| staged(kernel, slot, "E30", m, "stage a tile with more rows, or leave the cluster out"))?;
            if !weight {
                let wanted = tensor_box(&packing, part.dtype, share)
                    .map_err(|m| staged(kernel, slot, "E18", m, "stage a tile with fewer rows or columns"))?;
                if boxes[slot].is_some_and(|b| b != wanted) {
                    return Err(two_shapes(kernel, slot, "E18"));
                }
                boxes[slot] = Some(wanted);
                aligned_rows(kernel, slot, part.dtype, &facts[slot])?;
                if part.dtype.bits() < 8 && !multiple_of(&lowered, *column, 2, &definitions) {
                    let message = "two elements share a byte, and its first column is not known to be even".to_owned();
                    return Err(staged(kernel, slot, "E19", message, "count in tiles: `x.stage::<Smem<…>>([…])`"));
                }
            } else {
                if packings[slot].as_ref().is_some_and(|p| *p != packing) {
                    return Err(two_shapes(kernel, slot, "E12"));
                }
                packings[slot] = Some(packing.clone());
            }
            list.push(packing);
        }
        ring.push(list);
    }
    let mut dependent = ring_sources(&lowered).iter().flatten().any(|a| *a != Access::Weight);
    ops_in(&lowered, producer, &mut |op| dependent |= matches!(op.kind, OpKind::At | OpKind::Load | OpKind::Gather));
    let slot_bytes = fills.iter().flatten().map(|(_, p, _)| p.offset + p.bytes()).max().unwrap_or(0);
    let copied_later = facts.iter().any(|f| f.copied_later);
    let mut protocol = ring_actions(&lowered, dependent, copied_later, &|array| shared.contains(&array));
    if !layouts.turns.is_empty() {
        add_turns(&mut protocol, consumer_warps(&lowered));
    }
    let kept_bytes = layouts.kept_bytes(&lowered);
    Ok(Prepared { kept_bytes, kernel: lowered, facts: facts.to_vec(), ring, packings, boxes, protocol, slot_bytes })
}

/// Whether a tile can be copied in equal shares, one by each CTA of a cluster: whole rows, as many as its storage order keeps together, and
/// bytes that a bulk copy takes.
fn divides(packing: &Packing, dtype: DType, shares: usize) -> Result<(), String> {
    let [rows, columns] = packing.tile;
    let rows_together = if packing.order == TileOrder::Swizzled { SWIZZLED_ROWS } else { 1 };
    let bytes = rows * columns * dtype.bits() / 8;
    if shares == 1 || (rows.is_multiple_of(shares * rows_together) && bytes.is_multiple_of(shares * COPY_ALIGN)) {
        return Ok(());
    }
    Err(format!(
        "{shares} CTAs of a cluster copy a share of its {rows} rows each, in multiples of {rows_together} rows and {COPY_ALIGN} bytes"
    ))
}

/// The box of one tensor copy of a CTA's share; tiles wider than a swizzled panel take a copy for each panel.
fn tensor_box(packing: &Packing, dtype: DType, shares: usize) -> Result<TensorBox, String> {
    let [rows, columns] = packing.tile;
    let rows = rows / shares;
    let columns = match packing.order {
        TileOrder::Swizzled => PANEL_BYTES * 8 / dtype.bits(),
        _ => columns,
    };
    // Elements of 4 bits are copied as bytes, two at a time.
    let units = columns / if dtype.bits() < 8 { 8 / dtype.bits() } else { 1 };
    if rows > MOST_BOX || units > MOST_BOX {
        return Err(format!(
            "a tensor copy brings at most {MOST_BOX} × {MOST_BOX} elements, this one {rows} × {columns}"
        ));
    }
    if !(columns * dtype.bits() / 8).is_multiple_of(16) {
        let bytes = columns * dtype.bits() / 8;
        return Err(format!("a row of the copy has {bytes} bytes, tensor copies need a multiple of 16"));
    }
    Ok(TensorBox { rows, columns, swizzled: packing.order == TileOrder::Swizzled })
}

/// Tensor copies need rows that begin at multiples of 16 bytes.
fn aligned_rows(kernel: &Kernel, slot: usize, dtype: DType, facts: &ParamFacts) -> Result<(), CodegenError> {
    let row = facts.dims.as_ref().and_then(|d| d.last()).map_or(0, |n| n * dtype.bits() / 8);
    let start = facts.aligned * dtype.bits() / 8;
    if row.is_multiple_of(16) && start.is_multiple_of(16) {
        return Ok(());
    }
    let message =
        format!("its rows have {row} bytes and it begins at a multiple of {start}: tensor copies need 16 for both");
    Err(staged(kernel, slot, "E19", message, "pad the rows, or load the tile into registers"))
}

/// An error about a staged parameter, at the place where it is staged first.
fn staged(kernel: &Kernel, slot: usize, code: &'static str, message: String, fix: &str) -> CodegenError {
    let span = stagings(kernel, slot).first().map_or(Span::NONE, |(span, _)| *span);
    CodegenError::at(kernel, span, code, format!("`{}` can't be staged: {message}", kernel.params[slot].name), fix)
}

/// The error of a parameter whose tiles have several shapes: its elements have one order in memory, or one box.
fn two_shapes(kernel: &Kernel, slot: usize, code: &'static str) -> CodegenError {
    let list = stagings(kernel, slot);
    let mut error =
        staged(kernel, slot, code, "its tiles have different shapes".into(), "use one shape, or two parameters");
    let other = list.iter().find(|(_, shape)| *shape != list[0].1);
    if let (CodegenError::Program(Diagnostics(errors)), Some((span, shape))) = (&mut error, other) {
        let file = kernel.files.get(span.file as usize).map_or("", String::as_str);
        errors[0].notes.insert(0, pointing(&format!("here it is {shape:?}, there {:?}", list[0].1), file, *span));
    }
    error
}

/// Where a parameter is staged, and in which shapes.
fn stagings(kernel: &Kernel, slot: usize) -> Vec<(Span, Vec<usize>)> {
    let value = kernel.params[slot].value;
    let mut out = Vec::new();
    kernel.walk(|_, op| match &op.kind {
        OpKind::Stage if op.operands[0] == value => out.push((op.span, kernel.ty(op.results[0]).shape().to_vec())),
        OpKind::RingFill(parts) => {
            let mut at = 0;
            for part in parts {
                if op.operands[at] == value {
                    out.push((op.span, part.shape.clone()));
                }
                at += 1 + part.rank;
            }
        }
        _ => {}
    });
    out
}

fn ops_in(k: &Kernel, block: BlockId, f: &mut dyn FnMut(&OpData)) {
    for &id in &k.block(block).ops {
        f(k.op(id));
        for &b in &k.op(id).blocks {
            ops_in(k, b, f);
        }
    }
}

/// Axes of the grid of work items.
pub(super) fn work_axes(k: &Kernel) -> usize {
    let mut axes = 0;
    k.walk(|_, op| {
        if op.kind == OpKind::Work {
            axes = op.results.len();
        }
    });
    axes
}
