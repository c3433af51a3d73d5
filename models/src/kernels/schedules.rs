//! Schedules of some kernels that differ from what the compiler chooses. None of them changes a result; they are there to be
//! compared with the compiler's choices, in tests and by hand.

use super::{attention, gemm, gemm_fp8, linear, prefill};
use tile_lang::dsl::*;
use tile_lang::tile;

/// A ring of three slots: at most three transactions are in flight.
#[tile::schedule(linear::linear, crate = tile_lang)]
pub fn shallow() -> Schedule {
    Schedule::new().ring("tiles", ["k.codes"]).stages("tiles", 3)
}

/// One warpgroup computes, with as much of a tile for each warp as two would have together.
#[tile::schedule(linear::linear, crate = tile_lang)]
pub fn warpgroup() -> Schedule {
    Schedule::new().warps("consumer", 4)
}

/// Half of the warps split the sum; the others hold copies.
#[tile::schedule(linear::linear, crate = tile_lang)]
pub fn half() -> Schedule {
    Schedule::new().split("sum", [1, 1, 4])
}

/// Codes and scales in slots of their own, where the compiler puts both into one.
#[tile::schedule(linear::linear_mxfp4, crate = tile_lang)]
pub fn alone() -> Schedule {
    Schedule::new().ring("codes", ["codes"]).ring("scales", ["blocks"]).stages("codes", 4)
}

/// Keys and values of a tile in one slot, scores split over columns as far as there are, outputs over columns alone.
#[tile::schedule(attention::attention, crate = tile_lang)]
pub fn keys_and_values(BKV: usize) -> Schedule {
    let columns = (BKV / 8).min(8);
    Schedule::new()
        .ring("tiles", ["j.keys", "j.values"])
        .split("x", [1, columns, 8 / columns])
        .split("o", [1, 8, 1])
        .raster(Raster::ColumnMajor)
}

/// Two CTAs of a cluster make neighbouring tiles of rows and copy the columns' operand once for both; tiles in bands of 8 of these pairs, so that what
/// is read at one time stays in the L2 cache.
#[tile::schedule(gemm::gemm, crate = tile_lang)]
pub fn neighbours() -> Schedule {
    Schedule::new().cluster(2).raster(Raster::Grouped(8))
}

/// Each product is waited for before the next one is started.
#[tile::schedule(gemm::gemm, crate = tile_lang)]
pub fn waiting() -> Schedule {
    Schedule::new().inflight("k.acc", 0)
}

/// The operands of a step in slots of their own: slots are as large as the largest transaction, and operands of different sizes leave a part
/// of every other one empty.
#[tile::schedule(gemm::gemm, crate = tile_lang)]
pub fn apart() -> Schedule {
    Schedule::new().ring("rows", ["k.at"]).ring("columns", ["k.bt"])
}

/// Clusters of two bring the columns' operand once for both.
#[tile::schedule(gemm_fp8::gemm_fp8_blocks, crate = tile_lang)]
pub fn fp8_blocks_neighbours() -> Schedule {
    Schedule::new().cluster(2)
}

/// While one warpgroup scales its sum of 128 terms, the tensor cores have the product of the other.
#[tile::schedule(gemm_fp8::gemm_fp8_blocks, crate = tile_lang)]
pub fn fp8_blocks_in_turns() -> Schedule {
    Schedule::new().turns(["k.part"])
}

/// A block's weights are computed while the values of the block before it are added: the products of scores and of values are started one
/// behind the other, and each is waited for where its sum is read.
#[tile::schedule(prefill::prefill, crate = tile_lang)]
pub fn overlapped(ND: usize, NV: usize) -> Schedule {
    let most = (ND + NV).min(7);
    Schedule::new().inflight("j.x", most).inflight("j.o", most)
}

/// Scores and values are started in one turn: while one warpgroup computes a block's weights, the tensor cores have both products of the other.
#[tile::schedule(prefill::prefill, crate = tile_lang)]
pub fn in_turns() -> Schedule {
    Schedule::new().turns(["j.x", "j.o"])
}

/// Both: a block's weights are computed while the values of the block before it are added and while the other warpgroup has its turn.
#[tile::schedule(prefill::prefill, crate = tile_lang)]
pub fn overlapped_in_turns(ND: usize, NV: usize) -> Schedule {
    overlapped(ND, NV).turns(["j.x", "j.o"])
}
