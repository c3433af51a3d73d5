//! What kernels with explicit roles ask of the program, against what the program has: each request is honoured or refused.

use super::program::{CONSUMER_REGISTERS, MAX_SLOTS, PRODUCER_REGISTERS};
use crate::CodegenError;
use crate::layout::WARPS;
use tile_lang::diag::{Diagnostic, Diagnostics};
use tile_lang::ir::{Kernel, Role, slots_held};
use tile_lang::span::Span;

/// Shared memory that the ring can be made of.
pub(super) struct RingSpace {
    /// Dynamic shared memory of a CTA.
    pub shared_bytes: usize,
    /// What barriers and records take.
    pub control_bytes: usize,
    /// What changes of layout take.
    pub exchange_bytes: usize,
    /// Bytes of a slot.
    pub slot_bytes: usize,
}

impl RingSpace {
    /// How many slots there is room for.
    fn room(&self) -> usize {
        let fixed = self.control_bytes + self.exchange_bytes;
        (self.shared_bytes.saturating_sub(fixed) / self.slot_bytes).min(MAX_SLOTS)
    }
}

/// Number of slots of the program's ring: what its kernels ask for, or all that there is room for.
///
/// # Errors
/// `E21` there is no room for as many slots as a kernel asks for, `E26` a kernel holds more slots at one time than the ring has,
/// `E30` kernels ask for different numbers, or for roles that the program doesn't have. All that is wrong is reported.
pub(super) fn ring_slots(name: &str, kernels: &[&Kernel], space: &RingSpace) -> Result<usize, CodegenError> {
    let mut errors = Vec::new();
    for k in kernels {
        roles(k, &mut errors);
    }
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
                format!("`{}` asks for it at {}", first.name, place(first, first.resources.slots_span)),
                "a program has one ring: ask for the same number, or leave it to the compiler with 0".to_owned(),
            ];
            errors.push(at(other, span, "E30", message, notes));
        }
        if want > room {
            let RingSpace { shared_bytes, control_bytes, exchange_bytes, slot_bytes } = space;
            let message = format!("a ring of {want} slots of {slot_bytes} bytes does not fit, {room} slots do");
            let notes = vec![
                format!(
                    "{shared_bytes} bytes of shared memory: {control_bytes} for barriers and records, {exchange_bytes} for changes of layout, {} wanted for the ring",
                    want * slot_bytes
                ),
                format!("ask for at most {room} slots, or stage smaller tiles"),
            ];
            errors.push(at(first, first.resources.slots_span, "E21", message, notes));
        }
    }
    let slots = first.map_or(room, |k| k.resources.slots.min(room));
    if slots < 2 && first.is_none() {
        return Err(CodegenError::Plan(format!(
            "`{name}`: shared memory of {} bytes holds {} bytes of barriers and exchange area and no two ring slots of {} bytes",
            space.shared_bytes,
            space.control_bytes + space.exchange_bytes,
            space.slot_bytes
        )));
    }
    for k in kernels {
        let held = slots_held(k);
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
fn roles(k: &Kernel, errors: &mut Vec<Diagnostic>) {
    for r in &k.resources.roles {
        let (warps, registers, what) = match r.role {
            Role::Producer => (1, PRODUCER_REGISTERS, "fills the ring"),
            Role::Consumer | Role::All => (WARPS, CONSUMER_REGISTERS, "computes"),
        };
        let fits = |asked: usize, have: usize| asked == 0 || asked == have;
        if !(fits(r.warps, warps) && fits(r.registers, registers)) {
            let message = format!("role `{}` asks for {} warps of {} registers", r.name, r.warps, r.registers);
            let notes = vec![
                format!(
                    "the role that {what} has {warps} warps of {registers} registers, in every kernel of a program"
                ),
                format!("write `role({:?}, {warps}, {registers}, …)`", r.name),
            ];
            errors.push(at(k, r.span, "E30", message, notes));
        }
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

fn place(k: &Kernel, span: Span) -> String {
    let file = k.files.get(span.file as usize).map_or("", String::as_str);
    format!("{file}:{}:{}", span.line, span.col)
}

fn at(k: &Kernel, span: Span, code: &'static str, message: String, notes: Vec<String>) -> Diagnostic {
    let file = k.files.get(span.file as usize).cloned().unwrap_or_default();
    Diagnostic { code, message, file, span, notes }
}
