//! Which element types an op is defined on, how values of a type are carried, and what an op's declaration says of its tests.

use crate::dtype::DType;

/// A set of element types. The language has a trait of the same name for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Real numbers that functions are computed on: f32, and bf16 and f16 by way of f32, rounded once.
    Float,
    /// What can be added and multiplied.
    Number,
    /// Integers that arithmetic is defined on.
    Int,
    /// What has bitwise or logical ops.
    Bits,
    /// Truth values.
    Truth,
    /// What fills a 32-bit register: reductions are on these.
    Word,
    /// f32 alone: its bits are an i32.
    Single,
    /// Everything with an order or equality.
    Elem,
}

impl Class {
    /// Its element types.
    pub const fn types(self) -> &'static [DType] {
        match self {
            Class::Float => &[DType::F32, DType::Bf16, DType::F16],
            Class::Number => &[DType::F32, DType::Bf16, DType::F16, DType::I32],
            Class::Int => &[DType::I32],
            Class::Bits => &[DType::I32, DType::Bool],
            Class::Truth => &[DType::Bool],
            Class::Word => &[DType::F32, DType::I32],
            Class::Single => &[DType::F32],
            Class::Elem => &[DType::F32, DType::Bf16, DType::F16, DType::I32, DType::I8, DType::U8, DType::Bool],
        }
    }

    /// Whether the type is one of them.
    pub fn holds(self, d: DType) -> bool {
        self.types().contains(&d)
    }

    /// The types, for messages: `f32, bf16`.
    pub fn list(self) -> String {
        self.types().iter().map(|d| d.name()).collect::<Vec<_>>().join(", ")
    }

    /// What to write before an op of this class on another type.
    pub fn fix(self) -> &'static str {
        match self {
            Class::Int | Class::Bits => "write `.cast::<i32>()` first",
            Class::Truth => "compare first: `x.ne(0)` gives truth values",
            _ => "write `.cast::<f32>()` first",
        }
    }
}

/// What an elementwise op does with a value of one operand: called with the op's meaning.
pub trait Map<T, U = T> {
    /// What is made.
    type Out;
    /// Applies the meaning.
    fn with(self, f: impl Fn(T) -> U) -> Self::Out;
}

/// As [`Map`], for two operands.
pub trait Zip<T, U = T> {
    /// What is made.
    type Out;
    /// Applies the meaning.
    fn with(self, f: impl Fn(T, T) -> U) -> Self::Out;
}

/// As [`Map`], for three real operands.
pub trait Zip3 {
    /// What is made.
    type Out;
    /// Applies the meaning.
    fn with(self, f: impl Fn(f32, f32, f32) -> f32) -> Self::Out;
}

/// A single operand.
struct One<T>(T);

impl<T, U> Map<T, U> for One<T> {
    type Out = U;
    fn with(self, f: impl Fn(T) -> U) -> U {
        f(self.0)
    }
}

/// A pair of operands.
struct Two<T>(T, T);

impl<T, U> Zip<T, U> for Two<T> {
    type Out = U;
    fn with(self, f: impl Fn(T, T) -> U) -> U {
        f(self.0, self.1)
    }
}

/// Three operands.
struct Three([f32; 3]);

impl Zip3 for Three {
    type Out = f32;
    fn with(self, f: impl Fn(f32, f32, f32) -> f32) -> f32 {
        let [x, y, z] = self.0;
        f(x, y, z)
    }
}

/// `f` with one operand.
pub(super) fn one<T>(x: T) -> impl Map<T, T, Out = T> {
    One(x)
}

/// `f` with two operands.
pub(super) fn two<T, U>(x: T, y: T) -> impl Zip<T, U, Out = U> {
    Two(x, y)
}

/// `f` with three operands.
pub(super) fn three(x: f32, y: f32, z: f32) -> impl Zip3<Out = f32> {
    Three([x, y, z])
}

/// What tests of an op on real numbers need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Operands are drawn from here.
    pub from: f32,
    /// Up to here.
    pub to: f32,
    /// Error allowed on a device, relative to the larger of 1 and the result; 0 where results are exact.
    pub error: f32,
}

/// How an op becomes instructions: straight-line code for each register type, read by the code generator. Operands are
/// `x`, `y` and `z`. A statement is `name = instruction operands`, the last one without a name; statements end with `;`. An
/// instruction is one of LLVM's (`fadd x, y`), an intrinsic (`intr.floor x`), a comparison (`fcmp.olt x, y`), a
/// conversion (`zext x to i64`) or one of PTX (anything else with a point: `ex2.approx.f32 x`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// In f32. The 16-bit types take this too, widened and rounded once, unless `half` is given.
    pub f32: Option<&'static str>,
    /// In bf16 and f16.
    pub half: Option<&'static str>,
    /// In i32; smaller integers are extended first.
    pub i32: Option<&'static str>,
    /// In i1.
    pub bool: Option<&'static str>,
}
