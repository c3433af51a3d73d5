//! Cases of the size that large models have, for measurements: weights larger than the L2 cache, shapes of MiMo-V2 and of
//! the peers' benchmarks.

use super::Case;
use super::attention::{self, Shape as Heads};
use super::builder::Built;
use super::experts::{self, Shape as Experts};
use super::head;
use super::linear::{self, Product};
use super::mlp;
use tile_lang::DType::{Bf16, F32};
use tile_models::graph::Format;

fn large(case: Built) -> Built {
    let mut case = case?;
    case.name.insert_str(0, "large_");
    case.large = true;
    Ok(case)
}

pub(super) fn cases() -> Result<Vec<Case>, String> {
    let mut out = Vec::new();
    for (format, bk) in [(Format::Plain(Bf16), 512), (Format::Fp8, 512), (Format::Mxfp4, 1024)] {
        let square = Product { format, x: F32, y: F32, norm: true, n: 8192, k: 8192, t: 8, bk };
        out.push(large(linear::linear_case(square))?);
        out.push(large(linear::linear_add_case(Product { x: Bf16, norm: false, n: 4096, k: 16384, ..square }))?);
        out.push(large(mlp::swiglu_case(format, F32, true, [8192, 4096, 8, bk / 2]))?);
        let used = vec![0, 3, 4, 7, 9, 11, 12, 15];
        let shape = Experts { format, experts: 16, used, slots: 8, n: 2048, k: 4096, t: 8, bk: bk / 2 };
        out.push(large(experts::swiglu_case(shape.clone(), true))?);
        out.push(large(experts::down_case(Experts { n: 4096, k: 2048, bk, ..shape }))?);
    }
    out.push(large(head::head_case(Format::Plain(Bf16), true, 1, [32768, 4096, 8, 512]))?);
    out.push(large(head::head_case(Format::Fp8, true, 1, [32768, 4096, 8, 512]))?);
    let long = Heads {
        heads: 64, kv: 4, d: 192, dv: 128, t: 8, splits: 16, tile: 32, position: 8191, rows: 1, window: 1 << 30, positions: 8224,
    };
    out.push(large(attention::attention_case(long))?);
    out.push(large(attention::attention_case(Heads { position: 8184, rows: 8, ..long }))?);
    Ok(out)
}
