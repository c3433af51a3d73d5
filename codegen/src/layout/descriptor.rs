//! How `wgmma` finds an operand in shared memory: the one rule for its matrix descriptors.
//!
//! A staged tile lies in panels of 128 bytes of each row, one panel after the other, with the 128-byte swizzle. A panel is made of
//! **atoms** of 8 rows, 1024 bytes each. The hardware adds up the offset of an element from the descriptor's start and strides and
//! swizzles the sum (bits 4 to 6 are xor-ed with bits 7 to 9), so a start may lie inside an atom as long as no offset
//! leaves the atom's row. For 16-bit elements the products' terms may run either way:
//!
//! - **along the rows of storage** (K-major): an instruction takes 32 bytes of each row. `stride` leads from 8 rows to the next 8;
//!   `lead` is not used. The next terms lie 32 bytes on, and in the next panel after 128.
//! - **down the columns of storage** (MN-major): an instruction takes as many rows as it has terms and whole panels of each.
//!   `stride` leads from 8 terms to the next 8, `lead` from a panel to the next. The next terms lie some rows on.

use tile_lang::dtype::DType;
use tile_lang::packing::PANEL_BYTES;

/// Bytes of the 8 rows of a panel within which the swizzle moves chunks; a tile begins at a multiple of this.
pub const ATOM_BYTES: usize = 8 * PANEL_BYTES;
/// Bytes of the terms of one instruction in a row.
const STEP_BYTES: usize = 32;
/// The descriptor's field for the 128-byte swizzle.
const SWIZZLE_128: u64 = 1 << 62;

/// Which way the terms of a product run through a staged tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Terms {
    /// Along the rows of storage: K-major.
    AlongRows,
    /// Down the columns of storage: M-major or N-major.
    DownColumns,
}

/// An operand of a product by warpgroups: a part of a swizzled tile in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedOperand {
    /// Element type.
    pub dtype: DType,
    /// Rows and columns of the whole tile.
    pub tile: [usize; 2],
    /// Row and column of the part's first element.
    pub start: [usize; 2],
    /// Which way the terms run.
    pub terms: Terms,
}

impl StagedOperand {
    /// Terms of one instruction.
    pub fn depth(&self) -> usize {
        STEP_BYTES / self.size()
    }

    fn size(&self) -> usize {
        self.dtype.bits() / 8
    }

    /// Elements of a row of a panel.
    fn panel(&self) -> usize {
        PANEL_BYTES / self.size()
    }

    /// Bytes of a panel.
    fn panel_bytes(&self) -> usize {
        self.tile[0] * PANEL_BYTES
    }

    /// Why no descriptor can describe the operand, if none can.
    pub fn impossible(&self) -> Option<String> {
        let (bits, [rows, columns]) = (self.dtype.bits(), self.tile);
        let [row, column] = self.start;
        if bits != 16 && (bits != 8 || self.terms == Terms::DownColumns) {
            return Some(format!("{} elements whose terms run this way", self.dtype));
        }
        if !rows.is_multiple_of(8) || !columns.is_multiple_of(self.panel()) {
            return Some(format!("a tile of {rows} × {columns} is not made of panels of {} columns", self.panel()));
        }
        let (unit, what) = match self.terms {
            Terms::AlongRows => (self.depth(), "the terms of an instruction"),
            Terms::DownColumns => (self.panel(), "a panel"),
        };
        (!row.is_multiple_of(8) || !column.is_multiple_of(unit))
            .then(|| format!("a part at row {row} and column {column} begins inside an atom or inside {what}"))
    }

    /// Bytes from the tile's start to what an instruction reads first: `other` rows of A or columns of B, and `terms`, after
    /// the part's first element. `other` is a multiple of 8, or of a panel where the terms run down the columns; `terms` of the
    /// instruction's.
    pub fn offset(&self, other: usize, terms: usize) -> usize {
        let (row, column) = match self.terms {
            Terms::AlongRows => (self.start[0] + other, self.start[1] + terms),
            Terms::DownColumns => (self.start[0] + terms, self.start[1] + other),
        };
        column / self.panel() * self.panel_bytes() + row * PANEL_BYTES + column % self.panel() * self.size()
    }

