//! Diagnostics as data: a code, places, numbers, one fix. Rendering comes last.

use crate::span::Span;
use std::fmt;

/// One message about the user's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, for example `E03`; `monotile explain CODE` prints its page.
    pub code: &'static str,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// File and place of the offending text; empty file when unknown.
    pub file: String,
    /// Where in that file.
    pub span: Span,
    /// Further facts: expected numbers, the fix.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// Whether the program can't be used as it is; otherwise this is a warning, with a code `W…`.
    pub fn is_error(&self) -> bool {
        !self.code.starts_with('W')
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_error() { "error" } else { "warning" };
        write!(f, "{kind}[{}]: {}", self.code, self.message)?;
        if self.span.is_known() {
            write!(f, "\n  --> {}:{}:{}", self.file, self.span.line, self.span.col)?;
            if let Some(text) = source_line(&self.file, self.span.line) {
                let pad = " ".repeat(self.span.line.to_string().len());
                let caret = "^".repeat(self.span.len.max(1) as usize);
                let indent = " ".repeat(self.span.col.saturating_sub(1) as usize);
                write!(f, "\n {pad} |\n {} | {text}\n {pad} | {indent}{caret}", self.span.line)?;
            }
        }
        for note in &self.notes {
            write!(f, "\n  = {note}")?;
        }
        Ok(())
    }
}

/// A note that points at another place: what stands there, and the place with its line.
pub fn pointing(what: &str, file: &str, span: Span) -> String {
    if !span.is_known() {
        return what.into();
    }
    let mut out = format!("{what}: {file}:{}:{}", span.line, span.col);
    if let Some(text) = source_line(file, span.line) {
        let pad = " ".repeat(span.line.to_string().len());
        let (indent, caret) = (" ".repeat(span.col.saturating_sub(1) as usize), "^".repeat(span.len.max(1) as usize));
        out += &format!("\n {pad} |\n {} | {text}\n {pad} | {indent}{caret}", span.line);
    }
    out
}

/// The text of one line, when the source is at hand (it is not on a machine that only runs artifacts). Paths that rustc gives are
/// relative to the workspace's folder, which may lie above this one.
fn source_line(file: &str, line: u32) -> Option<String> {
    let here = std::env::current_dir().unwrap_or_default();
    let text = here.ancestors().find_map(|folder| std::fs::read_to_string(folder.join(file)).ok())?;
    text.lines().nth(line as usize - 1).map(str::to_owned)
}

/// All that is wrong with a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{d}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
