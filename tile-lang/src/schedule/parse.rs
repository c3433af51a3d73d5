//! Schedules, read from text. Every item that makes no sense is reported.

use super::order::named;
use super::{InFlight, OpName, Pinned, Ring, RoleSpec, Schedule, Split, Turns};
use crate::diag::{Diagnostic, Diagnostics};
use crate::span::Span;
use pest::Parser;
use pest::error::{Error, ErrorVariant, InputLocation, LineColLocation};
use pest::iterators::Pair;

#[derive(pest_derive::Parser)]
#[grammar = "schedule/grammar.pest"]
struct Text;

type Node<'t> = Pair<'t, Rule>;

/// Reads the one schedule of a text; `file` is its name, for messages and for the places of its items.
///
/// # Errors
/// Everything that can't be read (`E34`).
pub fn parse(text: &str, file: &str) -> Result<Schedule, Diagnostics> {
    let mut list = parse_all(text, file)?;
    match (list.pop(), list.len()) {
        (Some(one), 0) => Ok(one),
        (_, more) => {
            let message = format!("one schedule is needed, the text has {}", more + 1);
            Err(Diagnostics(vec![mistake(file, Span::NONE, message)]))
        }
    }
}

/// Reads all schedules of a text.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(text: &str, file: &str) -> Result<Vec<Schedule>, Diagnostics> {
    parse_at(text, file, (1, 1), true)
}

/// As [`parse_all`], for a text that begins at this line and column of its file. Places that the text records are taken where
/// `recorded` holds; else places are those in the text.
pub(crate) fn parse_at(
    text: &str,
    file: &str,
    start: (u32, u32),
    recorded: bool,
) -> Result<Vec<Schedule>, Diagnostics> {
    let mut reader = Reader { file, start, recorded, errors: Vec::new() };
    let tree = match Text::parse(Rule::file, text) {
        Ok(tree) => tree,
        Err(e) => {
            reader.syntax(text, e, None);
            return Err(Diagnostics(reader.errors));
        }
    };
    let nodes = tree.flat_map(Pair::into_inner).filter(|n| n.as_rule() == Rule::schedule);
    let list = nodes.map(|n| reader.schedule(n)).collect();
    if reader.errors.is_empty() { Ok(list) } else { Err(Diagnostics(reader.errors)) }
}

fn mistake(file: &str, span: Span, message: String) -> Diagnostic {
    let fix = "`monotile kernel explain NAME --schedule-out -` prints a whole schedule".to_owned();
    Diagnostic { code: "E34", message, file: file.into(), span, notes: vec![fix] }
}

/// What a person calls a part of the grammar.
fn rule_name(rule: Rule) -> &'static str {
    match rule {
        Rule::EOI => "the end of the text",
        Rule::file | Rule::schedule => "`schedule NAME { … }`",
        Rule::target => "`for KERNEL`",
        Rule::files => "a table of files",
        Rule::item | Rule::bad | Rule::one | Rule::pin => "an item",
        Rule::ring => "`ring NAME [ops] stages N`",
        Rule::stages => "`stages N`",
        Rule::role => "`role NAME warps N registers N [ops]`",
        Rule::warps => "`warps N`",
        Rule::registers => "`registers N`",
        Rule::split => "`split OP rows N columns N depth N`",
        Rule::inflight => "`inflight OP N`",
        Rule::turns => "`turns [ops]`",
        Rule::raster => "`raster ORDER`",
        Rule::cluster => "`cluster N`",
        Rule::ops => "ops in brackets",
        Rule::comma => "`,`",
        Rule::close => "`]`",
        Rule::op | Rule::op_name | Rule::part => "the name of an op",
        Rule::name | Rule::word => "a name",
        Rule::order => "row-major, column-major or grouped N",
        Rule::number => "a number",
        Rule::string => "a string",
        Rule::place => "a place",
        Rule::kw_schedule => "`schedule`",
        Rule::kw_for => "`for`",
        Rule::kw_files => "`files`",
        Rule::kw_ring => "`ring`",
        Rule::kw_stages => "`stages`",
        Rule::kw_role => "`role`",
        Rule::kw_warps => "`warps`",
        Rule::kw_registers => "`registers`",
        Rule::kw_split => "`split`",
        Rule::kw_rows => "`rows`",
        Rule::kw_columns => "`columns`",
        Rule::kw_depth => "`depth`",
        Rule::kw_inflight => "`inflight`",
        Rule::kw_turns => "`turns`",
        Rule::kw_raster => "`raster`",
        Rule::kw_cluster => "`cluster`",
        Rule::keyword => "an item",
        Rule::WHITESPACE | Rule::COMMENT | Rule::end => "space",
    }
}

