//! Products on the tensor cores: `mma.sync.m16n8k16` over fragments in registers.

use super::body::{Body, Held};
use super::emit::Ssa;
use crate::CodegenError;
use crate::layout::{Layout, WARP_BITS};
use tile_lang::dtype::DType;
use tile_lang::ir::{OpData, OpId, ValueId};

impl Body<'_> {
    pub fn product(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        if self.layouts.warpgroups.contains(&id) {
            return self.warpgroup_product(op);
        }
        let [acc, a, b] = [op.operands[0], op.operands[1], op.operands[2]];
        let Some(split) = self.layouts.splits.get(&id).copied() else {
            return self.broken("a product without warp split");
        };
        let (m, n, k) = (self.k.ty(acc).shape()[0], self.k.ty(acc).shape()[1], self.k.ty(a).shape()[1]);
        let (lc, la, lb) =
            (Layout::accumulator(m, n, split), Layout::operand_a(m, k, split), Layout::operand_b(k, n, split));
        let mut c = self.elements(acc, &lc)?;
        let a = self.operand(a, &la)?;
        let b = self.operand(b, &lb)?;
        debug_assert!(split.m + split.n + split.k <= WARP_BITS);
        // Independent accumulators first, so that consecutive products don't wait for each other.
        for ki in 0..(k >> split.k) / 16 {
            for mi in 0..(m >> split.m) / 16 {
                for ni in 0..(n >> split.n) / 8 {
                    self.mma_step(&mut c, &a, &b, (&lc, &la, &lb), [mi * 16, ni * 8, ki * 16]);
                }
            }
        }
        self.define(op.results[0], Held::Elements(c))
    }

    /// Registers of an operand, from a register tile or straight from shared memory.
    fn operand(&mut self, v: ValueId, layout: &Layout) -> Result<Vec<Ssa>, CodegenError> {
        match self.shared.get(&v).cloned() {
            Some(tile) => match self.read_shared(&tile, layout)? {
                Held::Elements(e) => Ok(e),
                Held::Nibbles(n) => self.cast_nibbles(&n, DType::Bf16),
            },
            None => self.elements(v, layout),
        }
    }

    fn mma_step(&mut self, c: &mut [Ssa], a: &[Ssa], b: &[Ssa], layouts: (&Layout, &Layout, &Layout), at: [usize; 3]) {
        let (lc, la, lb) = layouts;
        let [m, n, k] = at;
        let pair = |body: &mut Self, x: &[Ssa], l: &Layout, first: [usize; 2], second: [usize; 2]| {
            let v = body.e.vector(&[x[l.register_at(&first)].clone(), x[l.register_at(&second)].clone()], "bf16");
            body.e.bitcast(&v, "vector<2xbf16>", "i32")
        };
        let a: Vec<Ssa> = [(0, 0), (8, 0), (0, 8), (8, 8)]
            .iter()
            .map(|(r, s)| pair(self, a, la, [m + r, k + s], [m + r, k + s + 1]))
            .collect();
        let b: Vec<Ssa> = [0, 8].iter().map(|s| pair(self, b, lb, [k + s, n], [k + s + 1, n])).collect();
        let slots: Vec<usize> =
            [(0, 0), (0, 1), (8, 0), (8, 1)].iter().map(|(r, s)| lc.register_at(&[m + r, n + s])).collect();
        let f = "f32";
        let d = self.e.pure_asm(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$0,$1,$2,$3};",
            "=f,=f,=f,=f,r,r,r,r,r,r,0,1,2,3",
            &[
                (&a[0], "i32"),
                (&a[1], "i32"),
                (&a[2], "i32"),
                (&a[3], "i32"),
                (&b[0], "i32"),
                (&b[1], "i32"),
                (&c[slots[0]], f),
                (&c[slots[1]], f),
                (&c[slots[2]], f),
                (&c[slots[3]], f),
            ],
            "!llvm.struct<(f32, f32, f32, f32)>",
        );
        for (i, slot) in slots.iter().enumerate() {
            c[*slot] = self.e.op(&format!("llvm.extractvalue {d}[{i}] : !llvm.struct<(f32, f32, f32, f32)>"));
        }
    }
}
