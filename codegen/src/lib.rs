//! Passes over tile IR and the lowering through MLIR to PTX.
//!
//! In reading order: [`passes`] (one body per role, rings), [`layout`] (which thread holds which element), [`lower`]
//! (tile ops to the LLVM dialect, the persistent program around them), [`ptxas`] (machine code, and its maker's messages),
//! [`sass`] (reading machine code), [`lines`] (which source line it comes from), [`explain`] (reports on all of it).

pub mod check;
mod error;
pub mod explain;
pub mod layout;
pub mod lines;
pub mod lower;
pub mod passes;
pub mod protocol;
pub mod ptxas;
pub mod sass;
pub mod schedule;
pub mod target;

pub use error::CodegenError;

#[cfg(feature = "llvm")]
mod compile;
#[cfg(feature = "llvm")]
pub mod mlir;

#[cfg(feature = "llvm")]
pub use compile::{Compiled, Debug, Times, compile, compile_kernels, compile_with};
