//! What a run doesn't change: the plan, its protocol, prepared bodies, bound arguments; and how places are named in reports.

use super::clock::{By, Space};
use super::stream::{Part, Place};
use super::trap::{Site, Trap};
use crate::interp::{ArgValue, Bound, InterpError, Options, Prepared};
use crate::ir::{OpKind, Role};
use crate::plan::{Operand, Plan};
use crate::protocol::{Action, KernelProtocol, Protocol, Reach, Region, RingId, RingShape};
use crate::span::Span;
use std::ops::Range;

/// Both roles' bodies of a kernel.
#[derive(Debug)]
pub(super) struct Bodies {
    pub producer: Option<Prepared>,
    pub consumer: Option<Prepared>,
}

/// What a region of shared memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    Tiles,
    Records,
    Kept,
    Exchange,
    Verdict,
}

impl Area {
    /// Where a ring's slots lie.
    pub fn of(ring: RingId) -> Area {
        if ring == RingId::Tiles { Area::Tiles } else { Area::Records }
    }

    pub fn name(self) -> &'static str {
        match self {
            Area::Tiles => "ring of tiles",
            Area::Records => "ring of records",
            Area::Kept => "area of kept operands",
            Area::Exchange => "exchange area",
            Area::Verdict => "verdict",
        }
    }
}

/// Names of the regions that hold data, in the order of [`Area`].
const DATA: [&str; 5] = [Region::TILES, Region::RECORDS, Region::KEPT, Region::EXCHANGE, Region::VERDICT];

/// Arguments bound to both bodies.
type BoundBodies<'a> = [Option<(&'a Prepared, Bound<'a>)>; 2];

/// The context of a run.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub plan: &'a Plan,
    pub protocol: &'a Protocol,
    /// Instructions that a pass runs.
    pub range: Range<usize>,
    pub ctas: usize,
    pub resident: usize,
    pub passes: usize,
    pub space: Space,
    /// Most parts of a ring slot.
    parts: usize,
    /// Addresses in shared memory of what regions hold, by [`Area`].
    regions: [Range<usize>; 5],
    /// By record of the range.
    jobs: Vec<BoundBodies<'a>>,
}

/// Position of a ring in tables.
pub(super) fn ring_index(ring: RingId) -> usize {
    match ring {
        RingId::Tiles => 0,
        RingId::Records => 1,
        RingId::Ready => 2,
        RingId::PassEnd => 3,
    }
}

/// All rings.
pub(super) const RINGS: [RingId; 4] = [RingId::Tiles, RingId::Records, RingId::Ready, RingId::PassEnd];

