//! One weight matrix or vector, checked and delivered in its stored precision.

use std::borrow::Cow;
use std::ops::Range;

use half::f16;
use safetensors::Dtype;

use super::{Checkpoint, CheckpointError, TensorView};
use crate::config::Quantization;
use crate::quant;

/// The elements of a matrix of N rows and K columns, row-major.
#[derive(Clone, Debug)]
pub enum WeightData<'a> {
    /// bf16: [N, 2·K] bytes, little-endian.
    Bf16(Cow<'a, [u8]>),
    /// f32 [N, K]; also what f16 becomes, exactly.
    F32(Vec<f32>),
    /// E4M3 with one scale for 128 columns.
    Fp8Block {
        /// Codes [N, K].
        codes: Cow<'a, [u8]>,
        /// Scales [N, ⌈K/128⌉]: those of the stored 128 × 128 blocks, repeated for each row, so that rows can be taken
        /// from anywhere. value = code × scale.
        row_scales: Vec<f32>,
    },
    /// E2M1 with one power of two for 32 columns.
    Mxfp4 {
        /// Codes [N, K/2], the low nibble being the even column.
        codes: Cow<'a, [u8]>,
        /// E8M0 scales [N, K/32], none of them NaN.
        scales: Cow<'a, [u8]>,
    },
}

/// A weight matrix: y = W·x for x of `cols` numbers gives `rows`.
#[derive(Clone, Debug)]
pub struct Matrix<'a> {
    /// Name of the tensor it comes from.
    pub name: String,
    /// Rows, the outputs (N).
    pub rows: usize,
    /// Columns, the inputs (K).
    pub cols: usize,
    /// The elements.
    pub data: WeightData<'a>,
}

impl Matrix<'_> {
    /// Dequantises one row into `out` (`[K]`). `row` must be below [`Matrix::rows`].
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let k = self.cols;
        match &self.data {
            WeightData::Bf16(bytes) => quant::bf16_row(&bytes[row * k * 2..][..k * 2], out),
            WeightData::F32(values) => out.copy_from_slice(&values[row * k..][..k]),
            WeightData::Fp8Block { codes, row_scales } => {
                let blocks = k.div_ceil(quant::FP8_BLOCK);
                quant::fp8_row(&codes[row * k..][..k], &row_scales[row * blocks..][..blocks], out);
            }
            WeightData::Mxfp4 { codes, scales } => {
                let blocks = k / quant::MXFP4_BLOCK;
                quant::mxfp4_row(&codes[row * k / 2..][..k / 2], &scales[row * blocks..][..blocks], out);
            }
        }
    }

    /// All rows dequantised: [N, K].
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        for (row, out) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.read_row(row, out);
        }
        out
    }

    /// Bytes that the elements and their scales take as stored here.
    pub fn bytes(&self) -> usize {
        match &self.data {
            WeightData::Bf16(bytes) => bytes.len(),
            WeightData::F32(values) => values.len() * 4,
            WeightData::Fp8Block { codes, row_scales } => codes.len() + row_scales.len() * 4,
            WeightData::Mxfp4 { codes, scales } => codes.len() + scales.len(),
        }
    }

    /// The rows of several ranges, one after the other, as a matrix of its own. Ranges must lie within the rows.
    pub fn gather_rows(&self, ranges: &[Range<usize>]) -> Matrix<'static> {
        fn take<T: Copy>(from: &[T], per_row: usize, ranges: &[Range<usize>]) -> Vec<T> {
            let parts: Vec<&[T]> = ranges.iter().map(|r| &from[r.start * per_row..r.end * per_row]).collect();
            parts.concat()
        }
        let k = self.cols;
        let data = match &self.data {
            WeightData::Bf16(bytes) => WeightData::Bf16(take(bytes, k * 2, ranges).into()),
            WeightData::F32(values) => WeightData::F32(take(values, k, ranges)),
            WeightData::Fp8Block { codes, row_scales } => WeightData::Fp8Block {
                codes: take(codes, k, ranges).into(),
                row_scales: take(row_scales, k.div_ceil(quant::FP8_BLOCK), ranges),
            },
            WeightData::Mxfp4 { codes, scales } => WeightData::Mxfp4 {
                codes: take(codes, k / 2, ranges).into(),
                scales: take(scales, k / quant::MXFP4_BLOCK, ranges).into(),
            },
        };
        Matrix { name: self.name.clone(), rows: ranges.iter().map(ExactSizeIterator::len).sum(), cols: k, data }
    }
}

