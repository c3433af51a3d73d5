//! Kernels and models in the tile language, checkpoints, tokenizers and the CPU reference

pub mod config;
pub mod quant;
