//! From role bodies to one persistent kernel in the LLVM dialect.
//!
//! [`program`] lays out shared memory and builds the [`frame`]: roles, the record ring, one inlined switch per role, with the
//! waits and signals of [`progress`]. Each case is the body of an op instance, lowered by [`body`] and its op families: [`elementwise`], [`global`] memory, [`shared`] memory
//! and its rings, [`product`]s, [`reduce`] and layout changes through [`exchange`]; warpgroups take [`turns`].

mod actions;
mod body;
mod control;
mod convert;
mod crossing;
mod debug;
mod elementwise;
mod emit;
mod exchange;
mod facts;
mod flight;
mod frame;
mod global;
mod indexed;
mod kept;
mod lanes;
mod notes;
mod parts;
mod prefetch;
mod prepare;
mod product;
mod program;
mod progress;
mod recipe;
mod reduce;
mod resources;
pub(crate) mod scaled;
mod shared;
mod sync;
mod turns;
mod warpgroup;
mod widen;

pub(crate) use crossing::crossing;
pub use facts::{ParamFacts, facts};
pub(crate) use program::RECORD_SLOTS;
pub use program::{Assembled, ENTRY, Machine, assemble};
pub use resources::Threads;