/// Which stored types are accepted for a matrix; bf16, f16 and f32 always are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Formats {
    /// Quantised formats that may occur.
    pub quantization: Quantization,
    /// Equal runs of rows that each have FP8 scale rows of their own; 0 counts as 1.
    pub chunks: usize,
}

/// The tensors of a matrix, with shapes and types checked, before anything is copied.
struct Stored<'a> {
    main: TensorView<'a>,
    scales: Option<TensorView<'a>>,
}

impl Checkpoint {
    /// A matrix of the given shape, in its stored precision. Quantised ones have their scales in a second tensor: E4M3
    /// in `…_scale_inv` (f32, one per 128 × 128 block, per chunk of rows), MXFP4 (type U8) in `…_scale` (E8M0).
    pub fn matrix(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        formats: Formats,
    ) -> Result<Matrix<'_>, CheckpointError> {
        let stored = self.check_matrix(name, rows, cols, formats)?;
        let bytes = stored.main.bytes;
        let data = match (stored.main.dtype, stored.scales) {
            (Dtype::BF16, _) => WeightData::Bf16(bytes.into()),
            (Dtype::U8, Some(scales)) => {
                check_scales(&scales, |i| scales.bytes[i] != 255, || "NaN (byte 255)".into())?;
                WeightData::Mxfp4 { codes: bytes.into(), scales: scales.bytes.into() }
            }
            (_, Some(scales)) => {
                let grid = floats(&scales);
                check_scales(&scales, |i| grid[i].is_finite(), || "NaN or infinity".into())?;
                let row_scales = expand_scales(&grid, rows, cols, formats.chunks.max(1));
                WeightData::Fp8Block { codes: bytes.into(), row_scales }
            }
            (_, None) => WeightData::F32(floats(&stored.main)),
        };
        Ok(Matrix { name: name.to_owned(), rows, cols, data })
    }

    /// A vector of the given length, as f32. It may be stored as f32, bf16 or f16.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, CheckpointError> {
        Ok(floats(&self.check_floats(name, &[len])?))
    }

    /// A matrix of the given shape, row-major as f32. It may be stored as f32, bf16 or f16.
    pub fn matrix_f32(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>, CheckpointError> {
        Ok(floats(&self.check_floats(name, &[rows, cols])?))
    }

    /// A tensor in one of the plain float types, of the given shape.
    pub(super) fn check_floats(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, CheckpointError> {
        let view = self.require(name, &format!("{shape:?} in BF16, F16 or F32"))?;
        if !is_float(view.dtype) {
            return Err(wrong_type(&view, "BF16, F16 or F32"));
        }
        check_shape(&view, shape)?;
        Ok(view)
    }

    /// As [`Checkpoint::matrix`], without looking at the elements.
    pub(super) fn check_matrix_only(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        formats: Formats,
    ) -> Result<(), CheckpointError> {
        self.check_matrix(name, rows, cols, formats).map(drop)
    }

    fn check_matrix(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        formats: Formats,
    ) -> Result<Stored<'_>, CheckpointError> {
        let Quantization { fp8, mxfp4 } = formats.quantization;
        let accepted = match (fp8, mxfp4) {
            (true, true) => "BF16, F16, F32, F8_E4M3 or U8 (MXFP4)",
            (true, false) => "BF16, F16, F32 or F8_E4M3 (config.json has no quantization_config.store_dtype mxfp4)",
            (false, true) => "BF16, F16, F32 or U8 (MXFP4)",
            (false, false) => "BF16, F16 or F32 (config.json has no quantization_config)",
        };
        let main = self.require(name, &format!("[{rows}, {cols}] in {accepted}"))?;
        match main.dtype {
            Dtype::F8_E4M3 if fp8 => {
                check_shape(&main, &[rows, cols])?;
                let chunks = formats.chunks.max(1);
                let per_chunk = rows.div_ceil(chunks).div_ceil(quant::FP8_BLOCK);
                let grid = [chunks * per_chunk, cols.div_ceil(quant::FP8_BLOCK)];
                let scales = self.check_floats(&format!("{name}_scale_inv"), &grid)?;
                Ok(Stored { main, scales: Some(scales) })
            }
            Dtype::U8 if mxfp4 => {
                if !cols.is_multiple_of(quant::MXFP4_BLOCK) {
                    let expected = format!("a plain type, as {cols} columns aren't a multiple of MXFP4's block of 32");
                    return Err(wrong_type(&main, &expected));
                }
                check_shape(&main, &[rows, cols / 2])?;
                let grid = [rows, cols / quant::MXFP4_BLOCK];
                let scales = self.require(&format!("{name}_scale"), &format!("{grid:?} in U8 (E8M0)"))?;
                if !matches!(scales.dtype, Dtype::U8 | Dtype::F8_E8M0) {
                    return Err(wrong_type(&scales, "U8 (E8M0)"));
                }
                check_shape(&scales, &grid)?;
                Ok(Stored { main, scales: Some(scales) })
            }
            dtype if is_float(dtype) => {
                check_shape(&main, &[rows, cols])?;
                Ok(Stored { main, scales: None })
            }
            _ => Err(wrong_type(&main, accepted)),
        }
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32)
}

