//! Chunks of a prompt: which products take all rows at once, and blocks of rows for kernels that are made for few.

use super::ops::Matrix;
use super::pick::{mxfp4_tile, power, product_tile};
use super::{BLOCK_ROWS, Format, Graph, Node, Purpose, Result, Step};
use crate::kernels::{norm, state};
use std::panic::Location;
use tile_lang::DType;
use tile_lang::build::Generic;
use tile_lang::plan::{Operand, Pick};

/// Bytes that rows of what tensor copies read are multiples of.
const COPIED: usize = 16;

impl Graph<'_> {
    /// Rows of a block: all of those of a pass that decodes.
    pub(super) fn block_rows(&self) -> usize {
        match self.options.purpose {
            Purpose::Decode => self.options.rows,
            Purpose::Prompt => BLOCK_ROWS,
        }
    }

    /// Blocks of a pass.
    pub(super) fn blocks(&self) -> usize {
        self.options.rows / self.block_rows()
    }

    /// An instruction's label for block `b`.
    pub(super) fn block_label(&self, label: &str, b: usize) -> String {
        if self.blocks() == 1 { label.to_owned() } else { format!("{label}.{b}") }
    }

    /// The rows of block `b` of a buffer whose first axis are the rows of the pass.
    pub(super) fn block_of(&self, buffer: usize, b: usize) -> Operand {
        let mut dims = self.inner.borrow().plan.buffers[buffer].dims.clone();
        let rows = self.block_rows();
        let row: usize = dims[1..].iter().product();
        dims[0] = rows;
        Operand::Buffer { id: buffer, offset: b * rows * row, dims }
    }

    /// A buffer with such extents for each block.
    pub(super) fn scratch(&self, name: &str, dtype: DType, dims: &[usize]) -> usize {
        match self.blocks() {
            1 => self.buffer(name, dtype, dims),
            blocks => self.buffer(name, dtype, &[&[blocks], dims].concat()),
        }
    }

    /// The part of block `b` of such a buffer.
    pub(super) fn scratch_of(&self, buffer: usize, b: usize) -> Operand {
        if self.blocks() == 1 {
            return self.whole(buffer);
        }
        let dims = self.inner.borrow().plan.buffers[buffer].dims[1..].to_vec();
        Operand::Buffer { id: buffer, offset: b * dims.iter().product::<usize>(), dims }
    }

    /// The words of `state` as block `b` has them.
    pub(super) fn block_state(&self, step: Step, b: usize) -> Operand {
        match step.spans {
            None => self.whole(step.state),
            Some(spans) => {
                let words = state::STATE_WORDS;
                Operand::Buffer { id: spans.states, offset: b * words, dims: vec![words] }
            }
        }
    }

    /// Notes a kernel that was picked for a chunk, and why.
    pub(super) fn picked(&self, operation: &str, kernel: &str, why: &str) {
        if self.options.purpose == Purpose::Prompt {
            let pick = Pick { operation: operation.into(), kernel: kernel.into(), why: why.into() };
            let picks = &mut self.inner.borrow_mut().plan.picks;
            if !picks.contains(&pick) {
                picks.push(pick);
            }
        }
    }

    /// The tile of a product that takes all rows at once, `sums` of them side by side; none where it goes through blocks of rows.
    /// `kernels` are the names of both, for the plan.
    pub(super) fn product_of_all(
        &self,
        operation: &str,
        matrix: &Matrix,
        sums: usize,
        kernels: [&str; 2],
    ) -> Option<Vec<Generic>> {
        if self.options.purpose == Purpose::Decode {
            return None;
        }
        let [outputs, columns] = matrix.dims[..] else { return None };
        let bytes = DType::Bf16.bytes(columns);
        let why = match matrix.format {
            Format::Plain(DType::Bf16) if bytes.is_multiple_of(COPIED) => {
                let tile = product_tile(self.options.rows, outputs, sums, self.options.slot_bytes);
                let [bm, bn, bk] = tile;
                self.picked(
                    operation,
                    kernels[0],
                    &format!("a weight in bf16: tiles of {bm} rows × {bn} outputs × {bk}"),
                );
                return Some(tile.map(Into::into).to_vec());
            }
            Format::Plain(DType::Bf16) => {
                format!("rows of {bytes} bytes, tensor copies take multiples of {COPIED}: blocks of {BLOCK_ROWS} rows")
            }
            Format::Mxfp4 => {
                let tile = mxfp4_tile(self.options.rows, outputs, self.options.slot_bytes);
                let [bm, bn, bk, _] = tile;
                self.picked(
                    operation,
                    kernels[0],
                    &format!("a weight in MXFP4, unpacked in registers: tiles of {bm} rows × {bn} outputs × {bk}"),
                );
                return Some(tile.map(Into::into).to_vec());
            }
            format => format!("a weight stored as {format:?}: blocks of {BLOCK_ROWS} rows"),
        };
        self.picked(operation, kernels[1], &why);
        None
    }

    /// All rows in bf16, normalised if a norm is left to do.
    pub(super) fn operand_rows(&self, caller: &Location<'_>, h: Node) -> Result<Operand> {
        let from = self.dtype(h.buffer);
        let buffer = match h.norm {
            None if from == DType::Bf16 => h.buffer,
            None => return Err(self.unsupported(caller, format!("rows of {from} in a product of a whole chunk"))),
            Some(n) => {
                let y = self.buffer("normed", DType::Bf16, &[self.options.rows, h.columns]);
                let generics = vec![from.into(), DType::Bf16.into(), power(h.columns).min(1024).into()];
                let gain = Operand::Weight { id: n.gain };
                let operands = vec![self.whole(h.buffer), gain, self.whole(y), Operand::F32(n.eps)];
                self.push(caller, "norm", norm::rms_norm::DEF, generics, operands)?;
                y
            }
        };
        Ok(self.whole(buffer))
    }
}
