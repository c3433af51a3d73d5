//! Which thread holds which element of a register tile.
//!
//! Extents are powers of two, so an element's coordinates are bits, and a layout says where each hardware bit (register,
//! lane, warp) goes: to one coordinate bit, or nowhere, in which case the threads that differ in it hold copies. Warps may
//! also hold **partial sums**: the tile is the sum of what they hold, in the order of warps.

mod assign;
pub(crate) mod descriptor;
mod parts;
mod scales;
pub(crate) mod warpgroup;

use tile_lang::dtype::DType;

pub use assign::{Assignment, Split, assign};
pub(crate) use assign::{moved_from, ring_sources, staged_arrays, stored_in};

use tile_lang::ir::{Kernel, Role};

/// log2 of the most consumer warps of a CTA.
pub const WARP_BITS: usize = 3;
/// Consumer warps of a CTA where nothing else is pinned, and the most there may be.
pub const WARPS: usize = 1 << WARP_BITS;
/// The numbers of consumer warps that layouts are made for: whole warpgroups.
pub const WARP_CHOICES: [usize; 2] = [4, WARPS];

/// Consumer warps that a kernel split into roles is laid out for.
pub fn consumer_warps(kernel: &Kernel) -> usize {
    let asked = kernel.resources.roles.iter().find(|r| r.role == Role::Consumer).map_or(0, |r| r.warps);
    if WARP_CHOICES.contains(&asked) { asked } else { WARPS }
}

/// A bit of a coordinate: axis and position.
pub type Bit = (u8, u8);

/// A distribution of a tile over the consumer warps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Extents, powers of two.
    pub shape: Vec<usize>,
    /// What the bits of the register index mean, lowest first.
    pub reg: Vec<Bit>,
    /// What the bits of the lane mean; `None` for copies.
    pub lane: [Option<Bit>; 5],
    /// What the bits of the warp mean; `None` for copies or partial sums.
    pub warp: [Option<Bit>; WARP_BITS],
    /// Warp bits over which the tile is a sum.
    pub partial: [bool; WARP_BITS],
}

/// How a product's three axes are split over warps, as log2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmaSplit {
    /// Warps along rows.
    pub m: usize,
    /// Warps along columns.
    pub n: usize,
    /// Warps along the sum; their accumulators are partial.
    pub k: usize,
}

/// log2 of the elements of a product's operand in a 32-bit register.
pub fn pack_of(d: DType) -> u8 {
    match d.bits() {
        4 => 3,
        8 => 2,
        32 => 0,
        _ => 1,
    }
}

fn log2(n: usize) -> usize {
    n.trailing_zeros() as usize
}

impl Layout {
    /// Registers of one thread.
    pub fn registers(&self) -> usize {
        1 << self.reg.len()
    }

    /// Whether warps hold partial sums.
    pub fn is_partial(&self) -> bool {
        self.partial.iter().any(|p| *p)
    }

    /// The layout with the partial sums taken as copies.
    pub fn whole(&self) -> Layout {
        Layout { partial: [false; WARP_BITS], ..self.clone() }
    }

    /// Coordinates that a register adds to its thread's.
    pub fn register_offset(&self, r: usize) -> Vec<usize> {
        let mut at = vec![0; self.shape.len()];
        for (i, (axis, bit)) in self.reg.iter().enumerate() {
            at[*axis as usize] |= ((r >> i) & 1) << bit;
        }
        at
    }

    /// The register that holds these coordinates in the thread that holds them.
    pub fn register_at(&self, at: &[usize]) -> usize {
        self.reg.iter().enumerate().fold(0, |r, (i, (axis, bit))| r | ((at[*axis as usize] >> bit) & 1) << i)
    }

