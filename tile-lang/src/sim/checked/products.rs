//! Products that run on their own: from their start until they are waited for they read slots of the ring.

use super::machine::Machine;
use super::stream::{Part, Place};
use super::trap::Trap;
use crate::ir::{Kernel, OpId, OpKind, ValueId};
use crate::protocol::RingId;

impl Machine<'_> {
    /// A product begins to read its operands.
    pub fn start_product(&mut self, a: usize, place: Place) {
        let Part::Op(op) = place.part else { return };
        let kernel = &self.world.protocol.kernels[self.world.plan.program[place.record as usize].kernel];
        let definitions = kernel.definitions();
        let agent = &mut self.agents[a];
        let waits = kernel.op(op).operands.iter().filter_map(|v| source(kernel, *v, &definitions));
        let turns = waits.filter_map(|wait| agent.taken.get(&wait).copied()).collect();
        agent.products.push_back((turns, place));
    }

    /// Fails if a slot is given back while a product of this warp may still read it.
    pub fn still_read(&self, a: usize, turn: u64, place: Place) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let Some((_, started)) = agent.products.iter().find(|(turns, _)| turns.contains(&turn)) else { return Ok(()) };
        let slot = turn % self.world.slots(RingId::Tiles) as u64;
        Err(Trap::new(
            "E28",
            format!("slot {slot} of the ring is given back while a product that reads it may still run"),
            vec![
                self.world.site(agent.by(), "releases", place),
                self.world.site(agent.by(), "starts the product", *started),
            ],
            "wait for the product before the slot is released",
        ))
    }
}

/// The wait that gave a staged tile, of which the value is a part or a transpose.
fn source(kernel: &Kernel, v: ValueId, definitions: &[Option<OpId>]) -> Option<OpId> {
    let id = definitions[v.index()]?;
    let op = kernel.op(id);
    match op.kind {
        OpKind::RingWait(_) => Some(id),
        OpKind::Transpose | OpKind::Slice(_) => source(kernel, op.operands[0], definitions),
        _ => None,
    }
}
