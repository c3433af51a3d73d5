//! What steps add to a kernel: conversions, bits, and values that come from nothing.

use super::{MAX_MAGNITUDE, held};
use crate::dtype::DType;
use crate::generate::Shape;
use crate::generate::facts::Facts;
use crate::generate::grow::{Grower, Held};
use crate::ir::{BinaryOp, Type, UnaryOp};

impl Grower {
    pub(super) fn convert(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let at = self.at;
        let fits = |t: &Type, h: &Held| {
            matches!(t, Type::Tile(..) | Type::Scalar(_))
                && h.facts.is_exact()
                && matches!(t.dtype(), Some(DType::F32 | DType::Bf16 | DType::F16 | DType::I32))
        };
        let mut x = self.pick(a, fits)?;
        match self.cx.ty(x.val).dtype() {
            Some(DType::F32) => {
                let to = [DType::Bf16, DType::Bf16, DType::I32, DType::F16, DType::E4m3, DType::E5m2][b as usize % 6];
                let most = match to {
                    DType::Bf16 => MAX_MAGNITUDE,
                    DType::I32 => 30,
                    _ => 8,
                };
                if x.facts.magnitude > most {
                    x = self.tame(x, 7);
                }
                let y = self.cx.cast(at, x.val, to);
                match to {
                    DType::Bf16 => held(y, x.facts.narrowed()),
                    DType::I32 => held(y, Facts::same(31)),
                    DType::F16 if c % 2 == 0 => held(y, x.facts.narrowed()),
                    // Types of storage are only converted.
                    _ => held(self.cx.cast(at, y, DType::F32), Facts::same(9)),
                }
            }
            Some(DType::Bf16 | DType::F16) => held(self.cx.cast(at, x.val, DType::F32), x.facts),
            _ if c % 3 == 0 => {
                let byte = self.cx.cast(at, x.val, [DType::I8, DType::U8, DType::Bool][b as usize % 3]);
                held(self.cx.cast(at, byte, DType::I32), Facts::same(31))
            }
            _ => held(self.cx.cast(at, x.val, DType::F32), Facts::same(31)),
        }
    }

    pub(super) fn change_bits(&mut self, [a, b, ..]: [u8; 4]) -> Option<Held> {
        let x = self.exact(a)?;
        let at = self.at;
        // Both zeros are equal but have different bits.
        let x_val = self.cx.binary(at, BinaryOp::Add, x.val, 0.0f64);
        let bits = self.cx.unary(at, UnaryOp::ToBits, x_val);
        if b % 3 == 0 {
            return held(bits, Facts::same(31));
        }
        // Without the sign, or without the low half of the fraction.
        let mask = if b % 3 == 1 { i64::from(i32::MAX) } else { -0x1_0000 };
        let cut = self.cx.binary(at, BinaryOp::And, bits, mask);
        held(self.cx.unary(at, UnaryOp::FromBits, cut), x.facts)
    }

    pub(super) fn fresh(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        let Shape { m, n, k, .. } = self.shape;
        let at = self.at;
        let shape = [vec![m, n], vec![n, m], vec![m, k], vec![k, n], vec![m], vec![n]][a as usize % 6].clone();
        match b % 4 {
            0 => held(self.cx.iota(at, &shape, c as usize % shape.len()), Facts::same(31)),
            1 => {
                let quarter = self.cx.lift(at, f64::from(i32::from(c) - 128) / 4.0);
                held(self.cx.spread(at, quarter, &shape), Facts::fixed(5, 2))
            }
            2 => {
                let x = self.pick(c, |t, h| matches!(t, Type::Scalar(_)) && h.facts.is_exact())?;
                held(self.cx.spread(at, x.val, &shape), x.facts)
            }
            _ => {
                let x = self.cx.lift(at, i64::from(c) * 0x0101_0101 % i64::from(i32::MAX));
                Some(Held { val: x, facts: Facts::same(31), plain: true })
            }
        }
    }
}
