//! Ops that move elements within a tile, reductions and products.

use super::InterpError;
use super::exec::Run;
use super::mma::{Mat, mma as product};
use super::number::round_tf32;
use super::prepare::Step;
use super::short;
use super::value::{Element, Operand, Strided, Value, copy_strided, own};
use crate::dtype::DType;
use crate::ir::{BinaryOp, CmpOp, Fold, ReduceOp, Zip};
use std::rc::Rc;

impl Run<'_> {
    /// The elements of an operand of a known kind.
    pub(super) fn elements<T: Element>(&mut self, step: &Step, i: usize, x: Operand<T>) -> Rc<Vec<T>> {
        match x {
            Operand::Tile(t) => t,
            Operand::One(x) => self.pool.build(step.ins[i].shape.iter().product(), |out| out.fill(x)),
        }
    }

    /// A real tile in whatever order it lies.
    pub(super) fn strided(&mut self, step: &Step, i: usize) -> Result<Strided, InterpError> {
        match self.take(step, i) {
            Value::View(v) => Ok(v),
            Value::TileF(data) => Ok(Strided { data, offset: 0, row: step.ins[i].shape[1], col: 1 }),
            Value::F32(x) => {
                let data = self.elements(step, i, Operand::One(x));
                Ok(Strided { data, offset: 0, row: step.ins[i].shape[1], col: 1 })
            }
            _ => Err(self.malformed(step)),
        }
    }
}

/// Evaluates `$body` with the operand as a real, an integer or a truth tile.
macro_rules! any_kind {
    ($run:ident, $step:ident, $x:ident => $body:expr) => {
        match $run.peek($step, 0) {
            Some(Value::I32(_) | Value::TileI(_)) => {
                let $x = $run.int($step, 0)?;
                i32::value($body)
            }
            Some(Value::Bool(_) | Value::TileB(_)) => {
                let $x = $run.truth($step, 0)?;
                u8::value($body)
            }
            _ => {
                let $x = $run.real($step, 0)?;
                f32::value($body)
            }
        }
    };
}

pub(super) fn iota(run: &mut Run<'_>, step: &Step, axis: usize) -> Value {
    let [rows, cols] = step.shape;
    // One axis lies along the columns.
    let along_rows = axis == 0 && step.axes == 2;
    Value::TileI(run.pool.build(rows * cols, |out: &mut [i32]| {
        for (r, row) in out.chunks_exact_mut(cols.max(1)).enumerate() {
            if along_rows {
                row.fill(r as i32);
            } else {
                row.iter_mut().enumerate().for_each(|(c, o)| *o = c as i32);
            }
        }
    }))
}

pub(super) fn broadcast(run: &mut Run<'_>, step: &Step, axis: usize) -> Result<Value, InterpError> {
    fn go<T: Element>(run: &mut Run<'_>, step: &Step, axis: usize, x: Operand<T>) -> Operand<T> {
        let Operand::Tile(t) = x else { return x };
        let [rows, cols] = step.shape;
        let out = run.pool.build(rows * cols, |out: &mut [T]| {
            for (r, row) in out.chunks_exact_mut(cols.max(1)).enumerate() {
                if axis == 0 { row.copy_from_slice(&t) } else { row.fill(t[r]) }
            }
        });
        T::give(run.pool, t);
        Operand::Tile(out)
    }
    Ok(any_kind!(run, step, x => go(run, step, axis, x)))
}

pub(super) fn repeat(run: &mut Run<'_>, step: &Step, times: usize) -> Result<Value, InterpError> {
    fn go<T: Element>(run: &mut Run<'_>, times: usize, x: Operand<T>) -> Operand<T> {
        let Operand::Tile(t) = x else { return x };
        let out = run.pool.build(t.len() * times, |out: &mut [T]| {
            out.chunks_exact_mut(times.max(1)).zip(t.iter()).for_each(|(o, x)| o.fill(*x));
        });
        T::give(run.pool, t);
        Operand::Tile(out)
    }
    Ok(any_kind!(run, step, x => go(run, times, x)))
}

