use monotile::prelude::*;

/// `advance` with explicit roles for T = 8.
#[tile::kernel]
pub fn advance(request: &Global<i32, 1>, prompt: &Global<i32, 1>, stops: &Global<i32, 1>, choice: &Global<i32, 1>, state: &mut Global<i32, 1>, tokens: &mut Global<i32, 1>, out: &mut Global<i32, 1>) {
    role("math", 0, 0, || {
        require!(stops.dim(0) == 16);
        require!(choice.dim(0) == 8);
        require!(tokens.dim(0) == 8);
        let rows = state.at([1]);
        let next = state.at([0]) + rows;
        let produced = state.at([4]);
        let length = request.at([0]);
        if next < length {
            let count = (length - next).min(8);
            let t = prompt.load_at::<Tile<i32, 8>>([next]);
            let block = select(Tile::<i32, 8>::row_index().lt(count), t, Tile::<i32, 8>::zero());
            tokens.store([0], block);
            state.set([1], count);
            let last = select((next + count) >= length, 1, 0);
            state.set([2], select(request.at([9]) != 0, count, last));
            state.set([3], request.at([11]));
        } else {
            let token = choice.at([rows - 1]);
            out.set([produced], token + 1);
            let t_2 = Tile::<i32, 8>::zero();
            let t_3 = select(Tile::<i32, 8>::row_index().gt(0), t_2, Tile::<i32, 8>::full(token));
            tokens.store([0], t_3);
            let t_4 = 1i32.cast::<i32>();
            state.set([1], t_4);
            let t_5 = 1i32.cast::<i32>();
            state.set([2], t_5);
            state.set([4], produced + 1);
            let t_6 = stops.load::<Tile<i32, 16>>([0]);
            let known = select(Tile::<i32, 16>::row_index().lt(request.at([10])), t_6, Tile::<i32, 16>::full(-1));
            let t_7 = select(known.eq(token), Tile::<i32, 16>::full(1), Tile::<i32, 16>::zero());
            let stopped = t_7.all_max();
            let t_8 = if (produced + 1) >= request.at([1]) {
                true
            } else {
                next >= request.at([2])
            };
            let full = if t_8 {
                true
            } else {
                request.at([11]) != 0
            };
            state.set([3], select(full, 1, stopped));
        }
        state.set([0], next);
    });
}
