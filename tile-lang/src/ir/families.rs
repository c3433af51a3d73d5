//! What the declarations of [`super::elementwise`] become: the families' types, with spelling, meaning, instructions and trials of each op.

use super::class::{Class, Code, Map, Trial, Zip, Zip3, one, three, two};
use super::elementwise::{atomic_ops, binary_ops, cmp_ops, reduce_ops, ternary_ops, unary_ops};
use crate::dtype::DType;
use serde::{Deserialize, Serialize};

/// The part of a declaration that all families share: variants, spelling, documentation.
macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $vdoc:literal])* $text:ident = $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* $variant),* }

        impl $name {
            /// Every op of this family.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// Spelling in source and text form.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => stringify!($text)),* }
            }

            /// The op with this spelling.
            pub fn from_name(text: &str) -> Option<Self> {
                $name::ALL.iter().copied().find(|op| op.name() == text)
            }

            /// What it does, in one sentence.
            pub const fn doc(self) -> &'static str {
                match self { $($name::$variant => concat!($($vdoc),*)),* }
            }
        }
    };
}

/// `Some(visitor.with(meaning))`, or `None` where an op has no such meaning.
macro_rules! meaning {
    ($v:ident) => {
        None
    };
    ($v:ident $f:expr) => {
        Some($v.with($f))
    };
}

macro_rules! text {
    () => {
        None
    };
    ($t:literal) => {
        Some($t)
    };
}

