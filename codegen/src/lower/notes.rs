//! Notes what ops turn out to do beside their own work: meetings and the exchange area.

use std::ops::Range;
use tile_lang::ir::{BlockId, OpId, ValueId};
use tile_lang::protocol::{Action, KernelProtocol};

/// Where the actions that follow belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// Around the bodies.
    Outside,
    /// To an op.
    Op(OpId),
    /// To the entry of a nested block.
    Entry(BlockId),
}

/// The notes of one body.
pub(super) struct Notes<'a> {
    to: &'a mut KernelProtocol,
    here: Here,
}

impl<'a> Notes<'a> {
    pub fn new(to: &'a mut KernelProtocol) -> Self {
        Notes { to, here: Here::Outside }
    }

    /// What follows belongs there. Returns where it belonged before.
    pub fn at(&mut self, here: Here) -> Here {
        std::mem::replace(&mut self.here, here)
    }

    /// The op at hand has done its own work, unless that was noted before.
    pub fn own(&mut self) {
        if let Here::Op(op) = self.here {
            let list = self.to.actions.entry(op).or_default();
            if !list.contains(&Action::Own) {
                list.push(Action::Own);
            }
        }
    }

    /// The op at hand is emitted: what was noted before its own work is followed by that.
    pub fn end(&mut self, outer: Here) {
        if let Here::Op(op) = self.here
            && self.to.actions.contains_key(&op)
        {
            self.own();
        }
        self.here = outer;
    }

    /// What an op does, instead of what was derived for it.
    pub fn replace(&mut self, op: OpId, actions: Vec<Action>) {
        self.to.actions.insert(op, actions);
    }

    /// A tile is written to these bytes of the area of kept operands, where products find it.
    pub fn keep(&mut self, value: ValueId, bytes: Range<usize>) {
        self.to.kept.insert(value, bytes);
        self.note(Action::Keep { value });
    }

    /// An action at this place.
    pub fn note(&mut self, action: Action) {
        match self.here {
            Here::Op(op) => self.to.actions.entry(op).or_default().push(action),
            Here::Entry(block) => self.to.entries.entry(block).or_default().push(action),
            Here::Outside => {}
        }
    }
}
