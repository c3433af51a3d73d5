//! Kernels that use every construct of the language, staged.

use tile_lang::build::Generic;
use tile_lang::dsl::*;
use tile_lang::tile;
use tile_lang::DType;

#[tile::func(crate = tile_lang)]
pub fn normed<const T: usize, const BK: usize>(x: &Global<f32, 2>, gamma: &Global<f32, 1>, scale: Tile<f32, T>, k: i32) -> Tile<bf16, T, BK> {
    let xt = x.load::<Tile<f32, T, BK>>([0, k]);
    let g = gamma.load::<Tile<f32, BK>>([k]);
    (xt * scale.cols::<BK>() * g.rows::<T>()).cast::<bf16>()
}

#[tile::kernel(crate = tile_lang)]
pub fn linear<const T: usize, const BM: usize, const BK: usize, W: Elem>(x: &Global<f32, 2>, gamma: &Global<f32, 1>, w: &Weight<W, 2>, y: &mut Global<f32, 2>, eps: f32) {
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
fn the_linear_kernel_stages() {
    let kernel = linear::instance(8, 64, 128, DType::Bf16).unwrap();
    let mut ops = Vec::new();
    kernel.walk(|_, op| ops.push(op.kind.mnemonic()));
    assert!(ops.contains(&"mma"), "{ops:?}");
    println!("{ops:?}");
    let err = linear::DEF.instance(&[Generic::Int(3)]).unwrap_err();
    assert!(err.to_string().contains("takes generics"), "{err}");
}