    /// The descriptor without the address of what is read first, which is added to its low word in units of 16 bytes.
    pub fn fields(&self) -> u64 {
        let lead = match self.terms {
            Terms::AlongRows => 0,
            Terms::DownColumns => self.panel_bytes(),
        };
        (lead as u64 >> 4) << 16 | (ATOM_BYTES as u64 >> 4) << 32 | SWIZZLE_128
    }

    /// The instruction's immediate that says which way the terms run.
    pub fn turned(&self) -> u8 {
        u8::from(self.terms == Terms::DownColumns)
    }
}

#[cfg(test)]
mod tests {
    //! What the hardware reads through a descriptor, from the manual's words on matrix descriptors and swizzles, against what the
    //! tensor copies wrote. Nothing of the rule above is used here.

    use super::*;

    /// Shared memory of element numbers: which element of the matrix lies at each byte.
    struct Memory(Vec<u32>);

    /// The swizzle of both the copy engine and the product: on addresses.
    fn swizzled(address: usize) -> usize {
        address ^ ((address >> 7) & 7) << 4
    }

    impl Memory {
        /// A tensor copy for each panel of 128 bytes: a box of all rows of the tile, which is filled row by row.
        fn copied(base: usize, [rows, columns]: [usize; 2], size: usize) -> Memory {
            let mut bytes = vec![u32::MAX; base + rows * columns * size];
            let mut target = base;
            for first in (0..columns).step_by(128 / size) {
                for row in 0..rows {
                    for i in 0..128 {
                        let element = row * columns + first + i / size;
                        bytes[swizzled(target + row * 128 + i)] = element as u32;
                    }
                }
                target += rows * 128;
            }
            Memory(bytes)
        }

        fn element(&self, address: usize, size: usize) -> u32 {
            let at = swizzled(address);
            let found = &self.0[at..at + size];
            assert!(found.iter().all(|e| *e == found[0]), "bytes of several elements");
            found[0]
        }
    }

    /// A descriptor taken apart: start, leading offset, stride in bytes.
    fn parts(descriptor: u64) -> [usize; 3] {
        assert_eq!(descriptor >> 62, 1, "128-byte swizzle");
        assert_eq!((descriptor >> 49) & 7, 0, "base offset");
        [0, 16, 32].map(|at| (((descriptor >> at) & 0x3fff) << 4) as usize)
    }

    /// The address, before swizzling, of an element of an operand: `other` along M or N, `term` along K.
    fn address(descriptor: u64, turned: u8, size: usize, other: usize, term: usize) -> usize {
        let [start, lead, stride] = parts(descriptor);
        if turned == 0 {
            // Core matrices of 8 × 16 bytes; two of them beside each other.
            return start + other / 8 * stride + other % 8 * 128 + term * size;
        }
        let panel = 128 / size;
        start + other / panel * lead + other % panel * size + term / 8 * stride + term % 8 * 128
    }

    /// All combinations of type, direction, tile, part and instruction; how many there were.
    fn each(mut f: impl FnMut(&StagedOperand, [usize; 2])) -> usize {
        let mut count = 0;
        for (dtype, terms) in [
            (DType::Bf16, Terms::AlongRows),
            (DType::F16, Terms::DownColumns),
            (DType::Bf16, Terms::DownColumns),
            (DType::E4m3, Terms::AlongRows),
            (DType::I8, Terms::AlongRows),
        ] {
            for tile in [[64, 64], [128, 192], [192, 128], [256, 128], [16, 256], [72, 384]] {
                for start in [[0, 0], [8, 0], [0, 16], [0, 32], [64, 64], [0, 128], [8, 192]] {
                    for extents in [[64, 32], [64, 64], [128, 64], [192, 32], [256, 64], [256, 16], [128, 128]] {
                        let operand = StagedOperand { dtype, tile, start, terms };
                        let (other, k) = (extents[0], extents[1]);
                        let taken = if terms == Terms::AlongRows { [other, k] } else { [k, other] };
                        let inside = (0..2).all(|i| start[i] + taken[i] <= tile[i]);
                        if !inside || k % operand.depth() != 0 || operand.impossible().is_some() {
                            continue;
                        }
                        count += 1;
                        f(&operand, [other, k]);
                    }
                }
            }
        }
        count
    }

