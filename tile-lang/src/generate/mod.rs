//! Seeded small kernels, to compare passes, simulators and devices on more programs than people write.
//!
//! A [`Program`] is a list of steps; each makes one op, or a few that belong together, of whatever values there are, so every list
//! is a kernel and [`shrink`] may drop any step. A list of [`Pin`]s becomes a schedule in the same way, and [`mistakes`] has schedules
//! that no compiler may accept. The kernel's generics say how large its arrays are and what they hold, so
//! that a `.tile` file of it can be run by itself: [`inputs()`].
//!
//! **What may be compared exactly.** Everything but the output `near`. The grower knows of each real value whether it is the
//! same on every machine that rounds each operation correctly, and whether it is a fixed-point number with so few bits that sums and
//! products of it are exact in f32 in any order. Sums are made of such numbers alone (others are cut down to a few bits first), so
//! neither the order of a sum nor a fused multiply-add shows, nor that a compiler holds a product's sum in parts and takes a multiple of it, or the sum
//! of two, part by part: where that would be rounded, the operands are cut down too. Functions that hardware only approximates (`exp`, `sin` and
//! others whose declaration names an error) lead to `near`, with a bound on the absolute error that the grower carries along: 2⁻¹⁶ of the
//! function's range where it is made, more than their declarations allow on a device.

mod arrays;
mod case;
mod facts;
mod grow;
mod mistakes;
mod pins;
mod run;
mod shrink;
mod steps;

pub use arrays::{Contents, Input, NEAR, inputs, near_bound};
pub use case::{Case, Compared, Weights};
pub use mistakes::{Mistake, mistakes};
pub use pins::{Decision, Pin};
pub use run::{Output, run};
pub use shrink::shrink;

use crate::ir::Kernel;

/// A small generator (SplitMix64); the seed is its state.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}

/// What a step makes. Its numbers pick the op of a family, the operands and the extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Make {
    /// A real function that is rounded correctly everywhere.
    Exact,
    /// A real function that hardware approximates.
    Approximate,
    /// Two reals.
    Real,
    /// Two integers.
    Integer,
    /// Arithmetic in bf16 and f16.
    Narrow,
    /// A comparison.
    Compare,
    /// A choice by elements.
    Select,
    /// Two truth values, or the complement of one.
    Truth,
    /// A conversion to another element type, and back where it is one of storage.
    Convert,
    /// The bits of a real, changed and taken as a real again.
    Bits,
    /// An index tile, a constant, or a number as a tile.
    Fresh,
    /// A transpose, or a vector along a new axis, or repeated elements.
    Reshape,
    /// A part of a tile, or its elements in another shape.
    Part,
    /// Two tiles one behind the other.
    Join,
    /// A reduction.
    Reduce,
    /// A reduction of each element and all before it.
    Scan,
    /// A tile of an array.
    Load,
    /// A tile through shared memory: of a weight or an array, whole or a slice.
    Stage,
    /// A product in bf16.
    Product,
    /// A product in f16 or of bytes.
    OtherProduct,
    /// A loop that adds up products of staged tiles, as linear layers do.
    Dot,
    /// A loop over `body`.
    For,
    /// A condition with `body` and `other`.
    If,
    /// One element read, of a table or of what this item wrote.
    At,
    /// One element written.
    Set,
    /// A tile written where a mask holds, and read again.
    StoreMasked,
    /// Elements read where a tile of indices says.
    Gather,
    /// Elements written where tiles of indices say, and read again.
    Scatter,
    /// Elements joined with those that other items join too.
    Atomic,
}

