//! Progress between CTAs and roles: counters, the end of a pass, the trace.

use super::actions::Cursor;
use super::emit::{Emitter, Ssa};
use super::frame::Frame;
use super::program::VERDICT;
use super::sync;
use crate::CodegenError;
use tile_lang::ir::Role;
use tile_lang::protocol::Action;
use tile_lang::record::{self, control, trace};

/// Polls of a counter between two looks at the clock and at the abort flag; a power of two.
const POLLS: i64 = 256;

impl Frame {
    /// Consumer: thread 0 waits for what the record depends on and tells the producer; then all vote. When the kernel is
    /// told to end, all leave together, before any of them looks at what others may be writing. `waited` is what the wait
    /// for the record itself returned.
    pub fn agree(
        &mut self,
        record: &Ssa,
        pass: &Ssa,
        cursor: &Cursor,
        waited: &Ssa,
        leave: &str,
    ) -> Result<(), CodegenError> {
        let list = self.actions.consumer_begin.clone();
        let Some((Action::Meet { id, threads }, before)) = list.split_last() else {
            return Err(CodegenError::Plan("the protocol lets the consumers begin without a meeting".into()));
        };
        let [ask, vote, go] = std::array::from_fn(|_| self.e.label());
        let (any, zero) = (self.e.fresh(), self.e.i32(0));
        let first = self.e.icmp("eq", &self.thread.clone(), &zero, "i32");
        let arrived = self.e.icmp("eq", waited, &zero, "i32");
        let asks = self.e.bin("and", &first, &arrived, "i1");
        self.e.cond_br(&asks, &ask, &format!("{vote}({waited} : i32)"));
        self.e.block(&ask, "");
        let mut ended = zero;
        for action in before {
            match action {
                // CTAs without items need none of it.
                Action::WaitCounters => {
                    let [wait, skip] = std::array::from_fn(|_| self.e.label());
                    let result = self.e.fresh();
                    let items = self.field(record, record::ITEMS);
                    let mine = self.e.icmp("slt", &self.cta.clone(), &items, "i32");
                    self.e.cond_br(&mine, &wait, &format!("{skip}({ended} : i32)"));
                    self.e.block(&wait, "");
                    let now = self.wait_dependencies(record, pass);
                    self.e.br(&skip, &[(now, "i32")]);
                    self.e.block(&skip, &format!("({result}: i32)"));
                    ended = result;
                }
                other => {
                    self.carry_out(std::slice::from_ref(other), Role::Consumer, cursor)?;
                }
            }
        }
        self.e.br(&vote, &[(ended, "i32")]);
        self.e.block(&vote, &format!("({any}: i32)"));
        let ends = sync::vote(&mut self.e, &any, *id, *threads);
        self.e.cond_br(&ends, leave, &go);
        self.e.block(&go, "");
        Ok(())
    }

    /// Consumer, after the items of a record: everything written is visible before the counter rises.
    pub fn finish(&mut self, record: &Ssa, index: &Ssa, count: &Ssa, cursor: &Cursor) -> Result<(), CodegenError> {
        let list = self.actions.consumer_end.clone();
        let Some(met) = list.iter().position(|a| matches!(a, Action::Meet { .. })) else {
            return Err(CodegenError::Plan("the protocol lets the consumers end without a meeting".into()));
        };
        self.carry_out(&list[..=met], Role::Consumer, cursor)?;
        self.stamp(index, count, trace::CONSUMER_END);
        let (raise, join) = (self.e.label(), self.e.label());
        let zero = self.e.i32(0);
        let first = self.e.icmp("eq", &self.thread.clone(), &zero, "i32");
        self.e.cond_br(&first, &raise, &join);
        self.e.block(&raise, "");
        for action in &list[met + 1..] {
            match action {
                Action::Raise => {
                    let counter = self.field(record, record::COUNTER);
                    let address = self.counter_address(&counter);
                    self.e.asm("red.release.gpu.global.add.u32 [$0], 1;", "l", &[(&address, "!llvm.ptr<1>")], None);
                }
                other => {
                    self.carry_out(std::slice::from_ref(other), Role::Consumer, cursor)?;
                }
            }
        }
        self.e.br(&join, &[]);
        self.e.block(&join, "");
        Ok(())
    }

