//! The end of a pass: what the next one does.

use super::state::*;
use tile_lang::dsl::*;
use tile_lang::tile;

/// Takes the next block of the prompt, or the chosen token: writes `state`, and `tokens` \[T\] for the next pass. A
/// chosen token also goes to `out` \[context\], as token + 1 (0 stands for none yet), and ends the text when it is one
/// of `stops`, the last one asked for, or has no place in the caches. One item.
#[tile::kernel(crate = tile_lang)]
pub fn advance<const T: usize>(
    request: &Global<i32, 1>,
    prompt: &Global<i32, 1>,
    stops: &Global<i32, 1>,
    choice: &Global<i32, 1>,
    state: &mut Global<i32, 1>,
    tokens: &mut Global<i32, 1>,
    out: &mut Global<i32, 1>,
) {
    require!(stops.dim(0) == STOPS as i32, choice.dim(0) == T as i32, tokens.dim(0) == T as i32);
    let rows = state.at([ROWS]);
    let next = state.at([POSITION]) + rows;
    let produced = state.at([PRODUCED]);
    let length = request.at([PROMPT_LEN]);
    if next < length {
        let count = (length - next).min(T as i32);
        let block = prompt.load_at::<Tile<i32, T>>([next]).keep(|t, _| t < count, 0);
        tokens.store([0], block);
        state.set([ROWS], count);
        let last = select(next + count >= length, 1, 0);
        state.set([CHOICES], select(request.at([EVERY_ROW]) != 0, count, last));
        state.set([DONE], request.at([CANCEL]));
    } else {
        let token = choice.at([rows - 1]);
        out.set([produced], token + 1);
        tokens.store([0], Tile::<i32, T>::zero().keep(|t, _| t > 0, token));
        state.set([ROWS], 1);
        state.set([CHOICES], 1);
        state.set([PRODUCED], produced + 1);
        let known = stops.load::<Tile<i32, STOPS>>([0]).keep(|i, _| i < request.at([STOP_COUNT]), -1);
        let stopped = select(known.eq(token), Tile::<i32, STOPS>::full(1), 0).all_max();
        let full = produced + 1 >= request.at([MAX_NEW]) || next >= request.at([CONTEXT]) || request.at([CANCEL]) != 0;
        state.set([DONE], select(full, 1, stopped));
    }
    state.set([POSITION], next);
}
