//! The text form, read. Grammar: `grammar.pest`; this file makes a [`Kernel`] of the tree.

use super::attribute::Attr;
use super::parse_op::{literal, mnemonics, ty};
use super::syntax::{self, Repaired};
use super::{BlockId, Kernel, OpData, OpKind, Param, RingPart, Role, RoleResources, Stage, Type, ValueId};
use crate::diag::{Diagnostic, Diagnostics};
use crate::dtype::DType;
use crate::nearest::nearest;
use crate::schedule;
use crate::span::Span;
use pest::Parser;
use pest::iterators::Pair;
use std::collections::{HashMap, HashSet};
use std::str::FromStr;

#[derive(pest_derive::Parser)]
#[grammar = "ir/grammar.pest"]
pub(super) struct Text;

pub(super) type Node<'t> = Pair<'t, Rule>;

/// What the places of a kernel that is read point into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// The source that the kernel came from, where the text has a table of files; else as [`Places::Text`].
    Recorded,
    /// The lines of the text itself.
    Text,
}

/// Reads the one kernel of a text. `file` is its name, for messages and, where the text has no table of files, for the
/// places of its ops. Types are read, not checked: call [`verify`](super::verify) next.
///
/// # Errors
/// Everything that is wrong with the text (`E75`): syntax, names, attributes, each at its place and with a fix.
pub fn parse(text: &str, file: &str) -> Result<Kernel, Diagnostics> {
    let mut kernels = parse_all(text, file)?;
    let message = match kernels.len() {
        0 => "the text has no kernel".into(),
        1 => return Ok(kernels.remove(0)),
        n => format!("one kernel is needed, the text has {n}"),
    };
    Err(mistake(file, Span::NONE, message, "leave one kernel in the text").into())
}

/// Reads all kernels of a text, with the places that it records.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(text: &str, file: &str) -> Result<Vec<Kernel>, Diagnostics> {
    parse_all_at(text, file, Places::Recorded)
}

/// Reads all kernels of a text.
///
/// # Errors
/// As [`parse`].
pub fn parse_all_at(text: &str, file: &str, places: Places) -> Result<Vec<Kernel>, Diagnostics> {
    syntax::limits(text, file)?;
    let repaired: Repaired;
    let none = HashSet::new();
    let (tree, mut errors, unsure) = match Text::parse(Rule::file, text) {
        Ok(tree) => (tree, Vec::new(), &none),
        Err(e) => {
            repaired = syntax::repair(text, file, e);
            let errors = repaired.errors.clone();
            match repaired.text.as_ref().map(|text| Text::parse(Rule::file, text)) {
                Some(Ok(tree)) => (tree, errors, &repaired.unsure),
                _ => return Err(Diagnostics(errors)),
            }
        }
    };
    let mut kernels = Vec::new();
    for unit in tree.flat_map(Pair::into_inner).filter(|n| n.as_rule() == Rule::unit) {
        let mut reader = Reader::new(file, places, unsure);
        reader.unit(unit);
        errors.append(&mut reader.errors);
        kernels.push(reader.kernel);
    }
    errors.sort_by_key(|e| (e.span.line, e.span.col));
    if errors.is_empty() { Ok(kernels) } else { Err(Diagnostics(errors)) }
}

impl FromStr for Kernel {
    type Err = Diagnostics;

    fn from_str(text: &str) -> Result<Kernel, Diagnostics> {
        parse(text, "")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(d: Diagnostic) -> Diagnostics {
        Diagnostics(vec![d])
    }
}

pub(super) fn mistake(file: &str, span: Span, message: String, fix: &str) -> Diagnostic {
    Diagnostic { code: "E75", message, file: file.into(), span, notes: vec![fix.into()] }
}

struct Reader<'t> {
    file: &'t str,
    kernel: Kernel,
    wanted: Places,
    /// Whether the text has a table of files, so that places are written out.
    places: bool,
    values: HashMap<&'t str, ValueId>,
    /// Values that something may make which can't be read.
    unsure: &'t HashSet<String>,
    errors: Vec<Diagnostic>,
}

