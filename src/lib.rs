//! Monotile: GPU kernels and persistent megakernels written as ordinary Rust over tiles.
//!
//! This crate is the facade: a crate that writes kernels depends on it alone.
//!
//! ```
//! use monotile::prelude::*;
//!
//! /// y = x·a + y, a tile of N elements for each work item.
//! #[tile::kernel]
//! fn axpy<const N: usize>(x: &Global<f32, 1>, y: &mut Global<f32, 1>, a: f32) {
//!     require!(x.dim(0) == y.dim(0));
//!     let [i] = work([cdiv(x.dim(0), N)]);
//!     let sum = x.load::<Tile<f32, N>>([i]) * a + y.load::<Tile<f32, N>>([i]);
//!     y.store([i], sum);
//! }
//!
//! // The kernel for tiles of 256, as tile IR.
//! let kernel = axpy::instance(256)?;
//! assert_eq!(kernel.params.len(), 3);
//! # Ok::<(), monotile::build::InstanceError>(())
//! ```
//!
//! [`cli`] is the command around such kernels: it lists, checks, explains, runs and compiles them.

mod cli;

pub use cli::{Cli, Instance, cli};
pub use tile_codegen as codegen;
pub use tile_lang::{
    DType, artifact, build, diag, dsl, exec, interp, ir, launch, packing, plan, record, schedule, sim, span,
};
pub use tile_models as models;
pub use tile_runtime as runtime;

/// The attributes: `#[tile::kernel]`, `#[tile::func]`, `#[tile::schedule]`, `#[tile::model]`.
pub use tile_lang::tile;

/// What a file with kernels needs: `use monotile::prelude::*;`.
pub mod prelude {
    pub use crate::tile;
    pub use tile_lang::dsl::*;
}
