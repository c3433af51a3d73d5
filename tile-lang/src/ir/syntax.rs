//! Mistakes of syntax in the text form: messages, limits, and going on behind a mistake so that all are found at once.

use super::parse::{Rule, Text, mistake};
use crate::diag::{Diagnostic, Diagnostics};
use crate::span::Span;
use pest::Parser;
use pest::error::{Error, ErrorVariant, InputLocation, LineColLocation};
use std::collections::HashSet;

/// Deepest nesting of braces that is read: the parser and what walks kernels call themselves.
const MAX_DEPTH: usize = 64;

/// Longest text that is read, in bytes. The tree of a text takes some fifty times its size.
const MAX_BYTES: usize = 16 << 20;

/// Most mistakes of syntax that are looked for in one text.
const MAX_MISTAKES: usize = 20;

/// Refuses texts that would take too much memory or stack.
pub(super) fn limits(text: &str, file: &str) -> Result<(), Diagnostics> {
    if text.len() > MAX_BYTES {
        let message = format!("the text is {} bytes long, at most {MAX_BYTES} are read", text.len());
        return Err(mistake(file, Span::NONE, message, "put the kernels into several files").into());
    }
    match too_deep(text) {
        None => Ok(()),
        Some(span) => {
            let message = format!("blocks are nested more than {MAX_DEPTH} deep");
            Err(mistake(file, span, message, "close blocks that are still open, or flatten the conditions").into())
        }
    }
}

/// Braces of a text outside of strings and comments, with line and column.
fn braces(text: &str) -> impl Iterator<Item = (char, u32, u32)> {
    let (mut line, mut col) = (1, 0);
    let (mut quoted, mut escaped, mut comment, mut before) = (false, false, false, ' ');
    text.chars().filter_map(move |c| {
        col += 1;
        let at = (line, col);
        let mut found = None;
        match c {
            '\n' => (line, col, comment) = (line + 1, 0, false),
            _ if comment => {}
            _ if quoted => {
                quoted = escaped || c != '"';
                escaped = !escaped && c == '\\';
            }
            '"' => quoted = true,
            '/' if before == '/' => comment = true,
            '{' | '}' => found = Some((c, at.0, at.1)),
            _ => {}
        }
        before = c;
        found
    })
}

fn too_deep(text: &str) -> Option<Span> {
    let mut depth = 0usize;
    braces(text).find_map(|(c, line, col)| {
        depth = if c == '{' { depth + 1 } else { depth.saturating_sub(1) };
        (depth > MAX_DEPTH).then_some(Span { file: 0, line, col, len: 1 })
    })
}

/// A text with its mistakes of syntax cut out.
pub(super) struct Repaired {
    /// Line by line where the original is; `None` if the mistakes could not be cut out.
    pub text: Option<String>,
    /// The mistakes, in order.
    pub errors: Vec<Diagnostic>,
    /// Values that lines with mistakes speak of: whether something makes them is not known.
    pub unsure: HashSet<String>,
}

/// Stands for a value in lines that replace others.
const ANY_VALUE: &str = "%_";

/// Cuts out the line of each mistake, leaving its braces, until the text reads or the mistakes can't be told apart.
pub(super) fn repair(text: &str, file: &str, first: Error<Rule>) -> Repaired {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut replaced = vec![0usize; lines.len()];
    let mut out = Repaired { text: None, errors: Vec::new(), unsure: HashSet::from([ANY_VALUE.to_owned()]) };
    let mut error = first;
    let mut now = text.to_owned();
    // Blocks that are open at the end can be closed there.
    let depth = |depth: usize, (c, ..): (char, u32, u32)| if c == '{' { depth + 1 } else { depth.saturating_sub(1) };
    let (open, written) = (braces(text).fold(0usize, depth), lines.len());
    let mut open_ends = 0;
    loop {
        let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
        let ended = now.get(at..).unwrap_or_default().trim().is_empty();
        let culprit = culprit(&lines, &error);
        // A line that was cut out already says nothing new.
        let known = (ended && open_ends > 0) || culprit.is_some_and(|l| replaced[l] > 0 || l >= written);
        if !known {
            out.errors.push(message(file, &now, &error));
        }
        if out.errors.len() >= MAX_MISTAKES {
            return out;
        }
        match culprit {
            _ if ended && open_ends < open => {
                open_ends += 1;
                lines.push("}".into());
                replaced.push(0);
            }
            Some(l) if l < written => {
                out.unsure.extend(values(&lines[l]));
                let Some(stand_in) = stand_in(&lines[l], replaced[l]) else { return out };
                lines[l] = stand_in;
                replaced[l] += 1;
            }
            _ => return out,
        }
        now = lines.join("\n");
        match Text::parse(Rule::file, &now) {
            Ok(_) => {
                out.text = Some(now);
                return out;
            }
            Err(e) => error = e,
        }
    }
}

