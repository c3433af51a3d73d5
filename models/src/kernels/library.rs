//! All kernels of the library, each with generics that show it at work.

use super::*;
use tile_lang::DType::{Bf16, F16, F32};
use tile_lang::build::{Generic, KernelDef};
use tile_lang::schedule::ScheduleDef;

/// A kernel with the generics of one instance.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The kernel.
    pub def: KernelDef,
    /// Its generics, in order.
    pub generics: Vec<Generic>,
}

macro_rules! samples {
    ($($def:path => [$($generic:expr),*]),* $(,)?) => {
        vec![$({
            use $def as kernel;
            Sample { def: kernel::DEF, generics: vec![$(Generic::from($generic)),*] }
        }),*]
    };
}

/// Schedules of the library's kernels, beside the compiler's own choices.
pub fn schedules() -> Vec<ScheduleDef> {
    use schedules::{alone, apart, fp8_blocks_in_turns, fp8_blocks_neighbours, half, in_turns, keys_and_values};
    use schedules::{neighbours, overlapped, overlapped_in_turns, shallow, waiting, warpgroup};
    vec![
        shallow::DEF,
        warpgroup::DEF,
        half::DEF,
        alone::DEF,
        keys_and_values::DEF,
        neighbours::DEF,
        waiting::DEF,
        apart::DEF,
        fp8_blocks_neighbours::DEF,
        fp8_blocks_in_turns::DEF,
        overlapped::DEF,
        in_turns::DEF,
        overlapped_in_turns::DEF,
    ]
}

/// One instance of every kernel, as a model with 8 rows a block, 16 query heads of 192 (128 for values) to a KV head,
/// 64 of 192 dimensions turning, and 256 experts of which 8 are chosen would use it.
pub fn samples() -> Vec<Sample> {
    samples![
        embed::embed => [Bf16, 1024],
        norm::rms_norm => [F32, Bf16, 1024],
        linear::linear => [Bf16, F32, F32, 1, 8, 16, 512],
        linear::linear_fp8 => [F32, F32, 1, 8, 16, 512, 4],
        linear::linear_mxfp4 => [F32, F32, 1, 8, 16, 1024, 32],
        linear::linear_add => [Bf16, Bf16, 8, 16, 512],
        linear::linear_add_fp8 => [Bf16, 8, 16, 512, 4],
        linear::linear_add_mxfp4 => [Bf16, 8, 16, 1024, 32],
        gemm::gemm => [Bf16, Bf16, 128, 256, 64],
        gemm::gemm_nn => [Bf16, Bf16, 128, 256, 64],
        gemm::gemm_tn => [F16, F16, 128, 256, 64],
        gemm::gemm_tt => [Bf16, Bf16, 128, 256, 64],
        gemm::gemm_batched => [Bf16, Bf16, 128, 128, 64],
        gemm_epilogue::gemm_bias => [Bf16, Bf16, epilogue::GELU, 128, 128, 64],
        gemm_epilogue::gemm_residual => [Bf16, F32, F32, epilogue::NONE, 128, 128, 64],
        gemm_epilogue::gemm_quantised => [Bf16, epilogue::SILU, 128, 128, 64],
        gemm_epilogue::gemm_quantised_rows => [Bf16, epilogue::RELU, 128, 128, 64],
        gemm_fp8::gemm_fp8 => [Bf16, 128, 256, 128],
        gemm_fp8::gemm_fp8_rows => [Bf16, 128, 256, 128],
        gemm_fp8::gemm_fp8_blocks => [Bf16, 1, 128, 128],
        gemm_grouped::gemm_grouped => [Bf16, Bf16, 128, 256, 64, 7],
        gemm_fp4::gemm_mxf4 => [Bf16, 128, 128, 128, 4],
        gemm_fp4::gemm_nvf4 => [Bf16, 128, 128, 128, 8],
        mlp::swiglu => [Bf16, F32, 1, 8, 16, 256],
        mlp::swiglu_fp8 => [F32, 1, 8, 16, 256, 2],
        mlp::swiglu_mxfp4 => [F32, 1, 8, 16, 512, 16],
        rope::rope_cache => [8, 192, 128, 32, 32, 128, 128, 128],
        rope::rope_rows => [16, 192, 128, 32, 32, 128, 128, 128, 192],
        attention::attention => [16, 16, 3, 64, 200, 128, 136, 32],
        attention::combine => [128, 128, 16, 32],
        attention::combine_sink => [128, 128, 16, 32],
        attention::without_padding => [128],
        blocks::blocks => [16],
        projection::project => [F32, 128, 128, 64],
        projection::project_add => [64, 64, 64],
        projection::project_gated => [128, 128, 64],
        projection_fp4::project_mxfp4 => [Bf16, 256, 128, 64, 2],
        projection_fp4::project_nvfp4 => [Bf16, 256, 128, 64, 4],
        projection_fp4::project_add_mxfp4 => [64, 128, 64, 2],
        projection_fp4::project_gated_mxfp4 => [64, 128, 64, 2],
        prefill::prefill => [128, 64, 3, 64, 1, 64, 128],
        router::router_logits => [F32, F32, 1, 1, 8, 16, 256],
        router::route => [8, 256, 64, 8, 1],
        experts::experts_swiglu => [Bf16, F32, 1, 8, 16, 256],
        experts::experts_swiglu_fp8 => [F32, 1, 8, 16, 256, 2],
        experts::experts_swiglu_mxfp4 => [F32, 1, 8, 16, 512, 16],
        experts::experts_down => [Bf16, 8, 16, 512],
        experts::experts_down_fp8 => [8, 16, 512, 4],
        experts::experts_down_mxfp4 => [8, 16, 1024, 32],
        head::head => [Bf16, F32, 1, 8, 16, 512],
        head::head_fp8 => [F32, 1, 8, 16, 512, 4],
        sample::logits_max => [1024],
        sample::sample => [1024, 256],
        advance::advance => [8],
    ]
}
