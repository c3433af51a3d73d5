//! Which loads of a step share a slot. Slots are as large as the largest transaction, so that loads of different sizes in slots of their own
//! leave a part of the ring empty. Of all ways to put the loads of one product together that is taken which has most steps in flight, of those
//! with the fewest transactions.

use super::{Chosen, RingRoom};
use crate::CodegenError;
use crate::layout::Assignment;
use crate::lower::Machine;
use crate::passes::{MAX_SLOT_BYTES, RingGroup, part_of, ring_groups};
use std::collections::HashMap;
use tile_lang::ir::{BlockId, Kernel, OpId, OpKind, Stage, ValueId};
use tile_lang::schedule::{OpName, Ring};
use tile_lang::span::Span;

/// Loads of a step up to which all ways are compared.
const MOST_LOADS: usize = 12;

/// A step's loads in transactions.
struct Way {
    groups: Vec<RingGroup>,
    /// Bytes of a slot, and slots that there are then.
    slot: usize,
    slots: usize,
}

impl Way {
    fn of(groups: Vec<RingGroup>, elsewhere: usize, room: RingRoom) -> Way {
        let slot = room.slot(groups.iter().map(RingGroup::bytes).max().unwrap_or(0).max(elsewhere));
        Way { groups, slot, slots: room.slots(slot) }
    }

    /// Whole steps in flight.
    fn steps(&self) -> usize {
        self.slots / self.groups.len()
    }
}

/// `most` are the bytes that a slot may have, if other kernels share the ring.
pub(super) fn choose(
    chosen: &mut Chosen,
    layouts: &Assignment,
    machine: Machine,
    room: RingRoom,
    most: Option<usize>,
) -> Result<(), CodegenError> {
    let k = chosen.kernel.clone();
    // A pinned number of slots is one of slots as they were.
    let mut pins_slots = k.schedule.as_deref().is_some_and(|s| s.rings.iter().any(|r| r.stages.is_some()));
    k.walk(|_, op| pins_slots |= matches!(op.kind, OpKind::For { stages: 1.. }));
    if k.stage >= Stage::Specialised || pins_slots {
        return Ok(());
    }
    let groups = ring_groups(&k, machine.group_bytes)?;
    let mut steps = Vec::new();
    k.bodies.iter().for_each(|(_, body)| collect(&k, *body, &mut steps));
    for block in steps {
        let Some(loads) = loads(&k, block) else { continue };
        let (own, others): (Vec<_>, Vec<_>) = groups.iter().cloned().partition(|g| loads.contains(&g.loads[0]));
        let elsewhere = others.iter().map(RingGroup::bytes).max();
        let way = |groups| Way::of(groups, elsewhere.unwrap_or(0), room);
        let usual = way(own);
        let most = if elsewhere.is_some() { Some(usual.slot) } else { most };
        let products = by_product(&k, block, &loads, layouts);
        let Some(products) = products.filter(|_| !pinned(&k, &loads) && loads.len() <= MOST_LOADS) else { continue };
        let fits = |w: &Way| {
            let small = w.groups.iter().all(|g| g.bytes() <= MAX_SLOT_BYTES) && most.is_none_or(|m| w.slot <= m);
            small && w.slots >= 2 && w.steps() > usual.steps()
        };
        let mut deeper = ways(&k, &loads, &products).into_iter().map(way).filter(fits);
        let Some(first) = deeper.next() else { continue };
        let best = deeper.fold(first, |best, way| if way.steps() > best.steps() { way } else { best });
        write(chosen, &best, &usual);
    }
    Ok(())
}

/// Bodies of loops.
fn collect(k: &Kernel, block: BlockId, out: &mut Vec<BlockId>) {
    for op in k.block(block).ops.iter().map(|id| k.op(*id)) {
        if let OpKind::For { .. } = op.kind {
            out.push(op.blocks[0]);
        }
        op.blocks.iter().for_each(|b| collect(k, *b, out));
    }
}

