use monotile::prelude::*;

/// `blocks` with explicit roles for B = 16.
#[tile::kernel]
pub fn blocks(state: &Global<i32, 1>, states: &mut Global<i32, 2>, rows: &mut Global<i32, 1>, keys: &mut Global<i32, 1>) {
    require!(states.dim(1) == state.dim(0));
    require!(rows.dim(0) == 2);
    require!(keys.dim(0) == 1);
    let [b] = work([states.dim(0)]);
    role("math", 0, 0, || {
        let position = state.at([0]);
        let valid = state.at([1]);
        let first = b * 16;
        let here = (valid - first).max(0).min(16);
        let silent = ((valid - state.at([2])) - first).max(0).min(here);
        states.set([b, 0], position + first);
        states.set([b, 1], here);
        states.set([b, 2], here - silent);
        if b == 0 {
            let t = 0i32.cast::<i32>();
            rows.set([0], t);
            rows.set([1], valid);
            keys.set([0], position + valid);
        }
    });
}
