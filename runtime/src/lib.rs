//! Devices, buffers and the persistent kernel, over the CUDA driver.
//!
//! The driver library is opened when the first device is asked for: a machine without one gets an error of one line.
//!
//! In reading order: [`device`] (what there is), [`error`] (what can go wrong), `layout` (where a plan's arrays lie and the
//! records that name them), `arrays` (what programs share of them), `tensor_map` (how boxes are cut out of arrays), `memory` and `weights` (how contents get there), `module` (machine code), [`executor`] (running a
//! plan), [`timing`] and [`trace`] (measuring one).

pub mod device;
pub mod error;
pub mod executor;
pub mod timing;
pub mod trace;

mod arrays;
mod convert;
mod layout;
mod memory;
mod module;
mod tensor_map;
mod weights;

pub use device::{DeviceInfo, list_devices};
pub use error::RuntimeError;
pub use executor::{GpuExecutor, Loaded, Options};
pub use timing::{Timing, TimingOptions};
pub use trace::{RunAhead, Trace};
