//! Brings weights to the device: in pieces, packed in parallel, so that host memory stays bounded.

use crate::device::{Context, Stream};
use crate::error::RuntimeError;
use crate::layout::{Layout, WeightCopy};
use crate::memory::{DeviceMemory, Uploader};
use rayon::prelude::*;
use std::ops::Range;
use std::rc::Rc;
use tile_lang::exec::WeightSource;
use tile_lang::plan::{Plan, Weight};

/// Bytes of one of the two upload buffers, unless a row of tiles is larger.
const STAGE: usize = 32 << 20;
/// About how much one thread packs at a time.
const PIECE: usize = 1 << 20;

/// A part of a weight that is packed on its own: a run of tile rows, dense before and contiguous after.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    /// Bytes of the dense source.
    source: Range<usize>,
    /// Its rows and columns; `None` is copied as it is.
    dims: Option<[usize; 2]>,
    /// Bytes of the stored copy.
    stored: Range<usize>,
}

/// Uploads every copy of every weight that is not there yet into `memory`.
pub(crate) fn upload(
    context: &Rc<Context>,
    stream: &Stream,
    plan: &Plan,
    layout: &Layout,
    source: &dyn WeightSource,
    memory: &DeviceMemory,
) -> Result<(), RuntimeError> {
    let copies: Vec<WeightCopy> = layout.copies.iter().filter(|c| c.there.is_none()).cloned().collect();
    if copies.is_empty() {
        return Ok(());
    }
    let all: Vec<Vec<Piece>> = copies.iter().map(|c| pieces(&plan.weights[c.weight], c)).collect();
    let largest = all.iter().flatten().map(|p| p.stored.len()).max().unwrap_or(0);
    let whole = copies.iter().map(|c| c.bytes).max().unwrap_or(0);
    let mut uploader = Uploader::new(context, stream, STAGE.min(whole).max(largest))?;
    for (group, pieces) in copies.chunk_by(|a, b| a.weight == b.weight).zip(grouped(&copies, &all)) {
        let weight = &plan.weights[group[0].weight];
        let fail = |message: String| RuntimeError::Weight { name: weight.name.clone(), message };
        let bytes = source.bytes(&weight.name).map_err(fail)?;
        let want = weight.dtype.bytes(weight.dims.iter().product());
        if bytes.len() != want {
            let (d, dims, got) = (weight.dtype, &weight.dims, bytes.len());
            return Err(fail(format!("{d} with extents {dims:?} takes {want} bytes, the source has {got}")));
        }
        for (copy, pieces) in group.iter().zip(pieces) {
            for window in windows(pieces, uploader.capacity()) {
                let (begin, end) = (window[0].stored.start, window[window.len() - 1].stored.end);
                uploader
                    .send(memory, copy.offset + begin, end - begin, |out| fill(weight, copy, window, &bytes, out))?;
            }
        }
    }
    uploader.finish()
}

/// The pieces of each group of copies of one weight.
fn grouped<'a>(copies: &[WeightCopy], pieces: &'a [Vec<Piece>]) -> Vec<&'a [Vec<Piece>]> {
    let mut rest = pieces;
    let mut out = Vec::new();
    for group in copies.chunk_by(|a, b| a.weight == b.weight) {
        let (head, tail) = rest.split_at(group.len());
        out.push(head);
        rest = tail;
    }
    out
}

/// Runs of pieces that fit in `capacity` bytes; pieces are never empty and none is larger.
fn windows(pieces: &[Piece], capacity: usize) -> Vec<&[Piece]> {
    let mut out = Vec::new();
    let mut begin = 0;
    for i in 0..pieces.len() {
        if pieces[i].stored.end - pieces[begin].stored.start > capacity {
            out.push(&pieces[begin..i]);
            begin = i;
        }
    }
    if begin < pieces.len() {
        out.push(&pieces[begin..]);
    }
    out
}

/// Writes the stored form of consecutive pieces, in parallel.
fn fill(weight: &Weight, copy: &WeightCopy, pieces: &[Piece], source: &[u8], out: &mut [u8]) {
    let mut rest = out;
    let mut work = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let (head, tail) = rest.split_at_mut(piece.stored.len());
        work.push((piece, head));
        rest = tail;
    }
    work.into_par_iter().for_each(|(piece, out)| {
        let dense = &source[piece.source.clone()];
        match (&copy.packing, piece.dims) {
            (Some(packing), Some(dims)) => out.copy_from_slice(&packing.pack(weight.dtype, &dims, dense)),
            (Some(packing), None) => out.copy_from_slice(&packing.pack(weight.dtype, &weight.dims, dense)),
            (None, _) => out.copy_from_slice(dense),
        }
    });
}

