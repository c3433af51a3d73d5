//! One role's body of one op instance: environment, dispatch over ops, values in layouts.

use super::emit::{Emitter, Ssa};
use super::facts::ParamFacts;
use super::flight::Flight;
use super::kept::ToKeep;
use super::notes::{Here, Notes};
use super::program::SharedMap;
use super::turns::Turn;
use crate::CodegenError;
use crate::layout::{Assignment, Layout};
use std::collections::{HashMap, HashSet};
use tile_lang::debug::Site;
use tile_lang::dtype::DType;
use tile_lang::ir::{BlockId, Kernel, Literal, OpData, OpId, OpKind, Role, Type, ValueId};
use tile_lang::packing::Packing;
use tile_lang::protocol::KernelProtocol;

/// A global array argument.
#[derive(Clone, Debug)]
pub(super) struct ArrayArg {
    /// Address.
    pub pointer: Ssa,
    /// Extents as i32.
    pub dims: Vec<Ssa>,
    /// Address of its tensor map, i64, if it is staged and no weight.
    pub map: Option<Ssa>,
    /// What is known of it.
    pub facts: ParamFacts,
}

/// The elements that one thread holds of a tile.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// One SSA value per register.
    Elements(Vec<Ssa>),
    /// 4-bit codes: for each register a word and the nibble in it.
    Nibbles(Vec<(Ssa, u8)>),
}

/// A tile in shared memory, or a part of one.
#[derive(Clone, Debug)]
pub(super) struct SharedTile {
    /// Address of the whole tile.
    pub base: Ssa,
    /// The same as a number, i32, the same in all lanes of a warp.
    pub address: Ssa,
    /// Element type.
    pub dtype: DType,
    /// Storage of the whole tile.
    pub packing: Packing,
    /// First element of the part.
    pub offset: [usize; 2],
    /// Whether the part's axes are swapped against the storage.
    pub transposed: bool,
}

/// State while one body is lowered.
pub(super) struct Body<'a> {
    pub e: &'a mut Emitter,
    pub k: &'a Kernel,
    pub role: Role,
    pub layouts: Assignment,
    pub map: &'a SharedMap,
    /// Thread index among the consumer's threads.
    pub thread: Ssa,
    pub arrays: HashMap<ValueId, ArrayArg>,
    pub scalars: HashMap<ValueId, Ssa>,
    pub literals: HashMap<ValueId, Literal>,
    /// Tiles by value and layout; inner scopes end with their block.
    pub tiles: Vec<HashMap<(ValueId, Layout), Held>>,
    pub shared: HashMap<ValueId, SharedTile>,
    /// Operands that were made in registers and lie in shared memory for the products of a loop.
    pub kept: HashMap<ValueId, SharedTile>,
    /// Such operands that are still to be stored.
    pub to_keep: Vec<ToKeep>,
    /// Slot index of each wait.
    pub taken: HashMap<OpId, Ssa>,
    /// Storage of each part of each ring transaction, in program order, and how many were met.
    pub ring: &'a [Vec<Packing>],
    pub ring_at: usize,
    pub definitions: Vec<Option<OpId>>,
    /// Arrays written and arrays read since the last barrier among the consumers.
    pub written: HashSet<ValueId>,
    pub read: HashSet<ValueId>,
    /// Item coordinates.
    pub work: Vec<Ssa>,
    /// Largest use of the exchange area so far, in bytes.
    pub exchange_bytes: &'a mut usize,
    /// What ring ops do.
    pub actions: &'a KernelProtocol,
    /// What other ops turn out to do.
    pub notes: Notes<'a>,
    /// Consumer warps.
    pub warps: usize,
    /// This CTA.
    pub cta: Ssa,
    /// The record at hand, in shared memory.
    pub record: Ssa,
    /// Index of the kernel in the program, and the program's ops that say something.
    pub number: usize,
    pub sites: &'a [Site],
    /// CTAs of a cluster.
    pub cluster: usize,
    /// Products that may still run, oldest first.
    pub flights: Vec<Flight>,
    /// Where the slots lie whose release is put off, by release.
    pub late: HashMap<OpId, Ssa>,
    /// Registers, with their type, of what was computed last since a product was started.
    pub computed: Vec<(Ssa, &'static str)>,
    /// The turn that the warpgroup has.
    pub turn: Option<Turn>,
}

