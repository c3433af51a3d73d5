//! Tests and benchmarks that cross crates: kernels and whole models on the device against the simulator.

pub mod cases;
pub mod lockstep;
pub mod random;
