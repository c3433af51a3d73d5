//! Products of 8-bit floats, summed as Hopper's tensor cores do it: with 13 bits behind the point of the largest summand.
//!
//! An instruction adds 32 products to the sum so far. Each of the 33 is brought to the exponent of the largest, where a product counts with the sum
//! of its factors' exponents, and what lies more than 13 bits below that is dropped; so is what lies more than 13 bits below the first bit of
//! their sum. Both are cut off towards zero. DeepSeek-V3's report (section 3.3.2) says as much of the width. The rest was found by comparing, and holds
//! bit for bit of what an H200 made of random numbers by `wgmma` (docs/notes/2026-11-22-slots-and-short-sums.md). Products by `mma.sync`, which
//! the compiler takes for smaller tiles, keep more bits there.

use super::mma::Mat;

/// Terms that an instruction multiplies.
const TERMS: usize = 32;
/// Bits kept behind the first one.
const KEPT: i32 = 13;
/// Exponent of zero: below that of everything else.
const NONE: i32 = -1000;

/// The factors of the terms of one sum, and their exponents.
struct Factors {
    values: Vec<f32>,
    exponents: Vec<i32>,
}

/// `c += a · b` for `a` [M, K] and `b` [K, N] of 8-bit floats, `c` being dense.
pub(super) fn mma(c: &mut [f32], [m, n, k]: [usize; 3], a: Mat<'_>, b: Mat<'_>) {
    let columns: Vec<Factors> = (0..n).map(|j| factors((0..k).map(|p| b.data[p * b.row + j * b.col]))).collect();
    for i in 0..m {
        let row = factors((0..k).map(|p| a.data[i * a.row + p * a.col]));
        for (sum, column) in c[i * n..].iter_mut().zip(&columns) {
            *sum = add(*sum, &row, column);
        }
    }
}

fn factors(values: impl Iterator<Item = f32>) -> Factors {
    let values: Vec<f32> = values.collect();
    let exponents = values.iter().map(|x| exponent(*x)).collect();
    Factors { values, exponents }
}

/// Position of a number's first bit.
fn exponent(x: f32) -> i32 {
    match x {
        0.0 => NONE,
        x if x.is_finite() => (x.to_bits() >> 23 & 0xff) as i32 - 127,
        _ => -2 * NONE,
    }
}

/// `sum` and the products of two rows of factors.
fn add(sum: f32, a: &Factors, b: &Factors) -> f32 {
    let values = a.values.chunks(TERMS).zip(b.values.chunks(TERMS));
    let exponents = a.exponents.chunks(TERMS).zip(b.exponents.chunks(TERMS));
    values.zip(exponents).fold(sum, |sum, ((x, y), (ex, ey))| {
        let largest = ex.iter().zip(ey).map(|(x, y)| x + y).fold(exponent(sum), i32::max);
        let plain = || x.iter().zip(y).fold(sum, |s, (x, y)| s + x * y);
        // Products are 2^-32 at least; only a sum that is next to nothing, or no number, has another exponent.
        if !(-64..64).contains(&largest) {
            return plain();
        }
        let unit = f32::from_bits(((127 + largest - KEPT) as u32) << 23);
        let scale = 1.0 / unit;
        // Exact: products have 8 bits, and scales are powers of two.
        let terms = x.iter().zip(y).map(|(x, y)| (x * y * scale) as i32);
        let total = terms.sum::<i32>() + (sum * scale) as i32;
        let dropped = (i32::BITS - total.unsigned_abs().leading_zeros()).saturating_sub(KEPT as u32 + 1);
        let kept = total.unsigned_abs() >> dropped << dropped;
        (kept as f32 * unit).copysign(total as f32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum of products a·b for pairs of factors, added to `sum`.
    fn of(sum: f32, pairs: &[(f32, f32)]) -> f32 {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        let k = pairs.len();
        let mut c = [sum];
        mma(&mut c, [1, 1, k], Mat { data: &a, row: k, col: 1 }, Mat { data: &b, row: 1, col: 1 });
        c[0]
    }

    const SMALL: f32 = 1.0 / 128.0;

    #[test]
    fn what_lies_below_thirteen_bits_is_dropped() {
        // 2^-13 is the last that 1 keeps; half of it isn't, however often it comes.
        assert_eq!(of(1.0, &[(SMALL, SMALL * 2.0)]), 1.0 + SMALL * SMALL * 2.0);
        assert_eq!(of(1.0, &[(SMALL, SMALL); 32]), 1.0);
        assert_eq!(of(-1.0, &[(SMALL, SMALL); 32]), -1.0);
        assert_eq!(of(0.0, &[(SMALL, SMALL); 32]), 32.0 * SMALL * SMALL);
    }

    #[test]
    fn a_product_counts_with_its_factors_exponents() {
        // 1.5 · 1.5 is 2.25, but cut at 2^-13 as 1 is.
        assert_eq!(of(0.0, &[(1.5, 1.5), (SMALL, SMALL * 2.0)]), 2.25);
        assert_eq!(of(0.0, &[(1.5, 1.5), (SMALL, SMALL * 2.0), (SMALL, SMALL * 2.0)]), 2.25 + 4.0 * SMALL * SMALL);
    }

    #[test]
    fn sums_of_an_instruction_are_added_one_after_the_other() {
        let mut pairs = vec![(SMALL, SMALL); 32];
        pairs.extend([(1.0, 1.0)]);
        assert_eq!(of(0.0, &pairs), 1.0 + 32.0 * SMALL * SMALL);
        pairs.rotate_right(1);
        assert_eq!(of(0.0, &pairs), 1.0);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        assert!(of(0.0, &[(f32::NAN, 1.0), (1.0, 1.0)]).is_nan());
        assert!(of(0.0, &[(f32::NAN, 0.0), (1.0, 1.0)]).is_nan());
        assert_eq!(of(f32::INFINITY, &[(1.0, 1.0)]), f32::INFINITY);
        assert_eq!(of(0.25, &[(0.0, 1.0)]), 0.25);
    }
}
