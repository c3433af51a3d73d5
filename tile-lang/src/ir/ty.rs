//! Types of values.

use crate::dtype::DType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a kernel may do with a global array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// `&Global`: read only within this launch; other launches may write it.
    Read,
    /// `&mut Global`: may be read and written.
    Write,
    /// `&Weight`: constant for the whole program, so it may be fetched before any dependency is met, and its
    /// storage order belongs to the compiler.
    Weight,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Type {
    /// One uniform number, the same for the whole work item.
    Scalar(DType),
    /// A tile held in registers, one or two axes, row-major indices; every extent is a power of two.
    Tile(DType, Vec<usize>),
    /// A tile in shared memory, filled by an asynchronous copy; two axes, any extents.
    Smem(DType, Vec<usize>),
    /// An array in global memory: element type, number of axes, access. Row-major and dense, extents known at launch.
    Global(DType, usize, Access),
    /// The result of an op that was reported as wrong; every use of it is silent.
    Error,
}

impl Type {
    /// The element type; `None` for [`Type::Error`].
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Type::Scalar(d) | Type::Tile(d, _) | Type::Smem(d, _) | Type::Global(d, ..) => Some(*d),
            Type::Error => None,
        }
    }

    /// Extents of a tile in registers or shared memory; empty for everything else.
    pub fn shape(&self) -> &[usize] {
        match self {
            Type::Tile(_, s) | Type::Smem(_, s) => s,
            Type::Scalar(_) | Type::Global(..) | Type::Error => &[],
        }
    }

    /// The same kind and shape with another element type.
    pub fn with_dtype(&self, d: DType) -> Type {
        match self {
            Type::Scalar(_) => Type::Scalar(d),
            Type::Tile(_, s) => Type::Tile(d, s.clone()),
            Type::Smem(_, s) => Type::Smem(d, s.clone()),
            Type::Global(_, r, a) => Type::Global(d, *r, *a),
            Type::Error => Type::Error,
        }
    }

    /// Elements in a tile; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.shape().iter().product()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn dims(f: &mut fmt::Formatter<'_>, s: &[usize]) -> fmt::Result {
            for (i, d) in s.iter().enumerate() {
                write!(f, "{}{d}", if i > 0 { "x" } else { "" })?;
            }
            Ok(())
        }
        match self {
            Type::Scalar(d) => write!(f, "{d}"),
            Type::Tile(d, s) => {
                write!(f, "tile<{d}, ")?;
                dims(f, s)?;
                write!(f, ">")
            }
            Type::Smem(d, s) => {
                write!(f, "smem<{d}, ")?;
                dims(f, s)?;
                write!(f, ">")
            }
            Type::Global(d, r, a) => {
                let name = match a {
                    Access::Read => "global",
                    Access::Write => "global_mut",
                    Access::Weight => "weight",
                };
                write!(f, "{name}<{d}, {r}>")
            }
            Type::Error => write!(f, "error"),
        }
    }
}
