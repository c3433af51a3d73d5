//! A fused linear layer: the staged IR as a whole.

use super::staged;
use tile_lang::DType;
use tile_lang::build::Generic;
use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::func(crate = tile_lang)]
fn normed<const T: usize, const BK: usize>(
    x: &Global<f32, 2>,
    gamma: &Global<f32, 1>,
    scale: Tile<f32, T>,
    k: i32,
) -> Tile<bf16, T, BK> {
    let xt = x.load::<Tile<f32, T, BK>>([0, k]);
    let g = gamma.load::<Tile<f32, BK>>([k]);
    (xt * scale.cols::<BK>() * g.rows::<T>()).cast::<bf16>()
}

#[tile::kernel(crate = tile_lang)]
fn fused_linear<const T: usize, const BM: usize, const BK: usize, W: Elem>(
    x: &Global<f32, 2>,
    gamma: &Global<f32, 1>,
    w: &Weight<W, 2>,
    y: &mut Global<f32, 2>,
    eps: f32,
) {
    require!(x.dim(1) == w.dim(1), y.dim(1) == w.dim(0));
    let [i] = work([cdiv(w.dim(0), BM)]);
    let n = cdiv(w.dim(1), BK);
    let mut sum = Tile::<f32, T>::zero();
    for k in 0..n {
        let xt = x.load::<Tile<f32, T, BK>>([0, k]);
        sum = sum + (xt * xt).row_sum();
    }
    let scale = (sum / w.dim(1) as f32 + eps).rsqrt();
    let mut acc = Tile::<f32, BM, T>::zero();
    for k in pipelined::<4>(0..n) {
        let wt = w.stage::<Smem<W, BM, BK>>([i, k]);
        let h = normed::<T, BK>(x, gamma, scale, k);
        acc.mma(wt.cast::<bf16>(), h.t());
    }
    y.store([0, i], acc.t());
}

#[test]
fn a_fused_linear_layer() {
    let kernel = staged(fused_linear::instance(8, 64, 128, DType::E4m3));
    insta::assert_snapshot!(format!("{kernel:#}"));
}

#[test]
fn every_op_knows_its_place() {
    let kernel = staged(fused_linear::instance(8, 64, 128, DType::Bf16));
    let source = include_str!("linear.rs");
    let mut mma = None;
    kernel.walk(|_, op| {
        assert!(op.span.is_known(), "{:?}", op.kind);
        if op.kind.mnemonic() == "mma" {
            mma = Some(op.span);
        }
    });
    let span = mma.unwrap_or_else(|| panic!("no product"));
    let line = source.lines().nth(span.line as usize - 1).unwrap_or_default();
    assert_eq!(line.get(span.col as usize - 1..(span.col + span.len) as usize - 1), Some("mma"), "{line}");
    assert!(kernel.files[span.file as usize].ends_with("linear.rs"));
}

#[test]
fn generics_are_checked_and_recorded() {
    let wrong = fused_linear::DEF.instance(&[Generic::Int(3)]).unwrap_err().to_string();
    assert!(wrong.contains("takes generics (T: usize, BM: usize, BK: usize, W: type)"), "{wrong}");
    assert!(fused_linear::stage(&[]).is_err());
    let kernel = staged(fused_linear::instance(8, 64, 128, DType::E4m3));
    let list: Vec<String> = kernel.generics.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(list.join(" "), "T=8 BM=64 BK=128 W=e4m3");
}
