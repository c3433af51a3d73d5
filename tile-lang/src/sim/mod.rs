//! The simulator: a plan run on the CPU, instruction by instruction, with the interpreter's tile semantics.
//!
//! It is the default device. [`SimExecutor`] holds arrays in place of device memory; the work items of an instruction
//! run in parallel, instructions one after another.

use crate::exec::{Data, ExecError, Executor, Mailbox, RunStats, WeightSource};
use crate::interp::{ArgValue, Array, ArrayError, Options, Owner, Prepared, View};
use crate::plan::{Buffer, ElementRef, Operand, Plan, Visibility};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Instant;

pub mod checked;

pub use crate::interp::Precision;

/// A plan with its weights on the CPU.
#[derive(Debug)]
pub struct SimExecutor {
    plan: Plan,
    kernels: Vec<Prepared>,
    buffers: Vec<Arc<Array>>,
    weights: Vec<Arc<Array>>,
    /// Arguments of each instruction.
    args: Vec<Vec<ArgValue>>,
    options: Options,
}

impl SimExecutor {
    /// Prepares a linked plan: weights are fetched from `source`, buffers are zero.
    ///
    /// # Errors
    /// A kernel that is not well-formed, a weight that can't be had or has the wrong size, an inconsistent plan.
    pub fn new(plan: Plan, source: &dyn WeightSource, precision: Precision) -> Result<Self, ExecError> {
        Self::prepare(plan, source, precision, None)
    }

    /// Prepares another plan over this one's arrays: buffers and weights that both plans declare alike, name included, are one.
    ///
    /// # Errors
    /// As [`SimExecutor::new`].
    pub fn beside(&self, plan: Plan, source: &dyn WeightSource) -> Result<Self, ExecError> {
        Self::prepare(plan, source, self.options.precision, Some(self))
    }

    fn prepare(
        plan: Plan,
        source: &dyn WeightSource,
        precision: Precision,
        first: Option<&SimExecutor>,
    ) -> Result<Self, ExecError> {
        let program = |message: String| ExecError::Program(message);
        let kernels = plan.kernels.iter().map(Prepared::new).collect::<Result<Vec<_>, _>>();
        let kernels = kernels.map_err(|e| program(e.to_string()))?;
        let shared = |b: &Buffer| {
            let first = first?;
            first.plan.buffers.iter().position(|other| other == b).map(|at| first.buffers[at].clone())
        };
        let new = |b: &Buffer| Arc::new(Array::zeros(b.dtype, b.dims.clone()));
        let buffers: Vec<_> = plan.buffers.iter().map(|b| shared(b).unwrap_or_else(|| new(b))).collect();
        let mut weights = Vec::with_capacity(plan.weights.len());
        for w in &plan.weights {
            let there = first.and_then(|f| Some((f, f.plan.weights.iter().position(|other| other == w)?)));
            if let Some((first, at)) = there {
                weights.push(first.weights[at].clone());
                continue;
            }
            let fail = |message: String| program(format!("weight `{}`: {message}", w.name));
            let bytes = source.bytes(&w.name).map_err(fail)?;
            let need = w.dtype.bytes(w.dims.iter().product());
            if bytes.len() != need {
                return Err(fail(format!("{:?} {} take {need} bytes, got {}", w.dims, w.dtype, bytes.len())));
            }
            let owner: Owner = Arc::new(bytes.into_owned());
            let array = Array::from_bytes(w.dtype, w.dims.clone(), owner, 0).map_err(|e| fail(e.to_string()))?;
            weights.push(Arc::new(array));
        }
        let mut args = Vec::with_capacity(plan.program.len());
        for instr in &plan.program {
            let bound = instr.operands.iter().map(|operand| bind(operand, &buffers, &weights));
            let bound = bound.collect::<Result<_, _>>().map_err(|e| program(format!("`{}`: {e}", instr.label)))?;
            args.push(bound);
        }
        Ok(SimExecutor { plan, kernels, buffers, weights, args, options: Options { precision } })
    }

    /// Where values are rounded.
    pub fn precision(&self) -> Precision {
        self.options.precision
    }

    /// The buffers' contents.
    pub(crate) fn arrays(&self) -> &[Arc<Array>] {
        &self.buffers
    }

    /// Arguments of each instruction.
    pub(crate) fn args(&self) -> &[Vec<ArgValue>] {
        &self.args
    }

    /// An element that the program uses as a flag.
    pub(crate) fn read_flag(&self, flag: ElementRef) -> Result<i32, ExecError> {
        let mut value = [0];
        self.buffer(flag.buffer)?.read_i32(flag.element, &mut value).map_err(|e| self.access(flag.buffer, &e))?;
        Ok(value[0])
    }

    /// Lets the host look between two passes; whether it cancels.
    pub(crate) fn observe(
        &self,
        observe: &mut dyn FnMut(&mut dyn Mailbox) -> ControlFlow<()>,
    ) -> Result<bool, ExecError> {
        let mut mailbox = SimMailbox { sim: self, fault: None };
        let cancelled = observe(&mut mailbox).is_break();
        mailbox.fault.map_or(Ok(cancelled), Err)
    }

