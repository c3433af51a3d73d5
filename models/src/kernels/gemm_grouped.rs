//! Products of groups of rows, each with a matrix of its own, as routed experts need them for many tokens.

use tile_lang::dsl::*;
use tile_lang::tile;

/// The group that slot `slot` of row tiles belongs to. Group g has the slots from `offsets`\[g\] / BM + g to the first of the next group: as
/// many as its tiles or one more, wherever it begins, and found without a sum over the groups before it. There are less than 2^BITS groups.
#[tile::func(crate = tile_lang)]
pub fn group_of<const BM: usize, const BITS: usize>(offsets: &Global<i32, 1>, slot: i32) -> i32 {
    let mut group = 0;
    for bit in 0..BITS {
        let next = group + (1 << (BITS - 1 - bit));
        if next < offsets.dim(0) - 1 && offsets.at([next]) / BM as i32 + next <= slot {
            group = next;
        }
    }
    group
}

/// C = A·B\[g\]ᵀ for the rows of each group g: `a` [M, K], `b` [G, N, K], `c` [M, N]; `offsets` [G + 1] says where groups begin and
/// where the last one ends, at most at M. Groups may be empty. Rows of no group are left as they are.
#[tile::kernel(crate = tile_lang)]
pub fn gemm_grouped<
    X: Factor<Sum = f32>,
    Y: Elem,
    const BM: usize,
    const BN: usize,
    const BK: usize,
    const BITS: usize,
>(
    a: &Global<X, 2>,
    b: &Global<X, 3>,
    offsets: &Global<i32, 1>,
    c: &mut Global<Y, 2>,
) {
    require!(a.dim(1) == b.dim(2), c.dim(0) == a.dim(0), c.dim(1) == b.dim(1), offsets.dim(0) == b.dim(0) + 1);
    require!(a.dim(0) > 0, b.dim(0) > 0, b.dim(1) > 0, a.dim(1) > 0, a.dim(1) % 8 == 0, b.dim(0) < (1 << BITS));
    let [slot, j] = work([a.dim(0) / BM as i32 + b.dim(0), cdiv(b.dim(1), BN)]);
    let group = group_of::<BM, BITS>(offsets, slot);
    let (first, end) = (offsets.at([group]), offsets.at([group + 1]));
    let row = first + (slot - first / BM as i32 - group) * BM as i32;
    if first <= row && row < end {
        let mut acc = Tile::<f32, BM, BN>::zero();
        for k in 0..cdiv(a.dim(1), BK) {
            let at = a.stage_at::<Smem<X, BM, BK>>([row, k * BK as i32]);
            let bt = b.stage::<Smem<X, BN, BK>>([group, j, k]);
            acc.mma(at, bt.t());
        }
        let y = acc.cast::<Y>();
        if row + BM as i32 <= end {
            c.store_at([row, j * BN as i32], y);
        } else {
            c.store_masked_at([row, j * BN as i32], y, Tile::<i32, BM, BN>::row_index().lt(end - row));
        }
    }
}
