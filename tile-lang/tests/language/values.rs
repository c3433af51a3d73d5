//! Expressions: arithmetic, shapes, masks, conversions, host code.

use super::{ints, reals, run, staged};
use tile_lang::DType;
use tile_lang::dsl::*;
use tile_lang::tile;

/// A host constant.
const HALF: f32 = 0.5;

/// Host code, run while staging.
fn twice(n: usize) -> usize {
    n * 2
}

mod limits {
    pub const TOP: i32 = 100;
    pub fn log2(n: usize) -> i32 {
        n.ilog2() as i32
    }
}

#[tile::kernel(crate = tile_lang)]
fn arithmetic<const N: usize>(x: &Global<f32, 1>, y: &mut Global<f32, 1>) {
    let a = x.load::<Tile<f32, N>>([0]);
    let b = -a + 2.0 * a - a / 4.0 + (1.0 - a) * HALF;
    let wide = twice(N) as f32;
    let c = (b.max(a).min(wide) + (a - b).abs().sqrt()) * (N as f32 / 2.0);
    y.store([0], c);
}

#[test]
fn arithmetic_of_tiles_and_numbers() {
    let x = [1.0f32, -2.0, 3.5, 8.0];
    let kernel = staged(arithmetic::instance(4));
    let want: Vec<f32> = x
        .iter()
        .map(|&a| {
            let b = -a + 2.0 * a - a / 4.0 + (1.0 - a) * 0.5;
            (b.max(a).min(8.0) + (a - b).abs().sqrt()) * 2.0
        })
        .collect();
    assert_eq!(run(&kernel, &[reals(&[4], &x)], DType::F32, &[4]).to_f32(), want);
}

#[tile::kernel(crate = tile_lang)]
fn integers<const N: usize>(x: &Global<i32, 1>, shift: i32, y: &mut Global<i32, 1>) {
    let a = x.load::<Tile<i32, N>>([0]);
    let b = ((a << 3) ^ (a & 7) | 16) % limits::TOP;
    let c = (b >> 1) + a.shr_logical(28) + a.mul_high(3) + shift * 2 + limits::log2(N);
    let negative = !(a.ge(0) | a.eq(-5));
    let mut d = select(negative, c, 0);
    d += a;
    d -= 1;
    d *= 3;
    y.store([0], d);
}

#[test]
fn arithmetic_of_integers() {
    let x = [1i32, -2, 300, -5];
    let kernel = staged(integers::instance(4));
    let want: Vec<i32> = x
        .iter()
        .map(|&a| {
            let b = ((a << 3) ^ (a & 7) | 16) % 100;
            let high = ((a as u32 as u64 * 3) >> 32) as i32;
            let c = (b >> 1) + (a as u32 >> 28) as i32 + high + 7 * 2 + 2;
            ((if a < 0 && a != -5 { c } else { 0 }) + a - 1) * 3
        })
        .collect();
    let shift = tile_lang::interp::ArgValue::I32(7);
    assert_eq!(run(&kernel, &[ints(&[4], &x), shift], DType::I32, &[4]).to_i32(), want);
}

#[tile::kernel(crate = tile_lang)]
fn shapes<const R: usize, const C: usize>(x: &Global<f32, 2>, y: &mut Global<f32, 1>) {
    let [i] = work([1]);
    let a: Tile<f32, R, C> = x.load([i, 0]);
    let top = a.row_max();
    let best = a.row_argmax();
    let centred = a - top.cols::<C>();
    let sums = (centred.exp2().t().col_sum() + best.cast::<f32>()).rows::<2>().col_sum();
    let spread = a.repeat::<8>().row_sum();
    y.store([0], sums + spread);
    y.store_at([R as i32], Tile::<f32, R>::full((top - sums).all_min()));
    let corner = Tile::<i32, R, C>::row_index() + Tile::<i32, R, C>::col_index();
    y.store_masked([2], corner.row_sum().cast::<f32>(), best.lt(2));
    y.set([3 * R as i32], a.col_max().all_sum() + best.all_max() as f32 + a.col_min().all_argmax() as f32);
}

#[test]
fn shapes_and_reductions() {
    let kernel = staged(shapes::instance(2, 4));
    let out = run(&kernel, &[reals(&[2, 4], &[0.0, 1.0, 3.0, 2.0, 5.0, 4.0, 1.0, 1.0])], DType::F32, &[8]).to_f32();
    let sums = [2.0 * (0.125 + 0.25 + 1.0 + 0.5 + 2.0), 2.0 * (1.0 + 0.5 + 0.0625 + 0.0625)];
    assert_eq!(out[0..2], [sums[0] + 12.0, sums[1] + 22.0]);
    let low = (3.0 - sums[0]).min(5.0 - sums[1]);
    assert_eq!(out[2..4], [low, low]);
    assert_eq!(out[4..6], [0.0, 10.0]);
    assert_eq!(out[6], 5.0 + 4.0 + 3.0 + 2.0 + 2.0 + 1.0);
}

