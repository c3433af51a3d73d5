//! Arrays in global memory.
//!
//! What kernels write is kept as one atomic 32-bit cell per element, so that work items which run in parallel may write
//! disjoint parts of one array: f32 bits for every real type (already rounded to the element type), the number itself
//! for integers and truth values. What is only read (weights) stays in its stored bytes and is decoded on the way.

use super::number::{self, E2M1, E2M1_PAIRS, E4M3, E5M2, E8M0};
use crate::dtype::DType;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Whoever keeps the bytes of a read-only array alive: a memory map, a vector.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A dense row-major array.
pub struct Array {
    dtype: DType,
    dims: Vec<usize>,
    storage: Storage,
}

enum Storage {
    Cells(Box<[AtomicU32]>),
    Bytes { owner: Owner, offset: usize },
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = match self.storage {
            Storage::Cells(_) => "cells",
            Storage::Bytes { .. } => "bytes",
        };
        write!(f, "Array({} {:?}, {kept})", self.dtype, self.dims)
    }
}

/// An array can't be made, read or written as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// Data and extents disagree.
    #[error("extents {dims:?} need {need} elements, got {got}")]
    Length {
        /// The extents.
        dims: Vec<usize>,
        /// Their product.
        need: usize,
        /// What was given.
        got: usize,
    },
    /// The bytes end before the array does.
    #[error("extents {dims:?} of {dtype} need {need} bytes from byte {offset}, the storage has {have}")]
    Bytes {
        /// Element type.
        dtype: DType,
        /// The extents.
        dims: Vec<usize>,
        /// Bytes of the array.
        need: usize,
        /// Where it starts.
        offset: usize,
        /// Bytes of the storage.
        have: usize,
    },
    /// Elements outside.
    #[error("elements {offset}..{end} of an array of {have}")]
    Outside {
        /// First element.
        offset: usize,
        /// One past the last element.
        end: usize,
        /// Elements of the array.
        have: usize,
    },
    /// A write to an array that was made from bytes.
    #[error("an array made from stored bytes is read only")]
    ReadOnly,
    /// Real numbers for integers or the other way round.
    #[error("an array of {0} does not hold such numbers")]
    Kind(DType),
}

impl Array {
    /// A writable array of zeros.
    pub fn zeros(dtype: DType, dims: impl Into<Vec<usize>>) -> Array {
        let dims = dims.into();
        let cells = (0..dims.iter().product()).map(|_| AtomicU32::new(0)).collect();
        Array { dtype, dims, storage: Storage::Cells(cells) }
    }

    /// A writable array of real numbers, rounded to the element type.
    ///
    /// # Errors
    /// Integer element types; a length that is not the product of the extents.
    pub fn from_f32(dtype: DType, dims: impl Into<Vec<usize>>, data: &[f32]) -> Result<Array, ArrayError> {
        let array = Array::sized(dtype, dims.into(), data.len())?;
        array.write_f32(0, data)?;
        Ok(array)
    }

    /// A writable array of integers (or truth values as 0 and 1).
    ///
    /// # Errors
    /// Real element types; a length that is not the product of the extents.
    pub fn from_i32(dtype: DType, dims: impl Into<Vec<usize>>, data: &[i32]) -> Result<Array, ArrayError> {
        let array = Array::sized(dtype, dims.into(), data.len())?;
        array.write_i32(0, data)?;
        Ok(array)
    }

