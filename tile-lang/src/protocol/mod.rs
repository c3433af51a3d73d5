//! How the roles of a persistent kernel hand data to each other: every arrival, announced byte, parity, fence and meeting.
//!
//! It is derived once, by the compiler, and read by three: the emitter writes it as instructions, the checked simulator
//! runs it under adversarial interleavings, and the static checkers prove it. What one of them sees the others see.
//!
//! CTAs of a cluster walk the ring of tiles in step: each fills the slots with the same kinds of parts in the same order, so that a slot's number
//! and phase mean the same in all of them, and a part that all of them need is copied once, a share by each. A slot is free when the warps of all
//! of them have given it back.
//!
//! A CTA has one producer (a single thread) and [`Protocol::warps`] consumer warps. Each role walks the program's records and
//! runs the body of its role for each of this CTA's items. Where a body holds an op with [`Action`]s, the role carries them out
//! there, in order; [`Frame`] lists those around the bodies. Three rings carry data: staged tiles ([`RingId::Tiles`]), records
//! ([`RingId::Records`]), and single barriers that are rings without data ([`RingId::Ready`], [`RingId::PassEnd`]).
//!
//! Each role has for each ring a **cursor**: slot index and phase bit, zero at first. [`Action::Advance`] moves it to the next slot and turns the
//! phase when the slots start over; nothing else changes it. A wait for [`Parity::Phase`] returns once the barrier has completed more
//! phases of that parity than the cursor has seen, which is what `mbarrier.try_wait.parity` does: it returns when the phase
//! with the given parity is complete, so a wait for [`Parity::Opposite`] falls through in the first round.

use crate::ir::{BlockId, Kernel, OpId, ValueId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// A ring of slots with barriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RingId {
    /// Staged tiles: the producer fills, the consumers read.
    Tiles,
    /// Records of instructions: the producer fetches, both roles read.
    Records,
    /// One barrier for each slot of records: this CTA's dependencies of the record are met. Shares the cursor of `Records`.
    Ready,
    /// One barrier: the consumers' verdict at the end of a pass.
    PassEnd,
}

/// One of a ring's two mbarriers at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Completes when the slot's data has arrived.
    Full,
    /// Completes when all readers are done with the slot.
    Empty,
}

/// A barrier at the slot that an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Barrier {
    /// Its ring.
    pub ring: RingId,
    /// Which of the two.
    pub side: Side,
}

/// The parity that a wait gives, from the cursor's phase bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Parity {
    /// The cursor's phase.
    Phase,
    /// The other one: what the role that goes first waits for, since a fresh barrier counts as just completed.
    Opposite,
}

/// Which slot of the ring an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum At {
    /// The one under the role's cursor.
    Cursor,
    /// The one that this op, earlier in the body, waited for.
    TakenBy(OpId),
    /// The one whose release this op has put off; none, and then the action does nothing, where it has put off none since.
    PutOffBy(OpId),
}

/// Who of the consumers carries an action out. The producer is one thread and always [`Who::One`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Who {
    /// Each warp, by one elected lane after its lanes have met.
    EachWarp,
    /// The role's first thread alone.
    One,
}

/// Turns of the consumers' warpgroups, in a circle: each has a named barrier, at which its warps wait for their turn and the warps of the
/// warpgroup in front of it arrive when they give it. A turn says when something may begin. It is given once for each time that it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Turns {
    /// The number of the first warpgroup's barrier; the others' follow.
    pub first: u8,
    /// Warpgroups.
    pub groups: usize,
}

impl Turns {
    /// Warps of a warpgroup.
    pub const WARPS: usize = 4;
    /// Threads that a turn's barrier counts: those that give it and those that take it.
    pub const THREADS: usize = 2 * 32 * Self::WARPS;

    /// The warpgroup of a consumer warp.
    pub const fn group_of(warp: usize) -> usize {
        warp / Self::WARPS
    }

    /// The barrier at which a warpgroup waits for its turn.
    pub const fn taken_at(self, group: usize) -> u8 {
        self.first + group as u8
    }

    /// The barrier at which a warpgroup gives the turn on: that of the next one.
    pub const fn given_at(self, group: usize) -> u8 {
        self.taken_at((group + 1) % self.groups)
    }
}

/// Which warpgroups do something with a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Group {
    /// Each of them.
    Each,
    /// One alone.
    One(usize),
}

impl Group {
    /// Whether a warpgroup is meant.
    pub fn holds(self, group: usize) -> bool {
        self == Group::Each || self == Group::One(group)
    }
}

