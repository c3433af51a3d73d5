//! What the simulator reports: a code, the places, the numbers, one fix, and how to see it again.

use crate::diag::Diagnostic;
use crate::span::Span;
use std::fmt;

/// Who did what, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// For people: `warp 3 of CTA 1 reads slot 2 in `layer.0 qkv`, item 5, pass 0`.
    pub what: String,
    /// Source file.
    pub file: String,
    /// The op's place; [`Span::NONE`] for what lies around the bodies, where the instruction's line is given instead.
    pub span: Span,
}

/// A program did what it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// `E80` and following; `monotile explain CODE` prints its page.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The places: where it was found first, then what it conflicts with.
    pub sites: Vec<Site>,
    /// Further facts and numbers.
    pub notes: Vec<String>,
    /// What to do.
    pub fix: String,
    /// Seed and strategy that show it again.
    pub run: String,
}

impl Trap {
    pub(super) fn new(code: &'static str, message: String, sites: Vec<Site>, fix: &str) -> Box<Trap> {
        Box::new(Trap { code, message, sites, notes: Vec::new(), fix: fix.into(), run: String::new() })
    }

    pub(super) fn note(mut self: Box<Self>, note: String) -> Box<Self> {
        self.notes.push(note);
        self
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first place is shown as diagnostics are; the others follow in the same form.
        for (i, site) in self.sites.iter().enumerate() {
            let shown = Diagnostic {
                code: self.code,
                message: self.message.clone(),
                file: site.file.clone(),
                span: site.span,
                notes: vec![site.what.clone()],
            }
            .to_string();
            match shown.split_once('\n') {
                Some((_, rest)) if i > 0 => write!(f, "\n{rest}")?,
                _ => f.write_str(&shown)?,
            }
        }
        if self.sites.is_empty() {
            write!(f, "error[{}]: {}", self.code, self.message)?;
        }
        for note in &self.notes {
            write!(f, "\n  = {note}")?;
        }
        write!(f, "\n  = fix: {}", self.fix)?;
        if !self.run.is_empty() {
            write!(f, "\n  = {}", self.run)?;
        }
        Ok(())
    }
}

impl std::error::Error for Trap {}
