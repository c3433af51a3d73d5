//! Passes without LLVM: roles, rings, the protocol between them.

mod checked;
mod generated;
mod kernels;
mod page;
mod protocol;
mod ptxas;
mod schedules;
mod specialise;
