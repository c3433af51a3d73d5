//! The ops of tile IR.

use super::Stage;
use crate::dtype::DType;
use serde::{Deserialize, Serialize};

/// Declares an enum of ops together with their spelling, in source (method names) and in the text form alike.
macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// Every op of this family.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// Spelling in source and text form.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// The op with this spelling.
            pub fn from_name(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

spelled! {
    /// Elementwise ops of one operand. Float ops take f32 (or bf16, computed in f32 and rounded once).
    UnaryOp {
        /// Negation.
        Neg = "neg",
        /// Absolute value.
        Abs = "abs",
        /// e^x.
        Exp = "exp",
        /// 2^x.
        Exp2 = "exp2",
        /// Natural logarithm.
        Ln = "ln",
        /// Logarithm to base 2.
        Log2 = "log2",
        /// Square root.
        Sqrt = "sqrt",
        /// 1 / √x.
        Rsqrt = "rsqrt",
        /// 1 / x.
        Recip = "recip",
        /// Sine of an angle in radians.
        Sin = "sin",
        /// Cosine of an angle in radians.
        Cos = "cos",
        /// Largest integer not above x.
        Floor = "floor",
        /// Logical or bitwise complement.
        Not = "not",
        /// The bits of an f32 as i32.
        ToBits = "to_bits",
        /// The f32 with the bits of an i32.
        FromBits = "from_bits",
    }
}

spelled! {
    /// Elementwise ops of two operands of one type. Integers wrap.
    BinaryOp {
        /// Sum.
        Add = "add",
        /// Difference.
        Sub = "sub",
        /// Product.
        Mul = "mul",
        /// Quotient; integers truncate, division by zero gives 0.
        Div = "div",
        /// Remainder with the sign of the dividend; by zero gives 0.
        Rem = "rem",
        /// Smaller; of a NaN and a number, the number.
        Min = "min",
        /// Larger; of a NaN and a number, the number.
        Max = "max",
        /// Logical or bitwise and.
        And = "and",
        /// Logical or bitwise or.
        Or = "or",
        /// Logical or bitwise exclusive or.
        Xor = "xor",
        /// Shift left, by 0 to 31.
        Shl = "shl",
        /// Arithmetic shift right, by 0 to 31.
        Shr = "shr",
        /// Logical shift right, by 0 to 31.
        ShrLogical = "shr_logical",
        /// High 32 bits of the unsigned 64-bit product.
        MulHigh = "mul_high",
    }
}

spelled! {
    /// Comparisons; the result is `bool`. With a NaN all but `ne` are false.
    CmpOp {
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
    }
}

spelled! {
    /// Reductions along one axis.
    ReduceOp {
        /// Sum, in an order that the layout fixes.
        Sum = "sum",
        /// Largest.
        Max = "max",
        /// Smallest.
        Min = "min",
        /// Index (i32) of the largest; the lowest index of equals.
        ArgMax = "argmax",
    }
}

/// A constant scalar.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// f32, as bits so that every value survives storage.
    F32(#[serde(with = "f32_bits")] f32),
    /// i32.
    I32(i32),
    /// bool.
    Bool(bool),
}

mod f32_bits {
    use serde::{Deserialize, Deserializer, Serializer};
    pub fn serialize<S: Serializer>(v: &f32, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u32(v.to_bits())
    }
    pub fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<f32, D::Error> {
        u32::deserialize(d).map(f32::from_bits)
    }
}

impl Literal {
    /// Its type.
    pub const fn dtype(self) -> DType {
        match self {
            Literal::F32(_) => DType::F32,
            Literal::I32(_) => DType::I32,
            Literal::Bool(_) => DType::Bool,
        }
    }
}

/// What an op does. Each variant lists its operands and results; attributes are its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OpKind {
    /// `() → scalar`
    Const(Literal),
    /// `(extent i32 × n) → i32 × n`: coordinates of this work item in a grid of those extents, last fastest. At most
    /// once in a kernel; extents depend on parameters' scalars and dims only.
    Work,
    /// `(global) → i32`: extent of one axis.
    Dim(usize),
    /// `(condition bool)`: must hold at launch; depends on scalars and dims only.
    Require(String),
    /// `(x) → same`, scalars and register tiles (as for all elementwise ops).
    Unary(UnaryOp),
    /// `(a, b) → same`.
    Binary(BinaryOp),
    /// `(a, b) → bool of the same shape`.
    Cmp(CmpOp),
    /// `(condition, a, b) → same as a`.
    Select,
    /// `(x) → result type's element`: to nearest even where it narrows; float to int truncates.
    Cast,
    /// `(scalar) → tile`.
    Splat,
    /// `() → i32 tile`: the index along this axis.
    Iota(usize),
    /// `(tile of rank r) → tile of rank r + 1`: repeats along a new axis at this position.
    Broadcast(usize),
    /// `(tile) → tile`: each element along the last axis this many times in a row.
    Repeat(usize),
    /// `(rank-2 tile or smem) → the same with axes swapped`.
    Transpose,
    /// `(smem) → smem`: the part of the result's shape at these offsets.
    Slice(Vec<usize>),
    /// `(tile) → tile of one rank less, or scalar`: reduces this axis.
    Reduce(ReduceOp, usize),
    /// `(global, element offset i32 × rank) → tile`: the box at the offsets; the tile's axes are the array's last ones.
    /// Elements outside the array read as zero.
    Load,
    /// `(global, tile, element offset i32 × rank)`: elements outside the array are dropped.
    Store,
    /// `(global, tile, mask tile, element offset i32 × rank)`: as `Store`, only where the mask holds.
    StoreMasked,
    /// `(global, index i32 × rank) → scalar`: one element; indices must be inside.
    At,
    /// `(global, scalar, index i32 × rank)`: writes one element, seen by the host too.
    Set,
    /// `(global, element offset i32 × rank) → smem`: an asynchronous copy of the box at the offsets into shared memory.
    /// Elements outside the array read as zero. On a weight, offsets are multiples of the shape.
    Stage,
    /// `(smem) → register tile`.
    Read,
    /// `(accumulator f32 [M, N], a [M, K], b [K, N]) → f32 [M, N]`: a·b + accumulator with bf16 operands (each a
    /// register tile or smem) and f32 sums.
    Mma,
    /// `(from i32, to i32, initial values…) → final values…`: one block with the induction variable and the carried
    /// values. `stages` is how many iterations of staged loads the user wants in flight (0: the compiler decides).
    For {
        /// Wanted pipeline depth.
        stages: usize,
    },
    /// `(condition bool) → values…`: two blocks without arguments.
    If,
    /// `(values…)`: ends a nested block.
    Yield,

    /// Producer: `(for each part: global, element offsets…)`: takes the next ring slot, announces the bytes and starts
    /// the copies. `parts` gives each part's rank and smem type.
    RingFill(Vec<RingPart>),
    /// Consumer: `() → smem × parts`: waits for the next ring slot.
    RingWait(Vec<RingPart>),
    /// Consumer: `(smem × parts)`: gives the slot back; none of them is read afterwards.
    RingRelease,
}

