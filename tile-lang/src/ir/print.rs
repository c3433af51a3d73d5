//! The text form, written.

use super::{BlockId, OpId, Role, Stage, ValueId};
use std::fmt;

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 4] = [Stage::Tile, Stage::Scheduled, Stage::Specialised, Stage::Allocated];

    /// The name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Tile => "tile",
            Stage::Scheduled => "scheduled",
            Stage::Specialised => "specialised",
            Stage::Allocated => "allocated",
        }
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::All, Role::Producer, Role::Consumer];

    /// The name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Role::All => "all",
            Role::Producer => "producer",
            Role::Consumer => "consumer",
        }
    }
}

macro_rules! display {
    ($($name:ident = $letter:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }
    )*};
}
display!(ValueId = "%", OpId = "#", BlockId = "^");
