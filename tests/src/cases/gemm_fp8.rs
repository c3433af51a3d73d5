//! Products of FP8 operands with scales: those of warpgroups against sums as short as tensor cores make them, others against the dequantised operands.

use super::Expected;
use super::builder::{Build, Built, F32_ERROR, rounded};
use crate::short_sums;
use tile_lang::DType::{self, Bf16, E4m3, F32};
use tile_models::kernels::gemm_fp8;
use tile_models::reference::ops;

/// Terms, and columns of B, that share a scale.
const BLOCK: usize = 128;

/// What has a scale of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// An array.
    Tensor,
    /// A row.
    Rows,
    /// 128 terms of a row of A, 128 × 128 elements of B.
    Blocks,
}

/// One product: scales, extents, result's type, tile; with scales by blocks the last number of the tile is the parts of an item.
#[derive(Clone, Copy, Debug)]
pub struct Fp8 {
    /// See [`Scales`].
    pub scales: Scales,
    /// Rows and columns of C, terms.
    pub extents: [usize; 3],
    /// Result's type.
    pub y: DType,
    /// See above.
    pub tile: [usize; 3],
    /// One of so many rows of C is compared.
    pub every: usize,
}

/// The error allowed of an element, relative to its magnitude and what its sum's error adds to that: one unit in the last place of a 16-bit
/// result, since where the f32 sums lie near the middle of two such numbers the order of the sum decides.
fn rounding(y: DType) -> f64 {
    match y {
        Bf16 => 1.0 / 128.0,
        _ => F32_ERROR,
    }
}

/// The error allowed of a sum that warps make, relative to the root mean square of sums of such rows. Tensor cores may add 32 products of FP8 and the sum so far
/// at the largest one's exponent with about 13 bits behind the point and drop the rest (DeepSeek-V3's report, section 3.3.2): half of the last bit, always in one
/// direction, once for 32 terms.
fn sum_error(terms: usize) -> f64 {
    F32_ERROR.max(terms.div_ceil(32) as f64 / f64::from(1 << 14))
}

/// For each row of `k` elements, the root of the sum of squares over the fourth root of `k`: the product of two is the root mean square of their
/// rows' product, with signs at random.
fn norms(x: &[f32], k: usize) -> Vec<f32> {
    x.chunks(k).map(|row| row.iter().map(|x| x * x).sum::<f32>().sqrt() / (k as f32).powf(0.25)).collect()
}

