//! Passes over tile IR and the lowering through MLIR to PTX
