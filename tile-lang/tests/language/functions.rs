//! Tile functions.

use super::{ints, reals, run, staged};
use tile_lang::DType;
use tile_lang::dsl::*;
use tile_lang::interp::ArgValue;
use tile_lang::tile;

/// Functions in other modules, and relative paths in their bodies.
#[allow(unused_qualifications, reason = "relative paths are what is tested")]
mod other {
    use tile_lang::dsl::*;
    use tile_lang::tile;

    pub(super) const OFFSET: f32 = 0.25;

    #[tile::func(crate = tile_lang)]
    pub fn shifted<const N: usize>(x: Tile<f32, N>) -> Tile<f32, N> {
        x + self::OFFSET + super::MORE
    }

    pub mod deep {
        use tile_lang::dsl::*;
        use tile_lang::tile;

        #[tile::func(crate = tile_lang)]
        pub fn twice<const N: usize>(x: Tile<f32, N>) -> Tile<f32, N> {
            super::super::sum_of::<N>(x, x) + super::shifted::<N>(x) - super::OFFSET
        }
    }
}

const MORE: f32 = 0.5;

#[tile::func(crate = tile_lang)]
fn sum_of<const N: usize>(a: Tile<f32, N>, b: Tile<f32, N>) -> Tile<f32, N> {
    a + b
}

#[tile::func(crate = tile_lang)]
fn split(n: i32, parts: usize) -> (i32, i32) {
    let each = cdiv(n, parts);
    (each, n - each * (parts as i32 - 1))
}

#[tile::func(crate = tile_lang)]
fn pair<E: Elem, const N: usize>(x: &Global<E, 1>, i: i32) -> [Tile<f32, N>; 2] {
    let a = x.load::<Tile<E, N>>([i]).cast::<f32>();
    [a, a * a]
}

#[tile::func(crate = tile_lang)]
fn powers<const N: usize, const COUNT: usize>(x: Tile<f32, N>) -> [Tile<f32, N>; COUNT] {
    let mut list = [x; COUNT];
    for i in 1..COUNT {
        list[i] = list[i - 1] * x;
    }
    list
}

#[tile::func(crate = tile_lang)]
fn total<const N: usize>(list: [Tile<f32, N>; 3], weights: &[f32; 3]) -> Tile<f32, N> {
    let mut sum = Tile::<f32, N>::zero();
    for i in 0..3 {
        sum += list[i] * weights[i];
    }
    sum
}

#[tile::func(crate = tile_lang)]
fn constant<const N: usize>() -> Tile<f32, N> {
    Tile::full(0.125)
}

#[tile::func(crate = tile_lang)]
fn write(y: &mut Global<f32, 1>, at: i32, value: f32) {
    if value > 0.0 {
        y.set([at], value);
    }
}

#[tile::kernel(crate = tile_lang)]
fn calls<const N: usize>(x: &Global<f32, 1>, n: i32, y: &mut Global<f32, 1>) {
    let (each, rest) = split(n, 4);
    let [a, b] = pair::<f32, N>(x, 0);
    let list = powers::<N, 3>(a);
    let sum = total::<N>(list, &[1.0, 2.0, n as f32]);
    let t = other::deep::twice::<N>(b) + other::shifted::<N>(sum);
    y.store([0], t + list[2] + constant::<N>());
    write(y, 0, each as f32);
    write(y, 1, rest as f32);
    write(&mut *y, 2, -1.0);
}

#[test]
fn tile_functions_are_staged_into_the_caller() {
    let kernel = staged(calls::instance(4));
    let x = [1.0f32, 2.0, 3.0, 4.0];
    let out = run(&kernel, &[reals(&[4], &x), ArgValue::I32(10)], DType::F32, &[4]).to_f32();
    let want = |a: f32| {
        let (b, sum) = (a * a, a + 2.0 * a * a + 10.0 * a * a * a);
        (2.0 * b + b + 0.25 + 0.5 - 0.25) + (sum + 0.25 + 0.5) + a * a * a + 0.125
    };
    assert_eq!(out, [3.0, 1.0, want(3.0), want(4.0)]);
}

#[tile::func(crate = tile_lang)]
fn clamped(x: i32, low: i32, high: i32) -> i32 {
    x.max(low).min(high)
}

#[tile::kernel(crate = tile_lang)]
fn guarded(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let n = x.dim(0);
    for i in 0..n {
        let ahead = i + 1 < n && x.at([i + 1]) > x.at([i]);
        let behind = i == 0 || x.at([i - 1]) > 0;
        if ahead && behind {
            y.set([i], clamped(x.at([i]), 0, 5));
        }
    }
}

#[test]
fn a_guard_keeps_reads_inside() {
    let kernel = staged(guarded::instance());
    assert_eq!(run(&kernel, &[ints(&[4], &[-3, 1, 8, 9])], DType::I32, &[4]).to_i32(), [0, 0, 5, 0]);
}

#[tile::func(crate = tile_lang)]
fn mean(mut n: i32, list: [i32; 2], more: &[i32; 1]) -> i32 {
    let [a, b] = list;
    for i in 0..a {
        n += i;
    }
    (n + b + more[0]) / 3
}

/// A kernel out of a macro.
macro_rules! summing {
    ($name:ident, $sum:ident, $step:expr) => {
        #[cfg(not(any()))]
        #[tile::kernel(crate = tile_lang)]
        fn $name(mut n: i32, y: &mut Global<i32, 1>) {
            let mut $sum = 0;
            let mut rest = 100;
            for i in 0..n {
                $sum += i * $step;
                rest -= 1;
            }
            n += mean(n, [$sum, 4], &[rest]);
            let r#type = n;
            y.set([0], $sum);
            y.set([1], rest);
            y.set([2], r#type);
        }
    };
}
summing!(generated, total_of_all, 2 + 1);

#[test]
fn kernels_may_come_from_macros() {
    let kernel = staged(generated::instance());
    assert_eq!(run(&kernel, &[ArgValue::I32(3)], DType::I32, &[3]).to_i32(), [9, 97, 3 + (3 + 36 + 4 + 97) / 3]);
}

#[tile::kernel(crate = tile_lang)]
fn masked(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let a = x.load::<Tile<i32, 4>>([0]);
    y.store([0], a.keep(|i, _| i > 0 && clamped(i, x.at([0]), 2) == 2 || i == x.at([1]), -1));
}

#[test]
fn reads_in_a_mask_are_uniform() {
    let kernel = staged(masked::instance());
    assert_eq!(run(&kernel, &[ints(&[4], &[2, 0, 7, 8])], DType::I32, &[4]).to_i32(), [2, 0, 7, 8]);
}
