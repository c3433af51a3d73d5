//! The binary form of an instruction, as the persistent kernel reads it. Codegen takes offsets from here and the
//! runtime fills records in, so both agree by construction.
//!
//! | byte | field |
//! |---|---|
//! | 0 | kernel (i32): index of the op instance |
//! | 4 | work items (i32) |
//! | 8 | number of dependencies (i32) |
//! | 12 | own counter (i32) |
//! | 16 | extents of the grid of work items (4 × i32) |
//! | 32 | dependencies: counter (i32), arrivals each pass (i32), up to [`MAX_DEPS`] |
//! | 96 | parameters at [`param_offsets`] |

use crate::ir::{Access, Kernel, Type};
use crate::plan::{Instr, Operand, Plan};

/// Bytes from one record to the next.
pub const RECORD_BYTES: usize = 512;
/// Most dependencies of one instruction.
pub const MAX_DEPS: usize = 8;
/// Most extents of a grid of work items.
pub const MAX_EXTENTS: usize = 4;
/// Offset of the kernel index.
pub const KERNEL: usize = 0;
/// Offset of the number of work items.
pub const ITEMS: usize = 4;
/// Offset of the number of dependencies.
pub const DEPS: usize = 8;
/// Offset of the instruction's own counter.
pub const COUNTER: usize = 12;
/// Offset of the extents.
pub const EXTENTS: usize = 16;
/// Offset of the dependencies.
pub const DEP_LIST: usize = 32;
const PARAMS: usize = DEP_LIST + 8 * MAX_DEPS;

/// Words of the control block, in device memory. Counters follow it.
pub mod control {
    /// 1 ends the kernel: a wait ran out of time.
    pub const ABORT: usize = 0;
    /// A u64: the largest of the keys of all waits that were going on then. A key is, from its highest bits,
    /// [`LAST_INDEX`] less the counter waited for, the same less the instruction that waits, and the CTA. Zero for none.
    pub const REPORT: usize = 2;
    /// Largest index of a counter or instruction in a key.
    pub const LAST_INDEX: u64 = (1 << 24) - 1;
    /// Lowest bit of the counter's part.
    pub const COUNTER_SHIFT: u32 = 40;
    /// Lowest bit of the instruction's part.
    pub const RECORD_SHIFT: u32 = 16;
    /// Address (u64) of the debug buffer, 0 for none, and its bytes (u64) behind it.
    pub const DEBUG: usize = 8;
    /// The first assertion that failed, as [`failure`](super::failure) says.
    pub const FAILURE: usize = 32;
    /// Bytes before the first counter.
    pub const BYTES: usize = 1024;
    /// Bytes from one counter to the next: one cache line each.
    pub const COUNTER_STRIDE: usize = 128;
}

/// Words of an assertion that failed, in the control block.
pub mod failure {
    /// Its site, from 1; 0 for none.
    pub const SITE: usize = 0;
    /// Instruction.
    pub const RECORD: usize = 1;
    /// CTA.
    pub const CTA: usize = 2;
    /// Element of the condition, row after row.
    pub const ELEMENT: usize = 3;
    /// Axes of the grid of work items.
    pub const AXES: usize = 4;
    /// Coordinates of the work item.
    pub const ITEM: usize = 8;
    /// Most coordinates.
    pub const ITEM_WORDS: usize = super::MAX_EXTENTS;
    /// Values of the message.
    pub const VALUES: usize = 12;
    /// Most values.
    pub const MOST_VALUES: usize = 8;
    /// All of them.
    pub const WORDS: usize = VALUES + MOST_VALUES;
}

/// Words of the debug buffer: the bytes that entries want (u64), and from [`FIRST`] on the entries.
pub mod debug {
    /// Where the first entry begins.
    pub const FIRST: usize = 4;
    /// In an entry: its site, from 1.
    pub const SITE: usize = 0;
    /// Words of its payload: elements row after row, or of a mark the SM's clock and the GPU's.
    pub const PAYLOAD_WORDS: usize = 1;
    /// Instruction.
    pub const RECORD: usize = 2;
    /// CTA.
    pub const CTA: usize = 3;
    /// Axes of the grid of work items.
    pub const AXES: usize = 4;
    /// Coordinates of the work item.
    pub const ITEM: usize = 8;
    /// Most coordinates.
    pub const ITEM_WORDS: usize = super::MAX_EXTENTS;
    /// Where the payload begins.
    pub const PAYLOAD: usize = 12;

    /// Words of an entry: entries begin at multiples of 16 bytes.
    pub const fn entry_words(payload: usize) -> usize {
        (PAYLOAD + payload).next_multiple_of(4)
    }
}

/// The optional trace: for each CTA and each instruction of the range, four times in cycles of the SM's clock. Zero where
/// the CTA had no items.
pub mod trace {
    /// The producer starts to request this CTA's bytes.
    pub const PRODUCER_BEGIN: usize = 0;
    /// All of them are requested.
    pub const PRODUCER_END: usize = 1;
    /// The consumers' dependencies are met.
    pub const CONSUMER_BEGIN: usize = 2;
    /// The consumers are done with this CTA's items.
    pub const CONSUMER_END: usize = 3;
    /// Times of one instruction and CTA.
    pub const WORDS: usize = 4;
}