impl<'t> Reader<'t> {
    fn new(file: &'t str, wanted: Places, unsure: &'t HashSet<String>) -> Self {
        let mut kernel = Kernel::new("");
        kernel.bodies.clear();
        kernel.blocks.clear();
        Reader { file, kernel, wanted, places: false, values: HashMap::new(), unsure, errors: Vec::new() }
    }

    fn error(&mut self, node: &Node<'_>, message: String, fix: impl AsRef<str>) {
        self.errors.push(mistake(self.file, here(node), message, fix.as_ref()));
    }

    /// A name that is not one of the known ones.
    fn unknown(&mut self, node: &Node<'_>, what: &str, known: &[&str]) {
        let name = node.as_str().trim_end();
        let fix = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        self.error(node, format!("`{name}` is no {what}"), fix);
    }

    fn unit(&mut self, unit: Node<'t>) {
        for node in unit.into_inner() {
            if node.as_rule() == Rule::files {
                self.places = self.wanted == Places::Recorded;
                if !self.places {
                    continue;
                }
                self.kernel.files =
                    node.into_inner().filter(|n| n.as_rule() == Rule::string).map(|n| unquote(n.as_str())).collect();
            } else {
                if !self.places {
                    self.kernel.files = vec![self.file.into()];
                }
                self.kernel(node);
            }
        }
    }

    fn kernel(&mut self, node: Node<'t>) {
        for n in node.into_inner() {
            match n.as_rule() {
                Rule::symbol => self.kernel.name = n.into_inner().next().map(|n| text_of(&n)).unwrap_or_default(),
                Rule::generics => {
                    let list = n.into_inner().map(|g| {
                        let mut parts = g.into_inner().map(|n| text_of(&n));
                        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
                    });
                    self.kernel.generics = list.collect();
                }
                Rule::params => n.into_inner().for_each(|p| self.param(p)),
                Rule::word => match Stage::ALL.into_iter().find(|s| s.name() == n.as_str()) {
                    Some(stage) => self.kernel.stage = stage,
                    None => self.unknown(&n, "stage", &Stage::ALL.map(Stage::name)),
                },
                Rule::schedule => self.schedule(&n),
                Rule::body => {
                    let block = self.kernel.add_block();
                    self.kernel.bodies.push((Role::All, block));
                    self.body(n, block);
                }
                Rule::slots => {
                    let (numbers, place) = self.numbers(&n);
                    self.kernel.resources.slots = numbers.first().copied().unwrap_or_default();
                    self.kernel.resources.slots_span = place;
                }
                Rule::cluster_asked => {
                    let (numbers, _) = self.numbers(&n);
                    self.kernel.resources.cluster = numbers.first().copied().unwrap_or_default();
                }
                Rule::role_body => self.role_body(n),
                _ => {}
            }
        }
    }

    fn role_body(&mut self, node: Node<'t>) {
        let mut inner: Vec<Node<'t>> = node.into_inner().collect();
        let Some(body) = inner.pop() else { return };
        let Some(word) = inner.first() else { return };
        let block = self.kernel.add_block();
        match Role::ALL.into_iter().find(|r| r.name() == word.as_str()) {
            Some(role) => {
                self.kernel.bodies.push((role, block));
                if let Some(asks) = inner.get(1) {
                    let name = asks.clone().into_inner().next().map(|n| unquote(n.as_str())).unwrap_or_default();
                    let (numbers, span) = self.numbers(asks);
                    let of = |i: usize| numbers.get(i).copied().unwrap_or_default();
                    let (warps, registers) = (of(0), of(1));
                    self.kernel.resources.roles.push(RoleResources { role, name, warps, registers, span });
                }
            }
            None => self.unknown(&word.clone(), "role", &Role::ALL.map(Role::name)),
        }
        self.body(body, block);
    }

    /// The whole numbers below a node, and its place: the one written, or where the text itself has it.
    fn numbers(&mut self, node: &Node<'t>) -> (Vec<usize>, Span) {
        let mut place = None;
        let mut numbers = Vec::new();
        for n in node.clone().into_inner() {
            match n.as_rule() {
                Rule::number => match n.as_str().parse() {
                    Ok(i) => numbers.push(i),
                    Err(_) => {
                        self.error(&n, format!("`{}` is no whole number", n.as_str()), "write a number from 0 up");
                    }
                },
                Rule::place => place = self.place(&n),
                _ => {}
            }
        }
        let here = if self.places { Span::NONE } else { here(node) };
        (numbers, place.unwrap_or(here))
    }

