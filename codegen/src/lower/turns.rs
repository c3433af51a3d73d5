//! Turns of warpgroups: one waits for its turn before the first product of a run, and gives it on when the last one is started. While its products
//! run and it computes, the next warpgroup's products queue up behind them, so that the tensor cores have work all the time.
//!
//! A **run** are products of one block, all named by the schedule, with nothing between them but what takes slots, gives them back, names parts of
//! tiles or computes single numbers. A turn is taken and given in one block, and all warpgroups go the same way through a kernel's loops and conditions,
//! since these depend on single numbers, of which all threads have the same: each takes its turn as often as the others.

use super::actions;
use super::body::Body;
use crate::CodegenError;
use crate::protocol;
use crate::schedule::meeting_in_turn;
use tile_lang::ir::{OpId, OpKind, Type};
use tile_lang::protocol::{Action, Group};

/// A turn that a warpgroup has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// The product that it was taken for.
    first: OpId,
    /// Whether all warps have met since.
    met: bool,
}

impl Body<'_> {
    /// Before a product: waits for the warpgroup's turn if products of its run are started in turns and it hasn't got it. What was computed
    /// before doesn't slip behind it, where the next warpgroup would wait for it.
    pub fn take_turn(&mut self, product: OpId) {
        if self.turn.is_some() || !self.layouts.turns.contains(&product) {
            return;
        }
        self.after_computed();
        let (turns, group) = (protocol::turns(self.warps), Group::Each);
        actions::take_turn(self.e, turns, group, &self.thread);
        self.notes.note(Action::TakeTurn { turns, group });
        self.turn = Some(Turn { first: product, met: false });
    }

    /// After the start of a product: gives the turn on if it was the last of its run.
    ///
    /// # Errors
    /// `E30` if warps have met since the turn was taken.
    pub fn give_turn(&mut self, product: OpId) -> Result<(), CodegenError> {
        let Some(turn) = self.turn.filter(|_| !self.run_goes_on(product)) else { return Ok(()) };
        if turn.met {
            return Err(meeting_in_turn(self.k, turn.first));
        }
        let (turns, group) = (protocol::turns(self.warps), Group::Each);
        actions::give_turn(self.e, turns, group, &self.thread);
        self.notes.note(Action::GiveTurn { turns, group });
        self.turn = None;
        Ok(())
    }

    /// All warps meet: while a warpgroup has its turn, those that wait for theirs would never come.
    pub fn meets_in_turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.met = true;
        }
    }

    /// Whether another product of its run follows a product.
    fn run_goes_on(&self, product: OpId) -> bool {
        let block = self.k.blocks.iter().find(|b| b.ops.contains(&product));
        let after = block.into_iter().flat_map(|b| b.ops.iter().skip_while(|id| **id != product).skip(1));
        let next = after.into_iter().find(|id| !self.is_within_run(**id));
        next.is_some_and(|id| self.layouts.turns.contains(id))
    }

    /// Whether an op may stand between the products of a run.
    fn is_within_run(&self, id: OpId) -> bool {
        let op = self.k.op(id);
        let tiles = op.results.iter().any(|v| matches!(self.k.ty(*v), Type::Tile(..)));
        match op.kind {
            OpKind::RingWait(_) | OpKind::RingRelease => true,
            OpKind::Slice(_) | OpKind::Transpose | OpKind::Splat => true,
            _ => op.blocks.is_empty() && !op.kind.has_effect() && !tiles && !op.results.is_empty(),
        }
    }
}