/// Which CTAs an action reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reach {
    /// The CTA that carries it out.
    Cta,
    /// Every CTA of its cluster, itself among them, at the same place of their shared memory.
    Cluster,
}

/// A fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fence {
    /// `fence.acq_rel.gpu`: orders a counter's value with the data written before it was raised.
    Gpu,
    /// `fence.proxy.async`: what was written through registers becomes visible to bulk copies, and the other way round. It waits until all that was
    /// written to global memory is visible to the whole device.
    ProxyAsync,
    /// `fence.proxy.async.shared::cta` or `::cluster`: the same of shared memory alone, the CTA's or that of its cluster, to copies and products,
    /// without that wait. One stands before copies overwrite what threads have read, too.
    ProxyShared(Reach),
}

/// A step of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// The op's own computation and memory accesses. An op without a list of actions has this one alone; an op whose
    /// list lacks it (ring ops) does nothing else.
    Own,
    /// Waits for a phase of the barrier at a slot. Everyone of the role.
    Wait {
        /// The barrier.
        barrier: Barrier,
        /// Against the cursor's phase.
        parity: Parity,
    },
    /// One arrival that announces how many bytes copies will bring in this phase.
    Expect {
        /// The barrier.
        barrier: Barrier,
        /// Bytes announced.
        bytes: usize,
    },
    /// Starts an asynchronous copy into the slot under the cursor; its bytes count on the ring's full barrier when they land. For tiles
    /// `part` is the part of the op's [`crate::ir::OpKind::RingFill`], for records it is 0. One that reaches the cluster brings this CTA's
    /// share of the part, as its rank counts them, to the slot of each CTA.
    Copy {
        /// The ring.
        ring: RingId,
        /// Which part of the slot.
        part: usize,
        /// Bytes that land in each CTA that it reaches.
        bytes: usize,
        /// Where they land.
        reach: Reach,
    },
    /// Arrives without data.
    Arrive {
        /// The barrier.
        barrier: Barrier,
        /// At which slot.
        at: At,
        /// Who arrives.
        who: Who,
        /// At whose barrier.
        reach: Reach,
    },
    /// Keeps the slot at `at` for a later release, named by [`At::PutOffBy`] and this op: a product that runs still reads it.
    PutOff {
        /// Which slot.
        at: At,
    },
    /// The next slot becomes the cursor's.
    Advance(RingId),
    /// All consumer threads meet at a named barrier; what they wrote before is seen after it.
    Meet {
        /// `bar.sync`'s number.
        id: u8,
        /// Threads that take part.
        threads: usize,
    },
    /// Waits until the warpgroup's turn has been given.
    TakeTurn {
        /// The turns.
        turns: Turns,
        /// Who waits.
        group: Group,
    },
    /// Gives the turn to the next warpgroup, without waiting.
    GiveTurn {
        /// The turns.
        turns: Turns,
        /// Who gives.
        group: Group,
    },
    /// A fence, by everyone of the role who carries the op out.
    Fence(Fence, Who),
    /// The first thread waits until every counter that the record depends on has reached its target.
    WaitCounters,
    /// The first thread waits for the counter of the program's last instruction.
    WaitLast,
    /// The first thread raises the record's own counter by one.
    Raise,
    /// After [`Action::Own`], which stands for its result: each warpgroup has only started the op's product, or some terms of it, which goes on
    /// reading the op's operands in shared memory, and registers that hold these terms of its first operand, until it is waited for.
    Start {
        /// The terms: all of them are started, in order.
        terms: Range<usize>,
    },
    /// Each warpgroup waits until at most `left` of the products that it started still run.
    WaitProducts {
        /// The most that may still run.
        left: usize,
    },
    /// Each warp writes its part of a tile to where [`KernelProtocol::kept`] says, through registers: products that take it from there
    /// come after a fence of every warp and a meeting.
    Keep {
        /// The tile.
        value: ValueId,
    },
    /// Each warp writes its part of the exchange area.
    ExchangeWrite {
        /// Bytes of the area in use.
        bytes: usize,
    },
    /// Each warp reads what others wrote into the exchange area.
    ExchangeRead {
        /// Bytes of the area in use.
        bytes: usize,
    },
}

