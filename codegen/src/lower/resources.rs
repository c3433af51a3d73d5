//! What kernels ask of the program, by explicit roles or by schedules, against what the program has: each request is honoured
//! or refused.

use super::program::MAX_SLOTS;
use crate::CodegenError;
use crate::layout::{WARP_CHOICES, WARPS};
use crate::passes::pinned_here;
use crate::target::Target;
use tile_lang::diag::{Diagnostic, Diagnostics, pointing};
use tile_lang::ir::{Kernel, Role, RoleResources, slots_held};
use tile_lang::span::Span;

/// Registers of an SM.
pub(super) const REGISTER_FILE: usize = 65_536;
/// Threads of the producer's warpgroup: one of them produces, but registers are moved by whole warpgroups.
const PRODUCER_THREADS: usize = 128;
/// Threads of a producer where registers can't be moved: a warp, so that more is left for the consumers.
const PRODUCER_WARP: usize = 32;
/// Registers of a producer thread where nothing is pinned, and the fewest that a thread can have.
const PRODUCER_REGISTERS: usize = 56;
const FEWEST_REGISTERS: usize = 24;
/// Registers of a consumer thread where nothing is pinned: 128 × 56 + 256 × 224 = 64,512.
const CONSUMER_REGISTERS: usize = 224;
/// The most that `setmaxnreg` gives a thread.
const MOST_REGISTERS: usize = 256;

/// Threads of a CTA and their registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Consumer warps.
    pub warps: usize,
    /// Threads that are no consumers'.
    pub producer_threads: usize,
    /// Registers of a producer thread.
    pub producer_registers: usize,
    /// Registers of a consumer thread.
    pub consumer_registers: usize,
}

impl Threads {
    /// Threads of a CTA.
    pub const fn all(&self) -> usize {
        self.warps * 32 + self.producer_threads
    }

    /// Registers that each thread has at the start; roles give and take from what these amount to. ptxas takes the most that
    /// any role has, or an even share of all registers if that is less.
    pub fn at_start(&self) -> usize {
        (REGISTER_FILE / self.all() / 8 * 8).min(self.consumer_registers.max(self.producer_registers))
    }

    /// Registers that the roles take together, and that there are.
    fn taken(&self) -> (usize, usize) {
        let taken = self.producer_threads * self.producer_registers + self.warps * 32 * self.consumer_registers;
        (taken, self.at_start() * self.all())
    }
}

/// What every kernel of a program asks of a role, if they agree.
fn agreed(kernels: &[&Kernel], role: Role, of: impl Fn(&RoleResources) -> usize) -> Option<usize> {
    let asked = |k: &&Kernel| k.resources.roles.iter().find(|r| r.role == role).map(&of).filter(|n| *n > 0);
    let first = asked(kernels.first()?)?;
    kernels.iter().all(|k| asked(k) == Some(first)).then_some(first)
}

/// Warps and registers of a program. What all of its kernels ask for it has; what only some ask for must be what it has
/// anyway.
///
/// # Errors
/// `E22` too many registers together, `E23` a number of registers that a thread can't have, `E30` warps or registers that
/// other kernels of the program don't ask for, or that there are no layouts for, `E31` warps that are no whole warpgroups.
pub(super) fn threads(kernels: &[&Kernel], target: &Target) -> Result<Threads, CodegenError> {
    let mut errors = Vec::new();
    for k in kernels {
        k.resources.roles.iter().for_each(|r| possible(k, r, &mut errors));
    }
    if !errors.is_empty() {
        return Err(CodegenError::Program(Diagnostics(errors)));
    }
    let warps = agreed(kernels, Role::Consumer, |r| r.warps).unwrap_or(WARPS);
    let pinned = [Role::Producer, Role::Consumer].map(|role| agreed(kernels, role, |r| r.registers));
    if !target.setmaxnreg {
        let threads = without_moves(warps);
        for k in kernels {
            agree(k, &threads, kernels.len(), &mut errors);
        }
        return if errors.is_empty() { Ok(threads) } else { Err(CodegenError::Program(Diagnostics(errors))) };
    }
    let with = |producer_registers, consumer_registers| Threads {
        warps,
        producer_threads: PRODUCER_THREADS,
        producer_registers,
        consumer_registers,
    };
    let fits = |t: &Threads| t.taken().0 <= t.taken().1;
    // What isn't pinned gives way.
    let fewer = |most: usize, fewest: usize| (fewest..=most).rev().step_by(8);
    let threads = match pinned {
        [None, None] => with(PRODUCER_REGISTERS, CONSUMER_REGISTERS),
        [Some(p), None] => {
            fewer(MOST_REGISTERS - 16, p).map(|c| with(p, c)).find(fits).unwrap_or(with(p, CONSUMER_REGISTERS))
        }
        [None, Some(c)] => fewer(PRODUCER_REGISTERS, FEWEST_REGISTERS)
            .map(|p| with(p, c))
            .find(fits)
            .unwrap_or(with(FEWEST_REGISTERS, c)),
        [Some(p), Some(c)] => with(p, c),
    };
    for k in kernels {
        agree(k, &threads, kernels.len(), &mut errors);
    }
    if errors.is_empty() {
        budget(kernels, &threads, pinned, &mut errors);
    }
    if errors.is_empty() { Ok(threads) } else { Err(CodegenError::Program(Diagnostics(errors))) }
}

