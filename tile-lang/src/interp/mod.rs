//! The interpreter: tile semantics on the CPU.
//!
//! It is the default device, on which models generate text where there is no GPU, and the oracle that compiler passes
//! and generated code are compared with. [`Prepared`] is a kernel made ready once and run many times; work items run in
//! parallel. Rounding follows the device: f32 sums, values of narrower types rounded where they are made.

mod array;
mod debug;
mod elementwise;
mod exec;
mod indexed;
mod launch;
mod memory;
mod mma;
mod number;
mod prepare;
mod resume;
mod roles;
mod scaled;
mod short;
mod tile;
mod value;

pub use array::{Array, ArrayError, Owner, View};
pub(crate) use launch::Bound;
pub use launch::{launch, run_item, work_extents};
pub use number::{round_bf16, round_e4m3, round_e5m2, round_f16, round_tf32, round_to};
pub use prepare::Prepared;
pub(crate) use prepare::Step;
pub(crate) use resume::{How, Point, Source, Staged, Touch, Walk};

use crate::diag::{Diagnostic, Diagnostics};
use std::fmt;
use std::sync::Arc;

/// An argument of a kernel.
#[derive(Clone, Debug)]
pub enum ArgValue {
    /// A global array.
    Array(View),
    /// A real number.
    F32(f32),
    /// An integer.
    I32(i32),
    /// A truth value.
    Bool(bool),
}

impl ArgValue {
    fn describe(&self) -> String {
        match self {
            ArgValue::Array(v) => format!("an array of {} with {} axes", v.array.dtype(), v.dims.len()),
            ArgValue::F32(x) => format!("the real number {x}"),
            ArgValue::I32(i) => format!("the integer {i}"),
            ArgValue::Bool(b) => format!("the truth value {b}"),
        }
    }
}

macro_rules! arg_from {
    ($($t:ty => $make:expr),* $(,)?) => {$(
        impl From<$t> for ArgValue {
            fn from(x: $t) -> ArgValue {
                $make(x)
            }
        }
    )*};
}
arg_from!(
    View => ArgValue::Array,
    Arc<Array> => |x| ArgValue::Array(View::from(x)),
    f32 => ArgValue::F32,
    i32 => ArgValue::I32,
    bool => ArgValue::Bool,
);

/// Where values are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As on the device: every value to its element type.
    #[default]
    Native,
    /// Values of bf16 and f16 keep all bits of f32; FP8 is still rounded.
    F32,
}

/// How to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where values are rounded.
    pub precision: Precision,
}

/// A work item did what it must not, such as reading outside an array; the place is in the kernel's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterpError(pub Diagnostic);

impl fmt::Display for InterpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for InterpError {}

/// A kernel can't be launched with these arguments, or failed while it ran.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The kernel is not well-formed.
    #[error("{0}")]
    Kernel(#[from] Diagnostics),
    /// Number, kind, element type or rank of an argument.
    #[error(
        "error[E61]: kernel `{kernel}`: {problem}\n  = give one argument for each parameter, in order, of its type"
    )]
    Arguments {
        /// Kernel name.
        kernel: String,
        /// What does not fit.
        problem: String,
    },
    /// A `require!` does not hold, or an extent of the work is negative.
    #[error("{0}")]
    Require(Diagnostic),
    /// A work item failed.
    #[error("{0}")]
    Item(#[from] InterpError),
}
