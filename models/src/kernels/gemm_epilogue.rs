//! Dense products whose sums go through an epilogue: A·Bᵀ with `a` [M, K], `b` [N, K], results [M, N], as in [`super::gemm`].
//!
//! ACT is an activation of [`super::epilogue`]. BN is a multiple of the columns that an epilogue works on at a time.

use super::epilogue::{PART, SCALED, activated, added, biased, blended, quantised, row_scales};
use tile_lang::dsl::*;
use tile_lang::tile;

/// A·Bᵀ for tile `i` of A's rows and tile `j` of B's.
#[tile::func(crate = tile_lang)]
fn product<X: Factor<Sum = f32>, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    i: i32,
    j: i32,
) -> Tile<f32, BM, BN> {
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(1), BK) {
        let at = a.stage::<Smem<X, BM, BK>>([i, k]);
        let bt = b.stage::<Smem<X, BN, BK>>([j, k]);
        acc.mma(at, bt.t());
    }
    acc
}

/// C = act(alpha·A·Bᵀ + beta·C + bias): `bias` \[N\]. C isn't read where beta is 0.
#[tile::kernel(crate = tile_lang)]
pub fn gemm_bias<X: Factor<Sum = f32>, Y: Elem, const ACT: usize, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    bias: &Global<f32, 1>,
    c: &mut Global<Y, 2>,
    alpha: f32,
    beta: f32,
) {
    require!(BN.is_multiple_of(PART), a.dim(1) == b.dim(1), c.dim(0) == a.dim(0), c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0, b.dim(0) > 0, a.dim(1) > 0, a.dim(1) % 8 == 0, bias.dim(0) == b.dim(0));
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let acc = product::<X, BM, BN, BK>(a, b, i, j);
    for u in 0..BN / PART {
        let column = j * (BN / PART) as i32 + u as i32;
        let x = acc.slice::<BM, PART>(0, u * PART);
        let x = blended::<Y, BM, PART>(x, alpha, c, beta, i, column);
        let x = activated::<ACT, BM, PART>(biased::<f32, BM, PART>(x, bias, column));
        c.store([i, column], x.cast::<Y>());
    }
}

/// C = R + act(A·Bᵀ + bias): `r` [M, N], `bias` \[N\].
#[tile::kernel(crate = tile_lang)]
pub fn gemm_residual<
    X: Factor<Sum = f32>,
    R: Elem,
    Y: Elem,
    const ACT: usize,
    const BM: usize,
    const BN: usize,
    const BK: usize,
>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    bias: &Global<f32, 1>,
    r: &Global<R, 2>,
    c: &mut Global<Y, 2>,
) {
    require!(BN.is_multiple_of(PART), a.dim(1) == b.dim(1), c.dim(0) == a.dim(0), c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0, b.dim(0) > 0, a.dim(1) > 0, a.dim(1) % 8 == 0, bias.dim(0) == b.dim(0));
    require!(r.dim(0) == c.dim(0), r.dim(1) == c.dim(1));
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let acc = product::<X, BM, BN, BK>(a, b, i, j);
    for u in 0..BN / PART {
        let column = j * (BN / PART) as i32 + u as i32;
        let x = biased::<f32, BM, PART>(acc.slice::<BM, PART>(0, u * PART), bias, column);
        let x = added::<R, BM, PART>(activated::<ACT, BM, PART>(x), r, i, column);
        c.store([i, column], x.cast::<Y>());
    }
}

/// C = act(A·Bᵀ) in E4M3 with a scale for each 128 columns of a row, as [`super::gemm_fp8::gemm_fp8_blocks()`] takes them: `scales`
/// [⌈N/128⌉, ≥ M], columns first.
#[tile::kernel(crate = tile_lang)]
pub fn gemm_quantised<X: Factor<Sum = f32>, const ACT: usize, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    c: &mut Global<e4m3, 2>,
    scales: &mut Global<f32, 2>,
) {
    require!(
        BN.is_multiple_of(SCALED),
        2 * PART == SCALED,
        a.dim(1) == b.dim(1),
        c.dim(0) == a.dim(0),
        c.dim(1) == b.dim(0)
    );
    require!(a.dim(0) > 0, b.dim(0) > 0, a.dim(1) > 0, a.dim(1) % 8 == 0);
    require!(scales.dim(0) == cdiv(b.dim(0), SCALED), scales.dim(1) >= a.dim(0));
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let acc = product::<X, BM, BN, BK>(a, b, i, j);
    for u in 0..BN / SCALED {
        let block = j * (BN / SCALED) as i32 + u as i32;
        let left = activated::<ACT, BM, PART>(acc.slice::<BM, PART>(0, u * SCALED));
        let right = activated::<ACT, BM, PART>(acc.slice::<BM, PART>(0, u * SCALED + PART));
        let of_rows = row_scales::<BM, PART, 2>([left, right]);
        if block < scales.dim(0) {
            scales.store([block, i], of_rows);
        }
        c.store([i, 2 * block], quantised::<BM, PART>(left, of_rows));
        c.store([i, 2 * block + 1], quantised::<BM, PART>(right, of_rows));
    }
}

/// C = act(A·Bᵀ) in E4M3 with scales that are given for each row: `scales` \[M\].
#[tile::kernel(crate = tile_lang)]
pub fn gemm_quantised_rows<
    X: Factor<Sum = f32>,
    const ACT: usize,
    const BM: usize,
    const BN: usize,
    const BK: usize,
>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    scales: &Global<f32, 1>,
    c: &mut Global<e4m3, 2>,
) {
    require!(BN.is_multiple_of(PART), a.dim(1) == b.dim(1), c.dim(0) == a.dim(0), c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0, b.dim(0) > 0, a.dim(1) > 0, a.dim(1) % 8 == 0, scales.dim(0) == a.dim(0));
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let acc = product::<X, BM, BN, BK>(a, b, i, j);
    let of_rows = scales.load::<Tile<f32, BM>>([i]);
    for u in 0..BN / PART {
        let x = activated::<ACT, BM, PART>(acc.slice::<BM, PART>(0, u * PART));
        c.store([i, j * (BN / PART) as i32 + u as i32], quantised::<BM, PART>(x, of_rows));
    }
}
