//! The ops of tile IR that are no elementwise ones: **one declaration for each**, with the variant and its attributes, the
//! spelling, the stages it may be in and whether it does more than give results. Parser and printer read attributes
//! through [`Attribute`], so neither knows single ops.

use super::attribute::{Attr, Attribute};
use super::{AtomicOp, BinaryOp, CmpOp, ReduceOp, Stage, Sync, TernaryOp, UnaryOp};
use crate::dtype::DType;
use serde::{Deserialize, Serialize};

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

/// Declares [`OpKind`]. `own` ops have a syntax of their own in the text form; a family is spelled as its member.
macro_rules! ops {
    (own { $($(#[doc = $odoc:literal])* $own:ident $(($ofield:ident: $ot:ty))? $({ $(#[doc = $ndoc:literal])* $onamed:ident: $ont:ty })? = $otext:literal,)* }
     families { $($(#[doc = $fdoc:literal])* $family:ident($ft:ty),)* }
     ops { $($(#[doc = $doc:literal])* $variant:ident $(($($field:ident: $t:ty),+))? = $text:literal in $stages:ident, $effect:ident;)* }) => {
        /// What an op does. Each variant lists its operands and results; attributes are its fields.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum OpKind {
            $($(#[doc = $odoc])* $own $(($ot))? $({ $(#[doc = $ndoc])* $onamed: $ont })?,)*
            $($(#[doc = $fdoc])* $family($ft),)*
            $($(#[doc = $doc])* $variant $(($($t),+))?,)*
        }

        impl OpKind {
            /// The spellings and documentation of all ops that are no elementwise ones and have no syntax of their own.
            pub const STRUCTURAL: &'static [(&'static str, &'static str)] = &[$(($text, concat!($($doc, "\n"),*))),*];

            /// Whether removing the op, when nothing uses its results, changes the program.
            pub fn has_effect(&self) -> bool {
                match self {
                    $(OpKind::$variant { .. } => effect!($effect),)*
                    _ => false,
                }
            }

            /// Whether kernels at this stage may hold the op.
            pub fn legal_in(&self, stage: Stage) -> bool {
                match self {
                    $(OpKind::$variant { .. } => stages!($stages stage),)*
                    _ => true,
                }
            }

            /// The mnemonic of the text form.
            pub fn mnemonic(&self) -> &'static str {
                match self {
                    $(OpKind::$own { .. } => $otext,)*
                    $(OpKind::$family(op) => op.name(),)*
                    $(OpKind::$variant { .. } => $text,)*
                }
            }

            /// The attributes in the text form.
            pub(super) fn attributes(&self) -> Vec<Attr> {
                match self {
                    OpKind::For { stages } if *stages > 0 => vec![Attr::Number(*stages)],
                    $(OpKind::$variant $(($($field),+))? => {
                        #[allow(unused_mut, reason = "an op without attributes adds none")]
                        let mut out = Vec::new();
                        $($($field.write(&mut out);)+)?
                        out
                    })*
                    _ => Vec::new(),
                }
            }

            /// The op of a mnemonic and attributes; the error is what is wrong with either.
            pub(super) fn from_text(mnemonic: &str, attrs: &[Attr]) -> Result<OpKind, String> {
                let wrong = || format!("`{mnemonic}` does not take these attributes");
                $(if let Some(op) = <$ft>::from_name(mnemonic) {
                    return if attrs.is_empty() { Ok(OpKind::$family(op)) } else { Err(wrong()) };
                })*
                #[allow(unused_mut, reason = "an op without attributes reads none")]
                let mut rest = attrs;
                let kind = match mnemonic {
                    $($text => OpKind::$variant $(($(<$t>::read(&mut rest).map_err(|e| e.unwrap_or_else(wrong))?),+))?,)*
                    _ => return Err(format!("there is no op `{mnemonic}`")),
                };
                if rest.is_empty() { Ok(kind) } else { Err(wrong()) }
            }
        }
    };
}

macro_rules! effect {
    (pure) => {
        false
    };
    (effect) => {
        true
    };
}

macro_rules! stages {
    (any $stage:ident) => {
        true
    };
    (early $stage:ident) => {
        $stage <= Stage::Scheduled
    };
    (late $stage:ident) => {
        $stage >= Stage::Specialised
    };
}

ops! {
    own {
        /// `() → scalar`
        Const(value: Literal) = "const",
        /// `(from i32, to i32, initial values…) → final values…`: one block with the induction variable and the carried
        /// values. `stages` is how many iterations of staged loads the user wants in flight (0: the compiler decides).
        For {
            /// Wanted pipeline depth.
            stages: usize
        } = "for",
        /// `(condition bool) → values…`: two blocks without arguments.
        If = "if",
    }
    families {
        /// `(x) → same`, scalars and register tiles (as for all elementwise ops).
        Unary(UnaryOp),
        /// `(a, b) → same`.
        Binary(BinaryOp),
        /// `(a, b, c) → same`.
        Ternary(TernaryOp),
        /// `(a, b) → bool of the same shape`.
        Cmp(CmpOp),
    }
    ops {
        /// `(extent i32 × n) → i32 × n`: coordinates of this work item in a grid of those extents, last fastest. At most
        /// once in a kernel; extents depend on parameters' scalars and dims only.
        Work = "work" in any, effect;
        /// `(global) → i32`: extent of one axis.
        Dim(axis: usize) = "dim" in any, pure;
        /// `(condition bool)`: must hold at launch; depends on scalars and dims only.
        Require(clause: String) = "require" in any, effect;
        /// `(condition, a, b) → same as a`.
        Select = "select" in any, pure;
        /// `(x) → result type's element`: to nearest even where it narrows, saturating in the 8-bit and 4-bit types; float
        /// to int truncates and saturates; to e8m0 the largest power of two that is not above |x|.
        Cast = "cast" in any, pure;
        /// `(scalar) → tile`.
        Splat = "splat" in any, pure;
        /// `() → i32 tile`: the index along this axis.
        Iota(axis: usize) = "iota" in any, pure;
        /// `(tile of rank r) → tile of rank r + 1`: repeats along a new axis at this position.
        Broadcast(axis: usize) = "broadcast" in any, pure;
        /// `(tile) → tile`: each element along the last axis this many times in a row.
        Repeat(times: usize) = "repeat" in any, pure;
        /// `(rank-2 tile or smem) → the same with axes swapped`.
        Transpose = "transpose" in any, pure;
        /// `(tile) → tile`: the same elements, row after row, in the result's shape.
        Reshape = "reshape" in any, pure;
        /// `(tile, tile) → tile`: the second behind the first along this axis.
        Join(axis: usize) = "join" in any, pure;
        /// `(tile) → tile`: each element is what the reduction gives of it and all before it along this axis.
        Scan(op: ReduceOp, axis: usize) = "scan" in any, pure;
        /// `(smem or tile) → the same kind`: the part of the result's shape at these offsets.
        Slice(offsets: Vec<usize>) = "slice" in any, pure;
        /// `(tile) → tile of one rank less, or scalar`: reduces this axis.
        Reduce(op: ReduceOp, axis: usize) = "reduce" in any, pure;
        /// `(global, element offset i32 × rank) → tile`: the box at the offsets; the tile's axes are the array's last ones.
        /// Elements outside the array read as zero.
        Load = "load" in any, pure;
        /// `(global, element offset i32 × rank)`: what a load of a box of this shape would read is brought into the L2 cache;
        /// nothing else changes.
        Prefetch(shape: Vec<usize>) = "prefetch" in any, effect;
        /// `(global, tile, element offset i32 × rank)`: elements outside the array are dropped.
        Store = "store" in any, effect;
        /// `(global, tile, mask tile, element offset i32 × rank)`: as `Store`, only where the mask holds.
        StoreMasked = "store_masked" in any, effect;
        /// `(global, index i32 tile × rank) → tile of their shape`: one element for each index; outside the array zero.
        Gather = "gather" in any, pure;
        /// `(global, tile, index i32 tile × rank)`: writes each element at its index; outside the array none. Where indices
        /// are equal, any of the elements stays.
        Scatter = "scatter" in any, effect;
        /// `(global, tile, index i32 tile × rank) → tile`: joins each element with the one at its index, as one step that no
        /// other work item divides, and gives what was there before; outside the array none, and 0. Elements of one tile at
        /// one index come one after the other, in any order.
        Atomic(op: AtomicOp, sync: Sync) = "atomic" in any, effect;
        /// `(global, expected tile, new tile, index i32 tile × rank) → tile`: as `Atomic`, but writes the new element only where
        /// the one there is the one expected.
        AtomicCas(sync: Sync) = "atomic_cas" in any, effect;
        /// `(global, index i32 × rank) → scalar`: one element; indices must be inside.
        At = "at" in any, pure;
        /// `(global, scalar, index i32 × rank)`: writes one element, seen by the host too.
        Set = "set" in any, effect;
        /// `(global, element offset i32 × rank) → smem`: an asynchronous copy of the box at the offsets into shared memory.
        /// Elements outside the array read as zero. On a weight, offsets are multiples of the shape.
        Stage = "stage" in early, pure;
        /// `(smem) → register tile`.
        Read = "read" in any, pure;
        /// `(accumulator [M, N], a [M, K], b [K, N]) → [M, N]`: a·b + accumulator, each operand a register tile or smem;
        /// element types are those of [`product_of`](super::product_of).
        Mma = "mma" in any, pure;
        /// `(accumulator [M, N], a [M, K], b [K, N], scales of a [M, K/B], scales of b [K/B, N]) → [M, N]`: a·b + accumulator, every
        /// element times the scale, without its sign, of its block of B terms; each operand a register tile or smem. Element types and B are those of
        /// [`scaled_product_of`](super::scaled_product_of).
        MmaScaled = "mma_scaled" in any, pure;
        /// `(condition, values…)`: the condition, a bool or a tile of them, holds; where it doesn't the run ends with the
        /// message, in which each `{}` stands for a value. Values are f32, i32 or bool, one number or a tile of the condition's
        /// shape.
        DeviceAssert(message: String) = "device_assert" in any, effect;
        /// `(x)`: shows a tile or number of f32, i32 or bool under a label.
        DbgTile(label: String) = "dbg_tile" in any, effect;
        /// `()`: a phase of this name begins here on the timeline.
        Mark(name: String) = "mark" in any, effect;
        /// `(values…)`: ends a nested block.
        Yield = "yield" in any, effect;

        /// Producer: `(for each part: global, element offsets…)`: takes the next ring slot, announces the bytes and starts
        /// the copies. `parts` gives each part's rank and smem type.
        RingFill(parts: Vec<RingPart>) = "ring_fill" in late, effect;
        /// Consumer: `() → smem × parts`: waits for the next ring slot.
        RingWait(parts: Vec<RingPart>) = "ring_wait" in late, effect;
        /// Consumer: `(smem × parts)`: gives the slot back; none of them is read afterwards.
        RingRelease = "ring_release" in late, effect;
    }
}

impl OpKind {
    /// Whether it writes the array that is its first operand.
    pub fn writes_array(&self) -> bool {
        matches!(self, OpKind::Store | OpKind::StoreMasked | OpKind::Set | OpKind::Scatter) || self.is_atomic()
    }

    /// Whether it changes elements of the array that is its first operand in one step.
    pub fn is_atomic(&self) -> bool {
        matches!(self, OpKind::Atomic(..) | OpKind::AtomicCas(_))
    }

    /// Whether it only says something about the run.
    pub fn is_debug(&self) -> bool {
        matches!(self, OpKind::DeviceAssert(_) | OpKind::DbgTile(_) | OpKind::Mark(_))
    }

    /// Whether each element of its result is made of the operands' elements at the same place.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            OpKind::Unary(_) | OpKind::Binary(_) | OpKind::Ternary(_) | OpKind::Cmp(_) | OpKind::Select | OpKind::Cast
        )
    }

    /// Whether it multiplies on tensor cores: its first operands are the accumulator and the two factors.
    pub fn is_product(&self) -> bool {
        matches!(self, OpKind::Mma | OpKind::MmaScaled)
    }

    /// Whether it reads elements of the array that is its first operand, into registers.
    pub fn reads_array(&self) -> bool {
        matches!(self, OpKind::Load | OpKind::At | OpKind::Gather)
    }
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
