//! The checked simulator on derived protocols: what is right runs through under every adversary and gives the interpreter's
//! numbers; what is planted is trapped, with both places named.

pub mod faults;
mod grid;
mod kept;
pub mod kernels;
mod parts;
pub mod rig;
mod together;
mod turns;