/// Actions around the bodies, the same for every kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Producer: fetches one record. It does so for the present record, and ahead for others as far as their slots are free.
    pub fetch: Vec<Action>,
    /// Producer: before it reads a record.
    pub producer_record: Vec<Action>,
    /// Producer: before a body whose copies depend on other instructions.
    pub producer_depends: Vec<Action>,
    /// Producer: after a record.
    pub producer_next: Vec<Action>,
    /// Consumers: before they read a record.
    pub consumer_record: Vec<Action>,
    /// Consumers: before the items, in CTAs that have some; the others skip [`Action::WaitCounters`] alone.
    pub consumer_begin: Vec<Action>,
    /// Consumers: after the items of an instruction whose results bulk copies read later.
    pub consumer_copied_later: Vec<Action>,
    /// Consumers: after the items, in CTAs that have some.
    pub consumer_end: Vec<Action>,
    /// Consumers: after a record.
    pub consumer_next: Vec<Action>,
    /// Consumers: at the end of a pass; the verdict is written before the arrival and read between the meetings.
    pub decide: Vec<Action>,
    /// Producer: at the end of a pass.
    pub learn: Vec<Action>,
}

/// Slots and arrival counts of a ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingShape {
    /// Slots.
    pub slots: usize,
    /// Bytes of a slot.
    pub slot_bytes: usize,
    /// Arrivals that complete a phase of a full barrier, beside its announced bytes.
    pub full_arrivals: usize,
    /// Arrivals that complete a phase of an empty barrier.
    pub empty_arrivals: usize,
}

impl Region {
    /// Name of the region of the verdict at the end of a pass.
    pub const VERDICT: &str = "verdict";
    /// Name of the region of the ring of records.
    pub const RECORDS: &str = "records";
    /// Name of the region of the ring of tiles.
    pub const TILES: &str = "ring slots";
    /// Name of the region of operands that products take from shared memory for a whole loop.
    pub const KEPT: &str = "kept operands";
    /// Name of the region that layouts are changed in.
    pub const EXCHANGE: &str = "exchange area";
}

/// A part of a CTA's shared memory. Regions of other names than [`Region`]'s constants hold barriers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// What lies there.
    pub name: String,
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub bytes: usize,
    /// Alignment that its users need.
    pub align: usize,
}

/// The protocol of one kernel's bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelProtocol {
    /// What ops of the role's bodies do, in order. Reads of shared tiles are no actions: they follow from the ops. The actions of a
    /// loop or condition follow [`Action::Own`], which is all its iterations or the branch taken.
    pub actions: BTreeMap<OpId, Vec<Action>>,
    /// What is done whenever a nested block is entered, before its first op: changes of layout of loop-carried values.
    pub entries: BTreeMap<BlockId, Vec<Action>>,
    /// Tiles that products take out of the area of kept operands, and the bytes of the area that each lies in.
    pub kept: BTreeMap<ValueId, Range<usize>>,
    /// Consumers: before the items of a record, in CTAs that have some.
    pub before_items: Vec<Action>,
    /// Consumers: after the items, in CTAs that have some.
    pub after_items: Vec<Action>,
    /// Whether the producer waits for the record's dependencies before its body.
    pub dependent: bool,
    /// Whether bulk copies of other instructions read what this one writes.
    pub copied_later: bool,
}

/// The protocol of a whole program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Consumer warps of a CTA.
    pub warps: usize,
    /// CTAs of a cluster: neighbours, which take the same slots of the ring of tiles at the same time.
    pub cluster: usize,
    /// The rings.
    pub rings: BTreeMap<RingId, RingShape>,
    /// Around the bodies.
    pub frame: Frame,
    /// The op instances, split into roles, as they are emitted.
    pub kernels: Vec<Kernel>,
    /// Their actions, by index into `kernels`.
    pub bodies: Vec<KernelProtocol>,
    /// The map of shared memory.
    pub regions: Vec<Region>,
    /// Shared memory that a CTA has.
    pub shared_limit: usize,
    /// Registers of a producer and of a consumer thread after `setmaxnreg`, and threads of a CTA.
    pub registers: Registers,
}

/// The register budget of a CTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Of a producer thread; all threads of its warpgroup count.
    pub producer: usize,
    /// Of a consumer thread.
    pub consumer: usize,
    /// Threads of the producer's warpgroup.
    pub producer_threads: usize,
    /// Threads of the consumers.
    pub consumer_threads: usize,
    /// Registers of an SM.
    pub file: usize,
}

impl Registers {
    /// Threads of a CTA.
    pub const fn threads(&self) -> usize {
        self.producer_threads + self.consumer_threads
    }
}
