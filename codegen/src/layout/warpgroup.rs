//! Which products whole warpgroups carry out: `wgmma`, with both operands in shared memory.
//!
//! A warpgroup's product has 64 rows, its four warps 16 each, and N columns, a multiple of 8 up to 256. Two warpgroups
//! make 128 rows; the accumulator then lies as that of `mma.sync` with all warps along the rows. Operands are bf16 tiles as they were
//! staged, swizzled by 128 bytes, K along the rows of storage for both.

use super::{MmaSplit, Split, WARP_BITS, WARPS, consumer_warps};
use std::collections::{HashMap, HashSet};
use tile_lang::dtype::DType;
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, Type, ValueId};
use tile_lang::packing::PANEL_BYTES;

/// Fewest columns for which a warpgroup's product is worth its shared-memory operands: below, a few tokens are columns, and
/// weights stream through registers.
const LEAST_COLUMNS: usize = 64;
/// Most columns of one instruction.
const MOST_COLUMNS: usize = 256;

/// How such a product splits its rows over the consumer warps.
pub const SPLIT: MmaSplit = MmaSplit { m: WARP_BITS, n: 0, k: 0 };

/// Products by warpgroups, and the staged tiles that only they read.
#[derive(Clone, Debug, Default)]
pub(super) struct Warpgroups {
    pub products: HashSet<OpId>,
    pub swizzled: HashSet<ValueId>,
}

/// Finds the products of a consumer body that warpgroups carry out. A product whose schedule pins another split is none of
/// them, and two warpgroups are needed.
pub(super) fn find(k: &Kernel, body: BlockId, uses: &HashMap<ValueId, Vec<OpId>>, pinned: &Split) -> Warpgroups {
    let definitions = k.definitions();
    let mut out = Warpgroups::default();
    if consumer_warps(k) != WARPS {
        return out;
    }
    let mut candidates = Vec::new();
    collect(k, body, &mut candidates);
    candidates.retain(|id| fits(k, *id, &definitions) && pinned.get(id).is_none_or(|s| *s == SPLIT));
    // A tile has one storage order: it is swizzled only if every reader is such a product; what isn't takes its products along.
    loop {
        let tiles: HashSet<ValueId> = candidates.iter().flat_map(|id| sources(k, *id, &definitions)).collect();
        let only = |v: &ValueId| readers(k, *v, uses).iter().all(|id| candidates.contains(id));
        let bad: HashSet<ValueId> = tiles.iter().copied().filter(|v| !only(v)).collect();
        if bad.is_empty() {
            out.swizzled = tiles;
            out.products = candidates.into_iter().collect();
            return out;
        }
        candidates.retain(|id| !sources(k, *id, &definitions).iter().any(|v| bad.contains(v)));
    }
}

fn collect(k: &Kernel, block: BlockId, out: &mut Vec<OpId>) {
    for &id in &k.block(block).ops {
        let op = k.op(id);
        if op.kind == OpKind::Mma {
            out.push(id);
        }
        for &b in &op.blocks {
            collect(k, b, out);
        }
    }
}

/// Whether the product has the shape and the operands.
fn fits(k: &Kernel, id: OpId, definitions: &[Option<OpId>]) -> bool {
    let op = k.op(id);
    let [m, n] = *k.ty(op.operands[0]).shape() else { return false };
    let sound = m == 16 * WARPS && (LEAST_COLUMNS..=MOST_COLUMNS).contains(&n) && n.is_multiple_of(8);
    sound && operand(k, op.operands[1], definitions, Turned::No) && operand(k, op.operands[2], definitions, Turned::Yes)
}

/// Whether an operand is a transpose of what was staged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turned {
    No,
    Yes,
}

fn operand(k: &Kernel, v: ValueId, definitions: &[Option<OpId>], want: Turned) -> bool {
    let Some((source, turned)) = source(k, v, definitions) else { return false };
    let Type::Smem(DType::Bf16, shape) = k.ty(source) else { return false };
    turned == want && shape[0].is_multiple_of(8) && (shape[1] * 2).is_multiple_of(PANEL_BYTES)
}

/// The staged tile that an operand is part of, if its part begins where a swizzled atom does.
fn source(k: &Kernel, v: ValueId, definitions: &[Option<OpId>]) -> Option<(ValueId, Turned)> {
    let op = k.op(definitions[v.index()]?);
    match &op.kind {
        OpKind::RingWait(_) => Some((v, Turned::No)),
        OpKind::Transpose => match source(k, op.operands[0], definitions)? {
            (v, Turned::No) => Some((v, Turned::Yes)),
            (v, Turned::Yes) => Some((v, Turned::No)),
        },
        OpKind::Slice(at) => {
            let (v, turned) = source(k, op.operands[0], definitions)?;
            let [row, col] = if turned == Turned::Yes { [at[1], at[0]] } else { [at[0], at[1]] };
            (row % 8 == 0 && col % 16 == 0).then_some((v, turned))
        }
        _ => None,
    }
}

fn sources(k: &Kernel, id: OpId, definitions: &[Option<OpId>]) -> Vec<ValueId> {
    k.op(id).operands[1..].iter().filter_map(|v| source(k, *v, definitions)).map(|(v, _)| v).collect()
}

/// The ops that read a staged tile, through transposes and slices.
fn readers(k: &Kernel, v: ValueId, uses: &HashMap<ValueId, Vec<OpId>>) -> Vec<OpId> {
    let mut out = Vec::new();
    for &id in uses.get(&v).map_or(&[][..], Vec::as_slice) {
        match k.op(id).kind {
            OpKind::RingRelease => {}
            OpKind::Transpose | OpKind::Slice(_) => out.extend(readers(k, k.op(id).results[0], uses)),
            _ => out.push(id),
        }
    }
    out
}