pub(super) fn transpose(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    fn go<T: Element>(run: &mut Run<'_>, step: &Step, x: Operand<T>) -> Value {
        let Operand::Tile(t) = x else { return T::value(x) };
        let [rows, cols] = step.shape;
        let out = run.pool.build(rows * cols, |out: &mut [T]| copy_strided(&t, 1, rows, rows, cols, out));
        T::give(run.pool, t);
        T::value(Operand::Tile(out))
    }
    match run.peek(step, 0) {
        Some(Value::TileI(_)) => run.int(step, 0).map(|x| go(run, step, x)),
        Some(Value::TileB(_)) => run.truth(step, 0).map(|x| go(run, step, x)),
        Some(Value::TileF(_) | Value::View(_)) => {
            let v = run.strided(step, 0)?;
            Ok(Value::View(Strided { row: v.col, col: v.row, ..v }))
        }
        _ => Ok(run.take(step, 0)),
    }
}

pub(super) fn slice(run: &mut Run<'_>, step: &Step, offsets: &[usize]) -> Result<Value, InterpError> {
    let [top, left] = match offsets {
        [left] => [0, *left],
        [top, left] => [*top, *left],
        _ => return Err(run.malformed(step)),
    };
    if let Some(Value::TileI(_)) = run.peek(step, 0) {
        let x = run.int(step, 0)?;
        let t = run.elements(step, 0, x);
        let ([rows, cols], wide) = (step.shape, step.ins[0].shape[1]);
        let out = run.pool.build(rows * cols, |out| copy_strided(&t[top * wide + left..], wide, 1, rows, cols, out));
        return Ok(Value::TileI(out));
    }
    if matches!(run.peek(step, 0), Some(Value::I32(_) | Value::Bool(_))) {
        // A tile full of one value.
        return Ok(run.take(step, 0));
    }
    if let Some(Value::TileB(_)) = run.peek(step, 0) {
        let x = run.truth(step, 0)?;
        let t = run.elements(step, 0, x);
        let ([rows, cols], wide) = (step.shape, step.ins[0].shape[1]);
        let out = run.pool.build(rows * cols, |out| copy_strided(&t[top * wide + left..], wide, 1, rows, cols, out));
        return Ok(Value::TileB(out));
    }
    let v = run.strided(step, 0)?;
    Ok(Value::View(Strided { offset: v.offset + top * v.row + left * v.col, ..v }))
}

/// A tile's elements do not move when its shape changes.
pub(super) fn reshape(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    Ok(any_kind!(run, step, x => x))
}

pub(super) fn join(run: &mut Run<'_>, step: &Step, axis: usize) -> Result<Value, InterpError> {
    fn go<T: Element>(run: &mut Run<'_>, step: &Step, along_rows: bool, a: Operand<T>, b: Operand<T>) -> Operand<T> {
        let (a, b) = (run.elements(step, 0, a), run.elements(step, 1, b));
        let (wide, other) = (step.ins[0].shape[1].max(1), step.ins[1].shape[1].max(1));
        let out = run.pool.build(a.len() + b.len(), |out: &mut [T]| {
            if along_rows {
                out[..a.len()].copy_from_slice(&a);
                out[a.len()..].copy_from_slice(&b);
                return;
            }
            for ((out, a), b) in out.chunks_exact_mut(wide + other).zip(a.chunks_exact(wide)).zip(b.chunks_exact(other))
            {
                out[..wide].copy_from_slice(a);
                out[wide..].copy_from_slice(b);
            }
        });
        T::give(run.pool, a);
        T::give(run.pool, b);
        Operand::Tile(out)
    }
    let along_rows = axis == 0 && step.axes == 2;
    Ok(match run.peek(step, 0) {
        Some(Value::I32(_) | Value::TileI(_)) => {
            let (a, b) = (run.int(step, 0)?, run.int(step, 1)?);
            i32::value(go(run, step, along_rows, a, b))
        }
        Some(Value::Bool(_) | Value::TileB(_)) => {
            let (a, b) = (run.truth(step, 0)?, run.truth(step, 1)?);
            u8::value(go(run, step, along_rows, a, b))
        }
        _ => {
            let (a, b) = (run.real(step, 0)?, run.real(step, 1)?);
            f32::value(go(run, step, along_rows, a, b))
        }
    })
}