impl<'a> World<'a> {
    /// Binds the arguments of all records of the range.
    ///
    /// # Errors
    /// Arguments that don't fit the kernels of the protocol.
    pub fn new(
        plan: &'a Plan,
        protocol: &'a Protocol,
        bodies: &'a [Bodies],
        args: &'a [Vec<ArgValue>],
        (range, passes): (Range<usize>, usize),
        (ctas, resident): (usize, usize),
        options: Options,
    ) -> Result<Self, String> {
        let mut jobs = Vec::with_capacity(range.len());
        for record in range.clone() {
            let instr = &plan.program[record];
            let body = &bodies[instr.kernel];
            let bind = |body: &'a Option<Prepared>| {
                let bound = body.as_ref().map(|p| p.bind(&args[record], options).map(|b| (p, b)));
                bound.transpose().map_err(|e| format!("`{}`: {e}", instr.label))
            };
            jobs.push([bind(&body.producer)?, bind(&body.consumer)?]);
        }
        let region = |name: &str| {
            let found = protocol.regions.iter().find(|r| r.name == name).map(|r| r.offset..r.offset + r.bytes);
            found.ok_or_else(|| format!("the protocol's map of shared memory has no region `{name}`"))
        };
        let [a, b, c, d, e] = DATA.map(region);
        let regions = [a?, b?, c?, d?, e?];
        let tiles = protocol.rings.get(&RingId::Tiles).map_or(0, |r| r.slots);
        let records = protocol.rings.get(&RingId::Records).map_or(0, |r| r.slots);
        let parts = parts(protocol);
        let space = Space { ctas, warps: protocol.warps, copies: tiles * parts + records };
        Ok(World { plan, protocol, range, ctas, resident, passes, space, parts, regions, jobs })
    }

    /// The protocol of a record's bodies.
    pub fn body(&self, record: usize) -> &'a KernelProtocol {
        &self.protocol.bodies[self.plan.program[record].kernel]
    }

    /// Whether an access is one of a product by warpgroups, which reads staged tiles as copies write them: past the registers.
    pub fn is_product(&self, place: Place) -> bool {
        let Part::Op(op) = place.part else { return false };
        self.body(place.record as usize)
            .actions
            .get(&op)
            .is_some_and(|list| list.iter().any(|a| matches!(a, Action::Start { .. })))
    }

    /// What a role runs for a record.
    pub fn job(&self, record: usize, role: Role) -> Option<(&'a Prepared, &Bound<'a>)> {
        let [producer, consumer] = self.jobs.get(record.checked_sub(self.range.start)?)?;
        if role == Role::Producer { producer } else { consumer }.as_ref().map(|(p, b)| (*p, b))
    }

    /// The CTAs that an action of a CTA reaches.
    pub fn reached(&self, cta: usize, reach: Reach) -> Range<usize> {
        let size = self.protocol.cluster.max(1);
        match reach {
            Reach::Cta => cta..cta + 1,
            Reach::Cluster => cta / size * size..(cta / size + 1) * size,
        }
    }

    /// A ring's shape.
    pub fn ring(&self, ring: RingId) -> Option<&'a RingShape> {
        self.protocol.rings.get(&ring)
    }

    pub fn slots(&self, ring: RingId) -> usize {
        self.ring(ring).map_or(1, |r| r.slots.max(1))
    }

    /// Addresses of a part of an area of shared memory; a message if it is beyond the area or lies on barriers.
    pub fn shared(&self, area: Area, part: Range<usize>) -> Result<Range<usize>, String> {
        let region = &self.regions[area as usize];
        let (begin, end) = (region.start + part.start, region.start + part.end);
        let size = region.end - region.start;
        if part.end > size {
            return Err(format!("bytes {part:?} of the {}, which has {size}", area.name()));
        }
        let barriers = self.protocol.regions.iter().filter(|r| !DATA.contains(&r.name.as_str()));
        match barriers.into_iter().find(|r| r.offset < end && begin < r.offset + r.bytes) {
            Some(r) => Err(format!("bytes {part:?} of the {} lie on the {}", area.name(), r.name)),
            None => Ok(begin..end),
        }
    }

    /// The component of the place that a copy lands in.
    pub fn copy_component(&self, cta: usize, ring: RingId, slot: usize, part: usize) -> usize {
        let place = match ring {
            RingId::Tiles => slot * self.parts + part.min(self.parts - 1),
            _ => self.slots(RingId::Tiles) * self.parts + slot,
        };
        self.space.copy(cta, place)
    }

    /// What a counter must have reached for an instruction to be over in a pass.
    pub fn target(&self, record: usize, pass: u32) -> u64 {
        self.arrivals(record) * (u64::from(pass) + 1)
    }

    /// CTAs that raise an instruction's counter in each pass.
    pub fn arrivals(&self, record: usize) -> u64 {
        self.plan.program[record].items().min(self.ctas) as u64
    }

    /// The buffer and first element behind a parameter, unless it is a weight.
    pub fn buffer(&self, record: usize, param: usize) -> Option<usize> {
        match self.plan.program[record].operands.get(param) {
            Some(Operand::Buffer { id, .. }) => Some(*id),
            _ => None,
        }
    }

    /// Names an agent.
    pub fn who(&self, by: By) -> String {
        match by {
            By::Team(cta) => format!("the consumers of CTA {cta}"),
            By::Agent(c) => {
                let cta = self.space.cta_of(c as usize);
                match self.space.warp_of(c as usize) {
                    Some(w) => format!("warp {w} of CTA {cta}"),
                    None => format!("the producer of CTA {cta}"),
                }
            }
            By::Copy(c) => format!("a copy into CTA {}", self.space.cta_of(c as usize)),
        }
    }

    /// `layer.0 qkv`, item 3, pass 0.
    pub fn when(&self, place: Place) -> String {
        let label = self.plan.program.get(place.record as usize).map_or("", |i| &i.label);
        let item = matches!(place.part, Part::Op(_) | Part::Entry(_));
        let item = if item { format!(", item {}", place.item) } else { String::new() };
        match place.part {
            Part::PassEnd => format!("at the end of pass {}", place.pass),
            Part::Fetch => format!("fetching the record of `{label}`, pass {}", place.pass),
            Part::Begin => format!("before the items of `{label}`, pass {}", place.pass),
            Part::End => format!("after the items of `{label}`, pass {}", place.pass),
            Part::Op(_) | Part::Entry(_) => format!("in `{label}`{item}, pass {}", place.pass),
        }
    }

    /// The op's spelling, or what part of the frame it is.
    pub fn op_name(&self, place: Place) -> String {
        match (place.part, self.plan.program.get(place.record as usize)) {
            (Part::Op(id), Some(instr)) => match self.protocol.kernels[instr.kernel].op(id).kind {
                OpKind::RingFill(_) => "the staged load".into(),
                OpKind::RingWait(_) => "the wait for staged tiles".into(),
                OpKind::RingRelease => "the release of the slot".into(),
                ref kind => format!("`{}`", kind.mnemonic()),
            },
            (Part::Entry(_), _) => "a loop's entry".into(),
            _ => "the frame".into(),
        }
    }

    /// A place for a report: `who verb … when`.
    pub fn site(&self, by: By, verb: &str, place: Place) -> Site {
        let what = format!("{} {verb} {}", self.who(by), self.when(place));
        let Some(instr) = self.plan.program.get(place.record as usize) else {
            return Site { what, file: String::new(), span: Span::NONE };
        };
        let kernel = &self.protocol.kernels[instr.kernel];
        let span = match place.part {
            Part::Op(id) => kernel.op(id).span,
            _ => Span::NONE,
        };
        if span.is_known() {
            let file = kernel.files.get(span.file as usize).cloned().unwrap_or_default();
            return Site { what, file, span };
        }
        let line = Span { file: 0, line: instr.line, col: 1, len: 1 };
        Site { what, file: instr.file.clone(), span: line }
    }

    /// An interpreter's error within an item: an access outside an array.
    pub fn item_fault(&self, error: InterpError, role: Role, cta: usize, place: Place) -> Box<Trap> {
        let by = match role {
            Role::Producer => By::Agent(self.space.producer(cta) as u32),
            _ => By::Team(cta as u32),
        };
        let found = error.0;
        let mut site = self.site(by, "is", place);
        if found.span.is_known() {
            (site.file, site.span) = (found.file, found.span);
        }
        let mut trap = Trap::new("E84", found.message, vec![site], "guard the access, or make the array larger");
        trap.notes = found.notes;
        trap
    }
}

/// Most parts of a ring slot.
fn parts(protocol: &Protocol) -> usize {
    let mut most = 1;
    for kernel in &protocol.kernels {
        kernel.walk(|_, op| {
            if let OpKind::RingFill(parts) = &op.kind {
                most = most.max(parts.len());
            }
        });
    }
    most
}
