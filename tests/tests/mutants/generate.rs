//! Makes wrong programs out of right ones: one action, number, edge or place changed at a time.

use std::fmt;
use tile_lang::ir::{BlockId, OpId, OpKind, ValueId};
use tile_lang::plan::Plan;
use tile_lang::protocol::{Action, At, Fence, Group, Parity, Protocol, Reach, Region, RingId, Side, Turns, Who};

/// A list of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Around the bodies.
    Frame(&'static str),
    /// Of an op of a kernel.
    Op(usize, OpId),
    /// Of the entry of a block.
    Entry(usize, BlockId),
    /// Around the items of a kernel.
    Items(usize, Around),
}

/// On which side of a kernel's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// Before the first.
    Before,
    /// After the last.
    After,
}

/// What is done to a list, at a position.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// The action is left out.
    Delete,
    /// The action happens twice.
    Repeat,
    /// The action and the next change places.
    Swap,
    /// Another action stands in its place.
    Replace(&'static str, Action),
    /// The action is moved to right after the wait for the slot.
    AfterWait(OpId),
}

/// One change.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// Of a list of actions; with what stood there.
    Action(Site, usize, Edit, Action),
    /// Arrivals, slots or bytes of a ring.
    Ring(RingId, &'static str, usize),
    /// A region moved, or made larger.
    Region(usize, &'static str, usize),
    /// A part of a slot lies at this offset: in the fill and the wait, or in one of them.
    Part(usize, Vec<OpId>, usize, usize),
    /// A kept operand of a kernel lies at this byte of its area.
    Kept(usize, ValueId, usize),
    /// A kernel's flag is turned off.
    Flag(usize, &'static str),
    /// Registers of the producer and of a consumer thread.
    Registers(usize, usize),
    /// An edge of an instruction is left out.
    Edge(usize, usize),
    /// An edge of an instruction leads elsewhere.
    Redirect(usize, usize, usize),
}

impl Mutation {
    /// What was done, without numbers of ops, for people.
    pub fn kind(&self) -> String {
        match self {
            Mutation::Action(site, _, edit, action) => {
                let place = match site {
                    Site::Frame(name) => (*name).to_owned(),
                    Site::Op(..) => "an op".to_owned(),
                    Site::Entry(..) => "a block's entry".to_owned(),
                    Site::Items(_, Around::Before) => "front of the items".to_owned(),
                    Site::Items(_, Around::After) => "the end of the items".to_owned(),
                };
                let edit = match edit {
                    Edit::Delete => "delete",
                    Edit::Repeat => "repeat",
                    Edit::Swap => "swap with the next",
                    Edit::Replace(what, _) => what,
                    Edit::AfterWait(_) => "move to right after the wait",
                };
                format!("{edit}: {} in {place}", Short(action))
            }
            Mutation::Ring(ring, what, n) => format!("{what} of the ring {ring:?}: {n}"),
            Mutation::Region(_, what, _) => format!("region: {what}"),
            Mutation::Part(_, ops, ..) => format!("part of a slot moved in {} ops", ops.len()),
            Mutation::Kept(..) => "a kept operand moved".into(),
            Mutation::Flag(_, what) => format!("flag `{what}` off"),
            Mutation::Registers(p, c) => format!("registers {p} and {c}"),
            Mutation::Edge(..) => "delete an edge".into(),
            Mutation::Redirect(i, _, to) => {
                format!("an edge to {}", if to == i { "itself" } else { "a later instruction" })
            }
        }
    }
}

/// An action in short.
struct Short<'a>(&'a Action);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Action::Wait { barrier, .. } => write!(f, "wait for {:?} of {:?}", barrier.side, barrier.ring),
            Action::Expect { barrier, .. } => write!(f, "expect on {:?} of {:?}", barrier.side, barrier.ring),
            Action::Arrive { barrier, .. } => write!(f, "arrive at {:?} of {:?}", barrier.side, barrier.ring),
            Action::Copy { ring, .. } => write!(f, "copy to {ring:?}"),
            Action::Advance(ring) => write!(f, "advance {ring:?}"),
            Action::Meet { .. } => f.write_str("meet"),
            Action::Fence(fence, _) => write!(f, "fence {fence:?}"),
            Action::ExchangeWrite { .. } => f.write_str("write the exchange area"),
            Action::ExchangeRead { .. } => f.write_str("read the exchange area"),
            Action::Keep { .. } => f.write_str("keep an operand"),
            Action::WaitProducts { .. } => f.write_str("wait for products"),
            Action::Start { .. } => f.write_str("start of a product"),
            Action::TakeTurn { .. } => f.write_str("take the turn"),
            Action::GiveTurn { .. } => f.write_str("give the turn"),
            other => write!(f, "{other:?}"),
        }
    }
}

