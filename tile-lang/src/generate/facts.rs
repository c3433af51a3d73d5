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
    /// It is a product's sum, or made of such by sums and multiples: a machine may hold it as parts that are still to be added, and round
    /// each of them. All machines agree on what is exact.
    pub in_parts: bool,
}

impl Facts {
    /// A fixed-point number.
    pub const fn fixed(magnitude: i32, fraction: i32) -> Facts {
        Facts { magnitude, fraction: Some(fraction), error: 0.0, in_parts: false }
    }

    /// A number that all machines agree on.
    pub const fn same(magnitude: i32) -> Facts {
        Facts { magnitude, fraction: None, error: 0.0, in_parts: false }
    }

    /// What hardware approximates, within 2⁻¹⁶ of its range.
    pub fn near(magnitude: i32) -> Facts {
        Facts { magnitude, fraction: None, error: power(magnitude - 16), in_parts: false }
    }

    /// Whether all machines agree.
    pub fn is_exact(&self) -> bool {
        self.error == 0.0
    }

    /// Whether sums of `terms` of them are exact in any order.
    pub fn sums_exactly(&self, terms: usize) -> bool {
        self.fraction.is_some_and(|f| self.magnitude + f + bits(terms) <= EXACT_BITS)
    }

    /// A result of this magnitude, of operands whose errors add up to `error`; it is rounded once more, or as many times as it has parts.
    fn rounded(magnitude: i32, fraction: Option<i32>, error: f64, in_parts: bool) -> Facts {
        let fraction = fraction.filter(|f| magnitude + f <= EXACT_BITS);
        let rounding = power(magnitude - if in_parts { 20 } else { 22 });
        let error = if error > 0.0 { error + rounding } else { 0.0 };
        Facts { magnitude, fraction, error, in_parts }
    }

    /// A sum or difference.
    pub fn plus(self, other: Facts) -> Facts {
        let fraction = self.fraction.zip(other.fraction).map(|(a, b)| a.max(b));
        let (magnitude, error) = (self.magnitude.max(other.magnitude) + 1, self.error + other.error);
        Facts::rounded(magnitude, fraction, error, self.in_parts && other.in_parts)
    }

    /// A product.
    pub fn times(self, other: Facts) -> Facts {
        let fraction = self.fraction.zip(other.fraction).map(|(a, b)| a + b);
        let error =
            self.error * power(other.magnitude) + other.error * power(self.magnitude) + self.error * other.error;
        Facts::rounded(self.magnitude + other.magnitude, fraction, error, self.in_parts || other.in_parts)
    }

    /// The sum of `terms` products of the two, which is exact, and `acc`.
    pub fn dot(self, other: Facts, terms: usize, acc: Option<Facts>) -> Facts {
        let product = self.times(other);
        let sum = Facts { magnitude: product.magnitude + bits(terms), ..product };
        Facts { in_parts: true, ..acc.map_or(sum, |acc| acc.plus(sum)) }
    }

    /// Whether machines may differ by how they round the parts.
    pub fn differs_in_parts(&self) -> bool {
        self.in_parts && self.is_exact() && self.fraction.is_none()
    }

    /// One of the two.
    pub fn either(self, other: Facts) -> Facts {
        let fraction = self.fraction.zip(other.fraction).map(|(a, b)| a.max(b));
        let magnitude = self.magnitude.max(other.magnitude);
        Facts {
            magnitude,
            fraction: fraction.filter(|f| magnitude + f <= EXACT_BITS),
            error: self.error.max(other.error),
            in_parts: false,
        }
    }

    /// A sum of `terms` of them.
    pub fn summed(self, terms: usize) -> Facts {
        Facts::rounded(self.magnitude + bits(terms), self.fraction, self.error * terms as f64 * 2.0, false)
    }

    /// Rounded to bf16.
    pub fn narrowed(self) -> Facts {
        // A multiple of a power of two that is rounded to fewer bits is one of a larger power, or the same. What is rounded is the whole.
        Facts { in_parts: false, ..self }
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
        let sum = quarters.dot(quarters, 32, None);
        assert_eq!(sum, Facts { in_parts: true, ..Facts::fixed(11, 4) });
        assert_eq!(quarters.dot(quarters, 32, Some(Facts::fixed(7, 0))).magnitude, 12);
        // A multiple of a sum in parts is the same everywhere if it is exact; what has been added to a whole is a whole.
        assert!(!sum.times(quarters).differs_in_parts() && sum.times(Facts::same(0)).differs_in_parts());
        assert!(sum.plus(Facts { in_parts: true, ..Facts::fixed(20, 0) }).differs_in_parts());
        assert!(
            !sum.plus(Facts::fixed(20, 0)).differs_in_parts() && !quarters.times(Facts::same(0)).differs_in_parts()
        );
        assert_eq!([bits(1), bits(2), bits(3), bits(64)], [0, 1, 2, 6]);
    }
}
