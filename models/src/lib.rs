//! Kernels and models in the tile language, checkpoints, tokenizers and the CPU reference

pub mod checkpoint;
pub mod config;
pub mod graph;
pub mod kernels;
pub mod picks;
pub mod quant;
pub mod reference;
pub mod session;
pub mod tokenizer;
pub mod weights;
pub mod zoo;
