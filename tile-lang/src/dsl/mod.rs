//! The types and functions that rustc checks kernels against.
