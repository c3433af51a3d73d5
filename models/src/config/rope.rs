//! Rotary position embedding: how many dimensions turn and how fast.

use super::fields::{ConfigError, Fields};
use super::limits;

/// How the frequencies are changed from those of the base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All are divided by `factor`.
    Linear {
        /// The divisor, above 0.
        factor: f64,
    },
    /// Llama 3: slow frequencies are divided by `factor`, fast ones are kept, those between are blended.
    Llama3 {
        /// The divisor of slow frequencies.
        factor: f64,
        /// Wavelengths above `original_positions / low_freq` count as slow.
        low_freq: f64,
        /// Wavelengths below `original_positions / high_freq` count as fast.
        high_freq: f64,
        /// Positions the model was first trained with.
        original_positions: usize,
    },
}

/// The rotary embedding of one attention layer. Dimension i < `dim`/2 turns with dimension i + `dim`/2 (NeoX halves);
/// the dimensions from `dim` on pass through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// Rotated dimensions of a head, even and at most the head's width.
    pub dim: usize,
    /// The base of the frequencies.
    pub theta: f64,
    /// Their scaling.
    pub scaling: RopeScaling,
}

impl RopeConfig {
    /// Radians per position of each of the `dim`/2 pairs.
    pub fn inv_freq(&self) -> Vec<f64> {
        let base = |i: usize| self.theta.powf(-((2 * i) as f64) / self.dim as f64);
        (0..self.dim / 2).map(|i| self.scale(base(i))).collect()
    }

    fn scale(&self, freq: f64) -> f64 {
        match self.scaling {
            RopeScaling::None => freq,
            RopeScaling::Linear { factor } => freq / factor,
            RopeScaling::Llama3 { factor, low_freq, high_freq, original_positions } => {
                let turns = original_positions as f64 * freq / std::f64::consts::TAU;
                let keep = ((turns - low_freq) / (high_freq - low_freq)).clamp(0.0, 1.0);
                (1.0 - keep) * freq / factor + keep * freq
            }
        }
    }

    /// What cosines and sines are multiplied by: 1 for every scaling supported.
    pub fn attention_scaling(&self) -> f32 {
        1.0
    }

    /// Reads the scaling from a `rope_parameters` or `rope_scaling` section and computes the rotated width,
    /// ⌊`head_dim` × `factor`⌋, which must be even. `top` is for errors about fields outside the section.
    pub(super) fn read(
        top: &Fields<'_>,
        section: Option<&Fields<'_>>,
        theta: f64,
        head_dim: usize,
    ) -> Result<Self, ConfigError> {
        let from_section = section.map(|s| s.positive_opt("partial_rotary_factor")).transpose()?.flatten();
        let factor = match from_section {
            Some(factor) => factor,
            None => top.positive_opt("partial_rotary_factor")?.unwrap_or(1.0),
        };
        let dim = (head_dim as f64 * factor) as usize;
        if factor > 1.0 || dim == 0 || !dim.is_multiple_of(2) {
            let problem = format!("is {factor}, which rotates {dim} of {head_dim} dimensions");
            let advice = "expected a fraction that gives an even number of dimensions, 2 at least";
            return Err(top.error("partial_rotary_factor", problem, advice));
        }
        Ok(RopeConfig { dim, theta, scaling: section.map_or(Ok(RopeScaling::None), scaling)? })
    }
}

fn scaling(section: &Fields<'_>) -> Result<RopeScaling, ConfigError> {
    let named = if section.get("rope_type").is_some() { "rope_type" } else { "type" };
    match section.text_opt(named)? {
        None | Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor: section.positive("factor")? }),
        Some("llama3") => {
            let (low_freq, high_freq) = (section.positive("low_freq_factor")?, section.positive("high_freq_factor")?);
            if low_freq >= high_freq {
                let problem = format!("is {high_freq}, not above low_freq_factor ({low_freq})");
                return Err(section.error("high_freq_factor", problem, "Llama 3 has 4 and 1"));
            }
            let factor = section.positive("factor")?;
            let original_positions = section.count("original_max_position_embeddings", limits::POSITIONS)?;
            Ok(RopeScaling::Llama3 { factor, low_freq, high_freq, original_positions })
        }
        Some(other) => Err(section.error(
            named,
            format!("is \"{other}\""),
            "supported rotary embeddings are default, linear and llama3",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_fast_and_divides_slow_frequencies() {
        let scaling = RopeScaling::Llama3 { factor: 32.0, low_freq: 1.0, high_freq: 4.0, original_positions: 256 };
        let (plain, scaled) = (
            RopeConfig { dim: 32, theta: 5e5, scaling: RopeScaling::None }.inv_freq(),
            RopeConfig { dim: 32, theta: 5e5, scaling }.inv_freq(),
        );
        assert_eq!(plain.len(), 16);
        assert_eq!(plain[0], 1.0);
        assert_eq!(scaled[0], 1.0);
        assert_eq!(scaled[15], plain[15] / 32.0);
        assert!(scaled.windows(2).all(|w| w[1] < w[0]));
        let linear = RopeConfig { dim: 4, theta: 100.0, scaling: RopeScaling::Linear { factor: 2.0 } };
        assert!((linear.inv_freq()[1] - 0.05).abs() < 1e-15);
    }
}
