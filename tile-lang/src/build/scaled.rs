//! Products of operands with block scales.

use super::{Cx, Val};
use crate::dtype::DType;
use crate::ir::{OpKind, Type, scaled_product_of};
use crate::span::Span;

impl Cx {
    /// a·b + accumulator, each element of `a` and `b` times the scale of its block of terms: `a` [M, K] with scales [M, K/B], `b`
    /// [K, N] with scales [K/B, N].
    pub fn mma_scaled(&mut self, span: Span, acc: Val, [a, a_scales]: [Val; 2], [b, b_scales]: [Val; 2]) -> Val {
        let types = [acc, a, a_scales, b, b_scales].map(|v| self.ty(v).clone());
        if types.contains(&Type::Error) {
            return self.poison();
        }
        let [have, ta, tsa, tb, tsb] = types;
        let (Some(da), Some(dsa), Some(db), Some(dsb)) = (ta.dtype(), tsa.dtype(), tb.dtype(), tsb.dtype()) else {
            return self.poison();
        };
        let kind = match scaled_product_of(da, db, dsa) {
            Some(kind) if dsa == dsb => kind,
            _ => {
                let message = format!(
                    "`mma_scaled` takes two e2m1 with scales of e8m0 or of e4m3, or two 8-bit floats with scales of e8m0, here {da} \
                     with {dsa} and {db} with {dsb}"
                );
                let fix = "unpack what has other scales: `a.cast::<bf16>() * scales.cast::<bf16>().repeat::<K>()`, then `mma`";
                return self.error(span, "E04", message, &[fix.into()]);
            }
        };
        let (&[m, k], &[depth, n]) = (ta.shape(), tb.shape()) else {
            return self.error(span, "E03", format!("product of {ta} and {tb}: two axes each are needed"), &[]);
        };
        if k != depth {
            let message = format!("product of {ta} and {tb}: the first's columns must be the second's rows");
            return self.error(span, "E03", message, &["call `.t()` to transpose".into()]);
        }
        if m % 16 != 0 || n % 8 != 0 || k % kind.depth != 0 {
            let depth = kind.depth;
            let message = format!(
                "product of {m}×{k} and {k}×{n} {da}: rows must be a multiple of 16, columns of 8, depth of {depth}"
            );
            return self.error(span, "E03", message, &["pad the tile".into()]);
        }
        let ty = Type::Tile(DType::F32, vec![m, n]);
        if have != ty {
            return self.error(span, "E03", format!("the accumulator is {have}, the product {ty}"), &[]);
        }
        let blocks = k / kind.block;
        let mut fits = true;
        for (which, scales, want) in [("first", &tsa, [m, blocks]), ("second", &tsb, [blocks, n])] {
            if *scales.shape() != want {
                let (block, [rows, columns]) = (kind.block, want);
                let message = format!(
                    "the scales of the {which} operand are {scales}; {k} terms, {block} to a scale of {dsa}, need {rows}×{columns}"
                );
                self.error(span, "E06", message, &[format!("make the tile of scales {rows}×{columns}")]);
                fits = false;
            }
        }
        if !fits {
            return self.poison();
        }
        self.emit(span, OpKind::MmaScaled, &[acc, a, b, a_scales, b_scales], ty)
    }
}
