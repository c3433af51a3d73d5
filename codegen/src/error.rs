//! Errors of compilation.

use tile_lang::diag::{Diagnostic, Diagnostics};
use tile_lang::ir::Kernel;
use tile_lang::span::Span;

/// A kernel or plan can't be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// The user's program can't be honoured; the message points at its line.
    #[error("{0}")]
    Program(#[from] Diagnostics),
    /// The plan doesn't fit the machine.
    #[error("{0}")]
    Plan(String),
    /// MLIR rejected the module or failed to translate it: a fault of this compiler.
    #[error("internal error in the lowering of `{kernel}`: {message}")]
    Lowering {
        /// Kernel or plan name.
        kernel: String,
        /// What MLIR or the lowering said.
        message: String,
    },
    /// ptxas rejected the PTX or could not be run.
    #[error("ptxas: {0}")]
    Ptxas(String),
}

impl CodegenError {
    /// One diagnostic at a place in a kernel's source.
    pub fn at(kernel: &Kernel, span: Span, code: &'static str, message: String, fix: &str) -> Self {
        let file = kernel.files.get(span.file as usize).cloned().unwrap_or_default();
        CodegenError::Program(Diagnostics(vec![Diagnostic { code, message, file, span, notes: vec![fix.into()] }]))
    }
}
