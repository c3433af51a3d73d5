//! Tests and benchmarks that cross crates: kernels and whole models on the device against simulator and reference.
//!
//! [`cases`] has the inputs and what must come out, [`compare`] the comparison with the reference, [`lockstep`] that of
//! two devices, [`said`] what kernels say about themselves. [`short_sums`] is the arithmetic of FP8 products. [`sass`] and [`ptx`] read what the compiler made; [`results`] is the form in which figures are kept.

pub mod behaviour;
pub mod cases;
pub mod compare;
pub mod fuzz;
pub mod generated;
pub mod lockstep;
pub mod model;
#[cfg(feature = "llvm")]
pub mod pack;
pub mod performance;
pub mod ptx;
pub mod random;
pub mod results;
pub mod said;
pub mod sass;
pub mod short_sums;
pub mod sweep;
pub mod targets;
