//! The barrier protocol: arrivals, bytes, parity, deadlock, races.
//!
//! For each kernel the control flow of the two roles is [`matching`]ed, then runs are made with the trip counts where
//! rings go wrong (none, one, one less and more than the slots, twice the slots and one more), with conditions going
//! either way, several items for a CTA, records without items and two passes. A run is first written down as a list of events for each
//! process ([`script`]), whose sums must balance: arrivals of each phase, bytes announced and copied, slots filled and taken. Then
//! it is carried out with clocks ([`run`]), which covers all interleavings of that run.
//!
//! Warpgroups that take turns wait at named barriers of their own, which count those who give and those who take; what is left half arrived is a
//! mistake, as is a turn that may be given again before it is taken ([`turns`]).
//!
//! CTAs of a cluster do the same in step (that they do is decided when roles are split), so one of them stands for all: what each does to the others'
//! barriers the others do to its own, and counts here as often.
//!
//! A role's actions are the same for every slot, so rings are modelled with a few slots, as many as a body can hold and
//! one more, at least three.

mod events;
mod matching;
mod memory;
mod run;
mod script;
mod stuck;
mod terms;
mod turns;

use super::Findings;
use events::{Barriers, Kind, Place, Script, Setting};
use matching::{Matching, matching};
use run::{Fault, RecordFacts, Step};
use script::script;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tile_lang::ir::{Access, Kernel, OpId, OpKind, Type};
use tile_lang::plan::{Operand, Plan};
use tile_lang::protocol::{Action, Fence, KernelProtocol, Protocol, RingId, Side, Turns, Who};

/// Slots of a modelled ring, where the program has as many.
const SLOTS: usize = 3;

/// Named barriers that some of a CTA's threads meet at.
const NAMED: std::ops::Range<u8> = 1..16;

/// The fix of what no source can be blamed for.
const FAULT: &str = "this is a fault of the compiler, not of the kernel: please report it";

/// Checks every kernel by itself and all of them together; returns the number of runs.
pub fn check(plan: Option<&Plan>, p: &Protocol, out: &mut Findings) -> usize {
    let before = out.errors.len();
    shapes(p, out);
    meetings(p, out);
    terms::check(p, out);
    let matchings: Vec<Matching> = p.kernels.iter().map(matching).collect();
    for (i, m) in matchings.iter().enumerate() {
        for (op, text, other) in &m.wrong {
            let place = |id: OpId| Findings::points(&p.kernels[i], id, "the other role's op is here");
            let fix = "both roles need the same loops and conditions around their slots".to_owned();
            out.at(&p.kernels[i], *op, "E24", text.clone(), other.map(place).into_iter().chain([fix]).collect());
        }
    }
    if out.errors.len() > before {
        return 0;
    }
    let copied = copied_later(plan, p);
    let mut runs = 0;
    for kernel in 0..p.kernels.len() {
        let checker =
            Checker { p, matchings: &matchings, copied: &copied, bars: Barriers::new(p, &|r| most(p, kernel, r)) };
        runs += checker.kernel(kernel, out);
    }
    // All kernels after one another, often enough for the ring of records to start over twice.
    if !p.kernels.is_empty() {
        let largest = (0..p.kernels.len()).map(|k| most(p, k, RingId::Tiles)).max().unwrap_or(SLOTS);
        let bars = Barriers::new(p, &|r| if r == RingId::Tiles { largest } else { SLOTS });
        let checker = Checker { p, matchings: &matchings, copied: &copied, bars };
        let rounds = (2 * SLOTS + 1).div_ceil(p.kernels.len());
        let records = (0..rounds).flat_map(|r| (0..p.kernels.len()).map(move |k| (k, 1 + (r + k) % 2))).collect();
        let setting = Setting { records, passes: 2, trips: &|_, _, n| 1 + n % 2, taken: &|_, _, n| n % 2 == 0 };
        checker.run(&setting, "all kernels after one another", out);
        runs += 1;
    }
    runs
}

/// Slots that a ring is modelled with.
fn most(p: &Protocol, kernel: usize, ring: RingId) -> usize {
    let mut waits = 0;
    p.kernels[kernel].walk(|_, op| waits += usize::from(matches!(op.kind, OpKind::RingWait(_))));
    // What one iteration puts off it holds while the next one takes slots.
    let off = |list: &Vec<Action>| list.iter().any(|a| matches!(a, Action::PutOff { .. }));
    waits += p.bodies[kernel].actions.values().filter(|list| off(list)).count();
    if ring == RingId::Tiles { SLOTS.max(waits + 1) } else { SLOTS }
}