pub(super) fn scan(run: &mut Run<'_>, step: &Step, op: ReduceOp, axis: usize) -> Result<Value, InterpError> {
    /// A scan that waits for the op that joins two elements.
    struct Scanned<'r, 'a, 's, T>(&'r mut Run<'a>, &'s Step, bool, Rc<Vec<T>>);
    fn go<T: Element>(scanned: Scanned<'_, '_, '_, T>, f: impl Fn(T, T) -> T) -> Value {
        let Scanned(run, step, along_row, t) = scanned;
        let cols = step.shape[1].max(1);
        let out = run.pool.build(t.len(), |out: &mut [T]| {
            out.copy_from_slice(&t);
            let back = if along_row { 1 } else { cols };
            for i in back..out.len() {
                if !along_row || i % cols != 0 {
                    out[i] = f(out[i - back], out[i]);
                }
            }
        });
        T::give(run.pool, t);
        T::value(Operand::Tile(out))
    }
    impl<T: Element> Zip<T> for Scanned<'_, '_, '_, T> {
        type Out = Value;
        fn with(self, f: impl Fn(T, T) -> T) -> Value {
            go(self, f)
        }
    }
    /// Truth values are carried as bytes.
    impl Zip<bool> for Scanned<'_, '_, '_, u8> {
        type Out = Value;
        fn with(self, f: impl Fn(bool, bool) -> bool) -> Value {
            go(self, |x, y| f(x != 0, y != 0) as u8)
        }
    }
    let along_row = axis + 1 == step.in_axes;
    let Fold::Join(join) = op.fold() else { return Err(run.malformed(step)) };
    let result = match run.peek(step, 0) {
        Some(Value::I32(_) | Value::TileI(_)) => {
            let x = run.int(step, 0)?;
            let t = run.elements(step, 0, x);
            join.int(Scanned(run, step, along_row, t))
        }
        Some(Value::Bool(_) | Value::TileB(_)) => {
            let x = run.truth(step, 0)?;
            let t = run.elements(step, 0, x);
            join.truth(Scanned(run, step, along_row, t))
        }
        _ => {
            let x = run.real(step, 0)?;
            let t = run.elements(step, 0, x);
            join.real(Scanned(run, step, along_row, t))
        }
    };
    result.ok_or_else(|| run.malformed(step))
}

