//! Whether the threads hold the scales that a product with block scales looks up in them.

use super::Checker;
use super::held::{Dist, LANES};
use crate::layout::{Layout, WARP_BITS};
use tile_lang::ir::{OpData, OpId};

impl Checker<'_> {
    /// The scales of both operands of a product, whose split and operands have been looked at.
    pub(super) fn scales(&mut self, id: OpId, op: &OpData) {
        let [acc, _, _, scales_a, scales_b] = op.operands[..] else {
            return self.wrong(id, "a product with block scales that lacks operands".into());
        };
        let (m, n, blocks) = (self.k.ty(acc).shape()[0], self.k.ty(acc).shape()[1], self.k.ty(scales_a).shape()[1]);
        let Some(split) = self.a.splits.get(&id).copied() else { return };
        let warps = [1usize << split.m, 1 << split.n, 1 << split.k];
        if [(m, warps[0]), (n, warps[1]), (blocks, warps[2])].iter().any(|(x, w)| x % w != 0) {
            return self.wrong(id, format!("scales of {m}×{n} in {blocks} blocks can't be split over {warps:?} warps"));
        }
        let [want_a, want_b] = looked_up([m, n, blocks], warps, self.warps);
        let (read_a, read_b) = (Layout::scales_a(m, blocks, split), Layout::scales_b(blocks, n, split));
        self.operand(id, scales_a, &want_a, &read_a, "the scales of a product's first operand");
        self.operand(id, scales_b, &want_b, &read_b, "the scales of a product's second operand");
    }
}

/// What the threads must hold of both operands' scales, M×S and S×N: all blocks of a warp's share of the terms. Warps are numbered
/// rows first, then columns, then terms.
///
/// The PTX manual lets a selector choose the threads of each four that scales are taken from; with 0 the scale of row `r` of the
/// first operand comes from lane `4·(r mod 8) + r / 8`, that of column `n` of the second from lane `4·n`. Lanes that are not looked at
/// hold what their neighbours hold: of the first operand lane `i` has the row that `i xor 2` has, of the second all four have one column.
fn looked_up([m, n, s]: [usize; 3], [wm, wn, wk]: [usize; 3], warps: usize) -> [Dist; 2] {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for warp in 0..warps {
        let (im, in_, ik) = (warp % wm, warp / wm % wn, warp / (wm * wn) % wk);
        let blocks = ik * (s / wk)..(ik + 1) * (s / wk);
        for lane in 0..LANES {
            let (row, column) = (lane / 4 + 8 * (lane & 1), lane / 4);
            let rows = (0..m / wm).step_by(16).map(|x| im * (m / wm) + x + row);
            let columns = (0..n / wn).step_by(8).map(|x| in_ * (n / wn) + x + column);
            let sorted = |mut list: Vec<u32>| {
                list.sort_unstable();
                list
            };
            a.push(sorted(rows.flat_map(|r| blocks.clone().map(move |b| (r * s + b) as u32)).collect()));
            b.push(sorted(columns.flat_map(|c| blocks.clone().map(move |b| (b * n + c) as u32)).collect()));
        }
    }
    let partial = vec![false; WARP_BITS];
    [Dist { shape: vec![m, s], threads: a, partial: partial.clone() }, Dist { shape: vec![s, n], threads: b, partial }]
}

#[cfg(test)]
mod tests {
    use crate::check;
    use crate::lower::{self, ParamFacts};
    use crate::target;
    use tile_lang::ir::{Type, parse};

    const KERNEL: &str = "\
kernel @k(%a: weight<e2m1, 2>, %sa: global<e8m0, 2>, %b: global<e2m1, 2>, %sb: global<e8m0, 2>, %y: global_mut<f32, 2>) stage tile {
  %n = dim[0] %y : i32
  %i = work %n : i32
  %at = stage %a, %i, %i : smem<e2m1, 32x128>
  %first = const 0 : i32
  %bt = load %b, %i, %first : tile<e2m1, 128x16>
  %s = load %sa, %i, %i : tile<e8m0, 32x4>
  %t = load %sb, %i, %i : tile<e8m0, 4x16>
  %0 = const 0.0 : f32
  %zero = splat %0 : tile<f32, 32x16>
  %acc = mma_scaled %zero, %at, %bt, %s, %t : tile<f32, 32x16>
  store %y, %acc, %i, %i
}
";

    #[test]
    fn scales_in_lanes_that_are_not_looked_at_are_found() {
        let kernel = parse(KERNEL, "k.tile").unwrap();
        let facts =
            vec![ParamFacts { dims: Some(vec![128, 128]), aligned: 64, copied_later: false }; kernel.params.len()];
        let target = target::first_for([&kernel]).unwrap();
        let assembled = lower::assemble("k", &[kernel], &[facts], target.machine()).unwrap();
        let p = &assembled.protocol;
        let sound = check::assignments(p, target);
        check::kernels(p, &sound).unwrap();
        let scales = |first: bool| {
            let k = &p.kernels[0];
            sound[0]
                .native
                .keys()
                .copied()
                .filter(|v| matches!(k.ty(*v), Type::Tile(d, s) if d.name() == "e8m0" && (s[0] == 32) == first))
                .collect::<Vec<_>>()
        };
        // Rows 8 to 15 where the second pair of each four holds them; columns two lanes further.
        for (first, lanes) in [(true, (0, 1)), (false, (1, 2))] {
            let mut moved = sound.clone();
            let list = scales(first);
            assert_eq!(list.len(), 1);
            for v in list {
                let layout = moved[0].native.get_mut(&v).unwrap();
                layout.lane.swap(lanes.0, lanes.1);
            }
            let found = check::kernels(p, &moved).unwrap_err();
            let operand = if first { "first" } else { "second" };
            assert!(
                found
                    .0
                    .iter()
                    .any(|d| d.code == "E39" && d.message.contains(&format!("scales of a product's {operand}"))),
                "{found}"
            );
        }
    }
}
