//! Products of operands with block scales: what they mean.
//!
//! Every element of an operand counts times the scale of its block of terms; a scale has no sign, and where E4M3 stores one nobody
//! looks at it. The scaled elements are exact in f32 as long as
//! their exponents fit (scales are powers of two, or E4M3 times E2M1), so the only roundings are those of the sum.

use super::InterpError;
use super::exec::Run;
use super::mma::{Mat, mma as product};
use super::prepare::Step;
use super::value::{Strided, Value, own};
use crate::dtype::DType;
use std::rc::Rc;

/// Strides of an operand: from one row of A or column of B to the next, and from one term to the next.
#[derive(Clone, Copy)]
struct Along {
    outer: usize,
    term: usize,
}

/// `(accumulator, a, b, scales of a, scales of b)`.
pub(super) fn mma(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    if step.ins.len() != 5 || step.dtype != DType::F32 {
        return Err(run.malformed(step));
    }
    let acc = run.real(step, 0)?;
    let mut acc = run.elements(step, 0, acc);
    if Rc::get_mut(&mut acc).is_none() {
        acc = run.pool.build(acc.len(), |out: &mut [f32]| out.copy_from_slice(&acc));
    }
    let ([m, n], k) = (step.shape, step.ins[1].shape[1]);
    let rows = |x: &Strided| Along { outer: x.row, term: x.col };
    let columns = |x: &Strided| Along { outer: x.col, term: x.row };
    let a = scaled(run, step, [1, 3], [m, k], step.ins[3].shape[1], rows)?;
    let b = scaled(run, step, [2, 4], [n, k], step.ins[4].shape[0], columns)?;
    product(own(&mut acc), [m, n, k], Mat { data: &a, row: k, col: 1 }, Mat { data: &b, row: 1, col: k });
    run.pool.recycle(Value::TileF(a));
    run.pool.recycle(Value::TileF(b));
    Ok(Value::TileF(acc))
}

/// An operand times its scales, the `k` terms of each row or column together.
fn scaled(
    run: &mut Run<'_>,
    step: &Step,
    [operand, scales]: [usize; 2],
    [outer, k]: [usize; 2],
    blocks: usize,
    along: impl Fn(&Strided) -> Along,
) -> Result<Rc<Vec<f32>>, InterpError> {
    if blocks == 0 || !k.is_multiple_of(blocks) {
        return Err(run.malformed(step));
    }
    let (x, s) = (run.strided(step, operand)?, run.strided(step, scales)?);
    let (of_x, of_s, block) = (along(&x), along(&s), k / blocks);
    let out = run.pool.build(outer * k, |out: &mut [f32]| {
        for (o, line) in out.chunks_exact_mut(k).enumerate() {
            for (b, line) in line.chunks_exact_mut(block).enumerate() {
                let scale = s.data[s.offset + o * of_s.outer + b * of_s.term].abs();
                let first = x.offset + o * of_x.outer + b * block * of_x.term;
                line.iter_mut().enumerate().for_each(|(p, y)| *y = x.data[first + p * of_x.term] * scale);
            }
        }
    });
    run.pool.recycle(Value::View(x));
    run.pool.recycle(Value::View(s));
    Ok(out)
}
