//! Where block scales lie for `mma.sync` with `block_scale`.
//!
//! The instruction takes a scale for each row of A and column of B and block of terms, the blocks of one row as neighbouring bytes
//! of a register. Row `r` of A's 16 is looked up in lane `4·(r mod 8) + r / 8`, column `n` of B's 8 in lane `4·n`: what the selector
//! for threads, here always 0, means. The other lanes hold copies.

use super::{Bit, Layout, MmaSplit, WARP_BITS, log2};

impl Layout {
    /// Scales of the first operand, M×S, for a product that is split so.
    pub fn scales_a(m: usize, s: usize, split: MmaSplit) -> Layout {
        let (mb, sb) = (log2(m) - split.m, log2(s) - split.k);
        let mut reg: Vec<Bit> = (0..sb).map(|b| (1, b as u8)).collect();
        reg.extend((4..mb).map(|b| (0, b as u8)));
        let lane = [Some((0, 3)), None, Some((0, 0)), Some((0, 1)), Some((0, 2))];
        let (warp, _) = split.warps(Some((0, mb)), None, Some((1, sb)));
        Layout { shape: vec![m, s], reg, lane, warp, partial: [false; WARP_BITS] }
    }

    /// Scales of the second operand, S×N.
    pub fn scales_b(s: usize, n: usize, split: MmaSplit) -> Layout {
        let (sb, nb) = (log2(s) - split.k, log2(n) - split.n);
        let mut reg: Vec<Bit> = (0..sb).map(|b| (0, b as u8)).collect();
        reg.extend((3..nb).map(|b| (1, b as u8)));
        let lane = [None, None, Some((1, 0)), Some((1, 1)), Some((1, 2))];
        let (warp, _) = split.warps(None, Some((1, nb)), Some((0, sb)));
        Layout { shape: vec![s, n], reg, lane, warp, partial: [false; WARP_BITS] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{WARP_CHOICES, pack_of};
    use super::*;
    use crate::lower::scaled::{Step, first_words, scale_bytes, second_words};
    use tile_lang::dtype::DType;
    use tile_lang::ir::scaled_product_of;

    /// The coordinates of an element that a thread holds in a register.
    fn held(l: &Layout, warp: usize, lane: usize, register: usize) -> [usize; 2] {
        let mut at = l.register_offset(register);
        for (i, place) in l.lane.iter().chain(&l.warp).enumerate() {
            if let Some((axis, bit)) = place {
                at[*axis as usize] |= ((warp * 32 + lane) >> i & 1) << bit;
            }
        }
        [at[0], at[1]]
    }

    /// A number for each element, small so that sums are exact.
    fn number(seed: usize, [r, c]: [usize; 2]) -> i64 {
        ((seed + 31 * r + 17 * c + r * c) % 13) as i64 - 6
    }

    /// A scale for each block: a power of two.
    fn scale(seed: usize, [r, c]: [usize; 2]) -> i64 {
        1 << ((seed + 5 * r + 3 * c + r * c) % 4)
    }

    /// What one warp's instruction adds to its 16×8 sums, worked out as the PTX manual describes `mma.m16n8k64` with 4-bit and
    /// `m16n8k32` with 8-bit operands and their scales, out of what lanes hold: `a(lane, word, part)`, `b(lane, word, part)`, and
    /// byte `j` of the scales' registers.
    fn instruction(
        width: usize,
        blocks: usize,
        a: &dyn Fn(usize, usize, usize) -> i64,
        b: &dyn Fn(usize, usize, usize) -> i64,
        scales_a: &dyn Fn(usize, usize) -> i64,
        scales_b: &dyn Fn(usize, usize) -> i64,
    ) -> Vec<i64> {
        let depth = 8 * width;
        let (mut of_a, mut of_b) = (vec![0; 16 * depth], vec![0; depth * 8]);
        for lane in 0..32 {
            let (group, place) = (lane / 4, lane % 4);
            for part in 0..width {
                for word in 0..4 {
                    // Words 0 and 2 are of row `group`, 1 and 3 of `group + 8`; 2 and 3 of the later half of the terms.
                    let row = if word % 2 == 0 { group } else { group + 8 };
                    let term = place * width + part + if word >= 2 { depth / 2 } else { 0 };
                    of_a[row * depth + term] = a(lane, word, part);
                }
                for word in 0..2 {
                    let term = place * width + part + word * depth / 2;
                    of_b[term * 8 + group] = b(lane, word, part);
                }
            }
        }
        let mut sums = vec![0; 16 * 8];
        for (row, sums) in sums.chunks_exact_mut(8).enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                for term in 0..depth {
                    let block = term * blocks / depth;
                    let scale = scales_a(4 * (row % 8) + row / 8, block) * scales_b(4 * column, block);
                    *sum += of_a[row * depth + term] * of_b[term * 8 + column] * scale;
                }
            }
        }
        sums
    }

