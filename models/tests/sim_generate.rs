//! Generation on the simulator: stopping, cancelling, sampling, and requests that can't be served.

use std::ops::ControlFlow;
use std::path::Path;

use tile_lang::sim::{Precision, SimExecutor};
use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::ModelConfig;
use tile_models::graph::GraphOptions;
use tile_models::reference::Reference;
use tile_models::reference::sampling::{self, Sampling};
use tile_models::session::{GenerateOptions, Generation, SessionError, forced, generate, uniform};
use tile_models::weights::PlanWeights;
use tile_models::zoo;

const CONTEXT: usize = 40;

/// Runs `f` with llama-nano in f32.
fn with_model(f: impl FnOnce(&mut SimExecutor, &Reference<'_>)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama-nano");
    let config = ModelConfig::open(&folder).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let weights = Weights::new(&config, &checkpoint).unwrap();
    let source = PlanWeights::new(weights);
    let options = GraphOptions { context: CONTEXT, ..GraphOptions::default() };
    let plan = zoo::plan(&config, &source, options).unwrap();
    let mut sim = SimExecutor::new(plan, &source, Precision::F32).unwrap();
    f(&mut sim, &Reference::new(&weights).unwrap());
}

fn run(sim: &mut SimExecutor, prompt: &[u32], options: &GenerateOptions) -> Result<Generation, SessionError> {
    generate(sim, prompt, options, &mut |_| ControlFlow::Continue(()))
}

fn greedy(max_new: usize) -> GenerateOptions {
    GenerateOptions { max_new, ..GenerateOptions::default() }
}

#[test]
fn texts_end_where_they_must() {
    with_model(|sim, reference| {
        let prompt: Vec<u32> = (3..14).collect();
        let want = reference.greedy(&prompt, 40).unwrap();
        for n in [0, 1, 2, 9] {
            let result = run(sim, &prompt, &greedy(n)).unwrap();
            assert_eq!((&result.tokens[..], result.passes), (&want[..n], if n == 0 { 0 } else { n + 1 }));
        }
        // The last token has its position behind the caches: it is produced and not run.
        assert_eq!(run(sim, &prompt, &greedy(1000)).unwrap().tokens, want[..CONTEXT - prompt.len() + 1]);
        // A stop token is produced, and nothing after it.
        let stop = want[5];
        let first = want.iter().position(|t| *t == stop).unwrap();
        let options = GenerateOptions { stops: vec![600, stop, 601], ..greedy(30) };
        assert_eq!(run(sim, &prompt, &options).unwrap().tokens, want[..=first]);
        // A reader that has had enough ends it too, and the next text is not the worse for it.
        let mut seen = Vec::new();
        let result = generate(sim, &prompt, &greedy(30), &mut |t| {
            seen.push(t);
            if seen.len() == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(result.unwrap().tokens, want[..4]);
        assert_eq!(seen, want[..4]);
        assert_eq!(run(sim, &prompt, &greedy(6)).unwrap().tokens, want[..6]);
        // A prompt that fills the caches still has a token after it.
        let full: Vec<u32> = (0..CONTEXT as u32).collect();
        assert_eq!(run(sim, &full, &greedy(9)).unwrap().tokens, reference.greedy(&full, 1).unwrap());
    });
}

#[test]
fn sampled_texts_follow_seed_and_reference() {
    with_model(|sim, reference| {
        let prompt = [7, 8, 9];
        let sampling = Sampling { temperature: 0.8, top_k: Some(50), top_p: 0.9 };
        let options = |seed| GenerateOptions { sampling, seed, ..greedy(12) };
        let first = run(sim, &prompt, &options(5)).unwrap().tokens;
        assert_eq!(run(sim, &prompt, &options(5)).unwrap().tokens, first);
        assert_ne!(run(sim, &prompt, &options(6)).unwrap().tokens, first);
        // The same draws by the reference, fed with the text.
        let (mut cache, mut next, mut want) = (reference.cache(), prompt.to_vec(), Vec::new());
        while want.len() < 12 {
            let logits = reference.forward(&next, &mut cache).unwrap().logits;
            let last = &logits[logits.len() - reference.config().vocab..];
            let u = uniform(5, 0, cache.len as u32 - 1);
            want.push(sampling::sample(last, &sampling, f64::from(u)).unwrap() as u32);
            next = vec![want[want.len() - 1]];
        }
        assert_eq!(first, want);
    });
}

#[test]
fn a_forced_text_has_the_choices_of_every_row() {
    with_model(|sim, reference| {
        let text: Vec<u32> = (100..121).collect();
        let got = forced(sim, &text, &GenerateOptions::default()).unwrap();
        let want = reference.forward(&text, &mut reference.cache()).unwrap().logits;
        let vocab = reference.config().vocab;
        assert_eq!(got.choices.len(), text.len());
        for (row, choice) in got.choices.iter().enumerate() {
            let row = &want[row * vocab..][..vocab];
            assert_eq!(Some(*choice as usize), tile_models::reference::ops::argmax(row));
        }
    });
}

#[test]
fn requests_that_cant_be_served_say_why() {
    with_model(|sim, _| {
        let mut refused = |prompt: &[u32], options: GenerateOptions, why: &str| {
            let error = run(sim, prompt, &options).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused(&[], greedy(1), "empty");
        refused(&[512], greedy(1), "token 512");
        refused(&[1; CONTEXT + 1], greedy(1), "41 tokens");
        refused(&[1], GenerateOptions { stops: vec![1; 17], ..greedy(1) }, "17 stop tokens");
        let with = |sampling| GenerateOptions { sampling, ..greedy(1) };
        refused(&[1], with(Sampling { temperature: -1.0, ..Sampling::GREEDY }), "temperature");
        refused(&[1], with(Sampling { temperature: f32::NAN, ..Sampling::GREEDY }), "temperature");
        refused(&[1], with(Sampling { top_p: 1.5, ..Sampling::GREEDY }), "top-p");
    });
}
