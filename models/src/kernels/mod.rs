//! The kernel library: everything a model runs, in the tile language.
//!
//! A pass works on a block of T rows (tokens at neighbouring positions of one text), of which the first
//! [`state::ROWS`] are valid. Rows after those hold garbage that never leaves its row: caches, routing and sampling
//! leave them out. Activations are row-major [T, width]; the residual is f32, what goes into products bf16. No two
//! work items write the same element, and sums have a fixed order.

pub mod advance;
pub mod attention;
pub mod blocks;
pub mod embed;
pub mod epilogue;
pub mod experts;
pub mod gemm;
pub mod gemm_epilogue;
pub mod gemm_fp4;
pub mod gemm_fp8;
pub mod gemm_grouped;
pub mod head;
pub mod library;
pub mod linear;
pub mod mlp;
pub mod norm;
pub mod prefill;
pub mod projection;
pub mod projection_fp4;
pub mod rope;
pub mod router;
pub mod sample;
pub mod schedules;
pub mod state;