/// Byte offset of each parameter in a record: a global array is its address (u64) and its extents (i32 each), a number
/// four bytes. An array that is staged and no weight has the address of its tensor map (u64, [`map_offsets`]) after them. The last
/// element is the end.
pub fn param_offsets(kernel: &Kernel) -> Vec<usize> {
    let mut at = PARAMS;
    let mut out = Vec::with_capacity(kernel.params.len() + 1);
    for (i, p) in kernel.params.iter().enumerate() {
        if let Type::Global(_, rank, _) = kernel.ty(p.value) {
            at = at.next_multiple_of(8);
            out.push(at);
            at += 8 + 4 * rank;
            if has_map(kernel, i) {
                at = at.next_multiple_of(8) + 8;
            }
        } else {
            out.push(at);
            at += 4;
        }
    }
    out.push(at);
    out
}

/// Byte offset of the address of each parameter's tensor map; none for numbers, weights, and arrays that aren't staged. Where no copy
/// uses a map the address is 0.
pub fn map_offsets(kernel: &Kernel) -> Vec<Option<usize>> {
    let offsets = param_offsets(kernel);
    let map = |i: usize| match kernel.ty(kernel.params[i].value) {
        Type::Global(_, rank, _) if has_map(kernel, i) => Some((offsets[i] + 8 + 4 * rank).next_multiple_of(8)),
        _ => None,
    };
    (0..kernel.params.len()).map(map).collect()
}

/// Whether a parameter is an array that is staged and no weight.
fn has_map(kernel: &Kernel, param: usize) -> bool {
    match kernel.ty(kernel.params[param].value) {
        Type::Global(_, _, access) => *access != Access::Weight && Plan::is_staged(kernel, param),
        _ => false,
    }
}

/// An instruction doesn't fit the record.
#[derive(Debug, thiserror::Error)]
#[error("instruction `{label}`: {message}")]
pub struct RecordError {
    /// Instruction label.
    pub label: String,
    /// What is too large.
    pub message: String,
}

/// Encodes one instruction. `address` gives the device address of an array operand of a parameter, `map` that of its tensor map,
/// `dims` its extents, `arrivals` how often a counter is raised in one pass.
///
/// # Errors
/// Too many dependencies, extents or parameters.
pub fn encode(
    instr: &Instr,
    index: usize,
    kernel: &Kernel,
    address: impl Fn(usize, &Operand) -> u64,
    map: impl Fn(usize) -> u64,
    dims: impl Fn(&Operand) -> Vec<usize>,
    arrivals: impl Fn(usize) -> usize,
) -> Result<[u8; RECORD_BYTES], RecordError> {
    let fail = |message: String| RecordError { label: instr.label.clone(), message };
    let (offsets, maps) = (param_offsets(kernel), map_offsets(kernel));
    if offsets.last().is_none_or(|end| *end > RECORD_BYTES) {
        return Err(fail(format!("its parameters take more than {RECORD_BYTES} bytes")));
    }
    if instr.after.len() > MAX_DEPS {
        return Err(fail(format!("{} dependencies, at most {MAX_DEPS} are possible", instr.after.len())));
    }
    if instr.extents.len() > MAX_EXTENTS {
        return Err(fail(format!("a grid with {} axes, at most {MAX_EXTENTS} are possible", instr.extents.len())));
    }
    let mut record = [0u8; RECORD_BYTES];
    let mut word = |at: usize, value: i32| record[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let size = |n: usize| i32::try_from(n).map_err(|_| fail(format!("{n} doesn't fit in 32 bits")));
    word(KERNEL, size(instr.kernel)?);
    word(ITEMS, size(instr.items())?);
    word(DEPS, size(instr.after.len())?);
    word(COUNTER, size(index)?);
    for (i, n) in instr.extents.iter().enumerate() {
        word(EXTENTS + 4 * i, size(*n)?);
    }
    for (i, dep) in instr.after.iter().enumerate() {
        word(DEP_LIST + 8 * i, size(*dep)?);
        word(DEP_LIST + 8 * i + 4, size(arrivals(*dep))?);
    }
    for (param, (operand, at)) in instr.operands.iter().zip(&offsets).enumerate() {
        match operand {
            Operand::F32(x) => word(*at, x.to_bits() as i32),
            Operand::I32(x) => word(*at, *x),
            Operand::Bool(x) => word(*at, i32::from(*x)),
            array => {
                let mut long = |at: usize, value: u64| {
                    word(at, value as u32 as i32);
                    word(at + 4, (value >> 32) as u32 as i32);
                };
                long(*at, address(param, array));
                if let Some(place) = maps[param] {
                    long(place, map(param));
                }
                for (i, n) in dims(array).iter().enumerate() {
                    word(*at + 8 + 4 * i, size(*n)?);
                }
            }
        }
    }
    Ok(record)
}
