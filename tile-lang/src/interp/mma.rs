//! Matrix products in f32: `C[M, N] += A[M, K] · B[K, N]`.
//!
//! Two loops, chosen by how `B` lies: along `K` (a transposed weight or key tile: dot products) or along `N` (outer
//! products). Each exists in plain Rust and for AVX2 with FMA, chosen when it runs.

use super::value::copy_strided;

/// A matrix: element `(r, c)` is `data[r · row + c · col]`.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub col: usize,
}

/// `c += a · b`, `c` being dense.
pub(super) fn mma(c: &mut [f32], [m, n, k]: [usize; 3], a: Mat<'_>, b: Mat<'_>) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let mut packed_a = Vec::new();
    let a = if a.col == 1 { a } else { pack(a, m, k, &mut packed_a) };
    let mut packed_b = Vec::new();
    // Dot products pay for their final sums; where they are short and many, turning `B` around is cheaper.
    let turn = b.row == 1 && b.col != 1 && k <= m;
    let b = if b.col == 1 || (b.row == 1 && !turn) { b } else { pack(b, k, n, &mut packed_b) };
    // Every index below stays inside these slices.
    let a = Mat { data: &a.data[..(m - 1) * a.row + k], ..a };
    let b = Mat { data: &b.data[..(k - 1) * b.row + (n - 1) * b.col + 1], ..b };
    let c = &mut c[..m * n];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has AVX2 and FMA.
        return unsafe { if b.col == 1 { avx::outer(c, [m, n, k], a, b) } else { avx::dots(c, [m, n, k], a, b) } };
    }
    if b.col == 1 { outer(c, [m, n, k], a, b) } else { dots(c, [m, n, k], a, b) }
}

/// A dense copy.
fn pack<'a>(x: Mat<'_>, rows: usize, cols: usize, buffer: &'a mut Vec<f32>) -> Mat<'a> {
    buffer.resize(rows * cols, 0.0);
    copy_strided(x.data, x.row, x.col, rows, cols, buffer);
    Mat { data: buffer, row: cols, col: 1 }
}

/// `B` along `N`: each row of `C` collects multiples of rows of `B`.
fn outer(c: &mut [f32], [_, n, k]: [usize; 3], a: Mat<'_>, b: Mat<'_>) {
    for (i, c) in c.chunks_exact_mut(n).enumerate() {
        for p in 0..k {
            let x = a.data[i * a.row + p];
            let row = &b.data[p * b.row..p * b.row + n];
            c.iter_mut().zip(row).for_each(|(c, y)| *c += x * y);
        }
    }
}

