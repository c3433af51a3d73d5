//! The register budget of a CTA.
//!
//! A CTA starts with as many registers for each of its threads as its launch bounds allow, a multiple of 8, but no more than the largest
//! number that `setmaxnreg` names (what ptxas was seen to give: 168 at 384 threads, 224 at 256). `setmaxnreg` then moves
//! registers between warpgroups: a group that wants more waits until another has given them back. So what the groups end
//! with must fit in what the CTA started with, or the kernel hangs; the assembler says nothing about it.

use super::Findings;
use tile_lang::protocol::Registers;

const LEAST: usize = 24;
const MOST: usize = 256;
const STEP: usize = 8;
const GROUP: usize = 128;
const WARP: usize = 32;

/// Checks the budget; returns the number of warpgroups.
pub fn check(r: &Registers, warps: usize, out: &mut Findings) -> usize {
    let threads = r.producer_threads + r.consumer_threads;
    // Where every thread keeps what it starts with nothing is moved, and roles need no whole warpgroups.
    let moved = r.producer != r.consumer;
    let (unit, unit_name) = if moved { (GROUP, "warpgroups") } else { (WARP, "warps") };
    for (who, n) in [("the producer has", r.producer_threads), ("the consumers have", r.consumer_threads)] {
        if n == 0 || !n.is_multiple_of(unit) {
            let message = format!("{who} {n} threads; registers belong to whole {unit_name} of {unit}");
            out.error("E31", message, vec![format!("use {} threads", n.max(1).next_multiple_of(unit))]);
        }
    }
    if r.consumer_threads != 32 * warps {
        let message =
            format!("{warps} consumer warps are {} threads, the budget has {}", 32 * warps, r.consumer_threads);
        out.error("E31", message, vec![format!("count {} consumer threads", 32 * warps)]);
    }
    for (role, n) in [("producer", r.producer), ("consumer", r.consumer)] {
        if !n.is_multiple_of(STEP) || !(LEAST..=MOST).contains(&n) {
            let legal = n.clamp(LEAST, MOST) / STEP * STEP;
            let message =
                format!("`setmaxnreg` takes {LEAST} to {MOST} in steps of {STEP}; a {role} thread is given {n}");
            out.error("E23", message, vec![format!("{legal} is the nearest legal value below")]);
        }
    }
    if threads == 0 {
        return 0;
    }
    let entry = (r.file / threads / STEP * STEP).min(MOST).min(r.producer.max(r.consumer));
    let want = r.producer * r.producer_threads + r.consumer * r.consumer_threads;
    if want > entry * threads {
        let legal = alternatives(r, entry * threads);
        let message = format!(
            "{} × {} + {} × {} registers are {want}; {threads} threads start with {entry} each, {} together",
            r.producer_threads,
            r.producer,
            r.consumer_threads,
            r.consumer,
            entry * threads
        );
        out.error("E22", message, vec![format!("producer and consumer registers that fit: {legal}")]);
    } else if moved && (r.producer > entry || r.consumer < entry) {
        let message = format!(
            "a thread starts with {entry} registers; the producer can only give back (to {}) and a consumer only take (to {})",
            r.producer, r.consumer
        );
        out.error(
            "E22",
            message,
            vec![format!("producer and consumer registers that fit: {}", alternatives(r, entry * threads))],
        );
    }
    threads / GROUP
}

/// Some pairs that use the pool best.
fn alternatives(r: &Registers, pool: usize) -> String {
    let pair = |producer: usize| {
        let rest = pool.checked_sub(producer * r.producer_threads)? / r.consumer_threads.max(1);
        let consumer = rest.min(MOST) / STEP * STEP;
        (consumer >= LEAST).then(|| format!("{producer} and {consumer}"))
    };
    [24, 40, 56].into_iter().filter_map(pair).collect::<Vec<_>>().join(", ")
}
