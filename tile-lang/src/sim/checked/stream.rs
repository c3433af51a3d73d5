//! What a role of a CTA does, event by event: the walk over passes, records and items, the actions around the bodies, and
//! the bodies themselves.
//!
//! The consumer warps share one stream. Whoever comes first to its end computes the next events; the others replay them, each
//! at its own pace.

use super::agent::Agent;
use super::clock::Sight;
use super::trap::Trap;
use super::world::World;
use crate::interp::{Point, Staged, Step, Touch, Walk};
use crate::ir::{BlockId, OpId, OpKind, Role, ValueId};
use crate::protocol::{Action, RingId};
use std::collections::VecDeque;
use std::ops::Range;

/// Where in the program something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub pass: u32,
    /// Index into the plan's program.
    pub record: u32,
    pub item: u32,
    pub part: Part,
}

/// Which part of a record's walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Fetching the record.
    Fetch,
    /// Before the items.
    Begin,
    /// An op of the body.
    Op(OpId),
    /// The start of a nested block of the body.
    Entry(BlockId),
    /// After the items.
    End,
    /// The end of a pass.
    PassEnd,
}

/// One thing that an agent does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed<'a> {
    /// An action of the protocol.
    Act(&'a Action),
    /// The op at hand itself.
    Own,
    /// The record in the slot is read.
    ReadRecord,
    /// The verdict is written, or read.
    WriteVerdict,
    ReadVerdict,
    /// The pass is over; the host looks.
    Boundary,
}

/// A team access that not all warps have done yet.
#[derive(Debug)]
pub(super) struct Shared {
    pub touch: Option<Touch>,
    /// Parts of slots that the op reads.
    pub slots: Vec<SlotView>,
    /// Bytes of other areas of shared memory, and what is done there.
    pub areas: Vec<(Range<usize>, Use)>,
    /// What all that have come so far know.
    pub sight: Option<Sight>,
}

/// What a team does in an area of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Writes the exchange area.
    ExchangeWrite,
    /// Reads the exchange area.
    ExchangeRead,
    /// Writes a tile to the area of kept operands.
    Keep(ValueId),
    /// Starts a product that reads a kept tile.
    StartProduct(ValueId),
    /// Has waited for a product that read a kept tile.
    EndProduct(ValueId),
}

/// A part of a slot that a consumer op reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotView {
    /// Which taking.
    pub turn: u64,
    /// Bytes within the slot.
    pub bytes: (usize, usize),
}

/// An event of a stream.
#[derive(Debug)]
pub(super) struct Event<'a> {
    pub place: Place,
    pub deed: Deed<'a>,
    /// Agents that are past it.
    pub passed: usize,
    /// What the first one found out, where it is checked once all have passed.
    pub shared: Option<Box<Shared>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a record.
    Head,
    /// The record is known.
    Known,
    /// In the items; `true` while one is under way.
    Items(bool),
    /// After the pass's last record.
    Decided,
    /// After the boundary.
    Over,
}

/// The events of one role of one CTA.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    pub role: Role,
    pub cta: usize,
    pub walk: Walk<'a>,
    pub events: VecDeque<Event<'a>>,
    /// Number of the first event that is kept.
    pub first: u64,
    state: State,
    pub pass: u32,
    /// Next record, counted from the range's start.
    next: usize,
    /// Producer: records of this pass that are fetched.
    fetched: usize,
    /// The record at hand, as read from its slot.
    pub record: usize,
    item: usize,
    /// What the verdict said.
    pub again: bool,
    /// Whether the stream has ended.
    pub ended: bool,
    /// Where each taken slot's parts lie: by number of origin.
    origins: Vec<SlotView>,
    origin_base: u64,
}

impl<'a> Stream<'a> {
    pub fn new(role: Role, cta: usize) -> Self {
        Stream {
            role,
            cta,
            walk: Walk::new(),
            events: VecDeque::new(),
            first: 0,
            state: State::Head,
            pass: 0,
            next: 0,
            fetched: 0,
            record: 0,
            item: 0,
            again: false,
            ended: false,
            origins: Vec::new(),
            origin_base: 0,
        }
    }

