//! The builder that staged kernels run on: values, control flow, diagnostics.
//!
//! The macros turn a kernel's body into calls of [`Cx`]. It runs on the host with all const parameters known, gives every
//! op its source span, checks shapes and types once more (they are run-time values here), and collects all errors. A
//! wrong op yields a value of type [`Type::Error`]; whatever uses it stays silent, so one mistake is reported once.

mod arg;
mod control;
mod debug;
mod methods;
mod ops;
mod roles;
mod scaled;
mod shape;
pub mod stage;

pub use arg::{Arg, Generic, InstanceError, KernelDef, Space, TypeSpec, Val};

use crate::diag::{Diagnostic, Diagnostics};
use crate::dtype::DType;
use crate::ir::{Access, BlockId, Kernel, Literal, OpData, OpKind, Param, Type, ValueId};
use crate::schedule::OpClass;
use crate::span::Span;

/// A kernel under construction.
#[derive(Debug)]
pub struct Cx {
    kernel: Kernel,
    block: BlockId,
    errors: Vec<Diagnostic>,
    roles: roles::Roles,
    /// What schedules call the op of the statement at hand.
    op_name: Option<Wanted>,
}

/// The name that a statement gives to its op.
#[derive(Debug)]
struct Wanted {
    name: String,
    span: Span,
    used: bool,
}

impl Cx {
    /// Starts a kernel whose spans point into `file`.
    pub fn new(name: &str, file: &str) -> Self {
        let mut kernel = Kernel::new(name);
        kernel.files.push(file.into());
        let block = kernel.bodies[0].1;
        Cx { kernel, block, errors: Vec::new(), roles: roles::Roles::default(), op_name: None }
    }

    /// Records the value of a const or type parameter, for printing.
    pub fn note_generic(&mut self, name: &str, value: impl std::fmt::Display) {
        self.kernel.generics.push((name.into(), value.to_string()));
    }

    /// Index of a source file; tile functions from other files call it.
    pub fn file(&mut self, path: &str) -> u32 {
        if let Some(i) = self.kernel.files.iter().position(|f| f == path) {
            return i as u32;
        }
        self.kernel.files.push(path.into());
        self.kernel.files.len() as u32 - 1
    }

    /// Adds a global array parameter.
    pub fn param_global(&mut self, name: &str, dtype: DType, rank: usize, access: Access) -> Val {
        self.param(name, Type::Global(dtype, rank, access))
    }

    /// Adds a scalar parameter.
    pub fn param_scalar(&mut self, name: &str, dtype: DType) -> Val {
        self.param(name, Type::Scalar(dtype))
    }

    fn param(&mut self, name: &str, ty: Type) -> Val {
        let value = self.kernel.add_value(ty);
        self.kernel.values[value.index()].name = Some(name.into());
        self.kernel.params.push(Param { name: name.into(), value });
        Val(value)
    }

    /// Ends the kernel: the kernel, or everything that was wrong with it.
    ///
    /// # Errors
    /// All diagnostics of staging.
    pub fn finish(mut self) -> Result<Kernel, Diagnostics> {
        self.split_roles();
        if self.errors.is_empty() { Ok(self.kernel) } else { Err(Diagnostics(self.errors)) }
    }

    /// Remembers the source name of a value; the first name stays.
    pub fn name(&mut self, value: Val, name: &str) -> Val {
        let slot = &mut self.kernel.values[value.0.index()].name;
        if slot.is_none() {
            *slot = Some(name.into());
        }
        value
    }

    /// `#[op(name)]`: what schedules call the op of the statement that follows.
    pub fn begin_op(&mut self, span: Span, name: &str) {
        self.op_name = Some(Wanted { name: name.into(), span, used: false });
    }

    /// The statement that was given a name ends.
    pub fn end_op(&mut self) {
        if let Some(Wanted { name, span, used: false }) = self.op_name.take() {
            let fix =
                "a staged load, a product or a write of an array has a name: put it on a statement with one of them";
            self.error(span, "E20", format!("`#[op({name})]` names no op that a schedule could name"), &[fix.into()]);
        }
    }

    /// The type of a value.
    pub fn ty(&self, v: Val) -> &Type {
        self.kernel.ty(v.0)
    }

    /// Reports an error and returns the value that silences what follows from it.
    pub fn error(&mut self, span: Span, code: &'static str, message: impl Into<String>, notes: &[String]) -> Val {
        let file = self.kernel.files.get(span.file as usize).cloned().unwrap_or_default();
        self.errors.push(Diagnostic { code, message: message.into(), file, span, notes: notes.to_vec() });
        self.poison()
    }

    fn poison(&mut self) -> Val {
        Val(self.kernel.add_value(Type::Error))
    }

    fn is_poison(&self, v: Val) -> bool {
        *self.ty(v) == Type::Error
    }

    /// Adds an op with results of the given types to the current block.
    fn push(&mut self, span: Span, kind: OpKind, operands: &[Val], results: &[Type]) -> Vec<Val> {
        let results: Vec<ValueId> = results.iter().map(|t| self.kernel.add_value(t.clone())).collect();
        let name = self.op_name.as_mut().filter(|_| OpClass::of(&kind).is_some()).map(|wanted| {
            wanted.used = true;
            wanted.name.clone()
        });
        let op = OpData {
            kind,
            operands: operands.iter().map(|v| v.0).collect(),
            results: results.clone(),
            blocks: Vec::new(),
            span,
            name,
        };
        let id = self.kernel.add_op(op);
        self.kernel.blocks[self.block.index()].ops.push(id);
        results.into_iter().map(Val).collect()
    }

    /// Adds an op with one result; silent when an operand is already wrong.
    fn emit(&mut self, span: Span, kind: OpKind, operands: &[Val], result: Type) -> Val {
        if operands.iter().any(|v| self.is_poison(*v)) {
            return self.poison();
        }
        self.push(span, kind, operands, &[result])[0]
    }

    /// Turns a host number into a constant of type i32, f32 or bool; values pass through.
    pub fn lift(&mut self, span: Span, arg: impl Into<Arg>) -> Val {
        match arg.into() {
            Arg::Val(v) => v,
            Arg::Int(i) => match i32::try_from(i) {
                Ok(i) => self.literal(span, Literal::I32(i)),
                Err(_) => self.error(
                    span,
                    "E50",
                    format!("{i} does not fit in i32"),
                    &["device integers have 32 bits".into()],
                ),
            },
            Arg::Float(x) => self.literal(span, Literal::F32(x as f32)),
            Arg::Bool(b) => self.literal(span, Literal::Bool(b)),
            Arg::List(_) => self.error(
                span,
                "E50",
                "a list of indices is no value",
                &["give lists to ops that take indices".into()],
            ),
            Arg::Order(_) | Arg::Scope(_) => self.error(
                span,
                "E50",
                "an order or scope is no value",
                &["give it to an atomic op, after the element".into()],
            ),
        }
    }

    /// As [`Cx::lift`], with host integers becoming f32 where the other operand is a float.
    fn lift_like(&mut self, span: Span, arg: Arg, like: DType) -> Val {
        match arg {
            Arg::Int(i) if like.is_float() => self.literal(span, Literal::F32(i as f32)),
            other => self.lift(span, other),
        }
    }

    fn literal(&mut self, span: Span, lit: Literal) -> Val {
        self.push(span, OpKind::Const(lit), &[], &[Type::Scalar(lit.dtype())])[0]
    }
}