/// Rings that share a cursor have the same slots; counts are those of the roles.
fn shapes(p: &Protocol, out: &mut Findings) {
    for ring in [RingId::Tiles, RingId::Records, RingId::Ready, RingId::PassEnd] {
        match p.rings.get(&ring) {
            None => out.error("E24", format!("the protocol has no ring {ring:?}"), vec![FAULT.into()]),
            Some(s) if s.slots == 0 => out.error("E24", format!("the ring {ring:?} has no slots"), vec![FAULT.into()]),
            Some(_) => {}
        }
    }
    if let (Some(ready), Some(records)) = (p.rings.get(&RingId::Ready), p.rings.get(&RingId::Records))
        && ready.slots != records.slots
    {
        let (a, b) = (ready.slots, records.slots);
        out.error("E24", format!("{a} ready barriers share the cursor of a ring of {b} records"), vec![FAULT.into()]);
    }
    if p.bodies.len() != p.kernels.len() {
        let (a, b) = (p.bodies.len(), p.kernels.len());
        out.error("E24", format!("the protocol has actions of {a} kernels and {b} kernels"), vec![FAULT.into()]);
    }
}

/// Named barriers: whole warps, one number for one set of threads, not the number of the whole CTA.
fn meetings(p: &Protocol, out: &mut Findings) {
    let f = &p.frame;
    let consumer =
        [&f.consumer_record, &f.consumer_begin, &f.consumer_copied_later, &f.consumer_end, &f.consumer_next, &f.decide];
    let producer = [&f.fetch, &f.producer_record, &f.producer_depends, &f.producer_next, &f.learn];
    let of_body = |b: &'_ KernelProtocol| -> Vec<Action> {
        let lists = b.actions.values().chain(b.entries.values()).chain([&b.before_items, &b.after_items]);
        lists.flatten().cloned().collect()
    };
    let bodies: Vec<Action> = p.bodies.iter().flat_map(of_body).collect();
    let mut met = BTreeSet::new();
    for a in consumer.into_iter().flatten().chain(&bodies) {
        let Action::Meet { id, threads } = a else { continue };
        met.insert(*id);
        if *threads != 32 * p.warps {
            let message = format!(
                "named barrier {id} counts {threads} threads, the {} consumer warps that meet there have {}",
                p.warps,
                32 * p.warps
            );
            let note = format!("the count is in threads, a multiple of 32: use {}", 32 * p.warps);
            out.error("E32", message, vec![note]);
        }
        if !NAMED.contains(id) {
            let message = format!("named barrier {id}: 0 belongs to the whole CTA, and the last is 15");
            out.error("E32", message, vec!["use a number from 1 to 15".into()]);
        }
    }
    for a in consumer.into_iter().flatten().chain(&bodies) {
        let (Action::TakeTurn { turns, .. } | Action::GiveTurn { turns, .. }) = a else { continue };
        let numbers = || (0..turns.groups).map(|g| turns.first as usize + g);
        if turns.groups < 2 || turns.groups * Turns::WARPS != p.warps {
            let message = format!("{} warpgroups take turns, {} consumer warps are others", turns.groups, p.warps);
            out.error("E32", message, vec!["two warpgroups or more take turns, all of the consumers'".into()]);
        }
        if let Some(taken) = numbers().find(|n| u8::try_from(*n).is_ok_and(|n| met.contains(&n))) {
            let message =
                format!("named barrier {taken} is where warps meet, and where a warpgroup waits for its turn");
            out.error("E32", message, vec!["use a number of its own for each".into()]);
        }
        if let Some(n) = numbers().find(|n| !u8::try_from(*n).is_ok_and(|n| NAMED.contains(&n))) {
            let message = format!("named barrier {n}: 0 belongs to the whole CTA, and the last is 15");
            out.error("E32", message, vec!["use a number from 1 to 15".into()]);
        }
    }
    let named = |a: &Action| matches!(a, Action::Meet { .. } | Action::TakeTurn { .. } | Action::GiveTurn { .. });
    if producer.into_iter().flatten().any(named) {
        out.error(
            "E32",
            "the producer is one thread and can't meet the consumers at a named barrier".into(),
            vec!["let it wait for an mbarrier on which the consumers arrive".into()],
        );
    }
}