macro_rules! declare_unary {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident { $form:ident, on: $class:ident
        $(, real: $real:expr)? $(, int: $int:expr)? $(, truth: $truth:expr)? $(, bits: $bits:expr)? $(, number: $number:expr)?,
        code: { $(f32: $f32:literal)? $(, half: $half:literal)? $(,)? $(i32: $i32:literal)? $(, bool: $bool:literal)? },
        trial: $from:literal, $to:literal, $error:literal })*) => {
        spelled! {
            /// Elementwise ops of one operand.
            UnaryOp { $($(#[doc = $doc])* $name = $variant,)* }
        }

        impl UnaryOp {
            /// The element types it is defined on.
            pub const fn class(self) -> Class {
                match self { $(UnaryOp::$variant => Class::$class),* }
            }

            /// Its meaning on real numbers.
            pub fn real<V: Map<f32>>(self, v: V) -> Option<V::Out> {
                match self { $(UnaryOp::$variant => meaning!(v $($real)?)),* }
            }

            /// Its meaning on integers.
            pub fn int<V: Map<i32>>(self, v: V) -> Option<V::Out> {
                match self { $(UnaryOp::$variant => meaning!(v $($int)?)),* }
            }

            /// Its meaning on truth values.
            pub fn truth<V: Map<bool>>(self, v: V) -> Option<V::Out> {
                match self { $(UnaryOp::$variant => meaning!(v $($truth)?)),* }
            }

            /// Its meaning where a real number becomes an integer.
            pub fn bits<V: Map<f32, i32>>(self, v: V) -> Option<V::Out> {
                match self { $(UnaryOp::$variant => meaning!(v $($bits)?)),* }
            }

            /// Its meaning where an integer becomes a real number.
            pub fn number<V: Map<i32, f32>>(self, v: V) -> Option<V::Out> {
                match self { $(UnaryOp::$variant => meaning!(v $($number)?)),* }
            }

            /// Its instructions.
            pub const fn code(self) -> Code {
                match self { $(UnaryOp::$variant => Code {
                    f32: text!($($f32)?), half: text!($($half)?), i32: text!($($i32)?), bool: text!($($bool)?),
                }),* }
            }

            /// What its tests use.
            pub const fn trial(self) -> Trial {
                match self { $(UnaryOp::$variant => Trial { from: $from, to: $to, error: $error }),* }
            }
        }
    };
}
unary_ops!(declare_unary);

impl UnaryOp {
    /// Element type of the result on operands of type `d`, where the op is defined on it.
    pub fn result(self, d: DType) -> Option<DType> {
        self.class().holds(d).then_some(match self {
            UnaryOp::ToBits => DType::I32,
            UnaryOp::FromBits => DType::F32,
            _ => d,
        })
    }

    /// Its value on a real number.
    pub fn eval_real(self, x: f32) -> Option<f32> {
        self.real(one(x))
    }

    /// Its value on an integer.
    pub fn eval_int(self, x: i32) -> Option<i32> {
        self.int(one(x))
    }

    /// Its value on a truth value.
    pub fn eval_truth(self, x: bool) -> Option<bool> {
        self.truth(one(x))
    }
}

macro_rules! declare_binary {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident { $form:ident, on: $class:ident
        $(, real: $real:expr)? $(, int: $int:expr)? $(, truth: $truth:expr)?,
        code: { $(f32: $f32:literal)? $(, half: $half:literal)? $(,)? $(i32: $i32:literal)? $(, bool: $bool:literal)? },
        trial: $from:literal, $to:literal, $error:literal })*) => {
        spelled! {
            /// Elementwise ops of two operands of one type. Integers wrap.
            BinaryOp { $($(#[doc = $doc])* $name = $variant,)* }
        }

        impl BinaryOp {
            /// The element types it is defined on.
            pub const fn class(self) -> Class {
                match self { $(BinaryOp::$variant => Class::$class),* }
            }

            /// Its meaning on real numbers.
            pub fn real<V: Zip<f32>>(self, v: V) -> Option<V::Out> {
                match self { $(BinaryOp::$variant => meaning!(v $($real)?)),* }
            }

            /// Its meaning on integers.
            pub fn int<V: Zip<i32>>(self, v: V) -> Option<V::Out> {
                match self { $(BinaryOp::$variant => meaning!(v $($int)?)),* }
            }

            /// Its meaning on truth values.
            pub fn truth<V: Zip<bool>>(self, v: V) -> Option<V::Out> {
                match self { $(BinaryOp::$variant => meaning!(v $($truth)?)),* }
            }

            /// Its instructions.
            pub const fn code(self) -> Code {
                match self { $(BinaryOp::$variant => Code {
                    f32: text!($($f32)?), half: text!($($half)?), i32: text!($($i32)?), bool: text!($($bool)?),
                }),* }
            }

            /// What its tests use.
            pub const fn trial(self) -> Trial {
                match self { $(BinaryOp::$variant => Trial { from: $from, to: $to, error: $error }),* }
            }
        }
    };
}
binary_ops!(declare_binary);

impl BinaryOp {
    /// Its value on real numbers.
    pub fn eval_real(self, x: f32, y: f32) -> Option<f32> {
        self.real(two(x, y))
    }

    /// Its value on integers.
    pub fn eval_int(self, x: i32, y: i32) -> Option<i32> {
        self.int(two(x, y))
    }

    /// Its value on truth values.
    pub fn eval_truth(self, x: bool, y: bool) -> Option<bool> {
        self.truth(two(x, y))
    }
}

macro_rules! declare_ternary {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident { on: $class:ident, real: $real:expr,
        code: { f32: $f32:literal }, trial: $from:literal, $to:literal, $error:literal })*) => {
        spelled! {
            /// Elementwise ops of three operands of one type.
            TernaryOp { $($(#[doc = $doc])* $name = $variant,)* }
        }

        impl TernaryOp {
            /// The element types it is defined on.
            pub const fn class(self) -> Class {
                match self { $(TernaryOp::$variant => Class::$class),* }
            }

            /// Its meaning on real numbers.
            pub fn real<V: Zip3>(self, v: V) -> V::Out {
                match self { $(TernaryOp::$variant => v.with($real)),* }
            }

            /// Its instructions.
            pub const fn code(self) -> Code {
                match self { $(TernaryOp::$variant => Code { f32: Some($f32), half: None, i32: None, bool: None }),* }
            }

            /// What its tests use.
            pub const fn trial(self) -> Trial {
                match self { $(TernaryOp::$variant => Trial { from: $from, to: $to, error: $error }),* }
            }
        }
    };
}
ternary_ops!(declare_ternary);

impl TernaryOp {
    /// Its value on real numbers.
    pub fn eval_real(self, x: f32, y: f32, z: f32) -> f32 {
        self.real(three(x, y, z))
    }
}

macro_rules! declare_cmp {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident { $f:expr, $real:literal, $int:literal })*) => {
        spelled! {
            /// Comparisons; the result is `bool`. With a NaN all but `ne` are false.
            CmpOp { $($(#[doc = $doc])* $name = $variant,)* }
        }

        impl CmpOp {
            /// Its meaning on real numbers.
            pub fn real<V: Zip<f32, bool>>(self, v: V) -> V::Out {
                match self { $(CmpOp::$variant => v.with($f)),* }
            }

            /// Its meaning on integers.
            pub fn int<V: Zip<i32, bool>>(self, v: V) -> V::Out {
                match self { $(CmpOp::$variant => v.with($f)),* }
            }

            /// Its meaning on truth values, false being less than true.
            pub fn truth<V: Zip<bool, bool>>(self, v: V) -> V::Out {
                match self { $(CmpOp::$variant => v.with($f)),* }
            }

            /// LLVM's predicates, of real numbers and of signed integers.
            pub const fn predicates(self) -> (&'static str, &'static str) {
                match self { $(CmpOp::$variant => ($real, $int)),* }
            }
        }
    };
}
cmp_ops!(declare_cmp);

impl CmpOp {
    /// Its value on real numbers.
    pub fn eval_real(self, x: f32, y: f32) -> bool {
        self.real(two(x, y))
    }

    /// Its value on integers.
    pub fn eval_int(self, x: i32, y: i32) -> bool {
        self.int(two(x, y))
    }

    /// Its value on truth values.
    pub fn eval_truth(self, x: bool, y: bool) -> bool {
        self.truth(two(x, y))
    }
}

/// How a reduction puts two elements together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// By an op of two operands.
    Join(BinaryOp),
    /// The index of the element that this comparison holds for against all others.
    Index(CmpOp),
}

macro_rules! declare_reduce {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident {
        on: $class:ident, $fold:ident($by:expr), $kind:ident, $row:ident $col:ident $all:ident })*) => {
        spelled! {
            /// Reductions along one axis.
            ReduceOp { $($(#[doc = $doc])* $name = $variant,)* }
        }

        impl ReduceOp {
            /// The element types it is defined on.
            pub const fn class(self) -> Class {
                match self { $(ReduceOp::$variant => Class::$class),* }
            }

            /// How two elements become one.
            pub const fn fold(self) -> Fold {
                match self { $(ReduceOp::$variant => Fold::$fold($by)),* }
            }
        }
    };
}
reduce_ops!(declare_reduce);

impl ReduceOp {
    /// Element type of the result on operands of type `d`, where the op is defined on it.
    pub fn result(self, d: DType) -> Option<DType> {
        self.class().holds(d).then_some(match self.fold() {
            Fold::Join(_) => d,
            Fold::Index(_) => DType::I32,
        })
    }
}

/// What an atomic op makes of the element in memory and the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicFold {
    /// What this op gives of the two.
    Join(BinaryOp),
    /// The new one.
    Replace,
}

macro_rules! on_reals {
    (native) => {
        true
    };
    (integer) => {
        false
    };
}

macro_rules! declare_atomic {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident {
        on: $class:ident, $fold:ident $(($by:expr))?, $method:ident $ordered:ident, $machine:ident })*) => {
        spelled! {
            /// Ops on elements of arrays that no other work item divides.
            AtomicOp { $($(#[doc = $doc])* $name = $variant,)* }
        }

        impl AtomicOp {
            /// The element types it is defined on.
            pub const fn class(self) -> Class {
                match self { $(AtomicOp::$variant => Class::$class),* }
            }

            /// What becomes of the element in memory.
            pub const fn fold(self) -> AtomicFold {
                match self { $(AtomicOp::$variant => AtomicFold::$fold $(($by))?),* }
            }

            /// Whether machines have it on f32.
            pub const fn native_on_f32(self) -> bool {
                match self { $(AtomicOp::$variant => on_reals!($machine)),* }
            }
        }
    };
}
atomic_ops!(declare_atomic);

impl AtomicOp {
    /// What it makes of a real number in memory and a new one.
    pub fn eval_real(self, old: f32, new: f32) -> Option<f32> {
        match self.fold() {
            AtomicFold::Join(op) => op.eval_real(old, new),
            AtomicFold::Replace => Some(new),
        }
    }

    /// What it makes of an integer in memory and a new one.
    pub fn eval_int(self, old: i32, new: i32) -> Option<i32> {
        match self.fold() {
            AtomicFold::Join(op) => op.eval_int(old, new),
            AtomicFold::Replace => Some(new),
        }
    }
}