    /// The layout of the part with these extents at this place, if every thread that holds elements of the tile holds those of the part
    /// that lie alike in it: none of the part's elements has to move.
    pub fn part(&self, at: &[usize], shape: &[usize]) -> Option<Layout> {
        let inside = |(axis, bit): &(u8, u8)| 1usize << bit < shape[*axis as usize];
        let whole = at.iter().zip(shape).all(|(at, extent)| at.is_multiple_of(*extent));
        let threads = self.lane.iter().chain(&self.warp).flatten().all(inside);
        let reg = self.reg.iter().copied().filter(inside).collect();
        (whole && threads && !self.is_partial()).then(|| Layout { shape: shape.to_vec(), reg, ..self.clone() })
    }

    /// Whether both give every thread the same elements, in any order of registers.
    pub fn same_threads(&self, other: &Layout) -> bool {
        self.shape == other.shape && self.lane == other.lane && self.warp == other.warp && self.partial == other.partial
    }

    /// Loads and stores without a better idea: up to four neighbours a thread along the last axis, then lanes, then `warps` warps.
    pub fn blocked(shape: &[usize], warps: usize) -> Layout {
        Layout::blocked_by(shape, warps, 0)
    }

    /// The same with at least two neighbours: for 4-bit elements in memory.
    pub fn pairs(shape: &[usize], warps: usize) -> Layout {
        Layout::blocked_by(shape, warps, 1)
    }

    /// The same with at least `1 << least` neighbours.
    fn blocked_by(shape: &[usize], warps: usize, least: usize) -> Layout {
        let warp_bits = log2(warps);
        let mut bits: Vec<Bit> = Vec::new();
        for axis in (0..shape.len()).rev() {
            bits.extend((0..log2(shape[axis])).map(|b| (axis as u8, b as u8)));
        }
        let spare = bits.len().saturating_sub(5 + warp_bits);
        let last = log2(*shape.last().unwrap_or(&1));
        let vector = spare.min(2).max(least).min(last);
        let mut rest = bits.split_off(vector).into_iter();
        let mut reg = bits;
        let lane = std::array::from_fn(|_| rest.next());
        let warp = std::array::from_fn(|i| if i < warp_bits { rest.next() } else { None });
        reg.extend(rest);
        Layout { shape: shape.to_vec(), reg, lane, warp, partial: [false; WARP_BITS] }
    }

    /// The accumulator of an M×N product.
    pub fn accumulator(m: usize, n: usize, split: MmaSplit) -> Layout {
        let (mb, nb) = (log2(m) - split.m, log2(n) - split.n);
        let mut reg: Vec<Bit> = vec![(1, 0), (0, 3)];
        reg.extend((3..nb).map(|b| (1, b as u8)));
        reg.extend((4..mb).map(|b| (0, b as u8)));
        let lane = [Some((1, 1)), Some((1, 2)), Some((0, 0)), Some((0, 1)), Some((0, 2))];
        let (warp, partial) = split.warps(Some((0, mb)), Some((1, nb)), None);
        Layout { shape: vec![m, n], reg, lane, warp, partial }
    }

    /// The first operand, M×K; `pack` is log2 of the elements in a 32-bit register.
    pub fn operand_a(m: usize, k: usize, split: MmaSplit, pack: u8) -> Layout {
        let (mb, kb) = (log2(m) - split.m, log2(k) - split.k);
        let mut reg: Vec<Bit> = (0..pack).map(|b| (1, b)).collect();
        reg.extend([(0, 3), (1, pack + 2)]);
        reg.extend((pack as usize + 3..kb).map(|b| (1, b as u8)));
        reg.extend((4..mb).map(|b| (0, b as u8)));
        let lane = [Some((1, pack)), Some((1, pack + 1)), Some((0, 0)), Some((0, 1)), Some((0, 2))];
        let (warp, _) = split.warps(Some((0, mb)), None, Some((1, kb)));
        Layout { shape: vec![m, k], reg, lane, warp, partial: [false; WARP_BITS] }
    }

