//! Reference values of functions that Rust's number types lack.

/// The error function, to the last bit or so of f32: its series near 0, its continued fraction beyond.
pub(super) fn erf(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    let a = f64::from(x).abs();
    let value = if a < 2.5 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else if a < 6.0 {
        let fraction = (1..=60).rev().fold(0.0, |below, n| f64::from(n) / 2.0 / (a + below));
        1.0 - (-a * a).exp() / ((a + fraction) * std::f64::consts::PI.sqrt())
    } else {
        1.0
    };
    (value as f32).copysign(x)
}

#[cfg(test)]
mod tests {
    #[test]
    fn erf_has_its_known_values() {
        for (x, y) in
            [(0.0f32, 0.0f64), (0.5, 0.5204998778), (1.0, 0.8427007929), (2.0, 0.9953222650), (3.0, 0.9999779095)]
        {
            assert!((f64::from(super::erf(x)) - y).abs() < 1e-7, "erf({x})");
            assert_eq!(super::erf(-x), -super::erf(x));
        }
        assert!((super::erf(2.4999) - super::erf(2.5001)).abs() < 1e-6);
        assert_eq!(super::erf(f32::INFINITY), 1.0);
    }
}
