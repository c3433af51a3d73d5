//! What the compiler made of kernels, for people: roles, rings, layouts of products, the map of shared memory.
//!
//! The reports are plain data, printed as text by `Display` and as JSON by serde. They come from the same passes and the same
//! assembly that make the code; [`crate::sass`] looks at the code itself, [`stages`] prints what lies between.

mod report;
pub mod source;
pub mod stages;
mod text;

pub use report::{
    KernelReport, Part, Place, Product, ProgramReport, Region, RingReport, RoleReport, SharedMap, Transaction, report,
};
pub(crate) use report::{ops_in, place};