/// CTAs of a cluster of a program: what its kernels ask for, 1 if none does. CTAs of a cluster take the same slots of the ring, so that all
/// kernels which stage anything must ask for the same.
///
/// # Errors
/// `E30` kernels that ask for different numbers, or a target without copies that reach a cluster.
pub(super) fn cluster(kernels: &[&Kernel], target: &Target) -> Result<usize, CodegenError> {
    let Some(first) = kernels.iter().find(|k| k.resources.cluster > 1) else { return Ok(1) };
    let size = first.resources.cluster;
    let mut errors = Vec::new();
    if !target.multicast {
        let message = format!("{} has no copies that reach a cluster of {size} CTAs", target.name);
        let mut notes = pinned_here(first);
        notes.push("leave the cluster out".into());
        errors.push(at(first, first_wait(first), "E30", message, notes));
    }
    for k in kernels.iter().filter(|k| k.resources.cluster != size && first_wait(k).is_known()) {
        let message =
            format!("kernel `{}` stages tiles without a cluster, kernel `{}` with one of {size}", k.name, first.name);
        let fix = "CTAs of a cluster take the same slots of the ring at the same time: pin the same cluster for both, or for none";
        let mut notes = pinned_here(first);
        notes.push(fix.into());
        errors.push(at(k, first_wait(k), "E30", message, notes));
    }
    if errors.is_empty() { Ok(size) } else { Err(CodegenError::Program(Diagnostics(errors))) }
}

/// All threads keep the registers that they start with.
fn without_moves(warps: usize) -> Threads {
    let registers = (REGISTER_FILE / (warps * 32 + PRODUCER_WARP) / 8 * 8).min(MOST_REGISTERS - 8);
    Threads { warps, producer_threads: PRODUCER_WARP, producer_registers: registers, consumer_registers: registers }
}

/// Whether a role can have what it asks for in some program.
fn possible(k: &Kernel, r: &RoleResources, errors: &mut Vec<Diagnostic>) {
    let registers = r.registers;
    if registers > 0 && !(registers.is_multiple_of(8) && (FEWEST_REGISTERS..=MOST_REGISTERS).contains(&registers)) {
        let near = registers.clamp(FEWEST_REGISTERS, MOST_REGISTERS) / 8 * 8;
        let message = format!("role `{}` can't have {registers} registers a thread", r.name);
        let fix =
            format!("`setmaxnreg` takes multiples of 8 from {FEWEST_REGISTERS} to {MOST_REGISTERS}, such as {near}");
        errors.push(at(k, r.span, "E23", message, vec![fix]));
    }
    if r.warps == 0 || r.role == Role::Producer || WARP_CHOICES.contains(&r.warps) {
        return;
    }
    let choices = format!("{} or {}", WARP_CHOICES[0], WARP_CHOICES[1]);
    if r.warps.is_multiple_of(4) {
        let message = format!("role `{}` asks for {} warps", r.name, r.warps);
        let why = format!("tiles are laid out over {choices} warps, a power of two with room for their accumulators");
        errors.push(at(k, r.span, "E30", message, vec![why, format!("ask for {choices} warps")]));
    } else {
        let message = format!("role `{}` has {} warps, which are no whole warpgroups", r.name, r.warps);
        let why = "registers are given to warpgroups of 4 warps by `setmaxnreg`".to_owned();
        errors.push(at(k, r.span, "E31", message, vec![why, format!("ask for {choices} warps")]));
    }
}

