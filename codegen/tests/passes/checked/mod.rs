//! The checked simulator on derived protocols: what is right runs through under every adversary and gives the interpreter's
//! numbers; what is planted is trapped, with both places named.

mod faults;
mod grid;
mod kernels;
mod rig;
