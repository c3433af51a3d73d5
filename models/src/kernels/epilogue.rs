//! What products do with their sums before they are stored: tile functions that can be put one behind the other. Each works on a part of a tile, as
//! products with many columns use them, so that what is read beside the sum takes few registers.

use tile_lang::dsl::*;
use tile_lang::tile;

/// Columns of the parts that epilogues work on.
pub const PART: usize = 64;
/// Columns that share a scale where results are stored as E4M3.
pub const SCALED: usize = 128;
/// The largest E4M3 number.
const LARGEST: f32 = 448.0;

/// Activations, as const parameters name them: none.
pub const NONE: usize = 0;
/// max(x, 0).
pub const RELU: usize = 1;
/// x·Φ(x), by the error function.
pub const GELU: usize = 2;
/// The approximation of [`GELU`] by tanh.
pub const GELU_TANH: usize = 3;
/// x / (1 + e^−x).
pub const SILU: usize = 4;

/// An activation of the list above.
#[tile::func(crate = tile_lang)]
pub fn activated<const ACT: usize, const A: usize, const B: usize>(x: Tile<f32, A, B>) -> Tile<f32, A, B> {
    require!(ACT <= SILU);
    let mut y = x;
    if ACT == RELU {
        y = x.max(0.0);
    }
    if ACT == GELU {
        y = x * 0.5 * ((x * std::f32::consts::FRAC_1_SQRT_2).erf() + 1.0);
    }
    if ACT == GELU_TANH {
        y = x * 0.5 * ((x * (x * x * 0.044715 + 1.0) * 0.797_884_6).tanh() + 1.0);
    }
    if ACT == SILU {
        y = x * x.sigmoid();
    }
    y
}

/// x plus a number for each column: `bias` \[N\], column tile `j`.
#[tile::func(crate = tile_lang)]
pub fn biased<T: Elem, const A: usize, const B: usize>(
    x: Tile<f32, A, B>,
    bias: &Global<T, 1>,
    j: i32,
) -> Tile<f32, A, B> {
    x + bias.load::<Tile<T, B>>([j]).cast::<f32>().rows::<A>()
}

/// alpha·x + beta·c for tile (`i`, `j`) of C, which isn't read where beta is 0.
#[tile::func(crate = tile_lang)]
pub fn blended<T: Elem, const A: usize, const B: usize>(
    x: Tile<f32, A, B>,
    alpha: f32,
    c: &mut Global<T, 2>,
    beta: f32,
    i: i32,
    j: i32,
) -> Tile<f32, A, B> {
    let mut y = x * alpha;
    if beta != 0.0 {
        y += c.load::<Tile<T, A, B>>([i, j]).cast::<f32>() * beta;
    }
    y
}

/// x + tile (`i`, `j`) of R.
#[tile::func(crate = tile_lang)]
pub fn added<T: Elem, const A: usize, const B: usize>(
    x: Tile<f32, A, B>,
    r: &Global<T, 2>,
    i: i32,
    j: i32,
) -> Tile<f32, A, B> {
    x + r.load::<Tile<T, A, B>>([i, j]).cast::<f32>()
}

/// The scale of each row of some parts that takes the row's largest element to the largest E4M3 number; 1 for a row of zeros.
#[tile::func(crate = tile_lang)]
pub fn row_scales<const A: usize, const B: usize, const PARTS: usize>(parts: [Tile<f32, A, B>; PARTS]) -> Tile<f32, A> {
    let mut largest = parts[0].abs().row_max();
    for u in 1..PARTS {
        largest = largest.max(parts[u].abs().row_max());
    }
    select(largest.gt(0.0), largest / LARGEST, 1.0)
}

/// E4M3 codes of x divided by a scale for each row.
#[tile::func(crate = tile_lang)]
pub fn quantised<const A: usize, const B: usize>(x: Tile<f32, A, B>, scales: Tile<f32, A>) -> Tile<e4m3, A, B> {
    (x * scales.recip().cols::<B>()).cast::<e4m3>()
}
