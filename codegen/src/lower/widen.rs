//! Wide stores: lanes of a warp swap elements, so that each holds neighbours of one row.
//!
//! A product's accumulator gives a lane two neighbours of a row; four lanes that store them touch half a sector of memory. Where an array's rows
//! allow accesses of 16 bytes, a bit of the column that tells lanes apart changes places with one that tells registers apart, as often as
//! needed: one shuffle for each pair of words. Nothing leaves the warp, so that no barrier is needed.

use super::body::{Body, register_type};
use super::emit::Ssa;
use crate::layout::Layout;
use tile_lang::dtype::DType;

/// Bytes of a word that shuffles move.
const WORD: usize = 4;
/// Bytes of the widest access.
const WIDEST: usize = 16;
/// Bytes of memory that are written together or not at all.
const SECTOR: usize = 32;

/// A lane bit and the register bit that it changes places with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Swap {
    lane: usize,
    register: usize,
}

/// The layout that stores of up to `most` neighbours take best, and the swaps that lead to it; none where sectors are written whole anyway, or
/// where it takes more than swaps within a warp.
fn wider(layout: &Layout, size: usize, most: usize) -> Option<(Layout, Vec<Swap>)> {
    let last = layout.shape.len().checked_sub(1)? as u8;
    let bit = |b: usize| (last, b as u8);
    let in_lanes = |l: &Layout, b: usize| l.lane.iter().position(|x| *x == Some(bit(b)));
    let wanted = (most.min(WIDEST / size)).trailing_zeros() as usize;
    // What one access of all lanes writes of a row without a gap.
    let own =
        (0..).take_while(|b| layout.reg.contains(&bit(*b))).count().min((WIDEST / size).trailing_zeros() as usize);
    let run = own + (own..).take_while(|b| in_lanes(layout, *b).is_some()).count();
    if size << run >= SECTOR {
        return None;
    }
    let (mut out, mut swaps) = (layout.clone(), Vec::new());
    for b in 0..wanted {
        if out.reg.contains(&bit(b)) {
            continue;
        }
        let lane = in_lanes(&out, b)?;
        // The nearest column, so that lanes go on where their neighbours end.
        let free = out.reg.iter().enumerate().filter(|(_, r)| r.0 == last && r.1 as usize >= wanted);
        let (register, taken) = free.min_by_key(|(_, r)| r.1).map(|(i, r)| (i, *r))?;
        out.reg[register] = bit(b);
        out.lane[lane] = Some(taken);
        swaps.push(Swap { lane, register });
    }
    (!swaps.is_empty()).then_some((out, swaps))
}