/// One array's share of a ring slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingPart {
    /// Element type in shared memory.
    pub dtype: DType,
    /// Extents in shared memory.
    pub shape: Vec<usize>,
    /// Axes of the global array it comes from.
    pub rank: usize,
    /// Byte offset in the slot.
    pub offset: usize,
}

impl RingPart {
    /// Bytes copied.
    pub fn bytes(&self) -> usize {
        self.dtype.bytes(self.shape.iter().product())
    }
}

/// Largest slot in bytes: a ring needs at least two, beside the area for changes of layout.
pub const MAX_SLOT_BYTES: usize = 65_536;

/// Alignment of a part of this many bytes in its slot: copies need 16 bytes, fragment reads never cross 128, and where a part may be
/// swizzled the pattern, which repeats after 1024 bytes, begins with it.
pub const fn part_align(bytes: usize) -> usize {
    if bytes.is_multiple_of(1024) { 1024 } else { 128 }
}

/// Where the parts of a slot lie. The parts belong to no array yet, their rank is 2.
pub fn slot_layout(parts: &[(DType, Vec<usize>)]) -> Vec<RingPart> {
    let mut end: usize = 0;
    let place = |(dtype, shape): &(DType, Vec<usize>)| {
        let mut part = RingPart { dtype: *dtype, shape: shape.clone(), rank: 2, offset: 0 };
        part.offset = end.next_multiple_of(part_align(part.bytes()));
        end = part.offset + part.bytes();
        part
    };
    parts.iter().map(place).collect()
}

impl OpKind {
    /// Whether removing the op, when nothing uses its results, changes the program.
    pub fn has_effect(&self) -> bool {
        matches!(
            self,
            OpKind::Store
                | OpKind::StoreMasked
                | OpKind::Set
                | OpKind::Require(_)
                | OpKind::Work
                | OpKind::Yield
                | OpKind::RingFill(_)
                | OpKind::RingWait(_)
                | OpKind::RingRelease
        )
    }

    /// Whether kernels at this stage may hold the op.
    pub fn legal_in(&self, stage: Stage) -> bool {
        match self {
            OpKind::Stage => stage <= Stage::Scheduled,
            OpKind::RingFill(_) | OpKind::RingWait(_) | OpKind::RingRelease => stage >= Stage::Specialised,
            _ => true,
        }
    }

    /// The mnemonic of the text form.
    pub fn mnemonic(&self) -> &'static str {
        match self {
            OpKind::Const(_) => "const",
            OpKind::Work => "work",
            OpKind::Dim(_) => "dim",
            OpKind::Require(_) => "require",
            OpKind::Unary(op) => op.name(),
            OpKind::Binary(op) => op.name(),
            OpKind::Cmp(op) => op.name(),
            OpKind::Select => "select",
            OpKind::Cast => "cast",
            OpKind::Splat => "splat",
            OpKind::Iota(_) => "iota",
            OpKind::Broadcast(_) => "broadcast",
            OpKind::Repeat(_) => "repeat",
            OpKind::Transpose => "transpose",
            OpKind::Slice(_) => "slice",
            OpKind::Reduce(..) => "reduce",
            OpKind::Load => "load",
            OpKind::Store => "store",
            OpKind::StoreMasked => "store_masked",
            OpKind::At => "at",
            OpKind::Set => "set",
            OpKind::Stage => "stage",
            OpKind::Read => "read",
            OpKind::Mma => "mma",
            OpKind::For { .. } => "for",
            OpKind::If => "if",
            OpKind::Yield => "yield",
            OpKind::RingFill(_) => "ring_fill",
            OpKind::RingWait(_) => "ring_wait",
            OpKind::RingRelease => "ring_release",
        }
    }
}
