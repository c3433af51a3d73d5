//! Products of FP4 activations with FP4 weights, against the dequantised operands.

use super::builder::{Build, Built, to_bf16};
use super::gemm::error;
use tile_lang::DType::{self, Bf16, E2m1, E4m3, E8m0, F32};
use tile_models::kernels::gemm_fp4;
use tile_models::quant::{e2m1_decode, e4m3_decode, e8m0_decode};
use tile_models::reference::ops;

/// The codes of a matrix, its scales' codes, and the numbers that they stand for.
pub(super) struct Quantised {
    pub codes: Vec<u8>,
    pub scales: Vec<u8>,
    pub values: Vec<f32>,
}

/// Random codes, with scales around 1 that differ from block to block.
pub(super) fn quantised(case: &mut Build, scales: DType, rows: usize, columns: usize, block: usize) -> Quantised {
    let codes: Vec<u8> = (0..rows * columns).map(|_| case.random.bits() as u8 & 15).collect();
    let code = |bits: u64| match scales {
        E8m0 => 125 + (bits % 4) as u8,
        // From 0.25 to almost 4, all mantissas.
        _ => 0x28 + (bits % 32) as u8,
    };
    let list: Vec<u8> = (0..rows * columns / block).map(|_| code(case.random.bits())).collect();
    let decode = if scales == E8m0 { e8m0_decode } else { e4m3_decode };
    let values = codes.iter().enumerate().map(|(i, c)| e2m1_decode(*c) * decode(list[i / block])).collect();
    Quantised { codes, scales: list, values }
}

/// Low nibble first.
pub(super) fn packed(codes: &[u8]) -> Vec<u8> {
    codes.chunks(2).map(|pair| pair[0] | pair[1] << 4).collect()
}

/// C = A·Bᵀ with scales of this type; `tile` has rows, columns and terms.
fn fp4_case(scales: DType, [m, n, k]: [usize; 3], y: DType, tile: [usize; 3]) -> Built {
    let [bm, bn, bk] = tile;
    let (def, block) = match scales {
        E8m0 => (gemm_fp4::gemm_mxf4::DEF, 32),
        _ => (gemm_fp4::gemm_nvf4::DEF, 16),
    };
    let mut case = Build::new(def.name, &format!("{m}x{n}x{k}_{y}_{bm}x{bn}x{bk}"));
    case.flops = (2 * m * n * k) as u64;
    let (a, b) = (quantised(&mut case, scales, m, k, block), quantised(&mut case, scales, n, k, block));
    let decode = if scales == E8m0 { e8m0_decode } else { e4m3_decode };
    let of_a: Vec<f64> = a.codes.iter().map(|c| f64::from(e2m1_decode(*c))).collect();
    let scales_a: Vec<f64> = a.scales.iter().map(|s| f64::from(decode(*s))).collect();
    case.numbers(E2m1, &[m, k], &of_a);
    case.numbers(scales, &[m, k / block], &scales_a);
    case.weight(E2m1, &[n, k], packed(&b.codes));
    case.weight(scales, &[n, k / block], b.scales.clone());
    let c = case.out(y, &[m, n]);
    let mut factor = 1.0;
    if scales == E4m3 {
        factor = 0.375;
        case.f32(factor);
    }
    let expect = move || {
        let out: Vec<f32> = ops::linear_f32(&a.values, &b.values, n).into_iter().map(|x| x * factor).collect();
        vec![c.reals(if y == Bf16 { to_bf16(out) } else { out })]
    };
    let generics = [y.into(), bm.into(), bn.into(), bk.into(), (bk / block).into()];
    let name = if scales == E8m0 { "mxfp4" } else { "nvfp4" };
    case.finish(def, &generics, name, error(y), Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let shapes = [
        ([128, 128, 256], Bf16, [128, 128, 128]),
        ([150, 200, 320], F32, [128, 128, 128]),
        ([37, 90, 96], F32, [32, 64, 64]),
        // Fewer rows than warps: they share the terms.
        ([16, 40, 544], Bf16, [16, 16, 256]),
    ];
    let all = [E8m0, E4m3].into_iter().flat_map(|s| shapes.map(|(extents, y, tile)| (s, extents, y, tile)));
    all.map(|(s, extents, y, tile)| fp4_case(s, extents, y, tile)).collect()
}
