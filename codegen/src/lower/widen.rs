//! Wide stores: lanes of a warp trade elements, so that each holds neighbours of one row.
//!
//! A product's accumulator gives a lane two neighbours of a row; four lanes that store them touch half a sector of memory. Where an array's rows
//! allow accesses of 16 bytes, a bit of the column that tells lanes apart changes places with one that tells registers apart, as often as
//! needed: one shuffle for each pair of words. Nothing leaves the warp, so that no barrier is needed.
//!
//! A transposed accumulator has its columns where the other one has rows: eight lanes hold a row's neighbours, one each. `movmatrix`, an instruction for
//! each two elements of 16 bits, turns blocks of 8 × 8 over, after which it lies as the other one does.

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

/// A step on the way to another layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trade {
    /// A lane bit and a register bit change places.
    Swap { lane: usize, register: usize },
    /// Words of two 16-bit elements, which differ in this register bit, are blocks of 8 × 8 elements whose rows the upper three lane bits tell apart:
    /// they are transposed. The register bit and the lower two lane bits change places with the upper three lane bits, in this order.
    Turn { register: usize },
}

/// Bytes of a row that one access of all lanes writes without a gap.
fn run(layout: &Layout, size: usize) -> usize {
    let last = layout.shape.len() as u8 - 1;
    let in_registers = |b: &usize| layout.reg.contains(&(last, *b as u8));
    let in_lanes = |b: &usize| layout.lane.contains(&Some((last, *b as u8)));
    let own = (0..).take_while(in_registers).count().min((WIDEST / size).trailing_zeros() as usize);
    size << (own + (own..).take_while(in_lanes).count())
}

/// The trade that transposes blocks of 8 × 8, where a row's neighbours are in eight lanes and those of a column in one lane's registers.
fn turned(layout: &Layout, size: usize) -> Option<(Layout, Trade)> {
    let last = layout.shape.len().checked_sub(1)? as u8;
    let across = layout.lane[2..] == [0, 1, 2].map(|b| Some((last, b)));
    let register = layout.reg.iter().position(|r| r.0 != last).filter(|_| across && size == WORD / 2)?;
    let mut out = layout.clone();
    let [a, b, ..] = layout.lane;
    out.reg[register] = (last, 0);
    out.lane = [Some((last, 1)), Some((last, 2)), Some(layout.reg[register]), a, b];
    Some((out, Trade::Turn { register }))
}

