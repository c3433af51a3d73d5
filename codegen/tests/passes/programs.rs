//! Programs that the checkers are tried on: every library kernel by itself, and whole models.

use std::path::{Path, PathBuf};
use tile_codegen::lower::{self, Machine, ParamFacts};
use tile_codegen::target::{self, Target};
use tile_codegen::{check, protocol};
use tile_lang::ir::Kernel;
use tile_lang::plan::Plan;
use tile_lang::protocol::Protocol;
use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::ModelConfig;
use tile_models::graph::GraphOptions;
use tile_models::kernels::library::samples;
use tile_models::weights::PlanWeights;
use tile_models::zoo;

/// One instance of every library kernel.
pub fn library() -> Vec<Kernel> {
    samples().into_iter().map(|s| s.def.instance(&s.generics).unwrap()).collect()
}

/// The tuned target, or the first that can do what kernels ask for.
fn fitting(kernels: &[Kernel]) -> &'static Target {
    target::first_for(kernels).unwrap_or(target::DEFAULT)
}

/// The protocol of one kernel with nothing known of its arguments; what it writes is copied later, so that it needs every fence.
pub fn alone(kernel: &Kernel) -> Protocol {
    let facts = vec![ParamFacts { dims: None, aligned: 64, copied_later: true }; kernel.params.len()];
    let machine = fitting(std::slice::from_ref(kernel)).machine();
    lower::assemble(&kernel.name, std::slice::from_ref(kernel), &[facts], machine).unwrap().protocol
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The plan of a model in the repository, and its protocol.
pub fn model(path: &str) -> (Plan, Protocol) {
    planned(path, GraphOptions { context: 256, ..GraphOptions::default() })
}

/// The plan that takes prompts to such a model in chunks of so many rows, and its protocol.
pub fn prompts(path: &str, rows: usize) -> (Plan, Protocol) {
    planned(path, GraphOptions { context: 256, ..GraphOptions::default() }.prompt(rows))
}

fn planned(path: &str, options: GraphOptions) -> (Plan, Protocol) {
    let folder = folder(path);
    let config = ModelConfig::open(&folder).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let weights = PlanWeights::new(Weights::new(&config, &checkpoint).unwrap());
    let plan = zoo::plan(&config, &weights, options).unwrap();
    let protocol = protocol::derive(&plan, Machine::SM_90A).unwrap();
    (plan, protocol)
}

/// The shipped model and the small ones with reference answers.
pub const MODELS: [&str; 5] = [
    "models/pico",
    "models/tests/golden/llama-nano",
    "models/tests/golden/mimo-nano-bf16",
    "models/tests/golden/mimo-nano-fp8",
    "models/tests/golden/mimo-nano-mxfp4",
];

/// All checkers on a program.
pub fn checked(plan: Option<&Plan>, p: &Protocol) -> Result<check::Report, tile_lang::diag::Diagnostics> {
    let layouts = check::assignments(p, fitting(&p.kernels));
    match plan {
        Some(plan) => check::program(plan, p, &layouts),
        None => check::kernels(p, &layouts),
    }
}
