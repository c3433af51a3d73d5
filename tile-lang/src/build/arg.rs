//! What staged code passes to the builder.

use crate::diag::Diagnostics;
use crate::dtype::DType;
use crate::ir::{Kernel, Order, Scope, ValueId};

/// A value of the kernel under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Val(pub(crate) ValueId);

impl Val {
    /// The IR value.
    pub fn id(self) -> ValueId {
        self.0
    }
}

/// An argument: a value of the kernel, a host number, or a list of either.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A value.
    Val(Val),
    /// A host integer.
    Int(i64),
    /// A host float.
    Float(f64),
    /// A host truth value.
    Bool(bool),
    /// An index list, `[i, k]`.
    List(Vec<Arg>),
    /// What an atomic op orders.
    Order(Order),
    /// Among whom.
    Scope(Scope),
}

impl From<Order> for Arg {
    fn from(order: Order) -> Arg {
        Arg::Order(order)
    }
}

impl From<Scope> for Arg {
    fn from(scope: Scope) -> Arg {
        Arg::Scope(scope)
    }
}

macro_rules! arg_from {
    ($($t:ty => $variant:ident as $as:ty),* $(,)?) => {$(
        impl From<$t> for Arg {
            fn from(x: $t) -> Arg {
                Arg::$variant(x as $as)
            }
        }
        impl From<&$t> for Arg {
            fn from(x: &$t) -> Arg {
                Arg::$variant(*x as $as)
            }
        }
    )*};
}
arg_from!(usize => Int as i64, i32 => Int as i64, u32 => Int as i64, i64 => Int as i64, f32 => Float as f64, f64 => Float as f64, bool => Bool as bool);

impl From<Val> for Arg {
    fn from(v: Val) -> Arg {
        Arg::Val(v)
    }
}

impl From<&Val> for Arg {
    fn from(v: &Val) -> Arg {
        Arg::Val(*v)
    }
}

impl<T: Into<Arg>, const N: usize> From<[T; N]> for Arg {
    fn from(list: [T; N]) -> Arg {
        Arg::List(list.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Arg>> From<Vec<T>> for Arg {
    fn from(list: Vec<T>) -> Arg {
        Arg::List(list.into_iter().map(Into::into).collect())
    }
}

impl Arg {
    /// The host integer of a `usize` parameter of a tile function.
    ///
    /// # Panics
    /// If the macro passed anything else, which rustc's check of the original function rules out.
    pub fn host_int(&self) -> usize {
        match self {
            Arg::Int(i) if *i >= 0 => *i as usize,
            other => panic!("a host integer is needed here, got {other:?}"),
        }
    }
}

/// Where a tile lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Registers.
    Tile,
    /// Shared memory.
    Smem,
}

/// A tile type as written in source; `_` for the element type is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeSpec {
    /// Registers or shared memory.
    pub space: Space,
    /// Element type.
    pub dtype: Option<DType>,
    /// Extents, one or two.
    pub shape: Vec<usize>,
}

/// The value of a const or type parameter, or a generic argument of an op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Generic {
    /// `const N: usize`.
    Int(usize),
    /// An element type.
    Type(DType),
    /// A tile type, as in `load::<Tile<f32, 16, 64>>`.
    Spec(TypeSpec),
}

impl From<usize> for Generic {
    fn from(n: usize) -> Self {
        Generic::Int(n)
    }
}

impl From<DType> for Generic {
    fn from(d: DType) -> Self {
        Generic::Type(d)
    }
}

impl From<TypeSpec> for Generic {
    fn from(t: TypeSpec) -> Self {
        Generic::Spec(t)
    }
}

impl Generic {
    /// The value of a `const N: usize` parameter.
    ///
    /// # Panics
    /// If it is not one; [`KernelDef::instance`] checks kinds before it stages.
    pub fn int(&self) -> usize {
        match self {
            Generic::Int(n) => *n,
            other => panic!("a const parameter is needed here, got {other:?}"),
        }
    }

    /// The value of a type parameter.
    ///
    /// # Panics
    /// If it is not one; [`KernelDef::instance`] checks kinds before it stages.
    pub fn dtype(&self) -> DType {
        match self {
            Generic::Type(d) => *d,
            other => panic!("an element type is needed here, got {other:?}"),
        }
    }
}

/// A kernel of the source, not instantiated yet.
#[derive(Clone, Copy, Debug)]
pub struct KernelDef {
    /// Function name.
    pub name: &'static str,
    /// Module path.
    pub module: &'static str,
    /// Names of the generic parameters; `true` where it is a type.
    pub generics: &'static [(&'static str, bool)],
    /// Runs the staged body.
    pub stage: fn(&[Generic]) -> Result<Kernel, Diagnostics>,
}

/// A kernel can't be instantiated.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Number or kind of generic arguments.
    #[error(
        "error[E56]: kernel `{kernel}` takes generics ({expected}), got {got}\n  = give all of them, in this order"
    )]
    Generics {
        /// Kernel name.
        kernel: String,
        /// What it declares.
        expected: String,
        /// What was given.
        got: String,
    },
    /// The staged body is wrong for these generics.
    #[error("{0}")]
    Staging(#[from] Diagnostics),
}

impl KernelDef {
    /// Stages the body for these generics.
    ///
    /// # Errors
    /// Wrong number or kind of generics, or diagnostics at the user's lines.
    pub fn instance(&self, generics: &[Generic]) -> Result<Kernel, InstanceError> {
        let fits = generics.len() == self.generics.len()
            && generics.iter().zip(self.generics).all(|(g, (_, is_type))| match g {
                Generic::Int(_) => !is_type,
                Generic::Type(_) => *is_type,
                Generic::Spec(_) => false,
            });
        if !fits {
            let expected =
                self.generics.iter().map(|(n, t)| if *t { format!("{n}: type") } else { format!("{n}: usize") });
            return Err(InstanceError::Generics {
                kernel: self.name.into(),
                expected: expected.collect::<Vec<_>>().join(", "),
                got: format!("{generics:?}"),
            });
        }
        Ok((self.stage)(generics)?)
    }
}