    fn schedule(&mut self, node: &Node<'t>) {
        let (line, col) = node.line_col();
        let recorded = self.wanted == Places::Recorded;
        match schedule::parse_at(node.as_str(), self.file, (line as u32, col as u32), recorded) {
            Ok(mut list) => self.kernel.schedule = list.pop().map(Box::new),
            Err(mut e) => self.errors.append(&mut e.0),
        }
    }

    fn param(&mut self, node: Node<'t>) {
        let mut inner = node.into_inner();
        let (Some(value), Some(t)) = (inner.next(), inner.next()) else { return };
        let t = self.ty(&t);
        let name = base_name(value.as_str()).unwrap_or_default().to_owned();
        let value = self.define(&value, t);
        self.kernel.params.push(Param { name, value });
    }

    fn ty(&mut self, node: &Node<'t>) -> Type {
        ty(node).unwrap_or_else(|message| {
            self.error(node, message, TYPES);
            Type::Error
        })
    }

    /// A value that comes into being here.
    fn define(&mut self, node: &Node<'t>, t: Type) -> ValueId {
        let v = self.kernel.add_value(t);
        self.kernel.values[v.index()].name = base_name(node.as_str()).map(str::to_owned);
        if self.values.insert(node.as_str(), v).is_some() && !self.unsure.contains(node.as_str()) {
            let fix = format!("give one of them another name, as `{}`", self.free_name(node.as_str()));
            self.error(node, format!("`{}` is defined twice", node.as_str()), fix);
        }
        v
    }

    /// A value that is there already.
    fn used(&mut self, node: &Node<'t>) -> ValueId {
        match self.values.get(node.as_str()) {
            Some(v) => *v,
            None => {
                if !self.unsure.contains(node.as_str()) {
                    let fix = match nearest(node.as_str(), self.known_names()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "write the op that makes it before this one".into(),
                    };
                    self.error(node, format!("`{}` is not defined before this use", node.as_str()), fix);
                }
                self.kernel.add_value(Type::Error)
            }
        }
    }

    /// Names of values, in alphabetical order.
    fn known_names(&self) -> Vec<&'t str> {
        let mut names: Vec<&str> = self.values.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// A spelling of a value that is not taken.
    fn free_name(&self, name: &str) -> String {
        let base = name.split('.').next().unwrap_or_default();
        let free = |n: usize| Some(format!("{base}.{n}")).filter(|n| !self.values.contains_key(n.as_str()));
        (1..=self.values.len() + 1).find_map(free).unwrap_or_default()
    }

    fn body(&mut self, node: Node<'t>, block: BlockId) {
        for op in node.into_inner() {
            self.op(op, block);
        }
    }

    fn op(&mut self, node: Node<'t>, block: BlockId) {
        let whole = node.clone();
        let mut names: Vec<Node<'t>> = Vec::new();
        for n in node.into_inner() {
            match n.as_rule() {
                Rule::results => names = n.into_inner().collect(),
                Rule::for_op => self.for_op(&whole, &names, n, block),
                Rule::if_op => self.if_op(&whole, &names, n, block),
                _ => self.plain_op(&whole, &names, n, block),
            }
        }
    }

