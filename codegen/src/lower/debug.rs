//! What kernels say about themselves: assertions, tiles that are shown, marks.
//!
//! The first assertion of a run that fails is written to the control block, with the op's site, and ends the kernel through the
//! abort flag that the watchdog has too. Its own team doesn't go on: all its threads vote and leave together, since what
//! follows may rest on what was asserted. Tiles and marks are entries of the debug buffer, whose address is in the control
//! block; space for one is taken by one addition, and what doesn't fit is not written but counted.

use super::body::{Body, register_type};
use super::emit::Ssa;
use super::exchange::linear;
use super::sync;
use crate::CodegenError;
use crate::layout::{Layout, moved_from};
use crate::protocol::meet;
use tile_lang::dtype::DType;
use tile_lang::ir::{OpData, OpId, Role, ValueId};
use tile_lang::protocol::Action;
use tile_lang::record::{self, control, debug, failure};

impl Body<'_> {
    /// The number of an op's site, from 1.
    fn site(&mut self, id: OpId) -> Result<Ssa, CodegenError> {
        let at = self.sites.iter().position(|s| s.kernel == self.number && s.op == id);
        match at {
            Some(at) if self.role == Role::Consumer => Ok(self.e.i32(at as i64 + 1)),
            _ => self.broken("an op that says something, in a role that can't"),
        }
    }

    /// The elements of a value as 32-bit numbers: those of a tile in a layout, or the one number for each register.
    fn said(&mut self, v: ValueId, layout: Option<&Layout>) -> Result<Vec<Ssa>, CodegenError> {
        let count = layout.map_or(1, Layout::registers);
        let elements = match layout {
            Some(layout) if self.is_tile(v) => self.elements(v, layout)?,
            _ => vec![self.scalar(v)?; count],
        };
        let d = self.dtype(v);
        let bits = |b: &mut Self, x: &Ssa| match d {
            DType::Bool => b.e.op(&format!("llvm.zext {x} : i1 to i32")),
            _ => b.e.bitcast(x, register_type(d), "i32"),
        };
        Ok(elements.iter().map(|x| bits(self, x)).collect())
    }

    /// The layout in which a value is said; none for a number.
    fn said_in(&self, v: ValueId) -> Option<Layout> {
        self.is_tile(v).then(|| moved_from(self.layouts.native.get(&v).cloned(), self.k.ty(v), self.warps))
    }

    /// This thread's first position in a tile, row after row.
    fn position(&mut self, layout: &Layout) -> Ssa {
        let terms = self.linear_terms(layout, 1);
        let thread = self.thread.clone();
        self.thread_sum(&thread, &terms)
    }

    /// Instruction, CTA and work item as words from a place on.
    fn said_by(&mut self, at: &Ssa, [record, cta, axes, item]: [usize; 4]) {
        let number = {
            let p = self.e.offset_const(&self.record.clone(), record::COUNTER, 3);
            self.e.load(&p, "i32", 4, 3)
        };
        let mut words = vec![(record, number), (cta, self.cta.clone())];
        words.push((axes, self.e.i32(self.work.len() as i64)));
        words.extend(self.work.iter().take(record::MAX_EXTENTS).enumerate().map(|(i, w)| (item + i, w.clone())));
        for (word, x) in words {
            let p = self.e.offset_const(at, 4 * word, 1);
            self.e.store(&x, &p, "i32", 4, 1);
        }
    }

    /// `device_assert!`
    pub fn device_assert(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        let site = self.site(id)?;
        let layout = self.said_in(op.operands[0]);
        let holds = match &layout {
            Some(layout) => self.elements(op.operands[0], layout)?,
            None => vec![self.scalar(op.operands[0])?],
        };
        let values = op.operands[1..].iter().map(|v| self.said(*v, layout.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let truth = self.e.bool(true);
        let wrong: Vec<Ssa> = holds.iter().map(|c| self.e.bin("xor", c, &truth, "i1")).collect();
        let mut any = wrong[0].clone();
        for w in &wrong[1..] {
            any = self.e.bin("or", &any, w, "i1");
        }
        let flag = self.e.op(&format!("llvm.zext {any} : i1 to i32"));
        self.meets_in_turn();
        let meeting = meet(self.warps);
        let Action::Meet { id, threads } = meeting else { return self.broken("the consumers have no meeting") };
        let fails = sync::vote(self.e, &flag, id, threads);
        self.notes.note(meeting);
        self.written.clear();
        self.read.clear();
        let [fail, first, write, go] = std::array::from_fn(|_| self.e.label());
        let leave = self.map.leave.clone();
        self.e.cond_br(&fails, &fail, &go);
        self.e.block(&fail, "");
        self.e.cond_br(&any, &first, &leave);
        // The first thread of the device to come here writes what it saw; which one that is, is open.
        self.e.block(&first, "");
        let at = self.e.offset_const("%control", 4 * control::FAILURE, 1);
        let (zero, one) = (self.e.i32(0), self.e.i32(1));
        let before = self.e.asm(
            "atom.relaxed.gpu.global.cas.b32 $0, [$1], $2, $3;",
            "=r,l,r,r",
            &[(&at, "!llvm.ptr<1>"), (&zero, "i32"), (&site, "i32")],
            Some("i32"),
        );
        let won = self.e.icmp("eq", &before, &zero, "i32");
        self.e.cond_br(&won, &write, &leave);
        self.e.block(&write, "");
        self.said_by(&at, [failure::RECORD, failure::CTA, failure::AXES, failure::ITEM]);
        let (mut element, mut shown) = (zero, values.iter().map(|v| v[0].clone()).collect::<Vec<_>>());
        if let Some(layout) = &layout {
            let base = self.position(layout);
            for r in (0..layout.registers()).rev() {
                let here = self.e.add_const(&base, linear(&layout.shape, &layout.register_offset(r)) as i64);
                element = self.e.select(&wrong[r], &here, &element, "i32");
                for (shown, v) in shown.iter_mut().zip(&values) {
                    *shown = self.e.select(&wrong[r], &v[r], shown, "i32");
                }
            }
        }
        let words = [(failure::ELEMENT, element)];
        let values = shown.into_iter().enumerate().map(|(i, v)| (failure::VALUES + i, v));
        for (word, x) in words.into_iter().chain(values) {
            let p = self.e.offset_const(&at, 4 * word, 1);
            self.e.store(&x, &p, "i32", 4, 1);
        }
        // What was written stands before the flag ends all others.
        self.e.asm("fence.acq_rel.sys;", "", &[], None);
        self.e.asm("st.relaxed.sys.global.b32 [$0], $1;", "l,r", &[("%control", "!llvm.ptr<1>"), (&one, "i32")], None);
        self.e.br(&leave, &[]);
        self.e.block(&go, "");
        Ok(())
    }

    /// Takes space for an entry of the debug buffer, by one thread: its address, 0 if there is no buffer or no space. Head and
    /// origin are written.
    fn entry(&mut self, site: &Ssa, payload: usize) -> Ssa {
        let [ask, fill, done] = std::array::from_fn(|_| self.e.label());
        let (none, entry) = (self.e.i64(0), self.e.fresh());
        let at = self.e.offset_const("%control", 4 * control::DEBUG, 1);
        let (buffer, size) = (self.e.load(&at, "i64", 8, 1), {
            let p = self.e.offset_const(&at, 8, 1);
            self.e.load(&p, "i64", 8, 1)
        });
        let there = self.e.icmp("ne", &buffer, &none, "i64");
        self.e.cond_br(&there, &ask, &format!("{done}({none} : i64)"));
        self.e.block(&ask, "");
        let head = self.e.op(&format!("llvm.inttoptr {buffer} : i64 to !llvm.ptr<1>"));
        let bytes = self.e.i64(4 * debug::entry_words(payload) as i64);
        let taken = self.e.asm(
            "atom.relaxed.gpu.global.add.u64 $0, [$1], $2;",
            "=l,l,l",
            &[(&head, "!llvm.ptr<1>"), (&bytes, "i64")],
            Some("i64"),
        );
        let first = self.e.i64(4 * debug::FIRST as i64);
        let begin = self.e.bin("add", &taken, &first, "i64");
        let end = self.e.bin("add", &begin, &bytes, "i64");
        let fits = self.e.icmp("ule", &end, &size, "i64");
        self.e.cond_br(&fits, &fill, &format!("{done}({none} : i64)"));
        self.e.block(&fill, "");
        let address = self.e.bin("add", &buffer, &begin, "i64");
        let p = self.e.op(&format!("llvm.inttoptr {address} : i64 to !llvm.ptr<1>"));
        let words = [(debug::SITE, site.clone()), (debug::PAYLOAD_WORDS, self.e.i32(payload as i64))];
        for (word, x) in words {
            let p = self.e.offset_const(&p, 4 * word, 1);
            self.e.store(&x, &p, "i32", 4, 1);
        }
        self.said_by(&p, [debug::RECORD, debug::CTA, debug::AXES, debug::ITEM]);
        self.e.br(&done, &[(address, "i64")]);
        self.e.block(&done, &format!("({entry}: i64)"));
        entry
    }

    /// Runs `f` on the team's first thread.
    fn by_first(&mut self, f: impl FnOnce(&mut Self) -> Result<(), CodegenError>) -> Result<(), CodegenError> {
        let [mine, done] = std::array::from_fn(|_| self.e.label());
        let (thread, zero) = (self.thread.clone(), self.e.i32(0));
        let first = self.e.icmp("eq", &thread, &zero, "i32");
        self.e.cond_br(&first, &mine, &done);
        self.e.block(&mine, "");
        f(self)?;
        self.e.br(&done, &[]);
        self.e.block(&done, "");
        // The first warp's lanes together again.
        self.e.asm("bar.warp.sync 0xffffffff;", "", &[], None);
        Ok(())
    }

    /// Stores words at an entry's payload, if there is an entry.
    fn payload(&mut self, entry: &Ssa, words: &[(usize, Ssa)], ty: &str, only: Option<&Ssa>) {
        let [write, done] = std::array::from_fn(|_| self.e.label());
        let none = self.e.i64(0);
        let mut there = self.e.icmp("ne", entry, &none, "i64");
        if let Some(only) = only {
            there = self.e.bin("and", &there, only, "i1");
        }
        self.e.cond_br(&there, &write, &done);
        self.e.block(&write, "");
        let p = self.e.op(&format!("llvm.inttoptr {entry} : i64 to !llvm.ptr<1>"));
        for (byte, x) in words {
            let p = self.e.offset_const(&p, 4 * debug::PAYLOAD + byte, 1);
            self.e.store(x, &p, ty, 4, 1);
        }
        self.e.br(&done, &[]);
        self.e.block(&done, "");
    }

    /// `dbg_tile!`
    pub fn dbg_tile(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        let (site, x) = (self.site(id)?, op.operands[0]);
        let Some(layout) = self.said_in(x) else {
            let bits = self.said(x, None)?;
            return self.by_first(|b| {
                let entry = b.entry(&site, 1);
                b.payload(&entry, &[(0, bits[0].clone())], "i32", None);
                Ok(())
            });
        };
        let bits = self.said(x, Some(&layout))?;
        let elements = layout.shape.iter().product();
        // One thread takes the space and tells the others through the exchange area.
        self.reserve_exchange(8);
        self.notes.own();
        self.barrier();
        self.notes.note(Action::ExchangeWrite { bytes: 8 });
        let base = self.map.exchange_base.clone();
        self.by_first(|b| {
            let entry = b.entry(&site, elements);
            b.e.store(&entry, &base, "i64", 8, 3);
            Ok(())
        })?;
        self.barrier();
        self.notes.note(Action::ExchangeRead { bytes: 8 });
        let entry = self.e.load(&base, "i64", 8, 3);
        let own = self.position(&layout);
        let four = self.e.i32(4);
        let own = self.e.bin("mul", &own, &four, "i32");
        let own = self.e.op(&format!("llvm.zext {own} : i32 to i64"));
        let none = self.e.i64(0);
        let there = self.e.icmp("ne", &entry, &none, "i64");
        let moved = self.e.bin("add", &entry, &own, "i64");
        let place = self.e.select(&there, &moved, &none, "i64");
        let words: Vec<(usize, Ssa)> = (bits.into_iter().enumerate())
            .map(|(r, x)| (4 * linear(&layout.shape, &layout.register_offset(r)), x))
            .collect();
        let only = self.one_copy(&layout);
        self.payload(&place, &words, "i32", only.as_ref());
        Ok(())
    }

    /// `mark!`: the SM's clock, as the trace's other times, and the GPU's.
    pub fn mark(&mut self, id: OpId) -> Result<(), CodegenError> {
        let site = self.site(id)?;
        self.by_first(|b| {
            let clock = b.e.asm("mov.u64 $0, %clock64;", "=l", &[], Some("i64"));
            let time = b.e.asm("mov.u64 $0, %globaltimer;", "=l", &[], Some("i64"));
            let entry = b.entry(&site, 4);
            b.payload(&entry, &[(0, clock), (8, time)], "i64", None);
            Ok(())
        })
    }
}
