//! Global memory: loads, stores, single elements.

use super::elementwise::{Class, class};
use super::exec::Run;
use super::prepare::Step;
use super::value::{Element, Operand, Pool, Value};
use super::{InterpError, View};
use crate::ir::{Access, Type};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A box of an array that may reach beyond it. Row `r`, column `c` of the box is element `origin + r · stride + c`.
#[derive(Debug)]
pub(super) struct Window {
    origin: i64,
    stride: i64,
    rows: usize,
    pub(super) cols: usize,
    /// First and one past the last row and column that are inside the array.
    pub(super) valid: [(usize, usize); 2],
}

impl Window {
    /// Elements of the array that row `r` of the box covers.
    pub(super) fn row(&self, r: usize) -> std::ops::Range<usize> {
        let (lo, hi) = self.valid[1];
        let start = (self.origin + r as i64 * self.stride + lo as i64) as usize;
        start..start + (hi - lo)
    }

    fn is_inside(&self) -> bool {
        self.valid == [(0, self.rows), (0, self.cols)]
    }
}

/// Which of `n` indices from `offset` on are in `0..extent`.
fn clip(offset: i64, n: usize, extent: usize) -> (usize, usize) {
    let lo = (-offset).clamp(0, n as i64);
    let hi = (extent as i64 - offset).clamp(lo, n as i64);
    (lo as usize, hi as usize)
}

impl<'a> Run<'a> {
    pub(super) fn array(&self, step: &Step) -> Result<&'a View, InterpError> {
        self.bound.arrays.get(step.param).copied().flatten().ok_or_else(|| self.malformed(step))
    }

    /// The name of the array, for messages.
    fn array_name(&self, step: &Step) -> &'a str {
        self.prepared.params.get(step.param).map_or("", |p| &p.name)
    }

    /// The indices of a memory op, which are its operands from `first` on.
    fn indices(&self, step: &Step, first: usize) -> Result<Vec<i32>, InterpError> {
        (first..step.ins.len()).map(|i| self.scalar_i32(step, i)).collect()
    }

    /// The box of `shape` at the offsets that start at operand `first`.
    pub(super) fn window(
        &self,
        step: &Step,
        first: usize,
        view: &View,
        shape: [usize; 2],
    ) -> Result<Window, InterpError> {
        let rank = view.dims.len();
        if rank == 0 || step.ins.len() != first + rank {
            return Err(self.malformed(step));
        }
        let [rows, cols] = shape;
        let mut window =
            Window { origin: view.offset as i64, stride: 0, rows, cols, valid: [(0, rows.min(1)), (0, cols)] };
        let mut stride = 1i64;
        let mut outside = false;
        for axis in (0..rank).rev() {
            let (offset, extent) = (self.scalar_i32(step, first + axis)? as i64, view.dims[axis]);
            window.origin += offset * stride;
            match rank - 1 - axis {
                0 => window.valid[1] = clip(offset, cols, extent),
                1 => {
                    window.stride = stride;
                    window.valid[0] = clip(offset, rows, extent);
                }
                _ => outside |= offset < 0 || offset >= extent as i64,
            }
            stride *= extent as i64;
        }
        if outside {
            window.valid[0] = (0, 0);
        }
        Ok(window)
    }

    /// Element of the array at the indices that start at operand `first`.
    pub(super) fn element(&self, step: &Step, first: usize, view: &View) -> Result<usize, InterpError> {
        let index = self.indices(step, first)?;
        let inside = index.len() == view.dims.len()
            && index.iter().zip(&view.dims).all(|(i, n)| usize::try_from(*i).is_ok_and(|i| i < *n));
        if !inside {
            let message = format!("`{}` of `{}` is outside the array", step.kind.mnemonic(), self.array_name(step));
            let notes = vec![
                format!("index {index:?}, extents {:?}", view.dims),
                "guard the access with `if`, or `require!` that the index is inside".into(),
            ];
            return Err(self.prepared.fault(step, message, notes));
        }
        Ok(view.offset + index.iter().zip(&view.dims).fold(0, |at, (i, n)| at * n + *i as usize))
    }

    /// Reads a box, with zeros outside the array.
    fn read(&mut self, view: &View, w: &Window) -> Value {
        read_box(self.pool, view, w)
    }
}

/// Reads a box, with zeros outside the array.
pub(super) fn read_box(pool: &mut Pool, view: &View, w: &Window) -> Value {
    fn go<T: Element>(pool: &mut Pool, w: &Window, copy: impl Fn(usize, &mut [T])) -> Value {
        let ((top, bottom), (lo, hi)) = (w.valid[0], w.valid[1]);
        let dense = w.is_inside() && (w.rows <= 1 || w.stride == w.cols as i64);
        T::value(Operand::Tile(pool.build(w.rows * w.cols, |out: &mut [T]| {
            if dense && w.rows > 0 {
                return copy(w.row(0).start, out);
            }
            for (r, row) in out.chunks_exact_mut(w.cols.max(1)).enumerate() {
                if r < top || r >= bottom || lo >= hi {
                    row.fill(T::default());
                    continue;
                }
                row[..lo].fill(T::default());
                copy(w.row(r).start, &mut row[lo..hi]);
                row[hi..].fill(T::default());
            }
        })))
    }
    let array = &view.array;
    match class(array.dtype()) {
        Class::Real => go(pool, w, |at, out| array.copy_f32(at, out)),
        Class::Int => go(pool, w, |at, out| array.copy_i32(at, out)),
        Class::Truth => go(pool, w, |at, out: &mut [u8]| {
            let mut wide = vec![0; out.len()];
            array.copy_i32(at, &mut wide);
            out.iter_mut().zip(wide).for_each(|(o, x)| *o = (x != 0) as u8);
        }),
    }
}