    /// Number of the next event that will be made.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    pub fn place(&self, part: Part) -> Place {
        Place { pass: self.pass, record: self.record as u32, item: self.item as u32, part }
    }

    fn push(&mut self, part: Part, deed: Deed<'a>) {
        let place = self.place(part);
        self.events.push_back(Event { place, deed, passed: 0, shared: None });
    }

    fn act(&mut self, part: Part, actions: impl IntoIterator<Item = &'a Action>) {
        actions.into_iter().for_each(|a| self.push(part, Deed::Act(a)));
    }

    /// Makes more events, unless the stream has ended. `agent` is the first that needs them.
    pub fn more(&mut self, world: &World<'a>, agent: &Agent, free: &dyn Fn(&Agent) -> bool) -> Result<(), Box<Trap>> {
        while self.events.is_empty() || self.end() == agent.at {
            if self.ended {
                return Ok(());
            }
            let frame = &world.protocol.frame;
            match self.state {
                State::Head if self.next == world.range.len() => {
                    self.pass_end(world);
                    self.state = State::Decided;
                }
                State::Head => {
                    self.record = world.range.start + self.next;
                    self.item = 0;
                    if self.role == Role::Producer {
                        if !self.fetch(world, agent, free) {
                            continue;
                        }
                        self.act(Part::Begin, &frame.producer_record);
                    } else {
                        self.act(Part::Begin, &frame.consumer_record);
                    }
                    self.push(Part::Begin, Deed::ReadRecord);
                    self.state = State::Known;
                }
                State::Known => self.begin(world),
                State::Items(false) => self.next_item(world),
                State::Items(true) => {
                    if !self.body(world)? {
                        self.state = State::Items(false);
                        self.item += world.ctas;
                    }
                }
                State::Decided => {
                    self.push(Part::PassEnd, Deed::Boundary);
                    self.state = State::Over;
                }
                State::Over => {
                    if self.again {
                        self.pass += 1;
                        (self.next, self.fetched) = (0, 0);
                        self.state = State::Head;
                    } else {
                        self.ended = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// Producer: fetches the present record, then others as far as their slots are free. Whether nothing is to be fetched
    /// now.
    fn fetch(&mut self, world: &World<'a>, agent: &Agent, free: &dyn Fn(&Agent) -> bool) -> bool {
        let limit = (self.next + world.slots(RingId::Records)).min(world.range.len());
        if self.fetched >= limit || (self.fetched > self.next && !free(agent)) {
            return true;
        }
        let present = self.record;
        self.record = world.range.start + self.fetched;
        self.act(Part::Fetch, &world.protocol.frame.fetch);
        self.record = present;
        self.fetched += 1;
        false
    }

    /// Items of the record at hand.
    fn items(&self, world: &World<'a>) -> usize {
        world.plan.program[self.record].items()
    }

    fn begin(&mut self, world: &World<'a>) {
        let frame = &world.protocol.frame;
        let mine = self.cta < self.items(world);
        if self.role == Role::Producer {
            if mine && world.body(self.record).dependent {
                self.act(Part::Begin, &frame.producer_depends);
            }
        } else {
            let skipped = |a: &&Action| mine || !matches!(a, Action::WaitCounters);
            self.act(Part::Begin, frame.consumer_begin.iter().filter(skipped));
            if mine {
                self.act(Part::Begin, &world.body(self.record).before_items);
            }
        }
        self.item = self.cta;
        self.state = State::Items(false);
    }

    fn next_item(&mut self, world: &World<'a>) {
        let frame = &world.protocol.frame;
        if self.item < self.items(world) {
            let extents = &world.plan.program[self.record].extents;
            let mut rest = self.item;
            let mut item = vec![0; extents.len()];
            for (i, extent) in item.iter_mut().zip(extents).rev() {
                *i = rest % extent;
                rest /= extent;
            }
            self.origin_base += self.origins.len() as u64;
            self.origins.clear();
            if let Some((prepared, bound)) = world.job(self.record, self.role) {
                self.walk.begin(prepared, bound.clone(), item);
                self.state = State::Items(true);
            } else {
                self.item += world.ctas;
            }
            return;
        }
        if self.role == Role::Producer {
            self.act(Part::End, &frame.producer_next);
        } else {
            if self.cta < self.items(world) {
                self.act(Part::End, &world.body(self.record).after_items);
                if world.body(self.record).copied_later {
                    self.act(Part::End, &frame.consumer_copied_later);
                }
                self.act(Part::End, &frame.consumer_end);
            }
            self.act(Part::End, &frame.consumer_next);
        }
        self.next += 1;
        self.state = State::Head;
    }

    fn pass_end(&mut self, world: &World<'a>) {
        let frame = &world.protocol.frame;
        self.item = 0;
        if self.role == Role::Producer {
            self.act(Part::PassEnd, &frame.learn);
            self.push(Part::PassEnd, Deed::ReadVerdict);
            return;
        }
        let (mut written, mut read) = (false, false);
        for action in &frame.decide {
            if !written && matches!(action, Action::Arrive { .. }) {
                self.push(Part::PassEnd, Deed::WriteVerdict);
                written = true;
            }
            self.push(Part::PassEnd, Deed::Act(action));
            if written && !read && matches!(action, Action::Meet { .. }) {
                self.push(Part::PassEnd, Deed::ReadVerdict);
                read = true;
            }
        }
        if !written {
            self.push(Part::PassEnd, Deed::WriteVerdict);
        }
        if !read {
            self.push(Part::PassEnd, Deed::ReadVerdict);
        }
    }

    /// Runs the body up to the next event; whether there is one.
    fn body(&mut self, world: &World<'a>) -> Result<bool, Box<Trap>> {
        let protocol = world.body(self.record);
        loop {
            match self.walk.point() {
                Point::End => return Ok(false),
                Point::Enter(block) => {
                    if let Some(actions) = protocol.entries.get(&block).filter(|a| !a.is_empty()) {
                        self.act(Part::Entry(block), actions);
                        self.push(Part::Entry(block), Deed::Own);
                        return Ok(true);
                    }
                }
                Point::Op(step) => {
                    let part = Part::Op(step.id);
                    let actions = protocol.actions.get(&step.id);
                    let before = actions.map_or(&[][..], |a| before_own(a));
                    self.act(part, before);
                    let after = actions.filter(|_| step.blocks.is_empty()).map_or(&[][..], |a| after_own(a));
                    if !before.is_empty() || !after.is_empty() || visible(world, self.record, step) {
                        self.push(part, Deed::Own);
                        self.act(part, after);
                        return Ok(true);
                    }
                }
                Point::Leave(step) => {
                    let part = Part::Op(step.id);
                    let after = protocol.actions.get(&step.id).map_or(&[][..], |a| after_own(a));
                    if !after.is_empty() {
                        self.push(part, Deed::Own);
                        self.act(part, after);
                        return Ok(true);
                    }
                }
            }
            let place = self.place(Part::Begin);
            self.walk.proceed().map_err(|e| world.item_fault(e, self.role, self.cta, place))?;
        }
    }

    /// The op at hand, when its own work is due.
    pub fn step(&self) -> Option<&'a Step> {
        match self.walk.point() {
            Point::Op(step) => Some(step),
            _ => None,
        }
    }

    /// Binds a staged tile to a result of the ring wait at hand.
    pub fn bind(&mut self, step: &Step, result: usize, tile: Staged, view: SlotView) {
        let origin = self.origin_base + self.origins.len() as u64;
        self.origins.push(view);
        self.walk.put(step, result, tile, origin);
    }

    /// Which part of a slot an operand of the op at hand is.
    pub fn view(&self, step: &Step, operand: usize) -> Option<SlotView> {
        let origin = self.walk.origin(step, operand)?;
        self.origins.get(usize::try_from(origin.checked_sub(self.origin_base)?).ok()?).copied()
    }

    /// Events from the `n`-th on are still needed: forgets those before.
    pub fn forget(&mut self, readers: usize) {
        while self.events.front().is_some_and(|e| e.passed == readers) {
            self.events.pop_front();
            self.first += 1;
        }
    }
}

fn own_at(actions: &[Action]) -> usize {
    actions.iter().position(|a| *a == Action::Own).unwrap_or(actions.len())
}

/// Actions before the op's own work; all of them where the list lacks it.
fn before_own(actions: &[Action]) -> &[Action] {
    &actions[..own_at(actions)]
}

fn after_own(actions: &[Action]) -> &[Action] {
    actions.get(own_at(actions) + 1..).unwrap_or(&[])
}

/// Whether an op does something that others can see, or sees what others do.
fn visible(world: &World<'_>, record: usize, step: &Step) -> bool {
    let kernel = &world.protocol.kernels[world.plan.program[record].kernel];
    let ring = matches!(step.kind, OpKind::RingFill(_) | OpKind::RingWait(_) | OpKind::RingRelease);
    ring || step.touches_global() || reads_shared(kernel, step)
}

/// Whether an op reads the elements of a tile in shared memory, rather than naming a part of it.
pub(super) fn reads_shared(kernel: &crate::ir::Kernel, step: &Step) -> bool {
    use crate::ir::Type;
    let data = kernel.op(step.id);
    let names = matches!(step.kind, OpKind::RingRelease | OpKind::Yield | OpKind::For { .. })
        || data.results.iter().any(|r| matches!(kernel.ty(*r), Type::Smem(..)));
    !names && data.operands.iter().any(|v| matches!(kernel.ty(*v), Type::Smem(..)))
}
