//! What kernels need to know of a chunk of a prompt beside `state`: kernels made for few rows run once for each block of B rows, and
//! [`super::prefill`] takes a list of texts.

use super::state::{CHOICES, POSITION, ROWS};
use tile_lang::dsl::*;
use tile_lang::tile;

/// Takes `state` apart for blocks of B rows: `states` [blocks, words] holds position, valid rows and choices of each block as
/// `state` holds those of the chunk, and for [`super::prefill`] the chunk is one text: `rows` \[2\] are 0 and its valid rows, `keys` \[1\] the
/// end of its last one in the caches. One item for each block.
#[tile::kernel(crate = tile_lang)]
pub fn blocks<const B: usize>(
    state: &Global<i32, 1>,
    states: &mut Global<i32, 2>,
    rows: &mut Global<i32, 1>,
    keys: &mut Global<i32, 1>,
) {
    require!(states.dim(1) == state.dim(0), rows.dim(0) == 2, keys.dim(0) == 1);
    let [b] = work([states.dim(0)]);
    let (position, valid, first) = (state.at([POSITION]), state.at([ROWS]), b * B as i32);
    let here = (valid - first).max(0).min(B as i32);
    // Rows of the block before those that need a choice.
    let silent = (valid - state.at([CHOICES]) - first).max(0).min(here);
    states.set([b, POSITION], position + first);
    states.set([b, ROWS], here);
    states.set([b, CHOICES], here - silent);
    if b == 0 {
        rows.set([0], 0);
        rows.set([1], valid);
        keys.set([0], position + valid);
    }
}
