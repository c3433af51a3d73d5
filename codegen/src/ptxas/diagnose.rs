//! ptxas's messages as diagnostics at lines of kernels.

use super::messages::{Message, Report, Resources, Severity};
use crate::CodegenError;
use crate::explain::Place;
use crate::lines::PtxLines;
use crate::sass::Sass;
use std::collections::HashMap;
use tile_lang::diag::{Diagnostic, Diagnostics};
use tile_lang::ir::Kernel;
use tile_lang::span::Span;

/// The code of products that wait for each other.
pub const SERIALISED: &str = "W01";
/// How many lines a note on spills names.
const SPILLING_LINES: usize = 3;

/// Turns what ptxas said about a PTX text into diagnostics; `kernels` know how long the text at a place is.
pub struct Diagnose<'a> {
    lines: PtxLines,
    lengths: HashMap<(&'a str, u32, u32), u32>,
    source: Vec<&'a str>,
}

impl<'a> Diagnose<'a> {
    /// For a program of these kernels.
    pub fn new(ptx: &'a str, kernels: &'a [Kernel]) -> Self {
        let mut lengths = HashMap::new();
        for k in kernels {
            k.walk(|_, op| {
                if let Some(file) = k.files.get(op.span.file as usize) {
                    lengths.insert((file.as_str(), op.span.line, op.span.col), op.span.len);
                }
            });
        }
        Diagnose { lines: PtxLines::new(ptx), lengths, source: ptx.lines().collect() }
    }

    /// All that is worth saying: messages in order, then spills. `sass` tells which lines spill.
    pub fn report(&self, report: &Report, sass: Option<&Sass>) -> Diagnostics {
        let mut out: Vec<Diagnostic> = Vec::new();
        for d in report.messages.iter().filter_map(|m| self.message(m)) {
            // One instruction can draw several errors, and one cause many warnings; the first says it.
            let same = |o: &Diagnostic| o.code == d.code && o.span == d.span && o.file == d.file && o.span.is_known();
            match out.iter_mut().find(|o| same(o)) {
                Some(first) if first.message == d.message => {}
                Some(first) if first.notes.len() < 6 => first.notes.insert(first.notes.len() - 1, d.message),
                Some(_) => {}
                None => out.push(d),
            }
        }
        out.extend(self.spills(report.resources, sass));
        Diagnostics(out)
    }

    /// The same as an error, of a run that gave no machine code.
    pub fn failure(&self, report: &Report) -> CodegenError {
        let mut all = self.report(report, None);
        all.0.retain(Diagnostic::is_error);
        CodegenError::Program(all)
    }

    fn message(&self, m: &Message) -> Option<Diagnostic> {
        let (code, fix) = match (m.severity, m.code) {
            (Severity::Error, _) => return Some(self.rejected(m)),
            (Severity::Info, None) => return None,
            (_, Some(7504..=7509)) => (
                "E40",
                "the roles' registers depend on setmaxnreg: the entry must fix its threads (`reqntid`) and one CTA a multiprocessor, and call nothing",
            ),
            (_, Some(7510..=7517)) => (
                SERIALISED,
                "keep accumulators and operands of products in flight untouched until they are waited for, and call nothing between",
            ),
            (_, Some(7600..=7699)) => ("W02", "use smaller tiles, so that fewer registers live at once"),
            _ => ("W04", "`kernel emit --stage ptx` shows the instruction"),
        };
        let text = m.text.trim_start_matches("Potential Performance Loss: ").trim_end_matches('.');
        let number = m.code.map_or(String::new(), |c| format!(" C{c}"));
        Some(self.at(code, format!("ptxas{number}: {}", plain(text)), self.place(m.line), fix))
    }

    fn rejected(&self, m: &Message) -> Diagnostic {
        let mut d = self.at(
            "E42",
            format!("ptxas rejects the code: {}", plain(&m.text)),
            self.place(m.line),
            "this is a fault of the compiler, or of the target that was asked for; `kernel emit --stage ptx` shows the code",
        );
        let text = m.line.and_then(|n| self.source.get(n as usize - 1)).map(|t| t.trim());
        if let Some(text) = text.filter(|t| !t.is_empty()) {
            d.notes.insert(0, format!("the instruction: `{text}`"));
        }
        d
    }

    fn spills(&self, r: Resources, sass: Option<&Sass>) -> Option<Diagnostic> {
        if r.spill_stores + r.spill_loads + r.stack == 0 {
            return None;
        }
        let mut by_line: HashMap<&Place, usize> = HashMap::new();
        for i in sass.iter().flat_map(|s| &s.code).filter(|i| i.is("STL") || i.is("LDL")) {
            if let Some(place) = &i.place {
                *by_line.entry(place).or_default() += 1;
            }
        }
        let mut worst: Vec<(&Place, usize)> = by_line.into_iter().collect();
        worst.sort_by_key(|(p, n)| (std::cmp::Reverse(*n), p.file.clone(), p.line));
        let message = format!(
            "registers do not suffice: {} bytes are stored to local memory and {} loaded back in a stack frame of {} bytes",
            r.spill_stores, r.spill_loads, r.stack
        );
        let place = worst.first().map(|(p, _)| (*p).clone());
        let mut d = self.at("W02", message, place, "use smaller tiles, so that fewer registers live at once");
        let lines = worst.iter().take(SPILLING_LINES).map(|(p, n)| format!("{n} accesses at {}:{}", p.file, p.line));
        d.notes.splice(0..0, lines);
        Some(d)
    }

    fn place(&self, line: Option<u32>) -> Option<Place> {
        self.lines.at(line?).cloned()
    }

    fn at(&self, code: &'static str, message: String, place: Option<Place>, fix: &str) -> Diagnostic {
        let (file, span) = match place {
            Some(Place { file, line, col }) => {
                // Machine code knows lines only: the first op of the line stands for it.
                let of_line = || self.lengths.keys().filter(|(f, l, _)| (*f, *l) == (&*file, line)).map(|k| k.2).min();
                let col = if col == 0 { of_line().unwrap_or(1) } else { col };
                let len = self.lengths.get(&(&*file, line, col)).copied().unwrap_or(1);
                (file, Span { file: 0, line, col, len })
            }
            None => (String::new(), Span::NONE),
        };
        Diagnostic { code, message, file, span, notes: vec![fix.into()] }
    }
}

/// ptxas's text without the names and numbers of our PTX, which say nothing to who reads the kernel.
fn plain(text: &str) -> String {
    let cut = [" in the function '", " for the function '", " in function '"].iter().filter_map(|w| text.find(w)).min();
    let text = &text[..cut.unwrap_or(text.len())];
    match text.split_once(" in around line ") {
        Some((before, rest)) => {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}{rest}")
        }
        None => text.to_owned(),
    }
}
