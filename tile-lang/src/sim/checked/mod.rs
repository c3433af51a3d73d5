//! The checked simulator: the roles of a persistent kernel, run agent by agent under an adversary.
//!
//! The plain simulator runs a plan's instructions one after another. This one runs what the GPU runs: in each resident CTA a
//! producer and its consumer warps walk the records, fill and empty rings, wait for phases, meet, raise counters, all
//! as the plan's [`Protocol`](crate::protocol::Protocol) says. Copies land whenever the adversary likes. Every access
//! to memory is compared with what its agent knows of all others (vector clocks), so that a race is found
//! whether or not this interleaving shows it.
//!
//! A **team access**, such as the store of a tile, is done by all warps of a CTA, each its part. Which part is a question of
//! layouts, which this machine doesn't know: whatever another warp did, and hasn't handed on, races with it. The compiler
//! puts meetings accordingly.
//!
//! The tile ops compute with the interpreter, once for each CTA, by the first warp that comes to them; the others replay its
//! events. After a run that nothing trapped, buffers hold what [`SimExecutor`](super::SimExecutor) gives.
//!
//! | files | subject |
//! |---|---|
//! | `executor.rs` | the executor |
//! | `machine.rs` | state and the scheduling loop; `schedule.rs` is the adversary |
//! | `stream.rs`, `agent.rs`, `world.rs` | events of a role, who does them, what a run doesn't change |
//! | `act.rs`, `barrier.rs`, `turns.rs`, `copies.rs` | actions of the protocol, barriers, turns of warpgroups, copies in flight |
//! | `access.rs`, `areas.rs`, `products.rs` | accesses to memory: arrays, slots and records; areas of shared memory; products that run |
//! | `shadow.rs`, `clock.rs` | histories of memory, vector clocks |
//! | `trap.rs`, `stall.rs` | reports |

mod access;
mod act;
mod agent;
mod areas;
mod barrier;
mod clock;
mod copies;
mod executor;
mod machine;
mod products;
mod schedule;
mod shadow;
mod stall;
mod stream;
mod trap;
mod turns;
mod world;

pub use executor::{Checked, CheckedExecutor, Failure, Settings};
pub use schedule::Strategy;
pub use trap::{Site, Trap};