/// How the item is written that a text begins with.
fn form(text: &str) -> Option<&'static str> {
    let word = text.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    let items = [Rule::ring, Rule::role, Rule::split, Rule::inflight, Rule::turns, Rule::raster, Rule::cluster];
    items
        .into_iter()
        .map(rule_name)
        .find(|name| name.strip_prefix('`').is_some_and(|n| n.split(' ').next() == Some(word)))
}

/// The parts of a node without keywords and punctuation.
fn inner(node: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    let said = |rule: Rule| match rule {
        Rule::comma | Rule::close => false,
        // Of the rules whose name is one quoted word, all are keywords.
        other => {
            let name = rule_name(other).strip_prefix('`').and_then(|n| n.strip_suffix('`'));
            !name.is_some_and(|n| n.chars().all(|c| c.is_ascii_lowercase()))
        }
    };
    node.into_inner().filter(move |n| said(n.as_rule()))
}

struct Reader<'t> {
    file: &'t str,
    start: (u32, u32),
    recorded: bool,
    errors: Vec<Diagnostic>,
}

impl<'t> Reader<'t> {
    /// A place of the text as a place of the file.
    fn place(&self, (line, col): (usize, usize), len: usize) -> Span {
        let first = line == 1;
        let col = col as u32 + if first { self.start.1 - 1 } else { 0 };
        Span { file: 0, line: line as u32 + self.start.0 - 1, col, len: len.max(1) as u32 }
    }

    fn here(&self, node: &Node<'_>) -> Span {
        let len = node.as_str().lines().next().unwrap_or_default().trim_end().chars().count();
        self.place(node.line_col(), len)
    }

    fn error(&mut self, node: &Node<'_>, message: String) {
        let span = self.here(node);
        self.errors.push(mistake(self.file, span, message));
    }

