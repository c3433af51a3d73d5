//! Programs for prompts on the simulator: against the answers of another implementation, against the program that decodes, and handing
//! their caches over to it.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use tile_lang::exec::{Data, Executor};
use tile_lang::ir::{Access, Param, Type};
use tile_lang::plan::{Operand, Plan};
use tile_lang::record::MAX_DEPS;
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::ModelConfig;
use tile_models::graph::GraphOptions;
use tile_models::reference::Reference;
use tile_models::reference::golden::Golden;
use tile_models::session::verify::{Tolerance, verify};
use tile_models::session::{GenerateOptions, Generation, forced, generate, generate_in_chunks};
use tile_models::weights::PlanWeights;
use tile_models::zoo;

struct Model {
    config: ModelConfig,
    checkpoint: Checkpoint,
    golden: Golden,
}

impl Model {
    fn open(folder: &str) -> Model {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let config = ModelConfig::open(&folder).unwrap();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let file = folder.join("reference.safetensors");
        let golden = Golden::open(&file, config.layers.len(), config.hidden, config.vocab).unwrap();
        Model { config, checkpoint, golden }
    }

    fn golden(name: &str) -> Model {
        Model::open(&format!("tests/golden/{name}"))
    }

    fn weights(&self) -> Weights<'_> {
        Weights::new(&self.config, &self.checkpoint).unwrap()
    }

    fn plan(&self, options: GraphOptions) -> Plan {
        zoo::plan(&self.config, &PlanWeights::new(self.weights()), options).unwrap()
    }

    /// The program that decodes, and beside it the one for chunks of so many rows.
    fn programs(&self, rows: usize, precision: Precision) -> (SimExecutor, SimExecutor) {
        let source = PlanWeights::new(self.weights());
        let decode = SimExecutor::new(self.plan(options()), &source, precision).unwrap();
        let chunks = decode.beside(self.plan(options().prompt(rows)), &source).unwrap();
        (decode, chunks)
    }
}

fn options() -> GraphOptions {
    GraphOptions { context: 256, ..GraphOptions::default() }
}

fn greedy(max_new: usize) -> GenerateOptions {
    GenerateOptions { max_new, ..GenerateOptions::default() }
}

fn numbers(executor: &mut SimExecutor, name: &str) -> Vec<f32> {
    let at = executor.plan().buffers.iter().position(|b| b.name == name).unwrap();
    let len = executor.plan().buffers[at].dims.iter().product();
    match executor.read(at, 0, len).unwrap() {
        Data::F32(x) => x,
        Data::I32(x) => x.into_iter().map(|v| v as f32).collect(),
    }
}

/// The program for chunks against the golden answers, as `verify` demands of any program.
fn verified(model: &Model, rows: usize, precision: Precision, tolerance: &Tolerance) {
    let (_, mut chunks) = model.programs(rows, precision);
    let weights = model.weights();
    let report = verify(&mut chunks, &Reference::new(&weights).unwrap(), &model.golden, tolerance).unwrap();
    for c in report.parts.iter().chain([&report.whole, &report.drift]) {
        println!("{rows} rows, {precision:?} {}: {:.2e} σ of {}", c.name, c.worst, c.tolerance);
    }
    assert!(report.passed(), "{rows} rows, {precision:?}: {:?}", report.choices);
}

