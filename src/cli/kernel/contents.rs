//! Random inputs, the same on every machine.

use super::case::Case;
use crate::cli::error::CliError;
use std::borrow::Cow;
use std::collections::HashMap;
use tile_lang::DType;
use tile_lang::exec::{Data, Executor, WeightSource};
use tile_lang::plan::Plan;

/// A small generator (SplitMix64); the seed is its state.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Roughly normal: the sum of twelve uniforms less six.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| (self.bits() >> 40) as f32 / (1u64 << 24) as f32).sum::<f32>() - 6.0
    }
}

/// Contents of a plan's weights: reals are normal, of variance 1 / (last extent); codes are uniform over the finite ones; block
/// scales lie around 1/16.
pub struct RandomWeights(HashMap<String, Vec<u8>>);

impl RandomWeights {
    /// From a seed.
    pub fn new(plan: &Plan, seed: u64) -> Self {
        let mut random = Random(seed ^ 0x5EED);
        RandomWeights(plan.weights.iter().map(|w| (w.name.clone(), bytes(w.dtype, &w.dims, &mut random))).collect())
    }
}

impl WeightSource for RandomWeights {
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        self.0.get(name).map(|b| Cow::Borrowed(&b[..])).ok_or_else(|| format!("there is no weight `{name}`"))
    }
}

fn bytes(dtype: DType, dims: &[usize], random: &mut Random) -> Vec<u8> {
    let count: usize = dims.iter().product();
    let scale = 1.0 / (dims.last().copied().unwrap_or(1) as f32).sqrt();
    let mut out = Vec::with_capacity(dtype.bytes(count));
    match dtype {
        DType::F32 => (0..count).for_each(|_| out.extend((random.normal() * scale).to_le_bytes())),
        DType::Bf16 => (0..count).for_each(|_| {
            let bits = (random.normal() * scale).to_bits();
            out.extend(((bits.wrapping_add(0x8000) >> 16) as u16).to_le_bytes());
        }),
        // Exponents below the largest, so that none is an infinity or no number.
        DType::F16 => (0..count).for_each(|_| out.extend(((random.bits() as u16) & 0xB7FF).to_le_bytes())),
        DType::E4m3 | DType::E5m2 => (0..count).for_each(|_| out.push((random.bits() as u8) & 0xBF)),
        DType::E8m0 => (0..count).for_each(|_| out.push(120 + (random.bits() % 6) as u8)),
        DType::Bool => (0..count).for_each(|_| out.push((random.bits() & 1) as u8)),
        DType::E2m1 | DType::I8 | DType::U8 | DType::I32 => {
            (0..dtype.bytes(count)).for_each(|_| out.push(random.bits() as u8));
        }
    }
    out
}

/// Fills a plan's buffers: reals are normal, integers 0 unless they were given.
pub fn fill(executor: &mut dyn Executor, case: &Case, seed: u64) -> Result<(), CliError> {
    let mut random = Random(seed);
    for (id, b) in case.plan.buffers.iter().enumerate() {
        let n: usize = b.dims.iter().product();
        if b.dtype.is_float() {
            executor.write(id, 0, &Data::F32((0..n).map(|_| random.normal()).collect()))?;
        }
    }
    for (id, numbers) in &case.integers {
        executor.write(*id, 0, &Data::I32(numbers.clone()))?;
    }
    Ok(())
}
