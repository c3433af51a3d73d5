//! Token embeddings.

use tile_lang::dsl::*;
use tile_lang::tile;

/// x\[t\] = table\[tokens\[t\]\]: `table` [V, K], `tokens` \[T\], `x` [T, K] f32. One item for each row and BK columns.
/// Every element of `tokens` must be a row of the table, in rows that are not valid too.
#[tile::kernel(crate = tile_lang)]
pub fn embed<E: Elem, const BK: usize>(table: &Global<E, 2>, tokens: &Global<i32, 1>, x: &mut Global<f32, 2>) {
    require!(table.dim(1) == x.dim(1), tokens.dim(0) == x.dim(0));
    let [t, k] = work([x.dim(0), cdiv(x.dim(1), BK)]);
    let row = table.load::<Tile<E, BK>>([tokens.at([t]), k]);
    x.store([t, k], row.cast::<f32>());
}