fn wrong_type(view: &TensorView<'_>, expected: &str) -> CheckpointError {
    CheckpointError::Type {
        file: view.file.to_owned(),
        tensor: view.name.to_owned(),
        found: format!("{:?}", view.dtype),
        expected: expected.to_owned(),
    }
}

fn check_shape(view: &TensorView<'_>, expected: &[usize]) -> Result<(), CheckpointError> {
    if view.shape == expected {
        return Ok(());
    }
    Err(CheckpointError::Shape {
        file: view.file.to_owned(),
        tensor: view.name.to_owned(),
        found: view.shape.to_vec(),
        expected: expected.to_vec(),
    })
}

/// The first scale that isn't good is an error at its row and column. `view` has two dimensions.
fn check_scales(
    view: &TensorView<'_>,
    good: impl Fn(usize) -> bool,
    found: impl Fn() -> String,
) -> Result<(), CheckpointError> {
    let (count, width) = (view.shape.iter().product(), view.shape.last().map_or(1, |&w| w.max(1)));
    match (0..count).find(|&i| !good(i)) {
        None => Ok(()),
        Some(at) => Err(CheckpointError::Scale {
            file: view.file.to_owned(),
            tensor: view.name.to_owned(),
            row: at / width,
            col: at % width,
            found: found(),
        }),
    }
}

/// The numbers of a tensor in one of the plain float types.
fn floats(view: &TensorView<'_>) -> Vec<f32> {
    let pairs = view.bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match view.dtype {
        Dtype::BF16 => pairs.map(quant::bf16_decode).collect(),
        Dtype::F16 => pairs.map(|bits| f16::from_bits(bits).to_f32()).collect(),
        _ => view.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
    }
}

/// The scale rows of a grid repeated for each of `rows` rows, which are `chunks` runs with scale rows of their own.
fn expand_scales(grid: &[f32], rows: usize, cols: usize, chunks: usize) -> Vec<f32> {
    let (width, run) = (cols.div_ceil(quant::FP8_BLOCK), rows.div_ceil(chunks).max(1));
    let per_run = run.div_ceil(quant::FP8_BLOCK);
    let at = |row: usize| row / run * per_run + row % run / quant::FP8_BLOCK;
    (0..rows).flat_map(|row| &grid[at(row) * width..][..width]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_has_scale_rows_of_its_own() {
        // Two chunks of 272 rows: three scale rows each, the last one for 16 rows.
        let grid: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let scales = expand_scales(&grid, 544, 100, 2);
        let at = |row: usize| scales[row];
        assert_eq!([at(0), at(127), at(128), at(255), at(256), at(271)], [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!([at(272), at(399), at(400), at(543)], [3.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn gathered_rows_keep_their_scales() {
        let codes: Vec<u8> = (0..4 * 160).map(|i| (i % 120) as u8).collect();
        let row_scales: Vec<f32> = (0..8).map(|i| (i + 1) as f32).collect();
        let data = WeightData::Fp8Block { codes: codes.into(), row_scales };
        let matrix = Matrix { name: "w".into(), rows: 4, cols: 160, data };
        let part = matrix.gather_rows(&[3..4, 1..2]);
        let (all, some) = (matrix.to_f32(), part.to_f32());
        assert_eq!(part.rows, 2);
        assert_eq!(some[..160], all[3 * 160..]);
        assert_eq!(some[160..], all[160..320]);
    }
}