    /// The parts that all ops have.
    fn parts(&mut self, node: Node<'t>) -> Parts<'t> {
        let mut parts = Parts::default();
        for n in node.into_inner() {
            match n.as_rule() {
                Rule::mnemonic => parts.mnemonic = n.as_str(),
                Rule::literal => parts.literal = Some(n),
                Rule::attrs => parts.attrs = n.into_inner().filter_map(|a| self.attr(a)).collect(),
                Rule::value => parts.values.push(n),
                Rule::operands => parts.values = n.into_inner().collect(),
                Rule::carries => parts.carries = n.into_inner().collect(),
                Rule::types => parts.types = n.into_inner().map(|t| self.ty(&t)).collect(),
                Rule::place => parts.place = self.place(&n),
                Rule::block => parts.blocks.extend(n.into_inner()),
                Rule::label => parts.label = Some(&n.as_str()[1..]),
                _ => {}
            }
        }
        parts
    }

    fn attr(&mut self, node: Node<'t>) -> Option<Attr> {
        let n = node.into_inner().next()?;
        let attr = match n.as_rule() {
            Rule::string => Some(Attr::Text(unquote(n.as_str()))),
            Rule::number => n.as_str().parse().ok().map(Attr::Number),
            Rule::word => Some(Attr::Word(n.as_str().into())),
            _ => self.part(n.clone()).map(Attr::Part),
        };
        if attr.is_none() {
            let fix = "an attribute is a number below 2^64, a word, a string, or `bf16 16x64 of 2 at 0`";
            self.error(&n, format!("`{}` is no attribute", n.as_str()), fix);
        }
        attr
    }

    fn part(&mut self, node: Node<'t>) -> Option<RingPart> {
        let mut inner = node.into_inner().filter(|n| !matches!(n.as_rule(), Rule::kw_of | Rule::kw_at));
        let dtype: DType = inner.next()?.as_str().parse().ok()?;
        let shape: Option<Vec<usize>> = inner.next()?.as_str().split('x').map(|n| n.parse().ok()).collect();
        let rank = inner.next()?.as_str().parse().ok()?;
        let offset = inner.next()?.as_str().parse().ok()?;
        Some(RingPart { dtype, shape: shape?, rank, offset })
    }

    fn place(&mut self, node: &Node<'t>) -> Option<Span> {
        let numbers: Vec<u32> = node.as_str()[1..].split(':').filter_map(|n| n.parse().ok()).collect();
        match numbers[..] {
            [file, line, col, len] => Some(Span { file, line, col, len }),
            _ => {
                let fix = "a place is `@file:line:column:length`, each below 2^32";
                self.error(node, format!("`{}` is no place", node.as_str()), fix);
                None
            }
        }
    }

    /// Results, defined after the operands are read.
    fn results(&mut self, whole: &Node<'t>, names: &[Node<'t>], types: &[Type]) -> Vec<ValueId> {
        if names.len() != types.len() {
            let message = format!("each result needs a type: results {}, types {}", names.len(), types.len());
            self.error(whole, message, "write one type for each result behind `:`, separated by commas");
        }
        let types = types.iter().cloned().chain(std::iter::repeat(Type::Error));
        names.iter().zip(types).map(|(n, t)| self.define(n, t)).collect()
    }

    fn push(&mut self, block: BlockId, whole: &Node<'t>, place: Option<Span>, mut op: OpData) {
        op.span = match place.filter(|_| self.places) {
            Some(span) => span,
            None if self.places => Span::NONE,
            None => here(whole),
        };
        let id = self.kernel.add_op(op);
        self.kernel.blocks[block.index()].ops.push(id);
    }

