//! Kernels and models in the tile language, checkpoints, tokenizers and the CPU reference