/// Whether the roles' registers fit into those of a CTA.
fn budget(kernels: &[&Kernel], t: &Threads, pinned: [Option<usize>; 2], errors: &mut Vec<Diagnostic>) {
    let (taken, all) = t.taken();
    let start = t.at_start();
    let (p, c) = (t.producer_registers, t.consumer_registers);
    let moved = p <= start;
    if (taken <= all && moved) || pinned == [None, None] {
        return;
    }
    let threads = t.warps * 32;
    let message = if taken > all {
        format!("the roles take {taken} registers, a CTA has {all}")
    } else {
        format!("the producer gives registers to the consumers: it can have at most {start} a thread")
    };
    let mut legal = Vec::new();
    for producer in [24usize, 40, 56] {
        let most = (all - PRODUCER_THREADS * producer) / threads / 8 * 8;
        legal.push(format!("{producer} and {}", most.min(MOST_REGISTERS)));
    }
    let notes = vec![
        format!("producer: {PRODUCER_THREADS} threads × {p} = {}", PRODUCER_THREADS * p),
        format!("consumers: {threads} threads × {c} = {}", threads * c),
        format!("{} threads start with {start} registers each: {all}", t.all()),
        format!("producer and consumers can have {}", legal.join(", or ")),
    ];
    let asks = |k: &&&Kernel| k.resources.roles.iter().any(|r| r.registers > 0);
    if let Some(k) = kernels.iter().find(asks) {
        let role = k.resources.roles.iter().filter(|r| r.registers > 0).max_by_key(|r| r.role == Role::Consumer);
        errors.push(at(k, role.map_or(Span::NONE, |r| r.span), "E22", message, notes));
    }
}

/// Shared memory that the ring can be made of.
pub(super) struct RingSpace {
    /// Dynamic shared memory of a CTA.
    pub shared_bytes: usize,
    /// What barriers and records take.
    pub control_bytes: usize,
    /// What changes of layout take.
    pub exchange_bytes: usize,
    /// What operands take that products of a loop find in shared memory.
    pub kept_bytes: usize,
    /// Bytes of a slot.
    pub slot_bytes: usize,
    /// Bytes that the largest transaction has in it.
    pub used_bytes: usize,
}

/// Slots begin at multiples of this, as swizzled tiles need.
pub(super) const SLOT_ALIGN: usize = 1024;

impl RingSpace {
    /// How many slots there is room for.
    fn room(&self) -> usize {
        let fixed = self.control_bytes + self.exchange_bytes + self.kept_bytes;
        (self.shared_bytes.saturating_sub(fixed) / self.slot_bytes).min(MAX_SLOTS)
    }
}

