//! The text form, written. `{}` writes all there is; `{:#}` leaves source places out, for comparing and for reading.
//!
//! ```text
//! kernel @scale<T=16>(%x: global<f32, 1>, %y: global_mut<f32, 1>, %by: f32) stage tile {
//!   %n = dim[0] %x : i32
//!   %i = work %n : i32
//!   %row = load %x, %i : tile<f32, 16>
//!   %0 = splat %by : tile<f32, 16>
//!   %row.1 = mul %row, %0 : tile<f32, 16>
//!   store %y, %row.1, %i
//! }
//! ```

use super::{BlockId, Kernel, Literal, OpData, OpId, OpKind, Role, Stage, ValueId};
use crate::schedule::Places;
use crate::span::Span;
use std::collections::HashMap;
use std::fmt::{self, Formatter};

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 4] = [Stage::Tile, Stage::Scheduled, Stage::Specialised, Stage::Allocated];

    /// The name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Tile => "tile",
            Stage::Scheduled => "scheduled",
            Stage::Specialised => "specialised",
            Stage::Allocated => "allocated",
        }
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::All, Role::Producer, Role::Consumer];

    /// The name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Role::All => "all",
            Role::Producer => "producer",
            Role::Consumer => "consumer",
        }
    }
}

macro_rules! display {
    ($($name:ident = $letter:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }
    )*};
}
display!(ValueId = "%", OpId = "#", BlockId = "^");

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Literal::F32(x) if x.is_nan() => write!(f, "nan({:#010x})", x.to_bits()),
            // The shortest decimal that reads back as the same number, always with a point or an exponent.
            Literal::F32(x) => write!(f, "{x:?}"),
            Literal::I32(i) => write!(f, "{i}"),
            Literal::Bool(b) => write!(f, "{b}"),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut printer =
            Printer { kernel: self, places: !f.alternate(), names: HashMap::new(), counts: HashMap::new() };
        printer.kernel(f)
    }
}

struct Printer<'a> {
    kernel: &'a Kernel,
    places: bool,
    /// Spelling of the values met so far.
    names: HashMap<ValueId, String>,
    /// How many values of each name there are; the empty name counts those without.
    counts: HashMap<String, usize>,
}

/// Characters that need no quotes in names of kernels and values of generics.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-+:".contains(c))
}

fn plain_or_quoted(text: &str) -> String {
    if is_plain(text) { text.into() } else { format!("{text:?}") }
}