    /// A mistake of syntax, in an item of this form or in what stands around items.
    fn syntax(&mut self, text: &str, mut e: Error<Rule>, form: Option<&str>) {
        // Places are for texts that the compiler prints.
        if let ErrorVariant::ParsingError { positives, .. } = &mut e.variant
            && positives.len() > 1
        {
            positives.retain(|rule| *rule != Rule::place);
        }
        let e = e.renamed_rules(|rule| match rule {
            Rule::EOI if form.is_some() => "the end of the item".into(),
            rule => rule_name(*rule).into(),
        });
        let (LineColLocation::Pos((line, col)) | LineColLocation::Span((line, col), _)) = e.line_col;
        let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = e.location;
        let rest = text.get(at..).unwrap_or_default();
        let word: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).collect();
        let found = if word.is_empty() { rest.chars().take(1).collect::<String>() } else { word };
        let span = self.place((line, col), found.chars().count());
        let found = if found.trim().is_empty() { "the end".into() } else { format!("`{found}`") };
        let mut found = mistake(self.file, span, format!("{}, found {found}", e.variant.message()));
        if let Some(form) = form {
            found.notes = vec![format!("write {form}")];
        }
        self.errors.push(found);
    }

    fn schedule(&mut self, node: Node<'t>) -> Schedule {
        let mut s = Schedule { span: self.here(&node), files: vec![self.file.into()], ..Schedule::default() };
        // With a table of files, places are those that are written.
        let mut written = false;
        for n in inner(node) {
            match n.as_rule() {
                Rule::name => s.name = self.name(&n),
                Rule::target => s.kernel = inner(n).next().map(|n| self.name(&n)).unwrap_or_default(),
                Rule::files if !self.recorded => {}
                Rule::files => {
                    written = true;
                    s.span = Span::NONE;
                    s.files = inner(n).map(|n| self.string(&n)).collect();
                }
                Rule::place if self.recorded => s.span = self.written(&n),
                Rule::item => self.item(n, &mut s, written),
                _ => {}
            }
        }
        s
    }

    fn item(&mut self, node: Node<'t>, s: &mut Schedule, written: bool) {
        let Some(content) = inner(node).next() else { return };
        if content.as_rule() != Rule::bad {
            return self.pin(content, s, written);
        }
        // Read again on its own: either it is wrong, or what stands behind it is.
        let text = content.as_str().trim_end();
        let at = self.place(content.line_col(), 1);
        let outer = std::mem::replace(&mut self.start, (at.line, at.col));
        match Text::parse(Rule::one, text) {
            Err(e) => self.syntax(text, e, form(text)),
            Ok(one) => one.flat_map(inner).filter(|n| n.as_rule() == Rule::pin).for_each(|n| self.pin(n, s, written)),
        }
        self.start = outer;
    }

    fn pin(&mut self, content: Node<'t>, s: &mut Schedule, written: bool) {
        let whole = self.here(&content);
        let mut parts = inner(content);
        let Some(pin) = parts.next() else { return };
        let place = parts.next().map(|n| self.written(&n)).filter(|_| self.recorded);
        let span = place.unwrap_or(if written { Span::NONE } else { whole });
        let rule = pin.as_rule();
        let at = pin.clone();
        let mut parts = inner(pin);
        match rule {
            Rule::ring => {
                let name = parts.next().map(|n| self.name(&n)).unwrap_or_default();
                let mut ring = Ring { name, ops: Vec::new(), stages: None, span };
                for n in parts {
                    match n.as_rule() {
                        Rule::ops => ring.ops = self.ops(n, written),
                        _ => ring.stages = self.inner_number(n),
                    }
                }
                s.rings.push(ring);
            }
            Rule::role => {
                let name = parts.next().map(|n| self.name(&n)).unwrap_or_default();
                let mut role = RoleSpec { name, warps: None, registers: None, ops: Vec::new(), span };
                for n in parts {
                    match n.as_rule() {
                        Rule::ops => role.ops = self.ops(n, written),
                        Rule::warps => role.warps = self.inner_number(n),
                        _ => role.registers = self.inner_number(n),
                    }
                }
                s.roles.push(role);
            }
            Rule::split => {
                let Some(op) = parts.next().map(|n| self.op(n, written)) else { return };
                let numbers: Vec<usize> = parts.filter_map(|n| self.number(&n)).collect();
                if let [rows, columns, depth] = numbers[..] {
                    s.splits.push(Split { op, rows, columns, depth, span });
                }
            }
            Rule::inflight => {
                let Some(op) = parts.next().map(|n| self.op(n, written)) else { return };
                if let Some(groups) = parts.next().and_then(|n| self.number(&n)) {
                    s.inflight.push(InFlight { op, groups, span });
                }
            }
            Rule::turns => {
                let ops = parts.next().map(|n| self.ops(n, written)).unwrap_or_default();
                match s.turns {
                    Some(_) => self.error(&at, "a second list of turns".into()),
                    None => s.turns = Some(Turns { ops, span }),
                }
            }
            Rule::raster => {
                let order = parts.next().map(|n| n.as_str().to_owned()).unwrap_or_default();
                let number = parts.next().and_then(|n| self.number(&n));
                match named(&order, number) {
                    Some(_) if s.raster.is_some() => self.error(&at, "a second raster".into()),
                    Some(value) => s.raster = Some(Pinned { value, span }),
                    None => {
                        let message = format!(
                            "`{}` is no raster: row-major, column-major or grouped N",
                            at.as_str().trim_start_matches("raster").trim()
                        );
                        self.error(&at, message);
                    }
                }
            }
            _ => {
                if s.cluster.is_some() {
                    self.error(&at, "a second cluster".into());
                } else if let Some(value) = parts.next().and_then(|n| self.number(&n)) {
                    s.cluster = Some(Pinned { value, span });
                }
            }
        }
    }

    fn ops(&mut self, node: Node<'t>, written: bool) -> Vec<OpName> {
        inner(node).map(|n| self.op(n, written)).collect()
    }

    fn op(&mut self, node: Node<'t>, written: bool) -> OpName {
        let mut parts = inner(node);
        let (text, here) = match parts.next() {
            Some(n) => (self.name(&n), self.here(&n)),
            None => (String::new(), Span::NONE),
        };
        let place = parts.next().map(|n| self.written(&n)).filter(|_| self.recorded);
        OpName { text, span: place.unwrap_or(if written { Span::NONE } else { here }) }
    }

    fn inner_number(&mut self, node: Node<'t>) -> Option<usize> {
        inner(node).next().and_then(|n| self.number(&n))
    }

    fn number(&mut self, node: &Node<'t>) -> Option<usize> {
        let number = node.as_str().parse::<u32>().ok();
        if number.is_none() {
            self.error(node, format!("{} is too large", node.as_str()));
        }
        number.map(|n| n as usize)
    }

    fn name(&mut self, node: &Node<'t>) -> String {
        if node.as_str().starts_with('"') { self.string(node) } else { node.as_str().into() }
    }

    fn string(&mut self, node: &Node<'t>) -> String {
        match serde_json::from_str(node.as_str()) {
            Ok(text) => text,
            Err(_) => {
                self.error(node, "this string has an escape that there is not".into());
                String::new()
            }
        }
    }

    /// A place as written.
    fn written(&mut self, node: &Node<'t>) -> Span {
        let numbers: Vec<u32> = node.as_str()[1..].split(':').filter_map(|n| n.parse().ok()).collect();
        match numbers[..] {
            [file, line, col, len] => Span { file, line, col, len },
            _ => {
                self.error(node, format!("`{}` is no place", node.as_str()));
                Span::NONE
            }
        }
    }
}
