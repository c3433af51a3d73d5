//! Errors of the command and their exit codes.

use serde_json::json;
use tile_codegen::CodegenError;
use tile_lang::artifact::ArtifactError;
use tile_lang::build::InstanceError;
use tile_lang::diag::{Diagnostic, Diagnostics};
use tile_lang::exec::ExecError;
use tile_lang::interp::LaunchError;
use tile_lang::plan::PlanError;
use tile_models::checkpoint::{CheckpointError, ValidationError};
use tile_models::config::ConfigError;
use tile_models::graph::GraphError;
use tile_models::reference::ReferenceError;
use tile_models::session::SessionError;
use tile_models::session::verify::VerifyError;
use tile_models::tokenizer::TokenizerError;
use tile_runtime::RuntimeError;

/// Why a command ends.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Arguments or files that can't be used.
    #[error("{0}")]
    Input(String),
    /// The job itself failed.
    #[error("{0}")]
    Failed(String),
    /// Another process failed with this code, and has said why.
    #[error("")]
    Forwarded(u8),
    /// What the command prints can't be written.
    #[error("the output can't be written: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// Input that can't be used.
    pub fn input(text: impl Into<String>) -> Self {
        CliError::Input(text.into())
    }

    /// A job that failed.
    pub fn failed(text: impl Into<String>) -> Self {
        CliError::Failed(text.into())
    }

    /// Prints it as `error: …`, unless another process did or the text is the compiler's, which begins with a code.
    pub fn print(&self, to: &mut dyn std::io::Write) {
        if matches!(self, CliError::Output(e) if e.kind() == std::io::ErrorKind::BrokenPipe) {
            // Whoever read the output has had enough of it.
            return;
        }
        let text = self.to_string();
        let prefix = if text.starts_with("error[") { "" } else { "error: " };
        if !text.is_empty() {
            // Nobody is left to tell when this fails.
            let _ = writeln!(to, "{prefix}{text}");
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            CliError::Input(_) => 2,
            CliError::Forwarded(code) => *code,
            CliError::Failed(_) | CliError::Output(_) => 1,
        }
    }
}

/// Diagnostics as JSON.
pub fn json(list: &Diagnostics) -> serde_json::Value {
    let one = |d: &Diagnostic| {
        let (line, col) = (d.span.line, d.span.col);
        json!({ "code": d.code, "message": d.message, "file": d.file, "line": line, "col": col, "notes": d.notes })
    };
    list.0.iter().map(one).collect()
}

macro_rules! input_errors {
    ($($t:ty),* $(,)?) => {$(
        impl From<$t> for CliError {
            fn from(e: $t) -> Self {
                CliError::Input(e.to_string())
            }
        }
    )*};
}
input_errors!(
    ArtifactError,
    CheckpointError,
    ConfigError,
    Diagnostics,
    GraphError,
    InstanceError,
    PlanError,
    ReferenceError,
    TokenizerError,
    ValidationError,
);

impl From<CodegenError> for CliError {
    fn from(e: CodegenError) -> Self {
        match e {
            CodegenError::Program(_) | CodegenError::Plan(_) => CliError::Input(e.to_string()),
            CodegenError::Lowering { .. } | CodegenError::Ptxas(_) => CliError::Failed(e.to_string()),
        }
    }
}

impl From<RuntimeError> for CliError {
    fn from(e: RuntimeError) -> Self {
        match e {
            RuntimeError::Driver { .. } | RuntimeError::Load { .. } => CliError::Failed(e.to_string()),
            _ => CliError::Input(e.to_string()),
        }
    }
}

impl From<ExecError> for CliError {
    fn from(e: ExecError) -> Self {
        CliError::Failed(e.to_string())
    }
}

impl From<LaunchError> for CliError {
    fn from(e: LaunchError) -> Self {
        match e {
            LaunchError::Item(_) => CliError::Failed(e.to_string()),
            _ => CliError::Input(e.to_string()),
        }
    }
}

impl From<SessionError> for CliError {
    fn from(e: SessionError) -> Self {
        match e {
            SessionError::Exec(e) => e.into(),
            _ => CliError::Input(e.to_string()),
        }
    }
}

impl From<VerifyError> for CliError {
    fn from(e: VerifyError) -> Self {
        match e {
            VerifyError::Session(e) => e.into(),
            _ => CliError::Input(e.to_string()),
        }
    }
}
