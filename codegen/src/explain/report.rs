//! The report on a program and its kernels.

use crate::layout::{Assignment, Layout, MmaSplit, assign, consumer_warps, pack_of};
use crate::lower::{Assembled, Machine};
use crate::schedule::Choice;
use crate::target::Target;
use serde::Serialize;
use tile_lang::ir::{Access, BlockId, Kernel, OpData, OpId, OpKind, Role, Type, ValueId};
use tile_lang::packing::{Packing, TileOrder};
use tile_lang::span::Span;

/// A place in the user's source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Line, from 1; 0 where it is not known.
    pub line: u32,
    /// Column, from 1.
    pub col: u32,
}

/// Some bytes of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Region {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub bytes: usize,
}

/// What lies where in the shared memory of a CTA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedMap {
    /// What a CTA can have.
    pub capacity: usize,
    /// What it takes.
    pub used: usize,
    /// Barriers and the ring of instruction records.
    pub control: Region,
    /// The ring of staged data.
    pub ring: Region,
    /// Its slots.
    pub slots: usize,
    /// Room of each: the largest transaction of the program, or the least that a slot takes.
    pub slot_bytes: usize,
    /// Operands that products of a loop find in shared memory.
    pub kept: Region,
    /// The area for changes of layout and for partial sums.
    pub exchange: Region,
}

/// A body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleReport {
    /// `producer` or `consumer`.
    pub role: &'static str,
    /// Threads that run it.
    pub threads: usize,
    /// Tile IR ops in it.
    pub ops: usize,
    /// Where its first and last op come from.
    pub first: Place,
    /// See `first`.
    pub last: Place,
}

/// One array's share of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Parameter that is copied.
    pub param: String,
    /// Element type.
    pub dtype: &'static str,
    /// Extents of the tile.
    pub shape: Vec<usize>,
    /// Byte offset in the slot.
    pub offset: usize,
    /// Bytes.
    pub bytes: usize,
    /// Whether it is a weight, so that it is fetched before anything else is done.
    pub weight: bool,
    /// Order of its elements.
    pub order: String,
}

/// What one slot of the ring is filled with at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transaction {
    /// Where the first staged load is written.
    pub place: Place,
    /// Bytes of the slot that it takes.
    pub bytes: usize,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// The ring of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RingReport {
    /// Transactions in the order of the source.
    pub transactions: Vec<Transaction>,
    /// Whether copies wait for other instructions of a program.
    pub waits: bool,
}

/// A product and how it is spread over the warps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Where it is written.
    pub place: Place,
    /// Rows, columns, terms.
    pub shape: [usize; 3],
    /// Warps along rows, columns, terms.
    pub warps: [usize; 3],
    /// The instruction that does it, of a warp or a warpgroup.
    pub instruction: String,
    /// Their number.
    pub steps: usize,
    /// Where the first operand comes from.
    pub a: String,
    /// Where the second operand comes from.
    pub b: String,
    /// Registers of a thread for the first operand, the second and the accumulator.
    pub elements: [usize; 3],
}

/// What became of one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelReport {
    /// Its name.
    pub name: String,
    /// Its generics.
    pub generics: Vec<(String, String)>,
    /// Its bodies.
    pub roles: Vec<RoleReport>,
    /// Its ring.
    pub ring: RingReport,
    /// Its products.
    pub products: Vec<Product>,
    /// What was chosen for them where its schedule pins nothing.
    pub choices: Vec<Choice>,
}

/// What became of the kernels of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramReport {
    /// Its name.
    pub name: String,
    /// Its shared memory.
    pub shared: SharedMap,
    /// Its kernels.
    pub kernels: Vec<KernelReport>,
}

/// Reports on a program that [`crate::lower::assemble`] made for `machine`.
pub fn report(name: &str, assembled: &Assembled, machine: Machine) -> ProgramReport {
    let ring = assembled.slots * assembled.slot_bytes;
    let kept = assembled.kept_bytes;
    let control = assembled.shared_bytes - ring - kept - assembled.exchange_bytes;
    let shared = SharedMap {
        capacity: machine.shared_bytes,
        used: assembled.shared_bytes,
        control: Region { offset: 0, bytes: control },
        ring: Region { offset: control, bytes: ring },
        slots: assembled.slots,
        slot_bytes: assembled.slot_bytes,
        kept: Region { offset: control + ring, bytes: kept },
        exchange: Region { offset: control + ring + kept, bytes: assembled.exchange_bytes },
    };
    let kernels = assembled.protocol.kernels.iter().zip(&assembled.packings).zip(&assembled.chosen);
    let kernels = kernels
        .map(|((k, packings), chosen)| KernelReport {
            choices: chosen.choices.clone(),
            ..kernel_report(k, packings, machine.target)
        })
        .collect();
    ProgramReport { name: name.into(), shared, kernels }
}

/// The report on one kernel that is split into roles; `packings` say how its weights are stored.
pub(super) fn kernel_report(k: &Kernel, packings: &[Option<Packing>], target: &Target) -> KernelReport {
    let mut report = KernelReport {
        name: k.name.clone(),
        generics: k.generics.clone(),
        roles: Vec::new(),
        ring: RingReport::default(),
        products: Vec::new(),
        choices: Vec::new(),
    };
    for &(role, body) in &k.bodies {
        let ops = ops_in(k, body);
        report.roles.push(role_report(k, role, &ops, target));
        match role {
            Role::Producer => report.ring = ring(k, &ops, packings),
            Role::Consumer | Role::All => {
                let layouts = assign(k, body, target);
                let products = ops.iter().filter(|id| k.op(**id).kind.is_product());
                report.products = products.filter_map(|id| product(k, *id, &layouts)).collect();
            }
        }
    }
    report
}

