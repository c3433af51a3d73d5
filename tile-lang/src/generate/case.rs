//! Generated kernels as plans, with what the interpreter makes of them, for other ways of running them to be compared with.
//!
//! All outputs but one must be equal to the last bit: [`super`] says why that can be asked for. What hardware
//! approximates goes to one output, whose elements may be off by a bound that is worked out for each program.

use super::arrays::{Contents, NEAR, inputs, near_bound};
use super::run::{Output, run};
use crate::dtype::DType;
use crate::exec::{Data, ExecError, Executor, WeightSource};
use crate::interp::{Array, Owner};
use crate::ir::{Access, Kernel, Type};
use crate::plan::{Buffer, Operand, Plan, Visibility, Weight};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Contents of weights by name.
#[derive(Clone, Debug, Default)]
pub struct Weights(HashMap<String, Vec<u8>>);

impl WeightSource for Weights {
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        self.0.get(name).map(|b| Cow::Borrowed(&b[..])).ok_or_else(|| format!("there is no weight `{name}`"))
    }
}

/// What an instruction must leave in a buffer.
#[derive(Clone, Debug)]
struct Expected {
    /// The instruction.
    instruction: usize,
    buffer: usize,
    /// What the interpreter wrote.
    output: Output,
    /// How far elements may be off; 0 where they must be equal.
    bound: f64,
}

/// Generated kernels, ready to run: one instruction each, with arrays of its own.
#[derive(Clone, Debug)]
pub struct Case {
    /// The instructions.
    pub plan: Plan,
    /// Contents of its weights.
    pub weights: Weights,
    /// Contents of its buffers at the start.
    start: Vec<(usize, Data)>,
    expected: Vec<Expected>,
}

/// What another machine made of a generated kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// Elements compared.
    pub elements: usize,
    /// Elements that differ though they must be equal, or by more than the bound.
    pub disagreements: usize,
    /// The largest difference of an element that may be off, as a share of its bound.
    pub worst: f64,
    /// The outputs with disagreements, and how many each has.
    pub outputs: Vec<(String, usize)>,
}

impl Case {
    /// A plan of generated kernels, each with the label that its instruction is to have. What they must give is what the
    /// interpreter makes of them as they stand.
    ///
    /// # Errors
    /// A kernel is not one of this module's, or it can't be run or made into a plan.
    pub fn new(name: &str, kernels: &[(String, Kernel)]) -> Result<Case, String> {
        let runs: Result<Vec<_>, String> =
            kernels.iter().map(|(label, k)| run(k).map_err(|e| format!("{label}: {e}"))).collect();
        Case::expecting(name, kernels, runs?)
    }

    /// As [`Case::new`], with what the kernels must give.
    ///
    /// # Errors
    /// As [`Case::new`].
    pub fn expecting(name: &str, kernels: &[(String, Kernel)], outputs: Vec<Vec<Output>>) -> Result<Case, String> {
        let mut plan = Plan::new(name);
        plan.buffers.push(buffer("stop".into(), DType::I32, vec![1]));
        let (weights, start, expected) = (Weights::default(), Vec::new(), Vec::new());
        let mut case = Case { plan, weights, start, expected };
        for ((label, kernel), outputs) in kernels.iter().zip(outputs) {
            case.push(label, kernel, outputs)?;
        }
        case.plan.link();
        Ok(case)
    }

