//! Elements of arrays at tiles of indices.

use super::elementwise::{Class, class};
use super::exec::Run;
use super::prepare::Step;
use super::value::{Element, Operand, Value};
use super::{InterpError, View};
use crate::ir::AtomicOp;
use std::sync::atomic::Ordering::Relaxed;

impl Run<'_> {
    /// Where in the array each element lies, from the index tiles that start at operand `first`; none outside. The tiles
    /// stay where they are.
    pub fn peek_places(
        &self,
        step: &Step,
        first: usize,
        view: &View,
        n: usize,
    ) -> Result<Vec<Option<usize>>, InterpError> {
        let mut places = vec![Some(0usize); n];
        for (axis, extent) in view.dims.iter().enumerate() {
            let at = |i: usize| match self.peek(step, first + axis) {
                Some(Value::I32(x)) => Some(*x),
                Some(Value::TileI(t)) => t.get(i).copied(),
                _ => None,
            };
            for (i, place) in places.iter_mut().enumerate() {
                let Some(at) = at(i) else { return Err(self.malformed(step)) };
                let inside = usize::try_from(at).ok().filter(|at| at < extent);
                *place = place.zip(inside).map(|(before, at)| before * extent + at);
            }
        }
        Ok(places)
    }
}

pub(super) fn gather(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    let view = run.array(step)?;
    let n = step.shape[0] * step.shape[1];
    let places = run.peek_places(step, 1, view, n)?;
    fn read<T: Element>(run: &mut Run<'_>, view: &View, places: &[Option<usize>], get: impl Fn(usize) -> T) -> Value {
        let each = |p: &Option<usize>| p.map(|p| get(view.offset + p)).unwrap_or_default();
        let out = run.pool.build(places.len(), |out: &mut [T]| {
            out.iter_mut().zip(places).for_each(|(o, p)| *o = each(p));
        });
        T::value(Operand::Tile(out))
    }
    let real = |at: usize| {
        let mut one = [0.0];
        view.array.copy_f32(at, &mut one);
        one[0]
    };
    let int = |at: usize| {
        let mut one = [0];
        view.array.copy_i32(at, &mut one);
        one[0]
    };
    Ok(match class(view.array.dtype()) {
        Class::Real => read(run, view, &places, real),
        Class::Int => read(run, view, &places, int),
        Class::Truth => read(run, view, &places, |at| u8::from(int(at) != 0)),
    })
}

/// Writes elements at their indices.
pub(super) fn scatter(run: &mut Run<'_>, step: &Step) -> Result<(), InterpError> {
    let old = match class(run.array(step)?.array.dtype()) {
        Class::Real => {
            let x = run.real(step, 1)?;
            change(run, step, 2, [x], |_, [x]| x.to_bits(), f32::from_bits)
        }
        Class::Int => {
            let x = run.int(step, 1)?;
            change(run, step, 2, [x], |_, [x]| x as u32, |old| old as i32)
        }
        Class::Truth => {
            let x = run.truth(step, 1)?;
            change(run, step, 2, [x], |_, [x]| u32::from(x), |old| u8::from(old != 0))
        }
    }?;
    run.pool.recycle(old);
    Ok(())
}

/// Joins elements with those at their indices; gives what was there.
pub(super) fn atomic(run: &mut Run<'_>, step: &Step, op: AtomicOp) -> Result<Value, InterpError> {
    if class(run.array(step)?.array.dtype()) == Class::Real {
        let x = run.real(step, 1)?;
        let join = |old: u32, [x]: [f32; 1]| op.eval_real(f32::from_bits(old), x).unwrap_or(x).to_bits();
        return change(run, step, 2, [x], join, f32::from_bits);
    }
    let x = run.int(step, 1)?;
    let join = |old: u32, [x]: [i32; 1]| op.eval_int(old as i32, x).unwrap_or(x) as u32;
    change(run, step, 2, [x], join, |old| old as i32)
}

/// Puts new elements where those at their indices are the expected ones; gives what was there.
pub(super) fn cas(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    let (expected, new) = (run.int(step, 1)?, run.int(step, 2)?);
    let next = |old: u32, [expected, new]: [i32; 2]| if old as i32 == expected { new as u32 } else { old };
    change(run, step, 3, [expected, new], next, |old| old as i32)
}

/// Changes the element at each index to what `next` makes of it and the operands' elements; the indices are operands from
/// `first` on. Gives what was there before, 0 outside of the array.
fn change<T: Element, const N: usize>(
    run: &mut Run<'_>,
    step: &Step,
    first: usize,
    x: [Operand<T>; N],
    next: impl Fn(u32, [T; N]) -> u32,
    seen: impl Fn(u32) -> T,
) -> Result<Value, InterpError> {
    let view = run.array(step)?;
    let Some(shape) = step.ins.get(1).map(|x| x.shape) else { return Err(run.malformed(step)) };
    let places = run.peek_places(step, first, view, shape[0] * shape[1])?;
    let mut writable = true;
    let out = run.pool.build(places.len(), |out: &mut [T]| {
        for (i, (place, out)) in places.iter().zip(out).enumerate() {
            *out = T::default();
            let Some(place) = place else { continue };
            let elements = std::array::from_fn(|n| match &x[n] {
                Operand::One(x) => *x,
                Operand::Tile(t) => t[i],
            });
            let Some([cell]) = view.array.cells(view.offset + place, 1) else {
                writable = false;
                continue;
            };
            // Other work items may change the element in between.
            let mut old = cell.load(Relaxed);
            while let Err(now) = cell.compare_exchange_weak(old, next(old, elements), Relaxed, Relaxed) {
                old = now;
            }
            *out = seen(old);
        }
    });
    for x in x {
        if let Operand::Tile(t) = x {
            T::give(run.pool, t);
        }
    }
    if writable { Ok(T::value(Operand::Tile(out))) } else { Err(run.malformed(step)) }
}
