//! Elementwise ops and conversions.

use super::InterpError;
use super::exec::Run;
use super::number::{float_to_int, round_all, round_to, wrap_int};
use super::prepare::Step;
use super::value::{Element, Operand, Pool, Value, compare, convert, map, own, select as choose, zip, zip3};
use crate::dtype::DType;
use crate::ir::{BinaryOp, CmpOp, Map, TernaryOp, UnaryOp, Zip, Zip3};

/// How a value is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Real,
    Int,
    Truth,
}

/// How values of an element type are held.
pub(super) fn class(d: DType) -> Class {
    match d {
        DType::Bool => Class::Truth,
        d if d.is_int() => Class::Int,
        _ => Class::Real,
    }
}

impl Run<'_> {
    /// How an operand is held.
    fn class_of(&self, step: &Step, i: usize) -> Class {
        match self.peek(step, i) {
            Some(Value::I32(_) | Value::TileI(_)) => Class::Int,
            Some(Value::Bool(_) | Value::TileB(_)) => Class::Truth,
            _ => Class::Real,
        }
    }

    /// Whether values of an element type are kept as they are.
    fn keeps(&self, dtype: DType) -> bool {
        dtype == DType::F32 || (self.bound.exact && matches!(dtype, DType::Bf16 | DType::F16))
    }

    /// Rounds a result, which nobody else holds, to its element type.
    fn rounded(&self, dtype: DType, x: Operand<f32>) -> Value {
        f32::value(match x {
            x if self.keeps(dtype) => x,
            Operand::One(x) => Operand::One(round_to(dtype, x)),
            Operand::Tile(mut t) => {
                round_all(dtype, own(&mut t));
                Operand::Tile(t)
            }
        })
    }
}

/// Operands that wait for an op's meaning.
struct Operands<'p, T>(&'p mut Pool, Operand<T>, Operand<T>);

/// An operand that waits for an op's meaning.
struct Single<'p, T>(&'p mut Pool, Operand<T>);

macro_rules! meanings {
    ($($t:ty),*) => {$(
        impl Map<$t> for Single<'_, $t> {
            type Out = Operand<$t>;
            fn with(self, f: impl Fn($t) -> $t) -> Operand<$t> {
                map(self.0, self.1, f)
            }
        }
        impl Zip<$t> for Operands<'_, $t> {
            type Out = Operand<$t>;
            fn with(self, f: impl Fn($t, $t) -> $t) -> Operand<$t> {
                zip(self.0, self.1, self.2, f)
            }
        }
        impl Zip<$t, bool> for Operands<'_, $t> {
            type Out = Operand<u8>;
            fn with(self, f: impl Fn($t, $t) -> bool) -> Operand<u8> {
                compare(self.0, self.1, self.2, f)
            }
        }
    )*};
}
meanings!(f32, i32);

impl Map<f32, i32> for Single<'_, f32> {
    type Out = Operand<i32>;
    fn with(self, f: impl Fn(f32) -> i32) -> Operand<i32> {
        convert(self.0, self.1, f)
    }
}

impl Map<i32, f32> for Single<'_, i32> {
    type Out = Operand<f32>;
    fn with(self, f: impl Fn(i32) -> f32) -> Operand<f32> {
        convert(self.0, self.1, f)
    }
}

/// Truth values are carried as bytes.
impl Map<bool> for Single<'_, u8> {
    type Out = Operand<u8>;
    fn with(self, f: impl Fn(bool) -> bool) -> Operand<u8> {
        map(self.0, self.1, |x| f(x != 0) as u8)
    }
}

impl Zip<bool, bool> for Operands<'_, u8> {
    type Out = Operand<u8>;
    fn with(self, f: impl Fn(bool, bool) -> bool) -> Operand<u8> {
        zip(self.0, self.1, self.2, |x, y| f(x != 0, y != 0) as u8)
    }
}

/// Three operands that wait for an op's meaning.
struct Triple<'p>(&'p mut Pool, [Operand<f32>; 3]);

impl Zip3 for Triple<'_> {
    type Out = Operand<f32>;
    fn with(self, f: impl Fn(f32, f32, f32) -> f32) -> Operand<f32> {
        zip3(self.0, self.1, f)
    }
}

pub(super) fn unary(run: &mut Run<'_>, step: &Step, op: UnaryOp) -> Result<Value, InterpError> {
    match run.class_of(step, 0) {
        Class::Real => {
            let x = run.real(step, 0)?;
            if step.dtype == DType::I32 {
                let bits = op.bits(Single(&mut *run.pool, x));
                return bits.map(i32::value).ok_or_else(|| run.malformed(step));
            }
            match op.real(Single(&mut *run.pool, x)) {
                Some(y) => Ok(run.rounded(step.dtype, y)),
                None => Err(run.malformed(step)),
            }
        }
        Class::Int => {
            let x = run.int(step, 0)?;
            if step.dtype == DType::F32 {
                let number = op.number(Single(&mut *run.pool, x));
                return number.map(f32::value).ok_or_else(|| run.malformed(step));
            }
            op.int(Single(&mut *run.pool, x)).map(i32::value).ok_or_else(|| run.malformed(step))
        }
        Class::Truth => {
            let x = run.truth(step, 0)?;
            op.truth(Single(&mut *run.pool, x)).map(u8::value).ok_or_else(|| run.malformed(step))
        }
    }
}

