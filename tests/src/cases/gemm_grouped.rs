//! Products of groups of rows, even, uneven and empty ones.

use super::builder::{Build, Built, rounded};
use super::gemm::error;
use tile_lang::DType::{self, Bf16, F32};
use tile_models::kernels::gemm_grouped;
use tile_models::reference::ops;

/// Rows of each group, with rows before and after them that belong to none.
#[derive(Clone, Debug)]
pub struct Grouped {
    /// Rows of each group.
    pub counts: Vec<usize>,
    /// Rows of no group, before and after the others.
    pub others: [usize; 2],
    /// Columns of C, terms.
    pub extents: [usize; 2],
    /// Result's type.
    pub y: DType,
    /// Rows, columns and terms of a tile.
    pub tile: [usize; 3],
    /// Groups are less than two to this.
    pub bits: usize,
}

/// `groups` with `rows` rows in all, some with none, most with about as many as the others.
pub fn ragged(groups: usize, rows: usize) -> Vec<usize> {
    let weight = |g: usize| if g % 11 == 3 { 0 } else { 1 + g * 7 % 13 };
    let all: usize = (0..groups).map(weight).sum();
    let mut counts: Vec<usize> = (0..groups).map(|g| rows * weight(g) / all).collect();
    counts[0] += rows - counts.iter().sum::<usize>();
    counts
}

/// C = A·B\[g\]ᵀ for the rows of each group.
pub fn grouped_case(g: Grouped) -> Built {
    let Grouped { counts, others: [before, after], extents: [n, k], y, tile: [bm, bn, bk], bits } = g;
    let (groups, rows) = (counts.len(), counts.iter().sum::<usize>());
    let m = before + rows + after;
    let def = gemm_grouped::gemm_grouped::DEF;
    let mut case = Build::new(def.name, &format!("{groups}x{m}x{n}x{k}_{y}_{bm}x{bn}x{bk}"));
    case.flops = (2 * rows * n * k) as u64;
    let ends = counts.iter().scan(before, |end, n| {
        *end += n;
        Some(*end)
    });
    let offsets: Vec<usize> = std::iter::once(before).chain(ends).collect();
    let a = case.rows(Bf16, &[m, k], 1.0 / 16.0);
    let b = case.rows(Bf16, &[groups, n, k], 1.0);
    case.integers(&[groups + 1], offsets.iter().map(|x| *x as i32).collect());
    let c = case.out(y, &[m, n]);
    let expect = move || {
        let mut out = c.start.clone();
        for (g, rows) in offsets.windows(2).enumerate().filter(|(_, rows)| rows[0] < rows[1]) {
            let y_g = ops::linear_f32(&a[rows[0] * k..rows[1] * k], &b[g * n * k..][..n * k], n);
            out[rows[0] * n..rows[1] * n].copy_from_slice(&rounded(y, y_g));
        }
        vec![c.reals(out)]
    };
    let generics = [Bf16.into(), y.into(), bm.into(), bn.into(), bk.into(), bits.into()];
    case.finish(def, &generics, "bf16", error(y), Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let uneven = Grouped {
        counts: vec![0, 5, 128, 0, 129, 150, 1, 0],
        others: [0, 7],
        extents: [136, 72],
        y: F32,
        tile: [128, 128, 64],
        bits: 4,
    };
    [
        Grouped {
            counts: vec![130, 0, 100],
            others: [0, 0],
            extents: [264, 136],
            y: Bf16,
            tile: [128, 256, 64],
            bits: 7,
        },
        uneven.clone(),
        // Groups as large as tiles, and rows of no group before them.
        Grouped { counts: vec![128, 128], others: [133, 0], extents: [64, 64], bits: 2, ..uneven.clone() },
        // Nothing but empty groups.
        Grouped { counts: vec![0; 5], others: [100, 30], extents: [64, 64], bits: 3, ..uneven.clone() },
        // More groups than there are tiles of rows.
        Grouped { counts: ragged(64, 190), extents: [40, 64], bits: 7, ..uneven },
    ]
    .into_iter()
    .map(grouped_case)
    .collect()
}