    #[test]
    fn descriptors_find_what_the_tensor_copies_wrote() {
        let mut turned = 0;
        let count = each(|operand, [others, k]| {
            let size = operand.dtype.bits() / 8;
            let base = 3 * 1024;
            let memory = Memory::copied(base, operand.tile, size);
            turned += usize::from(operand.turned());
            // Each warpgroup has its own 64 rows of A; all columns of B are one instruction's.
            for (first, extent) in (0..others).step_by(64).map(|f| (f, 64)).chain([(0, others)]) {
                for step in (0..k).step_by(operand.depth()) {
                    let start = base + operand.offset(first, step);
                    assert_eq!(start % 16, 0);
                    let descriptor = operand.fields() | start as u64 >> 4;
                    for other in 0..extent {
                        for term in 0..operand.depth() {
                            let at = address(descriptor, operand.turned(), size, other, term);
                            let (o, t) = (first + other, step + term);
                            let [row, column] = if operand.terms == Terms::AlongRows { [o, t] } else { [t, o] };
                            let want = (operand.start[0] + row) * operand.tile[1] + operand.start[1] + column;
                            assert_eq!(memory.element(at, size), want as u32, "{operand:?} {other} {term}");
                        }
                    }
                }
            }
        });
        assert!(count > 100 && turned > 20, "{count} combinations, {turned} of them turned");
    }

    /// A core matrix, 8 pieces of 16 bytes, is read at once: the pieces must lie in different banks.
    #[test]
    fn core_matrices_are_read_without_bank_conflicts() {
        let count = each(|operand, [others, _]| {
            let size = operand.dtype.bits() / 8;
            let descriptor = operand.fields() | operand.offset(0, 0) as u64 >> 4;
            let chunk = 16 / size;
            let (step, width) =
                if operand.terms == Terms::AlongRows { (8, operand.depth()) } else { (chunk, operand.depth()) };
            for first in (0..others.min(64)).step_by(step) {
                for term in (0..width).step_by(if operand.terms == Terms::AlongRows { chunk } else { 8 }) {
                    let mut banks: Vec<usize> = (0..8)
                        .map(|i| match operand.terms {
                            Terms::AlongRows => (first + i, term),
                            Terms::DownColumns => (first, term + i),
                        })
                        .map(|(o, t)| swizzled(address(descriptor, operand.turned(), size, o, t)) / 16 % 8)
                        .collect();
                    banks.sort_unstable();
                    assert_eq!(banks, [0, 1, 2, 3, 4, 5, 6, 7], "{operand:?}");
                }
            }
        });
        assert!(count > 100);
    }

    #[test]
    fn what_no_descriptor_describes_is_refused() {
        let fine = StagedOperand { dtype: DType::Bf16, tile: [128, 192], start: [0, 0], terms: Terms::DownColumns };
        assert_eq!(fine.impossible(), None);
        for wrong in [
            StagedOperand { dtype: DType::E4m3, tile: [128, 256], ..fine },
            StagedOperand { dtype: DType::F32, ..fine },
            StagedOperand { tile: [128, 96], ..fine },
            StagedOperand { tile: [12, 128], ..fine },
            StagedOperand { start: [0, 32], ..fine },
            StagedOperand { start: [4, 0], ..fine },
            StagedOperand { start: [0, 8], terms: Terms::AlongRows, ..fine },
            StagedOperand { dtype: DType::E4m3, tile: [64, 128], start: [0, 16], terms: Terms::AlongRows },
        ] {
            assert!(wrong.impossible().is_some(), "{wrong:?}");
        }
    }
}
