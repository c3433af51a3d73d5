//! Dense products of FP8 activations with FP8 weights, for many rows: C = A·Bᵀ of E4M3 numbers with scales in f32, multiplied as the codes are.
//!
//! `a` is [M, K], `b` [N, K], `c` [M, N]; K is a multiple of 16. Tensor cores add FP8 products with fewer bits than f32 has, so long
//! sums lose some: scales by blocks also bound that, since each block of 128 terms is added in f32.

use super::epilogue::PART;
use super::linear::BLOCK;
use tile_lang::dsl::*;
use tile_lang::tile;

/// A·Bᵀ for tile `i` of A's rows and tile `j` of B's, without scales.
#[tile::func(crate = tile_lang)]
fn product<const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<e4m3, 2>,
    b: &Global<e4m3, 2>,
    i: i32,
    j: i32,
) -> Tile<f32, BM, BN> {
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(1), BK) {
        let at = a.stage::<Smem<e4m3, BM, BK>>([i, k]);
        let bt = b.stage::<Smem<e4m3, BN, BK>>([j, k]);
        acc.mma(at, bt.t());
    }
    acc
}

/// C = scale·A·Bᵀ with one scale for each array: `a_scale` \[1\], `b_scale` \[1\].
#[tile::kernel(crate = tile_lang)]
pub fn gemm_fp8<Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<e4m3, 2>,
    a_scale: &Global<f32, 1>,
    b: &Global<e4m3, 2>,
    b_scale: &Global<f32, 1>,
    c: &mut Global<Y, 2>,
) {
    require!(a.dim(1) == b.dim(1), c.dim(0) == a.dim(0), c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0, b.dim(0) > 0, a.dim(1) > 0, a.dim(1) % 16 == 0, a_scale.dim(0) == 1, b_scale.dim(0) == 1);
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let acc = product::<BM, BN, BK>(a, b, i, j);
    c.store([i, j], (acc * (a_scale.at([0]) * b_scale.at([0]))).cast::<Y>());
}

/// The same with a scale for each row of A and of B: `a_scales` \[M\], `b_scales` \[N\].
#[tile::kernel(crate = tile_lang)]
pub fn gemm_fp8_rows<Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<e4m3, 2>,
    a_scales: &Global<f32, 1>,
    b: &Global<e4m3, 2>,
    b_scales: &Global<f32, 1>,
    c: &mut Global<Y, 2>,
) {
    require!(a.dim(1) == b.dim(1), c.dim(0) == a.dim(0), c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0, b.dim(0) > 0, a.dim(1) > 0, a.dim(1) % 16 == 0);
    require!(BN.is_multiple_of(PART), a_scales.dim(0) == a.dim(0), b_scales.dim(0) == b.dim(0));
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let acc = product::<BM, BN, BK>(a, b, i, j);
    let rows = a_scales.load::<Tile<f32, BM>>([i]).cols::<PART>();
    for u in 0..BN / PART {
        let column = j * (BN / PART) as i32 + u as i32;
        let columns = b_scales.load::<Tile<f32, PART>>([column]).rows::<BM>();
        c.store([i, column], (acc.slice::<BM, PART>(0, u * PART) * rows * columns).cast::<Y>());
    }
}

/// The same with a scale for each 128 terms of a row of A and for each 128 × 128 elements of B: `a_scales` [⌈K/128⌉, ≥ M], columns first, with
/// rows of a multiple of 16 bytes, `b_scales` [⌈N/128⌉, ⌈K/128⌉]. Products of 128 terms are scaled and added in f32. An item makes
/// PARTS × BM rows, one part after the other, so that a tile of B is brought for all of them.
#[tile::kernel(crate = tile_lang)]
pub fn gemm_fp8_blocks<Y: Elem, const PARTS: usize, const BM: usize, const BN: usize>(
    a: &Global<e4m3, 2>,
    a_scales: &Global<f32, 2>,
    b: &Global<e4m3, 2>,
    b_scales: &Global<f32, 2>,
    c: &mut Global<Y, 2>,
) {
    require!(BLOCK.is_multiple_of(BN), a.dim(1) == b.dim(1), c.dim(0) == a.dim(0), c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0, b.dim(0) > 0, a.dim(1) > 0, a.dim(1) % 16 == 0, a_scales.dim(1) % 4 == 0);
    require!(a_scales.dim(0) == cdiv(a.dim(1), BLOCK), a_scales.dim(1) >= a.dim(0));
    require!(b_scales.dim(0) == cdiv(b.dim(0), BLOCK), b_scales.dim(1) == cdiv(b.dim(1), BLOCK));
    let [i, j] = work([cdiv(a.dim(0), PARTS * BM), cdiv(b.dim(0), BN)]);
    let mut acc = [Tile::<f32, BM, BN>::zero(); PARTS];
    for k in 0..cdiv(a.dim(1), BLOCK) {
        let block = b_scales.at([j * BN as i32 / BLOCK as i32, k]);
        let bt = b.stage::<Smem<e4m3, BN, BLOCK>>([j, k]);
        for u in 0..PARTS {
            let at = a.stage::<Smem<e4m3, BM, BLOCK>>([i * PARTS as i32 + u as i32, k]);
            let rows = a_scales.stage::<Smem<f32, 1, BM>>([k, i * PARTS as i32 + u as i32]);
            let scales = rows.read().col_sum();
            let part = mma(at, bt.t());
            // Behind the product, which then waits for no scale.
            acc[u] = part.mul_add((scales * block).cols::<BN>(), acc[u]);
        }
    }
    for u in 0..PARTS {
        c.store([i * PARTS as i32 + u as i32, j], acc[u].cast::<Y>());
    }
}