    fn sized(dtype: DType, dims: Vec<usize>, got: usize) -> Result<Array, ArrayError> {
        let need = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).unwrap_or(usize::MAX);
        if need == got { Ok(Array::zeros(dtype, dims)) } else { Err(ArrayError::Length { dims, need, got }) }
    }

    /// A read-only array over stored bytes (little endian, 4-bit types two per byte, low nibble first).
    ///
    /// # Errors
    /// The storage is too short.
    pub fn from_bytes(
        dtype: DType,
        dims: impl Into<Vec<usize>>,
        owner: Owner,
        offset: usize,
    ) -> Result<Array, ArrayError> {
        let dims = dims.into();
        let bits = dims.iter().try_fold(dtype.bits(), |n, d| n.checked_mul(*d)).unwrap_or(usize::MAX);
        let (need, have) = (bits.div_ceil(8), (*owner).as_ref().len());
        if offset.checked_add(need).is_none_or(|end| end > have) {
            return Err(ArrayError::Bytes { dtype, dims, need, offset, have });
        }
        Ok(Array { dtype, dims, storage: Storage::Bytes { owner, offset } })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether kernels can write it.
    pub fn is_writable(&self) -> bool {
        matches!(self.storage, Storage::Cells(_))
    }

    /// All elements as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        self.copy_f32(0, &mut out);
        out
    }

    /// All elements as i32; real numbers truncate.
    pub fn to_i32(&self) -> Vec<i32> {
        let mut out = vec![0; self.len()];
        self.copy_i32(0, &mut out);
        out
    }

    /// Elements from `offset` on, as f32.
    ///
    /// # Errors
    /// Elements outside.
    pub fn read_f32(&self, offset: usize, out: &mut [f32]) -> Result<(), ArrayError> {
        self.check(offset, out.len())?;
        self.copy_f32(offset, out);
        Ok(())
    }

    /// Elements from `offset` on, as i32.
    ///
    /// # Errors
    /// Elements outside.
    pub fn read_i32(&self, offset: usize, out: &mut [i32]) -> Result<(), ArrayError> {
        self.check(offset, out.len())?;
        self.copy_i32(offset, out);
        Ok(())
    }

    /// Writes real numbers from `offset` on, rounded to the element type.
    ///
    /// # Errors
    /// Integer element types, elements outside, a read-only array.
    pub fn write_f32(&self, offset: usize, data: &[f32]) -> Result<(), ArrayError> {
        let dtype = self.dtype;
        self.write_real(offset, data, |x| number::round_to(dtype, x))
    }

    /// Writes real numbers as they are, for runs at [`Precision::F32`](super::Precision::F32).
    ///
    /// # Errors
    /// As [`Array::write_f32`].
    pub fn write_f32_unrounded(&self, offset: usize, data: &[f32]) -> Result<(), ArrayError> {
        self.write_real(offset, data, |x| x)
    }

    fn write_real(&self, offset: usize, data: &[f32], round: impl Fn(f32) -> f32) -> Result<(), ArrayError> {
        if !self.dtype.is_float() {
            return Err(ArrayError::Kind(self.dtype));
        }
        let cells = self.writable(offset, data.len())?;
        cells.iter().zip(data).for_each(|(cell, x)| cell.store(round(*x).to_bits(), Relaxed));
        Ok(())
    }

    /// Writes integers from `offset` on.
    ///
    /// # Errors
    /// Real element types, elements outside, a read-only array.
    pub fn write_i32(&self, offset: usize, data: &[i32]) -> Result<(), ArrayError> {
        let dtype = self.dtype;
        if dtype.is_float() {
            return Err(ArrayError::Kind(dtype));
        }
        let cells = self.writable(offset, data.len())?;
        for (cell, x) in cells.iter().zip(data) {
            let x = if dtype == DType::Bool { (*x != 0) as i32 } else { number::wrap_int(dtype, *x) };
            cell.store(x as u32, Relaxed);
        }
        Ok(())
    }

    fn writable(&self, offset: usize, len: usize) -> Result<&[AtomicU32], ArrayError> {
        self.check(offset, len)?;
        self.cells(offset, len).ok_or(ArrayError::ReadOnly)
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), ArrayError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            end => Err(ArrayError::Outside { offset, end: end.unwrap_or(usize::MAX), have: self.len() }),
        }
    }

    /// The cells of `len` elements, where the array is writable and they are inside.
    pub(super) fn cells(&self, offset: usize, len: usize) -> Option<&[AtomicU32]> {
        match &self.storage {
            Storage::Cells(cells) => cells.get(offset..offset + len),
            Storage::Bytes { .. } => None,
        }
    }

    /// Decodes `out.len()` elements, which must be inside.
    pub(super) fn copy_f32(&self, at: usize, out: &mut [f32]) {
        match &self.storage {
            Storage::Cells(cells) => {
                let cells = &cells[at..at + out.len()];
                if self.dtype.is_float() {
                    out.iter_mut().zip(cells).for_each(|(o, c)| *o = f32::from_bits(c.load(Relaxed)));
                } else {
                    out.iter_mut().zip(cells).for_each(|(o, c)| *o = c.load(Relaxed) as i32 as f32);
                }
            }
            Storage::Bytes { owner, offset } => decode_f32(self.dtype, &(**owner).as_ref()[*offset..], at, out),
        }
    }

    /// Decodes `out.len()` elements, which must be inside.
    pub(super) fn copy_i32(&self, at: usize, out: &mut [i32]) {
        match &self.storage {
            Storage::Cells(cells) if !self.dtype.is_float() => {
                out.iter_mut().zip(&cells[at..]).for_each(|(o, c)| *o = c.load(Relaxed) as i32);
            }
            Storage::Bytes { owner, offset } if !self.dtype.is_float() => {
                let bytes = &(**owner).as_ref()[*offset..];
                match self.dtype {
                    DType::I32 => {
                        let (words, _) = bytes[at * 4..].as_chunks::<4>();
                        out.iter_mut().zip(words).for_each(|(o, w)| *o = i32::from_le_bytes(*w));
                    }
                    DType::I8 => out.iter_mut().zip(&bytes[at..]).for_each(|(o, b)| *o = *b as i8 as i32),
                    DType::Bool => out.iter_mut().zip(&bytes[at..]).for_each(|(o, b)| *o = (*b != 0) as i32),
                    _ => out.iter_mut().zip(&bytes[at..]).for_each(|(o, b)| *o = *b as i32),
                }
            }
            _ => {
                let mut real = vec![0.0; out.len()];
                self.copy_f32(at, &mut real);
                out.iter_mut().zip(real).for_each(|(o, x)| *o = x as i32);
            }
        }
    }
}

