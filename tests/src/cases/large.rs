//! Cases of the size that large models have, for measurements: weights larger than the L2 cache, shapes of MiMo-V2 and of
//! the peers' benchmarks.

use super::attention::{self, Shape as Heads};
use super::builder::Built;
use super::experts::{self, Shape as Experts};
use super::gemm::{self, Gemm};
use super::head;
use super::linear::{self, Product};
use super::mlp;
use super::prefill::{self, Text};
use super::schedules::under;
use super::{LARGE, Recipe};
use tile_lang::DType::{Bf16, F32};
use tile_models::graph::Format;
use tile_models::kernels::schedules::{neighbours_running, overlapped, steps, steps_neighbours_running, steps_running};

fn large(kernel: &str, make: impl Fn() -> Built + 'static) -> Recipe {
    let family = format!("{LARGE}{kernel}_");
    let begins = family.clone();
    let make = Box::new(move || {
        let mut case = make()?;
        case.name.insert_str(0, LARGE);
        case.large = true;
        if case.name.starts_with(&begins) { Ok(case) } else { Err(format!("`{}` is not of {begins}", case.name)) }
    });
    Recipe { family, make }
}

pub(super) fn recipes() -> Vec<Recipe> {
    let mut out = Vec::new();
    for (format, bk) in [(Format::Plain(Bf16), 512), (Format::Fp8, 512), (Format::Mxfp4, 1024)] {
        let square = Product { format, x: F32, y: F32, norm: true, n: 8192, k: 8192, t: 8, bk };
        out.push(large("linear", move || linear::linear_case(square)));
        let long = Product { x: Bf16, norm: false, n: 4096, k: 16384, ..square };
        out.push(large("linear", move || linear::linear_add_case(long)));
        out.push(large("swiglu", move || mlp::swiglu_case(format, F32, true, [8192, 4096, 8, bk / 2])));
        let used = vec![0, 2, 3, 4, 6, 7];
        let gate = Experts { format, experts: 8, used, slots: 8, n: 2048, k: 4096, t: 8, bk: bk / 2 };
        let down = Experts { n: 4096, k: 2048, bk, ..gate.clone() };
        out.push(large("experts", move || experts::swiglu_case(gate.clone(), true)));
        out.push(large("experts", move || experts::down_case(down.clone())));
    }
    out.push(large("head", || head::head_case(Format::Plain(Bf16), true, 1, [32768, 4096, 8, 512])));
    out.push(large("head", || head::head_case(Format::Fp8, true, 1, [32768, 4096, 8, 512])));
    for [m, n, k] in [[4096, 4096, 1024], [4096; 3], [4096, 4096, 8192], [8192; 3]] {
        let dense = Gemm { m, n, k, y: Bf16, tile: [128, 256, 64] };
        out.push(large("gemm", move || gemm::gemm_case(dense)));
        for schedule in [neighbours_running::DEF, steps::DEF, steps_running::DEF, steps_neighbours_running::DEF] {
            out.push(large("gemm", move || under(gemm::gemm_case(dense)?, schedule)));
        }
    }
    let long = Heads {
        heads: 64,
        kv: 4,
        d: 192,
        dv: 128,
        t: 8,
        splits: 16,
        tile: 32,
        position: 8191,
        rows: 1,
        window: 1 << 30,
        positions: 8224,
    };
    out.push(large("attention", move || attention::attention_case(long)));
    out.push(large("attention", move || attention::attention_case(Heads { position: 8184, rows: 8, ..long })));
    for rows in [4096, 16384] {
        let causal = || prefill::Shape { heads: [64, 8], ..prefill::Shape::causal(vec![Text::whole(rows)]) };
        let window = || prefill::Shape { sight: [128, 0], sinks: true, ..causal() };
        for (shape, schedules) in [
            (prefill::Shape { widths: [192, 128], ..causal() }, &[None, Some(overlapped::DEF)][..]),
            (prefill::Shape { widths: [128, 128], ..causal() }, &[Some(overlapped::DEF)]),
            (causal(), &[Some(overlapped::DEF)]),
            (prefill::Shape { widths: [192, 128], ..window() }, &[Some(overlapped::DEF)]),
        ] {
            for schedule in schedules.iter().copied() {
                let shape = shape.clone();
                out.push(large("prefill", move || match schedule {
                    Some(schedule) => under(prefill::prefill_case(&shape)?, schedule),
                    None => prefill::prefill_case(&shape),
                }));
            }
        }
    }
    out
}
