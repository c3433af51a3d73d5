//! The map of shared memory: what lies where, and that nothing lies on anything else.

use super::Findings;
use std::ops::Range;
use tile_lang::dtype::DType;
use tile_lang::ir::{Kernel, OpId, OpKind, RingPart, ValueId};
use tile_lang::protocol::{Action, KernelProtocol, Protocol, Region, RingId, RingShape};

/// Bytes of an mbarrier, which are its alignment too.
const BARRIER: usize = 8;
/// Alignment of both ends and of the length of a bulk copy.
const COPY: usize = 16;
/// Where a swizzled tile may begin.
const ATOM: usize = 1024;

/// Checks the map; returns the number of regions.
pub fn check(p: &Protocol, out: &mut Findings) -> usize {
    let before = out.errors.len();
    regions(p, out);
    users(p, out);
    if out.errors.len() > before {
        let table = table(&p.regions, p.shared_limit);
        out.errors[before..].iter_mut().for_each(|e| e.notes.extend(table.iter().cloned()));
    }
    for (kernel, body) in p.kernels.iter().zip(&p.bodies) {
        let mut fills: Vec<(OpId, Vec<RingPart>)> = Vec::new();
        kernel.walk(|id, op| {
            if let OpKind::RingFill(parts) | OpKind::RingWait(parts) = &op.kind {
                fills.push((id, parts.clone()));
            }
        });
        let slot = p.rings.get(&RingId::Tiles).map_or(0, |r| r.slot_bytes);
        for (id, list) in fills {
            for (message, code) in parts(&list, slot) {
                out.at(kernel, id, code, message, vec!["stage a smaller tile, or fewer in one transaction".into()]);
            }
        }
        let room = region(p, "exchange area").map_or(0, |r| r.bytes);
        kept(p, kernel, body, out);
        let nested = body.entries.values().map(|list| (None, list));
        for (id, list) in body.actions.iter().map(|(id, list)| (Some(*id), list)).chain(nested) {
            for action in list {
                let (Action::ExchangeWrite { bytes } | Action::ExchangeRead { bytes }) = action else { continue };
                if *bytes > room {
                    let message = format!("a change of layout needs {bytes} bytes, the exchange area has {room}");
                    match id {
                        Some(id) => out.at(kernel, id, "E21", message, table(&p.regions, p.shared_limit)),
                        None => out.error("E21", message, table(&p.regions, p.shared_limit)),
                    }
                }
            }
        }
    }
    p.regions.len()
}

/// Operands that a kernel keeps lie in their area, aligned and apart, and no two of one kernel share bytes.
fn kept(p: &Protocol, kernel: &Kernel, body: &KernelProtocol, out: &mut Findings) {
    let room = region(p, Region::KEPT).map_or(0, |r| r.bytes);
    let definitions = kernel.definitions();
    let mut before: Vec<(ValueId, &Range<usize>)> = Vec::new();
    for (v, bytes) in &body.kept {
        let mut wrong = Vec::new();
        if bytes.end > room || !bytes.start.is_multiple_of(ATOM) {
            let text = format!(
                "an operand is kept in bytes {bytes:?}; the area of kept operands has {room}, and each begins at a multiple of {ATOM}"
            );
            wrong.push(("E21", text));
        }
        let size = kernel.ty(*v).shape().iter().product::<usize>() * kernel.ty(*v).dtype().map_or(0, DType::bits) / 8;
        if bytes.len() != size {
            wrong.push(("E21", format!("an operand of {size} bytes is kept in bytes {bytes:?}")));
        }
        for (_, other) in before.iter().filter(|(_, o)| o.start < bytes.end && bytes.start < o.end) {
            wrong.push(("E27", format!("two operands are kept in bytes {other:?} and {bytes:?}")));
        }
        for (code, message) in wrong {
            match definitions[v.index()] {
                Some(id) => out.at(kernel, id, code, message, table(&p.regions, p.shared_limit)),
                None => out.error(code, message, table(&p.regions, p.shared_limit)),
            }
        }
        before.push((*v, bytes));
    }
}

/// One line for each region, in order of address.
fn table(regions: &[Region], limit: usize) -> Vec<String> {
    let mut list: Vec<&Region> = regions.iter().collect();
    list.sort_by_key(|r| (r.offset, r.bytes));
    let line = |r: &&Region| {
        format!("{:>6}..{:<6} {:>6} bytes, aligned to {:<3} {}", r.offset, r.offset + r.bytes, r.bytes, r.align, r.name)
    };
    list.iter().map(line).chain([format!("a CTA has {limit} bytes")]).collect()
}