const FRAME: [&str; 11] = [
    "fetch",
    "producer_record",
    "producer_depends",
    "producer_next",
    "consumer_record",
    "consumer_begin",
    "consumer_copied_later",
    "consumer_end",
    "consumer_next",
    "decide",
    "learn",
];

fn list(p: &mut Protocol, site: Site) -> &mut Vec<Action> {
    match site {
        Site::Frame(name) => {
            let f = &mut p.frame;
            match name {
                "fetch" => &mut f.fetch,
                "producer_record" => &mut f.producer_record,
                "producer_depends" => &mut f.producer_depends,
                "producer_next" => &mut f.producer_next,
                "consumer_record" => &mut f.consumer_record,
                "consumer_begin" => &mut f.consumer_begin,
                "consumer_copied_later" => &mut f.consumer_copied_later,
                "consumer_end" => &mut f.consumer_end,
                "consumer_next" => &mut f.consumer_next,
                "decide" => &mut f.decide,
                _ => &mut f.learn,
            }
        }
        Site::Op(k, op) => p.bodies[k].actions.entry(op).or_default(),
        Site::Entry(k, block) => p.bodies[k].entries.entry(block).or_default(),
        Site::Items(k, Around::Before) => &mut p.bodies[k].before_items,
        Site::Items(k, Around::After) => &mut p.bodies[k].after_items,
    }
}

/// All changes of the frame's actions.
pub fn of_frame(p: &Protocol) -> Vec<Mutation> {
    let mut p = p.clone();
    FRAME.into_iter().flat_map(|name| of_list(&list(&mut p, Site::Frame(name)).clone(), Site::Frame(name))).collect()
}

/// All changes of the actions of a kernel's bodies.
pub fn of_bodies(p: &Protocol) -> Vec<Mutation> {
    let mut out = Vec::new();
    for (k, body) in p.bodies.iter().enumerate() {
        for (op, actions) in &body.actions {
            out.extend(of_list(actions, Site::Op(k, *op)));
            if let (OpKind::RingRelease, [Action::Arrive { at: At::TakenBy(wait), .. }]) =
                (&p.kernels[k].op(*op).kind, actions.as_slice())
            {
                out.push(Mutation::Action(Site::Op(k, *op), 0, Edit::AfterWait(*wait), actions[0].clone()));
            }
        }
        for (block, actions) in &body.entries {
            out.extend(of_list(actions, Site::Entry(k, *block)));
        }
        out.extend(of_list(&body.before_items, Site::Items(k, Around::Before)));
        out.extend(of_list(&body.after_items, Site::Items(k, Around::After)));
        let room = p.regions.iter().find(|r| r.name == Region::KEPT).map_or(0, |r| r.bytes);
        for (v, bytes) in &body.kept {
            let others = body.kept.iter().filter(|(w, _)| *w != v).map(|(_, other)| other.start);
            let wrong = others.chain([bytes.start + 512, room - bytes.len() / 2]);
            out.extend(wrong.map(|at| Mutation::Kept(k, *v, at)));
        }
    }
    out
}

fn of_list(actions: &[Action], site: Site) -> Vec<Mutation> {
    let mut out = Vec::new();
    for (i, a) in actions.iter().enumerate() {
        let mut push = |edit| out.push(Mutation::Action(site, i, edit, a.clone()));
        let next = actions.get(i + 1).filter(|next| *next != a);
        if *a == Action::Own {
            if next.is_some() {
                push(Edit::Swap);
            }
            continue;
        }
        push(Edit::Delete);
        push(Edit::Repeat);
        if next.is_some() {
            push(Edit::Swap);
        }
        replaced(a).into_iter().for_each(|(what, other)| push(Edit::Replace(what, other)));
    }
    out
}