impl Body<'_> {
    /// An error that points at an op's source.
    pub fn fail<T>(&self, op: &OpData, code: &'static str, message: String, fix: &str) -> Result<T, CodegenError> {
        Err(CodegenError::at(self.k, op.span, code, message, fix))
    }

    /// An error of the compiler itself.
    pub fn broken<T>(&self, message: impl Into<String>) -> Result<T, CodegenError> {
        Err(CodegenError::Lowering { kernel: self.k.name.clone(), message: message.into() })
    }

    /// Lowers all ops of a block but its yield; returns what it yields.
    pub fn block(&mut self, block: BlockId) -> Result<Vec<ValueId>, CodegenError> {
        let mut yields = Vec::new();
        for &id in &self.k.block(block).ops {
            let k = self.k;
            let op = k.op(id);
            let file = k.files.get(op.span.file as usize).map_or("", String::as_str);
            self.e.at(file, op.span.line, op.span.col);
            if op.kind == OpKind::Yield {
                yields = op.operands.clone();
            } else {
                if let OpKind::RingFill(_) | OpKind::RingWait(_) | OpKind::RingRelease = op.kind {
                    self.ring_op(id, op)?;
                    continue;
                }
                let outer = self.notes.at(Here::Op(id));
                self.op(id, op)?;
                self.notes.end(outer);
            }
        }
        self.keep_all()?;
        Ok(yields)
    }

    fn op(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        match &op.kind {
            OpKind::Const(l) => {
                let v = match l {
                    Literal::I32(x) => self.e.i32(i64::from(*x)),
                    Literal::F32(x) => self.e.f32(*x),
                    Literal::Bool(x) => self.e.bool(*x),
                };
                self.literals.insert(op.results[0], *l);
                self.scalars.insert(op.results[0], v);
                Ok(())
            }
            OpKind::Work => {
                for (r, w) in op.results.iter().zip(self.work.clone()) {
                    self.scalars.insert(*r, w);
                }
                Ok(())
            }
            OpKind::Dim(axis) => {
                let dim = match self.arrays.get(&op.operands[0]) {
                    Some(a) => a.dims[*axis].clone(),
                    None => return self.broken("`dim` of something that is no parameter"),
                };
                self.scalars.insert(op.results[0], dim);
                Ok(())
            }
            OpKind::Require(_) | OpKind::Yield => Ok(()),
            OpKind::Unary(_)
            | OpKind::Binary(_)
            | OpKind::Ternary(_)
            | OpKind::Cmp(_)
            | OpKind::Select
            | OpKind::Cast => self.elementwise(op),
            OpKind::Splat | OpKind::Iota(_) | OpKind::Broadcast(_) | OpKind::Repeat(_) => Ok(()),
            OpKind::Transpose => self.transpose(op),
            OpKind::Slice(_) | OpKind::Reshape | OpKind::Join(_) if self.is_tile(op.results[0]) => self.moved(op),
            OpKind::Reshape | OpKind::Join(_) => self.broken("only tiles in registers are reshaped and joined"),
            OpKind::Scan(kind, axis) => self.scan(op, *kind, *axis),
            OpKind::Gather => self.gather(op),
            OpKind::Scatter => self.scatter(op),
            OpKind::Atomic(..) | OpKind::AtomicCas(_) => self.atomic(op),
            OpKind::Slice(at) => {
                let Some(mut tile) = self.shared.get(&op.operands[0]).cloned() else {
                    return self.broken("slice of something that is not in shared memory");
                };
                let at = if tile.transposed { [at[1], at[0]] } else { [at[0], at[1]] };
                tile.offset = [tile.offset[0] + at[0], tile.offset[1] + at[1]];
                self.shared.insert(op.results[0], tile);
                Ok(())
            }
            OpKind::Reduce(kind, axis) => self.reduce(op, *kind, *axis),
            OpKind::Load => self.load(op),
            OpKind::Store | OpKind::StoreMasked => self.store(op),
            OpKind::At => self.at(op),
            OpKind::Set => self.set(op),
            OpKind::Stage => self.broken("a staged load survived specialisation"),
            OpKind::Read => self.read_tile(op),
            OpKind::Mma => self.product(id, op),
            OpKind::MmaScaled => self.scaled_product(id, op),
            OpKind::Prefetch(shape) => self.prefetch(op, shape),
            OpKind::DeviceAssert(_) => self.device_assert(id, op),
            OpKind::DbgTile(_) => self.dbg_tile(id, op),
            OpKind::Mark(_) => self.mark(id),
            OpKind::For { .. } => self.for_loop(op),
            OpKind::If => self.if_else(id, op),
            OpKind::RingFill(_) | OpKind::RingWait(_) | OpKind::RingRelease => {
                self.broken("a ring op among the others")
            }
        }
    }

    /// The SSA value of a scalar.
    pub fn scalar(&self, v: ValueId) -> Result<Ssa, CodegenError> {
        match self.scalars.get(&v) {
            Some(s) => Ok(s.clone()),
            None => self.broken(format!("value {} of type {} has no scalar", v.0, self.k.ty(v))),
        }
    }

    /// A constant scalar's value.
    pub fn literal_i32(&self, v: ValueId) -> Option<i32> {
        match self.literals.get(&v) {
            Some(Literal::I32(x)) => Some(*x),
            _ => None,
        }
    }

    /// Records a tile in its own layout and in every other one that is wanted.
    pub fn define(&mut self, v: ValueId, held: Held) -> Result<(), CodegenError> {
        let Some(native) = self.layouts.native.get(&v).cloned() else {
            return self.broken(format!("value {} has no layout", v.0));
        };
        let demands = self.layouts.demands.get(&v).cloned().unwrap_or_default();
        self.note_computed(v, &held);
        self.remember(v, native.clone(), held.clone());
        for want in demands {
            let converted = self.convert(v, &held, &native, &want)?;
            self.remember(v, want, converted);
        }
        // Stored with those that come until one of them is needed, so that they are loaded at the same time.
        if let Some(at) = self.layouts.kept.get(&v).copied() {
            self.to_keep.push(ToKeep { value: v, held, layout: native, at });
        }
        Ok(())
    }

    pub fn remember(&mut self, v: ValueId, layout: Layout, held: Held) {
        if let Some(scope) = self.tiles.last_mut() {
            scope.insert((v, layout), held);
        }
    }

    /// A tile in a layout: as recorded, or made on the spot if it has no layout of its own.
    pub fn held(&mut self, v: ValueId, layout: &Layout) -> Result<Held, CodegenError> {
        self.land_value(v);
        let key = (v, layout.clone());
        if let Some(h) = self.tiles.iter().rev().find_map(|s| s.get(&key)) {
            return Ok(h.clone());
        }
        if layout.is_partial() && !self.layouts.native.contains_key(&v) {
            let whole = self.held(v, &layout.whole())?;
            let masked = self.first_of_sum(&whole, layout, self.dtype(v))?;
            self.remember(v, layout.clone(), masked.clone());
            return Ok(masked);
        }
        let permuted =
            self.tiles.iter().rev().flat_map(|s| s.iter()).find(|((w, l), _)| *w == v && l.same_threads(layout));
        if let Some(((_, from), h)) = permuted {
            let held = permute(h, from, layout);
            self.remember(v, layout.clone(), held.clone());
            return Ok(held);
        }
        let Some(def) = self.definitions[v.index()] else {
            return self.broken(format!("tile {} ({}) is not available in {layout:?}", v.0, self.k.ty(v)));
        };
        if self.layouts.native.contains_key(&v) && !self.layouts.in_parts.contains(&v) {
            return self.broken(format!("tile {} ({}) was not converted to {layout:?}", v.0, self.k.ty(v)));
        }
        let op = self.k.op(def).clone();
        let held = self.make(&op, layout)?;
        self.remember(v, layout.clone(), held.clone());
        Ok(held)
    }

    /// The elements of a tile, 4-bit codes in a byte each.
    pub fn elements(&mut self, v: ValueId, layout: &Layout) -> Result<Vec<Ssa>, CodegenError> {
        match self.held(v, layout)? {
            Held::Elements(e) => Ok(e),
            Held::Nibbles(n) => Ok(self.codes(&n)),
        }
    }

    /// Makes a tile that has no layout of its own.
    fn make(&mut self, op: &OpData, layout: &Layout) -> Result<Held, CodegenError> {
        let count = layout.registers();
        Ok(Held::Elements(match &op.kind {
            OpKind::Splat => vec![self.scalar(op.operands[0])?; count],
            OpKind::Iota(axis) => {
                let base = self.coordinates(layout)[*axis].clone();
                (0..count).map(|r| self.e.add_const(&base, layout.register_offset(r)[*axis] as i64)).collect()
            }
            OpKind::Broadcast(axis) => {
                let from = layout.without(*axis);
                let x = self.elements(op.operands[0], &from)?;
                (0..count)
                    .map(|r| {
                        let mut at = layout.register_offset(r);
                        at.remove(*axis);
                        x[from.register_at(&at)].clone()
                    })
                    .collect()
            }
            OpKind::Repeat(times) => {
                let from = layout.before_repeat(*times);
                let x = self.elements(op.operands[0], &from)?;
                (0..count)
                    .map(|r| {
                        let mut at = layout.register_offset(r);
                        if let Some(last) = at.last_mut() {
                            *last /= times;
                        }
                        x[from.register_at(&at)].clone()
                    })
                    .collect()
            }
            OpKind::Transpose => {
                let from = layout.transposed();
                return self.held(op.operands[0], &from);
            }
            _ => self.compute(op, layout)?,
        }))
    }

    fn transpose(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let (x, y) = (op.operands[0], op.results[0]);
        if let Some(mut tile) = self.shared.get(&x).cloned() {
            tile.transposed = !tile.transposed;
            self.shared.insert(y, tile);
        } else if let Some(native) = self.layouts.native.get(&y).cloned() {
            let held = self.held(x, &native.transposed())?;
            self.define(y, held)?;
        }
        Ok(())
    }

    /// This thread's coordinates in a layout, as i32, one per axis; they depend on the thread alone.
    pub fn coordinates(&mut self, layout: &Layout) -> Vec<Ssa> {
        let thread = self.thread.clone();
        let bits: Vec<(usize, (u8, u8))> =
            layout.lane.iter().chain(&layout.warp).enumerate().filter_map(|(i, b)| b.map(|b| (i, b))).collect();
        (0..layout.shape.len())
            .map(|axis| {
                let terms: Vec<(usize, usize)> =
                    bits.iter().filter(|(_, b)| b.0 as usize == axis).map(|(i, b)| (*i, 1usize << b.1)).collect();
                self.thread_sum(&thread, &terms)
            })
            .collect()
    }

    /// Σ ((thread >> bit) & 1) × factor, for bits in terms; runs of bits that move together become one shift and mask.
    pub fn thread_sum(&mut self, thread: &Ssa, terms: &[(usize, usize)]) -> Ssa {
        let terms = terms.to_vec();
        self.e.entry(|e| {
            let mut sum: Option<Ssa> = None;
            let mut i = 0;
            while i < terms.len() {
                let (bit, factor) = terms[i];
                let mut run = 1;
                while i + run < terms.len() && terms[i + run] == (bit + run, factor << run) {
                    run += 1;
                }
                let shift = e.i32(bit as i64);
                let mask = e.i32((1i64 << run) - 1);
                let shifted = e.bin("lshr", thread, &shift, "i32");
                let masked = e.bin("and", &shifted, &mask, "i32");
                let scaled = e.mul_const(&masked, factor as i64);
                sum = Some(match sum {
                    None => scaled,
                    Some(s) => e.bin("add", &s, &scaled, "i32"),
                });
                i += run;
            }
            sum.unwrap_or_else(|| e.i32(0))
        })
    }

    /// ⊕ ((thread >> bit) & 1) × pattern, for bits in terms: the exclusive or of the patterns of the bits that are set.
    pub fn thread_xor(&mut self, thread: &Ssa, terms: &[(usize, usize)]) -> Ssa {
        let terms = terms.to_vec();
        self.e.entry(|e| {
            let mut out = e.i32(0);
            for (bit, pattern) in terms {
                let (shift, one) = (e.i32(bit as i64), e.i32(1));
                let shifted = e.bin("lshr", thread, &shift, "i32");
                let set = e.bin("and", &shifted, &one, "i32");
                let scaled = e.mul_const(&set, pattern as i64);
                out = e.bin("xor", &out, &scaled, "i32");
            }
            out
        })
    }

    /// Element type of a value.
    pub fn dtype(&self, v: ValueId) -> DType {
        self.k.ty(v).dtype().unwrap_or(DType::F32)
    }

    /// Whether any op uses a value.
    pub fn is_used(&self, v: ValueId) -> bool {
        let mut used = false;
        self.k.walk(|_, op| used |= op.operands.contains(&v));
        used
    }

    /// Whether a value is a register tile.
    pub fn is_tile(&self, v: ValueId) -> bool {
        matches!(self.k.ty(v), Type::Tile(..))
    }
}

/// The same elements in another order of registers.
pub(super) fn permute(held: &Held, from: &Layout, to: &Layout) -> Held {
    let order = (0..to.registers()).map(|r| from.register_at(&to.register_offset(r)));
    match held {
        Held::Elements(e) => Held::Elements(order.map(|i| e[i].clone()).collect()),
        Held::Nibbles(e) => Held::Nibbles(order.map(|i| e[i].clone()).collect()),
    }
}

/// The LLVM type of an element in a register.
pub(super) fn register_type(d: DType) -> &'static str {
    match d {
        DType::F32 => "f32",
        DType::Bf16 => "bf16",
        DType::F16 => "f16",
        DType::I32 => "i32",
        DType::Bool => "i1",
        DType::E4m3 | DType::E5m2 | DType::E8m0 | DType::I8 | DType::U8 | DType::E2m1 => "i8",
    }
}
