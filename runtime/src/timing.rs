//! Measuring a range of a plan: repeated launches between events.

use crate::device::{Context, Stream};
use crate::error::RuntimeError;
use crate::executor::GpuExecutor;
use crate::memory::DeviceMemory;
use std::ops::Range;
use std::rc::Rc;
use tile_lang::exec::ExecError;

/// More than any L2 cache.
const FLUSH: usize = 256 << 20;

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimingOptions {
    /// Timed launches.
    pub repeats: usize,
    /// Launches before them that are not timed.
    pub warmup: usize,
    /// Passes of each launch.
    pub passes: usize,
    /// Whether 256 MiB are written between launches, so that nothing is found in the L2 cache. Otherwise an untimed launch
    /// precedes each timed one, which leaves the cache as that launch does.
    pub flush_l2: bool,
}

impl Default for TimingOptions {
    fn default() -> Self {
        TimingOptions { repeats: 20, warmup: 3, passes: 1, flush_l2: true }
    }
}

/// Times of launches in µs.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// In the order they were taken.
    pub us: Vec<f64>,
    /// Their median.
    pub median_us: f64,
    /// The least.
    pub min_us: f64,
}

impl Timing {
    /// From single times; all zero without any.
    pub fn new(us: Vec<f64>) -> Timing {
        let mut sorted = us.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let at = |i: usize| sorted.get(i).copied().unwrap_or(0.0);
        let median_us = (at(n.saturating_sub(1) / 2) + at(n / 2)) / 2.0;
        Timing { median_us, min_us: at(0), us }
    }
}

impl GpuExecutor {
    /// Measures launches of a range of the program. Buffers are used as they are: launches that move the program on (a
    /// position, a stop flag) move it on here too. A launch of a few µs includes about 1 µs of events.
    ///
    /// # Errors
    /// A range outside the program, too little memory for flushing, or a failed launch.
    pub fn time(&mut self, range: Range<usize>, options: TimingOptions) -> Result<Timing, ExecError> {
        let Some(span) = self.span(&range, options.passes)? else { return Ok(Timing::new(Vec::new())) };
        let flush = if options.flush_l2 { Some(flush_memory(&self.context, &self.stream)?) } else { None };
        let mut us = Vec::with_capacity(options.repeats);
        for i in 0..options.warmup + options.repeats {
            // Work queued ahead of the first event hides the time that the host takes to launch.
            if let Some(memory) = &flush {
                memory.fill(&self.stream, i as u8)?;
            } else {
                self.reset()?;
                self.launch(span)?;
            }
            self.reset()?;
            self.begun.record(&self.stream)?;
            self.launch(span)?;
            self.ended.record(&self.stream)?;
            self.ended.wait()?;
            self.verdict()?;
            if i >= options.warmup {
                us.push(self.ended.since(&self.begun)?.as_secs_f64() * 1e6);
            }
        }
        Ok(Timing::new(us))
    }
}

fn flush_memory(context: &Rc<Context>, stream: &Stream) -> Result<DeviceMemory, RuntimeError> {
    DeviceMemory::zeroed(context, stream, FLUSH.max(4 * context.info.l2_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Timing::new(vec![3.0, 1.0, 2.0]).median_us, 2.0);
        assert_eq!(Timing::new(vec![4.0, 1.0, 2.0, 3.0]).median_us, 2.5);
        assert_eq!(Timing::new(vec![4.0, 1.0]).min_us, 1.0);
        assert_eq!(Timing::new(vec![]).median_us, 0.0);
    }
}
