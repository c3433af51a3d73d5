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
}
