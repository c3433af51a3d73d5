//! The tile language: element types, tile IR, the builder that staged kernels run on, plans, artifacts and the CPU
//! simulator. It knows nothing of MLIR, of CUDA or of any model.
//!
//! In reading order: [`dtype`] and [`span`], [`ir`] (what a kernel means), [`build`] (how source becomes IR), [`dsl`]
//! (what rustc checks kernels against).

pub mod artifact;
pub mod build;
pub mod debug;
pub mod diag;
pub mod dsl;
pub mod dtype;
pub mod exec;
pub mod generate;
pub mod interp;
pub mod ir;
pub mod launch;
mod link;
pub mod nearest;
pub mod packing;
pub mod plan;
pub mod protocol;
pub mod ptx;
pub mod record;
pub mod schedule;
pub mod sim;
pub mod span;

pub use dtype::DType;
pub use span::Span;

/// The attributes: `#[tile::kernel]`, `#[tile::func]`, `#[tile::schedule]`, `#[tile::model]`.
pub mod tile {
    pub use tile_macros::{func, kernel, model, schedule};
}
