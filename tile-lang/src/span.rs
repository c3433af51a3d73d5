//! Places in the user's source.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A run of characters in one of the kernel's files. `line` and `col` count from 1; line 0 means "no place known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// Index into the kernel's file table.
    pub file: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub col: u32,
    /// Characters covered on that line.
    pub len: u32,
}

impl Span {
    /// A span that points nowhere.
    pub const NONE: Span = Span { file: 0, line: 0, col: 0, len: 0 };

    /// Whether the place is known.
    pub const fn is_known(self) -> bool {
        self.line > 0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.file, self.line, self.col, self.len)
    }
}
