//! Products that run on their own: from their start until they are waited for they read slots of the ring and kept operands.

use super::machine::Machine;
use super::stream::{Part, Place, Use};
use super::trap::Trap;
use crate::ir::{Kernel, OpId, OpKind, Type, ValueId};
use crate::protocol::RingId;
use std::ops::Range;

/// A product that runs.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// The op of which record, and its first term, if the first operand is in registers, which the op writes anew.
    registers: Option<(u32, OpId, usize)>,
    /// Turns of the slots that it reads.
    turns: Vec<u64>,
    /// Kept tiles that it reads, and where they lie.
    kept: Vec<(Range<usize>, ValueId)>,
    /// Where it was started.
    started: Place,
}

impl Machine<'_> {
    /// A product, or what begins with the term `first` of it, begins to read its operands.
    pub fn start_product(&mut self, a: usize, index: usize, place: Place, first: usize) -> Result<(), Box<Trap>> {
        let Part::Op(op) = place.part else { return Ok(()) };
        let kernel = &self.world.protocol.kernels[self.world.plan.program[place.record as usize].kernel];
        let definitions = kernel.definitions();
        let operands = &kernel.op(op).operands;
        let kept: Vec<_> = operands.iter().filter_map(|v| Some((self.kept(place, *v)?, *v))).collect();
        let tile = matches!(kernel.ty(operands[1]), Type::Tile(..));
        let registers = (tile && self.kept(place, operands[1]).is_none()).then_some((place.record, op, first));
        if registers.is_some() {
            self.still_reads_registers(a, registers, place)?;
        }
        let agent = &mut self.agents[a];
        let waits = operands.iter().filter_map(|v| source(kernel, *v, &definitions));
        let turns = waits.filter_map(|wait| agent.taken.get(&wait).copied()).collect();
        let uses = kept.iter().map(|(bytes, v)| (bytes.clone(), Use::StartProduct(*v))).collect();
        agent.products.push_back(Product { registers, turns, kept, started: place });
        self.areas(a, index, place, uses)
    }

    /// All products but the latest `left` are over.
    pub fn end_products(&mut self, a: usize, index: usize, place: Place, left: usize) -> Result<(), Box<Trap>> {
        let running = &mut self.agents[a].products;
        let over = running.drain(..running.len().saturating_sub(left));
        let uses = over.flat_map(|p| p.kept).map(|(bytes, v)| (bytes, Use::EndProduct(v))).collect();
        self.areas(a, index, place, uses)
    }

    /// Fails if a first operand is made in registers that a product of this warp may still read.
    fn still_reads_registers(
        &self,
        a: usize,
        registers: Option<(u32, OpId, usize)>,
        place: Place,
    ) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let Some(product) = agent.products.iter().find(|p| p.registers == registers) else { return Ok(()) };
        Err(Trap::new(
            "E28",
            "registers of a first operand are written while a product that reads them may still run".into(),
            vec![
                self.world.site(agent.by(), "makes the operand", place),
                self.world.site(agent.by(), "starts the product", product.started),
            ],
            "wait for the product before its operand is made anew",
        ))
    }

    /// Fails if a slot is given back while a product of this warp may still read it.
    pub fn still_read(&self, a: usize, turn: u64, place: Place) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let Some(product) = agent.products.iter().find(|p| p.turns.contains(&turn)) else { return Ok(()) };
        let slot = turn % self.world.slots(RingId::Tiles) as u64;
        Err(Trap::new(
            "E28",
            format!("slot {slot} of the ring is given back while a product that reads it may still run"),
            vec![
                self.world.site(agent.by(), "releases", place),
                self.world.site(agent.by(), "starts the product", product.started),
            ],
            "wait for the product before the slot is released",
        ))
    }

    /// Fails if bytes of the area of kept operands are written while a product of this warp may still read them.
    pub fn still_reads_kept(&self, a: usize, bytes: &Range<usize>, place: Place) -> Result<(), Box<Trap>> {
        let agent = &self.agents[a];
        let shares = |r: &Range<usize>| r.start < bytes.end && bytes.start < r.end;
        let Some(product) = agent.products.iter().find(|p| p.kept.iter().any(|(r, _)| shares(r))) else {
            return Ok(());
        };
        Err(Trap::new(
            "E28",
            format!(
                "bytes {bytes:?} of the area of kept operands are written while a product that reads them may still run"
            ),
            vec![
                self.world.site(agent.by(), "keeps an operand", place),
                self.world.site(agent.by(), "starts the product", product.started),
            ],
            "wait for the product before its operand is overwritten",
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
