//! The CPU reference: every operation in plain f32 Rust, independent of the tile kernels, to check them against.
//!
//! [`ops`] has the operations one by one, [`moe`] routing and experts, [`sampling`] the choice of a token, [`model`]
//! the whole forward pass, and [`golden`] reads the answers of another implementation. Matrices are row-major slices;
//! shapes stand in brackets, outermost first, T being tokens. Functions panic on slices whose lengths don't fit
//! together, as these are mistakes of the caller; what comes from files is checked before it gets here.

pub mod golden;
pub mod model;
pub mod moe;
pub mod ops;
pub mod sampling;

pub use model::{Cache, LayerCache, LayerOutput, Reference, ReferenceError, Trace};
pub use ops::Precision;