    /// A tile on its way to shared memory, where warpgroups' products take it from as their first operand: each lane holds 16 bytes of a
    /// row, eight lanes 128 bytes, as arrays and swizzled panels are fastest read and written.
    pub fn chunks(shape: [usize; 2], pack: u8, warps: usize) -> Layout {
        let (rows, columns) = (log2(shape[0]) as u8, log2(shape[1]) as u8);
        let mut bits = (0..columns).map(|b| (1, b)).chain((0..rows).map(|b| (0, b))).collect::<Vec<Bit>>();
        let mut rest = bits.split_off((pack as usize + 2).min(columns as usize)).into_iter();
        let lane = std::array::from_fn(|_| rest.next());
        let mut rest: Vec<Bit> = rest.collect();
        let mut of_warps = rest.split_off(rest.len().saturating_sub(log2(warps))).into_iter();
        bits.extend(rest);
        Layout {
            shape: shape.to_vec(),
            reg: bits,
            lane,
            warp: std::array::from_fn(|_| of_warps.next()),
            partial: [false; WARP_BITS],
        }
    }

    /// The second operand, K×N.
    pub fn operand_b(k: usize, n: usize, split: MmaSplit, pack: u8) -> Layout {
        let (kb, nb) = (log2(k) - split.k, log2(n) - split.n);
        let mut reg: Vec<Bit> = (0..pack).map(|b| (0, b)).collect();
        reg.push((0, pack + 2));
        reg.extend((pack as usize + 3..kb).map(|b| (0, b as u8)));
        reg.extend((3..nb).map(|b| (1, b as u8)));
        let lane = [Some((0, pack)), Some((0, pack + 1)), Some((1, 0)), Some((1, 1)), Some((1, 2))];
        let (warp, _) = split.warps(None, Some((1, nb)), Some((0, kb)));
        Layout { shape: vec![k, n], reg, lane, warp, partial: [false; WARP_BITS] }
    }

    /// With the axes swapped.
    pub fn transposed(&self) -> Layout {
        let swap = |(axis, bit): Bit| (1 - axis, bit);
        Layout {
            shape: self.shape.iter().rev().copied().collect(),
            reg: self.reg.iter().map(|b| swap(*b)).collect(),
            lane: self.lane.map(|b| b.map(swap)),
            warp: self.warp.map(|b| b.map(swap)),
            partial: self.partial,
        }
    }

    /// Without one axis: what a reduction along it leaves, or what a broadcast along it needs.
    pub fn without(&self, axis: usize) -> Layout {
        let axis = axis as u8;
        let drop = |b: Bit| (b.0 != axis).then(|| (if b.0 > axis { b.0 - 1 } else { b.0 }, b.1));
        let mut shape = self.shape.clone();
        shape.remove(axis as usize);
        Layout {
            shape,
            reg: self.reg.iter().filter_map(|b| drop(*b)).collect(),
            lane: self.lane.map(|b| b.and_then(drop)),
            warp: self.warp.map(|b| b.and_then(drop)),
            partial: self.partial,
        }
    }

    /// With one more axis of extent 1.
    pub fn with_unit_axis(&self, axis: usize) -> Layout {
        let shift = |b: Bit| (if b.0 as usize >= axis { b.0 + 1 } else { b.0 }, b.1);
        let mut shape = self.shape.clone();
        shape.insert(axis, 1);
        Layout {
            shape,
            reg: self.reg.iter().map(|b| shift(*b)).collect(),
            lane: self.lane.map(|b| b.map(shift)),
            warp: self.warp.map(|b| b.map(shift)),
            partial: self.partial,
        }
    }

    /// What a repetition of each element along the last axis needs.
    pub fn before_repeat(&self, times: usize) -> Layout {
        let (last, low) = (self.shape.len() as u8 - 1, log2(times) as u8);
        let drop = |b: Bit| if b.0 != last { Some(b) } else { b.1.checked_sub(low).map(|bit| (b.0, bit)) };
        let mut shape = self.shape.clone();
        shape[last as usize] /= times;
        Layout {
            shape,
            reg: self.reg.iter().filter_map(|b| drop(*b)).collect(),
            lane: self.lane.map(|b| b.and_then(drop)),
            warp: self.warp.map(|b| b.and_then(drop)),
            partial: self.partial,
        }
    }

