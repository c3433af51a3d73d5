//! The architectures that kernels are compiled for, and what each can do.

use crate::lower::Machine;
use tile_lang::diag::Diagnostic;
use tile_lang::dtype::DType;
use tile_lang::ir::{Access, BinaryOp, Kernel, Literal, OpData, OpId, OpKind, Type, ValueId};

/// How the producer brings data into the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Bulk copies by one thread; their bytes count on the slot's barrier. With them come waits that suspend the thread and
    /// the fence between the proxies that registers and copies write through.
    Bulk,
    /// 16 bytes a lane and instruction, by one warp, whose lanes arrive on the slot's barrier when their copies are done.
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
    /// Whether a copy can reach the shared memory of all CTAs of a cluster.
    pub multicast: bool,
    /// Whether warpgroups multiply tiles in shared memory.
    pub wgmma: bool,
    /// Whether warps multiply operands with block scales.
    pub block_scales: bool,
    /// Whether conversions from and to FP8 are instructions; elsewhere codes are unpacked by arithmetic, and packing is an error.
    pub fp8_convert: bool,
}

const fn kib(n: usize) -> usize {
    n * 1024
}

/// All of them, the one that is tuned and run first.
pub const TARGETS: &[Target] = &[
    Target {
        name: "sm_90a",
        features: "+ptx86",
        shared_bytes: kib(227),
        copies: Copies::Bulk,
        setmaxnreg: true,
        multicast: true,
        wgmma: true,
        block_scales: false,
        fp8_convert: true,
    },
    Target {
        name: "sm_80",
        features: "+ptx86",
        shared_bytes: kib(163),
        copies: Copies::Lanes,
        setmaxnreg: false,
        multicast: false,
        wgmma: false,
        block_scales: false,
        fp8_convert: false,
    },
    Target {
        name: "sm_89",
        features: "+ptx86",
        shared_bytes: kib(99),
        copies: Copies::Lanes,
        setmaxnreg: false,
        multicast: false,
        wgmma: false,
        block_scales: false,
        fp8_convert: true,
    },
    Target {
        name: "sm_100a",
        features: "+ptx86",
        shared_bytes: kib(227),
        copies: Copies::Bulk,
        setmaxnreg: true,
        multicast: true,
        wgmma: false,
        block_scales: false,
        fp8_convert: true,
    },
    Target {
        name: "sm_120a",
        features: "+ptx87",
        shared_bytes: kib(99),
        copies: Copies::Bulk,
        setmaxnreg: true,
        multicast: false,
        wgmma: false,
        block_scales: true,
        fp8_convert: true,
    },
];

/// What is meant where nothing is said.
pub const DEFAULT: &Target = &TARGETS[0];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// The first target that can do all that kernels ask for: the one that is meant where nothing is said, if it can.
pub fn first_for<'k>(kernels: impl IntoIterator<Item = &'k Kernel>) -> Option<&'static Target> {
    let kernels: Vec<&Kernel> = kernels.into_iter().collect();
    TARGETS.iter().find(|t| kernels.iter().all(|k| t.unsupported(k).is_empty()))
}

/// The names of all, for messages.
pub fn names() -> String {
    joined(|_| true)
}

fn joined(which: impl Fn(&Target) -> bool) -> String {
    TARGETS.iter().filter(|t| which(t)).map(|t| t.name).collect::<Vec<_>>().join(", ")
}

impl Target {
    /// The sizes that the assembly needs.
    pub const fn machine(&'static self) -> Machine {
        // Where there is little shared memory, smaller slots keep enough copies in flight.
        let group_bytes = if self.shared_bytes < kib(128) { kib(8) } else { kib(16) };
        Machine { shared_bytes: self.shared_bytes, group_bytes, target: self }
    }

    /// Lanes of the producer that fill the ring; each arrives once on a slot's barrier.
    pub const fn producer_lanes(&self) -> usize {
        match self.copies {
            Copies::Bulk => 1,
            Copies::Lanes => 32,
        }
    }

    /// The ops of a kernel that this target can't do: `E07` at each.
    pub fn unsupported(&self, kernel: &Kernel) -> Vec<Diagnostic> {
        let mut out = Vec::new();
        let definitions = kernel.definitions();
        kernel.walk(|_, op| {
            let Some((what, can)) = lacking(kernel, op, &definitions) else { return };
            if !can(self) {
                out.push(Diagnostic {
                    code: "E07",
                    message: format!("{} can't do this: {what}", self.name),
                    file: kernel.files.get(op.span.file as usize).cloned().unwrap_or_default(),
                    span: op.span,
                    notes: vec![format!("targets that can: {}", joined(can))],
                });
            }
        });
        out
    }
}

/// Whether a target has what an op needs.
type Has = fn(&Target) -> bool;

/// What an op needs that not every target has, and which have it.
fn lacking(kernel: &Kernel, op: &OpData, definitions: &[Option<OpId>]) -> Option<(String, Has)> {
    match &op.kind {
        OpKind::Cast => {
            let to = kernel.ty(*op.results.first()?).dtype()?;
            let packs = matches!(to, DType::E4m3 | DType::E5m2) && kernel.ty(op.operands[0]).dtype() != Some(to);
            let has: Has = |t| t.fp8_convert;
            packs.then(|| (format!("converting to {to} takes an instruction that it lacks"), has))
        }
        OpKind::Mma => {
            let float8 = |v: &ValueId| matches!(kernel.ty(*v).dtype(), Some(DType::E4m3 | DType::E5m2));
            let has: Has = |t| t.fp8_convert;
            op.operands[1..].iter().any(float8).then(|| ("it multiplies no 8-bit floats: cast to bf16".to_owned(), has))
        }
        OpKind::MmaScaled => {
            let has: Has = |t| t.block_scales;
            let what = "it multiplies nothing with block scales; unpack both operands, \
                        `a.cast::<bf16>() * scales.cast::<bf16>().repeat::<K>()`, and write `acc.mma(a, b)`";
            Some((what.to_owned(), has))
        }
        OpKind::Stage => {
            let Type::Global(d, _, access) = kernel.ty(op.operands[0]) else { return None };
            let column = *op.operands.last()?;
            let aligned = multiple_of(kernel, column, (128 / d.bits()) as i64, definitions);
            let has: Has = |t| t.copies == Copies::Bulk;
            let what =
                "it copies 16 bytes at a time, and this tile's first column is not known to be a multiple of them";
            (*access != Access::Weight && !aligned).then(|| (what.to_owned(), has))
        }
        _ => None,
    }
}

/// Whether a scalar is a multiple of `n` whatever the arguments are.
pub(crate) fn multiple_of(kernel: &Kernel, v: ValueId, n: i64, definitions: &[Option<OpId>]) -> bool {
    let Some(op) = definitions[v.index()].map(|id| kernel.op(id)) else { return false };
    let mut of = op.operands.iter().map(|x| multiple_of(kernel, *x, n, definitions));
    match op.kind {
        OpKind::Const(Literal::I32(x)) => i64::from(x) % n == 0,
        OpKind::Binary(BinaryOp::Mul) => of.any(|m| m),
        OpKind::Binary(BinaryOp::Add | BinaryOp::Sub) => of.all(|m| m),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_by_name() {
        for t in TARGETS {
            assert_eq!(find(t.name), Some(t));
        }
        assert_eq!(find("sm_1"), None);
    }
}
