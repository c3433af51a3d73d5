//! Which elements each thread holds: of a layout, by its tables of bits, and of a product's operands, by the PTX manual.

use crate::layout::{Layout, WARP_BITS};
use std::collections::BTreeSet;

/// Lanes of a warp.
pub(super) const LANES: usize = 32;

/// Which elements each thread holds, as row-major positions; and over which warp bits the tile is a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dist {
    pub(super) shape: Vec<usize>,
    pub(super) threads: Vec<Vec<u32>>,
    pub(super) partial: Vec<bool>,
}

impl Dist {
    pub(super) fn is_partial(&self) -> bool {
        self.partial.iter().any(|p| *p)
    }

    pub(super) fn whole(&self) -> Dist {
        Dist { partial: vec![false; self.partial.len()], ..self.clone() }
    }

    /// The elements that threads need of another tile to make these.
    pub(super) fn map(&self, shape: Vec<usize>, f: impl Fn(&[usize]) -> Vec<usize>) -> Dist {
        let threads = self.threads.iter().map(|held| {
            let set: BTreeSet<u32> =
                held.iter().map(|e| position(&shape, &f(&coordinates(&self.shape, *e as usize))) as u32).collect();
            set.into_iter().collect()
        });
        Dist { shape: shape.clone(), threads: threads.collect(), partial: self.partial.clone() }
    }

    pub(super) fn without(&self, axis: usize) -> Dist {
        let mut shape = self.shape.clone();
        shape.remove(axis);
        self.map(shape, |at| at.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, x)| *x).collect())
    }

    pub(super) fn swapped(&self) -> Dist {
        self.map(self.shape.iter().rev().copied().collect(), |at| at.iter().rev().copied().collect())
    }

    pub(super) fn before_repeat(&self, times: usize) -> Dist {
        let mut shape = self.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last /= times;
        }
        self.map(shape, |at| {
            let mut at = at.to_vec();
            if let Some(last) = at.last_mut() {
                *last /= times;
            }
            at
        })
    }
}

pub(super) fn position(shape: &[usize], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |n, (s, x)| n * s + x)
}

pub(super) fn coordinates(shape: &[usize], mut n: usize) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for (x, s) in at.iter_mut().zip(shape).rev() {
        *x = n % s;
        n /= s;
    }
    at
}

/// What each thread holds in a layout, from its tables of bits alone.
pub(super) fn expand(l: &Layout, warps: usize) -> Option<Dist> {
    let elements: usize = l.shape.iter().product();
    let registers = 1usize << l.reg.len();
    let bit = |at: &mut Vec<usize>, place: (u8, u8)| {
        let (axis, bit) = (place.0 as usize, place.1 as usize);
        let inside = axis < l.shape.len() && (1usize << bit) < l.shape[axis];
        if inside {
            at[axis] |= 1 << bit;
        }
        inside
    };
    if l.partial.iter().zip(&l.warp).any(|(p, w)| *p && w.is_some()) {
        return None;
    }
    let mut times = vec![0usize; elements];
    let mut threads = Vec::with_capacity(warps * LANES);
    for thread in 0..warps * LANES {
        let mut base = vec![0; l.shape.len()];
        for (i, place) in l.lane.iter().chain(&l.warp).enumerate() {
            if let Some(place) = place
                && (thread >> i) & 1 == 1
                && !bit(&mut base, *place)
            {
                return None;
            }
        }
        let mut held = Vec::with_capacity(registers);
        for r in 0..registers {
            let mut at = base.clone();
            for (i, place) in l.reg.iter().enumerate() {
                if (r >> i) & 1 == 1 && !bit(&mut at, *place) {
                    return None;
                }
            }
            let e = position(&l.shape, &at);
            times[e] += 1;
            held.push(e as u32);
        }
        held.sort_unstable();
        if held.windows(2).any(|w| w[0] == w[1]) {
            return None;
        }
        threads.push(held);
    }
    let even = times.iter().all(|t| *t == times[0] && *t > 0);
    even.then(|| Dist { shape: l.shape.clone(), threads, partial: l.partial.to_vec() })
}

/// What the threads hold of a product's accumulator and operands: `mma.m16n8k16` with 16-bit operands, `m16n8k32` with 8-bit
/// ones, `m16n8k64` with 4-bit ones, repeated over the share of each warp; `word` is how many elements a register has. Warps are numbered rows first,
/// then columns, then terms.
///
/// From the PTX manual, with `group = lane / 4` and `place = lane % 4`: of A, registers 0 to 3 lie in row `group` (0, 2) or
/// `group + 8` (1, 3) and begin in column `word·place`, `4·word` further for 2 and 3; of B, registers 0 and 1 begin in row
/// `word·place`, `4·word` further for 1, and lie in column `group`; of C, elements 0 to 3 lie in row `group`, 8 further for 2
/// and 3, and in column `2·place + (i & 1)`.
pub(super) fn fragments([m, n, k]: [usize; 3], [wm, wn, wk]: [usize; 3], warps: usize, word: usize) -> [Dist; 3] {
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    for warp in 0..warps {
        let (im, in_, ik) = (warp % wm, warp / wm % wn, warp / (wm * wn) % wk);
        let rows: Vec<usize> = (0..m / wm).step_by(16).map(|x| im * (m / wm) + x).collect();
        let columns: Vec<usize> = (0..n / wn).step_by(8).map(|x| in_ * (n / wn) + x).collect();
        let terms: Vec<usize> = (0..k / wk).step_by(8 * word).map(|x| ik * (k / wk) + x).collect();
        for lane in 0..LANES {
            let (group, place) = (lane / 4, lane % 4);
            let tile = |outer: &[usize], inner: &[usize], width: usize, at: &[(usize, usize)]| {
                let mut held: Vec<u32> = Vec::with_capacity(outer.len() * inner.len() * at.len());
                for (o, i) in outer.iter().flat_map(|o| inner.iter().map(move |i| (o, i))) {
                    held.extend(at.iter().map(|(row, column)| ((o + row) * width + i + column) as u32));
                }
                held.sort_unstable();
                held
            };
            let of_a: Vec<(usize, usize)> = (0..4 * word)
                .map(|i| {
                    let (register, part) = (i / word, i % word);
                    (group + 8 * (register & 1), word * place + part + 4 * word * (register >> 1))
                })
                .collect();
            let of_b: Vec<(usize, usize)> =
                (0..2 * word).map(|i| (word * place + i % word + 4 * word * (i / word), group)).collect();
            let of_c: Vec<(usize, usize)> =
                (0..4).map(|i| (if i < 2 { group } else { group + 8 }, 2 * place + (i & 1))).collect();
            a.push(tile(&rows, &terms, k, &of_a));
            b.push(tile(&terms, &columns, n, &of_b));
            c.push(tile(&rows, &columns, n, &of_c));
        }
    }
    let none = vec![false; WARP_BITS];
    let sums = (0..WARP_BITS).map(|i| (wm * wn..wm * wn * wk).contains(&(1 << i))).collect();
    [
        Dist { shape: vec![m, n], threads: c, partial: sums },
        Dist { shape: vec![m, k], threads: a, partial: none.clone() },
        Dist { shape: vec![k, n], threads: b, partial: none },
    ]
}
