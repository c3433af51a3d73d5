//! Whole models on the simulator, against the answers of another implementation.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use tile_lang::ir::{BinaryOp, CmpOp, OpKind, UnaryOp};
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

struct Model {
    config: ModelConfig,
    checkpoint: Checkpoint,
    golden: Golden,
}

impl Model {
    fn golden(name: &str) -> Model {
        Model::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name))
    }

    fn open(folder: &Path) -> Model {
        let config = ModelConfig::open(folder).unwrap();
        let checkpoint = Checkpoint::open(folder).unwrap();
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
    let model = Model::golden(name);
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

/// Replaces the last op that `change` takes in every instance of a kernel.
fn mutate(plan: &mut Plan, kernel: &str, change: impl Fn(&OpKind) -> Option<OpKind>) {
    for k in plan.kernels.iter_mut().filter(|k| k.name == kernel) {
        let op = k.ops.iter_mut().rev().find(|op| change(&op.kind).is_some()).unwrap();
        op.kind = change(&op.kind).unwrap();
    }
}

#[test]
fn a_changed_op_is_found() {
    let model = Model::golden("mimo-nano-mxfp4");
    type Change = (&'static str, fn(&OpKind) -> Option<OpKind>);
    let sub_to_add = |k: &OpKind| (*k == OpKind::Binary(BinaryOp::Sub)).then_some(OpKind::Binary(BinaryOp::Add));
    let add_to_sub = |k: &OpKind| (*k == OpKind::Binary(BinaryOp::Add)).then_some(OpKind::Binary(BinaryOp::Sub));
    let rsqrt = |k: &OpKind| (*k == OpKind::Unary(UnaryOp::Rsqrt)).then_some(OpKind::Unary(UnaryOp::Sqrt));
    let gt_to_ge = |k: &OpKind| (*k == OpKind::Cmp(CmpOp::Gt)).then_some(OpKind::Cmp(CmpOp::Ge));
    let changes: [Change; 6] = [
        ("linear", rsqrt),
        ("linear_add", add_to_sub),
        ("rope_cache", sub_to_add),
        ("attention", gt_to_ge),
        ("router_logits", rsqrt),
        ("experts_swiglu_mxfp4", rsqrt),
    ];
    for (kernel, change) in changes {
        let mut plan = model.plan(options());
        mutate(&mut plan, kernel, change);
        let report = model.verify(plan, Precision::Native, &Tolerance::NATIVE);
        assert!(!report.passed(), "{kernel}");
    }
}

#[test]
fn blocks_norms_and_splits_change_nothing_but_rounding() {
    for name in ["llama-nano", "mimo-nano-fp8"] {
        let model = Model::golden(name);
        for (rows, fuse_norms, splits, slot_bytes) in
            [(16, true, 2, 16 << 10), (8, false, 1, 4 << 10), (8, true, 5, 1 << 12)]
        {
            let options =
                GraphOptions { rows, fuse_norms, splits, slot_bytes, context: 128, ..GraphOptions::default() };
            assert!(model.verify(model.plan(options), Precision::F32, &Tolerance::F32).passed(), "{name}");
        }
    }
}

/// The model that lies beside the code: verified as the others, and how fast it runs.
#[test]
fn pico() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pico");
    let model = Model::open(&folder);
    let plan = model.plan(options());
    assert!(model.verify(plan.clone(), Precision::F32, &Tolerance::F32).passed());
    assert!(model.verify(plan.clone(), Precision::Native, &Tolerance::NATIVE).passed());
    let mut sim = model.sim(plan, Precision::Native);
    let prompt = &model.golden.prompts[0].ids;
    let options = GenerateOptions { max_new: 48, ..GenerateOptions::default() };
    let result = generate(&mut sim, prompt, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let rate = result.tokens.len() as f64 / result.elapsed.as_secs_f64();
    println!("{} tokens after {}: {rate:.1} tokens/s", result.tokens.len(), prompt.len());
    assert_eq!(result.tokens.len(), 48);
}
