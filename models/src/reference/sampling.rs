//! The choice of a token from logits.

use super::ops::argmax;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 chooses the largest logit.
    pub temperature: f32,
    /// Only so many of the most probable tokens are kept; `None` for all.
    pub top_k: Option<usize>,
    /// Of those, the fewest most probable ones whose probabilities (renormalised) reach this sum are kept; 1 for all.
    pub top_p: f32,
}

impl Sampling {
    /// Always the largest logit, the lowest index of several.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: None, top_p: 1.0 };
}

/// The tokens kept, in the order of their indices, with probabilities that add up to 1. Tokens are ranked by
/// probability, equal ones by index; at least one is kept. Empty for no logits.
pub fn distribution(logits: &[f32], sampling: &Sampling) -> Vec<(usize, f64)> {
    let Some(best) = argmax(logits) else { return Vec::new() };
    if sampling.temperature <= 0.0 {
        return vec![(best, 1.0)];
    }
    let (largest, temperature) = (f64::from(logits[best]), f64::from(sampling.temperature));
    let weight = |x: f32| ((f64::from(x) - largest) / temperature).exp();
    let mut ranked: Vec<(usize, f64)> = logits.iter().map(|&x| weight(x)).enumerate().collect();
    // Ranked by logit: exp may make neighbours equal. Stable, so that equal logits stay in the order of their indices.
    ranked.sort_by(|a, b| logits[b.0].total_cmp(&logits[a.0]));
    ranked.truncate(sampling.top_k.unwrap_or(usize::MAX).max(1));
    let total: f64 = ranked.iter().map(|r| r.1).sum();
    let (mut reached, limit) = (0.0, f64::from(sampling.top_p) * total);
    let kept = ranked.iter().take_while(|r| {
        let before = reached;
        reached += r.1;
        sampling.top_p >= 1.0 || before < limit
    });
    let kept = kept.count().max(1);
    ranked.truncate(kept);
    ranked.sort_by_key(|r| r.0);
    let total: f64 = ranked.iter().map(|r| r.1).sum();
    ranked.into_iter().map(|(i, w)| (i, w / total)).collect()
}

/// The first token, in the order of indices, at which the sum of probabilities exceeds `u`, uniform in [0, 1). `None`
/// for an empty distribution.
pub fn draw(distribution: &[(usize, f64)], u: f64) -> Option<usize> {
    let mut reached = 0.0;
    let found = distribution.iter().find(|(_, p)| {
        reached += p;
        reached > u
    });
    // Rounding may leave the sum a little below 1.
    found.or(distribution.last()).map(|&(i, _)| i)
}

/// [`draw`] from the [`distribution`] of `logits`.
pub fn sample(logits: &[f32], sampling: &Sampling, u: f64) -> Option<usize> {
    draw(&distribution(logits, sampling), u)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(p: &[f64]) -> Vec<f32> {
        p.iter().map(|p| p.ln() as f32).collect()
    }

    #[test]
    fn top_k_goes_before_top_p() {
        let logits = logits(&[0.1, 0.4, 0.2, 0.3]);
        let kept = |top_k, top_p| {
            let d = distribution(&logits, &Sampling { temperature: 1.0, top_k, top_p });
            d.into_iter().map(|(i, _)| i).collect::<Vec<_>>()
        };
        assert_eq!(kept(None, 1.0), [0, 1, 2, 3]);
        assert_eq!(kept(None, 0.69), [1, 3]);
        assert_eq!(kept(None, 0.75), [1, 2, 3]);
        // Of the two best, the first has 4/7 of the probability.
        assert_eq!(kept(Some(2), 0.5), [1]);
        assert_eq!(kept(Some(2), 0.6), [1, 3]);
        assert_eq!(kept(Some(0), 0.0), [1]);
    }

    #[test]
    fn draws_follow_the_indices() {
        let logits = logits(&[0.25, 0.5, 0.25]);
        let sampling = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
        let at = |u| sample(&logits, &sampling, u);
        assert_eq!(
            [at(0.0), at(0.24), at(0.26), at(0.74), at(0.76), at(0.999_999_999_999)],
            [0, 0, 1, 1, 2, 2].map(Some)
        );
        assert_eq!(sample(&logits, &Sampling::GREEDY, 0.9), Some(1));
        assert_eq!(sample(&[], &sampling, 0.5), None);
        // Half the temperature squares the odds.
        let cold = distribution(&logits, &Sampling { temperature: 0.5, ..sampling });
        assert!((cold[1].1 - 4.0 / 6.0).abs() < 1e-6);
    }

    #[test]
    fn equal_logits_are_kept_from_the_lowest_index() {
        let d = distribution(&[1.0; 5], &Sampling { temperature: 1.0, top_k: Some(2), top_p: 1.0 });
        assert_eq!(d, [(0, 0.5), (1, 0.5)]);
    }
}
