//! Products on the tensor cores: `mma.sync.m16n8k16` (16-bit operands), `m16n8k32` (8-bit) and `m16n8k8` (tf32) over fragments in registers.

use super::body::{Body, Held, register_type};
use super::emit::Ssa;
use crate::CodegenError;
use crate::layout::{Layout, WARP_BITS, pack_of};
use tile_lang::dtype::DType;
use tile_lang::ir::{OpData, OpId, ValueId};

impl Body<'_> {
    pub fn product(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        if self.layouts.warpgroups.contains(&id) {
            return self.warpgroup_product(id, op);
        }
        let [acc, a, b] = [op.operands[0], op.operands[1], op.operands[2]];
        let Some(split) = self.layouts.splits.get(&id).copied() else {
            return self.broken("a product without warp split");
        };
        let (m, n, k) = (self.k.ty(acc).shape()[0], self.k.ty(acc).shape()[1], self.k.ty(a).shape()[1]);
        let types = [self.dtype(a), self.dtype(b)];
        let (sum, pack) = (self.dtype(acc), pack_of(types[0]));
        let depth = 8 << pack;
        let (lc, la, lb) = (
            Layout::accumulator(m, n, split),
            Layout::operand_a(m, k, split, pack),
            Layout::operand_b(k, n, split, pack),
        );
        let mut c = self.elements(acc, &lc)?;
        let a = self.operand(a, &la)?;
        let b = self.operand(b, &lb)?;
        debug_assert!(split.m + split.n + split.k <= WARP_BITS);
        // Independent accumulators first, so that consecutive products don't wait for each other.
        for ki in 0..(k >> split.k) / depth {
            for mi in 0..(m >> split.m) / 16 {
                for ni in 0..(n >> split.n) / 8 {
                    let at = [mi * 16, ni * 8, ki * depth];
                    self.mma_step(&mut c, &a, &b, (&lc, &la, &lb), &Step { at, types, sum });
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

    /// Elements in one 32-bit register.
    fn word(&mut self, elements: &[Ssa], d: DType) -> Ssa {
        if d == DType::F32 {
            // To nearest, ties away from zero; without it the lower bits would be cut off.
            return self.e.pure_asm("cvt.rna.tf32.f32 $0, $1;", "=r,f", &[(&elements[0], "f32")], "i32");
        }
        let ty = register_type(d);
        let v = self.e.vector(elements, ty);
        self.e.bitcast(&v, &format!("vector<{}x{ty}>", elements.len()), "i32")
    }

    /// The four words of the first operand that one instruction takes, of a warp or a warpgroup: 16 rows of each warp from row
    /// `m` of its own, terms from `k`.
    pub fn fragment_a(&mut self, held: &[Ssa], layout: &Layout, d: DType, [m, k]: [usize; 2]) -> [Ssa; 4] {
        let pack = pack_of(d);
        let half = 4usize << pack;
        [(0, 0), (8, 0), (0, half), (8, half)].map(|(row, term)| {
            let at = |i| layout.register_at(&[m + row, k + term + i]);
            let v: Vec<Ssa> = (0..1 << pack).map(|i| held[at(i)].clone()).collect();
            self.word(&v, d)
        })
    }

    fn mma_step(&mut self, c: &mut [Ssa], a: &[Ssa], b: &[Ssa], layouts: (&Layout, &Layout, &Layout), step: &Step) {
        let (lc, la, lb) = layouts;
        let Step { at: [m, n, k], types: [ta, tb], sum } = *step;
        let (pack, half) = (1usize << pack_of(ta), 4usize << pack_of(ta));
        let a = self.fragment_a(a, la, ta, [m, k]);
        let b: Vec<Ssa> = [0, half]
            .iter()
            .map(|s| {
                let v: Vec<Ssa> = (0..pack).map(|i| b[lb.register_at(&[k + s + i, n])].clone()).collect();
                self.word(&v, tb)
            })
            .collect();
        let slots: Vec<usize> =
            [(0, 0), (0, 1), (8, 0), (8, 1)].iter().map(|(r, s)| lc.register_at(&[m + r, n + s])).collect();
        let (ty, letter, name) = if sum == DType::I32 { ("i32", "r", "s32") } else { ("f32", "f", "f32") };
        let (na, nb, depth) = (ptx_type(ta), ptx_type(tb), 8 * pack);
        let text = format!(
            "mma.sync.aligned.m16n8k{depth}.row.col.{name}.{na}.{nb}.{name} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$0,$1,$2,$3}};"
        );
        let constraints = format!("={letter},={letter},={letter},={letter},r,r,r,r,r,r,0,1,2,3");
        let result = format!("!llvm.struct<({ty}, {ty}, {ty}, {ty})>");
        let d = self.e.pure_asm(
            &text,
            &constraints,
            &[
                (&a[0], "i32"),
                (&a[1], "i32"),
                (&a[2], "i32"),
                (&a[3], "i32"),
                (&b[0], "i32"),
                (&b[1], "i32"),
                (&c[slots[0]], ty),
                (&c[slots[1]], ty),
                (&c[slots[2]], ty),
                (&c[slots[3]], ty),
            ],
            &result,
        );
        for (i, slot) in slots.iter().enumerate() {
            c[*slot] = self.e.op(&format!("llvm.extractvalue {d}[{i}] : {result}"));
        }
    }
}

/// One instruction: where it starts, in rows, columns and terms, and its element types.
struct Step {
    at: [usize; 3],
    types: [DType; 2],
    sum: DType,
}

/// What PTX calls an operand's element type.
pub(super) fn ptx_type(d: DType) -> &'static str {
    match d {
        DType::I8 => "s8",
        DType::F32 => "tf32",
        other => other.name(),
    }
}