/// The line that a mistake is on: where the parser stopped, or the line before if that one is not complete.
fn culprit(lines: &[String], e: &Error<Rule>) -> Option<usize> {
    let (LineColLocation::Pos((line, col)) | LineColLocation::Span((line, col), _)) = e.line_col;
    let line = line.checked_sub(1)?;
    let begins = lines.get(line)?.chars().take(col.saturating_sub(1)).all(char::is_whitespace);
    let ops = [Rule::op, Rule::plain_op, Rule::mnemonic, Rule::kernel, Rule::kw_kernel, Rule::EOI];
    let complete = match &e.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.iter().any(|r| ops.contains(r)),
        ErrorVariant::CustomError { .. } => true,
    };
    if !begins || complete {
        return Some(line);
    }
    (0..line).rev().find(|l| !lines[*l].trim().is_empty()).or(Some(line))
}

/// Spellings of the values that a line speaks of.
fn values(line: &str) -> impl Iterator<Item = String> {
    line.match_indices('%').map(|(at, _)| {
        let name = line[at + 1..].chars().take_while(|c| c.is_ascii_alphanumeric() || "_.".contains(*c));
        std::iter::once('%').chain(name).collect()
    })
}

/// What takes the place of a line: nothing but what its braces need. After one that didn't do comes another.
fn stand_in(line: &str, attempt: usize) -> Option<String> {
    let (mut closed, mut open) = (0usize, 0usize);
    for (c, ..) in braces(line) {
        match c {
            '{' => open += 1,
            _ if open > 0 => open -= 1,
            _ => closed += 1,
        }
    }
    let heads = line.trim_start().starts_with("kernel");
    let of = |text: &str| Some(text.to_owned());
    match (closed, open, attempt) {
        (0, 1, 0) if heads => of("kernel @_() {"),
        _ if heads => None,
        (0, 1, 0) => of("for %_ = %_ to %_ {"),
        (1, 1, 0) => of("} else {"),
        (1, 1, 1) => of("} for %_ = %_ to %_ {"),
        (n, 0, 0) => Some("}".repeat(n)),
        (_, 0, 1) => of(""),
        _ => None,
    }
}

/// What a person is told.
fn message(file: &str, text: &str, e: &Error<Rule>) -> Diagnostic {
    let (LineColLocation::Pos((line, col)) | LineColLocation::Span((line, col), _)) = e.line_col;
    let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = e.location;
    let rest = text.get(at..).unwrap_or_default();
    let found: String = match rest.split_whitespace().next() {
        Some(word) => {
            let kind = |c: char| c.is_ascii_alphanumeric() || "_.%@".contains(c);
            let first = word.chars().next().is_some_and(kind);
            let found = word.chars().take_while(|c| first && kind(*c)).chain(word.chars().filter(|_| !first).take(1));
            found.take(MAX_SHOWN).collect()
        }
        None => String::new(),
    };
    let span = Span { file: 0, line: line as u32, col: col as u32, len: found.chars().count().max(1) as u32 };
    let found = if found.is_empty() { "the end of the text".into() } else { format!("`{found}`") };
    let named = e.clone().renamed_rules(|rule| rule_name(*rule).into());
    mistake(file, span, format!("{}, found {found}", named.variant.message()), fix(e))
}

