//! Two executors run one plan instruction by instruction. Before each instruction the second gets the first's buffers, so
//! every kernel is compared on its own inputs and errors don't add up.

use std::ops::ControlFlow;
use tile_lang::exec::{Data, ExecError, Executor};
use tile_lang::ir::{Access, Type};
use tile_lang::plan::Operand;

/// What one instruction's outputs differed by.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Position in the program.
    pub instr: usize,
    /// Its label.
    pub label: String,
    /// Kernel name.
    pub kernel: String,
    /// ‖a − b‖ / ‖a‖ over the floats it wrote; NaN where only one side is NaN.
    pub relative: f64,
    /// Integers that differ.
    pub integers: usize,
}

fn read_all(e: &mut dyn Executor) -> Result<Vec<Data>, ExecError> {
    let sizes: Vec<usize> = e.plan().buffers.iter().map(|b| b.dims.iter().product()).collect();
    sizes.iter().enumerate().map(|(i, n)| e.read(i, 0, *n)).collect()
}

/// Copies all buffers.
///
/// # Errors
/// A device failed.
pub fn copy_buffers(from: &mut dyn Executor, to: &mut dyn Executor) -> Result<(), ExecError> {
    for (i, data) in read_all(from)?.into_iter().enumerate() {
        to.write(i, 0, &data)?;
    }
    Ok(())
}

/// Runs one pass of both and compares what each instruction wrote.
///
/// # Errors
/// A device failed.
pub fn pass(reference: &mut dyn Executor, device: &mut dyn Executor) -> Result<Vec<Difference>, ExecError> {
    let count = reference.plan().program.len();
    let mut out = Vec::with_capacity(count);
    for instr in 0..count {
        copy_buffers(reference, device)?;
        let mut watch = |_: &mut dyn tile_lang::exec::Mailbox| ControlFlow::Continue(());
        reference.run(instr..instr + 1, 1, &mut watch)?;
        device.run(instr..instr + 1, 1, &mut watch)?;
        out.push(compare(reference, device, instr)?);
    }
    Ok(out)
}

fn compare(reference: &mut dyn Executor, device: &mut dyn Executor, instr: usize) -> Result<Difference, ExecError> {
    let plan = reference.plan();
    let i = &plan.program[instr];
    let kernel = &plan.kernels[i.kernel];
    let mut out = Difference { instr, label: i.label.clone(), kernel: kernel.name.clone(), relative: 0.0, integers: 0 };
    let written: Vec<(usize, usize, usize)> = i
        .operands
        .iter()
        .zip(&kernel.params)
        .filter_map(|(o, p)| match (o, kernel.ty(p.value)) {
            (Operand::Buffer { id, offset, dims }, Type::Global(_, _, Access::Write)) => {
                Some((*id, *offset, dims.iter().product()))
            }
            _ => None,
        })
        .collect();
    let (mut error, mut norm) = (0f64, 0f64);
    for (id, offset, len) in written {
        match (reference.read(id, offset, len)?, device.read(id, offset, len)?) {
            (Data::F32(a), Data::F32(b)) => {
                for (x, y) in a.iter().zip(&b) {
                    let d = f64::from(x - y);
                    if x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan()) {
                        error += d * d;
                    }
                    if x.is_finite() {
                        norm += f64::from(*x) * f64::from(*x);
                    }
                }
            }
            (Data::I32(a), Data::I32(b)) => out.integers += a.iter().zip(&b).filter(|(x, y)| x != y).count(),
            _ => out.integers += len,
        }
    }
    out.relative = if error == 0.0 { 0.0 } else { (error / norm.max(f64::MIN_POSITIVE)).sqrt() };
    Ok(out)
}
