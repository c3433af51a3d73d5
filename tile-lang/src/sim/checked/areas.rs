//! What teams do in areas of shared memory that are no rings: the exchange area, and that of kept operands.
//!
//! Warps write kept operands through registers and products read them through another proxy. So a product needs more than a
//! meeting after the write: a proxy fence on the way. From its start until it is waited for, what it reads must not be written.

use super::access::{outside, race, unwritten};
use super::clock::Sight;
use super::machine::Machine;
use super::shadow::{Access, Was};
use super::stream::{Place, Use};
use super::trap::Trap;
use super::world::Area;
use crate::ir::ValueId;
use std::ops::Range;

/// How accesses to an area are told.
struct Words {
    area: Area,
    /// What the access at hand does.
    does: &'static str,
    /// What one before it did that wrote, and one that read.
    wrote: &'static str,
    read: &'static str,
}

const EXCHANGE: Words =
    Words { area: Area::Exchange, does: "write the exchange area", wrote: "write it", read: "read it" };
const KEPT: Words = Words {
    area: Area::Kept,
    does: "keep an operand",
    wrote: "keep one there",
    read: "run a product that reads what lies there",
};

impl Machine<'_> {
    /// A warp writes its part of a tile to the area of kept operands.
    pub fn keep(&mut self, a: usize, index: usize, place: Place, value: ValueId) -> Result<(), Box<Trap>> {
        let Some(bytes) = self.kept(place, value) else {
            return Err(self.misplaced(a, place, "an operand that is kept nowhere"));
        };
        self.still_reads_kept(a, &bytes, place)?;
        self.areas(a, index, place, vec![(bytes, Use::Keep(value))])
    }

    /// Where a tile of a record's kernel is kept, if it is.
    pub fn kept(&self, place: Place, value: ValueId) -> Option<Range<usize>> {
        self.world.body(place.record as usize).kept.get(&value).cloned()
    }

    /// A team's access to an area, when the last warp has come to it.
    pub fn check_area(
        &mut self,
        cta: usize,
        bytes: Range<usize>,
        how: Use,
        access: Access,
        sight: &Sight,
    ) -> Result<(), Box<Trap>> {
        match how {
            Use::ExchangeWrite => self.write_area(cta, bytes, access, sight, &EXCHANGE),
            Use::ExchangeRead => self.read_exchange(cta, bytes, access, sight),
            Use::Keep(value) => self.write_area(cta, bytes, of_tile(access, value), sight, &KEPT),
            Use::StartProduct(value) => self.read_kept(cta, bytes, of_tile(access, value), sight),
            // Only now it has read all; what it found there was looked at when it was started.
            Use::EndProduct(_) => {
                let (world, shadow) = (&self.world, &mut self.ctas[cta].shared);
                let at = world.shared(Area::Kept, bytes).map_err(|m| outside(world, access, m))?;
                shadow.read(at, access, |_, _| Ok(()))
            }
        }
    }

    fn write_area(
        &mut self,
        cta: usize,
        bytes: Range<usize>,
        access: Access,
        sight: &Sight,
        words: &Words,
    ) -> Result<(), Box<Trap>> {
        let (world, shadow) = (&self.world, &mut self.ctas[cta].shared);
        let at = world.shared(words.area, bytes.clone()).map_err(|m| outside(world, access, m))?;
        let begin = at.start - bytes.start;
        shadow.write(at, access, |part, before, was| {
            if sight.seen.covers(&world.space, before.by, before.time) {
                return Ok(());
            }
            let verb = if was == Was::Write { words.wrote } else { words.read };
            let sites =
                vec![world.site(access.by, words.does, access.place), world.site(before.by, verb, before.place)];
            Err(race("E81", format!("data race on {}", in_area(&part, begin, words.area)), sites))
        })
    }

    fn read_exchange(
        &mut self,
        cta: usize,
        bytes: Range<usize>,
        access: Access,
        sight: &Sight,
    ) -> Result<(), Box<Trap>> {
        let (world, shadow) = (&self.world, &mut self.ctas[cta].shared);
        let at = world.shared(Area::Exchange, bytes.clone()).map_err(|m| outside(world, access, m))?;
        let begin = at.start - bytes.start;
        shadow.read(at, access, |part, write| {
            let what = in_area(&part, begin, Area::Exchange);
            let Some((write, _)) = write else { return Err(unwritten(world, access, &what)) };
            if sight.seen.covers(&world.space, write.by, write.time) {
                return Ok(());
            }
            let sites = vec![
                world.site(access.by, "read the exchange area", access.place),
                world.site(write.by, "write it", write.place),
            ];
            Err(race("E81", format!("data race on {what}"), sites))
        })
    }

    /// What a product finds where its operand is kept: that operand, of this item, handed on to its proxy.
    fn read_kept(&mut self, cta: usize, bytes: Range<usize>, access: Access, sight: &Sight) -> Result<(), Box<Trap>> {
        let (world, shadow) = (&self.world, &mut self.ctas[cta].shared);
        let at = world.shared(Area::Kept, bytes.clone()).map_err(|m| outside(world, access, m))?;
        let begin = at.start - bytes.start;
        shadow.read(at, access, |part, write| {
            let what = in_area(&part, begin, Area::Kept);
            let Some((write, _)) = write else { return Err(unwritten(world, access, &what)) };
            let sites = || {
                vec![
                    world.site(access.by, "start a product that reads it", access.place),
                    world.site(write.by, "keep an operand", write.place),
                ]
            };
            if !sight.seen.covers(&world.space, write.by, write.time) {
                return Err(race("E81", format!("data race on {what}"), sites()));
            }
            if write.turn != access.turn || !same_item(write.place, access.place) {
                return Err(Trap::new(
                    "E83",
                    format!("{what}: a product reads it, but its operand was not kept there in this work item"),
                    sites(),
                    "keep each operand before the first product that takes it, in bytes of its own",
                ));
            }
            if !sight.shared.covers(&world.space, write.by, write.time) {
                return Err(Trap::new(
                    "E91",
                    format!("a product reads {what}, written through registers, without a proxy fence between"),
                    sites(),
                    "fence the proxies (fence.proxy.async) in every warp, after its writes and before the warps meet",
                ));
            }
            Ok(())
        })
    }
}

/// The access with the number of the tile that it is about.
fn of_tile(access: Access, value: ValueId) -> Access {
    Access { turn: u64::from(value.0), ..access }
}

/// Whether two places are in the same item of the same instruction and pass.
fn same_item(a: Place, b: Place) -> bool {
    (a.pass, a.record, a.item) == (b.pass, b.record, b.item)
}

fn in_area(part: &Range<usize>, begin: usize, area: Area) -> String {
    format!("bytes {:?} of the {}", part.start - begin..part.end - begin, area.name())
}
