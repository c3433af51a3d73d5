//! Products of FP4 weights with many rows in bf16, against the dequantised weight.

use super::builder::{BF16_ERROR, Build, Built, F32_ERROR, product, rounded};
use super::gemm::error;
use super::gemm_fp4::{packed, quantised};
use super::mlp::gated;
use tile_lang::DType::{self, Bf16, E2m1, E4m3, E8m0, F32};
use tile_lang::build::Generic;
use tile_models::graph::Format;
use tile_models::kernels::projection_fp4;
use tile_models::reference::ops;

/// One product.
#[derive(Clone, Copy, Debug)]
pub struct Projection {
    /// The scales' type: E8M0 of MXFP4, E4M3 of NVFP4.
    pub scales: DType,
    /// Rows, outputs, columns of the weight.
    pub extents: [usize; 3],
    /// The result's type.
    pub y: DType,
    /// Rows, outputs and columns of a tile.
    pub tile: [usize; 3],
    /// One of so many rows of the result is compared.
    pub every: usize,
}

/// What all outputs of NVFP4 are multiplied by.
const SCALE: f32 = 0.375;

/// y = x·Wᵀ.
pub fn projection_case(p: Projection) -> Built {
    let Projection { scales, extents: [m, n, k], y, tile: [bm, bn, bk], every } = p;
    let (def, block, format) = match scales {
        E8m0 => (projection_fp4::project_mxfp4::DEF, 32, "mxfp4"),
        _ => (projection_fp4::project_nvfp4::DEF, 16, "nvfp4"),
    };
    let mut case = Build::new(def.name, &format!("{m}x{n}x{k}_{y}_{bm}x{bn}x{bk}"));
    case.flops = (2 * m * n * k) as u64;
    let w = quantised(&mut case, scales, n, k, block);
    case.weight(E2m1, &[n, k], packed(&w.codes));
    case.weight(scales, &[n, k / block], w.scales.clone());
    let x = case.rows(Bf16, &[m, k], 1.0 / 16.0);
    let out = case.out(y, &[m, n]);
    let factor = if scales == E4m3 { SCALE } else { 1.0 };
    if scales == E4m3 {
        case.f32(factor);
    }
    let expect = move || {
        let some: Vec<f32> = x.chunks(k).step_by(every).flatten().copied().collect();
        let values = ops::linear_f32(&some, &w.values, n).into_iter().map(|x| x * factor).collect();
        vec![out.some_rows(n, every, rounded(y, values))]
    };
    let generics = [y.into(), bm.into(), bn.into(), bk.into(), (bk / block).into()];
    case.finish(def, &generics, format, error(y), Box::new(expect))
}

fn shape([m, n, k]: [usize; 3], [bm, bn, bk]: [usize; 3]) -> String {
    format!("{m}x{n}x{k}_{bm}x{bn}x{bk}")
}

/// The generics of an MXFP4 kernel's tile.
fn generics([bm, bn, bk]: [usize; 3]) -> [Generic; 4] {
    [bm, bn, bk, bk / 32].map(Into::into)
}

/// y += x·Wᵀ, in MXFP4.
fn add_case(extents: [usize; 3], tile: [usize; 3]) -> Built {
    let [m, n, k] = extents;
    let def = projection_fp4::project_add_mxfp4::DEF;
    let mut case = Build::new(def.name, &shape(extents, tile));
    case.flops = (2 * m * n * k) as u64;
    let w = case.matrix(Format::Mxfp4, n, k);
    let x = case.rows(Bf16, &[m, k], 1.0);
    let y = case.out(F32, &[m, n]);
    let expect = move || vec![y.reals(product(&x, &w).iter().zip(&y.start).map(|(a, b)| a + b).collect())];
    case.finish(def, &generics(tile), "mxfp4", F32_ERROR, Box::new(expect))
}

/// y = silu(x·Gᵀ) · (x·Uᵀ), in MXFP4.
fn gated_case(extents: [usize; 3], tile: [usize; 3]) -> Built {
    let [m, n, k] = extents;
    let def = projection_fp4::project_gated_mxfp4::DEF;
    let mut case = Build::new(def.name, &shape(extents, tile));
    case.flops = (4 * m * n * k) as u64;
    let [gate, up] = [0; 2].map(|_| case.matrix(Format::Mxfp4, n, k));
    let x = case.rows(Bf16, &[m, k], 1.0);
    let y = case.out(Bf16, &[m, n]);
    let expect = move || vec![y.reals(gated(&product(&x, &gate), &product(&x, &up)))];
    case.finish(def, &generics(tile), "mxfp4", BF16_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let tile = [256, 128, 64];
    let shapes = [
        ([256, 256, 192], Bf16, tile),
        ([1, 128, 64], F32, tile),
        ([37, 136, 96], Bf16, tile),
        ([300, 200, 352], F32, [128, 128, 64]),
        // Rows of the result that begin anywhere; a step of two panels.
        ([100, 301, 160], Bf16, [64, 128, 128]),
        // Too narrow for warpgroups.
        ([40, 48, 128], F32, [32, 16, 64]),
    ];
    let all = [E8m0, E4m3].into_iter().flat_map(|s| shapes.map(|(extents, y, tile)| (s, extents, y, tile)));
    let plain =
        all.map(|(scales, extents, y, tile)| projection_case(Projection { scales, extents, y, tile, every: 1 }));
    // As programs for prompts have them: from chunks of 16 rows, for which no warpgroups multiply.
    let others = [([256, 256, 192], 128), ([37, 136, 96], 64), ([100, 301, 160], 128), ([16, 128, 64], 16)];
    let add = others.map(|(extents, bm)| add_case(extents, [bm, 128, 64]));
    let gated = others.map(|(extents, bm)| gated_case(extents, [bm.min(64), 128, 64]));
    plain.chain(add).chain(gated).collect()
}
