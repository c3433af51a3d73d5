//! Products in flight: which warpgroups have only started, waits for them where their results or slots are needed, and slots whose release
//! is put off until then.
//!
//! Products end in the order in which they were started, so a wait says how many of the latest may still run. A product whose sum a loop
//! carries may run into the next iteration, where the next product adds to the same registers without a wait.

use super::body::{Body, Held, register_type};
use super::crossing::{Crossing, crossing, slots_of};
use super::emit::Ssa;
use super::{actions, sync};
use crate::layout::Layout;
use tile_lang::dtype::DType;
use tile_lang::ir::{OpData, OpId, OpKind, ValueId};
use tile_lang::protocol::{Action, At, Barrier, Reach, RingId, Side, Who};

/// Registers of a tile up to which all of them stand for it.
const FEW: usize = 4;

/// A product that may still run.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// Its result, unless a later product has taken it over.
    pub value: Option<ValueId>,
    /// Registers of its first operand.
    pub words: Vec<Ssa>,
    /// The waits that took the slots that it reads.
    pub slots: Vec<OpId>,
    /// Releases that are put off until it is over.
    pub put_off: Vec<OpId>,
}

impl Body<'_> {
    /// The most products that may run after this one was started.
    pub fn may_run(&self, product: OpId) -> usize {
        self.layouts.inflight.get(&product).copied().unwrap_or(0)
    }

    /// The registers of a product's result as they are, whether or not it is over.
    pub fn in_flight(&self, v: ValueId, layout: &Layout) -> Option<Vec<Ssa>> {
        let key = (v, layout.clone());
        self.tiles.iter().rev().find_map(|s| s.get(&key)).and_then(|h| match h {
            Held::Elements(e) => Some(e.clone()),
            Held::Nibbles(_) => None,
        })
    }

    /// Waits until this value's product is over, if it is one that may run.
    pub fn land_value(&mut self, v: ValueId) {
        if let Some(at) = self.flights.iter().position(|f| f.value == Some(v)) {
            self.land(self.flights.len() - 1 - at);
        }
    }

    /// Waits until at most `left` products run; gives back the slots that were kept for the others.
    pub fn land(&mut self, left: usize) {
        if self.flights.len() <= left {
            return;
        }
        let over: Vec<Flight> = self.flights.drain(..self.flights.len() - left).collect();
        self.after_computed();
        self.e.asm(&format!("wgmma.wait_group.sync.aligned {left};"), "", &[], None);
        self.notes.note(Action::WaitProducts { left });
        for mut flight in over {
            self.settle(flight.value, &mut flight.words);
            for release in flight.put_off {
                self.give_back(release);
            }
        }
    }

    /// Remembers what was computed last while products run, or of many elements before a turn may be taken: a few factors may as well come later.
    pub fn note_computed(&mut self, v: ValueId, held: &Held) {
        let ty = register_type(self.dtype(v));
        let (running, turns) = (!self.flights.is_empty(), !self.layouts.turns.is_empty());
        if let (Held::Elements(e), "f32" | "i32") = (held, ty)
            && (running || turns && e.len() > FEW)
        {
            let ends = if e.len() > FEW { vec![&e[0], &e[e.len() - 1]] } else { e.iter().collect() };
            self.computed = ends.into_iter().map(|x| (x.clone(), ty)).collect();
        }
    }

    /// What follows comes after what was computed before it. ptxas sees no order between arithmetic and waits, for products or turns, and draws the
    /// waits for products up to the start of a block, so that nothing would overlap. It keeps the order of instructions with effects: one that
    /// needs the results, and practically never does anything, holds what follows it back. Where it does, it only takes a nanosecond.
    pub fn after_computed(&mut self) {
        let mut all: Option<Ssa> = None;
        for (x, ty) in std::mem::take(&mut self.computed) {
            let x = self.e.bitcast(&x, ty, "i32");
            all = Some(match all {
                None => x,
                Some(a) => self.e.bin("xor", &a, &x, "i32"),
            });
        }
        if let Some(x) = all {
            let text = "{ .reg .pred p; setp.eq.b32 p, $0, 0x7fedcba9; @p nanosleep.u32 1; }";
            self.e.asm(text, "r", &[(&x, "i32")], None);
        }
    }

    /// Result and first operand of a product that is over: what reads the one and writes the other comes after this.
    fn settle(&mut self, value: Option<ValueId>, words: &mut [Ssa]) {
        let Some(v) = value else {
            if !words.is_empty() {
                self.tied("// over", &mut [], words, &[], DType::F32);
            }
            return;
        };
        for scope in (0..self.tiles.len()).rev() {
            let key = self.tiles[scope].keys().find(|(w, _)| *w == v).cloned();
            let Some(key) = key else { continue };
            if let Some(Held::Elements(mut c)) = self.tiles[scope].get(&key).cloned() {
                let sum = self.dtype(v);
                self.tied("// over", &mut c, words, &[], sum);
                self.tiles[scope].insert(key, Held::Elements(c));
            }
            return;
        }
    }

    /// The variable that holds the slot which a release has put off, -1 for none.
    fn late(&mut self, release: OpId) -> Ssa {
        if let Some(v) = self.late.get(&release) {
            return v.clone();
        }
        let variable = self.e.entry(|e| {
            let (one, none) = (e.i32(1), e.i32(-1));
            let v = e.op(&format!("llvm.alloca {one} x i32 : (i32) -> !llvm.ptr"));
            e.store(&none, &v, "i32", 4, 0);
            v
        });
        self.late.insert(release, variable.clone());
        variable
    }

    /// A release of a slot that a running product reads is put off until it is over. Whether it was.
    pub fn put_off(&mut self, release: OpId, wait: OpId, index: &Ssa) -> bool {
        let Some(last) = self.flights.iter().rposition(|f| f.slots.contains(&wait)) else { return false };
        let variable = self.late(release);
        self.e.store(index, &variable, "i32", 4, 0);
        self.flights[last].put_off.push(release);
        self.notes.replace(release, vec![Action::PutOff { at: At::TakenBy(wait) }]);
        true
    }

    fn give_back(&mut self, release: OpId) {
        let variable = self.late(release);
        let index = self.e.load(&variable, "i32", 4, 0);
        let none = self.e.i32(-1);
        self.e.store(&none, &variable, "i32", 4, 0);
        let barrier = Barrier { ring: RingId::Tiles, side: Side::Empty };
        let address = actions::barrier(self.e, &self.map.address.clone(), barrier, &index);
        let zero = self.e.i32(0);
        let any = self.e.icmp("sge", &index, &zero, "i32");
        let (thread, cluster) = (self.thread.clone(), self.cluster);
        let reach = if cluster > 1 { Reach::Cluster } else { Reach::Cta };
        sync::arrive_warp(self.e, &address, &thread, cluster, Some(&any));
        self.notes.note(Action::Arrive { barrier, at: At::PutOffBy(release), who: Who::EachWarp, reach });
    }

    /// The product that a loop hands on running.
    pub fn crossing(&self, op: &OpData) -> Option<Crossing> {
        crossing(self.k, &self.layouts, &self.definitions, op).filter(|c| self.may_run(c.product) > 0)
    }

    /// The waits that took the slots which a product's operands lie in.
    pub fn slots_of(&self, product: OpId) -> Vec<OpId> {
        slots_of(self.k, &self.definitions, product)
    }

    /// Whether an op's blocks start products or touch the ring, so that nothing may run on through one of its branches only.
    pub fn meddles(&self, id: OpId) -> bool {
        self.k.op(id).blocks.iter().flat_map(|b| &self.k.block(*b).ops).any(|inner| {
            let kind = &self.k.op(*inner).kind;
            matches!(kind, OpKind::Mma | OpKind::RingWait(_) | OpKind::RingRelease | OpKind::For { .. })
                || self.meddles(*inner)
        })
    }

    /// Before a branch: waits for the products whose results its blocks use; later ones run on.
    pub fn land_used(&mut self, id: OpId) {
        for block in &self.k.op(id).blocks {
            for inner in &self.k.block(*block).ops {
                for v in &self.k.op(*inner).operands {
                    self.land_value(*v);
                }
                self.land_used(*inner);
            }
        }
    }
}
