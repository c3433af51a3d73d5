//! Changes of layout through the exchange area in shared memory, and the sum of partial sums.

use super::body::{Body, Held, permute, register_type};
use super::emit::Ssa;
use crate::CodegenError;
use crate::layout::{Layout, WARP_BITS};
use tile_lang::dtype::DType;
use tile_lang::ir::ValueId;
use tile_lang::protocol::Action;

/// Bytes of an element in the exchange area.
fn exchange_size(d: DType) -> usize {
    match d {
        DType::F32 | DType::I32 => 4,
        DType::Bf16 | DType::F16 => 2,
        _ => 1,
    }
}

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
        let Held::Elements(x) = held else { return self.broken("4-bit codes can't change their layout") };
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

    /// Contributions of thread bits to the row-major byte offset.
    pub fn linear_terms(&self, layout: &Layout, size: usize) -> Vec<(usize, usize)> {
        let strides = strides(&layout.shape);
        layout
            .lane
            .iter()
            .chain(&layout.warp)
            .enumerate()
            .filter_map(|(i, b)| b.map(|(axis, bit)| (i, (strides[axis as usize] << bit) * size)))
            .collect()
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

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect()
}

/// Row-major position of coordinates.
pub(super) fn linear(shape: &[usize], at: &[usize]) -> usize {
    strides(shape).iter().zip(at).map(|(s, x)| s * x).sum()
}
