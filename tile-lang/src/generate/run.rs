//! Running a generated kernel in the interpreter.

use super::arrays::{Contents, inputs};
use crate::dtype::DType;
use crate::interp::{self, ArgValue, Array, Options};
use crate::ir::{Access, Kernel, Type};
use std::sync::Arc;

/// What an array holds after a run, as bits of f32 or as integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The parameter.
    pub name: String,
    /// Its elements; of reals the bits as f32.
    pub bits: Vec<u32>,
}

/// Runs a kernel on its own inputs; what its outputs hold then.
///
/// # Errors
/// The kernel is not one of this module's, or it fails.
pub fn run(kernel: &Kernel) -> Result<Vec<Output>, String> {
    let (mut args, mut written) = (Vec::<ArgValue>::new(), Vec::new());
    for input in inputs(kernel)? {
        let array = |array: Result<Array, interp::ArrayError>| array.map(Arc::new).map_err(|e| e.to_string());
        let dtype = input.ty.dtype().unwrap_or(DType::F32);
        let bound = match &input.contents {
            Contents::Reals(x) => array(Array::from_f32(dtype, input.dims, x))?,
            Contents::Integers(x) => array(Array::from_i32(dtype, input.dims, x))?,
            Contents::F32(x) => {
                args.push((*x).into());
                continue;
            }
            Contents::I32(x) => {
                args.push((*x).into());
                continue;
            }
            Contents::Bool(x) => {
                args.push((*x).into());
                continue;
            }
        };
        if matches!(input.ty, Type::Global(_, _, Access::Write)) {
            written.push((input.name, bound.clone()));
        }
        args.push(bound.into());
    }
    interp::launch(kernel, &args, Options::default()).map_err(|e| e.to_string())?;
    let bits = |array: &Array| match array.dtype().is_float() {
        true => array.to_f32().into_iter().map(f32::to_bits).collect(),
        false => array.to_i32().into_iter().map(i32::cast_unsigned).collect(),
    };
    Ok(written.into_iter().map(|(name, array)| Output { name, bits: bits(&array) }).collect())
}
