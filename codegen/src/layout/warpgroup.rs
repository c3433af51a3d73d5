//! Which products whole warpgroups carry out: `wgmma`, with the second operand in shared memory.
//!
//! A warpgroup's product has 64 rows, its four warps 16 each, and N columns, a multiple of 8 up to 256. All warpgroups of the
//! consumers together make the tile's rows; the accumulator then lies as that of `mma.sync` with all warps along the rows. The
//! first operand is staged too, or comes from registers, in the layout in which an accumulator of these rows lies. Staged operands
//! are tiles as the tensor copies bring them, swizzled by 128 bytes; what can be described of them says [`super::descriptor`].

use super::descriptor::{StagedOperand, Terms};
use super::{MmaSplit, Split, consumer_warps, log2};
use std::collections::{HashMap, HashSet};
use tile_lang::dtype::DType;
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, Type, ValueId};

/// Fewest columns for which a warpgroup's product is worth its shared-memory operands: below, a few tokens are columns, and
/// weights stream through registers.
const LEAST_COLUMNS: usize = 64;
/// Most columns of one instruction.
const MOST_COLUMNS: usize = 256;

/// Most bytes of shared memory for first operands that are kept there: more would leave no ring.
const MOST_KEPT: usize = 64 * 1024;

/// How such a product splits its rows over the consumer warps.
pub fn split(warps: usize) -> MmaSplit {
    MmaSplit { m: log2(warps), n: 0, k: 0 }
}

/// Products by warpgroups, and the staged tiles that only they read.
#[derive(Clone, Debug, Default)]
pub(super) struct Warpgroups {
    pub products: HashSet<OpId>,
    pub swizzled: HashSet<ValueId>,
    /// First operands that are made in registers before the loop that their products stand in.
    pub kept: Vec<ValueId>,
}

