//! Times inside the persistent kernel: when each CTA requested its bytes and when it computed.

use crate::executor::GpuExecutor;
use crate::memory::DeviceMemory;
use std::ops::Range;
use tile_lang::debug::Marked;
use tile_lang::exec::ExecError;
use tile_lang::record::trace;

/// One CTA's times for one instruction, in cycles of its SM's clock; all zero where it had no items.
pub type Times = [u64; trace::WORDS];

/// Times of one pass. Clocks of different SMs are not comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The instructions.
    pub range: Range<usize>,
    /// Per CTA, per instruction of the range.
    pub times: Vec<Vec<Times>>,
    /// Phases that kernels marked (`mark!`), in the order of CTAs and of their clocks; only where code was made with them.
    pub marks: Vec<Marked>,
}

/// How far the producer runs ahead at the borders between instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAhead {
    /// Borders between an instruction and the next one of the same CTA that requests bytes through the ring.
    pub borders: usize,
    /// Those where the next one's bytes were requested before the present one had ended.
    pub early: usize,
}

impl Trace {
    /// Compares, on every CTA, the request of each instruction's bytes with the end of the one before. `requests` says which
    /// instructions stage anything.
    pub fn run_ahead(&self, requests: impl Fn(usize) -> bool) -> RunAhead {
        let mut out = RunAhead { borders: 0, early: 0 };
        for cta in &self.times {
            let mut before: Option<u64> = None;
            for (i, t) in cta.iter().enumerate() {
                if t[trace::CONSUMER_END] == 0 {
                    continue;
                }
                if let (Some(end), true) = (before, requests(self.range.start + i)) {
                    out.borders += 1;
                    out.early += usize::from(t[trace::PRODUCER_BEGIN] < end);
                }
                before = Some(t[trace::CONSUMER_END]);
            }
        }
        out
    }
}

impl GpuExecutor {
    /// Runs one pass of a range and returns its times. Buffers are used as they are.
    ///
    /// # Errors
    /// A range outside the program, too little memory, or a failed launch.
    pub fn trace(&mut self, range: Range<usize>) -> Result<Trace, ExecError> {
        let ctas = self.loaded().ctas as usize;
        let Some(span) = self.span(&range, 1)? else {
            return Ok(Trace { range, times: vec![Vec::new(); ctas], marks: Vec::new() });
        };
        let row = range.len() * 8 * trace::WORDS;
        let memory = DeviceMemory::zeroed(&self.context, &self.stream, ctas * row)?;
        self.reset()?;
        self.launch_traced(span, memory.address())?;
        let mut bytes = vec![0u8; ctas * row];
        memory.read(&self.stream, 0, &mut bytes)?;
        let marks = self.listen()?;
        self.verdict()?;
        let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        let times = words
            .chunks(range.len() * trace::WORDS)
            .map(|cta| cta.as_chunks::<{ trace::WORDS }>().0.to_vec())
            .collect();
        Ok(Trace { range, times, marks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_borders_with_requests() {
        let times = vec![vec![[1, 2, 10, 20], [0; 4], [15, 16, 30, 40], [50, 51, 60, 70]]];
        let t = Trace { range: 0..4, times, marks: Vec::new() };
        assert_eq!(t.run_ahead(|_| true), RunAhead { borders: 2, early: 1 });
        assert_eq!(t.run_ahead(|i| i == 2), RunAhead { borders: 1, early: 1 });
    }
}
