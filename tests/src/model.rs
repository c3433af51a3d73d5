//! Models of the suite: a folder, its plan, and the checks that a device must pass on it.

use std::ops::ControlFlow;
use std::path::Path;
use tile_lang::exec::{ExecError, Executor};
use tile_lang::plan::Plan;
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::ModelConfig;
use tile_models::graph::GraphOptions;
use tile_models::reference::Reference;
use tile_models::reference::golden::Golden;
use tile_models::session::verify::{Report, Tolerance, verify};
use tile_models::session::{GenerateOptions, Generation, forced, generate, generate_in_chunks};
use tile_models::weights::PlanWeights;
use tile_models::zoo;

/// What can go wrong, for people.
pub type Failure = Box<dyn std::error::Error>;

/// How far the top two logits must be apart, in σ, for two devices to agree.
pub const APART: f64 = 0.1;

/// The name of the artifact with a model's program for prompts.
pub fn for_prompts(model: &str) -> String {
    format!("{model}.prompt")
}

/// What prompts take, with and without the program for them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PromptSpeed {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Tokens a second through the program for prompts.
    pub chunks: f64,
    /// Tokens a second through the program that decodes.
    pub blocks: f64,
}

/// A model folder.
pub struct Model {
    /// The folder's name.
    pub name: String,
    /// Whether it was trained: it comes with a tokenizer. The choices of random weights are nearly tied, those of their
    /// routers too, so their texts part at rounding errors.
    pub trained: bool,
    config: ModelConfig,
    checkpoint: Checkpoint,
    golden: Golden,
}

/// Where two greedy texts part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Tokens compared.
    pub compared: usize,
    /// Prompts whose texts part where the top two logits are nearly tied.
    pub excused: usize,
    /// Prompts whose texts part elsewhere.
    pub wrong: usize,
    /// The largest distance of the top two logits where texts part, in σ.
    pub largest_margin: f64,
}

