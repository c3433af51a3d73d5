//! What the macros' expansions call beside the ops: lifting host values, carrying variables through device loops and
//! conditions, arguments of tile functions. Everything an expansion names is reached through this module.

pub use super::{Arg, Cx, Generic, InstanceError, KernelDef, Space, TypeSpec, Val};
pub use crate::diag::Diagnostics;
pub use crate::dtype::DType;
pub use crate::ir::{Access, BinaryOp, CmpOp, Kernel, UnaryOp};
pub use crate::schedule::{Arguments, Schedule, ScheduleDef};
pub use crate::span::Span;

use crate::diag::Diagnostic;
use crate::ir::Type;

/// The place of some characters on one line of a file.
pub const fn at(file: u32, line: u32, col: u32, len: u32) -> Span {
    Span { file, line, col, len }
}

/// What can become a value of the kernel, or a list of such.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't become a value of the kernel",
    note = "numbers, truth values and lists of them can; a tile function needs a device argument or a turbofish"
)]
pub trait Lift {
    /// The value, or the list of values.
    type Out;
    /// Turns host numbers into constants; values stay as they are.
    fn lift(self, cx: &mut Cx, span: Span) -> Self::Out;
}

/// [`Lift::lift`] as a function.
pub fn lift<T: Lift>(cx: &mut Cx, span: Span, x: T) -> T::Out {
    x.lift(cx, span)
}

macro_rules! lift_scalar {
    ($($t:ty),*) => {$(
        impl Lift for $t {
            type Out = Val;
            fn lift(self, cx: &mut Cx, span: Span) -> Val {
                cx.lift(span, self)
            }
        }
        impl Label for $t {
            fn label(&self, _: &mut Cx, _: &str) {}
        }
    )*};
}
lift_scalar!(usize, i32, u32, i64, f32, f64, bool);

impl Lift for Val {
    type Out = Val;
    fn lift(self, _: &mut Cx, _: Span) -> Val {
        self
    }
}

impl<T: Lift + Clone> Lift for &T {
    type Out = T::Out;
    fn lift(self, cx: &mut Cx, span: Span) -> T::Out {
        self.clone().lift(cx, span)
    }
}

impl<T: Lift, const N: usize> Lift for [T; N] {
    type Out = [T::Out; N];
    fn lift(self, cx: &mut Cx, span: Span) -> Self::Out {
        self.map(|x| x.lift(cx, span))
    }
}

impl<T: Lift> Lift for Vec<T> {
    type Out = Vec<T::Out>;
    fn lift(self, cx: &mut Cx, span: Span) -> Self::Out {
        self.into_iter().map(|x| x.lift(cx, span)).collect()
    }
}

/// A variable that device control flow may change: a value or a fixed list of values.
pub trait Staged: Clone {
    /// Appends the values.
    fn flatten(&self, out: &mut Vec<Val>);
    /// The same list with other values.
    fn rebuild(&self, from: &mut dyn Iterator<Item = Val>) -> Self;
}

impl Staged for Val {
    fn flatten(&self, out: &mut Vec<Val>) {
        out.push(*self);
    }
    fn rebuild(&self, from: &mut dyn Iterator<Item = Val>) -> Self {
        from.next().unwrap_or(*self)
    }
}

impl<T: Staged, const N: usize> Staged for [T; N] {
    fn flatten(&self, out: &mut Vec<Val>) {
        self.iter().for_each(|x| x.flatten(out));
    }
    fn rebuild(&self, from: &mut dyn Iterator<Item = Val>) -> Self {
        self.each_ref().map(|x| x.rebuild(from))
    }
}

impl<T: Staged> Staged for Vec<T> {
    fn flatten(&self, out: &mut Vec<Val>) {
        self.iter().for_each(|x| x.flatten(out));
    }
    fn rebuild(&self, from: &mut dyn Iterator<Item = Val>) -> Self {
        self.iter().map(|x| x.rebuild(from)).collect()
    }
}

/// What a `let` gives its name to.
pub trait Label {
    /// Records the source name.
    fn label(&self, cx: &mut Cx, name: &str);
}

/// [`Label::label`] as a function.
pub fn label(cx: &mut Cx, x: &impl Label, name: &str) {
    x.label(cx, name);
}

impl Label for Val {
    fn label(&self, cx: &mut Cx, name: &str) {
        cx.name(*self, name);
    }
}

impl<T: Label> Label for &T {
    fn label(&self, cx: &mut Cx, name: &str) {
        (*self).label(cx, name);
    }
}

impl<T: Label> Label for [T] {
    fn label(&self, cx: &mut Cx, name: &str) {
        for (i, x) in self.iter().enumerate() {
            x.label(cx, &format!("{name}{i}"));
        }
    }
}

