//! Reports as text.

use super::report::{KernelReport, Place, Product, ProgramReport, RoleReport, SharedMap, Transaction};
use crate::sass::{Counts, SassReport};
use std::fmt;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str("(no place)"),
            line => write!(f, "{}:{line}:{}", self.file, self.col),
        }
    }
}

impl fmt::Display for SharedMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |n: usize| n as f64 / 1024.0;
        let end = |at: usize, bytes: usize| at + bytes;
        writeln!(f, "shared memory: {:.1} of {:.1} KiB", kib(self.used), kib(self.capacity))?;
        let (c, r, x) = (self.control, self.ring, self.exchange);
        writeln!(f, "  {:>6} .. {:<6} barriers and instruction records", c.offset, end(c.offset, c.bytes))?;
        writeln!(
            f,
            "  {:>6} .. {:<6} ring of {} slots with room for {} bytes each",
            r.offset,
            end(r.offset, r.bytes),
            self.slots,
            self.slot_bytes
        )?;
        if self.kept.bytes > 0 {
            let k = self.kept;
            writeln!(f, "  {:>6} .. {:<6} operands that loops keep", k.offset, end(k.offset, k.bytes))?;
        }
        write!(f, "  {:>6} .. {:<6} exchange: changes of layout and partial sums", x.offset, end(x.offset, x.bytes))
    }
}

impl fmt::Display for RoleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, .. } = &self.first;
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "{}: {} {threads}, {} ops", self.role, self.threads, self.ops)?;
        if *line > 0 { write!(f, ", {file}:{line}–{}", self.last.line) } else { Ok(()) }
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fills {} bytes of a slot, {}", self.bytes, self.place)?;
        for p in &self.parts {
            let shape: Vec<String> = p.shape.iter().map(usize::to_string).collect();
            let kind = if p.weight { "weight" } else { "array" };
            let (offset, bytes, shape) = (p.offset, p.bytes, shape.join("×"));
            write!(f, "\n    +{offset:<6} {bytes:>6} bytes: {kind} `{}` {} {shape}, {}", p.param, p.dtype, p.order)?;
        }
        Ok(())
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([m, n, k], [wm, wn, wk], [a, b, c]) = (self.shape, self.warps, self.elements);
        write!(
            f,
            "{m}×{n}×{k}, warps {wm}×{wn}×{wk}, {} steps of {}, {}\n    a: {}, {a} elements a thread\n    \
             b: {}, {b} elements a thread\n    accumulator: {c} elements a thread{}",
            self.steps,
            self.instruction,
            self.place,
            self.a,
            self.b,
            if wk > 1 { ", partial sums added through the exchange area" } else { "" }
        )
    }
}

impl fmt::Display for KernelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}", self.name)?;
        if !self.generics.is_empty() {
            let list: Vec<String> = self.generics.iter().map(|(n, v)| format!("{n} = {v}")).collect();
            write!(f, "<{}>", list.join(", "))?;
        }
        for r in &self.roles {
            write!(f, "\n  {r}")?;
        }
        let waits = if self.ring.waits { "copies wait for earlier instructions" } else { "copies wait for nothing" };
        match self.ring.transactions.len() {
            0 => write!(f, "\n  ring: unused")?,
            _ => write!(f, "\n  ring: {waits}")?,
        }
        for t in &self.ring.transactions {
            write!(f, "\n  - {t}")?;
        }
        if !self.products.is_empty() {
            write!(f, "\n  products:")?;
        }
        for p in &self.products {
            write!(f, "\n  - {p}")?;
        }
        if !self.choices.is_empty() {
            write!(f, "\n  chosen, as the schedule leaves it open:")?;
        }
        for c in &self.choices {
            write!(f, "\n  - {c}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ProgramReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for k in &self.kernels {
            writeln!(f, "{k}")?;
        }
        write!(f, "{}", self.shared)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} instructions: {} mma, {} bulk copies, {} barrier ops, {} shared loads, {} global loads, {} local accesses",
            self.instructions,
            self.mma,
            self.bulk_copies,
            self.barriers,
            self.shared_loads,
            self.global_loads,
            self.local
        )
    }
}

impl fmt::Display for SassReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "machine code: {} instructions", self.all.instructions)?;
        for r in &self.roles {
            let registers = r.registers.map_or("no setmaxnreg".into(), |n| format!("setmaxnreg {n}"));
            write!(f, "\n  {} ({registers}): {}", r.role, r.counts)?;
            for l in r.loops.iter().filter(|l| l.counts.mma + l.counts.bulk_copies > 0) {
                let c = &l.counts;
                let (mma, copies) = (c.mma, c.bulk_copies);
                let (from, to, all) = (l.begin, l.end, c.instructions);
                write!(f, "\n    loop {from:#06x}–{to:#06x}: {all} instructions, {mma} mma, {copies} bulk copies")?;
            }
        }
        Ok(())
    }
}