impl Make {
    /// Every kind of step, as often as it is wanted.
    const MIX: [Make; 39] = [
        Make::Exact,
        Make::Exact,
        Make::Approximate,
        Make::Approximate,
        Make::Real,
        Make::Real,
        Make::Real,
        Make::Integer,
        Make::Integer,
        Make::Narrow,
        Make::Compare,
        Make::Select,
        Make::Truth,
        Make::Convert,
        Make::Convert,
        Make::Bits,
        Make::Fresh,
        Make::Reshape,
        Make::Reshape,
        Make::Reduce,
        Make::Reduce,
        Make::Load,
        Make::Load,
        Make::Stage,
        Make::Stage,
        Make::Product,
        Make::Dot,
        Make::At,
        Make::Set,
        Make::StoreMasked,
        Make::Part,
        Make::Join,
        Make::Scan,
        Make::OtherProduct,
        Make::Gather,
        Make::Scatter,
        Make::Atomic,
        Make::For,
        Make::If,
    ];
}

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it makes.
    pub make: Make,
    /// Its choices.
    pub pick: [u8; 4],
    /// Steps inside of a loop, or of the first branch.
    pub body: Vec<Step>,
    /// Steps inside of the second branch.
    pub other: Vec<Step>,
}

/// Extents that a program is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the main tiles, a multiple of 16.
    pub m: usize,
    /// Columns of the main tiles, a multiple of 8.
    pub n: usize,
    /// Depth of products, a multiple of 32.
    pub k: usize,
    /// Work items along the two axes of the grid.
    pub items: [usize; 2],
}

/// A kernel as a list of steps, with a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Keys the contents of its arrays.
    pub seed: u64,
    /// Its extents.
    pub shape: Shape,
    /// The steps.
    pub steps: Vec<Step>,
    /// What its schedule pins.
    pub pins: Vec<Pin>,
}

/// Deepest nesting of loops and conditions.
const MAX_DEPTH: usize = 3;

impl Program {
    /// The program of a seed.
    pub fn random(seed: u64) -> Program {
        let mut random = Random(seed);
        let shape = Shape {
            m: [16, 32][random.below(2)],
            n: [8, 16, 32][random.below(3)],
            k: [32, 64][random.below(2)],
            items: [1 + random.below(4), 1 + random.below(2)],
        };
        let count = 3 + random.below(18);
        let steps = steps(&mut random, count, 0);
        Program { seed, shape, steps, pins: pins::pins(&mut random) }
    }

    /// The kernel, with its schedule if that pins anything.
    ///
    /// # Panics
    /// The builder refuses what the grower made, or names of the schedule mean no ops of the kernel: a fault of this module or of them.
    pub fn kernel(&self) -> Kernel {
        let kernel = grow::kernel(self);
        let schedule = pins::schedule(&kernel, &self.pins);
        if schedule.is_empty() {
            return kernel;
        }
        let text = schedule.to_string();
        schedule.attach(kernel).unwrap_or_else(|e| panic!("seed {}: a schedule does not fit:\n{e}\n{text}", self.seed))
    }

    /// Steps, nested ones included.
    pub fn size(&self) -> usize {
        fn count(steps: &[Step]) -> usize {
            steps.iter().map(|s| 1 + count(&s.body) + count(&s.other)).sum()
        }
        count(&self.steps)
    }
}