impl<T: Label, const N: usize> Label for [T; N] {
    fn label(&self, cx: &mut Cx, name: &str) {
        self.as_slice().label(cx, name);
    }
}

impl<T: Label> Label for Vec<T> {
    fn label(&self, cx: &mut Cx, name: &str) {
        self.as_slice().label(cx, name);
    }
}

macro_rules! tuples {
    ($(($($t:ident $i:tt),*)),* $(,)?) => {$(
        impl<$($t: Lift),*> Lift for ($($t,)*) {
            type Out = ($($t::Out,)*);
            #[allow(unused_variables, clippy::unused_unit, reason = "the empty tuple uses neither parameter")]
            fn lift(self, cx: &mut Cx, span: Span) -> Self::Out {
                ($(self.$i.lift(cx, span),)*)
            }
        }
        impl<$($t: Staged),*> Staged for ($($t,)*) {
            #[allow(unused_variables, reason = "the empty tuple has no values")]
            fn flatten(&self, out: &mut Vec<Val>) {
                $(self.$i.flatten(out);)*
            }
            #[allow(unused_variables, clippy::unused_unit, reason = "the empty tuple has no values")]
            fn rebuild(&self, from: &mut dyn Iterator<Item = Val>) -> Self {
                ($(self.$i.rebuild(from),)*)
            }
        }
        impl<$($t: Label),*> Label for ($($t,)*) {
            #[allow(unused_variables, reason = "the empty tuple has no values")]
            fn label(&self, cx: &mut Cx, name: &str) {
                $(self.$i.label(cx, &format!("{name}{}", $i));)*
            }
        }
    )*};
}
tuples!((), (A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3), (A 0, B 1, C 2, D 3, E 4), (A 0, B 1, C 2, D 3, E 4, F 5));

fn flat(x: &impl Staged) -> Vec<Val> {
    let mut out = Vec::new();
    x.flatten(&mut out);
    out
}

impl Cx {
    /// `for i in from..to` whose body changes the variables `carried`; gives them back as they are after the loop.
    pub fn loop_over<C: Staged>(
        &mut self,
        span: Span,
        range: (Arg, Arg),
        stages: usize,
        carried: C,
        body: impl FnOnce(&mut Cx, Val, C) -> C,
    ) -> C {
        let before = flat(&carried);
        let after = self.for_loop(span, range, stages, before, |cx, index, inner| {
            let next = body(cx, index, carried.rebuild(&mut inner.iter().copied()));
            cx.same_length(span, flat(&next), inner)
        });
        carried.rebuild(&mut after.into_iter())
    }

    /// `if` on a value of the kernel, whose branches change the variables `carried` and give a value each.
    pub fn branch<C: Staged, V: Staged>(
        &mut self,
        span: Span,
        condition: impl Into<Arg>,
        carried: C,
        then: impl FnOnce(&mut Cx, C) -> (C, V),
        otherwise: impl FnOnce(&mut Cx, C) -> (C, V),
    ) -> (C, V) {
        let condition = self.lift(span, condition);
        let mut taken = None;
        let before = flat(&carried);
        let after = self.if_else_with(
            span,
            condition,
            before,
            |cx, inner| {
                let result = then(cx, carried.rebuild(&mut inner.iter().copied()));
                let values = flat(&result);
                taken = Some(result);
                values
            },
            |cx, inner, like| {
                let result = otherwise(cx, carried.rebuild(&mut inner.iter().copied()));
                cx.same_length(span, flat(&result), like)
            },
        );
        match taken {
            Some(result) => result.rebuild(&mut after.into_iter()),
            None => unreachable!("`if_else` stages both branches"),
        }
    }

    /// `a && b` (`and`) or `a || b` on the device: on uniform conditions `b` is evaluated only where `a` leaves it open.
    pub fn short_circuit(&mut self, span: Span, and: bool, a: Val, b: impl FnOnce(&mut Cx) -> Val) -> Val {
        if !self.ty(a).shape().is_empty() {
            let b = b(self);
            return self.binary(span, if and { BinaryOp::And } else { BinaryOp::Or }, a, b);
        }
        if and {
            self.branch(span, a, (), |cx, ()| ((), b(cx)), |cx, ()| ((), cx.lift(span, false))).1
        } else {
            self.branch(span, a, (), |cx, ()| ((), cx.lift(span, true)), |cx, ()| ((), b(cx))).1
        }
    }

    /// A list that changed its length inside device control flow is reported and cut to the length it had.
    fn same_length(&mut self, span: Span, mut next: Vec<Val>, like: &[Val]) -> Vec<Val> {
        if next.len() != like.len() {
            let message = format!("a list has {} values before and {} after", like.len(), next.len());
            self.error(span, "E52", message, &["a list keeps its length in a device loop or condition".into()]);
            next.truncate(like.len());
            next.extend_from_slice(&like[next.len()..]);
        }
        next
    }

