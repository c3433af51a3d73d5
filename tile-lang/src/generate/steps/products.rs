//! What steps add to a kernel: products.

use super::held;
use crate::build::Arg;
use crate::dtype::DType;
use crate::generate::Shape;
use crate::generate::facts::Facts;
use crate::generate::grow::{Grower, Held};
use crate::ir::{BinaryOp, Type};

/// Weights that are staged in tiles of M × K.
const FIRST_OPERANDS: [&str; 5] = ["wa", "w8", "w5", "wi", "wa"];

impl Grower {
    /// An operand of a product: bf16 with few enough bits.
    fn operand(&mut self, x: Held) -> Held {
        let fits = x.facts.fraction.is_some_and(|f| x.facts.magnitude + f <= 8);
        if fits {
            return x;
        }
        let wide = self.cx.cast(self.at, x.val, DType::F32);
        let few = self.tame(Held { val: wide, ..x }, 3);
        Held { val: self.cx.cast(self.at, few.val, DType::Bf16), ..few }
    }

    /// As [`Self::operand`], of a product of f32: few enough bits for tf32 too.
    fn wide_operand(&mut self, x: Held) -> Held {
        let few = self.operand(x);
        Held { val: self.cx.cast(self.at, few.val, DType::F32), ..few }
    }

    /// a·b + accumulator, all of it exact; operands are bf16 or f32.
    fn multiply(&mut self, acc: Option<Held>, [a, b]: [Held; 2], depth: usize) -> Option<Held> {
        let sum = |acc: Option<Held>| a.facts.dot(b.facts, depth, acc.map(|x| x.facts));
        let acc = match acc {
            Some(x) if sum(acc).sums_exactly(1) => Some(x),
            Some(x) => Some(self.tame(x, 10)),
            None => None,
        };
        let facts = sum(acc);
        debug_assert!(facts.sums_exactly(1), "{facts:?}");
        let acc = acc.map(|x| x.val);
        let wide = self.cx.ty(a.val).dtype() == Some(DType::F32);
        let sum = match wide {
            true => self.cx.mma_tf32(self.at, acc, a.val, b.val),
            false => self.cx.mma(self.at, acc, a.val, b.val),
        };
        held(sum, facts)
    }

    pub(super) fn product(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let narrow = |t: &Type| t.dtype() == Some(DType::Bf16) && t.shape().len() == 2;
        let x = self.pick(a, |t, _| narrow(t) && t.shape()[0] % 16 == 0 && t.shape()[1] % 16 == 0)?;
        let depth = self.shape_of(x.val)[1];
        let y = self.pick(b, |t, _| narrow(t) && t.shape()[0] == depth && t.shape()[1] % 8 == 0)?;
        let (rows, columns) = (self.shape_of(x.val)[0], self.shape_of(y.val)[1]);
        let acc = self.pick(c, |t, h| *t == Type::Tile(DType::F32, vec![rows, columns]) && h.facts.is_exact());
        let operands = [x, y].map(|v| if d % 5 == 4 { self.wide_operand(v) } else { self.operand(v) });
        self.multiply(acc.filter(|_| d % 3 > 0), operands, depth)
    }

