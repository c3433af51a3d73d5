//! Tiles that are prefetched: a hint, after which everything reads the same.

use super::Case;
use super::builder::{Build, Built};
use tile_lang::DType::{Bf16, F32};
use tile_lang::dsl::*;
use tile_lang::tile;

/// y = 2·x, block by block, each brought into the L2 cache while the one before is worked on. The last one's next lies outside.
#[tile::kernel(crate = tile_lang)]
fn fetched_ahead<T: Elem>(x: &Global<T, 2>, y: &mut Global<f32, 2>) {
    let [i] = work([cdiv(x.dim(0), 16)]);
    x.prefetch::<Tile<T, 16, 64>>([i, 0]);
    for k in 0..cdiv(x.dim(1), 64) {
        x.prefetch::<Tile<T, 16, 64>>([i, k + 1]);
        y.store([i, k], x.load::<Tile<T, 16, 64>>([i, k]).cast::<f32>() * 2.0);
    }
}

fn fetched(dtype: tile_lang::DType, [rows, columns]: [usize; 2]) -> Built {
    let mut case = Build::new(fetched_ahead::DEF.name, &format!("{dtype}_{rows}x{columns}"));
    let x = case.rows(dtype, &[rows, columns], 1.0);
    let y = case.out(F32, &[rows, columns]);
    let expect = move || vec![y.reals(x.iter().map(|x| 2.0 * x).collect())];
    case.finish(fetched_ahead::DEF, &[dtype.into()], dtype.name(), 0.0, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<Case>, String> {
    [(F32, [160, 256]), (F32, [37, 150]), (Bf16, [2500, 520])].into_iter().map(|(d, e)| fetched(d, e)).collect()
}