    /// A clause of `require!` on host values only: checked for every instance.
    pub fn require_host(&mut self, span: Span, holds: bool, text: &str) {
        if !holds {
            let message = format!("these generics break the kernel's requirement `{text}`");
            self.error(span, "E55", message, &["choose generics for which it holds".into()]);
        }
    }

    /// `work([…])` with the number of axes known from its argument or its pattern.
    pub fn work_axes<const N: usize>(&mut self, span: Span, extents: Arg) -> [Val; N] {
        let values = self.work(span, extents);
        match <[Val; N]>::try_from(values) {
            Ok(axes) => axes,
            Err(_) => {
                let message = format!("{N} coordinates are taken of another number of extents");
                let wrong = self.error(span, "E03", message, &["name one coordinate for each extent".into()]);
                [wrong; N]
            }
        }
    }

    /// One index of `keep`; a tile with one axis has column 0.
    pub fn axis(&mut self, span: Span, index: &[Val], axis: usize) -> Val {
        match index.get(axis) {
            Some(v) => *v,
            None => self.lift(span, 0),
        }
    }

    /// A device argument of a tile function.
    pub fn argument(&mut self, span: Span, arg: Option<Arg>) -> Val {
        match arg {
            Some(Arg::List(_)) | None => {
                let fix = "give one argument for each parameter".to_owned();
                self.error(span, "E56", "this call of a tile function lacks a value", &[fix])
            }
            Some(arg) => self.lift(span, arg),
        }
    }

    /// A list argument of a tile function.
    pub fn list_argument(&mut self, span: Span, arg: Option<Arg>) -> Vec<Val> {
        match arg {
            Some(Arg::List(list)) => list.into_iter().map(|x| self.lift(span, x)).collect(),
            other => vec![self.argument(span, other)],
        }
    }

    /// A list argument of a tile function, of known length.
    pub fn array_argument<const N: usize>(&mut self, span: Span, arg: Option<Arg>) -> [Val; N] {
        let mut list = self.list_argument(span, arg).into_iter();
        std::array::from_fn(|_| match list.next() {
            Some(v) => v,
            None => {
                let message = format!("this call of a tile function lacks one of {N} values");
                self.error(span, "E56", message, &[format!("give a list of {N} values")])
            }
        })
    }

    /// An argument of a tile function that must be known while staging.
    pub fn host_argument(&mut self, span: Span, arg: Option<Arg>) -> usize {
        match arg {
            Some(Arg::Int(n)) if n >= 0 => n as usize,
            _ => {
                let fix = "pass a number that doesn't depend on device values".to_owned();
                self.error(span, "E56", "a `usize` argument of a tile function must be known while staging", &[fix]);
                1
            }
        }
    }

    /// Whether a value could not be staged.
    pub fn is_wrong(&self, v: Val) -> bool {
        *self.ty(v) == Type::Error
    }
}

/// How many generics a call of a tile function writes.
#[derive(Clone, Copy, Debug)]
pub struct Count<const N: usize>;

/// Holds where a call of a tile function writes as many generics as the function declares.
#[diagnostic::on_unimplemented(
    message = "a tile function's generics must all be written at the call: `name::<…>(…)`",
    label = "this function has {DECLARED}"
)]
pub trait Written<const DECLARED: usize> {}
impl<const N: usize> Written<N> for Count<N> {}

/// The generics that a call of a tile function writes.
pub fn written<const DECLARED: usize, const N: usize>(list: [Generic; N]) -> [Generic; N]
where
    Count<N>: Written<DECLARED>,
{
    list
}

/// Whether the generics fit those declared, by number and kind.
///
/// # Errors
/// A diagnostic with the declared generics.
pub fn check_generics(kernel: &str, declared: &[(&str, bool)], given: &[Generic]) -> Result<(), Diagnostics> {
    let fits = declared.len() == given.len()
        && given
            .iter()
            .zip(declared)
            .all(|(g, (_, is_type))| matches!((g, is_type), (Generic::Int(_), false) | (Generic::Type(_), true)));
    if fits {
        return Ok(());
    }
    let list: Vec<String> =
        declared.iter().map(|(n, t)| format!("{n}: {}", if *t { "type" } else { "usize" })).collect();
    Err(Diagnostics(vec![Diagnostic {
        code: "E56",
        message: format!("`{kernel}` takes generics ({}), got {given:?}", list.join(", ")),
        file: String::new(),
        span: Span::NONE,
        notes: vec!["give all of them, in this order".into()],
    }]))
}
