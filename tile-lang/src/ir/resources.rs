//! What a kernel with explicit roles asks of the program that runs it. The program's ring, warps and registers are shared by
//! all of its kernels, so that these are requests: the compiler honours them or says why it can't.

use super::Role;
use crate::span::Span;
use serde::{Deserialize, Serialize};

/// Requests of a kernel; all empty where the compiler chooses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Slots that the ring must have: how many transactions may be in flight. 0 leaves the number to the compiler.
    pub slots: usize,
    /// Where the slots are asked for.
    pub slots_span: Span,
    /// CTAs of a cluster, which take neighbouring items and share what they copy alike; 0 where none is asked for.
    pub cluster: usize,
    /// Where the cluster is asked for.
    #[serde(default)]
    pub cluster_span: Span,
    /// One entry for each role that was written.
    pub roles: Vec<RoleResources>,
}

/// A role as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleResources {
    /// Which body it became.
    pub role: Role,
    /// The user's name for it.
    pub name: String,
    /// Warps that run it.
    pub warps: usize,
    /// Registers of each of its threads.
    pub registers: usize,
    /// Where it is written.
    pub span: Span,
}
