//! From a plan to an image.

use crate::explain::{self, ProgramReport};
use crate::lower::{self, ParamFacts};
use crate::ptxas::{Diagnose, Resources, SERIALISED};
use crate::sass::{self, Sass};
use crate::schedule::pinned_inflight;
use crate::target::Target;
use crate::{CodegenError, check, mlir, passes, ptxas};
use serde::Serialize;
use std::time::{Duration, Instant};
use tile_lang::artifact::Image;
use tile_lang::debug::without;
use tile_lang::diag::{Diagnostic, Diagnostics};
use tile_lang::ir::Kernel;
use tile_lang::plan::Plan;

/// An image and how it came about.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The image.
    pub image: Image,
    /// The module in the LLVM dialect that it was made from.
    pub mlir: String,
    /// What became of the kernels.
    pub report: ProgramReport,
    /// What the static checkers looked at.
    pub checks: check::Report,
    /// What ptxas says a thread needs; none where ptxas is missing.
    pub resources: Option<Resources>,
    /// What ptxas warned of, at lines of kernels.
    pub warnings: Diagnostics,
    /// The machine code; none where ptxas or nvdisasm is missing.
    pub sass: Option<Sass>,
    /// What took how long.
    pub times: Times,
}

/// Time by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Roles, layouts, the module's text.
    pub lowering: Duration,
    /// Static checkers.
    pub checking: Duration,
    /// MLIR and LLVM.
    pub llvm: Duration,
    /// ptxas and the look at its code; zero where it is missing.
    pub ptxas: Duration,
}

/// What becomes of `device_assert!`, `dbg_tile!` and `mark!`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Debug {
    /// No code is made of them: what is shipped.
    #[default]
    Strip,
    /// They say what they have to say.
    Keep,
}

/// Compiles a plan into one persistent kernel, as it is shipped. With ptxas at hand the image holds machine code too.
///
/// # Errors
/// A kernel that can't be lowered, a program that the static checkers reject, PTX that ptxas rejects or can't honour (E40),
/// machine code without the instructions that were meant (E41).
pub fn compile(plan: &Plan, target: &'static Target) -> Result<Compiled, CodegenError> {
    compile_with(plan, target, Debug::Strip)
}

/// As [`compile`], with or without what kernels say about themselves.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(plan: &Plan, target: &'static Target, debug: Debug) -> Result<Compiled, CodegenError> {
    program(Some(plan), &plan.name, &plan.kernels, &lower::facts(plan), target, debug)
}

/// As [`compile`], for kernels by themselves and what is known of their arguments.
///
/// # Errors
/// As [`compile`].
pub fn compile_kernels(
    name: &str,
    kernels: &[Kernel],
    facts: &[Vec<ParamFacts>],
    target: &'static Target,
    debug: Debug,
) -> Result<Compiled, CodegenError> {
    program(None, name, kernels, facts, target, debug)
}

fn program(
    plan: Option<&Plan>,
    name: &str,
    kernels: &[Kernel],
    facts: &[Vec<ParamFacts>],
    target: &'static Target,
    debug: Debug,
) -> Result<Compiled, CodegenError> {
    let stripped: Vec<Kernel>;
    let kernels = match debug {
        Debug::Keep => kernels,
        Debug::Strip => {
            stripped = kernels.iter().map(without).collect();
            &stripped
        }
    };
    let mut times = Times::default();
    let begin = Instant::now();
    let machine = target.machine();
    let assembled = lower::assemble(name, kernels, facts, machine)?;
    let report = explain::report(name, &assembled, machine);
    times.lowering = begin.elapsed();
    let begin = Instant::now();
    let layouts = check::assignments(&assembled.protocol, target);
    let checks = match plan {
        Some(plan) => check::program(plan, &assembled.protocol, &layouts)?,
        None => check::kernels(&assembled.protocol, &layouts)?,
    };
    times.checking = begin.elapsed();
    let begin = Instant::now();
    let ptx = mlir::to_ptx(name, &assembled.mlir)?;
    times.llvm = begin.elapsed();
    let image = Image {
        target: target.name.into(),
        entry: lower::ENTRY.into(),
        threads: assembled.protocol.registers.threads() as u32,
        cluster: assembled.cluster as u32,
        shared_bytes: assembled.shared_bytes as u32,
        ptx,
        cubin: Vec::new(),
        packings: assembled.packings,
        boxes: assembled.boxes,
        registers: 0,
        spills: 0,
        sites: assembled.sites,
    };
    let warnings = Diagnostics::default();
    let mut compiled =
        Compiled { image, mlir: assembled.mlir, report, checks, resources: None, warnings, sass: None, times };
    if ptxas::find("ptxas").is_some() {
        let begin = Instant::now();
        machine_code(&mut compiled, kernels, target)?;
        compiled.times.ptxas = begin.elapsed();
    }
    Ok(compiled)
}

/// Assembles the image's PTX and looks at what came of it.
fn machine_code(compiled: &mut Compiled, kernels: &[Kernel], target: &'static Target) -> Result<(), CodegenError> {
    let assembly = ptxas::assemble(&compiled.image.ptx, target.name)?;
    let diagnose = Diagnose::new(&compiled.image.ptx, kernels);
    if assembly.cubin.is_empty() {
        return Err(diagnose.failure(&assembly.report));
    }
    if ptxas::find("nvdisasm").is_some() {
        compiled.sass = Some(Sass::parse(&ptxas::disassemble(&assembly.cubin)?));
    }
    let mut found = diagnose.report(&assembly.report, compiled.sass.as_ref());
    if let Some(code) = &compiled.sass {
        let group = target.machine().group_bytes;
        let roles = kernels.iter().map(|k| passes::lower_to_roles(k, group)).collect::<Result<Vec<_>, _>>()?;
        let mut wanted = sass::intents(&roles, target);
        wanted.retain(|w| w.is_asked_for(&compiled.mlir, &compiled.image.ptx));
        found.0.extend(sass::missing(code, &wanted));
    }
    if kernels.iter().any(|k| pinned_inflight(k).values().any(|running| *running > 0)) {
        found.0.iter_mut().for_each(serialised);
    }
    if found.0.iter().any(Diagnostic::is_error) {
        return Err(CodegenError::Program(found));
    }
    let resources = assembly.report.resources;
    compiled.image.cubin = assembly.cubin;
    compiled.image.registers = resources.registers;
    compiled.image.spills = resources.spill_stores;
    compiled.resources = Some(resources);
    compiled.warnings = found;
    Ok(())
}

/// Products that ptxas serialises are an error where a schedule says that they run on.
fn serialised(d: &mut Diagnostic) {
    if d.code == SERIALISED {
        d.code = "E41";
        d.message = format!("a schedule lets products run on, and the machine code waits for each: {}", d.message);
    }
}
