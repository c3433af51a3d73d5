//! What kernels say about themselves.

use super::{Elem, Smem, Tile};

/// What an assertion is about: one bool, or a tile of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no condition",
    note = "`device_assert!` takes a `bool` or a tile of them: compare with `<`, or with `.lt(…)` element by element"
)]
pub trait Condition {}
impl Condition for bool {}
impl<const A: usize, const B: usize> Condition for Tile<bool, A, B> {}

/// What a kernel can show: a number or a tile.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be shown",
    note = "tiles and numbers can; load a part of an array"
)]
pub trait Shown {}
impl<T: Elem> Shown for T {}
impl<T: Elem, const A: usize, const B: usize> Shown for Tile<T, A, B> {}
impl<T: Elem, const A: usize, const B: usize> Shown for Smem<'_, T, A, B> {}

/// The condition of an assertion.
pub fn asserted(_condition: impl Condition) {}

/// A value that is shown.
pub fn shown(_x: impl Shown) {}

/// `device_assert!(condition, "message {}", values…)`: ends the run with the message and this place where the condition, a bool or
/// a tile of them, does not hold. At most 8 values, numbers or tiles of the condition's shape. On a GPU only where code is made
/// with what kernels say.
#[doc(hidden)]
#[macro_export]
macro_rules! __tile_device_assert {
    ($condition:expr $(,)?) => {
        $crate::dsl::asserted($condition)
    };
    ($condition:expr, $message:literal $(, $value:expr)* $(,)?) => {{
        $crate::dsl::asserted($condition);
        $($crate::dsl::shown($value);)*
    }};
}

/// `dbg_tile!(x)` or `dbg_tile!("label", x)`: shows a tile or a number with its place and work item.
#[doc(hidden)]
#[macro_export]
macro_rules! __tile_dbg {
    ($label:literal, $x:expr $(,)?) => {
        $crate::dsl::shown($x)
    };
    ($x:expr $(,)?) => {
        $crate::dsl::shown($x)
    };
}

/// `mark!("phase")`: a phase of this name begins here on the timeline of a trace.
#[doc(hidden)]
#[macro_export]
macro_rules! __tile_mark {
    ($name:literal) => {{
        let _: &str = $name;
    }};
}
