//! What runs plans: the simulator here, a GPU in the runtime.

use crate::plan::Plan;
use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

/// Contents of a part of a buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Float buffers of any width, as f32.
    F32(Vec<f32>),
    /// Integer buffers.
    I32(Vec<i32>),
}

/// Where the contents of a plan's weights come from: a checkpoint, a test.
pub trait WeightSource {
    /// The weight of this name as the plan declares it: logical extents, row-major and dense, little endian, 4-bit types
    /// two per byte with the low nibble first. Executors repack as they need.
    ///
    /// # Errors
    /// There is no such weight, or it can't be read; the text says which and why.
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, String>;
}

/// A device that holds one plan with its weights.
pub trait Executor {
    /// The plan.
    fn plan(&self) -> &Plan;

    /// The device, for people: `sim (2 threads)`, `cuda:0 NVIDIA H200`.
    fn device(&self) -> String;

    /// Writes elements of a buffer, from element `offset` on; floats are rounded to the buffer's type.
    ///
    /// # Errors
    /// Out of range, or the device failed.
    fn write(&mut self, buffer: usize, offset: usize, data: &Data) -> Result<(), ExecError>;

    /// Reads elements of a buffer.
    ///
    /// # Errors
    /// Out of range, or the device failed.
    fn read(&mut self, buffer: usize, offset: usize, len: usize) -> Result<Data, ExecError>;

    /// Runs a range of the program again and again until the stop element is non-zero after a pass, or `max_passes` are
    /// done. `observe` is called while the program runs; it sees host-visible buffers, and breaking from it cancels.
    ///
    /// # Errors
    /// The device failed, or a wait ran out of time.
    fn run(
        &mut self,
        range: Range<usize>,
        max_passes: usize,
        observe: &mut dyn FnMut(&mut dyn Mailbox) -> ControlFlow<()>,
    ) -> Result<RunStats, ExecError>;
}

/// Host-visible buffers of a running program.
pub trait Mailbox {
    /// One element of a host-visible i32 buffer.
    fn peek(&mut self, buffer: usize, element: usize) -> i32;
    /// Overwrites one element of a host-visible i32 buffer.
    fn poke(&mut self, buffer: usize, element: usize, value: i32);
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunStats {
    /// Wall-clock time of the run; on a GPU between events around the launch.
    pub elapsed: Duration,
    /// Whether `observe` cancelled it.
    pub cancelled: bool,
}

/// A run failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The program itself is wrong; the message names the place.
    #[error("{0}")]
    Program(String),
    /// Buffer access outside its elements or with the wrong type.
    #[error("buffer `{buffer}`: {message}")]
    Access {
        /// Buffer name.
        buffer: String,
        /// What is wrong.
        message: String,
    },
    /// A wait in the persistent kernel ran out of time.
    #[error(
        "the kernel stopped making progress: CTA {cta} waits before `{waiting}` for `{awaited}`: its counter is {value}, {target} is needed"
    )]
    Stalled {
        /// CTA.
        cta: u32,
        /// Label of the instruction that waits.
        waiting: String,
        /// Label of the instruction waited for.
        awaited: String,
        /// Counter's value.
        value: u32,
        /// What it must reach.
        target: u32,
    },
    /// The device or its driver failed.
    #[error("{0}")]
    Device(String),
}
