//! Storage orders of staged tiles, and the repacking of weights into them.
//!
//! A staged weight is cut into tiles of its last two axes; tiles follow each other row by row, padded with zero bits at
//! the edges, so one tile is one contiguous copy. Inside a tile elements are row-major or in **fragment order**: the
//! order in which the lanes of a warp hold the A operand of `mma.m16n8k16`, so that each lane reads 16 contiguous bytes.

use crate::dtype::DType;
use serde::{Deserialize, Serialize};

/// Order of elements inside a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TileOrder {
    /// Row after row.
    RowMajor,
    /// Fragments of 16 rows × `16 << wide` columns. In a fragment each lane's elements are contiguous; see
    /// [`fragment_bits`].
    Fragment {
        /// log2 of k16 steps per fragment.
        wide: u8,
    },
    /// Panels of 128 bytes of each row, one after the other, in the 128-byte swizzle that bulk tensor copies write and
    /// warpgroup products read: the 16-byte chunk `c` of row `r` lies at chunk `c xor (r mod 8)`.
    Swizzled,
}

/// Bytes of a row of a swizzled panel.
pub const PANEL_BYTES: usize = 128;
/// Bytes of what a swizzle moves.
const CHUNK_BYTES: usize = 16;

/// How a weight is stored for one use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Packing {
    /// Rows and columns of a tile.
    pub tile: [usize; 2],
    /// Order inside it.
    pub order: TileOrder,
}

/// A bit of a coordinate inside a fragment: `true` is a row bit.
pub type FragmentBit = (bool, u8);

/// What the bits of an element's position in a fragment mean, lowest first. Lane ℓ of `mma.m16n8k16` holds rows
/// `ℓ / 4` and `ℓ / 4 + 8` and columns `2 (ℓ mod 4) + {0, 1, 8, 9}`: the register bits come first, then five lane bits.
/// For 4-bit elements the pair bit `k0` is third, so that the two halves of a 32-bit word hold the two elements of each pair.
pub fn fragment_bits(dtype: DType, wide: u8) -> Vec<FragmentBit> {
    let (row, col) = (|b| (true, b), |b| (false, b));
    let mut bits = if dtype.bits() == 4 { vec![row(3), col(3), col(0)] } else { vec![col(0), row(3), col(3)] };
    bits.extend((0..wide).map(|b| col(4 + b)));
    bits.extend([col(1), col(2), row(0), row(1), row(2)]);
    bits
}

/// The widest fragment for tiles with this many columns: at most 16 bytes a lane, and a divisor of the columns.
pub fn fragment_width(dtype: DType, columns: usize) -> u8 {
    let most = match dtype.bits() {
        32 | 16 => 0,
        8 => 1,
        _ => 2,
    };
    (0..=most).rev().find(|w| columns.is_multiple_of(16 << w)).unwrap_or(0)
}

impl Packing {
    /// Position of an element inside its tile.
    pub fn position(&self, dtype: DType, row: usize, col: usize) -> usize {
        match self.order {
            TileOrder::RowMajor => row * self.tile[1] + col,
            TileOrder::Swizzled => {
                let (panel, chunk) = (PANEL_BYTES * 8 / dtype.bits(), CHUNK_BYTES * 8 / dtype.bits());
                let inside = col % panel;
                let swizzled = (inside / chunk) ^ (row % 8);
                (col / panel * self.tile[0] + row) * panel + swizzled * chunk + inside % chunk
            }
            TileOrder::Fragment { wide } => {
                let width = 16usize << wide;
                let fragment = (row / 16) * (self.tile[1] / width) + col / width;
                let inside = fragment_bits(dtype, wide).iter().enumerate().fold(0, |at, (i, (is_row, b))| {
                    let source = if *is_row { row } else { col };
                    at | ((source >> b) & 1) << i
                });
                fragment * 16 * width + inside
            }
        }
    }

