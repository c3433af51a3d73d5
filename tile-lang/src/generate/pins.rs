//! Schedules of generated kernels: decisions that can be carried out, by the rules that `docs/schedules.md` states. They are worked out
//! here from the kernel alone, so that a compiler which refuses one of them, or ignores it, is seen.

use super::Random;
use crate::ir::{Kernel, MAX_SLOT_BYTES, OpId, OpKind, product_of};
use crate::schedule::{NamedOp, OpClass, Raster, Schedule, named_ops};
use std::collections::BTreeSet;

/// A decision that a schedule pins. Its numbers pick the op and the value among those that are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// What it is about.
    pub decision: Decision,
    /// Its choices.
    pub pick: [u8; 2],
}

/// What a schedule can pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decision {
    /// A load, with some of those behind it, has a slot.
    Ring,
    /// Slots of the ring.
    Stages,
    /// Which ops copy and which compute, all of them listed.
    Roles,
    /// Warps that compute.
    Warps,
    /// Registers of the warps that compute.
    Registers,
    /// Warps along rows, columns and sums of a product.
    Split,
    /// Order of work items.
    Raster,
    /// What every program has: clusters of one CTA, no product left running.
    Trivial,
}

impl Decision {
    /// All of them.
    pub const ALL: [Decision; 8] = [
        Decision::Ring,
        Decision::Stages,
        Decision::Roles,
        Decision::Warps,
        Decision::Registers,
        Decision::Split,
        Decision::Raster,
        Decision::Trivial,
    ];
}

/// Most bytes in a slot, so that a few slots fit into shared memory beside everything else.
const SLOT_BYTES: usize = MAX_SLOT_BYTES / 2;

/// As many slots of that size fit.
const MOST_STAGES: usize = 6;

/// Registers of a thread that computes, for 4 and for 8 warps: few, as many as by default, the most.
const REGISTERS: [[usize; 3]; 2] = [[160, 224, 248], [160, 224, 232]];

/// What a seed pins; nothing for one program in four.
pub(super) fn pins(random: &mut Random) -> Vec<Pin> {
    if random.below(4) == 0 {
        return Vec::new();
    }
    let count = 1 + random.below(5);
    let mut pin = || {
        let decision = Decision::ALL[random.below(Decision::ALL.len())];
        let [a, b, ..] = random.bits().to_le_bytes();
        Pin { decision, pick: [a, b] }
    };
    (0..count).map(|_| pin()).collect()
}

/// The schedule of these decisions for a kernel; what has no op to be about is left out. Places are left out too, so that a kernel's
/// text form is the same wherever it was made.
pub(super) fn schedule(kernel: &Kernel, pins: &[Pin]) -> Schedule {
    let ops = named_ops(kernel);
    let of = |class| ops.iter().filter(move |o| o.class == class).collect::<Vec<_>>();
    let mut p = Pinning {
        kernel,
        loads: of(OpClass::Load),
        products: of(OpClass::Product),
        ring_of: BTreeSet::new(),
        split: BTreeSet::new(),
        warps: 8,
        schedule: Schedule::new(),
    };
    // Listed roles have names of their own, and splits depend on the number of warps.
    let has = |d| pins.iter().rev().find(|p| p.decision == d);
    let listed = has(Decision::Roles).is_some() && p.roles(&ops);
    let consumer = if listed { "compute" } else { "consumer" };
    if let Some(pin) = has(Decision::Warps) {
        p.warps = [4, 8][usize::from(pin.pick[0] % 2)];
        p.schedule = std::mem::take(&mut p.schedule).warps(consumer, p.warps);
    }
    for pin in pins {
        p.pin(*pin, consumer);
    }
    p.schedule.without_places()
}

struct Pinning<'k> {
    kernel: &'k Kernel,
    loads: Vec<&'k NamedOp>,
    products: Vec<&'k NamedOp>,
    /// Loads that are in a ring.
    ring_of: BTreeSet<OpId>,
    /// Products that are split.
    split: BTreeSet<OpId>,
    warps: usize,
    schedule: Schedule,
}

