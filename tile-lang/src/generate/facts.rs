//! What is known of a value while a program grows.

/// How many bits of a sum are exact in f32.
pub(super) const EXACT_BITS: i32 = 23;

/// Bounds of a real value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Facts {
    /// No magnitude exceeds 2 to this.
    pub magnitude: i32,
    /// It is a multiple of 2 to minus this; `None` where that is not known.
    pub fraction: Option<i32>,
    /// How far a machine that approximates functions may be off; 0 where all machines agree.
    pub error: f64,
}

impl Facts {
    /// A fixed-point number.
    pub const fn fixed(magnitude: i32, fraction: i32) -> Facts {
        Facts { magnitude, fraction: Some(fraction), error: 0.0 }
    }

    /// A number that all machines agree on.
    pub const fn same(magnitude: i32) -> Facts {
        Facts { magnitude, fraction: None, error: 0.0 }
    }

    /// What hardware approximates, within 2⁻¹⁶ of its range.
    pub fn near(magnitude: i32) -> Facts {
        Facts { magnitude, fraction: None, error: power(magnitude - 16) }
    }

    /// Whether all machines agree.
    pub fn is_exact(&self) -> bool {
        self.error == 0.0
    }

    /// Whether sums of `terms` of them are exact in any order.
    pub fn sums_exactly(&self, terms: usize) -> bool {
        self.fraction.is_some_and(|f| self.magnitude + f + bits(terms) <= EXACT_BITS)
    }

    /// A result of this magnitude, of operands whose errors add up to `error`; it is rounded once more.
    fn rounded(magnitude: i32, fraction: Option<i32>, error: f64) -> Facts {
        let fraction = fraction.filter(|f| magnitude + f <= EXACT_BITS);
        let error = if error > 0.0 { error + power(magnitude - 22) } else { 0.0 };
        Facts { magnitude, fraction, error }
    }

    /// A sum or difference.
    pub fn plus(self, other: Facts) -> Facts {
        let fraction = self.fraction.zip(other.fraction).map(|(a, b)| a.max(b));
        Facts::rounded(self.magnitude.max(other.magnitude) + 1, fraction, self.error + other.error)
    }

    /// A product.
    pub fn times(self, other: Facts) -> Facts {
        let fraction = self.fraction.zip(other.fraction).map(|(a, b)| a + b);
        let error =
            self.error * power(other.magnitude) + other.error * power(self.magnitude) + self.error * other.error;
        Facts::rounded(self.magnitude + other.magnitude, fraction, error)
    }

    /// One of the two.
    pub fn either(self, other: Facts) -> Facts {
        let fraction = self.fraction.zip(other.fraction).map(|(a, b)| a.max(b));
        let magnitude = self.magnitude.max(other.magnitude);
        Facts {
            magnitude,
            fraction: fraction.filter(|f| magnitude + f <= EXACT_BITS),
            error: self.error.max(other.error),
        }
    }

    /// A sum of `terms` of them.
    pub fn summed(self, terms: usize) -> Facts {
        Facts::rounded(self.magnitude + bits(terms), self.fraction, self.error * terms as f64 * 2.0)
    }

    /// Rounded to bf16.
    pub fn narrowed(self) -> Facts {
        // A multiple of a power of two that is rounded to fewer bits is one of a larger power, or the same.
        self
    }
}

/// Bits that counting to `n` takes.
pub(super) fn bits(n: usize) -> i32 {
    (usize::BITS - n.saturating_sub(1).leading_zeros()) as i32
}

/// 2 to the `n`.
pub(super) fn power(n: i32) -> f64 {
    2f64.powi(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_sums_and_products() {
        let quarters = Facts::fixed(3, 2);
        assert_eq!(quarters.plus(Facts::fixed(1, 0)), Facts::fixed(4, 2));
        assert_eq!(quarters.times(quarters), Facts::fixed(6, 4));
        assert!(quarters.sums_exactly(1 << 18) && !quarters.sums_exactly(1 << 19));
        assert_eq!(Facts::fixed(20, 0).times(Facts::fixed(10, 0)), Facts::same(30));
        let near = Facts::near(0);
        assert!(near.plus(quarters).error > near.error && near.times(quarters).error >= 8.0 * near.error);
        assert_eq!([bits(1), bits(2), bits(3), bits(64)], [0, 1, 2, 6]);
    }
}
