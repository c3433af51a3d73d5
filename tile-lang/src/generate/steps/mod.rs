//! What each kind of step adds to a kernel.

mod access;
mod arithmetic;
mod convert;
mod indexed;
mod products;
mod shape;

use super::Make;
use super::facts::Facts;
use super::grow::{Grower, Held};
use crate::build::Val;

/// Largest magnitude that arithmetic may reach, as a power of two, before values are cut down.
const MAX_MAGNITUDE: i32 = 40;

/// Most elements of a tile: a thread of few warps holds a part of each.
const MAX_ELEMENTS: usize = 4096;

fn held(val: Val, facts: Facts) -> Option<Held> {
    Some(Held { val, facts, plain: false })
}

impl Grower {
    /// Adds the ops of a step; nothing if the values that it needs are not there.
    pub fn op(&mut self, make: Make, pick: [u8; 4]) {
        let done = match make {
            Make::Exact => self.exact_function(pick),
            Make::Approximate => self.approximate(pick),
            Make::Real => self.real(pick),
            Make::Integer => self.integer(pick),
            Make::Narrow => self.narrow(pick),
            Make::Compare => self.comparison(pick),
            Make::Select => self.choice(pick),
            Make::Truth => self.truth(pick),
            Make::Convert => self.convert(pick),
            Make::Bits => self.change_bits(pick),
            Make::Fresh => self.fresh(pick),
            Make::Reshape => self.reshape(pick),
            Make::Part => self.part(pick),
            Make::Join => self.join(pick),
            Make::Reduce => self.reduction(pick),
            Make::Scan => self.scan(pick),
            Make::Load => self.any_load(pick),
            Make::Stage => self.staged(pick),
            Make::Product => self.product(pick),
            Make::OtherProduct => self.other_product(pick),
            Make::Dot => self.dot(pick),
            Make::At => self.element(pick),
            Make::Set => self.set_element(pick),
            Make::StoreMasked => self.store_masked(pick),
            Make::Gather => self.gather(pick),
            Make::Scatter => self.scatter(pick),
            Make::Atomic => self.atomic(pick),
            Make::For | Make::If => None,
        };
        if let Some(held) = done {
            self.keep(held);
        }
    }
}