/// A long text: what it leaves in the caches, through chunks and through blocks, and what follows it.
fn handed_over(model: &Model, rows: usize) {
    let vocab = model.config.vocab as u32;
    let (mut decode, mut chunks) = model.programs(rows, Precision::F32);
    let source = PlanWeights::new(model.weights());
    let mut alone = SimExecutor::new(model.plan(options()), &source, Precision::F32).unwrap();
    let go = &mut |_| ControlFlow::Continue(());
    for length in [rows - 1, rows, rows + 1, 2 * rows + 17, 3 * rows + 5] {
        let text: Vec<u32> = (0..length as u32).map(|i| (i * i * 7 + 3 * i + 1) % vocab).collect();
        let want = generate(&mut alone, &text, &greedy(6), go).unwrap();
        let got = generate_in_chunks(&mut chunks, &mut decode, &text, &greedy(6), go).unwrap();
        assert_eq!(got.tokens, want.tokens, "{length} tokens in chunks of {rows}");
        for layer in 0..model.config.layers.len() {
            for part in ["k", "v"] {
                let name = format!("layers.{layer}.{part}");
                let (got, want) = (numbers(&mut decode, &name), numbers(&mut alone, &name));
                let largest = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                let worst = got.iter().zip(&want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(worst <= 1e-4 * largest, "{name}, {length} tokens in chunks of {rows}: {worst} of {largest}");
            }
        }
    }
}

fn check(name: &str) {
    let model = Model::golden(name);
    for rows in [16, 32] {
        verified(&model, rows, Precision::F32, &Tolerance::F32);
        verified(&model, rows, Precision::Native, &Tolerance::NATIVE);
    }
    handed_over(&model, 32);
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

#[test]
fn pico() {
    let model = Model::open("pico");
    verified(&model, 32, Precision::F32, &Tolerance::F32);
    verified(&model, 64, Precision::Native, &Tolerance::NATIVE);
    handed_over(&model, 64);
}

#[test]
fn texts_end_where_they_must() {
    let model = Model::golden("llama-nano");
    let (mut decode, mut chunks) = model.programs(32, Precision::F32);
    let text: Vec<u32> = (0..64).map(|i| (i * 5 + 3) % 500).collect();
    let go = &mut |_: u32| ControlFlow::Continue(());
    let mut run = |options: &GenerateOptions, on_token: &mut dyn FnMut(u32) -> ControlFlow<()>| {
        generate_in_chunks(&mut chunks, &mut decode, &text, options, on_token).unwrap()
    };
    let want = run(&greedy(12), go);
    assert_eq!((want.tokens.len(), want.passes, want.chunks, want.chunked), (12, 13, 2, 64));
    for n in [0, 1, 2] {
        let Generation { tokens, passes, .. } = run(&greedy(n), go);
        assert_eq!((&tokens[..], passes), (&want.tokens[..n], if n == 0 { 0 } else { n + 1 }));
    }
    // The first token is made by the program for chunks: it may be the one that ends the text, or that a reader stops at.
    let stops = GenerateOptions { stops: vec![want.tokens[0]], ..greedy(12) };
    assert_eq!(run(&stops, go).tokens, want.tokens[..1]);
    for n in [1, 4] {
        let mut seen = 0;
        let stopped = run(&greedy(12), &mut |_| {
            seen += 1;
            if seen == n { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(stopped.tokens, want.tokens[..n]);
    }
    assert_eq!(run(&greedy(12), go).tokens, want.tokens);
}

#[test]
fn the_plan_says_what_was_picked() {
    let picks = |name: &str| {
        let plan = Model::golden(name).plan(options().prompt(64));
        for p in &plan.picks {
            println!("{}: {}, {}", p.operation, p.kernel, p.why);
            assert!(plan.kernels.iter().any(|k| k.name == p.kernel), "{}", p.kernel);
        }
        plan.picks.iter().map(|p| format!("{}: {}", p.operation, p.kernel)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        picks("llama-nano"),
        "qkv: project, rope: rope_rows, attention: prefill, o: project_add, gate_up: project_gated, down: project_add, logits: head"
    );
    assert_eq!(
        picks("mimo-nano-fp8"),
        "qkv: linear_fp8, rope: rope_rows, attention: prefill, o: project_add, gate_up: swiglu_fp8, down: linear_add_fp8, \
         router: router_logits, experts: experts_swiglu_mxfp4, experts: experts_down_mxfp4, logits: head"
    );
    assert!(Model::golden("llama-nano").plan(options()).picks.is_empty());
}

#[test]
fn programs_that_dont_belong_together_are_refused() {
    let model = Model::golden("llama-nano");
    let source = PlanWeights::new(model.weights());
    let (mut decode, _) = model.programs(16, Precision::F32);
    let other = GraphOptions { context: 400, ..options() };
    let mut chunks = decode.beside(model.plan(other.prompt(16)), &source).unwrap();
    let text = [1; 40];
    let go = &mut |_| ControlFlow::Continue(());
    let error = generate_in_chunks(&mut chunks, &mut decode, &text, &greedy(1), go).unwrap_err().to_string();
    assert!(error.contains("make both with the same context"), "{error}");
    for rows in [8, 48, 2048] {
        let error = zoo::plan(&model.config, &source, options().prompt(rows)).unwrap_err().to_string();
        assert!(error.contains("a power of two from 16 to 1024"), "{error}");
    }
}

/// Whether two instructions touch the same elements and one of them writes.
fn meet(plan: &Plan, a: usize, b: usize) -> bool {
    let spans = |at: usize| {
        let instr = &plan.program[at];
        let kernel = &plan.kernels[instr.kernel];
        let span = |(operand, param): (&Operand, &Param)| match operand {
            Operand::Buffer { id, offset, dims } => {
                let written = matches!(kernel.ty(param.value), Type::Global(_, _, Access::Write));
                Some((*id, *offset..offset + dims.iter().product::<usize>(), written))
            }
            _ => None,
        };
        instr.operands.iter().zip(&kernel.params).filter_map(span).collect::<Vec<_>>()
    };
    let same = |(i, x, w): &(usize, Range<usize>, bool), (j, y, v): &(usize, Range<usize>, bool)| {
        i == j && (*w || *v) && x.start < y.end && y.start < x.end
    };
    let second = spans(b);
    spans(a).iter().any(|x| second.iter().any(|y| same(x, y)))
}

#[test]
fn many_blocks_keep_to_what_a_record_holds() {
    let model = Model::golden("mimo-nano-fp8");
    for rows in [256, 1024] {
        let plan = model.plan(options().prompt(rows));
        assert!(plan.program.iter().any(|i| i.after.len() == MAX_DEPS));
        // Who is done before each instruction: all that touch what it touches, if one of them writes.
        let mut done: Vec<Vec<bool>> = Vec::new();
        for (at, instr) in plan.program.iter().enumerate() {
            assert!(instr.after.len() <= MAX_DEPS, "{} of {rows} rows", instr.label);
            let mut before = vec![false; at];
            for dep in &instr.after {
                before[*dep] = true;
                before.iter_mut().zip(&done[*dep]).for_each(|(b, d)| *b |= *d);
            }
            for (other, done) in before.iter().enumerate() {
                assert!(*done || !meet(&plan, other, at), "{} and {}", plan.program[other].label, instr.label);
            }
            done.push(before);
        }
        assert!(done.last().unwrap().iter().all(|d| *d));
    }
    // All rows of a text that is longer than a chunk, on the way through it.
    let (_, mut chunks) = model.programs(16, Precision::F32);
    let text: Vec<u32> = (0..50).collect();
    let got = forced(&mut chunks, &text, &GenerateOptions::default()).unwrap();
    let weights = model.weights();
    let reference = Reference::new(&weights).unwrap();
    let want = reference.forward(&text, &mut reference.cache()).unwrap().logits;
    let largest = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let worst = got.logits.iter().zip(&want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst <= 1e-4 * largest, "{worst} of {largest}");
}