/// C = A·Bᵀ of E4M3 numbers. Padding of scales is no number, so that one that is used shows.
pub fn fp8_case(f: Fp8) -> Built {
    let Fp8 { scales, extents: [m, n, k], y, tile: [bm, bn, last], every } = f;
    let def = match scales {
        Scales::Tensor => gemm_fp8::gemm_fp8::DEF,
        Scales::Rows => gemm_fp8::gemm_fp8_rows::DEF,
        Scales::Blocks => gemm_fp8::gemm_fp8_blocks::DEF,
    };
    let mut case = Build::new(def.name, &format!("{m}x{n}x{k}_{y}_{bm}x{bn}x{last}"));
    case.flops = (2 * m * n * k) as u64;
    let (padded, steps, wide) = (m.next_multiple_of(4), k.div_ceil(BLOCK), n.div_ceil(BLOCK));
    let (a_dims, b_dims) = match scales {
        Scales::Tensor => (vec![1], vec![1]),
        Scales::Rows => (vec![m], vec![n]),
        Scales::Blocks => (vec![steps, padded], vec![wide, steps]),
    };
    let mut some = |dims: &[usize], scale: f32| {
        let x: Vec<f32> = (0..dims.iter().product()).map(|_| scale * (0.5 + case.random.uniform())).collect();
        x
    };
    let (mut a_scales, b_scales) = (some(&a_dims, 1.0 / 16.0), some(&b_dims, 1.0));
    if scales == Scales::Blocks {
        a_scales.chunks_mut(padded).for_each(|row| row[m..].fill(f32::NAN));
    }
    let a = case.rows(E4m3, &[m, k], 1.0);
    case.given(F32, &a_dims, a_scales.clone());
    let b = case.rows(E4m3, &[n, k], 1.0);
    case.given(F32, &b_dims, b_scales.clone());
    let c = case.out(y, &[m, n]);
    // Rows of 64 for each of two warpgroups, of a product that they can make: the shortened sums are known bit for bit.
    let by_warpgroups = bm == 128;
    let expect = move || {
        let of_a = |row: usize, term: usize| match scales {
            Scales::Tensor => a_scales[0],
            Scales::Rows => a_scales[row],
            Scales::Blocks => a_scales[term / BLOCK * padded + row],
        };
        let of_b = |row: usize, term: usize| match scales {
            Scales::Tensor => b_scales[0],
            Scales::Rows => b_scales[row],
            Scales::Blocks => b_scales[row / BLOCK * steps + term / BLOCK],
        };
        let scaled_b: Vec<f32> = b.iter().enumerate().map(|(i, x)| x * of_b(i / k, i % k)).collect();
        let codes_a: Vec<f32> = a.chunks(k).step_by(every).flatten().copied().collect();
        let scaled_a: Vec<f32> = codes_a.iter().enumerate().map(|(i, x)| x * of_a(i / k * every, i % k)).collect();
        // Scales count as the kernels take them: after the sum that they are for.
        let step = if scales == Scales::Blocks { BLOCK } else { k };
        let sums = if by_warpgroups {
            short_sums::products((&codes_a, &b), [n, k], step, |row, column, sums| {
                let scale = |at: usize| of_a(row * every, at * step) * of_b(column, at * step);
                sums.iter().enumerate().fold(0.0, |all, (at, x)| x.mul_add(scale(at), all))
            })
        } else {
            ops::linear_f32(&scaled_a, &scaled_b, n)
        };
        let (a_norms, b_norms) = (norms(&scaled_a, k), norms(&scaled_b, k));
        let share = if by_warpgroups { F32_ERROR } else { sum_error(k) } / rounding(y);
        let of = |(i, x): (usize, &f32)| x.abs() + share as f32 * a_norms[i / n] * b_norms[i % n];
        let mut magnitudes = vec![f32::INFINITY; m * n];
        let own: Vec<f32> = sums.iter().enumerate().map(of).collect();
        for (to, from) in magnitudes.chunks_mut(n).step_by(every).zip(own.chunks(n)) {
            to.copy_from_slice(from);
        }
        vec![Expected { magnitudes: Some(magnitudes), ..c.some_rows(n, every, rounded(y, sums)) }]
    };
    let generics = match scales {
        Scales::Tensor | Scales::Rows => [y.into(), bm.into(), bn.into(), last.into()],
        Scales::Blocks => [y.into(), last.into(), bm.into(), bn.into()],
    };
    case.finish(def, &generics, "e4m3", rounding(y), Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    use Scales::{Blocks, Rows, Tensor};
    let tile = [128, 256, 128];
    [
        (Tensor, [128, 256, 384], Bf16, tile),
        (Tensor, [37, 300, 144], F32, [128, 128, 128]),
        (Tensor, [1, 1, 16], F32, tile),
        (Rows, [200, 264, 272], Bf16, tile),
        (Rows, [37, 70, 400], F32, [128, 64, 128]),
        (Rows, [150, 300, 272], Bf16, [128, 128, 128]),
        (Blocks, [300, 264, 384], Bf16, [128, 128, 1]),
        (Blocks, [37, 72, 144], F32, [128, 64, 1]),
        (Blocks, [130, 136, 640], Bf16, [128, 128, 1]),
        (Blocks, [130, 200, 272], F32, [128, 128, 2]),
        (Blocks, [300, 136, 128], Bf16, [128, 128, 2]),
    ]
    .map(|(scales, extents, y, tile)| fp8_case(Fp8 { scales, extents, y, tile, every: 1 }))
    .into_iter()
    .collect()
}
