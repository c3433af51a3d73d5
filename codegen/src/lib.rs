//! Passes over tile IR and the lowering through MLIR to PTX.
//!
//! In reading order: [`passes`] (one body per role, rings), [`layout`] (which thread holds which element), [`lower`]
//! (tile ops to the LLVM dialect, the persistent program around them), [`explain`] (reports on all of it).

mod error;
pub mod explain;
pub mod layout;
pub mod lower;
pub mod passes;
pub mod protocol;

pub use error::CodegenError;

#[cfg(feature = "llvm")]
mod compile;
#[cfg(feature = "llvm")]
pub mod mlir;
pub mod ptxas;

#[cfg(feature = "llvm")]
pub use compile::{Compiled, TARGETS, Times, compile, compile_and_report};
