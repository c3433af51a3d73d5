//! Products of operands with block scales: `mma.sync` with `block_scale`, over fragments and scales in registers.

use super::body::{Body, Held};
use super::emit::Ssa;
use crate::CodegenError;
use crate::layout::{Layout, MmaSplit, pack_of};
use tile_lang::dtype::DType;
use tile_lang::ir::{OpData, OpId, ScaledProduct, ValueId, scaled_product_of};

/// Scales of E4M3 have no sign: where one is stored, nobody looks at it.
const UNSIGNED: i64 = 0x7f7f_7f7f;

/// One instruction: where it starts in the warp's share, in rows, columns and terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step([usize; 3]);

impl Step {
    /// All instructions of a warp. Independent accumulators come first, so that consecutive products don't wait for each other.
    pub fn all([m, n, k]: [usize; 3], split: MmaSplit, kind: ScaledProduct) -> Vec<Step> {
        let steps = |extent: usize, warps: usize, step: usize| (0..extent >> warps).step_by(step);
        steps(k, split.k, kind.depth)
            .flat_map(|k| steps(m, split.m, 16).flat_map(move |m| steps(n, split.n, 8).map(move |n| Step([m, n, k]))))
            .collect()
    }

    /// The registers of the sums.
    pub fn sums(&self, l: &Layout) -> [usize; 4] {
        let Step([m, n, _]) = *self;
        [(0, 0), (0, 1), (8, 0), (8, 1)].map(|(r, c)| l.register_at(&[m + r, n + c]))
    }
}

/// The first register of each of the four words of the first operand; `pack` is log2 of the elements of a word.
pub(crate) fn first_words(l: &Layout, step: &Step, pack: u8) -> [usize; 4] {
    let (Step([m, _, k]), half) = (*step, 4usize << pack);
    [(0, 0), (8, 0), (0, half), (8, half)].map(|(r, t)| l.register_at(&[m + r, k + t]))
}

/// The first register of each of the two words of the second operand.
pub(crate) fn second_words(l: &Layout, step: &Step, pack: u8) -> [usize; 2] {
    let (Step([_, n, k]), half) = (*step, 4usize << pack);
    [0, half].map(|t| l.register_at(&[k + t, n]))
}

/// The registers that become the bytes of both scale words, a block each, lowest first.
pub(crate) fn scale_bytes([a, b]: [&Layout; 2], step: &Step, kind: ScaledProduct) -> (Vec<usize>, Vec<usize>) {
    let Step([m, n, k]) = *step;
    let blocks = || (k / kind.block)..((k + kind.depth) / kind.block);
    (blocks().map(|s| a.register_at(&[m, s])).collect(), blocks().map(|s| b.register_at(&[s, n])).collect())
}