fn region<'a>(p: &'a Protocol, name: &str) -> Option<&'a Region> {
    p.regions.iter().find(|r| r.name == name)
}

/// Regions are inside, aligned and apart.
fn regions(p: &Protocol, out: &mut Findings) {
    for (i, a) in p.regions.iter().enumerate() {
        if a.offset.checked_add(a.bytes).is_none_or(|end| end > p.shared_limit) {
            let end = a.offset.saturating_add(a.bytes);
            let message = format!("`{}` ends at byte {end} of shared memory, a CTA has {}", a.name, p.shared_limit);
            out.error("E21", message, Vec::new());
        }
        if !a.align.is_power_of_two() || !a.offset.is_multiple_of(a.align) {
            let message = format!("`{}` begins at byte {}, which is no multiple of {}", a.name, a.offset, a.align);
            out.error("E21", message, Vec::new());
        }
        for b in &p.regions[..i] {
            let (from, to) = (a.offset.max(b.offset), (a.offset + a.bytes).min(b.offset + b.bytes));
            if from < to {
                let message = format!("`{}` and `{}` share bytes {from}..{to} of shared memory", b.name, a.name);
                out.error("E27", message, Vec::new());
            }
        }
    }
}

/// Every user of shared memory has a region that is large enough and aligned as its instructions need.
fn users(p: &Protocol, out: &mut Findings) {
    let none = RingShape { slots: 0, slot_bytes: 0, full_arrivals: 0, empty_arrivals: 0 };
    let ring = |id| p.rings.get(&id).unwrap_or(&none);
    let (tiles, records) = (ring(RingId::Tiles), ring(RingId::Records));
    let (ready, end) = (ring(RingId::Ready), ring(RingId::PassEnd));
    let needs = [
        ("full barriers of the tile ring", BARRIER * tiles.slots, BARRIER),
        ("empty barriers of the tile ring", BARRIER * tiles.slots, BARRIER),
        ("full barriers of the record ring", BARRIER * records.slots, BARRIER),
        ("empty barriers of the record ring", BARRIER * records.slots, BARRIER),
        ("ready barriers", BARRIER * ready.slots, BARRIER),
        ("pass-end barrier", BARRIER * end.slots, BARRIER),
        ("verdict", 4, 4),
        ("records", records.slots * records.slot_bytes, COPY),
        ("ring slots", tiles.slots * tiles.slot_bytes, COPY),
        ("kept operands", 0, ATOM),
        ("exchange area", 0, COPY),
    ];
    for (name, bytes, align) in needs {
        match region(p, name) {
            None => out.error("E21", format!("shared memory has no `{name}`"), Vec::new()),
            Some(r) if r.bytes < bytes => {
                out.error("E21", format!("`{name}` has {} bytes, its users need {bytes}", r.bytes), Vec::new());
            }
            Some(r) if !r.offset.is_multiple_of(align) => {
                let message = format!("`{name}` begins at byte {}, its users need a multiple of {align}", r.offset);
                out.error("E21", message, Vec::new());
            }
            Some(_) => {}
        }
    }
    for (name, shape) in [("tiles", tiles), ("records", records)] {
        if !shape.slot_bytes.is_multiple_of(COPY) {
            let message =
                format!("a slot of {name} has {} bytes; bulk copies need multiples of {COPY}", shape.slot_bytes);
            out.error("E21", message, Vec::new());
        }
    }
}

/// What is wrong with the parts of a slot.
fn parts(list: &[RingPart], slot: usize) -> Vec<(String, &'static str)> {
    let mut wrong = Vec::new();
    let size = |p: &RingPart| p.shape.iter().product::<usize>() * p.dtype.bits() / 8;
    for (i, a) in list.iter().enumerate() {
        let (bytes, end) = (size(a), a.offset + size(a));
        if end > slot {
            wrong.push((format!("part {i} ends at byte {end} of its slot, which has {slot}"), "E21"));
        }
        if !a.offset.is_multiple_of(COPY) || bytes == 0 || !bytes.is_multiple_of(COPY) {
            let text = format!("part {i} is {bytes} bytes at byte {}; bulk copies need multiples of {COPY}", a.offset);
            wrong.push((text, "E21"));
        }
        for (j, b) in list[..i].iter().enumerate() {
            let (from, to) = (a.offset.max(b.offset), end.min(b.offset + size(b)));
            if from < to {
                wrong.push((format!("parts {j} and {i} share bytes {from}..{to} of their slot"), "E27"));
            }
        }
    }
    wrong
}