    fn plain_op(&mut self, whole: &Node<'t>, names: &[Node<'t>], node: Node<'t>, block: BlockId) {
        let parts = self.parts(node);
        let kind = match &parts.literal {
            Some(text) => literal(text.as_str()).map(OpKind::Const),
            None => OpKind::from_text(parts.mnemonic, &parts.attrs),
        };
        let operands: Vec<ValueId> = parts.values.iter().map(|v| self.used(v)).collect();
        let results = self.results(whole, names, &parts.types);
        match kind {
            Ok(kind) => {
                let name = parts.label.map(Into::into);
                let op = OpData { kind, operands, results, blocks: Vec::new(), span: Span::NONE, name };
                self.push(block, whole, parts.place, op);
            }
            Err(message) if parts.literal.is_some() => {
                self.error(whole, message, "f32 is written with a point or an exponent; i32 has 32 bits and a sign");
            }
            Err(message) => {
                let known: Vec<&str> = mnemonics().collect();
                let fix = match nearest(parts.mnemonic, known.iter().copied()) {
                    Some(same) if same == parts.mnemonic => OPS.into(),
                    Some(near) => format!("did you mean `{near}`?"),
                    None => OPS.into(),
                };
                self.error(whole, message, fix);
            }
        }
    }

    fn if_op(&mut self, whole: &Node<'t>, names: &[Node<'t>], node: Node<'t>, block: BlockId) {
        let parts = self.parts(node);
        let operands: Vec<ValueId> = parts.values.iter().map(|v| self.used(v)).collect();
        let mut blocks = Vec::new();
        for b in parts.blocks {
            let id = self.kernel.add_block();
            self.body(b, id);
            blocks.push(id);
        }
        let results = self.results(whole, names, &parts.types);
        self.push(
            block,
            whole,
            parts.place,
            OpData { kind: OpKind::If, operands, results, blocks, span: Span::NONE, name: None },
        );
    }

    fn for_op(&mut self, whole: &Node<'t>, names: &[Node<'t>], node: Node<'t>, block: BlockId) {
        let parts = self.parts(node);
        let stages = match &parts.attrs[..] {
            [] => 0,
            [Attr::Number(n)] => *n,
            _ => {
                self.error(whole, "a loop has one attribute, its stages".into(), "write `for[4] %i = %from to %to`");
                0
            }
        };
        let [index, from, to] = &parts.values[..] else { return };
        let mut operands = vec![self.used(from), self.used(to)];
        let mut carried = Vec::new();
        for carry in parts.carries.iter().filter(|n| n.as_rule() == Rule::carry) {
            let mut inner = carry.clone().into_inner();
            if let (Some(inside), Some(before)) = (inner.next(), inner.next()) {
                operands.push(self.used(&before));
                carried.push(inside);
            }
        }
        let id = self.kernel.add_block();
        let mut args = vec![self.define(index, Type::Scalar(DType::I32))];
        let types = parts.types.iter().cloned().chain(std::iter::repeat(Type::Error));
        args.extend(carried.iter().zip(types).map(|(n, t)| self.define(n, t)));
        self.kernel.blocks[id.index()].args = args;
        self.kernel.blocks[id.index()].label = parts.label.map(Into::into);
        parts.blocks.into_iter().for_each(|b| self.body(b, id));
        let results = self.results(whole, names, &parts.types);
        let kind = OpKind::For { stages };
        self.push(
            block,
            whole,
            parts.place,
            OpData { kind, operands, results, blocks: vec![id], span: Span::NONE, name: None },
        );
    }
}

/// Where ops and their attributes are listed.
const OPS: &str = "docs/text-form.md lists the ops with their attributes";

/// What types there are.
const TYPES: &str = "types are `f32` and the like, `tile<f32, 16x16>`, `smem<bf16, 16x64>`, and `global`, `global_mut` and \
     `weight` with a number of axes: `global<f32, 2>`";

#[derive(Default)]
struct Parts<'t> {
    mnemonic: &'t str,
    literal: Option<Node<'t>>,
    attrs: Vec<Attr>,
    values: Vec<Node<'t>>,
    carries: Vec<Node<'t>>,
    types: Vec<Type>,
    place: Option<Span>,
    blocks: Vec<Node<'t>>,
    /// A loop's label or an op's name, without its quote.
    label: Option<&'t str>,
}

/// Where a node stands in the text that is read: its first line.
fn here(node: &Node<'_>) -> Span {
    let (line, col) = node.line_col();
    let len = node.as_str().lines().next().unwrap_or_default().trim_end().chars().count();
    Span { file: 0, line: line as u32, col: col as u32, len: len.max(1) as u32 }
}

/// The source name of a value: `acc` of `%acc.2`, none of `%7`.
fn base_name(spelling: &str) -> Option<&str> {
    let name = spelling.trim_start_matches('%').split('.').next().unwrap_or_default();
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
}

/// A name, or the text of a string.
fn text_of(node: &Node<'_>) -> String {
    if node.as_rule() == Rule::string { unquote(node.as_str()) } else { node.as_str().into() }
}

/// The text of a string with its quotes and escapes.
fn unquote(quoted: &str) -> String {
    let mut out = String::new();
    let mut chars = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('0') => out.push('\0'),
            Some('u') => {
                let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                out.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}
