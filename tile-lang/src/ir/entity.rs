//! Typed indices into a kernel's arenas.

use serde::{Deserialize, Serialize};

macro_rules! entity {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub u32);
        impl $name {
            /// The position in its arena.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

entity!(
    /// A value: a parameter, an op's result or a block argument.
    ValueId,
    /// An op.
    OpId,
    /// A block.
    BlockId
);
