//! Dense products of FP4 activations with FP4 weights, for many rows: C = A·Bᵀ, multiplied as the codes are.
//!
//! Both operands have block scales along K: MXFP4 a power of two for 32 columns, NVFP4 an E4M3 number for 16 and one f32 number for a
//! whole array. The activations' codes are made by whoever writes them. Only targets with block-scaled products run these kernels.

use tile_lang::dsl::*;
use tile_lang::tile;

/// A·Bᵀ for tile `i` of A's rows and tile `j` of B's, with scales of type S: BS of them for the BK terms of a step.
#[tile::func(crate = tile_lang)]
fn product<S: Elem + BlockScale<e2m1>, const BM: usize, const BN: usize, const BK: usize, const BS: usize>(
    a: &Global<e2m1, 2>,
    a_scales: &Global<S, 2>,
    b: &Weight<e2m1, 2>,
    b_scales: &Weight<S, 2>,
    i: i32,
    j: i32,
) -> Tile<f32, BM, BN> {
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(1), BK) {
        let at = a.stage::<Smem<e2m1, BM, BK>>([i, k]);
        let bt = b.stage::<Smem<e2m1, BN, BK>>([j, k]);
        let bs = b_scales.stage::<Smem<S, BN, BS>>([j, k]);
        acc.mma_scaled(at, a_scales.load::<Tile<S, BM, BS>>([i, k]), bt.t(), bs.t());
    }
    acc
}

/// C = A·Bᵀ in MXFP4: codes `a` [M, K] with `a_scales` [M, K/32], `b` [N, K] with `b_scales` [N, K/32], `c` [M, N]. One item makes
/// BM × BN elements of C and walks K in steps of BK = 32·BS; what lies outside the arrays counts as zero.
#[tile::kernel(crate = tile_lang)]
pub fn gemm_mxf4<Y: Elem, const BM: usize, const BN: usize, const BK: usize, const BS: usize>(
    a: &Global<e2m1, 2>,
    a_scales: &Global<e8m0, 2>,
    b: &Weight<e2m1, 2>,
    b_scales: &Weight<e8m0, 2>,
    c: &mut Global<Y, 2>,
) {
    require!(32 * BS == BK, a_scales.dim(1) * 32 == a.dim(1), a_scales.dim(0) == a.dim(0), c.dim(0) == a.dim(0));
    require!(b.dim(1) == a.dim(1), b_scales.dim(1) == a_scales.dim(1), b_scales.dim(0) == b.dim(0));
    require!(c.dim(1) == b.dim(0));
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let acc = product::<e8m0, BM, BN, BK, BS>(a, a_scales, b, b_scales, i, j);
    c.store([i, j], acc.cast::<Y>());
}

/// C = scale·A·Bᵀ in NVFP4: as [`gemm_mxf4`], with a scale of E4M3 for 16 columns and `scale`, the product of both arrays' own scales.
#[tile::kernel(crate = tile_lang)]
pub fn gemm_nvf4<Y: Elem, const BM: usize, const BN: usize, const BK: usize, const BS: usize>(
    a: &Global<e2m1, 2>,
    a_scales: &Global<e4m3, 2>,
    b: &Weight<e2m1, 2>,
    b_scales: &Weight<e4m3, 2>,
    c: &mut Global<Y, 2>,
    scale: f32,
) {
    require!(16 * BS == BK, a_scales.dim(1) * 16 == a.dim(1), a_scales.dim(0) == a.dim(0), c.dim(0) == a.dim(0));
    require!(b.dim(1) == a.dim(1), b_scales.dim(1) == a_scales.dim(1), b_scales.dim(0) == b.dim(0));
    require!(c.dim(1) == b.dim(0));
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let acc = product::<e4m3, BM, BN, BK, BS>(a, a_scales, b, b_scales, i, j);
    c.store([i, j], (acc * scale).cast::<Y>());
}