    /// Adds an instruction.
    fn push(&mut self, label: &str, kernel: &Kernel, mut outputs: Vec<Output>) -> Result<(), String> {
        let (bound, instruction) = (near_bound(kernel)?, self.plan.program.len());
        let mut operands = Vec::new();
        for input in inputs(kernel)? {
            let name = format!("{label} {}", input.name);
            operands.push(match (input.ty, input.contents) {
                (_, Contents::F32(x)) => Operand::F32(x),
                (_, Contents::I32(x)) => Operand::I32(x),
                (_, Contents::Bool(x)) => Operand::Bool(x),
                (Type::Global(dtype, _, Access::Weight), contents) => {
                    self.weights.0.insert(name.clone(), stored(dtype, &contents)?);
                    self.plan.weights.push(Weight { name, dtype, dims: input.dims });
                    Operand::Weight { id: self.plan.weights.len() - 1 }
                }
                (ty, contents) => {
                    let (id, dims) = (self.plan.buffers.len(), input.dims);
                    self.plan.buffers.push(buffer(name, ty.dtype().unwrap_or(DType::F32), dims.clone()));
                    if let Some(at) = outputs.iter().position(|o| o.name == input.name) {
                        let bound = if input.name == NEAR { bound } else { 0.0 };
                        let output = outputs.swap_remove(at);
                        self.expected.push(Expected { instruction, buffer: id, output, bound });
                    }
                    self.start.push((
                        id,
                        match contents {
                            Contents::Integers(x) => Data::I32(x),
                            Contents::Reals(x) => Data::F32(x),
                            _ => return Err(format!("`{}` is an array", input.name)),
                        },
                    ));
                    Operand::Buffer { id, offset: 0, dims }
                }
            });
        }
        let at = self.plan.kernel(kernel.clone());
        self.plan.push(at, operands, label, ("generated.rs", 0)).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Fills a device that holds the plan, runs it once and compares; one entry for each kernel.
    ///
    /// # Errors
    /// The device failed.
    pub fn compare(&self, executor: &mut dyn Executor) -> Result<Vec<Compared>, ExecError> {
        self.start.iter().try_for_each(|(buffer, data)| executor.write(*buffer, 0, data))?;
        executor.run(0..self.plan.program.len(), 1, &mut |_| ControlFlow::Continue(()))?;
        let mut out = vec![Compared::default(); self.plan.program.len()];
        for Expected { instruction, buffer, output, bound } in &self.expected {
            let got = executor.read(*buffer, 0, output.bits.len())?;
            let compared = &mut out[*instruction];
            let before = compared.disagreements;
            compared.add(&output.bits, &got, *bound);
            if compared.disagreements > before {
                let name = self.plan.buffers[*buffer].name.clone();
                compared.outputs.push((name, compared.disagreements - before));
            }
        }
        Ok(out)
    }
}

impl Compared {
    /// Takes in another array.
    fn add(&mut self, want: &[u32], got: &Data, bound: f64) {
        self.elements += want.len();
        match got {
            Data::I32(got) => {
                self.disagreements += got.iter().zip(want).filter(|(a, b)| a.cast_unsigned() != **b).count();
            }
            Data::F32(got) => {
                for (got, want) in got.iter().zip(want.iter().map(|b| f32::from_bits(*b))) {
                    let off = f64::from((got - want).abs());
                    if bound > 0.0 {
                        self.worst = self.worst.max(off / bound);
                        self.disagreements += usize::from(off.is_nan() || off > bound);
                    } else {
                        self.disagreements += usize::from(*got != want);
                    }
                }
            }
        }
    }
}

fn buffer(name: String, dtype: DType, dims: Vec<usize>) -> Buffer {
    Buffer { name, dtype, dims, visibility: Visibility::Device }
}

/// Numbers as bytes of a type that has each of them.
fn stored(dtype: DType, contents: &Contents) -> Result<Vec<u8>, String> {
    let reals = match contents {
        Contents::Integers(x) if dtype == DType::I8 => return Ok(x.iter().map(|x| *x as u8).collect()),
        Contents::Reals(x) => x,
        _ => return Err(format!("weights of {dtype} are not generated")),
    };
    match dtype {
        DType::F32 => Ok(reals.iter().flat_map(|x| x.to_le_bytes()).collect()),
        DType::Bf16 => Ok(reals.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect()),
        DType::E2m1 => {
            let codes = codes(dtype, reals)?;
            Ok(codes.chunks(2).map(|c| c[0] | c.get(1).copied().unwrap_or(0) << 4).collect())
        }
        _ => codes(dtype, reals),
    }
}

/// The code of each number, in a type of so few bits that all codes can be tried.
fn codes(dtype: DType, reals: &[f32]) -> Result<Vec<u8>, String> {
    let count = 1usize << dtype.bits();
    let bytes: Vec<u8> = match dtype.bits() {
        4 => (0..8).map(|i| (2 * i) | ((2 * i + 1) << 4)).collect(),
        _ => (0..=255).collect(),
    };
    let owner: Owner = std::sync::Arc::new(bytes);
    let values = Array::from_bytes(dtype, [count], owner, 0).map_err(|e| e.to_string())?.to_f32();
    let code = |x: &f32| {
        let at = values.iter().position(|v| v == x).ok_or_else(|| format!("{x} is no number of {dtype}"))?;
        u8::try_from(at).map_err(|e| e.to_string())
    };
    reals.iter().map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Program;
    use crate::sim::{Precision, SimExecutor};

    #[test]
    fn the_simulator_agrees_and_a_change_is_seen() {
        let kernels: Vec<_> = (0..40).map(|seed| (seed.to_string(), Program::random(seed).kernel())).collect();
        let mut case = Case::new("forty", &kernels).unwrap();
        let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).unwrap();
        let compared = case.compare(&mut sim).unwrap();
        assert_eq!(compared.len(), 40);
        for (i, c) in compared.iter().enumerate() {
            assert!((c.disagreements, c.worst) == (0, 0.0) && c.elements > 0, "{i}: {c:?}");
        }
        case.expected.iter_mut().for_each(|e| e.output.bits[0] ^= 0x4000_0000);
        let compared = case.compare(&mut sim).unwrap();
        for (i, c) in compared.iter().enumerate() {
            assert_eq!(c.disagreements, case.expected.iter().filter(|e| e.instruction == i).count(), "{i}");
        }
    }
}
