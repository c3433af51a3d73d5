//! Products by warpgroups: `wgmma.m64nNkK` over swizzled tiles in shared memory, the first operand also from registers.
//!
//! Fence, products, commit and wait each take the accumulators as tied operands, so that nothing moves their registers
//! across: what initialises them stays before the fence, what reads them after the wait. Registers of the first operand go
//! through fence and wait in the same way, so that none is written again while a product may read it.

use super::body::{Body, Held, SharedTile};
use super::emit::Ssa;
use super::flight::Flight;
use super::parts::Sum;
use super::product::ptx_type;
use super::sync;
use crate::CodegenError;
use crate::layout::descriptor::{StagedOperand, Terms};
use crate::layout::{Layout, pack_of, warpgroup};
use tile_lang::dtype::DType;
use tile_lang::ir::{Literal, OpData, OpId, OpKind, ValueId};
use tile_lang::packing::TileOrder;
use tile_lang::protocol::Action;

/// Rows of one warpgroup's product.
const ROWS: usize = 64;

/// An operand in shared memory.
pub(super) struct Described {
    pub operand: StagedOperand,
    /// The low word of the descriptor of its first terms, i32: the high one is the same for all. It is the same in all lanes, too.
    low: Ssa,
}

/// An operand of one instruction.
pub(super) enum Part {
    /// A descriptor: its low word, but for so many units of 16 bytes, and its high word.
    Staged { low: Ssa, ahead: usize, high: u32 },
    /// Registers.
    Words(Vec<Ssa>),
}

/// Where the first operand comes from.
enum First {
    /// Shared memory.
    Staged(Described),
    /// Registers: four words for each instruction.
    Registers(Vec<[Ssa; 4]>),
}

/// What all instructions of a product have in common.
pub(super) struct Shape {
    /// Columns.
    pub n: usize,
    /// Element types of the operands.
    pub types: [DType; 2],
    /// Type of the sums.
    pub sum: DType,
}

/// LLVM's name for the type of sums, and their constraint.
fn sums(of: DType) -> (&'static str, &'static str) {
    if of == DType::I32 { ("i32", "r") } else { ("f32", "f") }
}

