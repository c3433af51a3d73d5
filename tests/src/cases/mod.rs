//! Library kernels as plans of one instruction, with random contents and what the reference makes of them.
//!
//! A case holds inputs and a function that computes, from those inputs and the operations of
//! [`tile_models::reference`], what every output buffer must hold afterwards. Outputs start with random contents too:
//! what a kernel must not write has to be as it was. One file for each family of kernels.

mod advance;
mod ahead;
mod attention;
mod builder;
mod experts;
mod gemm;
mod gemm_epilogue;
mod gemm_fp4;
mod gemm_fp8;
mod gemm_grouped;
mod head;
mod large;
mod linear;
mod mlp;
mod moves;
mod ops;
mod prefill;
mod projection;
mod projection_fp4;
mod rope;
mod router;
mod rows;
mod said;
mod sample;
mod scaled;
mod schedules;
pub mod sweep;
mod wide;

pub use builder::{Built, Contents};
pub use said::{Said, Wrong};

use tile_lang::exec::{Data, ExecError, Executor};
use tile_lang::plan::Plan;
use tile_models::kernels::library::{Sample, samples};

/// What a buffer must hold afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The buffer.
    pub buffer: usize,
    /// All of its contents.
    pub data: Data,
    /// What the error of each element is relative to, where that isn't the root mean square of all that is written; an element whose
    /// magnitude is infinite is not looked at.
    pub magnitudes: Option<Vec<f32>>,
}

/// Computes what the outputs must hold.
pub type Expectation = Box<dyn Fn() -> Vec<Expected> + Send + Sync>;

/// A plan of one instruction, its inputs and what must come out.
pub struct Case {
    /// Name, unique.
    pub name: String,
    /// The library kernel.
    pub kernel: String,
    /// The shape, for people.
    pub shape: String,
    /// Element type of the weights, or of the inputs where there are none.
    pub dtype: String,
    /// One instruction.
    pub plan: Plan,
    /// Contents of the weights.
    pub weights: Contents,
    /// Contents of the buffers at the start.
    pub start: Vec<(usize, Data)>,
    /// Largest error allowed against the reference, relative to the root mean square of what is written or to magnitudes that the
    /// expectation gives.
    pub tolerance: f64,
    /// The fewest bytes that the work moves.
    pub bytes: u64,
    /// Operations of its products.
    pub flops: u64,
    /// For measurements: too large to be interpreted in tests.
    pub large: bool,
    /// What must come out.
    pub expect: Expectation,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Case {
    /// Writes the buffers' contents.
    ///
    /// # Errors
    /// The device failed.
    pub fn fill(&self, executor: &mut dyn Executor) -> Result<(), ExecError> {
        self.start.iter().try_for_each(|(buffer, data)| executor.write(*buffer, 0, data))
    }

    /// Whether it runs the instance that stands for its kernel.
    pub fn is_sample(&self, sample: &Sample) -> bool {
        let name = |k: &tile_lang::ir::Kernel| (k.name.clone(), k.generics.clone());
        let own = &self.plan.kernels[0];
        own.name == sample.def.name && sample.def.instance(&sample.generics).is_ok_and(|k| name(&k) == name(own))
    }
}

/// All cases, those that stand for their kernel among them.
///
/// # Errors
/// A case that doesn't stage or whose operands don't fit: a fault of these files.
pub fn all() -> Result<Vec<Case>, String> {
    let mut out = Vec::new();
    for family in [
        rows::cases,
        linear::cases,
        gemm::cases,
        gemm_epilogue::cases,
        gemm_fp4::cases,
        gemm_fp8::cases,
        gemm_grouped::cases,
        mlp::cases,
        experts::cases,
        rope::cases,
        attention::cases,
        prefill::cases,
        projection::cases,
        projection_fp4::cases,
        router::cases,
        head::cases,
        sample::cases,
        advance::cases,
        schedules::cases,
        wide::cases,
        ahead::cases,
        ops::cases,
    ] {
        out.extend(family()?);
    }
    Ok(out)
}

/// The cases of kernels that say something about themselves, whose code is made with what they say.
///
/// # Errors
/// As [`all`].
pub fn said() -> Result<Vec<Said>, String> {
    said::cases()
}

/// The cases that go through every op and element type.
///
/// # Errors
/// As [`all`].
pub fn ops() -> Result<Vec<Case>, String> {
    ops::cases()
}

/// What makes a case.
pub struct Recipe {
    /// What the case's name begins with.
    pub family: String,
    /// Makes it.
    pub make: Box<dyn Fn() -> Built>,
}

impl Recipe {
    /// Whether the case's name may contain this; only making it shows whether it does.
    pub fn may_contain(&self, part: &str) -> bool {
        let begins = self.family.starts_with(part) || part.starts_with(&self.family);
        begins || !part.starts_with(LARGE)
    }
}

/// What the names of cases for measurements begin with.
const LARGE: &str = "large_";

/// Cases of the size of large models, for measurements; made one at a time, for they take much memory.
pub fn large() -> Vec<Recipe> {
    large::recipes()
}

/// The case that stands for each library kernel, in the library's order.
///
/// # Errors
/// As [`all`], or a kernel without one.
pub fn representatives() -> Result<Vec<Case>, String> {
    let mut cases = all()?;
    let take = |sample: Sample| {
        let at = cases.iter().position(|c| c.is_sample(&sample));
        let at = at.ok_or_else(|| format!("no case runs the sample instance of `{}`", sample.def.name))?;
        Ok(cases.remove(at))
    };
    samples().into_iter().map(take).collect()
}