    /// Waits for every dependency of a record that belongs to this run. Returns 1 (i32) if the kernel is told to end.
    fn wait_dependencies(&mut self, record: &Ssa, pass: &Ssa) -> Ssa {
        let [head, one, wait, next, done] = std::array::from_fn(|_| self.e.label());
        let [i, ended, ended_next] = std::array::from_fn(|_| self.e.fresh());
        let count = self.field(record, record::DEPS);
        let own = self.field(record, record::COUNTER);
        let zero = self.e.i32(0);
        self.e.br(&head, &[(zero.clone(), "i32"), (zero, "i32")]);
        self.e.block(&head, &format!("({i}: i32, {ended}: i32)"));
        let more = self.e.icmp("slt", &i, &count, "i32");
        self.e.cond_br(&more, &one, &done);
        self.e.block(&one, "");
        let offset = self.e.mul_const(&i, 8);
        let entry = self.e.offset(record, &offset, "i32", 3);
        let counter = self.field(&entry, record::DEP_LIST);
        let arrivals = self.field(&entry, record::DEP_LIST + 4);
        let ours = self.e.icmp("sge", &counter, "%begin", "i32");
        self.e.cond_br(&ours, &wait, &format!("{next}({ended} : i32)"));
        self.e.block(&wait, "");
        let passes = self.e.add_const(pass, 1);
        let target = self.e.bin("mul", &arrivals, &passes, "i32");
        let now = self.wait_counter(&counter, &target, &own);
        let now = self.e.bin("or", &now, &ended, "i32");
        self.e.br(&next, &[(now, "i32")]);
        self.e.block(&next, &format!("({ended_next}: i32)"));
        let following = self.e.add_const(&i, 1);
        self.e.br(&head, &[(following, "i32"), (ended_next, "i32")]);
        self.e.block(&done, "");
        ended
    }

    fn counter_address(&mut self, counter: &Ssa) -> Ssa {
        let offset = self.e.mul_const(counter, control::COUNTER_STRIDE as i64);
        let offset = self.e.add_const(&offset, control::BYTES as i64);
        self.e.offset("%control", &offset, "i32", 1)
    }