impl Pinning<'_> {
    fn pin(&mut self, pin: Pin, consumer: &str) {
        let [a, b] = pin.pick.map(usize::from);
        let s = std::mem::take(&mut self.schedule);
        self.schedule = match pin.decision {
            Decision::Ring => match self.loads.get(a % self.loads.len().max(1)).map(|l| l.op) {
                Some(_) => {
                    let mut ids = self.neighbours(a % self.loads.len(), 1 + b % 4);
                    if b >= 128 {
                        ids.reverse();
                    }
                    let name = format!("r{}", s.rings.len());
                    if ids.is_empty() { s } else { s.ring(&name, ids) }
                }
                None => s,
            },
            // A slot is held at most once for each load.
            Decision::Stages if !self.loads.is_empty() && self.loads.len() <= MOST_STAGES => {
                s.stages("slots", [self.loads.len(), MOST_STAGES][a % 2])
            }
            Decision::Registers => s.registers(consumer, REGISTERS[usize::from(self.warps == 8)][a % 3]),
            Decision::Split => match self.products.get(a % self.products.len().max(1)).copied() {
                Some(product) if self.split.insert(product.op) => {
                    let all = self.splits(product.op);
                    s.split(product.id(), all[b % all.len()])
                }
                _ => s,
            },
            Decision::Raster => s.raster([Raster::RowMajor, Raster::ColumnMajor, Raster::Grouped(1 + b % 3)][a % 3]),
            Decision::Trivial => match self.products.get(a % self.products.len().max(1)) {
                Some(product) if b % 2 == 0 && s.inflight.is_empty() => s.inflight(product.id(), 0),
                _ => s.cluster(1),
            },
            Decision::Stages | Decision::Roles | Decision::Warps => s,
        };
    }

    /// Lists the ops of both roles. Names that a load shares with another op say too little for that.
    fn roles(&mut self, ops: &[NamedOp]) -> bool {
        let names: BTreeSet<String> = ops.iter().map(NamedOp::id).collect();
        let paths = |loads: bool| {
            let of = ops.iter().filter(move |o| (o.class == OpClass::Load) == loads);
            of.map(|o| &o.path).collect::<BTreeSet<_>>()
        };
        let mixed = |class| ops.iter().filter(move |o| o.class == class).map(|o| &o.path).collect::<BTreeSet<_>>();
        let apart = paths(true).is_disjoint(&paths(false))
            && mixed(OpClass::Product).is_disjoint(&mixed(OpClass::Write))
            && names.len() == ops.len();
        if apart {
            let ids = |loads: bool| ops.iter().filter(move |o| (o.class == OpClass::Load) == loads).map(NamedOp::id);
            let s = std::mem::take(&mut self.schedule);
            let s = if self.loads.is_empty() { s } else { s.role("copy", ids(true)) };
            self.schedule = s.role("compute", ids(false));
        }
        apart
    }

    /// The load at this place and those behind it that may share its slot, at most `count`: in one block, with nothing but
    /// arithmetic between them.
    fn neighbours(&mut self, first: usize, count: usize) -> Vec<String> {
        let k = self.kernel;
        let block = self.loads[first].block;
        let list = &k.block(block).ops;
        let place = |op: OpId| list.iter().position(|o| *o == op).unwrap_or(usize::MAX);
        let start = place(self.loads[first].op);
        let (mut out, mut bytes) = (Vec::new(), 0);
        for load in &self.loads[first..] {
            let end = place(load.op);
            let size = k.op(load.op).results.first().map_or(0, |v| {
                let ty = k.ty(*v);
                ty.dtype().map_or(0, |d| d.bytes(ty.shape().iter().product()))
            });
            let between = |op: &OpId| {
                let data = k.op(*op);
                let other = data.kind == OpKind::Stage && !self.ring_of.contains(op) && *op != load.op;
                data.kind.has_effect() || !data.blocks.is_empty() || other
            };
            // Parts of a slot are aligned to at most 1 KiB.
            let fits = load.block == block
                && out.len() < count
                && bytes + size.next_multiple_of(1024) <= SLOT_BYTES
                && !self.ring_of.contains(&load.op)
                && !list[start..=end].iter().any(between);
            if !fits {
                break;
            }
            self.ring_of.insert(load.op);
            bytes += size.next_multiple_of(1024);
            out.push(load.id());
        }
        out
    }

    /// All ways to split a product over the warps.
    fn splits(&self, op: OpId) -> Vec<[usize; 3]> {
        let operands = &self.kernel.op(op).operands;
        let ty = |i: usize| self.kernel.ty(operands[i]);
        let types = ty(1).dtype().zip(ty(2).dtype());
        // Parts of a sum have 16 terms at least, also where an instruction takes 8.
        let depth = types.and_then(|(a, b)| product_of(a, b)).map_or(16, |p| p.depth.max(16));
        let most = [ty(0).shape()[0] / 16, ty(0).shape()[1] / 8, ty(1).shape()[1] / depth];
        let powers = |most: usize| (0..4).map(|i| 1usize << i).filter(move |n| *n <= most);
        let mut out = Vec::new();
        for rows in powers(most[0]) {
            for columns in powers(most[1]) {
                let all = powers(most[2]).map(|depth| [rows, columns, depth]);
                out.extend(all.filter(|split| split.iter().product::<usize>() <= self.warps));
            }
        }
        out
    }
}