#[tile::kernel(crate = tile_lang)]
fn masks<const R: usize, const C: usize>(x: &Global<f32, 2>, n: i32, on: bool, y: &mut Global<f32, 2>) {
    let a = x.load::<Tile<f32, R, C>>([0, 0]);
    let b = a.keep(|r, c| r * C as i32 + c < n && (on || c != 1), NEG_INF);
    let c = select(b.gt(NEG_INF), b, 1.0);
    y.store([0, 0], select(on, c, -c));
}

#[test]
fn masks_choose_element_by_element() {
    use tile_lang::interp::ArgValue;
    let kernel = staged(masks::instance(2, 2));
    let x = reals(&[2, 2], &[5.0, 6.0, 7.0, 8.0]);
    let on = |on| run(&kernel, &[x.clone(), ArgValue::I32(3), ArgValue::Bool(on)], DType::F32, &[2, 2]).to_f32();
    assert_eq!(on(true), [5.0, 6.0, 7.0, 1.0]);
    assert_eq!(on(false), [-5.0, -1.0, -7.0, -1.0]);
}

#[tile::kernel(crate = tile_lang)]
fn scalars(x: &Global<f32, 1>, n: i32, y: &mut Global<f32, 1>) {
    let a = x.at([n]);
    let bits = to_bits(a);
    let b = from_bits(shr_logical(bits, 1) + mul_high(bits, 1 << 30));
    let c = rsqrt(a) + a.exp2().log2().sin().cos().floor().recip().ln().abs();
    let d = select(n > 0 && x.at([n - 1]) > 1.0, a.max(2.0), -a);
    let e = (a as i32 / 2 * 2) as f32;
    let f = f32::max(c, d).min(e) + i32::min(n, 3) as f32;
    y.set([0], b.max(0.0).min(1.0));
    y.set([1], f);
    y.set([2], d);
    y.set([3], e);
}

#[test]
fn scalars_of_the_device() {
    use tile_lang::interp::ArgValue;
    let kernel = staged(scalars::instance());
    let x = [9.0f32, 5.5];
    let out = |n| run(&kernel, &[reals(&[2], &x), ArgValue::I32(n)], DType::F32, &[4]).to_f32();
    assert_eq!(out(1)[2..], [5.5, 4.0]);
    // Without the short circuit this would read x[-1].
    assert_eq!(out(0)[2..], [-9.0, 8.0]);
}

#[tile::kernel(crate = tile_lang)]
fn conversions<E: Elem, const N: usize>(x: &Global<E, 1>, y: &mut Global<bf16, 1>) {
    let a: Tile<E, N> = x.load([0]);
    let one: Tile<bf16, N> = Tile::full(x.at([0]).cast::<bf16>());
    y.store([0], a.cast::<bf16>() + one);
    y.set([0], (1.0f32).cast::<bf16>());
}

#[test]
fn conversions_between_elements() {
    let kernel = staged(conversions::instance(DType::F32, 4));
    assert_eq!(run(&kernel, &[reals(&[4], &[1.0, 2.0, 3.0, 4.0])], DType::Bf16, &[4]).to_f32(), [1.0, 3.0, 4.0, 5.0]);
    staged(conversions::instance(DType::E4m3, 8));
}

#[tile::kernel(crate = tile_lang)]
fn staged_slices<const M: usize, const K: usize>(a: &Global<bf16, 2>, y: &mut Global<f32, 2>) {
    let whole = a.stage_at::<Smem<bf16, M, K>>([0, 0]);
    let left = whole.slice::<M, 16>(0, 0);
    let right = whole.slice::<M, 16>(0, K - 16);
    let mut acc = mma(left, right.t());
    acc.mma(left.read(), right.t());
    y.store([0, 0], acc + whole.cast::<f32>().row_sum().cols::<M>());
}

#[test]
fn parts_of_a_staged_tile() {
    let kernel = staged(staged_slices::instance(16, 32));
    let a: Vec<f32> = (0..512).map(|i| if i % 33 == 0 { 2.0 } else { 0.0 }).collect();
    let array = std::sync::Arc::new(tile_lang::interp::Array::from_f32(DType::Bf16, [16, 32], &a).unwrap());
    let out = run(&kernel, &[array.into()], DType::F32, &[16, 16]).to_f32();
    assert!(out.iter().all(|x| *x == 2.0), "{out:?}");
}