    /// A sum of products over a loop with staged operands; with codes of four bits and their scales, as MXFP4 has them.
    pub(super) fn dot(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let Shape { m, n, k, .. } = self.shape;
        if self.data_dependent {
            return None;
        }
        self.forget_staged();
        let at = self.at;
        let zero = self.cx.lift(at, 0.0f64);
        let acc = self.cx.spread(at, zero, &[m, n]);
        let trips = [0, 1, 2, 3, 4, 5][a as usize % 6];
        let to: Arg = match a % 4 {
            0 => self.pool[0].val.into(),
            _ => Arg::Int(trips),
        };
        let begin = self.pool.len();
        let facts = std::cell::Cell::new(Facts::fixed(0, 0));
        let results = self.block(|cx, grow| {
            // No depth: loops of a kernel, and kernels of a program, pin one number.
            cx.for_loop(at, (Arg::Int(0), to), 0, vec![acc], |cx, index, inner| {
                let own = inner[0];
                grow(cx, &|g: &mut Grower| {
                    g.keep(Held { val: index, facts: Facts::same(31), plain: true });
                    let x = g.first_operand(b, d);
                    let y = match d % 3 {
                        0 => g.stage("wb", 1),
                        1 => g.stage("cache", 1),
                        _ => g.load("bf16s", &[k, n], 1, c),
                    };
                    let (x, y) = (g.operand(x), g.operand(y));
                    // At most five rounds of K terms.
                    facts.set(x.facts.dot(y.facts, 5 * k, None));
                    vec![g.cx.mma(g.at, Some(own), x.val, y.val)]
                })
            })
        });
        self.pool.truncate(begin);
        debug_assert!(facts.get().sums_exactly(1), "{facts:?}");
        held(results[0], facts.get())
    }

    fn first_operand(&mut self, b: u8, d: u8) -> Held {
        let at = self.at;
        if b % 6 >= 4 {
            // As MXFP4 and NVFP4 have them.
            let scales = ["scales", "fine_scales"][b as usize % 2];
            let (codes, scales) = (self.stage("w4", 1), self.stage(scales, 1));
            let codes_val = self.cx.cast(at, codes.val, DType::Bf16);
            let scales_val = self.cx.cast(at, scales.val, DType::Bf16);
            let k = self.shape.k;
            let wide = self.cx.repeat(at, scales_val, k);
            let facts = codes.facts.times(scales.facts);
            return Held { val: self.cx.binary(at, BinaryOp::Mul, codes_val, wide), facts, plain: false };
        }
        let name = FIRST_OPERANDS[b as usize % FIRST_OPERANDS.len()];
        let x = self.stage(name, 1);
        match self.cx.ty(x.val).dtype() {
            Some(DType::Bf16) if d.is_multiple_of(2) => x,
            _ => Held { val: self.cx.cast(at, x.val, DType::Bf16), ..x },
        }
    }

    /// A product of other element types than bf16, as they are loaded or staged. Sums of bytes are kept in fewer bits than f32 has by
    /// some tensor cores, which these fit: 64 products below 4 in steps of 1/16, and an accumulator below 128.
    pub(super) fn other_product(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        const FIRST: [&str; 8] = ["w8", "w5", "wi", "e4m3s", "e5m2s", "i8s", "u8s", "f16s"];
        let Shape { m, n, k, .. } = self.shape;
        let name = FIRST[a as usize % FIRST.len()];
        let weight = name.starts_with('w');
        if weight && self.data_dependent {
            return None;
        }
        let x = if weight { self.stage(name, d) } else { self.load(name, &[m, k], c, d) };
        let of: &[&str] = match self.cx.ty(x.val).dtype()? {
            DType::F16 => &["f16s"],
            DType::E4m3 | DType::E5m2 => &["e4m3s", "e5m2s"],
            _ => &["i8s", "u8s"],
        };
        let y = self.load(of[b as usize % of.len()], &[k, n], d, c);
        // As it lies in shared memory, or read first.
        let x_val = if weight && b % 4 < 2 { self.cx.registers(self.at, x.val) } else { x.val };
        let integers = of[0] == "i8s";
        let sum = if integers { DType::I32 } else { DType::F32 };
        let tile = Type::Tile(sum, vec![m, n]);
        let acc = self.pick(c, |t, h| *t == tile && h.facts.is_exact()).filter(|_| d % 3 > 0);
        let acc = acc.map(|acc| if integers { acc } else { self.tame(acc, 7) });
        let facts = match integers {
            true => Facts::same(31),
            false => x.facts.dot(y.facts, k, acc.map(|acc| acc.facts)),
        };
        held(self.cx.mma(self.at, acc.map(|x| x.val), x_val, y.val), facts)
    }
}
