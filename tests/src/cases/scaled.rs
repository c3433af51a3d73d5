//! Products of operands with block scales, on every combination of types.

use super::builder::{Build, Built, numbers};
use super::ops::{AT, finished, spec, stored};
use super::{Case, Expected};
use tile_lang::DType::{self, E2m1, E4m3, E8m0, F32};
use tile_lang::build::{Arg, Cx, Space};
use tile_lang::interp::round_to;
use tile_lang::ir::{Access, scaled_product_of};

/// Extents of the product, whole blocks along the terms, and of its tiles.
const PRODUCT: [usize; 3] = [19, 14, 96];
const TILE: [usize; 3] = [32, 16, 128];

/// A staged weight times a loaded tile, scales staged and loaded too; sums of these numbers are exact in f32.
fn product(da: DType, db: DType, ds: DType) -> Built {
    let ([m, n, k], [tm, tn, tk]) = (PRODUCT, TILE);
    let block = scaled_product_of(da, db, ds).ok_or("no product of these types")?.block;
    let name = "op_mma_scaled";
    let mut cx = Cx::new(name, file!());
    let a = cx.param_global("a", da, 2, Access::Weight);
    let sa = cx.param_global("sa", ds, 2, Access::Weight);
    let b = cx.param_global("b", db, 2, Access::Read);
    let sb = cx.param_global("sb", ds, 2, Access::Read);
    let y = cx.param_global("y", F32, 2, Access::Write);
    let origin = || Arg::List(vec![Arg::Int(0), Arg::Int(0)]);
    let ta = cx.method(AT, a, "stage", &[spec(Space::Smem, da, &[tm, tk]).into()], vec![origin()]);
    let tsa = cx.method(AT, sa, "stage", &[spec(Space::Smem, ds, &[tm, tk / block]).into()], vec![origin()]);
    let tb = cx.method(AT, b, "load", &[spec(Space::Tile, db, &[tk, tn]).into()], vec![origin()]);
    let tsb = cx.method(AT, sb, "load", &[spec(Space::Tile, ds, &[tk / block, tn]).into()], vec![origin()]);
    let acc = cx.constructor(AT, &spec(Space::Tile, F32, &[tm, tn]), "full", vec![Arg::Float(0.5)]);
    let c = cx.mma_scaled(AT, acc, [ta, tsa], [tb, tsb]);
    cx.method(AT, y, "store", &[], vec![origin(), c.into()]);
    let kernel = finished(cx, name)?;
    let mut build = Build::new(name, &format!("{da}_{db}_{ds}"));
    let mut values = |d: DType, n: usize| -> Vec<f64> {
        (0..n).map(|_| f64::from(round_to(d, (build.random.bits() % 13) as f32 / 2.0 - 3.0))).collect()
    };
    let (va, vb) = (values(da, m * k), values(db, k * n));
    // The sign of a scale is not looked at.
    let mut scales = |n: usize| -> Vec<f64> {
        let list: &[f64] = if ds == E8m0 { &[0.5, 1.0, 2.0, 4.0] } else { &[0.5, -1.0, 1.5, 1.25] };
        (0..n).map(|_| list[build.random.bits() as usize % 4]).collect()
    };
    let (fa, fb) = (scales(m * k / block), scales(k / block * n));
    let codes: Vec<u8> = va.iter().flat_map(|x| stored(da, *x as f32)).collect();
    let codes = if da == E2m1 { codes.chunks(2).map(|p| p[0] | p[1] << 4).collect() } else { codes };
    build.weight(da, &[m, k], codes);
    build.weight(ds, &[m, k / block], fa.iter().flat_map(|x| stored(ds, *x as f32)).collect());
    build.numbers(db, &[k, n], &vb);
    build.numbers(ds, &[k / block, n], &fb);
    let buffer = build.numbers(F32, &[m, n], &vec![1.0; m * n]);
    let expect = move || {
        let term = |i: usize, p: usize| {
            let (r, c, s) = (i / n, i % n, p / block);
            va[r * k + p] * vb[p * n + c] * fa[r * (k / block) + s].abs() * fb[s * n + c].abs()
        };
        let sums: Vec<f64> = (0..m * n).map(|i| 0.5 + (0..k).map(|p| term(i, p)).sum::<f64>()).collect();
        vec![Expected { buffer, data: numbers(F32, &sums), magnitudes: None }]
    };
    build.finish_kernel(kernel, da.name(), 0.0, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<Case>, String> {
    let mut out = Vec::new();
    for a in DType::ALL {
        for b in DType::ALL {
            for s in [E8m0, E4m3].into_iter().filter(|s| scaled_product_of(a, b, *s).is_some()) {
                out.push(product(a, b, s)?);
            }
        }
    }
    Ok(out)
}