pub(super) fn reduce(run: &mut Run<'_>, step: &Step, op: ReduceOp, axis: usize) -> Result<Value, InterpError> {
    fn go<T: Element, U: Element>(
        run: &mut Run<'_>,
        step: &Step,
        along_row: bool,
        t: Rc<Vec<T>>,
        row_of: impl Fn(&[T]) -> U,
        start: impl Fn(T) -> U,
        next: impl Fn(U, usize, T, T) -> U,
    ) -> Value {
        let [rows, cols] = step.ins[0].shape;
        let out = if along_row {
            run.pool.build(rows, |out: &mut [U]| {
                out.iter_mut().zip(t.chunks_exact(cols.max(1))).for_each(|(o, row)| *o = row_of(row));
            })
        } else {
            let mut best: Rc<Vec<T>> = run.pool.build(cols, |out: &mut [T]| out.copy_from_slice(&t[..cols]));
            let out = run.pool.build(cols, |out: &mut [U]| {
                let best = own(&mut best);
                out.iter_mut().zip(best.iter()).for_each(|(o, x)| *o = start(*x));
                for (r, row) in t.chunks_exact(cols.max(1)).enumerate().skip(1) {
                    for ((o, best), x) in out.iter_mut().zip(best.iter_mut()).zip(row) {
                        *o = next(*o, r, *best, *x);
                        *best = *x;
                    }
                }
            });
            T::give(run.pool, best);
            out
        };
        T::give(run.pool, t);
        if step.scalar {
            let one = out.first().copied().unwrap_or_default();
            U::give(run.pool, out);
            return U::value(Operand::One(one));
        }
        U::value(Operand::Tile(out))
    }
    /// A reduction that waits for the op that joins two elements.
    struct Joined<'r, 'a, 's, T>(&'r mut Run<'a>, &'s Step, bool, Rc<Vec<T>>);
    impl<T: Element> Zip<T> for Joined<'_, '_, '_, T> {
        type Out = Value;
        fn with(self, f: impl Fn(T, T) -> T) -> Value {
            let Joined(run, step, along_row, t) = self;
            go(run, step, along_row, t, |row| lanes(row, &f), |x| x, |o, _, _, x| f(o, x))
        }
    }
    /// Truth values are carried as bytes.
    impl Zip<bool> for Joined<'_, '_, '_, u8> {
        type Out = Value;
        fn with(self, f: impl Fn(bool, bool) -> bool) -> Value {
            let Joined(run, step, along_row, t) = self;
            let f = |x: u8, y: u8| f(x != 0, y != 0) as u8;
            go(run, step, along_row, t, |row| lanes(row, f), |x| x, |o, _, _, x| f(o, x))
        }
    }
    let along_row = axis + 1 == step.in_axes;
    let join = match op.fold() {
        Fold::Join(join) => join,
        Fold::Index(wins) => return index_of(run, step, along_row, wins),
    };
    let result = match run.peek(step, 0) {
        Some(Value::I32(_) | Value::TileI(_)) => {
            let x = run.int(step, 0)?;
            let t = run.elements(step, 0, x);
            join.int(Joined(run, step, along_row, t))
        }
        Some(Value::Bool(_) | Value::TileB(_)) => {
            let x = run.truth(step, 0)?;
            let t = run.elements(step, 0, x);
            join.truth(Joined(run, step, along_row, t))
        }
        _ => {
            let x = run.real(step, 0)?;
            let t = run.elements(step, 0, x);
            if join == BinaryOp::Add {
                return Ok(go(run, step, along_row, t, sum, |x| x, |o, _, _, x| o + x));
            }
            join.real(Joined(run, step, along_row, t))
        }
    };
    result.ok_or_else(|| run.malformed(step))
}

/// Sum of a row: eight partial sums, then those from left to right.
fn sum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<8>();
    let mut parts = [0f32; 8];
    for chunk in chunks {
        for l in 0..8 {
            parts[l] += chunk[l];
        }
    }
    parts.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// A row folded in eight lanes by an operation that any order suits.
fn lanes<T: Element>(row: &[T], f: impl Fn(T, T) -> T) -> T {
    let (chunks, rest) = row.as_chunks::<8>();
    let Some((first, chunks)) = chunks.split_first() else {
        return rest.iter().copied().reduce(f).unwrap_or_default();
    };
    let mut best = *first;
    for chunk in chunks {
        for l in 0..8 {
            best[l] = f(best[l], chunk[l]);
        }
    }
    let [first, others @ ..] = best;
    others.iter().chain(rest).fold(first, |a, b| f(a, *b))
}

