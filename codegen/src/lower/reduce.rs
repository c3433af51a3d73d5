//! Reductions along an axis: registers, then lanes by shuffles, then warps through the exchange area.

use super::body::{Body, Held, register_type};
use super::emit::Ssa;
use super::exchange::linear;
use crate::CodegenError;
use crate::layout::{Layout, WARP_BITS};
use tile_lang::dtype::DType;
use tile_lang::ir::{BinaryOp, CmpOp, Fold, OpData, ReduceOp};
use tile_lang::protocol::Action;

/// Running results that a thread has of a maximum or minimum at most, as the next comparison of one waits for its last one.
const CHAINS: usize = 4;
/// Elements of each of them at least.
const LINKS: usize = 8;

/// A running result: the value and, where its index is searched, that.
type Best = (Ssa, Option<Ssa>);

impl Body<'_> {
    pub fn reduce(&mut self, op: &OpData, kind: ReduceOp, axis: usize) -> Result<(), CodegenError> {
        let (x, y) = (op.operands[0], op.results[0]);
        let (kind, from) = (kind.fold(), self.dtype(x));
        let native =
            self.layouts.native.get(&x).cloned().unwrap_or_else(|| Layout::blocked(self.k.ty(x).shape(), self.warps));
        let layout = if native.is_partial() { native.combined() } else { native };
        let elements = self.elements(x, &layout)?;
        let rest = layout.without(axis);

        let (d, word) = (from, if from == DType::Bool { DType::I32 } else { from });
        let index_base = self.coordinates(&layout)[axis].clone();
        // Other orders would round sums differently, and of equal numbers find another index first.
        let chains = match kind {
            Fold::Join(BinaryOp::Max | BinaryOp::Min) => elements.len() / rest.registers() / LINKS,
            _ => 1,
        };
        let mut best: Vec<Vec<Best>> = vec![Vec::new(); rest.registers()];
        let mut seen = vec![0; rest.registers()];
        for (r, v) in elements.iter().enumerate() {
            let mut at = layout.register_offset(r);
            let along = at.remove(axis);
            let slot = rest.register_at(&at);
            let item = match kind {
                Fold::Index(wins) => (self.not_nan(v, wins, d), Some(self.e.add_const(&index_base, along as i64))),
                // A truth value travels as an i32.
                Fold::Join(_) => (self.widened(v, d), None),
            };
            let chain = seen[slot] % chains.clamp(1, CHAINS);
            seen[slot] += 1;
            match best[slot].get(chain).cloned() {
                None => best[slot].push(item),
                Some(b) => best[slot][chain] = self.better(kind, word, b, item)?,
            }
        }
        let mut best = best.into_iter().map(|of| self.best_of(kind, word, of)).collect::<Result<Vec<_>, _>>()?;
        for (i, bit) in layout.lane.iter().enumerate() {
            if bit.is_some_and(|b| b.0 as usize == axis) {
                let mut met = Vec::with_capacity(best.len());
                for b in best {
                    let other =
                        (self.shuffle(&b.0, word, 1 << i), b.1.clone().map(|x| self.shuffle(&x, DType::I32, 1 << i)));
                    met.push(self.better(kind, word, b, other)?);
                }
                best = met;
            }
        }
        let across: Vec<usize> =
            (0..WARP_BITS).filter(|i| layout.warp[*i].is_some_and(|b| b.0 as usize == axis)).collect();
        if !across.is_empty() {
            best = self.across_warps(kind, word, best, &rest, &across)?;
        }
        let mut result: Vec<Ssa> = best.into_iter().map(|(v, i)| i.unwrap_or(v)).collect();
        if from == DType::Bool {
            result = self.cast_elements(&result, DType::I32, DType::Bool)?;
        }
        if self.is_scalar(y) {
            self.scalars.insert(y, result.into_iter().next().unwrap_or_default());
            return Ok(());
        }
        self.define(y, Held::Elements(result))
    }

    /// The best of several, two at a time.
    fn best_of(&mut self, kind: Fold, d: DType, mut of: Vec<Best>) -> Result<Best, CodegenError> {
        while of.len() > 1 {
            let mut met = Vec::with_capacity(of.len().div_ceil(2));
            for two in of.chunks(2) {
                met.push(match two {
                    [a, b] => self.better(kind, d, a.clone(), b.clone())?,
                    _ => two[0].clone(),
                });
            }
            of = met;
        }
        Ok(of.into_iter().next().unwrap_or_default())
    }

    /// NaN never wins: it counts as the worst number.
    fn not_nan(&mut self, v: &Ssa, wins: CmpOp, d: DType) -> Ssa {
        if d != DType::F32 {
            return v.clone();
        }
        let worst = self.e.f32(if wins == CmpOp::Gt { f32::NEG_INFINITY } else { f32::INFINITY });
        let is_number = self.e.op(&format!("llvm.fcmp \"ord\" {v}, {v} : f32"));
        self.e.select(&is_number, v, &worst, "f32")
    }

    fn better(&mut self, kind: Fold, d: DType, a: Best, b: Best) -> Result<Best, CodegenError> {
        let ty = register_type(d);
        let wins = match kind {
            Fold::Join(join) => return Ok((self.recipe(join.name(), join.code(), &[a.0, b.0], d)?, None)),
            Fold::Index(wins) => wins,
        };
        let (Some(ia), Some(ib)) = (&a.1, &b.1) else { return Ok(a) };
        let greater = self.compare(wins, &b.0, &a.0, d);
        let equal = self.compare(CmpOp::Eq, &b.0, &a.0, d);
        let lower = self.e.icmp("slt", ib, ia, "i32");
        let tie = self.e.bin("and", &equal, &lower, "i1");
        let take = self.e.bin("or", &greater, &tie, "i1");
        Ok((self.e.select(&take, &b.0, &a.0, ty), Some(self.e.select(&take, ib, ia, "i32"))))
    }

    fn shuffle(&mut self, v: &Ssa, d: DType, mask: usize) -> Ssa {
        let ty = register_type(d);
        let word = self.e.bitcast(v, ty, "i32");
        let text = format!("shfl.sync.bfly.b32 $0, $1, {mask}, 0x1f, 0xffffffff;");
        let moved = self.e.asm(&text, "=r,r", &[(&word, "i32")], Some("i32"));
        self.e.bitcast(&moved, "i32", ty)
    }

    fn across_warps(
        &mut self,
        kind: Fold,
        d: DType,
        best: Vec<Best>,
        rest: &Layout,
        across: &[usize],
    ) -> Result<Vec<Best>, CodegenError> {
        let count = 1usize << across.len();
        let elements: usize = rest.shape.iter().product::<usize>().max(1);
        let pair = if matches!(kind, Fold::Index(_)) { 2 } else { 1 };
        let bytes = elements * 4 * count * pair;
        self.reserve_exchange(bytes);
        self.notes.own();
        self.barrier();
        self.notes.note(Action::ExchangeWrite { bytes });
        let own = self.linear_terms(rest, 4);
        let mut terms = own.clone();
        terms.extend(across.iter().enumerate().map(|(i, bit)| (5 + bit, (elements * 4) << i)));
        let base = self.exchange_address(&terms);
        let second = elements * 4 * count;
        for (r, b) in best.iter().enumerate() {
            let at = linear(&rest.shape, &rest.register_offset(r)) * 4;
            let p = self.e.offset_const(&base, at, 3);
            self.e.store(&b.0, &p, register_type(d), 4, 3);
            if let Some(index) = &b.1 {
                let p = self.e.offset_const(&base, at + second, 3);
                self.e.store(index, &p, "i32", 4, 3);
            }
        }
        self.barrier();
        self.notes.note(Action::ExchangeRead { bytes });
        let base = self.exchange_address(&own);
        (0..best.len())
            .map(|r| {
                let at = linear(&rest.shape, &rest.register_offset(r)) * 4;
                let mut out: Option<Best> = None;
                for s in 0..count {
                    let p = self.e.offset_const(&base, at + s * elements * 4, 3);
                    let v = self.e.load(&p, register_type(d), 4, 3);
                    let index = (pair == 2).then(|| {
                        let p = self.e.offset_const(&base, at + s * elements * 4 + second, 3);
                        self.e.load(&p, "i32", 4, 3)
                    });
                    out = Some(match out {
                        None => (v, index),
                        Some(b) => self.better(kind, d, b, (v, index))?,
                    });
                }
                Ok(out.unwrap_or_default())
            })
            .collect()
    }
}
