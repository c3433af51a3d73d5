//! Whole models on the simulator, against the answers of another implementation.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tile_lang::plan::Plan;
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::ModelConfig;
use tile_models::graph::GraphOptions;
use tile_models::reference::Reference;
use tile_models::reference::golden::Golden;
use tile_models::session::verify::{Report, Tolerance, verify};
use tile_models::session::{GenerateOptions, generate};
use tile_models::weights::PlanWeights;
use tile_models::zoo;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

struct Model {
    config: ModelConfig,
    checkpoint: Checkpoint,
    golden: Golden,
}

impl Model {
    fn open(name: &str) -> Model {
        let folder = folder(name);
        let config = ModelConfig::open(&folder).unwrap();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let file = folder.join("reference.safetensors");
        let golden = Golden::open(&file, config.layers.len(), config.hidden, config.vocab).unwrap();
        Model { config, checkpoint, golden }
    }

    fn weights(&self) -> Weights<'_> {
        Weights::new(&self.config, &self.checkpoint).unwrap()
    }

    fn plan(&self, options: GraphOptions) -> Plan {
        zoo::plan(&self.config, &PlanWeights::new(self.weights()), options).unwrap()
    }

    fn sim(&self, plan: Plan, precision: Precision) -> SimExecutor {
        SimExecutor::new(plan, &PlanWeights::new(self.weights()), precision).unwrap()
    }

    fn verify(&self, plan: Plan, precision: Precision, tolerance: &Tolerance) -> Report {
        let mut sim = self.sim(plan, precision);
        let weights = self.weights();
        let start = Instant::now();
        let report = verify(&mut sim, &Reference::new(&weights).unwrap(), &self.golden, tolerance).unwrap();
        for c in report.parts.iter().chain([&report.whole, &report.drift]) {
            println!(
                "{:?} {}: {:.2e} σ of {} ({} rows, {} near ties, {} excused)",
                precision, c.name, c.worst, c.tolerance, c.rows, c.near_ties, c.excused
            );
        }
        println!("{:?} in {:.1?}", report.choices, start.elapsed());
        report
    }
}

fn options() -> GraphOptions {
    GraphOptions { context: 256, ..GraphOptions::default() }
}

fn check(name: &str) {
    let model = Model::open(name);
    let plan = model.plan(options());
    println!("{name}: {} instructions, {} kernels", plan.program.len(), plan.kernels.len());
    assert!(model.verify(plan.clone(), Precision::F32, &Tolerance::F32).passed());
    assert!(model.verify(plan.clone(), Precision::Native, &Tolerance::NATIVE).passed());
    let mut sim = model.sim(plan, Precision::F32);
    for prompt in &model.golden.prompts {
        let options = GenerateOptions { max_new: prompt.greedy.len(), ..GenerateOptions::default() };
        let mut seen = Vec::new();
        let result = generate(&mut sim, &prompt.ids, &options, &mut |t| {
            seen.push(t);
            ControlFlow::Continue(())
        });
        assert_eq!(result.unwrap().tokens, prompt.greedy);
        assert_eq!(seen, prompt.greedy);
    }
}

#[test]
fn llama() {
    check("llama-nano");
}

#[test]
fn mimo_bf16() {
    check("mimo-nano-bf16");
}

#[test]
fn mimo_mxfp4() {
    check("mimo-nano-mxfp4");
}

#[test]
fn mimo_as_published() {
    check("mimo-nano-fp8");
}