impl Body<'_> {
    /// `acc.mma_scaled(a, scales of a, b, scales of b)`.
    pub fn scaled_product(&mut self, id: OpId, op: &OpData) -> Result<(), CodegenError> {
        let [acc, a, b, scales_a, scales_b] = op.operands[..] else {
            return self.broken("a product with block scales that lacks operands");
        };
        let Some(split) = self.layouts.splits.get(&id).copied() else {
            return self.broken("a product without warp split");
        };
        let types = [a, b, scales_a].map(|v| self.dtype(v));
        let Some(kind) = scaled_product_of(types[0], types[1], types[2]) else {
            return self.broken("a product with block scales of other types");
        };
        let (m, n, k) = (self.k.ty(acc).shape()[0], self.k.ty(acc).shape()[1], self.k.ty(a).shape()[1]);
        let (pack, chunks) = (pack_of(types[0]), k / kind.block);
        let lc = Layout::accumulator(m, n, split);
        let (la, lb) = (Layout::operand_a(m, k, split, pack), Layout::operand_b(k, n, split, pack));
        let (lsa, lsb) = (Layout::scales_a(m, chunks, split), Layout::scales_b(chunks, n, split));
        let mut c = self.elements(acc, &lc)?;
        let (words_a, words_b) = (self.factor_words(a, &la, pack)?, self.factor_words(b, &lb, pack)?);
        let (of_a, of_b) = (self.scales(scales_a, &lsa)?, self.scales(scales_b, &lsb)?);
        let text = instruction(types, kind);
        for step in Step::all([m, n, k], split, kind) {
            let (bytes_a, bytes_b) = scale_bytes([&lsa, &lsb], &step, kind);
            let scale_a = self.scale_word(&of_a, &bytes_a, types[2]);
            let scale_b = self.scale_word(&of_b, &bytes_b, types[2]);
            let sums = step.sums(&lc);
            let a = first_words(&la, &step, pack).map(|r| words_a[r >> pack].clone());
            let b = second_words(&lb, &step, pack).map(|r| words_b[r >> pack].clone());
            let words = a.iter().chain(&b).chain([&scale_a, &scale_b]).map(|x| (x.as_str(), "i32"));
            let before = sums.map(|r| c[r].clone());
            let operands: Vec<(&str, &str)> = words.chain(before.iter().map(|x| (x.as_str(), "f32"))).collect();
            let ty = "!llvm.struct<(f32, f32, f32, f32)>";
            let d = self.e.pure_asm(&text, "=f,=f,=f,=f,r,r,r,r,r,r,r,r,0,1,2,3", &operands, ty);
            for (i, r) in sums.into_iter().enumerate() {
                c[r] = self.e.op(&format!("llvm.extractvalue {d}[{i}] : {ty}"));
            }
        }
        self.define(op.results[0], Held::Elements(c))
    }

    /// An operand's registers as 32-bit words, neighbouring terms in each, the first one lowest.
    fn factor_words(&mut self, v: ValueId, layout: &Layout, pack: u8) -> Result<Vec<Ssa>, CodegenError> {
        let held = match self.shared.get(&v).cloned() {
            Some(tile) => self.read_shared(&tile, layout)?,
            None => self.held(v, layout)?,
        };
        let width = 1usize << pack;
        Ok(match held {
            Held::Nibbles(list) => list.chunks(width).map(|codes| self.word_of_nibbles(codes)).collect(),
            Held::Elements(list) if pack == 3 => {
                let codes: Vec<(Ssa, u8)> =
                    list.iter().map(|x| (self.e.op(&format!("llvm.zext {x} : i8 to i32")), 0)).collect();
                codes.chunks(width).map(|codes| self.word_of_nibbles(codes)).collect()
            }
            Held::Elements(list) => list.chunks(width).map(|bytes| self.word_of_bytes(bytes)).collect(),
        })
    }

    /// Eight 4-bit codes, each somewhere in a word, as one word.
    fn word_of_nibbles(&mut self, codes: &[(Ssa, u8)]) -> Ssa {
        // As they are read from shared memory they are one already.
        if codes.iter().enumerate().all(|(i, (word, n))| *word == codes[0].0 && usize::from(*n) == i) {
            return codes[0].0.clone();
        }
        let mut sum: Option<Ssa> = None;
        for (i, (word, n)) in codes.iter().enumerate() {
            let (from, mask, to) = (self.e.i32(4 * i64::from(*n)), self.e.i32(15), self.e.i32(4 * i as i64));
            let code = self.e.bin("lshr", word, &from, "i32");
            let code = self.e.bin("and", &code, &mask, "i32");
            let code = self.e.bin("shl", &code, &to, "i32");
            sum = Some(match sum {
                None => code,
                Some(sum) => self.e.bin("or", &sum, &code, "i32"),
            });
        }
        sum.unwrap_or_else(|| self.e.i32(0))
    }

    /// One, two or four bytes as the low ones of a word.
    fn word_of_bytes(&mut self, bytes: &[Ssa]) -> Ssa {
        let count = bytes.len();
        if let [one] = bytes {
            return self.e.op(&format!("llvm.zext {one} : i8 to i32"));
        }
        let vector = self.e.vector(bytes, "i8");
        let joined = self.e.bitcast(&vector, &format!("vector<{count}xi8>"), &format!("i{}", 8 * count));
        if count == 4 { joined } else { self.e.op(&format!("llvm.zext {joined} : i{} to i32", 8 * count)) }
    }

    /// The scales that a thread holds, a byte each.
    fn scales(&mut self, v: ValueId, layout: &Layout) -> Result<Vec<Ssa>, CodegenError> {
        match self.shared.get(&v).cloned() {
            Some(tile) => match self.read_shared(&tile, layout)? {
                Held::Elements(e) => Ok(e),
                Held::Nibbles(_) => self.broken("scales of 4 bits"),
            },
            None => self.elements(v, layout),
        }
    }

    fn scale_word(&mut self, scales: &[Ssa], registers: &[usize], d: DType) -> Ssa {
        let bytes: Vec<Ssa> = registers.iter().map(|r| scales[*r].clone()).collect();
        let word = self.word_of_bytes(&bytes);
        if d != DType::E4m3 {
            return word;
        }
        let mask = self.e.i32(UNSIGNED);
        self.e.bin("and", &word, &mask, "i32")
    }
}

/// The instruction's text: sums `$0` to `$3`, words of A `$4` to `$7`, of B `$8` and `$9`, scales `$10` and `$11`, each with the byte and
/// the thread that scales are taken from first.
fn instruction([a, b, scales]: [DType; 3], kind: ScaledProduct) -> String {
    let (blocks, depth) = (kind.depth / kind.block, kind.depth);
    let (name, scale) = match (a, scales) {
        (DType::E2m1, DType::E4m3) => ("mxf4nvf4", "ue4m3"),
        (DType::E2m1, _) => ("mxf4nvf4", "ue8m0"),
        _ => ("mxf8f6f4", "ue8m0"),
    };
    format!(
        "mma.sync.aligned.kind::{name}.block_scale.scale_vec::{blocks}X.m16n8k{depth}.row.col.f32.{a}.{b}.f32.{scale} \
         {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$0,$1,$2,$3}}, $10, {{0,0}}, $11, {{0,0}};"
    )
}