/// Finds the products of a consumer body that warpgroups carry out. A product whose schedule pins another split is none of
/// them.
pub(super) fn find(k: &Kernel, body: BlockId, uses: &HashMap<ValueId, Vec<OpId>>, pinned: &Split) -> Warpgroups {
    let definitions = k.definitions();
    let mut out = Warpgroups::default();
    let rows = split(consumer_warps(k));
    let mut candidates = Vec::new();
    collect(k, body, &mut candidates);
    candidates.retain(|id| fits(k, *id, &definitions) && pinned.get(id).is_none_or(|s| *s == rows));
    let staged = super::staged_arrays(k, body);
    // A tile has one storage order: it is swizzled only if every reader is such a product; what isn't takes its products along.
    loop {
        let tiles: HashSet<ValueId> = candidates.iter().flat_map(|id| sources(k, *id, &definitions)).collect();
        // An array has one storage order too: all tiles that are staged of it, or none.
        let only = |v: &ValueId| {
            readers(k, *v, uses).iter().all(|id| candidates.contains(id))
                && staged.iter().filter(|(_, param)| Some(*param) == staged.get(v)).all(|(w, _)| tiles.contains(w))
        };
        let bad: HashSet<ValueId> = tiles.iter().copied().filter(|v| !only(v)).collect();
        if bad.is_empty() {
            out.swizzled = tiles;
            out.products = candidates.into_iter().collect();
            out.kept = kept(k, body, &out.products);
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
    let sound = m == 16 * consumer_warps(k) && (LEAST_COLUMNS..=MOST_COLUMNS).contains(&n) && n.is_multiple_of(8);
    let [a, b] = [op.operands[1], op.operands[2]];
    let first = matches!(k.ty(a), Type::Tile(..)) || operand(k, a, definitions, Side::First).is_some();
    sound && first && operand(k, b, definitions, Side::Second).is_some()
}

/// Which operand of a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

/// Which way the terms of a product run through storage. The first operand's rows, and the second's columns, are no terms.
fn terms(side: Side, turned: bool) -> Terms {
    if (side == Side::Second) == turned { Terms::AlongRows } else { Terms::DownColumns }
}

/// Which way the terms of the first operand run through a tile that lies as the operand, or as its transpose.
pub fn terms_of_first(turned: bool) -> Terms {
    terms(Side::First, turned)
}

/// The same for the second operand.
pub fn terms_of_second(turned: bool) -> Terms {
    terms(Side::Second, turned)
}

/// An operand as part of a staged tile, if descriptors can describe it.
fn operand(k: &Kernel, v: ValueId, definitions: &[Option<OpId>], side: Side) -> Option<StagedOperand> {
    let View { tile, start, turned } = view(k, v, definitions)?;
    let Type::Smem(dtype, shape) = k.ty(tile) else { return None };
    let dtype: DType = *dtype;
    let operand = StagedOperand { dtype, tile: [shape[0], shape[1]], start, terms: terms(side, turned) };
    operand.impossible().is_none().then_some(operand)
}

/// A part of a staged tile.
struct View {
    /// The tile, as the ring brought it.
    tile: ValueId,
    /// Row and column, in storage, of the part's first element.
    start: [usize; 2],
    /// Whether the part is transposed.
    turned: bool,
}

/// What part of which staged tile a value is.
fn view(k: &Kernel, v: ValueId, definitions: &[Option<OpId>]) -> Option<View> {
    let op = k.op(definitions[v.index()]?);
    match &op.kind {
        OpKind::RingWait(_) => Some(View { tile: v, start: [0, 0], turned: false }),
        OpKind::Transpose => {
            let of = view(k, op.operands[0], definitions)?;
            Some(View { turned: !of.turned, ..of })
        }
        OpKind::Slice(at) => {
            let of = view(k, op.operands[0], definitions)?;
            let [row, column] = if of.turned { [at[1], at[0]] } else { [at[0], at[1]] };
            Some(View { start: [of.start[0] + row, of.start[1] + column], ..of })
        }
        _ => None,
    }
}

/// The staged tiles that a product reads itself.
fn sources(k: &Kernel, id: OpId, definitions: &[Option<OpId>]) -> Vec<ValueId> {
    k.op(id).operands[1..].iter().filter_map(|v| view(k, *v, definitions)).map(|v| v.tile).collect()
}

/// First operands of products that are made outside of the loop that the product stands in: they go to shared memory once, so that
/// they take no registers while the loop runs.
fn kept(k: &Kernel, body: BlockId, products: &HashSet<OpId>) -> Vec<ValueId> {
    fn go(k: &Kernel, block: BlockId, depth: usize, at: &mut HashMap<ValueId, usize>, inside: &mut Vec<(OpId, usize)>) {
        for &id in &k.block(block).ops {
            let op = k.op(id);
            at.extend(op.results.iter().map(|v| (*v, depth)));
            if op.kind == OpKind::Mma {
                inside.push((id, depth));
            }
            let deeper = depth + usize::from(matches!(op.kind, OpKind::For { .. }));
            op.blocks.iter().for_each(|b| go(k, *b, deeper, at, inside));
        }
    }
    let (mut made, mut inside) = (HashMap::new(), Vec::new());
    go(k, body, 0, &mut made, &mut inside);
    let (mut out, mut bytes) = (Vec::new(), 0);
    for (id, depth) in inside.into_iter().filter(|(id, _)| products.contains(id)) {
        let a = k.op(id).operands[1];
        let Type::Tile(dtype, shape) = k.ty(a) else { continue };
        let tile = StagedOperand { dtype: *dtype, tile: [shape[0], shape[1]], start: [0, 0], terms: Terms::AlongRows };
        let outside = made.get(&a).is_some_and(|at| *at < depth);
        let size = shape.iter().product::<usize>() * dtype.bits() / 8;
        if outside && tile.impossible().is_none() && !out.contains(&a) && bytes + size <= MOST_KEPT {
            out.push(a);
            bytes += size;
        }
    }
    out
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
