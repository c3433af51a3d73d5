//! Sizes of tiles, from the shapes of a model and the limits of a device.

/// Rows of a weight in one tile.
pub const BM: usize = 16;

/// Columns of a weight in one tile: 128·2^j, as many as fit `limit` bytes at `bytes` a group of 128 columns (all parts
/// together), unless padding the `columns` to a multiple would add more than a twentieth.
pub fn block_columns(columns: usize, bytes: usize, limit: usize) -> usize {
    let least = columns.next_multiple_of(128);
    let mut best = 128;
    let mut block = 128;
    while block / 128 * bytes <= limit && block < 2 * least {
        if columns.next_multiple_of(block) * 20 <= least * 21 {
            best = block;
        }
        block *= 2;
    }
    best
}

/// Columns of both operands in one step of a product of many rows: a swizzled row of bf16.
const STEP: usize = 64;
/// Items that run at one time.
const AT_ONCE: usize = 132;
/// Pairs that an SM multiplies and adds in a cycle.
const PAIRS: usize = 2048;
/// Bytes of operands that come into an SM in a cycle, where all read the L2 cache: as measured for dense products on an H200.
const BYTES_IN: usize = 36;

/// Rows, columns and terms of a tile of a product of `rows` with a weight of `outputs` rows, `sums` of them side by side: what takes least
/// time, be it for products or for copies, with copies of at most `limit` bytes.
pub fn product_tile(rows: usize, outputs: usize, sums: usize, limit: usize) -> [usize; 3] {
    let most = (limit / (2 * STEP)).clamp(16, 128);
    let sizes = [most, most.min(64)];
    let time = |bm: usize, bn: usize| {
        let turns = (rows.div_ceil(bm) * outputs.div_ceil(bn)).div_ceil(AT_ONCE);
        turns * (bm * bn * sums * STEP / PAIRS).max((bm + sums * bn) * STEP * 2 / BYTES_IN)
    };
    let tiles = sizes.into_iter().flat_map(|bm| sizes.map(|bn| [bm, bn, STEP]));
    // The first of equals is the largest.
    tiles.min_by_key(|[bm, bn, _]| time(*bm, *bn)).unwrap_or([most, most, STEP])
}

/// Outputs of a tile of a product that unpacks its weight in registers: 64 for each of two warpgroups.
const UNPACKED: usize = 128;
/// Columns of an MXFP4 weight that share a scale.
const SHARED: usize = 32;

/// Rows, outputs, columns of a tile of a product of `rows` with an MXFP4 weight of so many `outputs`, and scales of a step's row: what takes
/// least time, as in [`product_tile`].
pub fn mxfp4_tile(rows: usize, outputs: usize, limit: usize) -> [usize; 4] {
    let most = power(rows).min(limit / (2 * STEP)).clamp(16, 128);
    let time = |bm: usize| {
        let turns = (rows.div_ceil(bm) * outputs.div_ceil(UNPACKED)).div_ceil(AT_ONCE);
        let bytes = 2 * bm * STEP + UNPACKED * (STEP / 2 + STEP / SHARED);
        turns * (bm * UNPACKED * STEP / PAIRS).max(bytes / BYTES_IN)
    };
    let bm = [most, most.min(64)].into_iter().min_by_key(|bm| time(*bm)).unwrap_or(most);
    [bm, UNPACKED, STEP, STEP / SHARED]
}

/// The power of two that holds `n`, 1 at least.
pub fn power(n: usize) -> usize {
    n.max(1).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_and_pad_little() {
        let bf16 = |columns| block_columns(columns, 128 * BM * 2, 16 << 10);
        assert_eq!([64, 128, 256, 384, 512, 1000, 6144, 576].map(bf16), [128, 128, 256, 128, 512, 512, 512, 128]);
        assert_eq!(block_columns(6144, 128 * BM / 2 + 4 * BM, 16 << 10), 1024);
        assert_eq!(block_columns(6144, 64 << 10, 16 << 10), 128);
    }

    #[test]
    fn product_tiles_fill_the_device() {
        let tile = |rows, outputs| product_tile(rows, outputs, 1, 16 << 10);
        // As many as there are SMs, in the largest tiles that still are.
        assert_eq!(tile(4096, 4096), [128, 128, 64]);
        assert_eq!(tile(256, 1024), [64, 64, 64]);
        // A step of 64 columns is 128 bytes of each row.
        assert_eq!(product_tile(64, 4096, 1, 4 << 10), [32, 32, 64]);
        assert_eq!(mxfp4_tile(1024, 4096, 16 << 10), [128, 128, 64, 2]);
        assert_eq!(mxfp4_tile(256, 4096, 16 << 10), [64, 128, 64, 2]);
        assert_eq!(mxfp4_tile(32, 4096, 16 << 10), [32, 128, 64, 2]);
    }
}
