//! Products by warpgroups whose first operand is made part by part: each part is made, and its instruction started, while those before it run.
//!
//! Every instruction is a group of its own, so that it is known which of them may still read their registers. Of a sum that still runs when the
//! product begins, as a loop hands it on, the last instruction is waited for once the first one here runs behind it: the registers of later
//! parts are then free to be written, and the tensor cores have work meanwhile. That the registers of an instruction which runs over the end of a
//! loop stay as they are until then is up to ptxas, to which virtual registers are all alike; a test of machine code looks after it.

use super::body::{Body, Held};
use super::emit::Ssa;
use super::flight::Flight;
use super::warpgroup::{Described, Part, Shape};
use crate::CodegenError;
use crate::layout::{Layout, pack_of, warpgroup};
use crate::schedule::MOST_INFLIGHT;
use std::collections::HashMap;
use tile_lang::ir::{OpData, OpId, ValueId};
use tile_lang::protocol::Action;

/// The sum that a product adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// Nothing: the first instruction needn't read the registers.
    Fresh,
    /// Numbers.
    Settled,
    /// What a product that may still run adds to.
    Running,
}

impl Body<'_> {
    /// Starts the instructions of a product with the sums `c`, each when its part of the first operand is made.
    pub fn start_in_parts(
        &mut self,
        id: OpId,
        op: &OpData,
        c: &mut [Ssa],
        shape: &Shape,
        second: &Described,
        sum: Sum,
    ) -> Result<(), CodegenError> {
        let a = op.operands[1];
        let dtype = shape.types[0];
        let (rows, terms) = (self.k.ty(a).shape()[0], self.k.ty(a).shape()[1]);
        let whole = Layout::operand_a(rows, terms, warpgroup::split(self.warps), pack_of(dtype));
        let depth = second.operand.depth();
        let slots = self.slots_of(id);
        // A turn lasts until the last part is started: parts of several warpgroups would only delay each other.
        self.take_turn(id);
        self.notes.own();
        for at in (0..terms).step_by(depth) {
            let Some(part) = whole.part(&[0, at], &[rows, depth]) else {
                return self.broken("a part of a first operand that other threads hold");
            };
            let elements = self.made_in_part(a, &whole, &part, at)?;
            let mut words = self.fragment_a(&elements, &part, dtype, [0, 0]).to_vec();
            self.tied("wgmma.fence.sync.aligned;", c, &mut words, &[], shape.sum);
            let parts = [Part::Words(words.clone()), second.step(at)];
            self.multiply(c, shape, parts, [None, Some(second.operand.turned())], at > 0 || sum != Sum::Fresh);
            self.e.asm("wgmma.commit_group.sync.aligned;", "", &[], None);
            self.notes.note(Action::Start { terms: at..at + depth });
            let value = (at + depth == terms).then_some(op.results[0]);
            self.computed.clear();
            self.flights.push(Flight { value, words, slots: slots.clone(), put_off: Vec::new() });
            self.land(if at == 0 && sum == Sum::Running { 1 } else { MOST_INFLIGHT });
        }
        self.give_turn(id)
    }

    /// The elements of a part of a tile, from column `at`, that is made here of what it is made of.
    fn made_in_part(&mut self, v: ValueId, whole: &Layout, part: &Layout, at: usize) -> Result<Vec<Ssa>, CodegenError> {
        let mut sources = Vec::new();
        self.sources(v, &mut sources);
        let registers: Vec<usize> = (0..part.registers())
            .map(|r| {
                let own = part.register_offset(r);
                whole.register_at(&[own[0], own[1] + at])
            })
            .collect();
        self.tiles.push(HashMap::new());
        for source in sources {
            let held = match self.held(source, whole)? {
                Held::Elements(e) => Held::Elements(registers.iter().map(|r| e[*r].clone()).collect()),
                Held::Nibbles(n) => Held::Nibbles(registers.iter().map(|r| n[*r].clone()).collect()),
            };
            self.remember(source, part.clone(), held);
        }
        let made = self.elements(v, part);
        self.tiles.pop();
        made
    }

    /// What a tile that is made in parts is made of: tiles that are there as a whole.
    fn sources(&self, v: ValueId, out: &mut Vec<ValueId>) {
        match self.definitions[v.index()].filter(|_| self.layouts.in_parts.contains(&v)) {
            Some(id) => self.k.op(id).operands.iter().for_each(|x| self.sources(*x, out)),
            None if out.contains(&v) => {}
            None => out.push(v),
        }
    }
}
