//! Changes of layout through the exchange area in shared memory, and the sum of partial sums.

use super::body::{Body, Held, permute, register_type};
use super::emit::Ssa;
use crate::CodegenError;
use crate::layout::{Layout, WARP_BITS, moved_from};
use tile_lang::dtype::DType;
use tile_lang::ir::{Fold, OpData, OpKind, ReduceOp, ValueId};
use tile_lang::protocol::Action;

/// Bytes of an element in the exchange area.
fn exchange_size(d: DType) -> usize {
    match d {
        DType::F32 | DType::I32 => 4,
        DType::Bf16 | DType::F16 => 2,
        _ => 1,
    }
}

/// Where a source's first element goes in the exchange area, and the strides of its axes there.
type Placed = (usize, Vec<usize>);

impl Body<'_> {
    /// The registers of a value in another layout.
    pub fn convert(&mut self, v: ValueId, held: &Held, from: &Layout, to: &Layout) -> Result<Held, CodegenError> {
        if from.same_threads(to) {
            return Ok(permute(held, from, to));
        }
        let d = self.dtype(v);
        if to.is_partial() && !from.is_partial() {
            let whole = self.convert(v, held, from, &to.whole())?;
            return self.first_of_sum(&whole, to, d);
        }
        let codes;
        let x = match held {
            Held::Elements(x) => x,
            Held::Nibbles(n) => {
                codes = self.codes(n);
                &codes
            }
        };
        if from.is_partial() && to.is_partial() {
            return self.broken("partial sums can't change their layout");
        }
        Ok(Held::Elements(self.exchange(x, from, to, d)))
    }

    /// A whole tile as one summand: the first warp of each sum holds it, the others zero.
    pub fn first_of_sum(&mut self, whole: &Held, layout: &Layout, d: DType) -> Result<Held, CodegenError> {
        let Held::Elements(x) = whole else { return self.broken("4-bit codes can't be summed") };
        let mask: i64 = (0..WARP_BITS).filter(|i| layout.partial[*i]).map(|i| 1 << (5 + i)).sum();
        let thread = self.thread.clone();
        let first = self.e.entry(|e| {
            let (mask, zero) = (e.i32(mask), e.i32(0));
            let bits = e.bin("and", &thread, &mask, "i32");
            e.icmp("eq", &bits, &zero, "i32")
        });
        let zero = if d.is_float() { self.e.f32(0.0) } else { self.e.i32(0) };
        Ok(Held::Elements(x.iter().map(|e| self.e.select(&first, e, &zero, register_type(d))).collect()))
    }

    /// Registers go to shared memory in row-major order, one copy for each summand, and come back in the new layout.
    fn exchange(&mut self, x: &[Ssa], from: &Layout, to: &Layout, d: DType) -> Vec<Ssa> {
        let size = exchange_size(d);
        let elements: usize = from.shape.iter().product();
        let summands: usize = 1 << from.partial.iter().filter(|p| **p).count();
        let bytes = elements * size * summands;
        self.reserve_exchange(bytes);
        let ty = if d == DType::Bool { "i8" } else { register_type(d) };

        self.notes.own();
        self.barrier();
        self.notes.note(Action::ExchangeWrite { bytes });
        let mut terms = self.linear_terms(from, size);
        let mut slab = elements * size;
        for i in 0..WARP_BITS {
            if from.partial[i] {
                terms.push((5 + i, slab));
                slab *= 2;
            }
        }
        let base = self.exchange_address(&terms);
        for (r, v) in x.iter().enumerate() {
            let at = linear(&from.shape, &from.register_offset(r)) * size;
            let p = self.e.offset_const(&base, at, 3);
            let v = if d == DType::Bool { self.e.op(&format!("llvm.zext {v} : i1 to i8")) } else { v.clone() };
            self.e.store(&v, &p, ty, size, 3);
        }
        self.barrier();
        self.notes.note(Action::ExchangeRead { bytes });
        let terms = self.linear_terms(to, size);
        let base = self.exchange_address(&terms);
        (0..to.registers())
            .map(|r| {
                let at = linear(&to.shape, &to.register_offset(r)) * size;
                let mut sum: Option<Ssa> = None;
                for s in 0..summands {
                    let p = self.e.offset_const(&base, at + s * elements * size, 3);
                    let v = self.e.load(&p, ty, size, 3);
                    sum = Some(match sum {
                        None => v,
                        Some(a) => self.e.bin(if d.is_float() { "fadd" } else { "add" }, &a, &v, ty),
                    });
                }
                let v = sum.unwrap_or_default();
                if d == DType::Bool { self.e.op(&format!("llvm.trunc {v} : i8 to i1")) } else { v }
            })
            .collect()
    }

    /// Registers go to the exchange area, element `at` to position `base + at · strides`.
    fn spill(&mut self, x: &[Ssa], layout: &Layout, d: DType, base: usize, strides: &[usize]) {
        let (size, ty) = (exchange_size(d), if d == DType::Bool { "i8" } else { register_type(d) });
        let address = self.exchange_address(&placed_terms(layout, strides, size));
        for (r, v) in x.iter().enumerate() {
            let p = self.e.offset_const(&address, (base + placed(strides, &layout.register_offset(r))) * size, 3);
            let v = if d == DType::Bool { self.e.op(&format!("llvm.zext {v} : i1 to i8")) } else { v.clone() };
            self.e.store(&v, &p, ty, size, 3);
        }
    }

    /// As [`Self::spill`], of 32-bit elements, in threads where the condition holds. Stores are predicated: were this a branch, LLVM might
    /// take what follows, barriers included, into both of its arms, and a warp whose lanes part there hangs.
    fn spill_where(&mut self, ok: &Ssa, x: &[Ssa], layout: &Layout, d: DType, strides: &[usize]) {
        let flag = self.e.op(&format!("llvm.zext {ok} : i1 to i32"));
        let address = self.exchange_address(&placed_terms(layout, strides, 4));
        for (r, v) in x.iter().enumerate() {
            let p = self.e.offset_const(&address, placed(strides, &layout.register_offset(r)) * 4, 3);
            let p = self.e.op(&format!("llvm.ptrtoint {p} : !llvm.ptr<3> to i32"));
            let bits = if d == DType::F32 { self.e.bitcast(v, "f32", "i32") } else { v.clone() };
            let text = "{ .reg .pred p; setp.ne.b32 p, $2, 0; @p st.shared.b32 [$0], $1; }";
            self.e.asm(text, "r,r,r", &[(&p, "i32"), (&bits, "i32"), (&flag, "i32")], None);
        }
    }

    /// Registers from the exchange area, as [`Self::spill`] places them.
    fn fetch(&mut self, layout: &Layout, d: DType, base: usize, strides: &[usize]) -> Vec<Ssa> {
        let (size, ty) = (exchange_size(d), if d == DType::Bool { "i8" } else { register_type(d) });
        let address = self.exchange_address(&placed_terms(layout, strides, size));
        (0..layout.registers())
            .map(|r| {
                let p = self.e.offset_const(&address, (base + placed(strides, &layout.register_offset(r))) * size, 3);
                let v = self.e.load(&p, ty, size, 3);
                if d == DType::Bool { self.e.op(&format!("llvm.trunc {v} : i8 to i1")) } else { v }
            })
            .collect()
    }

    /// Of elements that only the first thread of those with copies holds: a copy for each of them, through the exchange area.
    pub fn spread_first_copy(&mut self, x: &[Ssa], layout: &Layout, d: DType) -> Vec<Ssa> {
        let bytes = layout.shape.iter().product::<usize>() * exchange_size(d);
        self.reserve_exchange(bytes);
        self.barrier();
        self.notes.note(Action::ExchangeWrite { bytes });
        let strides = strides(&layout.shape);
        match self.one_copy(layout) {
            None => self.spill(x, layout, d, 0, &strides),
            Some(first) => self.spill_where(&first, x, layout, d, &strides),
        }
        self.barrier();
        self.notes.note(Action::ExchangeRead { bytes });
        self.fetch(layout, d, 0, &strides)
    }

    /// A slice whose elements stay in their threads.
    fn part(&mut self, op: &OpData, at: &[usize], to: &Layout) -> Result<bool, CodegenError> {
        let (x, y) = (op.operands[0], op.results[0]);
        let Some(from) = self.layouts.native.get(&x).cloned() else { return Ok(false) };
        if from.part(at, &to.shape).as_ref() != Some(to) {
            return Ok(false);
        }
        let held = self.elements(x, &from)?;
        let place = |r| -> Vec<usize> { to.register_offset(r).iter().zip(at).map(|(own, at)| own + at).collect() };
        let part = (0..to.registers()).map(|r| held[from.register_at(&place(r))].clone()).collect();
        self.define(y, Held::Elements(part))?;
        Ok(true)
    }

    /// Ops that move elements between threads: the operands meet in the exchange area, the result is read out of it.
    pub fn moved(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let y = op.results[0];
        let Some(to) = self.layouts.native.get(&y).cloned() else { return self.broken("a moved tile without layout") };
        if let OpKind::Slice(at) = &op.kind
            && self.part(op, at, &to)?
        {
            return Ok(());
        }
        let d = self.dtype(y);
        let mut sources = Vec::new();
        for x in &op.operands {
            let layout = moved_from(self.layouts.native.get(x).cloned(), self.k.ty(*x), self.warps);
            sources.push((self.elements(*x, &layout)?, layout));
        }
        let out = strides(&to.shape);
        // Where each source goes, and where the result is read.
        let (places, from, read): (Vec<Placed>, usize, Vec<usize>) = match &op.kind {
            OpKind::Join(axis) => {
                (vec![(0, out.clone()), (sources[0].1.shape[*axis] * out[*axis], out.clone())], 0, out)
            }
            OpKind::Slice(at) => {
                let whole = strides(&sources[0].1.shape);
                (vec![(0, whole.clone())], placed(&whole, at), whole)
            }
            _ => (vec![(0, strides(&sources[0].1.shape))], 0, out),
        };
        let elements: usize = sources.iter().map(|(_, l)| l.shape.iter().product::<usize>()).sum();
        self.reserve_exchange(elements * exchange_size(d));
        self.barrier();
        for ((x, layout), (base, strides)) in sources.iter().zip(&places) {
            self.spill(x, layout, d, *base, strides);
        }
        self.barrier();
        let held = self.fetch(&to, d, from, &read);
        self.define(y, Held::Elements(held))
    }

    /// A scan in log2 steps: in each, every element takes in the one that lies twice as far back as in the step before.
    pub fn scan(&mut self, op: &OpData, kind: ReduceOp, axis: usize) -> Result<(), CodegenError> {
        let (x, y) = (op.operands[0], op.results[0]);
        let (Some(layout), Fold::Join(join)) = (self.layouts.native.get(&y).cloned(), kind.fold()) else {
            return self.broken("a scan without layout");
        };
        let d = self.dtype(y);
        let mut held = self.elements(x, &layout)?;
        let strides = strides(&layout.shape);
        let own = self.coordinates(&layout)[axis].clone();
        // Elements near the start read below it; what they read there is not used.
        let below = layout.shape[axis] / 2 * strides[axis];
        self.reserve_exchange((layout.shape.iter().product::<usize>() + below) * exchange_size(d));
        let mut back = 1;
        while back < layout.shape[axis] {
            self.barrier();
            self.spill(&held, &layout, d, below, &strides);
            self.barrier();
            let before = self.fetch(&layout, d, below - back * strides[axis], &strides);
            for (r, v) in held.iter_mut().enumerate() {
                let at = self.e.add_const(&own, layout.register_offset(r)[axis] as i64);
                let limit = self.e.i32(back as i64);
                let far = self.e.icmp("uge", &at, &limit, "i32");
                let joined = self.recipe(join.name(), join.code(), &[before[r].clone(), v.clone()], d)?;
                *v = self.e.select(&far, &joined, v, register_type(d));
            }
            back *= 2;
        }
        self.define(y, Held::Elements(held))
    }

    /// Contributions of thread bits to the row-major byte offset.
    pub fn linear_terms(&self, layout: &Layout, size: usize) -> Vec<(usize, usize)> {
        placed_terms(layout, &strides(&layout.shape), size)
    }

    /// Address in the exchange area of this thread.
    pub fn exchange_address(&mut self, terms: &[(usize, usize)]) -> Ssa {
        let thread = self.thread.clone();
        let offset = self.thread_sum(&thread, terms);
        let base = self.map.exchange_base.clone();
        self.e.offset(&base, &offset, "i32", 3)
    }

    /// Notes that the exchange area is used up to this size.
    pub fn reserve_exchange(&mut self, bytes: usize) {
        *self.exchange_bytes = (*self.exchange_bytes).max(bytes);
    }
}

/// What the bits of the thread add to an element's position in bytes.
fn placed_terms(layout: &Layout, strides: &[usize], size: usize) -> Vec<(usize, usize)> {
    let bits = layout.lane.iter().chain(&layout.warp).enumerate();
    bits.filter_map(|(i, b)| b.map(|(axis, bit)| (i, (strides[axis as usize] << bit) * size))).collect()
}

/// Position of coordinates.
fn placed(strides: &[usize], at: &[usize]) -> usize {
    strides.iter().zip(at).map(|(s, x)| s * x).sum()
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect()
}

/// Row-major position of coordinates.
pub(super) fn linear(shape: &[usize], at: &[usize]) -> usize {
    strides(shape).iter().zip(at).map(|(s, x)| s * x).sum()
}