pub(super) fn load(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    let view = run.array(step)?;
    let window = run.window(step, 1, view, step.shape)?;
    Ok(run.read(view, &window))
}

pub(super) fn stage(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    let (view, window) = staged_box(run, step)?;
    Ok(run.read(view, &window))
}

/// A load that changes nothing: there is no cache here.
pub(super) fn prefetch(run: &mut Run<'_>, step: &Step, shape: &[usize]) -> Result<(), InterpError> {
    let view = run.array(step)?;
    let shape = if let [rows, cols] = *shape { [rows, cols] } else { [1, shape[0]] };
    run.window(step, 1, view, shape)?;
    Ok(())
}

/// The part of an array that an asynchronous copy moves.
pub(super) fn staged_box<'a>(run: &Run<'a>, step: &Step) -> Result<(&'a View, Window), InterpError> {
    let view = run.array(step)?;
    let window = run.window(step, 1, view, step.shape)?;
    let weight = matches!(run.prepared.params.get(step.param).map(|p| &p.ty), Some(Type::Global(_, _, Access::Weight)));
    let index = run.indices(step, 1)?;
    let (row, col) = (index.len().wrapping_sub(2), index.len().wrapping_sub(1));
    let aligned = |axis: usize, n: usize| index.get(axis).is_none_or(|i| n != 0 && *i as i64 % n as i64 == 0);
    if weight && !(aligned(row, step.shape[0]) && aligned(col, step.shape[1])) {
        let message = format!("the staged part of `{}` is not at a multiple of its shape", run.array_name(step));
        let notes = vec![
            format!("offsets {index:?}, shape {:?}, extents {:?}", step.shape, view.dims),
            "weights are stored in tiles of the staged shape".into(),
        ];
        return Err(run.prepared.fault(step, message, notes));
    }
    Ok((view, window))
}

pub(super) fn at(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    let view = run.array(step)?;
    let at = run.element(step, 1, view)?;
    let array = &view.array;
    if class(array.dtype()) == Class::Real {
        let mut one = [0.0];
        array.copy_f32(at, &mut one);
        return Ok(Value::F32(one[0]));
    }
    let mut one = [0];
    array.copy_i32(at, &mut one);
    Ok(if class(array.dtype()) == Class::Int { Value::I32(one[0]) } else { Value::Bool((one[0] != 0) as u8) })
}

pub(super) fn set(run: &mut Run<'_>, step: &Step) -> Result<(), InterpError> {
    let view = run.array(step)?;
    let at = run.element(step, 2, view)?;
    let bits = match run.take(step, 1) {
        Value::F32(x) => x.to_bits(),
        Value::I32(i) => i as u32,
        Value::Bool(b) => b as u32,
        _ => return Err(run.malformed(step)),
    };
    match view.array.cells(at, 1) {
        Some([cell]) => cell.store(bits, Relaxed),
        _ => return Err(run.malformed(step)),
    }
    Ok(())
}

pub(super) fn store(run: &mut Run<'_>, step: &Step, masked: bool) -> Result<(), InterpError> {
    let view = run.array(step)?;
    let Some(shape) = step.ins.get(1).map(|x| x.shape) else { return Err(run.malformed(step)) };
    let window = run.window(step, 2 + masked as usize, view, shape)?;
    let mask = if masked { run.truth(step, 2)? } else { Operand::One(1) };
    match class(view.array.dtype()) {
        Class::Real => {
            let x = run.real(step, 1)?;
            write(run, step, view, &window, x, mask, f32::to_bits)
        }
        Class::Int => {
            let x = run.int(step, 1)?;
            write(run, step, view, &window, x, mask, |i| i as u32)
        }
        Class::Truth => {
            let x = run.truth(step, 1)?;
            write(run, step, view, &window, x, mask, |b| b as u32)
        }
    }
}

fn write<T: Element>(
    run: &mut Run<'_>,
    step: &Step,
    view: &View,
    w: &Window,
    x: Operand<T>,
    mask: Operand<u8>,
    bits: impl Fn(T) -> u32,
) -> Result<(), InterpError> {
    let (lo, hi) = w.valid[1];
    for r in w.valid[0].0..w.valid[0].1 {
        if lo >= hi {
            break;
        }
        let range = w.row(r);
        let Some(cells) = view.array.cells(range.start, range.len()) else { return Err(run.malformed(step)) };
        let columns = r * w.cols + lo..r * w.cols + hi;
        let kept = |i: usize| match &mask {
            Operand::One(m) => *m != 0,
            Operand::Tile(m) => m[columns.start + i] != 0,
        };
        let put = |i: usize, cell: &AtomicU32, x: T| {
            if kept(i) {
                cell.store(bits(x), Relaxed);
            }
        };
        match (&x, &mask) {
            (Operand::Tile(x), Operand::One(m)) if *m != 0 => {
                cells.iter().zip(&x[columns.clone()]).for_each(|(cell, x)| cell.store(bits(*x), Relaxed));
            }
            (Operand::Tile(x), _) => {
                cells.iter().zip(&x[columns.clone()]).enumerate().for_each(|(i, (cell, x))| put(i, cell, *x));
            }
            (Operand::One(x), _) => cells.iter().enumerate().for_each(|(i, cell)| put(i, cell, *x)),
        }
    }
    if let Operand::Tile(t) = x {
        T::give(run.pool, t);
    }
    if let Operand::Tile(m) = mask {
        u8::give(run.pool, m);
    }
    Ok(())
}