/// All ops of a block, nested ones after their own.
pub(crate) fn ops_in(k: &Kernel, block: BlockId) -> Vec<OpId> {
    let mut out = Vec::new();
    for &id in &k.block(block).ops {
        out.push(id);
        k.op(id).blocks.iter().for_each(|b| out.extend(ops_in(k, *b)));
    }
    out
}

/// A span with its file's name.
pub(crate) fn place(k: &Kernel, span: Span) -> Place {
    let file = k.files.get(span.file as usize).filter(|_| span.is_known()).cloned().unwrap_or_default();
    Place { file, line: span.line, col: span.col }
}

fn role_report(k: &Kernel, role: Role, ops: &[OpId], target: &Target) -> RoleReport {
    // Of the kernel's own file: functions that it calls lie elsewhere.
    let own = ops.iter().map(|id| k.op(*id).span).filter(|s| s.is_known() && s.file == 0);
    let by_line = |s: &Span| (s.line, s.col);
    let (first, last) = (own.clone().min_by_key(by_line), own.max_by_key(by_line));
    let (role, threads) = match role {
        Role::Producer => ("producer", target.producer_lanes()),
        Role::Consumer => ("consumer", consumer_warps(k) * 32),
        Role::All => ("all", consumer_warps(k) * 32),
    };
    let at = |s: Option<Span>| s.map(|s| place(k, s)).unwrap_or_default();
    RoleReport { role, threads, ops: ops.len(), first: at(first), last: at(last) }
}

fn ring(k: &Kernel, ops: &[OpId], packings: &[Option<Packing>]) -> RingReport {
    let mut ring = RingReport::default();
    for op in ops.iter().map(|id| k.op(*id)) {
        let OpKind::RingFill(parts) = &op.kind else {
            ring.waits |= matches!(op.kind, OpKind::At | OpKind::Load | OpKind::Gather);
            continue;
        };
        let mut at = 0;
        let mut list = Vec::new();
        for p in parts {
            let global = op.operands[at];
            at += 1 + p.rank;
            let slot = k.params.iter().position(|param| param.value == global);
            let weight = matches!(k.ty(global), Type::Global(_, _, Access::Weight));
            ring.waits |= !weight;
            let packing = slot.and_then(|s| packings.get(s)).and_then(Option::as_ref);
            list.push(Part {
                param: slot.map_or_else(|| "?".into(), |s| k.params[s].name.clone()),
                dtype: p.dtype.name(),
                shape: p.shape.clone(),
                offset: p.offset,
                bytes: p.bytes(),
                weight,
                order: order(packing),
            });
        }
        let bytes = parts.iter().map(|p| p.offset + p.bytes()).max().unwrap_or(0);
        ring.transactions.push(Transaction { place: place(k, op.span), bytes, parts: list });
    }
    ring
}

fn order(packing: Option<&Packing>) -> String {
    match packing.map(|p| p.order) {
        Some(TileOrder::Fragment { wide }) => format!("fragments of 16×{}", 16 << wide),
        Some(TileOrder::Swizzled) => "swizzled by 128 bytes".into(),
        Some(TileOrder::RowMajor) | None => "row-major".into(),
    }
}

fn product(k: &Kernel, id: OpId, layouts: &Assignment) -> Option<Product> {
    let OpData { operands, span, .. } = k.op(id);
    let [acc, a, b] = [operands[0], operands[1], operands[2]];
    let [m, n] = *k.ty(acc).shape() else { return None };
    let terms = *k.ty(a).shape().get(1)?;
    let split = *layouts.splits.get(&id)?;
    let MmaSplit { m: wm, n: wn, k: wk } = split;
    let warps = [1 << wm, 1 << wn, 1 << wk];
    let pack = pack_of(k.ty(a).dtype()?);
    let (instruction, steps) = if layouts.warpgroups.contains(&id) {
        let depth = 8 << pack;
        (format!("wgmma.m64n{n}k{depth}"), terms.div_ceil(depth))
    } else {
        let depth = 8 << pack;
        let steps = (m / warps[0]).div_ceil(16) * (n / warps[1]).div_ceil(8) * (terms / warps[2]).div_ceil(depth);
        let scaled = if k.op(id).kind == OpKind::MmaScaled { " with block scales" } else { "" };
        (format!("mma.m16n8k{depth}{scaled}"), steps)
    };
    let from = |v: ValueId| match k.ty(v) {
        Type::Smem(d, _) if layouts.fragments.contains(&v) => format!("{d} fragments in shared memory"),
        Type::Smem(d, _) => format!("{d} in shared memory"),
        Type::Tile(d, _) if layouts.kept.contains_key(&v) => format!("{d} kept in shared memory"),
        other => format!("{} in registers", other.dtype().map_or("?", |d| d.name())),
    };
    let elements = [
        Layout::operand_a(m, terms, split, pack).registers(),
        Layout::operand_b(terms, n, split, pack).registers(),
        Layout::accumulator(m, n, split).registers(),
    ];
    Some(Product {
        place: place(k, *span),
        shape: [m, n, terms],
        warps,
        instruction,
        steps,
        a: from(a),
        b: from(b),
        elements,
    })
}
