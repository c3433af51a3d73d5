//! The types and functions that rustc checks kernels against.
//!
//! Nothing here computes tiles: the macros keep a kernel's function for rustc's sake and stage its body through
//! [`crate::build`]. What also makes sense on host numbers ([`cdiv`], [`select`], [`rsqrt`], …) has a real body.
//!
//! Shapes are const parameters, so a wrong shape or a missing `.t()` is an ordinary compile error. `Tile<T, A>` has one
//! axis, `Tile<T, A, B>` two. What can't be said in types (one axis or two, powers of two) is checked while staging.

mod array;
mod debug;
mod elem;
mod elementwise;
mod func;
mod roles;
mod scaled;
mod tile;

pub use crate::__tile_dbg as dbg_tile;
pub use crate::__tile_device_assert as device_assert;
pub use crate::__tile_mark as mark;
pub use crate::__tile_require as require;
pub use crate::ir::{Order, Scope};
pub use crate::schedule::{Raster, Schedule};
pub use array::{Global, Shape, Staged, Weight};
pub use debug::{Condition, Shown, asserted, shown};
pub use elem::{Elem, Number, Scalar, Word, bf16, e2m1, e4m3, e5m2, e8m0, f16};
pub use elementwise::{Bits, Float, Int, Like, Truth};
pub use func::{
    CeilDiv, Choice, NEG_INF, cdiv, erf, from_bits, mma, mma_tf32, mul_high, pipelined, rsqrt, select, shr_logical,
    to_bits, work,
};
pub use roles::{Filled, Parts, Ring, Slot, Source, Unfilled, View, role};
pub use scaled::{BlockScale, ScaledFactor, ScaledOperand, Scales};
pub use tile::{Factor, MmaOperand, Smem, Tf32Operand, Tile};

/// The body of everything that only a device can do.
fn stub() -> ! {
    unreachable!(
        "a device op ran on the host: it belongs in a `#[tile::kernel]`, or in a `#[tile::func]` called with a device argument or a turbofish"
    )
}

/// `require!(condition, …)`: facts that hold whenever the kernel is launched. Clauses on dims and scalars are checked
/// before a launch, clauses on const parameters for every instance.
#[doc(hidden)]
#[macro_export]
macro_rules! __tile_require {
    ($($condition:expr),+ $(,)?) => {{
        $(let _: bool = $condition;)+
    }};
}
