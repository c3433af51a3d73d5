//! The order of a plan's instructions.
//!
//! A CTA that has items of an instruction waits, before it touches data, for the counters of the instructions in `after`; a
//! counter stands at its target once every CTA with items of that instruction is done with them. So an edge orders all of one
//! instruction before all of another, and edges chain: but only through instructions that have items, since nobody waits on
//! behalf of one that has none, and its counter's target is zero. A pass ends when the last instruction's counter stands; what
//! the last instruction doesn't reach may still run while the next pass begins.

use super::{Findings, span_of};
use tile_lang::diag::pointing;
use tile_lang::ir::{Access, Type};
use tile_lang::plan::{ElementRef, Instr, Operand, Plan};
use tile_lang::record::{MAX_DEPS, MAX_EXTENTS, RECORD_BYTES, control, param_offsets};

/// Elements of a buffer that an instruction touches.
struct Touch {
    instr: usize,
    begin: usize,
    end: usize,
    writes: bool,
}

/// What to do about operands: plans are made by the library.
const FIX: &str = "give what the kernel's parameters declare; `Plan::push` accepts nothing else";

/// How many pairs without order are named; one missing edge makes many.
const NAMED: usize = 4;

/// Checks the plan; returns how many instructions it has.
pub fn check(plan: &Plan, out: &mut Findings) -> usize {
    let before = out.errors.len();
    for instr in &plan.program {
        operands(plan, instr, out);
    }
    host_element(plan, "stop", &plan.stop, out);
    if let Some(cancel) = &plan.cancel {
        host_element(plan, "cancel", cancel, out);
    }
    if out.errors.len() > before {
        return plan.program.len();
    }
    for (index, instr) in plan.program.iter().enumerate() {
        limits(plan, index, instr, out);
    }
    let done = done_before(plan, out);
    within_a_pass(plan, &done, out);
    between_passes(plan, &done, out);
    plan.program.len()
}

/// Every operand names something that exists and that the kernel may use so.
fn operands(plan: &Plan, instr: &Instr, out: &mut Findings) {
    let Some(kernel) = plan.kernels.get(instr.kernel) else {
        let message = format!("`{}` runs kernel {}, the plan has {}", instr.label, instr.kernel, plan.kernels.len());
        return out.instruction(instr, "E38", message, vec![FIX.into()]);
    };
    if kernel.params.len() != instr.operands.len() {
        let (want, got) = (kernel.params.len(), instr.operands.len());
        let message = format!("`{}` gives {got} operands to `{}`, which takes {want}", instr.label, kernel.name);
        return out.instruction(instr, "E38", message, vec![FIX.into()]);
    }
    for (param, operand) in kernel.params.iter().zip(&instr.operands) {
        let access = match kernel.ty(param.value) {
            Type::Global(_, _, access) => Some(*access),
            _ => None,
        };
        let wrong = match (operand, access) {
            (Operand::Buffer { id, offset, dims }, Some(access)) => match plan.buffers.get(*id) {
                None => Some(format!("there is no buffer {id}")),
                Some(_) if access == Access::Weight => {
                    Some("a weight is fetched before any dependency is met, and this is a buffer".to_owned())
                }
                Some(b) => {
                    let (size, count) = (b.dims.iter().product::<usize>(), dims.iter().product::<usize>());
                    let past = offset.checked_add(count).is_none_or(|end| end > size);
                    past.then(|| format!("{count} elements at {offset} of buffer `{}`, which has {size}", b.name))
                }
            },
            (Operand::Weight { id }, Some(access)) => match plan.weights.get(*id) {
                None => Some(format!("there is no weight {id}")),
                Some(w) if access == Access::Write => Some(format!("weight `{}` can't be written", w.name)),
                Some(_) => None,
            },
            (Operand::Buffer { .. } | Operand::Weight { .. }, None) => Some("an array for a number".into()),
            (_, Some(_)) => Some("a number for an array".into()),
            (_, None) => None,
        };
        if let Some(wrong) = wrong {
            let message = format!("operand `{}` of `{}`: {wrong}", param.name, instr.label);
            out.instruction(instr, "E38", message, vec![FIX.into()]);
        }
    }
}

fn host_element(plan: &Plan, what: &str, at: &ElementRef, out: &mut Findings) {
    let size = plan.buffers.get(at.buffer).map(|b| b.dims.iter().product::<usize>());
    if !plan.program.is_empty() && size.is_none_or(|n| at.element >= n) {
        let (buffer, element) = (at.buffer, at.element);
        let message = format!("the {what} element is element {element} of buffer {buffer}, which does not exist");
        out.error("E38", message, vec![format!("plan `{}`", plan.name)]);
    }
}

/// What a record has room for.
fn limits(plan: &Plan, index: usize, instr: &Instr, out: &mut Findings) {
    let kernel = &plan.kernels[instr.kernel];
    let bytes = param_offsets(kernel).last().copied().unwrap_or(0);
    let items = instr.extents.iter().try_fold(1usize, |n, e| n.checked_mul(*e));
    let most = control::LAST_INDEX as usize;
    let checks = [
        (instr.after.len() > MAX_DEPS, format!("{} dependencies, a record holds {MAX_DEPS}", instr.after.len())),
        (instr.extents.len() > MAX_EXTENTS, format!("{} axes, a record holds {MAX_EXTENTS}", instr.extents.len())),
        (bytes > RECORD_BYTES, format!("parameters up to byte {bytes}, a record has {RECORD_BYTES}")),
        (items.is_none_or(|n| n > i32::MAX as usize), "more work items than 32 bits count".into()),
        (index > most, format!("instruction {index}, a wait's report names up to {most}")),
    ];
    for (wrong, what) in checks {
        if wrong {
            let fix = "split the instruction, or let an instruction between wait for some of what it waits for".into();
            out.instruction(instr, "E38", format!("`{}` has {what}", instr.label), vec![fix]);
        }
    }
}

