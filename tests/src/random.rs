//! Random contents from a counter-based generator, the same on every machine.

use std::borrow::Cow;
use std::collections::HashMap;
use tile_lang::DType;
use tile_lang::exec::WeightSource;
use tile_lang::plan::Plan;

/// A small generator (SplitMix64); the seed is its state.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Roughly normal: the sum of twelve uniforms less six.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

/// Random weights for every weight of a plan: reals are normal, of variance 1 / (last extent); codes are uniform over the
/// finite ones; block scales lie around 1/16.
#[derive(Debug)]
pub struct RandomWeights {
    contents: HashMap<String, Vec<u8>>,
}

impl RandomWeights {
    /// Contents for a plan from a seed.
    pub fn new(plan: &Plan, seed: u64) -> Self {
        let mut random = Random(seed);
        let contents = plan.weights.iter().map(|w| (w.name.clone(), contents(w.dtype, &w.dims, &mut random))).collect();
        RandomWeights { contents }
    }
}

fn contents(dtype: DType, dims: &[usize], random: &mut Random) -> Vec<u8> {
    let count: usize = dims.iter().product();
    let scale = 1.0 / (dims.last().copied().unwrap_or(1) as f32).sqrt();
    let mut out = Vec::with_capacity(dtype.bytes(count));
    match dtype {
        DType::F32 => (0..count).for_each(|_| out.extend((random.normal() * scale).to_le_bytes())),
        DType::Bf16 => (0..count).for_each(|_| {
            let bits = (random.normal() * scale).to_bits();
            out.extend(((bits + 0x8000) >> 16).to_le_bytes().into_iter().take(2));
        }),
        DType::E4m3 => (0..count).for_each(|_| {
            let code = (random.bits() & 0xFF) as u8;
            out.push(if code & 0x7F > 0x58 { code & 0xBF } else { code });
        }),
        DType::E8m0 => (0..count).for_each(|_| out.push(120 + (random.bits() % 6) as u8)),
        _ => (0..dtype.bytes(count)).for_each(|_| out.push(random.bits() as u8)),
    }
    out
}

impl WeightSource for RandomWeights {
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        self.contents.get(name).map(|b| Cow::Borrowed(&b[..])).ok_or_else(|| format!("there is no weight `{name}`"))
    }
}