/// `B` along `K`: dot products in eight lanes.
fn dots(c: &mut [f32], [_, n, k]: [usize; 3], a: Mat<'_>, b: Mat<'_>) {
    for (i, c) in c.chunks_exact_mut(n).enumerate() {
        let (x, x_rest) = a.data[i * a.row..i * a.row + k].as_chunks::<8>();
        for (j, c) in c.iter_mut().enumerate() {
            let (y, y_rest) = b.data[j * b.col..j * b.col + k].as_chunks::<8>();
            let mut lanes = [0f32; 8];
            for (x, y) in x.iter().zip(y) {
                for l in 0..8 {
                    lanes[l] += x[l] * y[l];
                }
            }
            let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
            *c += lanes.iter().sum::<f32>() + rest;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx {
    //! The same loops with eight-lane registers: 2 × 4 dot products, or 4 rows by 16 columns, at a time.

    use super::Mat;
    use std::arch::x86_64::*;

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(x: &[f32; 8]) -> __m256 {
        // SAFETY: eight elements are there; the load needs no alignment.
        unsafe { _mm256_loadu_ps(x.as_ptr()) }
    }

    /// The sums of the lanes of four registers.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn sums(v: [__m256; 4]) -> __m128 {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
        _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs))
    }

    /// As [`super::dots`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dots(c: &mut [f32], [m, n, k]: [usize; 3], a: Mat<'_>, b: Mat<'_>) {
        for j in (0..n).step_by(4) {
            let cols = (n - j).min(4);
            for i in (0..m).step_by(2) {
                let rows = (m - i).min(2);
                if rows == 2 && cols == 4 {
                    dots_block(c, [n, k], [i, j], a, b);
                    continue;
                }
                for i in i..i + rows {
                    for j in j..j + cols {
                        let (x, y) = (&a.data[i * a.row..][..k], &b.data[j * b.col..][..k]);
                        c[i * n + j] += x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
                    }
                }
            }
        }
    }

    /// Two rows by four columns.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn dots_block(c: &mut [f32], [n, k]: [usize; 2], [i, j]: [usize; 2], a: Mat<'_>, b: Mat<'_>) {
        let x: [&[f32]; 2] = std::array::from_fn(|r| &a.data[(i + r) * a.row..][..k]);
        let y: [&[f32]; 4] = std::array::from_fn(|s| &b.data[(j + s) * b.col..][..k]);
        let whole = k / 8;
        let xs: [&[[f32; 8]]; 2] = x.map(|x| &x.as_chunks::<8>().0[..whole]);
        let ys: [&[[f32; 8]]; 4] = y.map(|y| &y.as_chunks::<8>().0[..whole]);
        let mut acc = [[_mm256_setzero_ps(); 4]; 2];
        for p in 0..whole {
            let left = [load(&xs[0][p]), load(&xs[1][p])];
            for s in 0..4 {
                let right = load(&ys[s][p]);
                acc[0][s] = _mm256_fmadd_ps(left[0], right, acc[0][s]);
                acc[1][s] = _mm256_fmadd_ps(left[1], right, acc[1][s]);
            }
        }
        for r in 0..2 {
            let mut total = [0f32; 4];
            // SAFETY: four elements are there; the store needs no alignment.
            unsafe { _mm_storeu_ps(total.as_mut_ptr(), sums(acc[r])) }
            for (s, c) in c[(i + r) * n + j..][..4].iter_mut().enumerate() {
                let rest: f32 = x[r][whole * 8..].iter().zip(&y[s][whole * 8..]).map(|(x, y)| x * y).sum();
                *c += total[s] + rest;
            }
        }
    }

    /// As [`super::outer`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn outer(c: &mut [f32], [m, n, k]: [usize; 3], a: Mat<'_>, b: Mat<'_>) {
        let mut i = 0;
        while i < m {
            let rows = if m - i >= 4 { 4 } else { 1 };
            let mut j = 0;
            while j + 16 <= n {
                match rows {
                    4 => outer_block::<4, 2>(c, [n, k], [i, j], a, b),
                    _ => outer_block::<1, 2>(c, [n, k], [i, j], a, b),
                }
                j += 16;
            }
            if j + 8 <= n {
                match rows {
                    4 => outer_block::<4, 1>(c, [n, k], [i, j], a, b),
                    _ => outer_block::<1, 1>(c, [n, k], [i, j], a, b),
                }
                j += 8;
            }
            for i in i..i + rows {
                for j in j..n {
                    c[i * n + j] += (0..k).map(|p| a.data[i * a.row + p] * b.data[p * b.row + j]).sum::<f32>();
                }
            }
            i += rows;
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn outer_block<const R: usize, const V: usize>(
        c: &mut [f32],
        [n, k]: [usize; 2],
        [i, j]: [usize; 2],
        a: Mat<'_>,
        b: Mat<'_>,
    ) {
        let x: [&[f32]; R] = std::array::from_fn(|r| &a.data[(i + r) * a.row..][..k]);
        let mut acc = [[_mm256_setzero_ps(); V]; R];
        for p in 0..k {
            let row = &b.data[p * b.row + j..][..8 * V].as_chunks::<8>().0[..V];
            let mut column = [0f32; R];
            for (to, x) in column.iter_mut().zip(&x) {
                *to = x[p];
            }
            for r in 0..R {
                let left = _mm256_set1_ps(column[r]);
                for v in 0..V {
                    acc[r][v] = _mm256_fmadd_ps(left, load(&row[v]), acc[r][v]);
                }
            }
        }
        for r in 0..R {
            for (v, out) in c[(i + r) * n + j..][..8 * V].as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let total = _mm256_add_ps(load(out), acc[r][v]);
                // SAFETY: eight elements are there; the store needs no alignment.
                unsafe { _mm256_storeu_ps(out.as_mut_ptr(), total) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_computes_the_product() {
        for [m, n, k] in [[16, 8, 16], [4, 24, 32], [16, 16, 64], [5, 11, 13], [1, 1, 1], [6, 9, 40]] {
            let a: Vec<f32> = (0..m * k).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| ((i * 5) % 11) as f32 - 5.0).collect();
            let transpose = |x: &[f32], rows: usize, cols: usize| -> Vec<f32> {
                (0..rows * cols).map(|i| x[(i % rows) * cols + i / rows]).collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            let want: Vec<f32> =
                (0..m * n).map(|i| 1.0 + (0..k).map(|p| a[(i / n) * k + p] * b[p * n + i % n]).sum::<f32>()).collect();
            let forms_a = [Mat { data: &a, row: k, col: 1 }, Mat { data: &at, row: 1, col: m }];
            let forms_b = [Mat { data: &b, row: n, col: 1 }, Mat { data: &bt, row: 1, col: k }];
            for a in forms_a {
                for b in forms_b {
                    let mut c = vec![1.0; m * n];
                    mma(&mut c, [m, n, k], a, b);
                    assert_eq!(c, want, "{m}x{n}x{k}");
                }
            }
            let mut c = vec![1.0; m * n];
            outer(&mut c, [m, n, k], forms_a[0], forms_b[0]);
            assert_eq!(c, want);
            let mut c = vec![1.0; m * n];
            dots(&mut c, [m, n, k], forms_a[0], forms_b[1]);
            assert_eq!(c, want);
        }
    }
}