impl Body<'_> {
    /// Elements of a tile and their layout, brought into one for stores of up to `most` neighbours where that is worth it.
    pub fn brought_together(
        &mut self,
        elements: Vec<Ssa>,
        layout: Layout,
        d: DType,
        most: usize,
    ) -> (Vec<Ssa>, Layout) {
        let size = d.bits() / 8;
        if d == DType::Bool || !(1..WORD).contains(&size) {
            return (elements, layout);
        }
        let Some((to, swaps)) = wider(&layout, size, most) else { return (elements, layout) };
        // As many neighbours move in one word as a thread holds from the start.
        let last = layout.shape.len() as u8 - 1;
        let packed = (0..(WORD / size).trailing_zeros() as u8).take_while(|b| layout.reg.contains(&(last, *b))).count();
        let inner: Vec<usize> =
            (0..packed as u8).filter_map(|b| layout.reg.iter().position(|r| *r == (last, b))).collect();
        let register = |word: usize, element: usize| {
            inner.iter().enumerate().fold(word, |r, (i, at)| r | ((element >> i) & 1) << at)
        };
        let heads: Vec<usize> = (0..layout.registers()).filter(|r| inner.iter().all(|at| (r >> at) & 1 == 0)).collect();
        let mut words: Vec<Option<Ssa>> = vec![None; layout.registers()];
        for &head in &heads {
            let near: Vec<Ssa> = (0..1 << packed).map(|i| elements[register(head, i)].clone()).collect();
            words[head] = Some(self.packed_word(&near, d));
        }
        for swap in swaps {
            self.swap(&mut words, swap);
        }
        let mut out = elements;
        for (head, word) in words.into_iter().enumerate().filter_map(|(i, w)| Some((i, w?))) {
            for (i, x) in self.parts(&word, d, 1 << packed).into_iter().enumerate() {
                out[register(head, i)] = x;
            }
        }
        (out, to)
    }

    /// Neighbours in one word.
    fn packed_word(&mut self, near: &[Ssa], d: DType) -> Ssa {
        let (n, bits) = (near.len(), near.len() * d.bits());
        let (x, ty) = match n {
            1 => (near[0].clone(), register_type(d).to_owned()),
            _ => (self.e.vector(near, register_type(d)), format!("vector<{n}x{}>", register_type(d))),
        };
        let int = self.e.bitcast(&x, &ty, &format!("i{bits}"));
        if bits == 32 { int } else { self.e.op(&format!("llvm.zext {int} : i{bits} to i32")) }
    }

    /// The neighbours in a word.
    fn parts(&mut self, word: &Ssa, d: DType, n: usize) -> Vec<Ssa> {
        let bits = n * d.bits();
        let int = if bits == 32 { word.clone() } else { self.e.op(&format!("llvm.trunc {word} : i32 to i{bits}")) };
        if n == 1 {
            return vec![self.e.bitcast(&int, &format!("i{bits}"), register_type(d))];
        }
        let ty = format!("vector<{n}x{}>", register_type(d));
        let all = self.e.bitcast(&int, &format!("i{bits}"), &ty);
        (0..n).map(|i| self.e.extract(&all, i, &ty)).collect()
    }

    /// Of two words that differ in the register bit, each lane keeps the one that its own lane bit will stand for and trades the other.
    fn swap(&mut self, words: &mut [Option<Ssa>], at: Swap) {
        let thread = self.thread.clone();
        let upper = self.e.entry(|e| {
            let (bit, zero) = (e.i32(1 << at.lane), e.i32(0));
            let own = e.bin("and", &thread, &bit, "i32");
            e.icmp("ne", &own, &zero, "i32")
        });
        let text = format!("shfl.sync.bfly.b32 $0, $1, {}, 0x1f, 0xffffffff;", 1 << at.lane);
        for low in (0..words.len()).filter(|r| (r >> at.register) & 1 == 0) {
            let high = low | 1 << at.register;
            let (Some(a), Some(b)) = (words[low].clone(), words[high].clone()) else { continue };
            let given = self.e.select(&upper, &a, &b, "i32");
            let taken = self.e.asm(&text, "=r,r", &[(&given, "i32")], Some("i32"));
            words[low] = Some(self.e.select(&upper, &taken, &a, "i32"));
            words[high] = Some(self.e.select(&upper, &b, &taken, "i32"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MmaSplit;

    /// Which element each lane holds in each register of one warp.
    fn held(l: &Layout) -> Vec<Vec<Vec<usize>>> {
        let lane = |lane: usize| -> Vec<Vec<usize>> {
            (0..l.registers())
                .map(|r| {
                    let mut at = l.register_offset(r);
                    for (i, b) in l.lane.iter().enumerate() {
                        if let Some((axis, bit)) = b {
                            at[*axis as usize] |= ((lane >> i) & 1) << bit;
                        }
                    }
                    at
                })
                .collect()
        };
        (0..32).map(lane).collect()
    }

    /// The trade of [`Body::swap`], on all lanes at once.
    fn trade(held: &mut [Vec<Vec<usize>>], at: Swap) {
        let before = held.to_vec();
        for (lane, own) in held.iter_mut().enumerate() {
            let (upper, other) = ((lane >> at.lane) & 1 == 1, &before[lane ^ 1 << at.lane]);
            for low in (0..own.len()).filter(|r| (r >> at.register) & 1 == 0) {
                // What the other lane gives: the register that stands for this lane's bit.
                let high = low | 1 << at.register;
                let (to, from) = if upper { (low, high) } else { (high, low) };
                own[to].clone_from(&other[from]);
            }
        }
    }

    #[test]
    fn swaps_lead_to_the_wider_layout() {
        for (m, n, split) in [(128, 256, [3, 0]), (64, 64, [2, 0]), (16, 128, [0, 2]), (16, 64, [0, 0])] {
            let split = MmaSplit { m: split[0], n: split[1], k: 0 };
            for (size, most) in [(2, 8), (2, 4), (1, 16), (1, 8)] {
                let from = Layout::accumulator(m, n, split);
                let Some((to, swaps)) = wider(&from, size, most) else { continue };
                let mut lanes = held(&from);
                swaps.iter().for_each(|s| trade(&mut lanes, *s));
                assert_eq!(lanes, held(&to), "{m}×{n}, {size} bytes");
                for b in 0..most.min(WIDEST / size).trailing_zeros() as u8 {
                    assert!(to.reg.contains(&(1, b)), "{to:?}");
                }
            }
        }
    }

    #[test]
    fn rows_of_bf16_are_stored_16_bytes_at_a_time() {
        let from = Layout::accumulator(128, 256, MmaSplit { m: 3, n: 0, k: 0 });
        let (to, swaps) = wider(&from, 2, 8).unwrap();
        assert_eq!(swaps.len(), 2);
        assert_eq!(to.lane[..2], [Some((1, 3)), Some((1, 4))]);
    }

    #[test]
    fn whole_sectors_stay_where_they_are() {
        let split = MmaSplit { m: 3, n: 0, k: 0 };
        assert_eq!(wider(&Layout::accumulator(128, 256, split), 4, 4), None);
        assert_eq!(wider(&Layout::blocked(&[64, 64], 8), 2, 8), None);
        assert_eq!(wider(&Layout::accumulator(128, 8, split), 2, 8), None, "no columns to change places with");
    }
}
