//! Passes without LLVM: roles, rings, the protocol between them.

mod checked;
mod checkers;
mod choices;
mod codes;
mod generated;
mod kernels;
mod page;
mod programs;
mod protocol;
mod ptxas;
mod says;
mod schedules;
mod specialise;
mod written;