fn steps(random: &mut Random, count: usize, depth: usize) -> Vec<Step> {
    (0..count)
        .map(|_| {
            let mut make = Make::MIX[random.below(Make::MIX.len())];
            if depth >= MAX_DEPTH && matches!(make, Make::For | Make::If | Make::Dot) {
                make = Make::Real;
            }
            let pick = (random.bits() as u32).to_le_bytes();
            let mut inner = |wanted: bool| -> Vec<Step> {
                let n = if wanted { 1 + random.below(5) } else { 0 };
                steps(random, n, depth + 1)
            };
            let body = inner(matches!(make, Make::For | Make::If));
            let other = inner(make == Make::If);
            Step { make, pick, body, other }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{AtomicOp, BinaryOp, CmpOp, OpKind, ReduceOp, Type, UnaryOp, product_of};
    use std::collections::{BTreeSet, HashSet};

    #[test]
    fn programs_have_every_op_and_element_type() {
        let (mut ops, mut types, mut products) = (BTreeSet::new(), BTreeSet::new(), HashSet::new());
        for seed in 0..400 {
            let kernel = Program::random(seed).kernel();
            crate::ir::verify(&kernel).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            kernel.walk(|_, op| {
                ops.insert(match &op.kind {
                    OpKind::Reduce(..) | OpKind::Scan(..) => format!("{:?}", op.kind),
                    OpKind::Atomic(op, _) => format!("atomic {}", op.name()),
                    kind => kind.mnemonic().to_owned(),
                });
                if op.kind == OpKind::Mma {
                    let types = [1, 2].map(|i| kernel.ty(op.operands[i]).dtype());
                    products.extend(types[0].zip(types[1]));
                }
            });
            types.extend(kernel.params.iter().map(|p| kernel.ty(p.value).clone()).filter_map(|t| match t {
                Type::Global(d, ..) => Some(d),
                _ => None,
            }));
        }
        assert_eq!(types.len(), crate::DType::ALL.len(), "{types:?}");
        let families = UnaryOp::ALL.iter().map(|op| op.name()).chain(BinaryOp::ALL.iter().map(|op| op.name()));
        let others = [
            "const",
            "work",
            "dim",
            "require",
            "select",
            "cast",
            "splat",
            "iota",
            "broadcast",
            "repeat",
            "transpose",
            "slice",
            "reshape",
            "join",
            "gather",
            "scatter",
            "load",
            "store",
            "store_masked",
            "at",
            "set",
            "stage",
            "read",
            "mma",
            "for",
            "if",
            "yield",
        ];
        for name in families.chain(CmpOp::ALL.iter().map(|op| op.name())).chain(others) {
            assert!(ops.contains(name), "no program has `{name}`");
        }
        // Which element an exchange leaves depends on the order.
        for op in AtomicOp::ALL.iter().filter(|op| **op != AtomicOp::Exchange) {
            assert!(ops.contains(&format!("atomic {}", op.name())), "{op:?}");
        }
        for a in crate::DType::ALL {
            for b in crate::DType::ALL.into_iter().filter(|b| product_of(a, *b).is_some()) {
                assert!(products.contains(&(a, b)), "no program multiplies {a} by {b}");
            }
        }
        for op in [ReduceOp::Sum, ReduceOp::Product, ReduceOp::Max, ReduceOp::Min] {
            for axis in 0..2 {
                assert!(ops.contains(&format!("{:?}", OpKind::Scan(op, axis))), "{op:?} along {axis}");
            }
        }
        for op in ReduceOp::ALL {
            for axis in 0..2 {
                assert!(ops.contains(&format!("{:?}", OpKind::Reduce(*op, axis))), "{op:?} along {axis}");
            }
        }
    }

    #[test]
    fn schedules_pin_every_decision() {
        let mut seen = BTreeSet::new();
        for seed in 0..400 {
            let Some(s) = Program::random(seed).kernel().schedule else { continue };
            let has = [
                (Decision::Ring, s.rings.iter().any(|r| r.ops.len() > 1)),
                (Decision::Stages, s.rings.iter().any(|r| r.stages.is_some())),
                (Decision::Roles, s.roles.iter().filter(|r| !r.ops.is_empty()).count() == 2),
                (Decision::Warps, s.roles.iter().any(|r| r.warps == Some(4))),
                (Decision::Registers, s.roles.iter().any(|r| r.registers.is_some())),
                (Decision::Split, s.splits.iter().any(|s| s.rows * s.columns * s.depth > 1)),
                (Decision::Raster, s.raster.is_some()),
                (Decision::Trivial, s.cluster.is_some() && !s.inflight.is_empty()),
            ];
            seen.extend(has.into_iter().filter(|h| h.1).map(|h| h.0));
        }
        assert_eq!(seen, Decision::ALL.into());
    }

    #[test]
    fn a_seed_gives_one_program_and_one_result() {
        let kernel = || Program::random(11).kernel();
        assert_eq!(kernel().to_string(), kernel().to_string());
        assert_eq!(run(&kernel()), run(&kernel()));
    }
}