/// Decodes elements `at..at + out.len()` of stored bytes.
fn decode_f32(dtype: DType, bytes: &[u8], at: usize, out: &mut [f32]) {
    let table = |table: &[f32; 256], out: &mut [f32]| {
        out.iter_mut().zip(&bytes[at..]).for_each(|(o, b)| *o = table[*b as usize]);
    };
    match dtype {
        DType::F32 => {
            let (words, _) = bytes[at * 4..].as_chunks::<4>();
            out.iter_mut().zip(words).for_each(|(o, w)| *o = f32::from_le_bytes(*w));
        }
        DType::Bf16 => {
            let (words, _) = bytes[at * 2..].as_chunks::<2>();
            out.iter_mut().zip(words).for_each(|(o, w)| *o = f32::from_bits((u16::from_le_bytes(*w) as u32) << 16));
        }
        DType::F16 => {
            let (words, _) = bytes[at * 2..].as_chunks::<2>();
            out.iter_mut().zip(words).for_each(|(o, w)| *o = half::f16::from_le_bytes(*w).to_f32());
        }
        DType::E4m3 => table(&E4M3, out),
        DType::E5m2 => table(&E5M2, out),
        DType::E8m0 => table(&E8M0, out),
        DType::E2m1 => {
            let (head, rest) = out.split_at_mut((at % 2).min(out.len()));
            head.iter_mut().for_each(|o| *o = E2M1[(bytes[at / 2] >> 4) as usize]);
            let bytes = &bytes[at.div_ceil(2)..];
            let (pairs, tail) = rest.as_chunks_mut::<2>();
            pairs.iter_mut().zip(bytes).for_each(|(o, b)| *o = E2M1_PAIRS[*b as usize]);
            tail.iter_mut().for_each(|o| *o = E2M1[(bytes[pairs.len()] & 15) as usize]);
        }
        DType::I8 => out.iter_mut().zip(&bytes[at..]).for_each(|(o, b)| *o = *b as i8 as f32),
        DType::U8 | DType::Bool => out.iter_mut().zip(&bytes[at..]).for_each(|(o, b)| *o = *b as f32),
        DType::I32 => {
            let (words, _) = bytes[at * 4..].as_chunks::<4>();
            out.iter_mut().zip(words).for_each(|(o, w)| *o = i32::from_le_bytes(*w) as f32);
        }
    }
}

/// A dense part of an array, itself row-major: what a kernel gets for a global parameter.
#[derive(Clone, Debug)]
pub struct View {
    /// The array.
    pub array: Arc<Array>,
    /// First element.
    pub offset: usize,
    /// Extents of the part.
    pub dims: Vec<usize>,
}

impl View {
    /// The part of these extents that starts at element `offset`.
    ///
    /// # Errors
    /// It reaches beyond the array.
    pub fn new(array: Arc<Array>, offset: usize, dims: impl Into<Vec<usize>>) -> Result<View, ArrayError> {
        let view = View { array, offset, dims: dims.into() };
        view.check()?;
        Ok(view)
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the part is inside its array.
    pub(super) fn check(&self) -> Result<(), ArrayError> {
        let len = self.dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).unwrap_or(usize::MAX);
        self.array.check(self.offset, len)
    }
}

impl From<Arc<Array>> for View {
    fn from(array: Arc<Array>) -> View {
        let dims = array.dims.clone();
        View { array, offset: 0, dims }
    }
}

impl From<Array> for View {
    fn from(array: Array) -> View {
        View::from(Arc::new(array))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_nibbles_decode_from_any_offset() {
        let bytes: Owner = Arc::new(vec![0x21u8, 0x43, 0x65, 0xf7]);
        let all = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -6.0];
        let array = Array::from_bytes(DType::E2m1, [8], bytes, 0).unwrap();
        for lo in 0..8 {
            for hi in lo..=8 {
                let mut out = vec![0.0; hi - lo];
                array.read_f32(lo, &mut out).unwrap();
                assert_eq!(out, &all[lo..hi]);
            }
        }
    }

    #[test]
    fn arrays_check_their_bounds() {
        let a = Array::from_f32(DType::Bf16, [2, 2], &[1.0, 2.0, 3.0, 4.001]).unwrap();
        assert_eq!(a.to_f32(), [1.0, 2.0, 3.0, 4.0]);
        assert!(a.write_f32(3, &[0.0, 0.0]).is_err());
        assert!(a.write_i32(0, &[1]).is_err());
        assert!(Array::from_f32(DType::F32, [3], &[1.0]).is_err());
        assert!(Array::from_bytes(DType::F32, [3], Arc::new(vec![0u8; 11]), 0).is_err());
        assert!(View::new(Arc::new(a), 2, [3]).is_err());
    }
}