/// Index of the element that wins against all others, the lowest of equals; a NaN loses against every number.
fn index_of(run: &mut Run<'_>, step: &Step, along_row: bool, wins: CmpOp) -> Result<Value, InterpError> {
    /// A search that waits for the comparison.
    struct Search<'r, 'a, 's, T>(&'r mut Run<'a>, &'s Step, bool, Rc<Vec<T>>);
    impl<T: Element + PartialOrd> Zip<T, bool> for Search<'_, '_, '_, T> {
        type Out = Value;
        fn with(self, f: impl Fn(T, T) -> bool) -> Value {
            let Search(run, step, along_row, t) = self;
            let [rows, cols] = step.ins[0].shape;
            let (count, length, outer, inner) = if along_row { (rows, cols, cols, 1) } else { (cols, rows, 1, cols) };
            let nan = |x: T| x.partial_cmp(&x).is_none();
            let better = |x: T, best: T| f(x, best) || (nan(best) && !nan(x));
            let out = run.pool.build(count, |out: &mut [i32]| {
                for (i, o) in out.iter_mut().enumerate() {
                    let at = |j: usize| t[i * outer + j * inner];
                    *o = (1..length).fold(0, |best, j| if better(at(j), at(best)) { j } else { best }) as i32;
                }
            });
            T::give(run.pool, t);
            if step.scalar { Value::I32(out.first().copied().unwrap_or_default()) } else { Value::TileI(out) }
        }
    }
    if let Some(Value::I32(_) | Value::TileI(_)) = run.peek(step, 0) {
        let x = run.int(step, 0)?;
        let t = run.elements(step, 0, x);
        return Ok(wins.int(Search(run, step, along_row, t)));
    }
    let x = run.real(step, 0)?;
    let t = run.elements(step, 0, x);
    Ok(wins.real(Search(run, step, along_row, t)))
}

pub(super) fn mma(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    if step.ins.len() != 3 {
        return Err(run.malformed(step));
    }
    if step.dtype == DType::I32 {
        return integer_product(run, step);
    }
    let acc = run.real(step, 0)?;
    let mut acc = run.elements(step, 0, acc);
    if Rc::get_mut(&mut acc).is_none() {
        acc = run.pool.build(acc.len(), |out: &mut [f32]| out.copy_from_slice(&acc));
    }
    let (mut a, mut b) = (run.strided(step, 1)?, run.strided(step, 2)?);
    if step.in_dtype == DType::F32 {
        for (x, i) in [(&mut a, 1), (&mut b, 2)] {
            let [rows, cols] = step.ins[i].shape;
            let data = (0..rows * cols).map(|at| round_tf32(x.data[x.offset + at / cols * x.row + at % cols * x.col]));
            let rounded = Strided { data: Rc::new(data.collect()), offset: 0, row: cols, col: 1 };
            run.pool.recycle(Value::View(std::mem::replace(x, rounded)));
        }
    }
    let ([m, n], k) = (step.shape, step.ins[1].shape[1]);
    let mat = |v: &Strided| -> (usize, usize) { (v.row, v.col) };
    let ((ar, ac), (br, bc)) = (mat(&a), mat(&b));
    let product = if matches!(step.in_dtype, DType::E4m3 | DType::E5m2) { short::mma } else { product };
    product(
        own(&mut acc),
        [m, n, k],
        Mat { data: &a.data[a.offset..], row: ar, col: ac },
        Mat { data: &b.data[b.offset..], row: br, col: bc },
    );
    run.pool.recycle(Value::View(a));
    run.pool.recycle(Value::View(b));
    Ok(Value::TileF(acc))
}

/// A product of bytes, summed in i32.
fn integer_product(run: &mut Run<'_>, step: &Step) -> Result<Value, InterpError> {
    let (acc, a, b) = (run.int(step, 0)?, run.int(step, 1)?, run.int(step, 2)?);
    let (acc, a, b) = (run.elements(step, 0, acc), run.elements(step, 1, a), run.elements(step, 2, b));
    let ([_, n], k) = (step.shape, step.ins[1].shape[1]);
    let out = run.pool.build(acc.len(), |out: &mut [i32]| {
        out.copy_from_slice(&acc);
        for (row, a) in out.chunks_exact_mut(n.max(1)).zip(a.chunks_exact(k.max(1))) {
            for (x, b) in a.iter().zip(b.chunks_exact(n.max(1))) {
                row.iter_mut().zip(b).for_each(|(o, y)| *o = o.wrapping_add(x.wrapping_mul(*y)));
            }
        }
    });
    for buffer in [acc, a, b] {
        i32::give(run.pool, buffer);
    }
    Ok(Value::TileI(out))
}