/// The layout that stores of up to `most` neighbours take best, and the trades that lead to it; none where sectors are written whole anyway, or
/// where it takes more than trades within a warp.
fn wider(layout: &Layout, size: usize, most: usize) -> Option<(Layout, Vec<Trade>)> {
    let last = layout.shape.len().checked_sub(1)? as u8;
    let bit = |b: usize| (last, b as u8);
    let wanted = (most.min(WIDEST / size)).trailing_zeros() as usize;
    if run(layout, size) >= SECTOR {
        return None;
    }
    let (mut out, mut trades) = (layout.clone(), Vec::new());
    if let Some((turned, trade)) = turned(layout, size).filter(|_| wanted > 0) {
        out = turned;
        trades.push(trade);
    }
    for b in 0..wanted {
        if out.reg.contains(&bit(b)) {
            continue;
        }
        let lane = out.lane.iter().position(|x| *x == Some(bit(b)))?;
        // The nearest column, so that lanes go on where their neighbours end.
        let free = out.reg.iter().enumerate().filter(|(_, r)| r.0 == last && r.1 as usize >= wanted);
        let Some((register, taken)) = free.min_by_key(|(_, r)| r.1).map(|(i, r)| (i, *r)) else { break };
        out.reg[register] = bit(b);
        out.lane[lane] = Some(taken);
        trades.push(Trade::Swap { lane, register });
    }
    // Half of a wide access is worth its trades if it makes sectors whole.
    let all = (0..wanted).all(|b| out.reg.contains(&bit(b)));
    (!trades.is_empty() && (all || run(&out, size) >= SECTOR)).then_some((out, trades))
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
        let Some((to, trades)) = wider(&layout, size, most) else { return (elements, layout) };
        // As many neighbours move in one word as a thread holds from the start, or those of a column that are turned.
        let last = layout.shape.len() as u8 - 1;
        let near =
            (0..(WORD / size).trailing_zeros() as u8).map_while(|b| layout.reg.iter().position(|r| *r == (last, b)));
        let inner: Vec<usize> = match trades.first() {
            Some(Trade::Turn { register }) => vec![*register],
            _ => near.collect(),
        };
        let packed = inner.len();
        let register = |word: usize, element: usize| {
            inner.iter().enumerate().fold(word, |r, (i, at)| r | ((element >> i) & 1) << at)
        };
        let heads: Vec<usize> = (0..layout.registers()).filter(|r| inner.iter().all(|at| (r >> at) & 1 == 0)).collect();
        let mut words: Vec<Option<Ssa>> = vec![None; layout.registers()];
        for &head in &heads {
            let near: Vec<Ssa> = (0..1 << packed).map(|i| elements[register(head, i)].clone()).collect();
            words[head] = Some(self.packed_word(&near, d));
        }
        for trade in trades {
            match trade {
                Trade::Swap { lane, register } => self.swap(&mut words, lane, register),
                Trade::Turn { .. } => self.turn(&mut words),
            }
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
    fn swap(&mut self, words: &mut [Option<Ssa>], lane: usize, register: usize) {
        let thread = self.thread.clone();
        let upper = self.e.entry(|e| {
            let (bit, zero) = (e.i32(1 << lane), e.i32(0));
            let own = e.bin("and", &thread, &bit, "i32");
            e.icmp("ne", &own, &zero, "i32")
        });
        let text = format!("shfl.sync.bfly.b32 $0, $1, {}, 0x1f, 0xffffffff;", 1 << lane);
        for low in (0..words.len()).filter(|r| (r >> register) & 1 == 0) {
            let high = low | 1 << register;
            let (Some(a), Some(b)) = (words[low].clone(), words[high].clone()) else { continue };
            let given = self.e.select(&upper, &a, &b, "i32");
            let taken = self.e.asm(&text, "=r,r", &[(&given, "i32")], Some("i32"));
            words[low] = Some(self.e.select(&upper, &taken, &a, "i32"));
            words[high] = Some(self.e.select(&upper, &b, &taken, "i32"));
        }
    }

    /// Each word is a row's part of an 8 × 8 block, of which a lane gets back the same part of the transpose.
    fn turn(&mut self, words: &mut [Option<Ssa>]) {
        for word in words.iter_mut().flatten() {
            let text = "movmatrix.sync.aligned.m8n8.trans.b16 $0, $1;";
            *word = self.e.asm(text, "=r,r", &[(&*word, "i32")], Some("i32"));
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

    /// What [`Body::swap`] and [`Body::turn`] do, on all lanes at once.
    fn trade(held: &mut [Vec<Vec<usize>>], trade: Trade) {
        let before = held.to_vec();
        for (lane, own) in held.iter_mut().enumerate() {
            match trade {
                Trade::Swap { lane: bit, register } => {
                    let (upper, other) = ((lane >> bit) & 1 == 1, &before[lane ^ 1 << bit]);
                    for low in (0..own.len()).filter(|r| (r >> register) & 1 == 0) {
                        // What the other lane gives: the register that stands for this lane's bit.
                        let high = low | 1 << register;
                        let (to, from) = if upper { (low, high) } else { (high, low) };
                        own[to].clone_from(&other[from]);
                    }
                }
                Trade::Turn { register } => {
                    // A lane holds two elements of a row of the block, and gets two of the transpose's.
                    let (row, column) = (lane / 4, 2 * (lane % 4));
                    for word in (0..own.len()).filter(|r| (r >> register) & 1 == 0) {
                        for i in 0..2 {
                            let from = &before[4 * (column + i) + row / 2][word | (row % 2) << register];
                            own[word | i << register].clone_from(from);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn swaps_lead_to_the_wider_layout() {
        for (m, n, split) in [(128, 256, [3, 0]), (64, 64, [2, 0]), (16, 128, [0, 2]), (16, 64, [0, 0])] {
            let split = MmaSplit { m: split[0], n: split[1], k: 0 };
            for (size, most) in [(2, 8), (2, 4), (1, 16), (1, 8)] {
                let from = Layout::accumulator(m, n, split);
                let Some((to, trades)) = wider(&from, size, most) else { continue };
                let mut lanes = held(&from);
                trades.iter().for_each(|s| trade(&mut lanes, *s));
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
        let (to, trades) = wider(&from, 2, 8).unwrap();
        assert_eq!(trades.len(), 2);
        assert_eq!(to.lane[..2], [Some((1, 3)), Some((1, 4))]);
    }

    #[test]
    fn transposed_accumulators_are_turned() {
        for (rows, columns, split) in [(128, 256, 3), (64, 64, 2), (128, 64, 2), (128, 8, 3)] {
            // The accumulator's rows are the columns that are stored.
            let from = Layout::accumulator(rows, columns, MmaSplit { m: split, n: 0, k: 0 }).transposed();
            let (to, trades) = wider(&from, 2, 8).unwrap();
            let mut lanes = held(&from);
            trades.iter().for_each(|s| trade(&mut lanes, *s));
            assert_eq!(lanes, held(&to), "{rows}×{columns}");
            assert!(matches!(trades[0], Trade::Turn { .. }), "{trades:?}");
            assert_eq!(run(&from, 2), 16);
            assert!(run(&to, 2) >= SECTOR, "{to:?}");
        }
        let from = Layout::accumulator(128, 256, MmaSplit { m: 3, n: 0, k: 0 }).transposed();
        assert_eq!(wider(&from, 2, 1), None, "rows that begin anywhere");
        assert_eq!(wider(&from, 4, 4), None, "whole sectors");
    }

    #[test]
    fn whole_sectors_stay_where_they_are() {
        let split = MmaSplit { m: 3, n: 0, k: 0 };
        assert_eq!(wider(&Layout::accumulator(128, 256, split), 4, 4), None);
        assert_eq!(wider(&Layout::blocked(&[64, 64], 8), 2, 8), None);
        assert_eq!(wider(&Layout::accumulator(128, 8, split), 2, 8), None, "no columns to change places with");
    }
}