/// What may stand in an action's place by mistake.
fn replaced(a: &Action) -> Vec<(&'static str, Action)> {
    let other_side = |side| if side == Side::Full { Side::Empty } else { Side::Full };
    match a.clone() {
        Action::Wait { mut barrier, parity } => {
            let turned = if parity == Parity::Phase { Parity::Opposite } else { Parity::Phase };
            let first = ("other parity", Action::Wait { barrier, parity: turned });
            barrier.side = other_side(barrier.side);
            vec![first, ("other barrier", Action::Wait { barrier, parity })]
        }
        Action::Expect { barrier, bytes } => vec![
            ("more bytes", Action::Expect { barrier, bytes: bytes + 16 }),
            ("fewer bytes", Action::Expect { barrier, bytes: bytes - 16 }),
        ],
        Action::Copy { ring, part, bytes, reach } => {
            let mut list = vec![
                ("fewer bytes", Action::Copy { ring, part, bytes: bytes - 16, reach }),
                ("other part", Action::Copy { ring, part: part + 1, bytes, reach }),
            ];
            if reach == Reach::Cluster {
                list.push(("this CTA alone", Action::Copy { ring, part, bytes, reach: Reach::Cta }));
            }
            list
        }
        Action::Arrive { mut barrier, at, who, reach } => {
            let turned = if who == Who::One { Who::EachWarp } else { Who::One };
            let first = ("by others", Action::Arrive { barrier, at, who: turned, reach });
            barrier.side = other_side(barrier.side);
            let mut list = vec![first, ("other barrier", Action::Arrive { barrier, at, who, reach })];
            if reach == Reach::Cluster {
                barrier.side = other_side(barrier.side);
                list.push(("at this CTA alone", Action::Arrive { barrier, at, who, reach: Reach::Cta }));
            }
            list
        }
        Action::Meet { id, threads } => vec![("fewer threads", Action::Meet { id, threads: threads - 32 })],
        Action::Fence(fence, who) => {
            let other = match fence {
                Fence::Gpu => Fence::ProxyAsync,
                Fence::ProxyAsync => Fence::ProxyShared(Reach::Cta),
                Fence::ProxyShared(Reach::Cluster) => Fence::ProxyShared(Reach::Cta),
                Fence::ProxyShared(Reach::Cta) => Fence::Gpu,
            };
            let turned = if who == Who::One { Who::EachWarp } else { Who::One };
            vec![("other fence", Action::Fence(other, who)), ("by others", Action::Fence(fence, turned))]
        }
        Action::TakeTurn { turns, group } => {
            others_turns(turns, group).map(|(what, turns, group)| (what, Action::TakeTurn { turns, group })).into()
        }
        Action::GiveTurn { turns, group } => {
            others_turns(turns, group).map(|(what, turns, group)| (what, Action::GiveTurn { turns, group })).into()
        }
        Action::Advance(ring) => {
            let other = if ring == RingId::Tiles { RingId::Records } else { RingId::Tiles };
            vec![("other ring", Action::Advance(other))]
        }
        _ => Vec::new(),
    }
}

