//! What products of 8-bit floats by warpgroups come to on a Hopper GPU, element by element and in f64: the reference of their cases. The simulator
//! has its own way to the same numbers (`tile_lang::interp`).

/// Terms that one instruction adds to the sum so far.
const TERMS: usize = 32;

/// The largest power of two up to |x|; 0 for 0.
fn power(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { f64::from_bits(x.to_bits() & (0x7ff << 52)) }
}

/// What is left of x in multiples of a unit, cut off towards zero.
fn cut(x: f64, unit: f64) -> f64 {
    (x / unit).trunc() * unit
}

/// The sum of the products of two rows, which have all terms that are added one behind the other. Every instruction brings its 32 products and the
/// sum so far to the largest exponent among them, a product's being its factors' together, and keeps 13 bits behind the point; of
/// their sum, too.
fn sum(a: &[f32], b: &[f32]) -> f64 {
    let kept = f64::from(1 << 13);
    a.chunks(TERMS).zip(b.chunks(TERMS)).fold(0.0, |sum, (a, b)| {
        let pairs = || a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
        let largest = pairs().map(|(x, y)| power(x) * power(y)).fold(power(sum), f64::max);
        if largest == 0.0 {
            return 0.0;
        }
        let unit = largest / kept;
        let exact = cut(sum, unit) + pairs().map(|(x, y)| cut(x * y, unit)).sum::<f64>();
        if exact == 0.0 { 0.0 } else { cut(exact, power(exact) / kept) }
    })
}

/// `a` [rows, K] times the transpose of `b` [n, K], rows of either in f32: for each pair of rows its sums of `step` terms, by `finish(row, column,
/// sums)` made to one number.
///
/// # Panics
/// A thread that computes some rows panicked.
pub fn products(
    (a, b): (&[f32], &[f32]),
    [n, k]: [usize; 2],
    step: usize,
    finish: impl Fn(usize, usize, &[f32]) -> f32 + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0; a.len() / k * n];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rows = (a.len() / k).div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (part, out) in out.chunks_mut(rows * n).enumerate() {
            let (a, finish) = (&a[part * rows * k..], &finish);
            scope.spawn(move || {
                for (i, x) in out.iter_mut().enumerate() {
                    let (row, column) = (&a[i / n * k..][..k], &b[i % n * k..][..k]);
                    let sums: Vec<f32> =
                        row.chunks(step).zip(column.chunks(step)).map(|(a, b)| sum(a, b) as f32).collect();
                    *x = finish(part * rows + i / n, i % n, &sums);
                }
            });
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sums_drop_what_is_small() {
        let plain = |_: usize, _: usize, sums: &[f32]| sums.iter().sum();
        let (a, b) = ([1.0, 0.0078125, 1.5, 0.0], [1.0, 0.0078125, 1.5, 3.0]);
        assert_eq!(products((&a, &b), [1, 4], 4, plain), [3.25]);
        assert_eq!(products((&a, &b), [2, 2], 2, plain), [1.0, 1.5234375, 1.5, 2.25]);
        assert_eq!(products((&a, &b), [1, 4], 1, plain), [3.25 + 0.0078125 * 0.0078125]);
    }
}
