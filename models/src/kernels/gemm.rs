//! Dense products of two activations, for many rows: C = A·Bᵀ.

use tile_lang::dsl::*;
use tile_lang::tile;

/// C = A·Bᵀ: `a` [M, K], `b` [N, K], `c` [M, N] in any element type. One item makes BM × BN elements of C and walks K in steps of
/// BK; what lies outside the arrays counts as zero.
#[tile::kernel(crate = tile_lang)]
pub fn gemm<Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<bf16, 2>,
    b: &Global<bf16, 2>,
    c: &mut Global<Y, 2>,
) {
    require!(a.dim(1) == b.dim(1), c.dim(0) == a.dim(0), c.dim(1) == b.dim(0));
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(1), BK) {
        let at = a.stage::<Smem<bf16, BM, BK>>([i, k]);
        let bt = b.stage::<Smem<bf16, BN, BK>>([j, k]);
        acc.mma(at, bt.t());
    }
    c.store([i, j], acc.cast::<Y>());
}