    /// Where partial sums go when they are added up: each warp takes a share of the registers as far as they reach.
    pub fn combined(&self) -> Layout {
        let mut out = self.whole();
        for i in 0..WARP_BITS {
            if self.partial[i] && out.reg.len() > 1 {
                out.warp[i] = out.reg.pop();
            }
        }
        out
    }
}

impl MmaSplit {
    /// Splits `warps` warps over an M×N×K product. A first operand that was computed (not loaded) stays where it is, which
    /// is along the sum; wide results split columns; everything else splits the sum, of which an instruction takes
    /// `8 << pack` terms.
    pub fn choose([m, n, k]: [usize; 3], pack: u8, computed_a: bool, warps: usize) -> MmaSplit {
        let (mut left, mut split) = (log2(warps), MmaSplit { m: 0, n: 0, k: 0 });
        let take = |want: usize, left: &mut usize| {
            let got = want.min(*left);
            *left -= got;
            got
        };
        split.m = take(log2(m / 16), &mut left);
        if !computed_a && n / 8 >= 1 << left && n >= 64 {
            split.n = take(log2(n / 8), &mut left);
        }
        split.k = take(log2(k / (8 << pack)), &mut left);
        split.n += take(log2(n / 8) - split.n, &mut left);
        split
    }

    /// Warp bits: rows first, then columns, then the sum, each on the top bits of its axis (given as axis and first bit).
    fn warps(
        self,
        m: Option<(u8, usize)>,
        n: Option<(u8, usize)>,
        k: Option<(u8, usize)>,
    ) -> ([Option<Bit>; WARP_BITS], [bool; WARP_BITS]) {
        let (mut warp, mut partial, mut at) = ([None; WARP_BITS], [false; WARP_BITS], 0);
        for (count, place, sums) in [(self.m, m, false), (self.n, n, false), (self.k, k, true)] {
            for i in 0..count {
                warp[at] = place.map(|(axis, first)| (axis, (first + i) as u8));
                partial[at] = sums && k.is_none();
                at += 1;
            }
        }
        (warp, partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn covers(l: &Layout) {
        let mut bits: HashSet<Bit> = HashSet::new();
        for b in l.reg.iter().copied().chain(l.lane.iter().flatten().copied()).chain(l.warp.iter().flatten().copied()) {
            assert!(bits.insert(b), "{l:?} holds {b:?} twice");
        }
        let want: usize = l.shape.iter().map(|n| log2(*n)).sum();
        assert_eq!(bits.len(), want, "{l:?}");
    }

    #[test]
    fn layouts_hold_every_element_once() {
        for shape in [vec![1], vec![16], vec![2, 4], vec![16, 16], vec![16, 512], vec![1024]] {
            WARP_CHOICES.iter().for_each(|warps| covers(&Layout::blocked(&shape, *warps)));
        }
        for (m, n, k) in [(16, 8, 128), (16, 16, 512), (128, 16, 64), (16, 128, 64), (16, 128, 16), (64, 8, 16)] {
            for (computed, warps, pack) in [(false, 8, 1), (true, 8, 1), (false, 4, 1), (true, 4, 2), (false, 8, 2)] {
                let k = k.max(8 << pack);
                let split = MmaSplit::choose([m, n, k], pack, computed, warps);
                assert!(split.m + split.n + split.k <= log2(warps));
                covers(&Layout::accumulator(m, n, split));
                covers(&Layout::operand_a(m, k, split, pack));
                covers(&Layout::chunks([m, k], pack, warps));
                covers(&Layout::operand_b(k, n, split, pack));
                covers(&Layout::accumulator(m, n, split).combined());
            }
        }
    }

    #[test]
    fn a_score_tile_is_already_the_next_operand() {
        let scores = Layout::accumulator(16, 128, MmaSplit::choose([16, 128, 64], 1, false, WARPS));
        let next = Layout::operand_a(16, 128, MmaSplit::choose([16, 64, 128], 1, true, WARPS), 1);
        assert!(scores.same_threads(&next));
    }
}
