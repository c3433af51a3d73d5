//! A schedule of the source, not built yet: what `#[tile::schedule(kernel)]` puts beside its function.

use super::{OpName, Schedule};
use crate::build::{Generic, InstanceError, KernelDef};
use crate::diag::{Diagnostic, Diagnostics};
use crate::dtype::DType;
use crate::ir::Kernel;
use crate::span::Span;

/// A schedule function and the kernel that it is for.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleDef {
    /// Function name.
    pub name: &'static str,
    /// The kernel.
    pub kernel: KernelDef,
    /// Source file.
    pub file: &'static str,
    /// Where the function's name is written.
    pub span: Span,
    /// The string literals of the body, in order, with their places.
    pub literals: &'static [(&'static str, Span)],
    /// Calls the function with generics of the kernel.
    pub build: fn(&Arguments<'_>) -> Result<Schedule, Diagnostics>,
}

/// The generics of a kernel's instance, by name.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'k> {
    kernel: &'k Kernel,
    file: &'static str,
}

impl Arguments<'_> {
    fn text(&self, name: &str, span: Span) -> Result<&str, Diagnostics> {
        let found = self.kernel.generics.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, v)| v.as_str()).ok_or_else(|| {
            let names: Vec<&str> = self.kernel.generics.iter().map(|(n, _)| n.as_str()).collect();
            let message = format!("kernel `{}` has no generic `{name}`", self.kernel.name);
            let fix = format!("a schedule's parameters are generics of its kernel: {}", names.join(", "));
            Diagnostics(vec![Diagnostic { code: "E20", message, file: self.file.into(), span, notes: vec![fix] }])
        })
    }

    /// The value of a parameter of the schedule's function.
    ///
    /// # Errors
    /// The kernel has no generic of that name and kind (`E20`).
    pub fn value<T: Parameter>(&self, name: &str, span: Span) -> Result<T, Diagnostics> {
        let text = self.text(name, span)?;
        T::read(text).ok_or_else(|| {
            let message = format!("generic `{name}` of kernel `{}` is {text}, not {}", self.kernel.name, T::WHAT);
            let fix = "declare the parameter with the type of the generic: `usize` or `DType`".to_owned();
            Diagnostics(vec![Diagnostic { code: "E20", message, file: self.file.into(), span, notes: vec![fix] }])
        })
    }
}

/// What a parameter of a schedule's function may be.
#[diagnostic::on_unimplemented(
    message = "a schedule's parameters are `usize` or `DType`, named like the kernel's generics"
)]
pub trait Parameter: Sized {
    /// What a person calls it.
    const WHAT: &'static str;
    /// From the text of a generic.
    fn read(text: &str) -> Option<Self>;
}

impl Parameter for usize {
    const WHAT: &'static str = "a number";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Parameter for DType {
    const WHAT: &'static str = "an element type";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl ScheduleDef {
    /// The schedule for an instance of its kernel.
    ///
    /// # Errors
    /// The function's parameters are no generics of the kernel.
    pub fn schedule(&self, kernel: &Kernel) -> Result<Schedule, Diagnostics> {
        let mut s = (self.build)(&Arguments { kernel, file: self.file })?;
        s.name = self.name.into();
        s.kernel = self.kernel.name.into();
        let file = match s.files.iter().position(|f| f == self.file) {
            Some(at) => at as u32,
            None => {
                s.files.push(self.file.into());
                s.files.len() as u32 - 1
            }
        };
        s.span = Span { file, ..self.span };
        self.place_names(&mut s, file);
        Ok(s)
    }

    /// An instance of the kernel with this schedule.
    ///
    /// # Errors
    /// What is wrong with the generics, the kernel or the schedule's names.
    pub fn instance(&self, generics: &[Generic]) -> Result<Kernel, InstanceError> {
        let kernel = self.kernel.instance(generics)?;
        let schedule = self.schedule(&kernel)?;
        Ok(schedule.attach(kernel)?)
    }

    /// The builder knows the place of its call; a name given as a literal stands at or after it.
    fn place_names(&self, s: &mut Schedule, file: u32) {
        let place = |name: &mut OpName, call: Span| {
            let from = (call.line, call.col);
            let literal = self
                .literals
                .iter()
                .find(|(text, at)| *text == name.text && call.file == file && (at.line, at.col) >= from);
            name.span = literal.map_or(call, |(_, at)| Span { file, ..*at });
        };
        for r in &mut s.rings {
            r.ops.iter_mut().for_each(|o| place(o, r.span));
        }
        for r in &mut s.roles {
            r.ops.iter_mut().for_each(|o| place(o, r.span));
        }
        s.splits.iter_mut().for_each(|x| place(&mut x.op, x.span));
        s.inflight.iter_mut().for_each(|x| place(&mut x.op, x.span));
        if let Some(t) = &mut s.turns {
            t.ops.iter_mut().for_each(|o| place(o, t.span));
        }
    }
}
