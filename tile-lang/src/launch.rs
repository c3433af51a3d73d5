//! What is known of a launch before it runs: the grid of work items and the `require!` clauses.

use crate::dtype::DType;
use crate::ir::{BinaryOp, CmpOp, Kernel, Literal, OpKind, UnaryOp, ValueId};

/// An argument, as far as the host looks at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LaunchArg<'a> {
    /// Extents of an array.
    Dims(&'a [usize]),
    /// A number.
    F32(f32),
    /// A number.
    I32(i32),
    /// A truth value.
    Bool(bool),
}

/// A launch that the kernel does not allow.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A `require!` clause does not hold.
    #[error("kernel `{kernel}` requires `{clause}` ({file}:{line})")]
    Require {
        /// Kernel name.
        kernel: String,
        /// The clause as written.
        clause: String,
        /// Source file.
        file: String,
        /// Line of the clause.
        line: u32,
    },
    /// The grid is unusable.
    #[error("kernel `{kernel}`: {message}")]
    Grid {
        /// Kernel name.
        kernel: String,
        /// What is wrong.
        message: String,
    },
}

/// Extents of the grid of work items (empty product: one item, for a kernel without `work`), after all `require!`
/// clauses were checked. Where the kernel's schedule pins a cluster, the last axis is the rank in it.
///
/// # Errors
/// A clause fails, an extent is negative or depends on something that only the device knows.
pub fn extents(kernel: &Kernel, args: &[LaunchArg<'_>]) -> Result<Vec<usize>, LaunchError> {
    let mut known: Vec<Option<Literal>> = vec![None; kernel.values.len()];
    for (p, a) in kernel.params.iter().zip(args) {
        known[p.value.index()] = match a {
            LaunchArg::Dims(_) => None,
            LaunchArg::F32(x) => Some(Literal::F32(*x)),
            LaunchArg::I32(x) => Some(Literal::I32(*x)),
            LaunchArg::Bool(x) => Some(Literal::Bool(*x)),
        };
    }
    let dims = |v: ValueId| {
        kernel.params.iter().zip(args).find(|(p, _)| p.value == v).and_then(|(_, a)| match a {
            LaunchArg::Dims(d) => Some(*d),
            _ => None,
        })
    };
    let grid_error = |message: String| LaunchError::Grid { kernel: kernel.name.clone(), message };
    let mut grid = Vec::new();
    let ops = kernel.launch_body().map_or(&[][..], |b| &kernel.block(b).ops);
    for &id in ops {
        let op = kernel.op(id);
        let get = |i: usize| known[op.operands[i].index()];
        let value = match &op.kind {
            OpKind::Const(l) => Some(*l),
            OpKind::Dim(axis) => dims(op.operands[0]).and_then(|d| d.get(*axis)).map(|n| Literal::I32(*n as i32)),
            OpKind::Unary(u) => get(0).and_then(|a| unary(*u, a)),
            OpKind::Binary(b) => get(0).zip(get(1)).and_then(|(x, y)| binary(*b, x, y)),
            OpKind::Ternary(t) => match (get(0), get(1), get(2)) {
                (Some(Literal::F32(x)), Some(Literal::F32(y)), Some(Literal::F32(z))) => {
                    Some(Literal::F32(t.eval_real(x, y, z)))
                }
                _ => None,
            },
            OpKind::Cmp(c) => get(0).zip(get(1)).and_then(|(x, y)| compare(*c, x, y)),
            OpKind::Select => match (get(0), get(1), get(2)) {
                (Some(Literal::Bool(c)), Some(a), Some(b)) => Some(if c { a } else { b }),
                _ => None,
            },
            OpKind::Cast => get(0).and_then(|x| cast(x, kernel.ty(op.results[0]).dtype()?)),
            OpKind::Require(clause) => {
                if get(0) == Some(Literal::Bool(false)) {
                    let file = kernel.files.get(op.span.file as usize).cloned().unwrap_or_default();
                    let (kernel, clause, line) = (kernel.name.clone(), clause.clone(), op.span.line);
                    return Err(LaunchError::Require { kernel, clause, file, line });
                }
                None
            }
            OpKind::Work => {
                for i in 0..op.operands.len() {
                    match get(i) {
                        Some(Literal::I32(n)) if n >= 0 => grid.push(n as usize),
                        Some(Literal::I32(n)) => return Err(grid_error(format!("grid extent {i} is {n}"))),
                        _ => return Err(grid_error(format!("grid extent {i} is not known before the launch"))),
                    }
                }
                let cluster = kernel.schedule.as_ref().map_or(1, |s| s.cluster_size());
                if cluster > 1 && !grid.is_empty() {
                    grid[0] = grid[0].div_ceil(cluster);
                    grid.push(cluster);
                }
                None
            }
            _ => None,
        };
        if let (Some(v), Some(r)) = (value, op.results.first()) {
            known[r.index()] = Some(v);
        }
    }
    if grid.iter().try_fold(1usize, |a, n| a.checked_mul(*n)).is_none_or(|n| n > i32::MAX as usize) {
        return Err(grid_error(format!("a grid of {grid:?} items")));
    }
    Ok(grid)
}

fn unary(op: UnaryOp, a: Literal) -> Option<Literal> {
    match a {
        Literal::I32(x) => op.eval_int(x).map(Literal::I32),
        Literal::Bool(x) => op.eval_truth(x).map(Literal::Bool),
        Literal::F32(x) => op.eval_real(x).map(Literal::F32),
    }
}

fn binary(op: BinaryOp, a: Literal, b: Literal) -> Option<Literal> {
    match (a, b) {
        (Literal::I32(x), Literal::I32(y)) => op.eval_int(x, y).map(Literal::I32),
        (Literal::Bool(x), Literal::Bool(y)) => op.eval_truth(x, y).map(Literal::Bool),
        (Literal::F32(x), Literal::F32(y)) => op.eval_real(x, y).map(Literal::F32),
        _ => None,
    }
}

fn compare(op: CmpOp, a: Literal, b: Literal) -> Option<Literal> {
    Some(Literal::Bool(match (a, b) {
        (Literal::I32(x), Literal::I32(y)) => op.eval_int(x, y),
        (Literal::F32(x), Literal::F32(y)) => op.eval_real(x, y),
        (Literal::Bool(x), Literal::Bool(y)) => op.eval_truth(x, y),
        _ => return None,
    }))
}

fn cast(x: Literal, to: DType) -> Option<Literal> {
    match (x, to) {
        (Literal::I32(i), DType::F32) => Some(Literal::F32(i as f32)),
        (Literal::F32(f), DType::I32) => Some(Literal::I32(f as i32)),
        (Literal::Bool(b), DType::I32) => Some(Literal::I32(i32::from(b))),
        _ => None,
    }
}
