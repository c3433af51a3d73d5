//! RMS norm, alone and as the prologue of products.

use tile_lang::dsl::*;
use tile_lang::tile;

/// 1 / √(mean(x²) + eps) of each of the T rows of `x` [T, K].
#[tile::func(crate = tile_lang)]
pub fn inv_rms<X: Elem, const T: usize, const BK: usize>(x: &Global<X, 2>, eps: f32) -> Tile<f32, T> {
    let n = x.dim(1);
    let mut squares = Tile::<f32, T, BK>::zero();
    for k in 0..cdiv(n, BK) {
        let v = x.load::<Tile<X, T, BK>>([0, k]).cast::<f32>();
        squares += v * v;
    }
    (squares.row_sum() / n as f32 + eps).rsqrt()
}

/// What [`rows_f32()`] multiplies rows by: [`inv_rms()`] when `NORM` is 1; unused otherwise.
#[tile::func(crate = tile_lang)]
pub fn row_scale<X: Elem, const NORM: usize, const T: usize, const BK: usize>(
    x: &Global<X, 2>,
    eps: f32,
) -> Tile<f32, T> {
    if NORM == 1 { inv_rms::<X, T, BK>(x, eps) } else { Tile::<f32, T>::zero() }
}

/// Columns `k·BK …` of all rows of `x` [T, K], in f32: normalised when `NORM` is 1, as they are otherwise. `scale`
/// comes from [`row_scale()`], `gain` is the norm's weight \[K\].
#[tile::func(crate = tile_lang)]
pub fn rows_f32<X: Elem, const NORM: usize, const T: usize, const BK: usize>(
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    scale: Tile<f32, T>,
    k: i32,
) -> Tile<f32, T, BK> {
    let v = x.load::<Tile<X, T, BK>>([0, k]).cast::<f32>();
    if NORM == 1 { v * scale.cols::<BK>() * gain.load::<Tile<f32, BK>>([k]).rows::<T>() } else { v }
}

/// [`rows_f32()`] as a product's operand: rounded to bf16, the rows being columns.
#[tile::func(crate = tile_lang)]
pub fn operand<X: Elem, const NORM: usize, const T: usize, const BK: usize>(
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    scale: Tile<f32, T>,
    k: i32,
) -> Tile<bf16, BK, T> {
    rows_f32::<X, NORM, T, BK>(x, gain, scale, k).cast::<bf16>().t()
}

/// y = x / √(mean(x²) + eps) · gain for each row: `x` [T, K], `gain` \[K\], `y` [T, K]. One item for each row, which
/// takes chunks of BK columns.
#[tile::kernel(crate = tile_lang)]
pub fn rms_norm<X: Elem, Y: Elem, const BK: usize>(
    x: &Global<X, 2>,
    gain: &Global<f32, 1>,
    y: &mut Global<Y, 2>,
    eps: f32,
) {
    require!(x.dim(1) == gain.dim(0), y.dim(0) == x.dim(0), y.dim(1) == x.dim(1));
    let [t] = work([x.dim(0)]);
    let n = x.dim(1);
    let mut squares = Tile::<f32, BK>::zero();
    for k in 0..cdiv(n, BK) {
        let v = x.load::<Tile<X, BK>>([t, k]).cast::<f32>();
        squares += v * v;
    }
    let scale = rsqrt(squares.all_sum() / n as f32 + eps);
    for k in 0..cdiv(n, BK) {
        let v = x.load::<Tile<X, BK>>([t, k]).cast::<f32>();
        y.store([t, k], (v * scale * gain.load::<Tile<f32, BK>>([k])).cast::<Y>());
    }
}