    /// One thread waits until a counter reaches its target. A wait that takes longer than the limit writes what it saw and
    /// ends the kernel. Returns 1 (i32) if the kernel is told to end.
    fn wait_counter(&mut self, counter: &Ssa, target: &Ssa, record: &Ssa) -> Ssa {
        let address = self.counter_address(counter);
        let timer = |e: &mut Emitter| e.asm("mov.u64 $0, %globaltimer;", "=l", &[], Some("i64"));
        let [spin, slow, look, check, late, report, done] = std::array::from_fn(|_| self.e.label());
        let (polls, ended) = (self.e.fresh(), self.e.fresh());
        let (zero, one) = (self.e.i32(0), self.e.i32(1));
        let start = timer(&mut self.e);
        self.e.br(&spin, &[(zero.clone(), "i32")]);
        self.e.block(&spin, &format!("({polls}: i32)"));
        let value =
            self.e.asm("ld.relaxed.gpu.global.u32 $0, [$1];", "=r,l", &[(&address, "!llvm.ptr<1>")], Some("i32"));
        let ahead = self.e.bin("sub", &value, target, "i32");
        let reached = self.e.icmp("sge", &ahead, &zero, "i32");
        self.e.cond_br(&reached, &format!("{done}({zero} : i32)"), &slow);
        // The clock and the abort flag are looked at now and then only: each look costs as much as a poll.
        self.e.block(&slow, "");
        let next = self.e.add_const(&polls, 1);
        let mask = self.e.i32(POLLS - 1);
        let turn = self.e.bin("and", &next, &mask, "i32");
        let due = self.e.icmp("eq", &turn, &zero, "i32");
        self.e.line(&format!("llvm.cond_br {due}, {look}, {spin}({next} : i32)"));
        self.e.block(&look, "");
        let stop = sync::aborted(&mut self.e, &"%control".to_owned());
        self.e.cond_br(&stop, &report, &check);
        self.e.block(&check, "");
        let now = timer(&mut self.e);
        let waited = self.e.bin("sub", &now, &start, "i64");
        let over = self.e.icmp("ugt", &waited, "%timeout", "i64");
        self.e.line(&format!("llvm.cond_br {over}, {late}, {spin}({next} : i32)"));
        self.e.block(&late, "");
        self.e.asm("st.relaxed.sys.global.b32 [$0], $1;", "l,r", &[("%control", "!llvm.ptr<1>"), (&one, "i32")], None);
        self.e.br(&report, &[]);
        // Whoever waits says for what; the largest key is that of the earliest instruction, where the trouble began.
        self.e.block(&report, "");
        let top = self.e.i64(control::LAST_INDEX as i64);
        let part = |e: &mut Emitter, x: &Ssa| e.op(&format!("llvm.zext {x} : i32 to i64"));
        let (waited_for, waiting, cta) =
            (part(&mut self.e, counter), part(&mut self.e, record), part(&mut self.e, &self.cta.clone()));
        let waited_for = self.e.bin("sub", &top, &waited_for, "i64");
        let waiting = self.e.bin("sub", &top, &waiting, "i64");
        let (by_counter, by_record) =
            (self.e.i64(control::COUNTER_SHIFT as i64), self.e.i64(control::RECORD_SHIFT as i64));
        let high = self.e.bin("shl", &waited_for, &by_counter, "i64");
        let middle = self.e.bin("shl", &waiting, &by_record, "i64");
        let key = self.e.bin("or", &high, &middle, "i64");
        let key = self.e.bin("or", &key, &cta, "i64");
        let place = self.e.offset_const("%control", 4 * control::REPORT, 1);
        self.e.asm("red.relaxed.sys.global.max.u64 [$0], $1;", "l,l", &[(&place, "!llvm.ptr<1>"), (&key, "i64")], None);
        self.e.br(&done, &[(one, "i32")]);
        self.e.block(&done, &format!("({ended}: i32)"));
        ended
    }

    /// Writes the SM's clock into the trace, if there is one: the producer thread, or the first consumer thread.
    pub fn stamp(&mut self, index: &Ssa, count: &Ssa, word: usize) {
        let (write, join) = (self.e.label(), self.e.label());
        let none = self.e.i64(0);
        let wanted = self.e.icmp("ne", "%trace", &none, "i64");
        let mask = self.e.i32((self.warps * 32 - 1) as i64);
        let place = self.e.bin("and", &self.thread.clone(), &mask, "i32");
        let zero = self.e.i32(0);
        // Thread 0 of the consumers, and the producer: the thread after all of them.
        let leads = self.e.icmp("eq", &place, &zero, "i32");
        let both = self.e.bin("and", &wanted, &leads, "i1");
        self.e.cond_br(&both, &write, &join);
        self.e.block(&write, "");
        let row = self.e.bin("mul", &self.cta.clone(), count, "i32");
        let row = self.e.bin("add", &row, index, "i32");
        let row = self.e.op(&format!("llvm.sext {row} : i32 to i64"));
        let stride = self.e.i64((8 * trace::WORDS) as i64);
        let offset = self.e.bin("mul", &row, &stride, "i64");
        let offset = self.e.bin("add", "%trace", &offset, "i64");
        let p = self.e.op(&format!("llvm.inttoptr {offset} : i64 to !llvm.ptr<1>"));
        let p = self.e.offset_const(&p, 8 * word, 1);
        let clock = self.e.asm("mov.u64 $0, %clock64;", "=l", &[], Some("i64"));
        self.e.store(&clock, &p, "i64", 8, 1);
        self.e.br(&join, &[]);
        self.e.block(&join, "");
    }