/// Cuts a copy into pieces. One tile row is the least; a weight whose tile rows don't begin at whole bytes is one piece.
fn pieces(weight: &Weight, copy: &WeightCopy) -> Vec<Piece> {
    let dense = weight.dtype.bytes(weight.dims.iter().product());
    let mut out = Vec::new();
    let Some(packing) = &copy.packing else {
        for begin in (0..dense).step_by(PIECE) {
            let range = begin..dense.min(begin + PIECE);
            out.push(Piece { source: range.clone(), dims: None, stored: range });
        }
        return out;
    };
    let n = weight.dims.len();
    let (rows, cols) = (weight.dims[n - 2], weight.dims[n - 1]);
    let batch: usize = weight.dims[..n - 2].iter().product();
    let [tile_rows, tile_cols] = packing.tiles(&weight.dims);
    let [h, w] = packing.tile;
    let bits = weight.dtype.bits();
    let whole_bytes = |elements: usize| (elements * bits).is_multiple_of(8);
    if !(whole_bytes(cols) && whole_bytes(h * w)) {
        if copy.bytes > 0 {
            out.push(Piece { source: 0..dense, dims: None, stored: 0..copy.bytes });
        }
        return out;
    }
    let row_bytes = weight.dtype.bytes(cols);
    let stored_row = tile_cols * weight.dtype.bytes(h * w);
    if stored_row == 0 {
        return out;
    }
    let step = (PIECE / stored_row).max(1);
    for b in 0..batch {
        for first in (0..tile_rows).step_by(step) {
            let last = tile_rows.min(first + step);
            let (r0, r1) = (first * h, rows.min(last * h));
            out.push(Piece {
                source: (b * rows + r0) * row_bytes..(b * rows + r1) * row_bytes,
                dims: Some([r1 - r0, cols]),
                stored: (b * tile_rows + first) * stored_row..(b * tile_rows + last) * stored_row,
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tile_lang::DType;
    use tile_lang::packing::{Packing, TileOrder, fragment_width};

    fn stored(weight: &Weight, packing: Option<Packing>, source: &[u8], capacity: usize) -> Vec<u8> {
        let bytes = packing.as_ref().map_or(source.len(), |p| p.bytes(weight.dtype, &weight.dims));
        let copy = WeightCopy { weight: 0, packing, there: None, offset: 0, bytes };
        let pieces = pieces(weight, &copy);
        let mut out = vec![0xAA; bytes];
        let mut at = 0;
        for window in windows(&pieces, capacity) {
            let (begin, end) = (window[0].stored.start, window[window.len() - 1].stored.end);
            assert_eq!(begin, at);
            assert!(end - begin <= capacity || window.len() == 1);
            fill(weight, &copy, window, source, &mut out[begin..end]);
            at = end;
        }
        assert_eq!(at, bytes);
        out
    }

    #[test]
    fn pieces_give_what_packing_the_whole_gives() {
        for (dtype, dims, tile) in [
            (DType::Bf16, vec![3, 1000, 600], [64, 128]),
            (DType::E2m1, vec![2, 900, 1234], [32, 64]),
            (DType::E2m1, vec![2, 33, 65], [16, 64]),
            (DType::E4m3, vec![513, 2049], [16, 32]),
            (DType::F32, vec![5, 7], [16, 16]),
        ] {
            let weight = Weight { name: "w".into(), dtype, dims: dims.clone() };
            let source: Vec<u8> =
                (0..dtype.bytes(dims.iter().product())).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
            for order in [TileOrder::RowMajor, TileOrder::Fragment { wide: fragment_width(dtype, tile[1]) }] {
                let packing = Packing { tile, order };
                let whole = packing.pack(dtype, &dims, &source);
                assert!(
                    stored(&weight, Some(packing), &source, 3 << 20) == whole,
                    "{dtype} {dims:?} {tile:?} {order:?}"
                );
            }
            assert!(stored(&weight, None, &source, 2 << 20) == source);
        }
    }

    #[test]
    fn empty_weights_take_nothing() {
        let weight = Weight { name: "w".into(), dtype: DType::Bf16, dims: vec![0, 64] };
        let packing = Packing { tile: [16, 16], order: TileOrder::RowMajor };
        assert!(stored(&weight, Some(packing), &[], 1 << 20).is_empty());
        assert!(stored(&weight, None, &[], 1 << 20).is_empty());
    }
}