pub(super) fn binary(run: &mut Run<'_>, step: &Step, op: BinaryOp) -> Result<Value, InterpError> {
    match run.class_of(step, 0) {
        Class::Real => {
            let (a, b) = (run.real(step, 0)?, run.real(step, 1)?);
            match op.real(Operands(&mut *run.pool, a, b)) {
                Some(y) => Ok(run.rounded(step.dtype, y)),
                None => Err(run.malformed(step)),
            }
        }
        Class::Int => {
            let (a, b) = (run.int(step, 0)?, run.int(step, 1)?);
            op.int(Operands(&mut *run.pool, a, b)).map(i32::value).ok_or_else(|| run.malformed(step))
        }
        Class::Truth => {
            let (a, b) = (run.truth(step, 0)?, run.truth(step, 1)?);
            op.truth(Operands(&mut *run.pool, a, b)).map(u8::value).ok_or_else(|| run.malformed(step))
        }
    }
}

pub(super) fn ternary(run: &mut Run<'_>, step: &Step, op: TernaryOp) -> Result<Value, InterpError> {
    let operands = [run.real(step, 0)?, run.real(step, 1)?, run.real(step, 2)?];
    let y = op.real(Triple(&mut *run.pool, operands));
    Ok(run.rounded(step.dtype, y))
}

pub(super) fn cmp(run: &mut Run<'_>, step: &Step, op: CmpOp) -> Result<Value, InterpError> {
    Ok(u8::value(match run.class_of(step, 0) {
        Class::Real => {
            let (a, b) = (run.real(step, 0)?, run.real(step, 1)?);
            op.real(Operands(&mut *run.pool, a, b))
        }
        Class::Int => {
            let (a, b) = (run.int(step, 0)?, run.int(step, 1)?);
            op.int(Operands(&mut *run.pool, a, b))
        }
        Class::Truth => {
            let (a, b) = (run.truth(step, 0)?, run.truth(step, 1)?);
            op.truth(Operands(&mut *run.pool, a, b))
        }
    }))
}

pub(super) fn select(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    let c = run.truth(step, 0)?;
    match run.class_of(step, 1) {
        Class::Real => {
            let (a, b) = (run.real(step, 1)?, run.real(step, 2)?);
            Ok(f32::value(choose(run.pool, c, a, b)))
        }
        Class::Int => {
            let (a, b) = (run.int(step, 1)?, run.int(step, 2)?);
            Ok(i32::value(choose(run.pool, c, a, b)))
        }
        Class::Truth => {
            let (a, b) = (run.truth(step, 1)?, run.truth(step, 2)?);
            Ok(u8::value(choose(run.pool, c, a, b)))
        }
    }
}

pub(super) fn cast(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    let to = step.dtype;
    match (run.class_of(step, 0), class(to)) {
        (Class::Real, Class::Real) => {
            let mut x = run.real(step, 0)?;
            // Every value of 8 bits and fewer is one of bf16 too.
            if run.keeps(to) || (to == DType::Bf16 && step.in_dtype.bits() <= 8) {
                return Ok(f32::value(x));
            }
            if let Operand::Tile(t) = &mut x
                && std::rc::Rc::get_mut(t).is_none()
            {
                x = map(run.pool, x, |x| x);
            }
            Ok(run.rounded(to, x))
        }
        (Class::Real, Class::Int) => {
            let x = run.real(step, 0)?;
            Ok(i32::value(convert(run.pool, x, |x| float_to_int(to, x))))
        }
        (Class::Real, Class::Truth) => {
            let x = run.real(step, 0)?;
            Ok(u8::value(convert(run.pool, x, |x| (x != 0.0) as u8)))
        }
        (Class::Int, Class::Real) => {
            let x = run.int(step, 0)?;
            let y = convert(run.pool, x, |x| x as f32);
            Ok(run.rounded(to, y))
        }
        (Class::Int, Class::Int) => {
            let x = run.int(step, 0)?;
            Ok(i32::value(map(run.pool, x, |x| wrap_int(to, x))))
        }
        (Class::Int, Class::Truth) => {
            let x = run.int(step, 0)?;
            Ok(u8::value(convert(run.pool, x, |x| (x != 0) as u8)))
        }
        (Class::Truth, Class::Real) => {
            let x = run.truth(step, 0)?;
            let y = convert(run.pool, x, |x| x as f32);
            Ok(run.rounded(to, y))
        }
        (Class::Truth, Class::Int) => {
            let x = run.truth(step, 0)?;
            Ok(i32::value(convert(run.pool, x, |x| x as i32)))
        }
        (Class::Truth, Class::Truth) => Ok(run.take(step, 0)),
    }
}
