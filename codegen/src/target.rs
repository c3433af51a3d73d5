//! The architectures that kernels are compiled for, and what each can do.

use crate::lower::Machine;

/// How the producer brings data into the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Bulk copies by one thread; their bytes count on the slot's barrier.
    Bulk,
    /// 16 bytes a lane and instruction, by one warp, whose copies arrive on the slot's barrier when they are done.
    Lanes,
}

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// NVIDIA's name, as in `.target`; with `a` its code runs on this architecture alone.
    pub name: &'static str,
    /// LLVM's feature that chooses the version of PTX. LLVM aborts the process at a pair that it doesn't know, so names come
    /// from [`find`] alone.
    pub features: &'static str,
    /// Shared memory that a CTA can have, in bytes.
    pub shared_bytes: usize,
    /// How data comes into the ring.
    pub copies: Copies,
    /// Whether roles can move registers between them.
    pub setmaxnreg: bool,
}

/// All of them; the first is the one that is tuned and run.
pub const TARGETS: &[Target] =
    &[Target { name: "sm_90a", features: "+ptx86", shared_bytes: 232_448, copies: Copies::Bulk, setmaxnreg: true }];

/// What is meant where nothing is said.
pub const DEFAULT: &Target = &TARGETS[0];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// The names of all, for messages.
pub fn names() -> String {
    TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ")
}

impl Target {
    /// The sizes that the assembly needs.
    pub fn machine(&self) -> Machine {
        Machine { shared_bytes: self.shared_bytes, group_bytes: Machine::SM_90A.group_bytes }
    }
}