    /// Every lane's registers, put through the instruction as the manual describes it, give the product: operands, scales and
    /// accumulators all lie where it looks for them, however the product is split over warps.
    #[test]
    fn lanes_hold_what_the_instruction_looks_for() {
        let cases = [
            (DType::E2m1, DType::E8m0, [16, 8, 64]),
            (DType::E2m1, DType::E8m0, [32, 16, 256]),
            (DType::E2m1, DType::E4m3, [128, 32, 128]),
            (DType::E2m1, DType::E4m3, [16, 64, 64]),
            (DType::E4m3, DType::E8m0, [16, 8, 256]),
            (DType::E5m2, DType::E8m0, [64, 64, 64]),
        ];
        for ((d, s, [m, n, k]), warps) in cases.into_iter().flat_map(|c| WARP_CHOICES.map(|w| (c, w))) {
            let kind = scaled_product_of(d, d, s).unwrap();
            let (pack, chunks, blocks) = (pack_of(d), k / kind.block, kind.depth / kind.block);
            let split = MmaSplit::choose([m, n, k], pack, false, warps);
            let (la, lb) = (Layout::operand_a(m, k, split, pack), Layout::operand_b(k, n, split, pack));
            let (lsa, lsb) = (Layout::scales_a(m, chunks, split), Layout::scales_b(chunks, n, split));
            let lc = Layout::accumulator(m, n, split);
            let mut sums = vec![0; m * n];
            for warp in 0..warps {
                // Warps that hold copies of sums compute them alike; one of them counts.
                let copies = (0..WARP_BITS).any(|i| lc.warp[i].is_none() && !lc.partial[i] && warp >> i & 1 == 1);
                for step in Step::all([m, n, k], split, kind) {
                    let (wa, wb) = (first_words(&la, &step, pack), second_words(&lb, &step, pack));
                    let (ba, bb) = scale_bytes([&lsa, &lsb], &step, kind);
                    let made = instruction(
                        1 << pack,
                        blocks,
                        &|lane, word, part| number(1, held(&la, warp, lane, wa[word] + part)),
                        &|lane, word, part| number(2, held(&lb, warp, lane, wb[word] + part)),
                        &|lane, byte| scale(3, held(&lsa, warp, lane, ba[byte])),
                        &|lane, byte| scale(4, held(&lsb, warp, lane, bb[byte])),
                    );
                    for lane in (0..32).filter(|_| !copies) {
                        for (i, register) in step.sums(&lc).into_iter().enumerate() {
                            let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
                            let [r, c] = held(&lc, warp, lane, register);
                            sums[r * n + c] += made[row * 8 + column];
                        }
                    }
                }
            }
            for (i, sum) in sums.into_iter().enumerate() {
                let term = |p: usize| {
                    let (r, c, b) = (i / n, i % n, p / kind.block);
                    number(1, [r, p]) * number(2, [p, c]) * scale(3, [r, b]) * scale(4, [b, c])
                };
                let want: i64 = (0..k).map(term).sum();
                assert_eq!(sum, want, "{d} with {s}, {m}×{n}×{k} on {warps} warps, element {i}");
            }
        }
    }
}
