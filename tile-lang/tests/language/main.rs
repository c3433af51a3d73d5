//! Kernels that use every construct of the language, staged, verified, and run by the interpreter.
#![allow(
    clippy::assign_op_pattern,
    clippy::eq_op,
    clippy::nonminimal_bool,
    clippy::precedence,
    clippy::erasing_op,
    clippy::identity_op,
    clippy::useless_vec,
    clippy::manual_range_contains,
    reason = "kernels here try every way to write an expression"
)]

mod control;
mod debug;
mod drift;
mod errors;
mod first_kernel;
mod functions;
mod linear;
mod lists;
mod model;
mod roles;
mod scaled;
mod values;

use std::sync::Arc;
use tile_lang::DType;
use tile_lang::build::InstanceError;
use tile_lang::interp::{self, ArgValue, Array, Options};
use tile_lang::ir::{self, Kernel};

/// The kernel, verified.
fn staged(kernel: Result<Kernel, InstanceError>) -> Kernel {
    let kernel = kernel.unwrap_or_else(|e| panic!("{e}"));
    ir::verify(&kernel).unwrap_or_else(|e| panic!("{e}\n{kernel:#}"));
    kernel
}

/// Runs a kernel whose last parameter is an array of `len` zeros of that type; gives that array.
fn run(kernel: &Kernel, inputs: &[ArgValue], dtype: DType, dims: &[usize]) -> Arc<Array> {
    let out = Arc::new(Array::zeros(dtype, dims));
    let mut args = inputs.to_vec();
    args.push(out.clone().into());
    interp::launch(kernel, &args, Options::default()).unwrap_or_else(|e| panic!("{e}\n{kernel:#}"));
    out
}

/// An f32 array.
fn reals(dims: &[usize], data: &[f32]) -> ArgValue {
    Arc::new(Array::from_f32(DType::F32, dims, data).unwrap_or_else(|e| panic!("{e}"))).into()
}

/// An i32 array.
fn ints(dims: &[usize], data: &[i32]) -> ArgValue {
    Arc::new(Array::from_i32(DType::I32, dims, data).unwrap_or_else(|e| panic!("{e}"))).into()
}
