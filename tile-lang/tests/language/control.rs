//! Loops and conditions, on the host and on the device.

use super::{ints, run, staged};
use tile_lang::DType;
use tile_lang::dsl::*;
use tile_lang::interp::ArgValue;
use tile_lang::tile;

/// How many ops of each mnemonic in `which` the kernel has.
fn count(kernel: &tile_lang::ir::Kernel, which: &str) -> usize {
    let mut n = 0;
    kernel.walk(|_, op| n += usize::from(op.kind.mnemonic() == which));
    n
}

#[tile::kernel(crate = tile_lang)]
fn unrolled<const N: usize, const WIDE: usize>(x: &Global<i32, 1>, y: &mut Global<i32, 1>) {
    let mut sum = 0;
    for u in 0..N {
        sum = sum + x.at([u as i32]);
    }
    for (i, s) in (0..8).step_by(4).enumerate() {
        if WIDE != 0 {
            sum += x.at([s]) * i as i32;
        } else {
            sum -= 1;
        }
    }
    let factor = match N {
        2 => 10,
        _ if WIDE == 1 => x.at([0]),
        _ => 1,
    };
    y.set([0], sum * factor);
}

#[test]
fn host_control_flow_runs_while_staging() {
    let x = [3i32, 4, 5, 6, 7, 8, 9, 10];
    let value = |n, wide| {
        let kernel = staged(unrolled::instance(n, wide));
        assert_eq!(count(&kernel, "for") + count(&kernel, "if"), 0);
        run(&kernel, &[ints(&[8], &x)], DType::I32, &[1]).to_i32()[0]
    };
    assert_eq!(value(2, 1), (3 + 4 + 7) * 10);
    assert_eq!(value(3, 1), (3 + 4 + 5 + 7) * 3);
    assert_eq!(value(3, 0), 3 + 4 + 5 - 2);
}

#[tile::kernel(crate = tile_lang)]
fn nested_loops<const STEP: usize>(n: i32, y: &mut Global<i32, 1>) {
    let mut total = 0;
    let (mut odd, mut calls, unchanged) = (0, 0.0, 7);
    'rows: for i in 0..n {
        let mut row = 1;
        for j in i..=n {
            for u in 0..STEP as i32 {
                row += j * u;
            }
            if j % 2 == 1 {
                odd += 1;
            } else if j == 4 {
                odd = odd * 10;
            }
        }
        total += row;
        calls += 1.0;
    }
    y.set([0], total);
    y.set([1], odd);
    y.set([2], calls as i32 + unchanged);
}

#[test]
fn nested_loops_carry_what_they_assign() {
    let kernel = staged(nested_loops::instance(3));
    let (mut total, mut odd) = (0, 0);
    for i in 0..5 {
        let mut row = 1;
        for j in i..=5 {
            row += j * 3;
            if j % 2 == 1 {
                odd += 1;
            } else if j == 4 {
                odd *= 10;
            }
        }
        total += row;
    }
    assert_eq!(run(&kernel, &[ArgValue::I32(5)], DType::I32, &[3]).to_i32(), [total, odd, 12]);
    assert_eq!(run(&kernel, &[ArgValue::I32(0)], DType::I32, &[3]).to_i32(), [0, 0, 7]);
}

#[tile::kernel(crate = tile_lang)]
fn choices<const N: usize>(x: &Global<i32, 1>, n: i32, y: &mut Global<i32, 1>) {
    let a = x.load::<Tile<i32, N>>([0]);
    let sign = if n > 0 {
        1
    } else if n == 0 {
        0
    } else {
        -1
    };
    let scaled = if n > 10 {
        let b = a * 2;
        b + n
    } else {
        a
    };
    let (low, high) = if n < 0 { (scaled, n) } else { (scaled + 1, -n) };
    if N == 4 && n != 3 {
        y.store([0], low * sign + high);
    }
    let dead = !(n > 0) && !(N == 4);
    if dead {
        y.set([0], 99);
    }
}

#[test]
fn device_conditions_choose_values() {
    let kernel = staged(choices::instance(4));
    let out = |n| run(&kernel, &[ints(&[4], &[1, 2, 3, 4]), ArgValue::I32(n)], DType::I32, &[4]).to_i32();
    assert_eq!(out(12), [3, 5, 7, 9]);
    assert_eq!(out(3), [0, 0, 0, 0]);
    assert_eq!(out(2), [0, 1, 2, 3]);
    assert_eq!(out(0), [0, 0, 0, 0]);
    assert_eq!(out(-1), [-2, -3, -4, -5]);
}

#[tile::kernel(crate = tile_lang)]
fn pipelines<const S: usize>(y: &mut Global<i32, 1>) {
    let mut last = 5;
    for k in pipelined::<S>(0..4) {
        last = last + k;
    }
    for _ in 0..y.dim(0) {
        last += 1;
    }
    y.set([0], last);
}

#[test]
fn a_pipelined_range_is_a_device_loop() {
    let kernel = staged(pipelines::instance(3));
    let mut stages = Vec::new();
    kernel.walk(|_, op| {
        if let tile_lang::ir::OpKind::For { stages: s } = op.kind {
            stages.push(s);
        }
    });
    assert_eq!(stages, [3, 0]);
    assert_eq!(run(&kernel, &[], DType::I32, &[2]).to_i32()[0], 5 + 6 + 2);
}

#[tile::kernel(crate = tile_lang)]
fn shadowed(n: i32, y: &mut Global<i32, 1>) {
    let x = n + 1;
    let mut z = x;
    for k in 0..2 {
        let x = x * 10;
        z += x;
        let z = k;
        y.set([k + 1], z + x);
    }
    {
        let n = z;
        let x = if n > 0 { n } else { x };
        y.set([0], x);
    }
    for k in 0..n {
        let mut z = k;
        z += 1;
        y.set([3], z);
    }
    y.set([4], z);
}

#[test]
fn names_may_shadow() {
    let kernel = staged(shadowed::instance());
    assert_eq!(run(&kernel, &[ArgValue::I32(2)], DType::I32, &[5]).to_i32(), [63, 30, 31, 2, 63]);
}