/// Kernels whose results bulk copies of some instruction read.
fn copied_later(plan: Option<&Plan>, p: &Protocol) -> Vec<bool> {
    let declared: Vec<bool> = p.bodies.iter().map(|b| b.copied_later).collect();
    let Some(plan) = plan.filter(|plan| plan.kernels.len() == p.kernels.len()) else { return declared };
    let buffers = |wanted: &dyn Fn(&Kernel, usize) -> bool| -> Vec<(usize, usize)> {
        let mut list = Vec::new();
        for instr in plan.program.iter().filter(|i| i.kernel < p.kernels.len()) {
            let kernel = &p.kernels[instr.kernel];
            for (param, operand) in instr.operands.iter().enumerate().take(kernel.params.len()) {
                if let Operand::Buffer { id, .. } = operand
                    && wanted(kernel, param)
                {
                    list.push((instr.kernel, *id));
                }
            }
        }
        list
    };
    let copied: HashSet<usize> = buffers(&|k, param| {
        let mut found = false;
        k.walk(|_, op| found |= matches!(op.kind, OpKind::RingFill(_)) && op.operands.contains(&k.params[param].value));
        found
    })
    .into_iter()
    .map(|(_, buffer)| buffer)
    .collect();
    let writes = |k: &Kernel, param: usize| matches!(k.ty(k.params[param].value), Type::Global(_, _, Access::Write));
    let written = buffers(&writes);
    (0..p.kernels.len()).map(|k| written.iter().any(|(kernel, b)| *kernel == k && copied.contains(b))).collect()
}

/// What to do about each kind of mistake.
fn fix(code: &str) -> &'static str {
    match code {
        "E24" => "arrive as often as the barrier counts, in each phase: release every slot that is taken, once",
        "E25" => "announce the sum of the bytes of all parts, and copy each part once and whole",
        "E26" => "give each wait someone who signals it before it waits itself",
        "E28" => "wait for the product before the slot is given back",
        "E29" => "fence between the accesses and what signals them",
        _ => "let a barrier, a counter or a meeting of the warps come between the two accesses",
    }
}

struct Checker<'a> {
    p: &'a Protocol,
    matchings: &'a [Matching],
    copied: &'a [bool],
    bars: Barriers,
}

/// Loops of a kernel's consumers, those that take slots first, and how many of them do.
fn loops(k: &Kernel) -> (Vec<OpId>, usize) {
    let (mut ring, mut other) = (Vec::new(), Vec::new());
    k.walk(|id, op| {
        if matches!(op.kind, OpKind::For { .. }) {
            if matching::uses_ring(k, id) { ring.push(id) } else { other.push(id) }
        }
    });
    let n = ring.len();
    ring.extend(other);
    (ring, n)
}