    /// Tiles along the last two axes of an array with these extents.
    pub fn tiles(&self, dims: &[usize]) -> [usize; 2] {
        let n = dims.len();
        [dims[n - 2].div_ceil(self.tile[0]), dims[n - 1].div_ceil(self.tile[1])]
    }

    /// Bytes of the packed array.
    pub fn bytes(&self, dtype: DType, dims: &[usize]) -> usize {
        let batch: usize = dims[..dims.len() - 2].iter().product();
        let [r, c] = self.tiles(dims);
        batch * r * c * dtype.bytes(self.tile[0] * self.tile[1])
    }

    /// Repacks a dense row-major array with at least two axes.
    pub fn pack(&self, dtype: DType, dims: &[usize], source: &[u8]) -> Vec<u8> {
        let n = dims.len();
        let (rows, cols) = (dims[n - 2], dims[n - 1]);
        let batch: usize = dims[..n - 2].iter().product();
        let [tr, tc] = self.tiles(dims);
        let [h, w] = self.tile;
        let mut out = vec![0u8; self.bytes(dtype, dims)];
        let positions: Vec<usize> = (0..h * w).map(|i| self.position(dtype, i / w, i % w)).collect();
        let bits = dtype.bits();
        for b in 0..batch {
            for (tile, origin) in (0..tr * tc).map(|t| (t, ((t / tc) * h, (t % tc) * w))) {
                let base = (b * tr * tc + tile) * h * w;
                for r in 0..h.min(rows - origin.0) {
                    for c in 0..w.min(cols - origin.1) {
                        let from = (b * rows + origin.0 + r) * cols + origin.1 + c;
                        let to = base + positions[r * w + c];
                        if bits == 4 {
                            let nibble = source[from / 2] >> (4 * (from % 2)) & 15;
                            out[to / 2] |= nibble << (4 * (to % 2));
                        } else {
                            let size = bits / 8;
                            out[to * size..(to + 1) * size].copy_from_slice(&source[from * size..(from + 1) * size]);
                        }
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragment_positions_are_a_permutation() {
        for dtype in [DType::Bf16, DType::E4m3, DType::E2m1] {
            for cols in [16, 32, 64, 96, 128, 192] {
                let order = TileOrder::Fragment { wide: fragment_width(dtype, cols) };
                let p = Packing { tile: [32, cols], order };
                let mut seen = vec![false; 32 * cols];
                for r in 0..32 {
                    for c in 0..cols {
                        assert!(!std::mem::replace(&mut seen[p.position(dtype, r, c)], true), "{dtype} {cols} {r} {c}");
                    }
                }
            }
        }
    }

    #[test]
    fn swizzled_positions_are_a_permutation() {
        for (dtype, rows, cols) in [(DType::Bf16, 16, 128), (DType::E4m3, 8, 128), (DType::Bf16, 64, 64)] {
            let p = Packing { tile: [rows, cols], order: TileOrder::Swizzled };
            let mut seen = vec![false; rows * cols];
            for (r, c) in (0..rows).flat_map(|r| (0..cols).map(move |c| (r, c))) {
                assert!(!std::mem::replace(&mut seen[p.position(dtype, r, c)], true), "{dtype} {rows} {r} {c}");
            }
        }
        // Row 3: chunk 0 lies where chunk 3 would; the second panel follows all rows of the first.
        let p = Packing { tile: [16, 128], order: TileOrder::Swizzled };
        assert_eq!(p.position(DType::Bf16, 3, 0), 3 * 64 + 3 * 8);
        assert_eq!(p.position(DType::Bf16, 3, 64), 16 * 64 + 3 * 64 + 3 * 8);
    }

    #[test]
    fn packing_pads_with_zeros() {
        let p = Packing { tile: [2, 4], order: TileOrder::RowMajor };
        assert_eq!(
            p.pack(DType::U8, &[3, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
            [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0]
        );
    }
}