impl Model {
    /// Opens a folder with checkpoint, configuration and `reference.safetensors`.
    ///
    /// # Errors
    /// One of them is missing or wrong.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let config = ModelConfig::open(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        let file = folder.join("reference.safetensors");
        let golden = Golden::open(&file, config.layers.len(), config.hidden, config.vocab)?;
        let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let trained = folder.join("tokenizer.json").is_file();
        Ok(Model { name, trained, config, checkpoint, golden })
    }

    fn weights(&self) -> Result<Weights<'_>, Failure> {
        Ok(Weights::new(&self.config, &self.checkpoint)?)
    }

    /// Its plan.
    ///
    /// # Errors
    /// Something that no kernel does.
    pub fn plan(&self, options: GraphOptions) -> Result<Plan, Failure> {
        Ok(zoo::plan(&self.config, &self.source()?, options)?)
    }

    /// Its weights.
    ///
    /// # Errors
    /// A weight is missing or wrong.
    pub fn source(&self) -> Result<PlanWeights<'_>, Failure> {
        Ok(PlanWeights::new(self.weights()?))
    }

    /// The simulator with a plan of this model.
    ///
    /// # Errors
    /// As [`Model::source`].
    pub fn sim(&self, plan: Plan) -> Result<SimExecutor, Failure> {
        Ok(SimExecutor::new(plan, &self.source()?, Precision::Native)?)
    }

    /// Compares a device with the golden answers.
    ///
    /// # Errors
    /// The device failed.
    pub fn verify(&self, device: &mut dyn Executor) -> Result<Report, Failure> {
        let weights = self.weights()?;
        Ok(verify(device, &Reference::new(&weights)?, &self.golden, &Tolerance::NATIVE)?)
    }

    /// Bytes of weights that one decoded token reads at most: those of all layers and the head.
    pub fn weight_bytes(plan: &Plan) -> u64 {
        plan.weights.iter().map(|w| w.dtype.bytes(w.dims.iter().product()) as u64).sum()
    }

    /// Continues every golden prompt greedily on both devices, `max_new` tokens each.
    ///
    /// # Errors
    /// A device failed.
    pub fn agree(
        &self,
        sim: &mut dyn Executor,
        device: &mut dyn Executor,
        max_new: usize,
    ) -> Result<(Agreement, Vec<Generation>), Failure> {
        let options = GenerateOptions { max_new, ..GenerateOptions::default() };
        let mut result = Agreement::default();
        let mut generations = Vec::new();
        for prompt in &self.golden.prompts {
            let go = &mut |_| ControlFlow::Continue(());
            let want = generate(sim, &prompt.ids, &options, go)?;
            let got = generate(device, &prompt.ids, &options, go)?;
            result.compared += want.tokens.len();
            if let Some(at) = parting(&want.tokens, &got.tokens) {
                let text = [&prompt.ids[..], &want.tokens[..at]].concat();
                let margin = self.margin(sim, &text)?;
                result.largest_margin = result.largest_margin.max(margin);
                if margin < APART {
                    result.excused += 1;
                } else {
                    result.wrong += 1;
                }
            }
            generations.push(got);
        }
        Ok((result, generations))
    }

    /// How far the top two logits after a text are apart, in σ.
    fn margin(&self, sim: &mut dyn Executor, text: &[u32]) -> Result<f64, Failure> {
        let logits = forced(sim, text, &GenerateOptions::default())?.logits;
        let mut last: Vec<f64> = logits[(text.len() - 1) * self.config.vocab..].iter().map(|x| f64::from(*x)).collect();
        let mean = last.iter().sum::<f64>() / last.len() as f64;
        let variance = last.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / last.len() as f64;
        last.sort_by(|a, b| b.total_cmp(a));
        Ok((last[0] - last[1]) / variance.sqrt().max(f64::MIN_POSITIVE))
    }

    /// The tokens of the first golden prompt.
    pub fn first_prompt(&self) -> &[u32] {
        &self.golden.prompts[0].ids
    }

    /// Continues a long text greedily with the program for prompts and without it; where the tokens part, if they do, and how far the top two
    /// logits are apart there, in σ.
    ///
    /// # Errors
    /// The device failed.
    pub fn hands_over(
        &self,
        chunks: &mut dyn Executor,
        decode: &mut dyn Executor,
        length: usize,
        max_new: usize,
    ) -> Result<Option<(usize, f64)>, Failure> {
        let options = GenerateOptions { max_new, ..GenerateOptions::default() };
        let go = &mut |_| ControlFlow::Continue(());
        let text = self.long_prompt(length);
        let want = generate(decode, &text, &options, go)?.tokens;
        let got = generate_in_chunks(chunks, decode, &text, &options, go)?;
        if got.chunks == 0 {
            return Err(format!("a prompt of {length} tokens did not go through the program for prompts").into());
        }
        let Some(at) = parting(&want, &got.tokens) else { return Ok(None) };
        let text = [&text[..], &want[..at]].concat();
        Ok(Some((at, self.margin(decode, &text)?)))
    }

    /// The golden prompts again and again.
    fn long_prompt(&self, length: usize) -> Vec<u32> {
        self.golden.prompts.iter().flat_map(|p| &p.ids).copied().cycle().take(length).collect()
    }

    /// How fast a prompt is taken, up to its first token; medians of five runs after one that is not counted.
    ///
    /// # Errors
    /// The device failed.
    pub fn prompt_speed(
        &self,
        chunks: &mut dyn Executor,
        decode: &mut dyn Executor,
        length: usize,
    ) -> Result<PromptSpeed, Failure> {
        let options = GenerateOptions { max_new: 1, ..GenerateOptions::default() };
        let text = self.long_prompt(length);
        let go = &mut |_| ControlFlow::Continue(());
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..6 {
            times[0].push(generate_in_chunks(chunks, decode, &text, &options, go)?.elapsed.as_secs_f64());
            times[1].push(generate(decode, &text, &options, go)?.elapsed.as_secs_f64());
        }
        let [chunks, blocks] = times.map(|mut t| {
            t.remove(0);
            t.sort_by(f64::total_cmp);
            length as f64 / t[t.len() / 2].max(f64::MIN_POSITIVE)
        });
        Ok(PromptSpeed { tokens: length, chunks, blocks })
    }

    /// Decoding speed: new tokens a second of whole launches, the prompt's passes included, and µs a token; the median of
    /// five runs after one that is not counted.
    ///
    /// # Errors
    /// The device failed.
    pub fn speed(&self, device: &mut dyn Executor, max_new: usize) -> Result<(f64, f64), ExecError> {
        let options = GenerateOptions { max_new, ..GenerateOptions::default() };
        let mut each = Vec::new();
        for _ in 0..6 {
            let run = generate(device, self.first_prompt(), &options, &mut |_| ControlFlow::Continue(()));
            let run = run.map_err(|e| ExecError::Program(e.to_string()))?;
            each.push(run.elapsed.as_secs_f64() / run.tokens.len().max(1) as f64);
        }
        each.remove(0);
        each.sort_by(f64::total_cmp);
        let median = each[each.len() / 2];
        Ok((1.0 / median, median * 1e6))
    }
}

/// The first place where two texts differ.
fn parting(a: &[u32], b: &[u32]) -> Option<usize> {
    let at = a.iter().zip(b).position(|(x, y)| x != y);
    at.or((a.len() != b.len()).then_some(a.len().min(b.len())))
}
