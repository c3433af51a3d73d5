//! From role bodies to one persistent kernel in the LLVM dialect.
//!
//! [`program`] builds the frame: roles, the record ring, waits and signals, one inlined switch per role. Each case is the
//! body of an op instance, lowered by [`body`] and its op families: [`elementwise`], [`global`] memory, [`shared`] memory
//! and its rings, [`product`]s, [`reduce`] and layout changes through [`exchange`].

mod body;
mod control;
mod convert;
mod elementwise;
mod emit;
mod exchange;
mod facts;
mod global;
mod product;
mod program;
mod reduce;
mod shared;
mod sync;

pub use facts::{ParamFacts, facts};
pub use program::{Assembled, ENTRY, Machine, THREADS, assemble};