impl Body<'_> {
    pub fn warpgroup_product(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        let [acc, a, b] = [op.operands[0], op.operands[1], op.operands[2]];
        if self.to_keep.iter().any(|k| k.value == a) {
            self.keep_all()?;
        }
        let (m, n) = (self.k.ty(acc).shape()[0], self.k.ty(acc).shape()[1]);
        let shape = Shape { n, types: [self.dtype(a), self.dtype(b)], sum: self.dtype(acc) };
        let split = warpgroup::split(self.warps);
        let layout = Layout::accumulator(m, n, split);
        let fresh = self.is_zero(acc);
        // The sum of a product that still runs is added to in its registers.
        let running = self.flights.last().is_some_and(|f| f.value == Some(acc));
        let mut c = match running.then(|| self.in_flight(acc, &layout)).flatten() {
            Some(c) => {
                self.flights.iter_mut().for_each(|f| f.value = f.value.filter(|v| *v != acc));
                c
            }
            None if fresh => self.undefined(&layout, &shape),
            None => self.elements(acc, &layout)?,
        };
        let result = op.results[0];
        let sum = match (running, fresh) {
            (true, _) => Sum::Running,
            (false, true) => Sum::Fresh,
            (false, false) => Sum::Settled,
        };
        if self.layouts.in_parts.contains(&a) {
            let second = self.described(b, warpgroup::terms_of_second, Rows::All)?;
            self.start_in_parts(id, op, &mut c, &shape, &second, sum)?;
        } else {
            self.start_whole(id, op, &mut c, &shape, sum)?;
        }
        self.remember(result, layout.clone(), Held::Elements(c));
        self.land(self.may_run(id));
        if self.layouts.demands.get(&result).is_some_and(|d| !d.is_empty()) {
            let c = self.elements(result, &layout)?;
            return self.define(result, Held::Elements(c));
        }
        Ok(())
    }

    /// Starts the instructions of a product with the sums `c`, all in one group.
    fn start_whole(
        &mut self,
        id: OpId,
        op: &OpData,
        c: &mut [Ssa],
        shape: &Shape,
        sum: Sum,
    ) -> Result<(), CodegenError> {
        let [a, b] = [op.operands[1], op.operands[2]];
        let k = self.k.ty(a).shape()[1];
        let mut first = if self.is_tile(a) && !self.kept.contains_key(&a) {
            let pack = pack_of(shape.types[0]);
            let layout = Layout::operand_a(self.k.ty(a).shape()[0], k, warpgroup::split(self.warps), pack);
            let held = self.elements(a, &layout)?;
            let steps = (0..k).step_by(8 << pack);
            First::Registers(steps.map(|at| self.fragment_a(&held, &layout, shape.types[0], [0, at])).collect())
        } else {
            First::Staged(self.described(a, warpgroup::terms_of_first, Rows::OfWarpgroup)?)
        };
        let second = self.described(b, warpgroup::terms_of_second, Rows::All)?;
        self.take_turn(id);
        let mut words = first.words();
        self.tied("wgmma.fence.sync.aligned;", c, &mut words, &[], shape.sum);
        first.set_words(&words);
        let depth = second.operand.depth();
        for (i, at) in (0..k).step_by(depth).enumerate() {
            let parts = match &first {
                First::Staged(a) => [a.step(at), second.step(at)],
                First::Registers(words) => [Part::Words(words[i].to_vec()), second.step(at)],
            };
            let turned = [first.turned(), Some(second.operand.turned())];
            self.multiply(c, shape, parts, turned, i > 0 || sum != Sum::Fresh);
        }
        self.e.asm("wgmma.commit_group.sync.aligned;", "", &[], None);
        self.notes.own();
        self.notes.note(Action::Start { terms: 0..k });
        self.give_turn(id)?;
        let (slots, words) = (self.slots_of(id), first.words());
        self.computed.clear();
        self.flights.push(Flight { value: Some(op.results[0]), words, slots, put_off: Vec::new() });
        Ok(())
    }

    /// Whether an accumulator is nothing but zeros, which the first instruction then needn't read.
    fn is_zero(&self, acc: ValueId) -> bool {
        let made = self.definitions[acc.index()].map(|id| self.k.op(id));
        made.filter(|op| op.kind == OpKind::Splat).is_some_and(|op| match self.literals.get(&op.operands[0]) {
            Some(Literal::F32(x)) => x.to_bits() == 0,
            Some(Literal::I32(x)) => *x == 0,
            _ => false,
        })
    }

    /// Accumulators that hold anything.
    fn undefined(&mut self, layout: &Layout, shape: &Shape) -> Vec<Ssa> {
        let any = self.e.op(&format!("llvm.mlir.undef : {}", sums(shape.sum).0));
        vec![any; layout.registers()]
    }

    fn described(&mut self, v: ValueId, terms: fn(bool) -> Terms, rows: Rows) -> Result<Described, CodegenError> {
        let found = self.kept.get(&v).or_else(|| self.shared.get(&v));
        let Some(SharedTile { address, dtype, packing, offset, transposed, .. }) = found.cloned() else {
            return self.broken("a warpgroup's operand that is not in shared memory");
        };
        let operand = StagedOperand { dtype, tile: packing.tile, start: offset, terms: terms(transposed) };
        if let Some(why) = operand.impossible() {
            return self.broken(format!("a warpgroup's operand that can't be described: {why}"));
        }
        if packing.order != TileOrder::Swizzled {
            return self.broken("a warpgroup's operand that is not stored swizzled");
        }
        let mut address = self.e.add_const(&address, operand.offset(0, 0) as i64);
        if rows == Rows::OfWarpgroup {
            // Each warpgroup has its own 64 rows.
            let (group, bytes) =
                (sync::warpgroup(self.e, &self.thread), operand.offset(ROWS, 0) - operand.offset(0, 0));
            let ahead = self.e.entry(|e| e.mul_const(&group, bytes as i64));
            address = self.e.bin("add", &address, &ahead, "i32");
        }
        let four = self.e.i32(4);
        let address = self.e.bin("lshr", &address, &four, "i32");
        let fields = i64::from(operand.fields() as u32);
        Ok(Described { operand, low: self.e.add_const(&address, fields) })
    }

    /// One instruction. `turned` says for operands in shared memory which way their terms run; `adds` whether `c` counts. Descriptors are
    /// put together beside it: LLVM would compute those of a loop before it and keep them all.
    pub fn multiply(&mut self, c: &mut [Ssa], shape: &Shape, parts: [Part; 2], turned: [Option<u8>; 2], adds: bool) {
        let (mut others, mut before, mut names) = (Vec::new(), String::new(), Vec::new());
        let list = |from: usize, n: usize| (from..from + n).map(|i| format!("${i}")).collect::<Vec<_>>().join(",");
        for (part, [word, descriptor]) in parts.into_iter().zip([["s", "a"], ["t", "b"]]) {
            let at = c.len() + others.len();
            match part {
                Part::Staged { low, ahead, high } => {
                    before.push_str(&format!(
                        ".reg .b32 {word}; .reg .b64 {descriptor}; add.s32 {word}, ${at}, {ahead}; mov.b64 {descriptor}, {{{word}, {high}}}; "
                    ));
                    names.push(descriptor.to_owned());
                    others.push((low, "r"));
                }
                Part::Words(words) => {
                    names.push(format!("{{{}}}", list(at, words.len())));
                    others.extend(words.into_iter().map(|w| (w, "r")));
                }
            }
        }
        let [ta, tb] = shape.types;
        // Integers are neither negated nor turned, bytes not turned.
        let mut flags = String::new();
        if shape.sum == DType::F32 {
            flags.push_str(", 1, 1");
        }
        if ta.bits() == 16 {
            turned.into_iter().flatten().for_each(|t| flags.push_str(&format!(", {t}")));
        }
        let text = format!(
            "{{ {before}wgmma.mma_async.sync.aligned.m64n{}k{}.{}.{}.{} {{{}}}, {}, {}{flags}; }}",
            shape.n,
            256 / ta.bits(),
            if shape.sum == DType::I32 { "s32" } else { "f32" },
            ptx_type(ta),
            ptx_type(tb),
            list(0, c.len()),
            names.join(", "),
            i32::from(adds),
        );
        self.tied(&text, c, &mut [], &others, shape.sum);
    }

    /// One instruction with the accumulators `c`, of element type `sum`, and then the words `a` as operands and results; `others`, with their
    /// constraints, come after both.
    pub fn tied(&mut self, text: &str, c: &mut [Ssa], a: &mut [Ssa], others: &[(Ssa, &str)], sum: DType) {
        let (ty, letter) = sums(sum);
        let count = c.len() + a.len();
        let mut constraints = vec![format!("={letter}"); c.len()];
        constraints.extend(a.iter().map(|_| "=r".to_owned()));
        constraints.extend(others.iter().map(|(_, constraint)| (*constraint).to_owned()));
        constraints.extend((0..count).map(|i| i.to_string()));
        let mut operands: Vec<(&str, &str)> =
            others.iter().map(|(x, constraint)| (x.as_str(), if *constraint == "l" { "i64" } else { "i32" })).collect();
        operands.extend(c.iter().map(|x| (x.as_str(), ty)));
        operands.extend(a.iter().map(|x| (x.as_str(), "i32")));
        let mut types = vec![ty; c.len()];
        types.extend(a.iter().map(|_| "i32"));
        let result = format!("!llvm.struct<({})>", types.join(", "));
        let d = self.e.asm(text, &constraints.join(","), &operands, Some(&result));
        for (i, x) in c.iter_mut().chain(a).enumerate() {
            *x = self.e.op(&format!("llvm.extractvalue {d}[{i}] : {result}"));
        }
    }
}

/// Whose rows of an operand a warpgroup reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Its own.
    OfWarpgroup,
    /// Those of all.
    All,
}

impl Described {
    /// The descriptor some terms further on.
    pub fn step(&self, terms: usize) -> Part {
        let ahead = (self.operand.offset(0, terms) - self.operand.offset(0, 0)) >> 4;
        Part::Staged { low: self.low.clone(), ahead, high: (self.operand.fields() >> 32) as u32 }
    }
}

impl First {
    /// The registers that products read, one after the other.
    fn words(&self) -> Vec<Ssa> {
        match self {
            First::Staged(_) => Vec::new(),
            First::Registers(words) => words.iter().flatten().cloned().collect(),
        }
    }

    fn set_words(&mut self, to: &[Ssa]) {
        if let First::Registers(words) = self {
            words.iter_mut().flatten().zip(to).for_each(|(w, x)| w.clone_from(x));
        }
    }

    /// Which way the terms run, if it is in shared memory.
    fn turned(&self) -> Option<u8> {
        match self {
            First::Staged(a) => Some(a.operand.turned()),
            First::Registers(_) => None,
        }
    }
}