/// Number of slots of the program's ring: what its kernels ask for, or all that there is room for.
///
/// # Errors
/// `E21` there is no room for as many slots as a kernel asks for, `E26` a kernel holds more slots at one time than the ring has,
/// `E30` kernels ask for different numbers. All that is wrong is reported.
pub(super) fn ring_slots(name: &str, kernels: &[&Kernel], space: &RingSpace) -> Result<usize, CodegenError> {
    let mut errors = Vec::new();
    let room = space.room();
    let mut asking = kernels.iter().filter(|k| k.resources.slots > 0);
    let first = asking.next();
    if let Some(first) = first {
        let want = first.resources.slots;
        for other in asking.filter(|k| k.resources.slots != want) {
            let (have, span) = (other.resources.slots, other.resources.slots_span);
            let message =
                format!("kernel `{}` asks for a ring of {have} slots, kernel `{}` for {want}", other.name, first.name);
            let notes = vec![
                points(first, first.resources.slots_span, &format!("`{}` asks for it here", first.name)),
                "a program has one ring: ask for the same number, or leave it to the compiler with 0".to_owned(),
            ];
            errors.push(at(other, span, "E30", message, notes));
        }
        if want > room {
            let RingSpace { shared_bytes, control_bytes, exchange_bytes, kept_bytes, slot_bytes, used_bytes } = space;
            let message = format!("a ring of {want} slots of {slot_bytes} bytes does not fit, {room} slots do");
            let notes = vec![
                format!(
                    "{shared_bytes} bytes of shared memory: {control_bytes} for barriers and records, {} for changes of layout and operands of loops, {} wanted for the ring",
                    exchange_bytes + kept_bytes,
                    want * slot_bytes
                ),
                if slot_bytes - used_bytes < SLOT_ALIGN {
                    format!("ask for at most {room} slots, or stage smaller tiles")
                } else {
                    format!(
                        "ask for at most {room} slots; no slot takes less than {slot_bytes} bytes, of which yours use {used_bytes}: larger tiles keep as much in flight with fewer"
                    )
                },
            ];
            errors.push(at(first, first.resources.slots_span, "E21", message, notes));
        }
    }
    let slots = first.map_or(room, |k| k.resources.slots.min(room));
    if slots < 2 && first.is_none() {
        let RingSpace { shared_bytes, control_bytes, exchange_bytes, kept_bytes, slot_bytes, .. } = space;
        let message = format!("`{name}`: no two ring slots of {slot_bytes} bytes fit into shared memory");
        let notes = vec![
            format!(
                "{shared_bytes} bytes: {control_bytes} for barriers and records, {} for changes of layout and operands of loops, {} wanted for the ring",
                exchange_bytes + kept_bytes,
                2 * slot_bytes
            ),
            "stage smaller tiles, or spread the work over fewer warps along the terms".to_owned(),
        ];
        let error = Diagnostic { code: "E21", message, file: String::new(), span: Span::NONE, notes };
        return Err(CodegenError::Program(Diagnostics(vec![error])));
    }
    for k in kernels {
        // While products run on, their slots are held beside those of the next one.
        let running = k.schedule.as_deref().and_then(|s| s.inflight.iter().map(|i| i.groups).max()).unwrap_or(0);
        let held = slots_held(k) * (1 + running);
        if held > slots {
            let span = if k.resources.slots > 0 { k.resources.slots_span } else { first_wait(k) };
            let message = format!("the consumer holds {held} slots at one time, the ring has {slots}");
            let notes = vec![format!(
                "release slots earlier, or give the ring at least {held} slots: the wait for the next one would never end"
            )];
            errors.push(at(k, span, "E26", message, notes));
        }
    }
    if errors.is_empty() { Ok(slots) } else { Err(CodegenError::Program(Diagnostics(errors))) }
}

/// Warps and registers are the program's, the same for all of its kernels; 0 asks for whatever it has.
fn agree(k: &Kernel, t: &Threads, kernels: usize, errors: &mut Vec<Diagnostic>) {
    for r in &k.resources.roles {
        let (warps, registers, what) = match r.role {
            Role::Producer => (1, t.producer_registers, "fills the ring"),
            Role::Consumer | Role::All => (t.warps, t.consumer_registers, "computes"),
        };
        let fits = |asked: usize, have: usize| asked == 0 || asked == have;
        if fits(r.warps, warps) && fits(r.registers, registers) {
            continue;
        }
        let asked = [(r.warps, "warps"), (r.registers, "registers a thread")];
        let asked: Vec<String> = asked.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let message = format!("role `{}` asks for {}", r.name, asked.join(" of "));
        let number = if warps == 1 { "1 warp".to_owned() } else { format!("{warps} warps") };
        let mut notes = vec![format!("the role that {what} has {number} of {registers} registers")];
        if kernels > 1 && r.role == Role::Consumer {
            notes.push(format!("the {kernels} kernels of a program share it: another number must be asked for by all"));
        }
        notes.push(format!("ask for {number} of {registers} registers, or leave it to the compiler"));
        errors.push(at(k, r.span, "E30", message, notes));
    }
}

fn first_wait(k: &Kernel) -> Span {
    let mut span = Span::NONE;
    k.walk(|_, op| {
        if !span.is_known() && matches!(op.kind, tile_lang::ir::OpKind::RingWait(_)) {
            span = op.span;
        }
    });
    span
}

fn points(k: &Kernel, span: Span, what: &str) -> String {
    pointing(what, k.files.get(span.file as usize).map_or("", String::as_str), span)
}

fn at(k: &Kernel, span: Span, code: &'static str, message: String, notes: Vec<String>) -> Diagnostic {
    let file = k.files.get(span.file as usize).cloned().unwrap_or_default();
    Diagnostic { code, message, file, span, notes }
}