/// An identifier from any text.
fn identifier(text: &str) -> String {
    let mut out: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.chars().next().is_none_or(|c| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

impl Printer<'_> {
    fn kernel(&mut self, f: &mut Formatter<'_>) -> fmt::Result {
        let k = self.kernel;
        if self.places {
            let files: Vec<String> = k.files.iter().map(|x| format!(" {x:?}")).collect();
            writeln!(f, "files{}", files.join(","))?;
        }
        write!(f, "kernel @{}", plain_or_quoted(&k.name))?;
        if !k.generics.is_empty() {
            let list: Vec<String> =
                k.generics.iter().map(|(n, v)| format!("{}={}", identifier(n), plain_or_quoted(v))).collect();
            write!(f, "<{}>", list.join(", "))?;
        }
        write!(f, "(")?;
        for (i, p) in k.params.iter().enumerate() {
            let name = self.define(p.value, Some(&p.name));
            write!(f, "{}{name}: {}", if i > 0 { ", " } else { "" }, self.ty(p.value))?;
        }
        write!(f, ") stage {} ", k.stage.name())?;
        if k.resources.slots > 0 {
            write!(f, "slots {} {}", k.resources.slots, self.place(k.resources.slots_span))?;
        }
        if k.resources.cluster > 0 {
            write!(f, "cluster {} ", k.resources.cluster)?;
        }
        writeln!(f, "{{")?;
        if let Some(schedule) = &k.schedule {
            schedule.write(f, "  ", if self.places { Places::Written } else { Places::Omitted })?;
        }
        match &k.bodies[..] {
            [(Role::All, body)] => self.block(f, *body, 1)?,
            bodies => {
                for (role, body) in bodies {
                    write!(f, "  {} ", role.name())?;
                    if let Some(r) = k.resources.roles.iter().find(|r| r.role == *role) {
                        let place = self.place(r.span);
                        write!(f, "{:?} warps {} registers {} {place}", r.name, r.warps, r.registers)?;
                    }
                    writeln!(f, "{{")?;
                    self.block(f, *body, 2)?;
                    writeln!(f, "  }}")?;
                }
            }
        }
        writeln!(f, "}}")
    }

    /// A place and a space, or nothing.
    fn place(&self, span: Span) -> String {
        if self.places && span.is_known() { format!("@{span} ") } else { String::new() }
    }

    /// Chooses the spelling of a value.
    fn define(&mut self, v: ValueId, name: Option<&str>) -> String {
        let name = name.or_else(|| self.kernel.values.get(v.index()).and_then(|d| d.name.as_deref()));
        let base = name.map(identifier).unwrap_or_default();
        let count = self.counts.entry(base.clone()).or_default();
        let spelling = match (base.is_empty(), *count) {
            (true, n) => format!("%{n}"),
            (false, 0) => format!("%{base}"),
            (false, n) => format!("%{base}.{n}"),
        };
        *count += 1;
        self.names.insert(v, spelling.clone());
        spelling
    }

    fn spell(&self, v: ValueId) -> String {
        // A value that nothing makes: the kernel is not well-formed, and the text says so.
        self.names.get(&v).cloned().unwrap_or_else(|| format!("%undefined.{}", v.0))
    }

    fn ty(&self, v: ValueId) -> String {
        self.kernel.values.get(v.index()).map_or_else(|| "error".into(), |d| d.ty.to_string())
    }

    fn block(&mut self, f: &mut Formatter<'_>, b: BlockId, depth: usize) -> fmt::Result {
        let k = self.kernel;
        let Some(block) = k.blocks.get(b.index()) else { return Ok(()) };
        for id in &block.ops {
            if let Some(op) = k.ops.get(id.index()) {
                self.op(f, op, depth)?;
            }
        }
        Ok(())
    }

    fn op(&mut self, f: &mut Formatter<'_>, op: &OpData, depth: usize) -> fmt::Result {
        let pad = "  ".repeat(depth);
        // Operands are spelled first: a result of the same name comes after them.
        let operands: Vec<String> = op.operands.iter().map(|v| self.spell(*v)).collect();
        let results: Vec<String> = op.results.iter().map(|v| self.define(*v, None)).collect();
        write!(f, "{pad}")?;
        if !results.is_empty() {
            write!(f, "{} = ", results.join(", "))?;
        }
        write!(f, "{}", op.kind.mnemonic())?;
        match &op.kind {
            OpKind::Const(lit) => write!(f, " {lit}")?,
            OpKind::For { .. } => {
                write!(f, "{}", attributes(&op.kind))?;
                let args =
                    op.blocks.first().and_then(|b| self.kernel.blocks.get(b.index())).map_or(&[][..], |b| &b.args);
                let args: Vec<String> = args.iter().map(|v| self.define(*v, None)).collect();
                let of = |list: &[String], i: usize| list.get(i).cloned().unwrap_or_else(|| "%undefined".into());
                let body = op.blocks.first().and_then(|b| self.kernel.blocks.get(b.index()));
                if let Some(label) = body.and_then(|b| b.label.as_deref()) {
                    write!(f, " '{}", identifier(label))?;
                }
                write!(f, " {} = {} to {}", of(&args, 0), of(&operands, 0), of(&operands, 1))?;
                if operands.len() > 2 {
                    let carries: Vec<String> =
                        (2..operands.len()).map(|i| format!("{} = {}", of(&args, i - 1), operands[i])).collect();
                    write!(f, " with ({})", carries.join(", "))?;
                }
            }
            kind => {
                write!(f, "{}", attributes(kind))?;
                if let Some(name) = &op.name {
                    write!(f, " '{}", identifier(name))?;
                }
                if !operands.is_empty() {
                    write!(f, " {}", operands.join(", "))?;
                }
            }
        }
        if !op.results.is_empty() {
            let types: Vec<String> = op.results.iter().map(|v| self.ty(*v)).collect();
            write!(f, " : {}", types.join(", "))?;
        }
        if self.places && op.span.is_known() {
            write!(f, " @{}", op.span)?;
        }
        for (i, b) in op.blocks.iter().enumerate() {
            writeln!(f, "{} {{", if i > 0 { " else" } else { "" })?;
            self.block(f, *b, depth + 1)?;
            write!(f, "{pad}}}")?;
        }
        writeln!(f)
    }
}

/// Attributes in brackets, or nothing.
fn attributes(kind: &OpKind) -> String {
    let list: Vec<String> = kind.attributes().iter().map(ToString::to_string).collect();
    if list.is_empty() { String::new() } else { format!("[{}]", list.join(", ")) }
}