/// Most characters of the text that a message repeats.
const MAX_SHOWN: usize = 40;

/// One thing to do, by what the parser would have gone on with.
fn fix(e: &Error<Rule>) -> &'static str {
    let ErrorVariant::ParsingError { positives, .. } = &e.variant else { return SEE };
    let wanted = |rule: Rule| positives.contains(&rule);
    match () {
        _ if wanted(Rule::unit) || wanted(Rule::kernel) || wanted(Rule::kw_kernel) => {
            "write `kernel @name(%x: global<f32, 1>) stage tile { … }`"
        }
        _ if wanted(Rule::symbol) => "write the kernel's name with an `@` before it: `kernel @name(…)`",
        _ if wanted(Rule::kw_else) => "a condition has two blocks: `if %c { yield } else { yield }`",
        _ if wanted(Rule::kw_to) => "write a loop as `for %i = %from to %to { … yield }`",
        _ if wanted(Rule::value) && !wanted(Rule::op) => "name a value, as `%x`; operands are separated by commas",
        _ if wanted(Rule::ty) => "write a type, as `f32`, `tile<f32, 16x16>`, `smem<bf16, 16x64>` or `global<f32, 2>`",
        _ if wanted(Rule::literal) => "write a number, `true`, `false`, `inf` or `nan(0x7fc00000)`",
        _ if wanted(Rule::op) || wanted(Rule::plain_op) || wanted(Rule::mnemonic) => {
            "write an op as `%y = add %a, %b : tile<f32, 16>`, and close each block with `}`"
        }
        () => SEE,
    }
}

/// Where no fix suggests itself.
const SEE: &str = "compare with docs/text-form.md, or with the output of `monotile kernel emit NAME --stage tile`";

/// What a person calls a part of the grammar.
fn rule_name(rule: Rule) -> &'static str {
    match rule {
        Rule::EOI => "the end of the text",
        Rule::kw_files => "`files`",
        Rule::kw_kernel => "`kernel`",
        Rule::kw_stage => "`stage`",
        Rule::kw_slots => "`slots`",
        Rule::kw_cluster => "`cluster`",
        Rule::kw_warps => "`warps`",
        Rule::kw_registers => "`registers`",
        Rule::kw_for => "`for`",
        Rule::kw_to => "`to`",
        Rule::kw_with => "`with`",
        Rule::kw_if => "`if`",
        Rule::kw_else => "`else`",
        Rule::kw_const => "`const`",
        Rule::kw_of => "`of`",
        Rule::kw_at => "`at`",
        Rule::symbol => "`@` and a name",
        Rule::generics | Rule::generic => "generics",
        Rule::params | Rule::param => "parameters",
        Rule::op | Rule::plain_op | Rule::mnemonic => "an op",
        Rule::results => "results",
        Rule::for_op => "a loop",
        Rule::label => "a label",
        Rule::schedule => "a schedule",
        Rule::carries | Rule::carry => "carried values",
        Rule::if_op => "a condition",
        Rule::const_op => "a constant",
        Rule::block | Rule::body | Rule::role_body => "a block",
        Rule::slots => "the slots of the ring",
        Rule::cluster_asked => "the CTAs of a cluster",
        Rule::asks => "what a role asks for",
        Rule::operands => "operands",
        Rule::types => "`:` and types",
        Rule::attrs | Rule::attr => "attributes",
        Rule::part => "a part of a ring slot",
        Rule::ty => "a type",
        Rule::dims => "extents",
        Rule::place => "a place",
        Rule::value => "a value",
        Rule::literal => "a number",
        Rule::number => "a number",
        Rule::name | Rule::word => "a name",
        Rule::string => "a string",
        Rule::file | Rule::unit => "a kernel",
        Rule::kernel => "a kernel",
        Rule::files => "a table of files",
        Rule::WHITESPACE | Rule::COMMENT | Rule::end => "space",
    }
}
