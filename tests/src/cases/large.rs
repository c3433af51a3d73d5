//! Cases of the size that large models have, for measurements: weights larger than the L2 cache, shapes of MiMo-V2 and of
//! the peers' benchmarks.

use super::attention::{self, Shape as Heads};
use super::builder::Built;
use super::experts::{self, Shape as Experts};
use super::gemm::{self, Gemm, Order};
use super::gemm_epilogue;
use super::gemm_fp8::{self, Fp8, Scales};
use super::gemm_grouped::{self, Grouped};
use super::head;
use super::linear::{self, Product};
use super::mlp;
use super::prefill::{self, Text};
use super::projection_fp4::{self, Projection};
use super::schedules::under;
use super::sweep::EVERY;
use super::{LARGE, Recipe};
use tile_lang::DType::{Bf16, E4m3, E8m0, F32};
use tile_lang::schedule::ScheduleDef;
use tile_models::graph::Format;
use tile_models::kernels::schedules::{
    apart, fp8_blocks_in_turns, fp8_blocks_neighbours, in_turns, neighbours, overlapped, overlapped_in_turns, waiting,
};

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

/// Prefill with products of scores and values one behind the other, and that in turns.
const OVERLAPPED: [Option<ScheduleDef>; 2] = [Some(overlapped::DEF), Some(overlapped_in_turns::DEF)];

/// Shapes that aren't powers of two.
const ODD: [[usize; 3]; 4] = [[5120, 3584, 7168], [37, 4096, 4096], [1000, 4096, 4096], [4097, 4096, 4096]];

/// Products of other types, with scales, epilogues and groups, and odd shapes.
fn dense_products(out: &mut Vec<Recipe>) {
    let bf16 = |order, [m, n, k]: [usize; 3]| Gemm {
        order,
        extents: [m, n, k],
        x: Bf16,
        y: Bf16,
        tile: [128, 256, 64],
        every: 1,
    };
    for extents @ [m, n, k] in ODD {
        let dense = bf16(Order::Nt, extents);
        let name = format!("gemm_{m}x{n}x{k}");
        out.push(large(&name, move || gemm::gemm_case(dense)));
    }
    for (order, name) in [(Order::Nn, "gemm_nn"), (Order::Tn, "gemm_tn"), (Order::Tt, "gemm_tt")] {
        out.push(large(name, move || gemm::gemm_case(bf16(order, [4096; 3]))));
    }
    out.push(large("gemm_bias", || gemm_epilogue::bias_case_of([4096; 3])));
    for extents @ [m, n, k] in [[4096; 3], [8192; 3]].into_iter().chain(ODD) {
        let of = |scales, tile| Fp8 { scales, extents, y: Bf16, tile, every: EVERY };
        let tensor = of(Scales::Tensor, [128, 256, 128]);
        out.push(large(&format!("gemm_fp8_{m}x{n}x{k}"), move || gemm_fp8::fp8_case(tensor)));
        let name = format!("gemm_fp8_blocks_{m}x{n}x{k}");
        for parts in [1, 2] {
            let blocks = of(Scales::Blocks, [128, 128, parts]);
            out.push(large(&name, move || gemm_fp8::fp8_case(blocks)));
            out.push(large(&name, move || under(gemm_fp8::fp8_case(blocks)?, fp8_blocks_neighbours::DEF)));
        }
        let blocks = of(Scales::Blocks, [128, 128, 1]);
        out.push(large(&name, move || under(gemm_fp8::fp8_case(blocks)?, fp8_blocks_in_turns::DEF)));
    }
    let rows = Fp8 { scales: Scales::Rows, extents: [4096; 3], y: Bf16, tile: [128, 256, 128], every: EVERY };
    out.push(large("gemm_fp8_rows", move || gemm_fp8::fp8_case(rows)));
    for rows in [8192, 32768] {
        let groups = Grouped {
            counts: gemm_grouped::ragged(64, rows),
            others: [0, 0],
            extents: [2048, 2048],
            y: Bf16,
            tile: [128, 256, 64],
            bits: 7,
        };
        out.push(large("gemm_grouped", move || gemm_grouped::grouped_case(groups.clone())));
    }
}

/// FP4 weights with rows of prompts, beside the dense product of as many rows.
fn projections(out: &mut Vec<Recipe>) {
    let dense =
        Gemm { order: Order::Nt, extents: [512, 8192, 8192], x: Bf16, y: Bf16, tile: [128, 256, 64], every: 61 };
    out.push(large("gemm_512x8192x8192", move || gemm::gemm_case(dense)));
    out.push(large("gemm_4096x8192x8192", move || gemm::gemm_case(Gemm { extents: [4096, 8192, 8192], ..dense })));
    for (scales, kernel) in [(E8m0, "project_mxfp4"), (E4m3, "project_nvfp4")] {
        for extents @ [m, n, k] in [[512, 8192, 8192], [4096, 8192, 8192], [1000, 4096, 4096], [4097, 4096, 4096]] {
            let p = Projection { scales, extents, y: Bf16, tile: [256, 128, 64], every: 61 };
            let name = format!("{kernel}_{m}x{n}x{k}");
            out.push(large(&name, move || projection_fp4::projection_case(p)));
            if extents == dense.extents {
                let tile = [128, 128, 128];
                out.push(large(&name, move || projection_fp4::projection_case(Projection { tile, ..p })));
            }
        }
    }
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
        let dense = Gemm { order: Order::Nt, extents: [m, n, k], x: Bf16, y: Bf16, tile: [128, 256, 64], every: 1 };
        let name = format!("gemm_{m}x{n}x{k}");
        out.push(large(&name, move || gemm::gemm_case(dense)));
        for schedule in [neighbours::DEF, waiting::DEF, apart::DEF] {
            out.push(large(&name, move || under(gemm::gemm_case(dense)?, schedule)));
        }
    }
    dense_products(&mut out);
    projections(&mut out);
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
            (
                prefill::Shape { widths: [192, 128], ..causal() },
                &[None, Some(in_turns::DEF), OVERLAPPED[0], OVERLAPPED[1]][..],
            ),
            (prefill::Shape { widths: [128, 128], ..causal() }, &OVERLAPPED),
            (causal(), &OVERLAPPED),
            (prefill::Shape { widths: [192, 128], ..window() }, &OVERLAPPED),
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