    /// Consumer, at the end of a pass: waits for the program's last instruction, looks at the stop element, tells the
    /// producer. Returns whether there is another pass.
    pub fn decide(&mut self, next_pass: &Ssa, arrivals_state: &Ssa) -> Result<Ssa, CodegenError> {
        let list = self.actions.decide.clone();
        let Some(met) = list.iter().position(|a| matches!(a, Action::Meet { .. })) else {
            return Err(CodegenError::Plan("the protocol lets a pass end without a meeting".into()));
        };
        let (poll, join) = (self.e.label(), self.e.label());
        let zero = self.e.i32(0);
        let first = self.e.icmp("eq", &self.thread.clone(), &zero, "i32");
        let verdict = self.e.offset_const(&self.shared.clone(), VERDICT, 3);
        self.e.cond_br(&first, &poll, &join);
        self.e.block(&poll, "");
        let end =
            Cursor { alike: zero.clone(), index: zero.clone(), phase: zero.clone(), state: (Ssa::new(), Ssa::new()) };
        for action in &list[..met] {
            match action {
                Action::WaitLast => {
                    let arrivals = self.e.load(arrivals_state, "i32", 4, 0);
                    let target = self.e.bin("mul", &arrivals, next_pass, "i32");
                    let last = self.e.add_const("%end", -1);
                    self.wait_counter(&last, &target, &last.clone());
                }
                // The verdict stands before it is announced.
                Action::Arrive { .. } => {
                    self.write_verdict(&verdict, next_pass);
                    self.carry_out(std::slice::from_ref(action), Role::Consumer, &end)?;
                }
                other => {
                    self.carry_out(std::slice::from_ref(other), Role::Consumer, &end)?;
                }
            }
        }
        self.e.br(&join, &[]);
        self.e.block(&join, "");
        self.carry_out(&list[met..=met], Role::Consumer, &end)?;
        let word = self.e.load(&verdict, "i32", 4, 3);
        // Nobody overwrites the verdict before everyone has read it.
        self.carry_out(&list[met + 1..], Role::Consumer, &end)?;
        Ok(self.e.icmp("ne", &word, &zero, "i32"))
    }

    /// One thread: whether there is another pass. After the last one that the launch may run nobody asks the stop element, which may lie in the
    /// host's memory, microseconds away.
    fn write_verdict(&mut self, verdict: &Ssa, next_pass: &Ssa) {
        let [ask, say] = std::array::from_fn(|_| self.e.label());
        let (word, zero) = (self.e.fresh(), self.e.i32(0));
        let more = self.e.icmp("slt", next_pass, "%passes", "i32");
        self.e.cond_br(&more, &ask, &format!("{say}({zero} : i32)"));
        self.e.block(&ask, "");
        let flag = self.e.asm("ld.relaxed.sys.global.b32 $0, [$1];", "=r,l", &[("%stop", "!llvm.ptr<1>")], Some("i32"));
        let running = self.e.icmp("eq", &flag, &zero, "i32");
        let aborted = sync::aborted(&mut self.e, &"%control".to_owned());
        let truth = self.e.bool(true);
        let alive = self.e.bin("xor", &aborted, &truth, "i1");
        let again = self.e.bin("and", &running, &alive, "i1");
        let again = self.e.op(&format!("llvm.zext {again} : i1 to i32"));
        self.e.br(&say, &[(again, "i32")]);
        self.e.block(&say, &format!("({word}: i32)"));
        self.e.store(&word, verdict, "i32", 4, 3);
    }

    /// Producer, at the end of a pass: waits for the consumer's verdict.
    pub fn learn(&mut self, state: &(Ssa, Ssa)) -> Result<Ssa, CodegenError> {
        let cursor = Cursor::load(&mut self.e, state);
        self.carry_out(&self.actions.learn.clone(), Role::Producer, &cursor)?;
        let verdict = self.e.offset_const(&self.shared.clone(), VERDICT, 3);
        let word = self.e.load(&verdict, "i32", 4, 3);
        let zero = self.e.i32(0);
        Ok(self.e.icmp("ne", &word, &zero, "i32"))
    }

    /// Producer, before it ends: after an abort, copies may still be on their way into this CTA's shared memory.
    pub fn let_copies_land(&mut self) {
        let (wait, done) = (self.e.label(), self.e.label());
        let stop = sync::aborted(&mut self.e, &"%control".to_owned());
        self.e.cond_br(&stop, &wait, &done);
        self.e.block(&wait, "");
        for _ in 0..4 {
            self.e.asm("nanosleep.u32 1000000;", "", &[], None);
        }
        self.e.br(&done, &[]);
        self.e.block(&done, "");
    }
}