    fn access(&self, buffer: usize, error: &ArrayError) -> ExecError {
        let name = self.plan.buffers.get(buffer).map_or_else(|| format!("#{buffer}"), |b| b.name.clone());
        ExecError::Access { buffer: name, message: error.to_string() }
    }

    fn buffer(&self, buffer: usize) -> Result<&Array, ExecError> {
        self.buffers.get(buffer).map(|b| &**b).ok_or_else(|| ExecError::Access {
            buffer: format!("#{buffer}"),
            message: format!("the plan has {} buffers", self.buffers.len()),
        })
    }

    fn pass(&self, range: Range<usize>) -> Result<(), ExecError> {
        for (instr, args) in self.plan.program[range.clone()].iter().zip(&self.args[range]) {
            let launched = self.kernels[instr.kernel].launch(args, self.options);
            launched.map_err(|e| ExecError::Program(format!("`{}`: {e}", instr.label)))?;
        }
        Ok(())
    }
}

fn bind(operand: &Operand, buffers: &[Arc<Array>], weights: &[Arc<Array>]) -> Result<ArgValue, String> {
    Ok(match operand {
        Operand::Buffer { id, offset, dims } => {
            let array = buffers.get(*id).ok_or_else(|| format!("there is no buffer {id}"))?;
            View::new(array.clone(), *offset, dims.clone()).map_err(|e| e.to_string())?.into()
        }
        Operand::Weight { id } => weights.get(*id).ok_or_else(|| format!("there is no weight {id}"))?.clone().into(),
        Operand::F32(x) => (*x).into(),
        Operand::I32(x) => (*x).into(),
        Operand::Bool(x) => (*x).into(),
    })
}

impl Executor for SimExecutor {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn device(&self) -> String {
        format!("sim ({} threads)", rayon::current_num_threads())
    }

    fn write(&mut self, buffer: usize, offset: usize, data: &Data) -> Result<(), ExecError> {
        let array = self.buffer(buffer)?;
        let written = match data {
            Data::F32(x) if self.options.precision == Precision::F32 => array.write_f32_unrounded(offset, x),
            Data::F32(x) => array.write_f32(offset, x),
            Data::I32(x) => array.write_i32(offset, x),
        };
        written.map_err(|e| self.access(buffer, &e))
    }

    fn read(&mut self, buffer: usize, offset: usize, len: usize) -> Result<Data, ExecError> {
        let array = self.buffer(buffer)?;
        // Looked at before anything of that size is allocated.
        if offset.checked_add(len).is_none_or(|end| end > array.len()) {
            let error = ArrayError::Outside { offset, end: offset.saturating_add(len), have: array.len() };
            return Err(self.access(buffer, &error));
        }
        let read = if array.dtype().is_float() {
            let mut out = vec![0.0; len];
            array.read_f32(offset, &mut out).map(|()| Data::F32(out))
        } else {
            let mut out = vec![0; len];
            array.read_i32(offset, &mut out).map(|()| Data::I32(out))
        };
        read.map_err(|e| self.access(buffer, &e))
    }

    fn run(
        &mut self,
        range: Range<usize>,
        max_passes: usize,
        observe: &mut dyn FnMut(&mut dyn Mailbox) -> ControlFlow<()>,
    ) -> Result<RunStats, ExecError> {
        let instructions = self.plan.program.len();
        if range.start > range.end || range.end > instructions {
            return Err(ExecError::Program(format!("instructions {range:?} of a program of {instructions}")));
        }
        let stop = self.plan.stop;
        let start = Instant::now();
        let mut stats = RunStats::default();
        for _ in 0..max_passes {
            self.pass(range.clone())?;
            stats.cancelled = self.observe(observe)?;
            if stats.cancelled || self.read_flag(stop)? != 0 {
                break;
            }
        }
        stats.elapsed = start.elapsed();
        Ok(stats)
    }
}

/// Host-visible buffers between two passes.
struct SimMailbox<'a> {
    sim: &'a SimExecutor,
    fault: Option<ExecError>,
}

impl SimMailbox<'_> {
    fn visible(&mut self, buffer: usize) -> Option<&Array> {
        let visible = self.sim.plan.buffers.get(buffer).is_some_and(|b| b.visibility == Visibility::Host);
        if !visible {
            let message = "it is not visible to the host while the program runs".into();
            self.fault = Some(ExecError::Access { buffer: format!("#{buffer}"), message });
            return None;
        }
        Some(&self.sim.buffers[buffer])
    }
}

impl Mailbox for SimMailbox<'_> {
    fn peek(&mut self, buffer: usize, element: usize) -> i32 {
        let mut out = [0];
        let read = self.visible(buffer).map_or(Ok(()), |b| b.read_i32(element, &mut out));
        self.fault = self.fault.take().or(read.err().map(|e| self.sim.access(buffer, &e)));
        out[0]
    }

    fn poke(&mut self, buffer: usize, element: usize, value: i32) {
        let written = self.visible(buffer).map_or(Ok(()), |b| b.write_i32(element, &[value]));
        self.fault = self.fault.take().or(written.err().map(|e| self.sim.access(buffer, &e)));
    }
}
