//! Passes without LLVM: roles, rings, the protocol between them.

mod checked;
mod kernels;
mod protocol;
mod ptxas;
mod schedules;
mod specialise;
