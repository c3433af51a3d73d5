//! Generated kernels as plans of one instruction, with what the interpreter makes of them, for a GPU to be compared with.
//!
//! All outputs but one must be equal to the last bit: [`tile_lang::generate`] says why that can be asked for. What hardware
//! approximates goes to one output, whose elements may be off by a bound that is worked out for each program.

use std::borrow::Cow;
use std::collections::HashMap;
use tile_lang::DType;
use tile_lang::exec::{Data, ExecError, Executor, WeightSource};
use tile_lang::generate::{self, Contents, NEAR, Output, Program};
use tile_lang::interp::{Array, Owner};
use tile_lang::ir::{Access, Type};
use tile_lang::plan::{Buffer, Operand, Plan, Visibility, Weight};

/// Contents of weights by name.
#[derive(Clone, Debug, Default)]
pub struct Weights(HashMap<String, Vec<u8>>);

impl WeightSource for Weights {
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        self.0.get(name).map(|b| Cow::Borrowed(&b[..])).ok_or_else(|| format!("there is no weight `{name}`"))
    }
}

/// A generated kernel, ready to run.
#[derive(Debug)]
pub struct Generated {
    /// `generated-` and the seed.
    pub name: String,
    /// One instruction.
    pub plan: Plan,
    /// Contents of its weights.
    pub weights: Weights,
    /// Contents of its buffers at the start.
    start: Vec<(usize, Data)>,
    /// Buffers that it writes, with what the interpreter wrote.
    expected: Vec<(usize, Output)>,
    /// How far elements of [`NEAR`] may be off.
    bound: f64,
}

/// What a device made of a generated kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compared {
    /// Elements compared.
    pub elements: usize,
    /// Elements that differ though they must be equal, or by more than the bound.
    pub disagreements: usize,
    /// The largest difference of an element that may be off, as a share of its bound.
    pub worst: f64,
}

/// The program of a seed.
///
/// # Errors
/// The program can't be run or made into a plan: a fault of the generator or the interpreter.
pub fn case(seed: u64) -> Result<Generated, String> {
    let name = format!("generated-{seed}");
    let kernel = Program::random(seed).kernel();
    let outputs = generate::run(&kernel).map_err(|e| format!("{name}: {e}"))?;
    let bound = generate::near_bound(&kernel)?;
    let mut plan = Plan::new(&name);
    let buffer = |name: &str, dtype, dims| Buffer { name: name.into(), dtype, dims, visibility: Visibility::Device };
    plan.buffers.push(buffer("stop", DType::I32, vec![1]));
    let (mut weights, mut start, mut expected) = (Weights::default(), Vec::new(), Vec::new());
    let mut operands = Vec::new();
    for input in generate::inputs(&kernel)? {
        operands.push(match (input.ty, input.contents) {
            (_, Contents::F32(x)) => Operand::F32(x),
            (_, Contents::I32(x)) => Operand::I32(x),
            (_, Contents::Bool(x)) => Operand::Bool(x),
            (Type::Global(dtype, _, Access::Weight), contents) => {
                weights.0.insert(input.name.clone(), stored(dtype, &contents)?);
                plan.weights.push(Weight { name: input.name, dtype, dims: input.dims });
                Operand::Weight { id: plan.weights.len() - 1 }
            }
            (ty, contents) => {
                let (id, dims) = (plan.buffers.len(), input.dims);
                plan.buffers.push(buffer(&input.name, ty.dtype().unwrap_or(DType::F32), dims.clone()));
                expected.extend(outputs.iter().find(|o| o.name == input.name).map(|o| (id, o.clone())));
                start.push((
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
    let at = plan.kernel(kernel);
    plan.push(at, operands, &name, ("generated.rs", 0)).map_err(|e| e.to_string())?;
    plan.link();
    Ok(Generated { name, plan, weights, start, expected, bound })
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

impl Generated {
    /// Fills a device that holds the plan, runs it once and compares.
    ///
    /// # Errors
    /// The device failed.
    pub fn compare(&self, executor: &mut dyn Executor) -> Result<Compared, ExecError> {
        self.start.iter().try_for_each(|(buffer, data)| executor.write(*buffer, 0, data))?;
        executor.run(0..1, 1, &mut |_| std::ops::ControlFlow::Continue(()))?;
        let mut out = Compared::default();
        for (buffer, want) in &self.expected {
            out.elements += want.bits.len();
            match executor.read(*buffer, 0, want.bits.len())? {
                Data::I32(got) => {
                    out.disagreements += got.iter().zip(&want.bits).filter(|(a, b)| a.cast_unsigned() != **b).count();
                }
                Data::F32(got) => {
                    for (got, want) in got.iter().zip(want.bits.iter().map(|b| f32::from_bits(*b))) {
                        let off = f64::from((got - want).abs());
                        if self.may_be_off(*buffer) && self.bound > 0.0 {
                            out.worst = out.worst.max(off / self.bound);
                            out.disagreements += usize::from(off.is_nan() || off > self.bound);
                        } else {
                            out.disagreements += usize::from(*got != want);
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    fn may_be_off(&self, buffer: usize) -> bool {
        self.plan.buffers.get(buffer).is_some_and(|b| b.name == NEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tile_lang::sim::{Precision, SimExecutor};

    #[test]
    fn the_simulator_agrees_and_a_change_is_seen() {
        for seed in 0..40 {
            let case = case(seed).unwrap_or_else(|e| panic!("{e}"));
            let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native)
                .unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let compared = case.compare(&mut sim).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            assert_eq!((compared.disagreements, compared.worst), (0, 0.0), "{}", case.name);
            assert!(compared.elements > 0);
            let mut other = case;
            other.expected.iter_mut().for_each(|(_, o)| o.bits[0] ^= 0x4000_0000);
            let compared = other.compare(&mut sim).unwrap_or_else(|e| panic!("{}: {e}", other.name));
            assert_eq!(compared.disagreements, other.expected.len(), "{}", other.name);
        }
    }
}