impl Checker<'_> {
    /// Every run of one kernel.
    fn kernel(&self, kernel: usize, out: &mut Findings) -> usize {
        let k = &self.p.kernels[kernel];
        let slots = self.bars.slots.get(&RingId::Tiles).copied().unwrap_or(1);
        let (loops, ring) = loops(k);
        let name = |id: OpId| format!("the loop at line {}", k.op(id).span.line);
        let errors = out.errors.len();
        let mut runs = 0;
        // One item, nothing, two items: counts that don't divide the slots, and slots that are left in every phase.
        let records = vec![(kernel, 1), (kernel, 0), (kernel, 2)];
        let mut go =
            |trips: &dyn Fn(usize, OpId, usize) -> usize, taken: &dyn Fn(usize, OpId, usize) -> bool, text: String| {
                // One mistake shows in many runs; the first are the shortest.
                if out.errors.len() > errors {
                    return;
                }
                self.run(&Setting { records: records.clone(), passes: 2, trips, taken }, &text, out);
                runs += 1;
            };
        for trips in [0, 1, 2] {
            go(&|_, _, _| trips, &|_, _, _| true, format!("with {trips} iterations of every loop, conditions true"));
            go(&|_, _, _| trips, &|_, _, _| false, format!("with {trips} iterations of every loop, conditions false"));
        }
        go(&|_, _, _| 2, &|_, _, n| n % 2 == 0, "with 2 iterations of every loop, conditions in turn".into());
        let grid: Vec<usize> = [slots.saturating_sub(1), slots, slots + 1, 2 * slots, 2 * slots + 1]
            .into_iter()
            .filter(|t| *t > 2)
            .collect();
        for &id in &loops[..ring] {
            for &t in [0, 1].iter().chain(&grid) {
                let text = format!("with {t} iterations of {}, 2 of others", name(id));
                go(&|_, op, _| if op == id { t } else { 2 }, &|_, _, _| true, text);
            }
        }
        for &id in &loops[ring..] {
            go(&|_, op, _| if op == id { 0 } else { 1 }, &|_, _, _| true, format!("with no iteration of {}", name(id)));
        }
        if ring > 0 {
            let mixed = |_: usize, id: OpId, n: usize| (id.index() + 3 * n) % (slots + 2);
            go(&mixed, &|_, id, n| (id.index() + n) % 3 != 0, "with trip counts that change from item to item".into());
        }
        runs
    }

    fn run(&self, setting: &Setting<'_>, text: &str, out: &mut Findings) {
        let script = script(self.p, &self.bars, self.matchings, setting);
        let mut wrong = HashSet::new();
        for f in &script.faults {
            self.report(f.code, f.place, f.message.clone(), Vec::new(), text, out);
        }
        wrong.extend(script.faults.iter().map(|f| f.code));
        let balanced = self.balance(&script, text, out) && wrong.is_empty();
        let (facts, ordered) = self.records(&script, setting, text, out);
        for f in run::run(&script, &self.bars, self.p.warps, &facts) {
            // Races and deadlocks of an unbalanced ring are what the imbalance makes of it.
            if balanced && ordered {
                let Fault { code, place, message, steps } = f;
                self.report(code, place, message, steps, text, out);
            }
        }
    }

    fn report(
        &self,
        code: &'static str,
        place: Place,
        message: String,
        steps: Vec<Step>,
        run: &str,
        out: &mut Findings,
    ) {
        let mut notes: Vec<String> =
            steps.iter().map(|s| self.points(s.place, &format!("{} {}", s.role, s.what))).collect();
        notes.push(run.to_owned());
        notes.push(fix(code).to_owned());
        match place {
            Place::Op(k, op) | Place::Entry(k, op) => out.at(&self.p.kernels[k], op, code, message, notes),
            Place::Frame(name) => {
                notes.push(format!("in `{name}` of the frame around the bodies"));
                out.error(code, message, notes);
            }
        }
    }

    /// A note on what happens somewhere else.
    fn points(&self, place: Place, what: &str) -> String {
        match place {
            Place::Op(k, id) => {
                let (kernel, name) = (&self.p.kernels[k], self.p.kernels[k].op(id).kind.mnemonic());
                Findings::points(kernel, id, &format!("{what}, at `{name}` of `{}`", kernel.name))
            }
            Place::Entry(k, id) => {
                let kernel = &self.p.kernels[k];
                Findings::points(kernel, id, &format!("{what}, where a block of this op of `{}` begins", kernel.name))
            }
            Place::Frame(name) => format!("{what}, in `{name}` of the frame around the bodies"),
        }
    }

    /// Arrivals of every phase, announced and copied bytes, slots filled and taken: sums that no order of events changes.
    fn balance(&self, script: &Script, text: &str, out: &mut Findings) -> bool {
        #[derive(Default)]
        struct Sum {
            arrivals: usize,
            announced: usize,
            copied: usize,
            place: Option<Place>,
        }
        let mut sums: BTreeMap<(usize, u32), Sum> = BTreeMap::new();
        for ((bar, lap), place) in &script.uses {
            sums.entry((*bar, *lap)).or_default().place = Some(*place);
        }
        for (list, warps) in [(&script.producer, 1), (&script.fetcher, 1), (&script.consumer, self.p.warps)] {
            for e in list {
                match &e.kind {
                    Kind::Arrive { bar, lap, who, times, bytes } => {
                        let s = sums.entry((*bar, *lap)).or_default();
                        s.arrivals += times * if *who == Who::EachWarp { warps } else { 1 };
                        s.announced += bytes.unwrap_or(0);
                        s.place = Some(e.place);
                    }
                    Kind::Copy { bar, lap, bytes, .. } => {
                        let s = sums.entry((*bar, *lap)).or_default();
                        s.copied += bytes;
                        s.place = s.place.or(Some(e.place));
                    }
                    _ => {}
                }
            }
        }
        let mut balanced = true;
        for ((bar, _), s) in sums {
            let (ring, side, _) = self.bars.list[bar];
            let name = if side == Side::Full { "full" } else { "empty" };
            let (want, place) = (self.bars.counts[bar], s.place.unwrap_or(Place::Frame("fetch")));
            if s.arrivals != want {
                let message =
                    format!("`{name}` of the ring {ring:?} expects {want} arrivals in each phase, gets {}", s.arrivals);
                self.report("E24", place, message, Vec::new(), text, out);
                balanced = false;
            }
            if s.announced != s.copied {
                let message = format!(
                    "`{name}` of the ring {ring:?} is told to expect {} bytes in this phase, copies bring {}",
                    s.announced, s.copied
                );
                self.report("E25", place, message, Vec::new(), text, out);
                balanced = false;
            }
        }
        let [filled, taken] = script.taken;
        if filled != taken {
            let message = format!("the producer fills {filled} slots, the consumers take {taken}");
            let place = script.consumer.iter().chain(&script.producer).map(|e| e.place);
            let place = place.into_iter().find(|p| matches!(p, Place::Op(..))).unwrap_or(Place::Frame("fetch"));
            self.report("E24", place, message, Vec::new(), text, out);
            balanced = false;
        }
        balanced
    }

    /// What each record does to global memory; counters are waited for once, fenced, and raised once.
    fn records(
        &self,
        script: &Script,
        setting: &Setting<'_>,
        text: &str,
        out: &mut Findings,
    ) -> (Vec<RecordFacts>, bool) {
        let count = setting.records.len();
        let mut facts = vec![RecordFacts::default(); count * setting.passes];
        let mut waits: HashMap<usize, usize> = HashMap::new();
        let mut raises: HashMap<usize, usize> = HashMap::new();
        let mut wrong: Vec<(&'static str, Place, String)> = Vec::new();
        let (mut waiting, mut last): (Option<usize>, usize) = (None, 0);
        // Whether the last counter was waited for, and fenced since.
        let mut end = (false, false);
        let mut written: Option<(usize, Place)> = None;
        for (i, e) in script.consumer.iter().enumerate() {
            let position = i as u32 + 1;
            match &e.kind {
                Kind::WaitCounters(record) => {
                    *waits.entry(*record).or_default() += 1;
                    (waiting, last) = (Some(*record), *record);
                }
                Kind::WaitLast => end = (true, false),
                Kind::Fence(Fence::Gpu, _) => {
                    if let Some(record) = waiting.take() {
                        facts[record].fence = position;
                    }
                    end.1 = end.0;
                }
                Kind::Fence(Fence::ProxyAsync, Who::EachWarp) if facts[last].proxy == 0 => facts[last].proxy = position,
                Kind::Raise(record) => *raises.entry(*record).or_default() += 1,
                Kind::Global { record, write, .. } => {
                    facts[*record].last = position;
                    if *write {
                        facts[*record].last_write = position;
                        facts[*record].proxy = 0;
                    }
                }
                Kind::Verdict { write: true, .. } => {
                    if end != (true, true) {
                        let text = "the end of a pass is announced before the last counter is waited for and fenced";
                        wrong.push(("E29", e.place, text.into()));
                    }
                    end = (false, false);
                }
                Kind::Exchange { write: true, bytes, .. } => {
                    if let Some((_, place)) = written.replace((*bytes, e.place)) {
                        wrong.push(("E27", place, "what is written to the exchange area is never read".into()));
                    }
                }
                Kind::Exchange { write: false, bytes, .. } => {
                    let room = written.take().map_or(0, |(room, _)| room);
                    if room < *bytes {
                        let text = format!("{bytes} bytes of the exchange area are read, {room} were written");
                        wrong.push(("E27", e.place, text));
                    }
                }
                _ => {}
            }
        }
        if let Some((_, place)) = written {
            wrong.push(("E27", place, "what is written to the exchange area is never read".into()));
        }
        if script.consumer.iter().filter(|e| matches!(e.kind, Kind::Verdict { write: true, .. })).count()
            != setting.passes
        {
            wrong.push(("E24", Place::Frame("decide"), "the end of a pass is not announced once".into()));
        }
        for (record, f) in facts.iter_mut().enumerate() {
            let (kernel, items) = setting.records[record % count];
            f.copied_later = self.copied[kernel];
            if items == 0 {
                continue;
            }
            let (waited, raised) =
                (waits.get(&record).copied().unwrap_or(0), raises.get(&record).copied().unwrap_or(0));
            if waited != 1 || raised != 1 {
                let text = format!("a record waits for its counters {waited} times and raises its own {raised} times");
                wrong.push(("E24", Place::Frame("consumer_end"), text));
            } else if f.fence == 0 {
                let text = "no `fence.acq_rel.gpu` follows the wait for counters: what others wrote may not be seen";
                wrong.push(("E29", Place::Frame("consumer_begin"), text.into()));
            }
            if f.copied_later && f.last_write > 0 && f.proxy == 0 {
                let text = format!(
                    "bulk copies read what `{}` writes, and its warps don't fence the proxies after the last write",
                    self.p.kernels[kernel].name
                );
                wrong.push(("E29", Place::Frame("consumer_copied_later"), text));
            }
        }
        let sound = wrong.is_empty();
        for (code, place, message) in wrong {
            self.report(code, place, message, Vec::new(), text, out);
        }
        (facts, sound)
    }
}