/// The staged loads of a block, if nothing but arithmetic stands between them and no block inside of it stages anything.
fn loads(k: &Kernel, block: BlockId) -> Option<Vec<OpId>> {
    let ops = &k.block(block).ops;
    let stages = |id: &OpId| k.op(*id).kind == OpKind::Stage;
    let (first, last) = (ops.iter().position(stages)?, ops.iter().rposition(stages)?);
    let plain = |id: &OpId| k.op(*id).blocks.is_empty() && !k.op(*id).kind.has_effect();
    let mut inside = false;
    for inner in ops.iter().flat_map(|id| &k.op(*id).blocks) {
        k.walk_block(*inner, &mut |_, op| inside |= op.kind == OpKind::Stage);
    }
    (!inside && ops[first..=last].iter().all(plain)).then(|| ops.iter().copied().filter(stages).collect())
}

/// Whether a ring is pinned for one of these loads.
fn pinned(k: &Kernel, loads: &[OpId]) -> bool {
    let resolved = k.schedule.as_deref().and_then(|s| tile_lang::schedule::resolve(k, s).ok());
    resolved.is_some_and(|r| r.rings.iter().any(|ring| ring.loads.iter().any(|l| loads.contains(l))))
}

/// For each load which product of the block needs it first; loads that none multiplies go with the one before. `None` if no
/// warpgroups multiply in the block.
fn by_product(k: &Kernel, block: BlockId, loads: &[OpId], layouts: &Assignment) -> Option<Vec<usize>> {
    let ops = &k.block(block).ops;
    let mut tiles: HashMap<ValueId, OpId> = loads.iter().map(|l| (k.op(*l).results[0], *l)).collect();
    let mut needed: HashMap<OpId, usize> = HashMap::new();
    let mut products = 0;
    for op in ops {
        let data = k.op(*op);
        match data.kind {
            OpKind::Transpose | OpKind::Slice(_) => {
                if let Some(load) = tiles.get(&data.operands[0]).copied() {
                    tiles.insert(data.results[0], load);
                }
            }
            OpKind::Mma if layouts.warpgroups.contains(op) => {
                for load in data.operands.iter().filter_map(|v| tiles.get(v)) {
                    needed.entry(*load).or_insert(products);
                }
                products += 1;
            }
            _ => {}
        }
    }
    let mut last = loads.iter().find_map(|l| needed.get(l)).copied()?;
    let mut out = Vec::new();
    for load in loads {
        last = needed.get(load).copied().unwrap_or(last);
        out.push(last);
    }
    Some(out)
}

/// All ways to cut the loads into transactions, fewest first, so that none brings what different products need.
fn ways(k: &Kernel, loads: &[OpId], products: &[usize]) -> Vec<Vec<RingGroup>> {
    let mut out: Vec<Vec<RingGroup>> = Vec::new();
    'cuts: for cuts in 0..1usize << (loads.len() - 1) {
        let mut groups: Vec<RingGroup> = Vec::new();
        for (i, load) in loads.iter().enumerate() {
            let Some(part) = part_of(k, *load) else { continue 'cuts };
            let cut = i == 0 || cuts >> (i - 1) & 1 == 1;
            if !cut && products[i] != products[i - 1] {
                continue 'cuts;
            }
            if cut {
                groups.push(RingGroup { loads: Vec::new(), parts: Vec::new() });
            }
            if let Some(group) = groups.last_mut() {
                group.push(*load, part);
            }
        }
        out.push(groups);
    }
    out.sort_by_key(Vec::len);
    out
}

/// Pins a way, whose loads all have names.
fn write(chosen: &mut Chosen, best: &Way, before: &Way) {
    let names: Vec<Option<Vec<String>>> =
        best.groups.iter().map(|g| g.loads.iter().map(|l| chosen.name(*l)).collect()).collect();
    let Some(names) = names.into_iter().collect::<Option<Vec<_>>>() else { return };
    let why = format!(
        "{} steps in flight instead of {} with the loads in {} slots of {} bytes",
        best.steps(),
        before.steps(),
        before.groups.len(),
        before.slot
    );
    for names in names {
        let own = &chosen.schedule().rings;
        let free = |name: &String| own.iter().all(|r| r.name != *name);
        let ring = (0..).map(|n| format!("step{n}")).find(free).unwrap_or_default();
        chosen.note(format!("ring {ring} [{}]", names.join(", ")), why.clone());
        let ops = names.into_iter().map(OpName::from).collect();
        chosen.schedule().rings.push(Ring { name: ring, ops, stages: None, span: Span::NONE });
    }
}
