//! Dense products of two activations, for many rows, in every order in which operands may be stored.
//!
//! An item makes BM × BN elements of C and walks the terms K in steps of BK; what lies outside the arrays counts as zero. Rows of
//! A and B are multiples of 16 bytes, which is what tensor copies take. A C without elements or terms is refused. Warpgroups multiply 16-bit
//! operands in every order, 8-bit ones as A·Bᵀ; in other orders those are products of warps.

use tile_lang::dsl::*;
use tile_lang::tile;

/// C = A·Bᵀ: `a` [M, K], `b` [N, K], `c` [M, N] in any element type.
#[tile::kernel(crate = tile_lang)]
pub fn gemm<X: Factor<Sum = f32>, Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    c: &mut Global<Y, 2>,
) {
    require!(a.dim(1) == b.dim(1), c.dim(0) == a.dim(0), c.dim(1) == b.dim(0));
    require!(a.dim(0) > 0, b.dim(0) > 0, a.dim(1) > 0, a.dim(1) % 8 == 0);
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(0), BN)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(1), BK) {
        let at = a.stage::<Smem<X, BM, BK>>([i, k]);
        let bt = b.stage::<Smem<X, BN, BK>>([j, k]);
        acc.mma(at, bt.t());
    }
    c.store([i, j], acc.cast::<Y>());
}

/// C = A·B: `a` [M, K], `b` [K, N].
#[tile::kernel(crate = tile_lang)]
pub fn gemm_nn<X: Factor<Sum = f32>, Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    c: &mut Global<Y, 2>,
) {
    require!(a.dim(1) == b.dim(0), c.dim(0) == a.dim(0), c.dim(1) == b.dim(1));
    require!(a.dim(0) > 0, b.dim(1) > 0, a.dim(1) > 0, a.dim(1) % 8 == 0, b.dim(1) % 8 == 0);
    let [i, j] = work([cdiv(a.dim(0), BM), cdiv(b.dim(1), BN)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(1), BK) {
        let at = a.stage::<Smem<X, BM, BK>>([i, k]);
        let bt = b.stage::<Smem<X, BK, BN>>([k, j]);
        acc.mma(at, bt);
    }
    c.store([i, j], acc.cast::<Y>());
}

/// C = Aᵀ·B: `a` [K, M], `b` [K, N].
#[tile::kernel(crate = tile_lang)]
pub fn gemm_tn<X: Factor<Sum = f32>, Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    c: &mut Global<Y, 2>,
) {
    require!(a.dim(0) == b.dim(0), c.dim(0) == a.dim(1), c.dim(1) == b.dim(1));
    require!(a.dim(1) > 0, b.dim(1) > 0, a.dim(0) > 0, a.dim(1) % 8 == 0, b.dim(1) % 8 == 0);
    let [i, j] = work([cdiv(a.dim(1), BM), cdiv(b.dim(1), BN)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(0), BK) {
        let at = a.stage::<Smem<X, BK, BM>>([k, i]);
        let bt = b.stage::<Smem<X, BK, BN>>([k, j]);
        acc.mma(at.t(), bt);
    }
    c.store([i, j], acc.cast::<Y>());
}

/// C = Aᵀ·Bᵀ: `a` [K, M], `b` [N, K].
#[tile::kernel(crate = tile_lang)]
pub fn gemm_tt<X: Factor<Sum = f32>, Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<X, 2>,
    b: &Global<X, 2>,
    c: &mut Global<Y, 2>,
) {
    require!(a.dim(0) == b.dim(1), c.dim(0) == a.dim(1), c.dim(1) == b.dim(0));
    require!(a.dim(1) > 0, b.dim(0) > 0, a.dim(0) > 0, a.dim(1) % 8 == 0, b.dim(1) % 8 == 0);
    let [i, j] = work([cdiv(a.dim(1), BM), cdiv(b.dim(0), BN)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(0), BK) {
        let at = a.stage::<Smem<X, BK, BM>>([k, i]);
        let bt = b.stage::<Smem<X, BN, BK>>([j, k]);
        acc.mma(at.t(), bt.t());
    }
    c.store([i, j], acc.cast::<Y>());
}

/// C = A·Bᵀ for each of a batch: `a` [Z, M, K], `b` [Z, N, K] or one [1, N, K] for all, `c` [Z, M, N].
#[tile::kernel(crate = tile_lang)]
pub fn gemm_batched<X: Factor<Sum = f32>, Y: Elem, const BM: usize, const BN: usize, const BK: usize>(
    a: &Global<X, 3>,
    b: &Global<X, 3>,
    c: &mut Global<Y, 3>,
) {
    require!(a.dim(2) == b.dim(2), c.dim(0) == a.dim(0), c.dim(1) == a.dim(1), c.dim(2) == b.dim(1));
    require!(b.dim(0) == a.dim(0) || b.dim(0) == 1, a.dim(0) > 0, a.dim(1) > 0, b.dim(1) > 0);
    require!(a.dim(2) > 0, a.dim(2) % 8 == 0);
    let [z, i, j] = work([a.dim(0), cdiv(a.dim(1), BM), cdiv(b.dim(1), BN)]);
    let mut acc = Tile::<f32, BM, BN>::zero();
    for k in 0..cdiv(a.dim(2), BK) {
        let at = a.stage::<Smem<X, BM, BK>>([z, i, k]);
        let bt = b.stage::<Smem<X, BN, BK>>([z.min(b.dim(0) - 1), j, k]);
        acc.mma(at, bt.t());
    }
    c.store([z, i, j], acc.cast::<Y>());
}
