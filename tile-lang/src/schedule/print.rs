//! Schedules as text.
//!
//! ```text
//! schedule deep for linear {
//!   ring tiles [k.codes, k.blocks] stages 4
//!   role load warps 4 registers 56 [k.codes, k.blocks]
//!   role math warps 8 registers 224 [k.acc, y.store]
//!   split k.acc rows 1 columns 1 depth 8
//!   inflight k.acc 0
//!   turns []
//!   raster grouped 8
//!   cluster 1
//! }
//! ```

use super::{OpName, Schedule};
use crate::span::Span;
use std::fmt::{self, Write};

/// Which places a text holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// None: for people.
    Omitted,
    /// Every known one, and the table of files: for storage.
    Written,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "", Places::Omitted)
    }
}

/// A name of a ring or role, quoted where it is no word.
fn name(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if word { text.into() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether an op's name needs no quotes.
fn is_path(text: &str) -> bool {
    let (path, number) = text.split_once('#').map_or((text, "0"), |(p, n)| (p, n));
    let part = |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    path.split('.').all(part) && !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
}

impl Schedule {
    /// Writes the text, each line behind `indent`.
    pub(crate) fn write(&self, f: &mut dyn Write, indent: &str, places: Places) -> fmt::Result {
        let at = |span: Span| match places {
            Places::Written if span.is_known() => format!(" @{span}"),
            _ => String::new(),
        };
        let op = |o: &OpName| {
            let text = if is_path(&o.text) { o.text.clone() } else { quoted(&o.text) };
            text + &at(o.span)
        };
        let listed = |list: &[OpName]| format!(" [{}]", list.iter().map(op).collect::<Vec<_>>().join(", "));
        let ops = |list: &[OpName]| if list.is_empty() { String::new() } else { listed(list) };
        let number = |word: &str, n: Option<usize>| n.map_or(String::new(), |n| format!(" {word} {n}"));
        write!(f, "{indent}schedule {}", name(&self.name))?;
        if !self.kernel.is_empty() {
            write!(f, " for {}", name(&self.kernel))?;
        }
        if places == Places::Written {
            let files: Vec<String> = self.files.iter().map(|x| format!(" {}", quoted(x))).collect();
            write!(f, " files{}", files.join(","))?;
        }
        writeln!(f, "{} {{", at(self.span))?;
        for r in &self.rings {
            let stages = number("stages", r.stages);
            writeln!(f, "{indent}  ring {}{}{stages}{}", name(&r.name), ops(&r.ops), at(r.span))?;
        }
        for r in &self.roles {
            let (warps, registers) = (number("warps", r.warps), number("registers", r.registers));
            writeln!(f, "{indent}  role {}{warps}{registers}{}{}", name(&r.name), ops(&r.ops), at(r.span))?;
        }
        for s in &self.splits {
            let (rows, columns, depth) = (s.rows, s.columns, s.depth);
            writeln!(f, "{indent}  split {} rows {rows} columns {columns} depth {depth}{}", op(&s.op), at(s.span))?;
        }
        for i in &self.inflight {
            writeln!(f, "{indent}  inflight {} {}{}", op(&i.op), i.groups, at(i.span))?;
        }
        if let Some(t) = &self.turns {
            writeln!(f, "{indent}  turns{}{}", listed(&t.ops), at(t.span))?;
        }
        if let Some(r) = &self.raster {
            writeln!(f, "{indent}  raster {}{}", r.value, at(r.span))?;
        }
        if let Some(c) = &self.cluster {
            writeln!(f, "{indent}  cluster {}{}", c.value, at(c.span))?;
        }
        writeln!(f, "{indent}}}")
    }
}
