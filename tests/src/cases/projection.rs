//! Kernels of chunks of prompts: products of many rows with a weight, the state taken apart, heads without their padding.

use super::builder::{BF16_ERROR, Build, Built, F32_ERROR, product, state_words, to_bf16};
use super::gemm::error;
use super::mlp::gated;
use tile_lang::DType::{self, Bf16, F32};
use tile_models::graph::Format;
use tile_models::kernels::{attention, blocks, projection, state};

/// Outputs, inputs, rows, and the tile.
type Sizes = ([usize; 3], [usize; 3]);

fn shape([n, k, t]: [usize; 3], [bm, bn, bk]: [usize; 3]) -> String {
    format!("{n}x{k}_t{t}_{bm}x{bn}x{bk}")
}

fn project_case(y_type: DType, (sizes, tile): Sizes) -> Built {
    let [n, k, t] = sizes;
    let def = projection::project::DEF;
    let mut b = Build::new(def.name, &format!("{}_{y_type}", shape(sizes, tile)));
    b.flops = (2 * n * k * t) as u64;
    let w = b.matrix(Format::Plain(Bf16), n, k);
    let x = b.rows(Bf16, &[t, k], 1.0);
    let y = b.out(y_type, &[t, n]);
    let expect = move || {
        let out = product(&x, &w);
        vec![y.reals(if y_type == Bf16 { to_bf16(out) } else { out })]
    };
    let [bm, bn, bk] = tile;
    b.finish(def, &[y_type.into(), bm.into(), bn.into(), bk.into()], "bf16", error(y_type), Box::new(expect))
}

fn project_add_case((sizes, tile): Sizes) -> Built {
    let [n, k, t] = sizes;
    let def = projection::project_add::DEF;
    let mut b = Build::new(def.name, &shape(sizes, tile));
    b.flops = (2 * n * k * t) as u64;
    let w = b.matrix(Format::Plain(Bf16), n, k);
    let x = b.rows(Bf16, &[t, k], 1.0);
    let y = b.out(F32, &[t, n]);
    let expect = move || vec![y.reals(product(&x, &w).iter().zip(&y.start).map(|(a, b)| a + b).collect())];
    b.finish(def, &tile.map(Into::into), "bf16", F32_ERROR, Box::new(expect))
}

fn project_gated_case((sizes, tile): Sizes) -> Built {
    let [n, k, t] = sizes;
    let def = projection::project_gated::DEF;
    let mut b = Build::new(def.name, &shape(sizes, tile));
    b.flops = (4 * n * k * t) as u64;
    let gate = b.matrix(Format::Plain(Bf16), n, k);
    let up = b.matrix(Format::Plain(Bf16), n, k);
    let x = b.rows(Bf16, &[t, k], 1.0);
    let y = b.out(Bf16, &[t, n]);
    let expect = move || vec![y.reals(gated(&product(&x, &gate), &product(&x, &up)))];
    b.finish(def, &tile.map(Into::into), "bf16", BF16_ERROR, Box::new(expect))
}

/// `valid` rows at `position` in so many blocks, the last `choices` of them with a choice.
fn blocks_case(count: usize, position: usize, valid: usize, choices: usize) -> Built {
    const ROWS: usize = 16;
    let def = blocks::blocks::DEF;
    let mut b = Build::new(def.name, &format!("{count}_p{position}_{valid}_{choices}"));
    b.integers(&[state::STATE_WORDS], state_words(position, valid, choices));
    let states = b.out_integers(&[count, state::STATE_WORDS]);
    let (rows, keys) = (b.out_integers(&[2]), b.out_integers(&[1]));
    let expect = move || {
        let mut words = states.start.clone();
        for (block, words) in words.chunks_exact_mut(state::STATE_WORDS).enumerate() {
            let own = block * ROWS..(block + 1) * ROWS;
            words[state::POSITION as usize] = (position + own.start) as i32;
            words[state::ROWS as usize] = own.clone().filter(|r| *r < valid).count() as i32;
            words[state::CHOICES as usize] = own.filter(|r| *r < valid && r + choices >= valid).count() as i32;
        }
        let of_text = vec![0, valid as i32];
        vec![states.integers(words), rows.integers(of_text), keys.integers(vec![(position + valid) as i32])]
    };
    b.finish(def, &[ROWS.into()], "i32", 0.0, Box::new(expect))
}

fn without_padding_case([t, heads, padded, kept]: [usize; 4]) -> Built {
    let def = attention::without_padding::DEF;
    let mut b = Build::new(def.name, &format!("t{t}_h{heads}_{padded}_to{kept}"));
    let x = b.rows(Bf16, &[t, heads, padded], 1.0);
    let y = b.out(Bf16, &[t, heads, kept]);
    let expect = move || vec![y.reals(x.chunks_exact(padded).flat_map(|row| &row[..kept]).copied().collect())];
    b.finish(def, &[padded.into()], "bf16", 0.0, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let mut out = Vec::new();
    let sizes: [Sizes; 5] = [
        ([256, 192, 256], [128, 128, 64]),
        ([301, 520, 100], [128, 128, 64]),
        ([200, 96, 37], [64, 64, 64]),
        ([64, 264, 16], [64, 128, 64]),
        // Too narrow for warpgroups.
        ([48, 80, 64], [32, 32, 64]),
    ];
    for (sizes, y) in sizes.into_iter().zip([F32, F32, Bf16, F32, F32]) {
        out.push(project_case(y, sizes)?);
        out.push(project_add_case(sizes)?);
        out.push(project_gated_case(sizes)?);
    }
    for (count, position, valid, choices) in
        [(16, 512, 256, 0), (4, 0, 37, 1), (4, 70, 64, 64), (2, 9, 16, 3), (3, 5, 33, 20)]
    {
        out.push(blocks_case(count, position, valid, choices)?);
    }
    for sizes in [[5, 3, 128, 96], [16, 2, 32, 20], [1, 7, 64, 64]] {
        out.push(without_padding_case(sizes)?);
    }
    Ok(out)
}
