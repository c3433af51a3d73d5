//! Elementwise ops and conversions.

use super::InterpError;
use super::exec::Run;
use super::number::{float_to_int, round_all, round_to, wrap_int};
use super::prepare::Step;
use super::value::{Element, Operand, Value, compare, convert, map, own, select as choose, zip};
use crate::dtype::DType;
use crate::ir::{BinaryOp, CmpOp, UnaryOp};

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

/// The smaller; of a NaN and a number, the number.
#[inline(always)]
pub(super) fn min_number(a: f32, b: f32) -> f32 {
    a.min(b)
}

/// The larger; of a NaN and a number, the number.
#[inline(always)]
pub(super) fn max_number(a: f32, b: f32) -> f32 {
    a.max(b)
}

pub(super) fn unary(run: &mut Run<'_>, step: &Step, op: UnaryOp) -> Result<Value, InterpError> {
    match run.class_of(step, 0) {
        Class::Real => {
            let x = run.real(step, 0)?;
            let p = &mut *run.pool;
            let y = match op {
                UnaryOp::Neg => map(p, x, |x| -x),
                UnaryOp::Abs => map(p, x, f32::abs),
                UnaryOp::Exp => map(p, x, f32::exp),
                UnaryOp::Exp2 => map(p, x, f32::exp2),
                UnaryOp::Ln => map(p, x, f32::ln),
                UnaryOp::Log2 => map(p, x, f32::log2),
                UnaryOp::Sqrt => map(p, x, f32::sqrt),
                UnaryOp::Rsqrt => map(p, x, |x| 1.0 / x.sqrt()),
                UnaryOp::Recip => map(p, x, f32::recip),
                UnaryOp::Sin => map(p, x, f32::sin),
                UnaryOp::Cos => map(p, x, f32::cos),
                UnaryOp::Floor => map(p, x, f32::floor),
                UnaryOp::ToBits => return Ok(i32::value(convert(p, x, |x| x.to_bits() as i32))),
                UnaryOp::Not | UnaryOp::FromBits => return Err(run.malformed(step)),
            };
            Ok(run.rounded(step.dtype, y))
        }
        Class::Int => {
            let x = run.int(step, 0)?;
            let p = &mut *run.pool;
            Ok(i32::value(match op {
                UnaryOp::Neg => map(p, x, i32::wrapping_neg),
                UnaryOp::Abs => map(p, x, i32::wrapping_abs),
                UnaryOp::Not => map(p, x, |x| !x),
                UnaryOp::FromBits => return Ok(f32::value(convert(p, x, |x| f32::from_bits(x as u32)))),
                _ => return Err(run.malformed(step)),
            }))
        }
        Class::Truth if op == UnaryOp::Not => {
            let x = run.truth(step, 0)?;
            Ok(u8::value(map(run.pool, x, |x| (x == 0) as u8)))
        }
        Class::Truth => Err(run.malformed(step)),
    }
}

pub(super) fn binary(run: &mut Run<'_>, step: &Step, op: BinaryOp) -> Result<Value, InterpError> {
    match run.class_of(step, 0) {
        Class::Real => {
            let (a, b) = (run.real(step, 0)?, run.real(step, 1)?);
            let p = &mut *run.pool;
            let y = match op {
                BinaryOp::Add => zip(p, a, b, |x, y| x + y),
                BinaryOp::Sub => zip(p, a, b, |x, y| x - y),
                BinaryOp::Mul => zip(p, a, b, |x, y| x * y),
                BinaryOp::Div => zip(p, a, b, |x, y| x / y),
                BinaryOp::Min => zip(p, a, b, min_number),
                BinaryOp::Max => zip(p, a, b, max_number),
                _ => return Err(run.malformed(step)),
            };
            Ok(run.rounded(step.dtype, y))
        }
        Class::Int => {
            let (a, b) = (run.int(step, 0)?, run.int(step, 1)?);
            let p = &mut *run.pool;
            Ok(i32::value(match op {
                BinaryOp::Add => zip(p, a, b, i32::wrapping_add),
                BinaryOp::Sub => zip(p, a, b, i32::wrapping_sub),
                BinaryOp::Mul => zip(p, a, b, i32::wrapping_mul),
                BinaryOp::Div => zip(p, a, b, |x, y| if y == 0 { 0 } else { x.wrapping_div(y) }),
                BinaryOp::Rem => zip(p, a, b, |x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }),
                BinaryOp::Min => zip(p, a, b, i32::min),
                BinaryOp::Max => zip(p, a, b, i32::max),
                BinaryOp::And => zip(p, a, b, |x, y| x & y),
                BinaryOp::Or => zip(p, a, b, |x, y| x | y),
                BinaryOp::Xor => zip(p, a, b, |x, y| x ^ y),
                BinaryOp::Shl => zip(p, a, b, |x, y| x << (y & 31)),
                BinaryOp::Shr => zip(p, a, b, |x, y| x >> (y & 31)),
                BinaryOp::ShrLogical => zip(p, a, b, |x, y| (x as u32 >> (y & 31)) as i32),
                BinaryOp::MulHigh => zip(p, a, b, |x, y| ((x as u32 as u64 * y as u32 as u64) >> 32) as i32),
            }))
        }
        Class::Truth => {
            let (a, b) = (run.truth(step, 0)?, run.truth(step, 1)?);
            let p = &mut *run.pool;
            Ok(u8::value(match op {
                BinaryOp::And => zip(p, a, b, |x, y| x & y),
                BinaryOp::Or => zip(p, a, b, |x, y| x | y),
                BinaryOp::Xor => zip(p, a, b, |x, y| x ^ y),
                _ => return Err(run.malformed(step)),
            }))
        }
    }
}

pub(super) fn cmp(run: &mut Run<'_>, step: &Step, op: CmpOp) -> Result<Value, InterpError> {
    fn go<T: Element + PartialOrd>(run: &mut Run<'_>, op: CmpOp, a: Operand<T>, b: Operand<T>) -> Value {
        let p = &mut *run.pool;
        u8::value(match op {
            CmpOp::Lt => compare(p, a, b, |x, y| x < y),
            CmpOp::Le => compare(p, a, b, |x, y| x <= y),
            CmpOp::Gt => compare(p, a, b, |x, y| x > y),
            CmpOp::Ge => compare(p, a, b, |x, y| x >= y),
            CmpOp::Eq => compare(p, a, b, |x, y| x == y),
            CmpOp::Ne => compare(p, a, b, |x, y| x != y),
        })
    }
    match run.class_of(step, 0) {
        Class::Real => {
            let (a, b) = (run.real(step, 0)?, run.real(step, 1)?);
            Ok(go(run, op, a, b))
        }
        Class::Int => {
            let (a, b) = (run.int(step, 0)?, run.int(step, 1)?);
            Ok(go(run, op, a, b))
        }
        Class::Truth => {
            let (a, b) = (run.truth(step, 0)?, run.truth(step, 1)?);
            Ok(go(run, op, a, b))
        }
    }
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
            Ok(f32::value(convert(run.pool, x, |x| x as f32)))
        }
        (Class::Truth, Class::Int) => {
            let x = run.truth(step, 0)?;
            Ok(i32::value(convert(run.pool, x, |x| x as i32)))
        }
        (Class::Truth, Class::Truth) => Ok(run.take(step, 0)),
    }
}