/// Turns of another warpgroup, or at another barrier.
fn others_turns(turns: Turns, group: Group) -> [(&'static str, Turns, Group); 2] {
    let other = match group {
        Group::Each => Group::One(0),
        Group::One(one) => Group::One((one + 1) % turns.groups),
    };
    [("by others", turns, other), ("other barrier", Turns { first: turns.first + 1, ..turns }, group)]
}

/// Changes of rings, regions, parts, flags and registers.
pub fn of_resources(p: &Protocol) -> Vec<Mutation> {
    let mut out = Vec::new();
    for (ring, shape) in &p.rings {
        if shape.empty_arrivals > 0 {
            out.push(Mutation::Ring(*ring, "empty arrivals", shape.empty_arrivals - 1));
            out.push(Mutation::Ring(*ring, "empty arrivals", shape.empty_arrivals + 1));
        }
        out.push(Mutation::Ring(*ring, "full arrivals", shape.full_arrivals + 1));
        out.push(Mutation::Ring(*ring, "slots", shape.slots + 1));
        if shape.slot_bytes > 0 {
            out.push(Mutation::Ring(*ring, "slot bytes", shape.slot_bytes + 1024));
        }
    }
    for (i, r) in p.regions.iter().enumerate().filter(|(_, r)| r.bytes > 0) {
        for (j, other) in p.regions.iter().enumerate() {
            if i != j && other.bytes > 0 {
                out.push(Mutation::Region(i, "onto another", other.offset));
            }
        }
        out.push(Mutation::Region(i, "off its alignment", r.offset + r.align / 2));
        out.push(Mutation::Region(i, "beyond the end", p.shared_limit - r.bytes / 2));
    }
    for (k, kernel) in p.kernels.iter().enumerate() {
        let (mut fills, mut waits) = (Vec::new(), Vec::new());
        kernel.walk(|id, op| match &op.kind {
            OpKind::RingFill(parts) => fills.push((id, parts.clone())),
            OpKind::RingWait(parts) => waits.push((id, parts.clone())),
            _ => {}
        });
        for ((fill, parts), (wait, _)) in fills.iter().zip(&waits) {
            for part in 1..parts.len() {
                out.push(Mutation::Part(k, vec![*fill, *wait], part, parts[0].offset));
            }
            out.push(Mutation::Part(k, vec![*fill], 0, parts[0].offset + 128));
            out.push(Mutation::Part(k, vec![*wait], 0, parts[0].offset + 128));
        }
    }
    let r = p.registers;
    out.extend(
        [(r.producer + 8, r.consumer), (r.producer, r.consumer + 8), (r.producer - 4, r.consumer)]
            .map(|(a, b)| Mutation::Registers(a, b)),
    );
    out
}

/// Flags of a whole program's kernels that are on.
pub fn of_flags(p: &Protocol) -> Vec<Mutation> {
    let on = |(k, b): (usize, &tile_lang::protocol::KernelProtocol)| {
        [(b.dependent, "dependent"), (b.copied_later, "copied_later")]
            .into_iter()
            .filter(|(on, _)| *on)
            .map(move |(_, name)| Mutation::Flag(k, name))
            .collect::<Vec<_>>()
    };
    p.bodies.iter().enumerate().flat_map(on).collect()
}

/// Changes of a plan's edges.
pub fn of_plan(plan: &Plan) -> Vec<Mutation> {
    let mut out = Vec::new();
    for (i, instr) in plan.program.iter().enumerate() {
        for (e, _) in instr.after.iter().enumerate() {
            out.push(Mutation::Edge(i, e));
            out.push(Mutation::Redirect(i, e, i));
            if i + 1 < plan.program.len() {
                out.push(Mutation::Redirect(i, e, i + 1));
            }
        }
    }
    out
}

/// A protocol with one change.
pub fn protocol(p: &Protocol, m: &Mutation) -> Protocol {
    let mut p = p.clone();
    match m {
        Mutation::Action(site, i, edit, action) => {
            let actions = list(&mut p, *site);
            match edit {
                Edit::Delete => drop(actions.remove(*i)),
                Edit::Repeat => actions.insert(*i, action.clone()),
                Edit::Swap => actions.swap(*i, *i + 1),
                Edit::Replace(_, other) => actions[*i] = other.clone(),
                Edit::AfterWait(wait) => {
                    actions.remove(*i);
                    if let Site::Op(k, _) = site {
                        list(&mut p, Site::Op(*k, *wait)).push(action.clone());
                    }
                }
            }
        }
        Mutation::Ring(ring, what, n) => {
            if let Some(shape) = p.rings.get_mut(ring) {
                match *what {
                    "empty arrivals" => shape.empty_arrivals = *n,
                    "full arrivals" => shape.full_arrivals = *n,
                    "slots" => shape.slots = *n,
                    _ => shape.slot_bytes = *n,
                }
            }
        }
        Mutation::Region(i, _, offset) => p.regions[*i].offset = *offset,
        Mutation::Part(k, ops, part, offset) => {
            for op in ops {
                if let OpKind::RingFill(parts) | OpKind::RingWait(parts) = &mut p.kernels[*k].ops[op.index()].kind {
                    parts[*part].offset = *offset;
                }
            }
        }
        Mutation::Kept(k, v, at) => {
            if let Some(bytes) = p.bodies[*k].kept.get_mut(v) {
                *bytes = *at..*at + bytes.len();
            }
        }
        Mutation::Flag(k, what) => match *what {
            "dependent" => p.bodies[*k].dependent = false,
            _ => p.bodies[*k].copied_later = false,
        },
        Mutation::Registers(producer, consumer) => {
            (p.registers.producer, p.registers.consumer) = (*producer, *consumer);
        }
        Mutation::Edge(..) | Mutation::Redirect(..) => {}
    }
    p
}

/// A plan with one change.
pub fn plan(plan: &Plan, m: &Mutation) -> Plan {
    let mut plan = plan.clone();
    match m {
        Mutation::Edge(i, e) => drop(plan.program[*i].after.remove(*e)),
        Mutation::Redirect(i, e, to) => plan.program[*i].after[*e] = *to,
        _ => {}
    }
    plan
}