/// For each instruction the set of those that are done before it touches data.
fn done_before(plan: &Plan, out: &mut Findings) -> Vec<Vec<u64>> {
    let n = plan.program.len();
    let words = n.div_ceil(64);
    let mut done: Vec<Vec<u64>> = Vec::with_capacity(n);
    for (i, instr) in plan.program.iter().enumerate() {
        let mut set = vec![0u64; words];
        for &d in &instr.after {
            if d >= i {
                let other = plan.program.get(d).map_or("nothing", |o| o.label.as_str());
                let message = format!("`{}` (instruction {i}) waits for instruction {d}, `{other}`", instr.label);
                let reason =
                    "every CTA runs instructions in order, so a wait for a later one, or for itself, never ends";
                let trace = format!(
                    "consumer, instruction {i}: waits for counter {d}; consumer, instruction {d}: never begins"
                );
                out.instruction(instr, "E26", message, vec![reason.into(), trace]);
            } else if plan.program[d].items() > 0 {
                set[d / 64] |= 1 << (d % 64);
                for (s, o) in set.iter_mut().zip(&done[d]) {
                    *s |= *o;
                }
            }
        }
        done.push(set);
    }
    done
}

fn holds(set: &[u64], i: usize) -> bool {
    set[i / 64] >> (i % 64) & 1 == 1
}

/// What each buffer's elements are touched by, in program order.
fn touches(plan: &Plan) -> Vec<Vec<Touch>> {
    let mut out: Vec<Vec<Touch>> = plan.buffers.iter().map(|_| Vec::new()).collect();
    for (index, instr) in plan.program.iter().enumerate().filter(|(_, i)| i.items() > 0) {
        let kernel = &plan.kernels[instr.kernel];
        for (param, operand) in kernel.params.iter().zip(&instr.operands) {
            let Operand::Buffer { id, offset, dims } = operand else { continue };
            let writes = matches!(kernel.ty(param.value), Type::Global(_, _, Access::Write));
            let end = offset + dims.iter().product::<usize>();
            out[*id].push(Touch { instr: index, begin: *offset, end, writes });
        }
    }
    out
}

/// Two instructions that touch one element, one of them writing, are ordered.
fn within_a_pass(plan: &Plan, done: &[Vec<u64>], out: &mut Findings) {
    let mut found = 0;
    for (buffer, list) in plan.buffers.iter().zip(touches(plan)) {
        for (at, b) in list.iter().enumerate() {
            // The nearest first: it is the edge that is missing.
            for a in list[..at].iter().rev() {
                let apart = a.end <= b.begin || b.end <= a.begin || !(a.writes || b.writes) || a.instr == b.instr;
                if apart || holds(&done[b.instr], a.instr) {
                    continue;
                }
                found += 1;
                if found > NAMED {
                    continue;
                }
                let (first, second) = (&plan.program[a.instr], &plan.program[b.instr]);
                let verb = |w: bool| if w { "writes" } else { "reads" };
                let (from, to) = (a.begin.max(b.begin), a.end.min(b.end));
                let message = format!(
                    "`{}` {} elements {from}..{to} of buffer `{}` and nothing makes it wait for `{}`, which {} them",
                    second.label,
                    verb(b.writes),
                    buffer.name,
                    first.label,
                    verb(a.writes)
                );
                let notes = vec![
                    pointing(&format!("`{}` is instruction {}", first.label, a.instr), &first.file, span_of(first)),
                    format!("`{}` is instruction {} and waits for {:?}", second.label, b.instr, second.after),
                    format!("let instruction {} wait for instruction {}", b.instr, a.instr),
                ];
                out.instruction(second, "E27", message, notes);
            }
        }
    }
    if found > NAMED {
        let fix = "`Plan::link` derives what each instruction waits for".to_owned();
        out.error("E27", format!("{} more pairs of instructions are not ordered", found - NAMED), vec![fix]);
    }
}

/// The last instruction reaches all others: passes follow each other strictly, which is what lets counters run on.
fn between_passes(plan: &Plan, done: &[Vec<u64>], out: &mut Findings) {
    let Some((last, instr)) = plan.program.iter().enumerate().next_back() else { return };
    if instr.items() == 0 {
        let message = format!(
            "the last instruction, `{}`, has no work items, so the end of a pass waits for nothing",
            instr.label
        );
        return out.instruction(
            instr,
            "E27",
            message,
            vec!["end the program with an instruction that has work".into()],
        );
    }
    let open: Vec<usize> = (0..last).filter(|i| plan.program[*i].items() > 0 && !holds(&done[last], *i)).collect();
    if let Some(&one) = open.last() {
        let other = &plan.program[one];
        let message = format!(
            "a pass may end while `{}` (instruction {one}) still runs: the last instruction, `{}`, doesn't wait for it",
            other.label, instr.label
        );
        let notes = vec![
            format!("{} of {last} instructions are not waited for", open.len()),
            "the next pass would touch what this one still uses, and its counter would count two passes at once".into(),
            format!("let instruction {last} wait for instruction {one}"),
        ];
        out.instruction(other, "E27", message, notes);
    }
}
