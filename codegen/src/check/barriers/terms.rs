//! Whoever starts a product starts all terms of it, once and in order.

use super::{FAULT, Findings};
use std::ops::Range;
use tile_lang::ir::OpKind;
use tile_lang::protocol::{Action, Protocol};

pub(super) fn check(p: &Protocol, out: &mut Findings) {
    for (kernel, body) in p.kernels.iter().zip(&p.bodies) {
        for (id, list) in &body.actions {
            let started = |a: &Action| if let Action::Start { terms } = a { Some(terms.clone()) } else { None };
            let parts: Vec<Range<usize>> = list.iter().filter_map(started).collect();
            let op = kernel.op(*id);
            let all = if op.kind == OpKind::Mma { kernel.ty(op.operands[1]).shape()[1] } else { 0 };
            let ends = std::iter::once(0).chain(parts.iter().map(|t| t.end));
            let in_order = parts.iter().zip(ends).all(|(t, before)| t.start == before && t.end > before);
            if parts.last().is_some_and(|last| !in_order || last.end != all) {
                let message = format!("of the {all} terms of a product {parts:?} are started, one after the other");
                out.at(kernel, *id, "E28", message, vec![FAULT.into()]);
            }
        }
    }
}
