//! Reading `reference.safetensors`: another implementation's answers to a few prompts.

use std::path::Path;

use safetensors::Dtype;

use crate::checkpoint::{Checkpoint, CheckpointError};

/// One prompt and its answers. T is the number of tokens of the prompt.
#[derive(Clone, Debug)]
pub struct GoldenPrompt {
    /// The prompt's tokens, `[T]`; at least one.
    pub ids: Vec<u32>,
    /// Logits at every position, [T, vocab].
    pub logits: Vec<f32>,
    /// Layers + 1 times [T, hidden], as in [`super::Trace::hidden`].
    pub hidden: Vec<Vec<f32>>,
    /// The tokens that follow greedily.
    pub greedy: Vec<u32>,
}

/// A file of answers.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Number of tokens of the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// The prompts; at least one.
    pub prompts: Vec<GoldenPrompt>,
}

impl Golden {
    /// Reads a file of answers for a model of `layers` layers.
    pub fn open(file: &Path, layers: usize, hidden: usize, vocab: usize) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::open_file(file)?;
        let mut prompts = Vec::new();
        loop {
            let i = prompts.len();
            let name = |what: &str| format!("prompt{i}.{what}");
            if i > 0 && checkpoint.get(&name("ids")).is_none() {
                return Ok(Golden { vocab, hidden, prompts });
            }
            let ids = tokens(&checkpoint, &name("ids"), vocab)?;
            let rows = |what: &str, width: usize| checkpoint.matrix_f32(&name(what), ids.len(), width);
            prompts.push(GoldenPrompt {
                logits: rows("logits", vocab)?,
                hidden: (0..=layers).map(|l| rows(&format!("hidden{l}"), hidden)).collect::<Result<_, _>>()?,
                greedy: tokens(&checkpoint, &name("greedy"), vocab)?,
                ids,
            });
        }
    }
}

/// A vector of token ids.
fn tokens(checkpoint: &Checkpoint, name: &str, vocab: usize) -> Result<Vec<u32>, CheckpointError> {
    const EXPECTED: &str = "a vector of token ids in I32";
    let view = checkpoint.require(name, EXPECTED)?;
    let (file, tensor) = (view.file.to_owned(), name.to_owned());
    if view.dtype != Dtype::I32 || view.shape.len() != 1 || view.shape[0] == 0 {
        let found = format!("{:?} {:?}", view.dtype, view.shape);
        return Err(CheckpointError::Type { file, tensor, found, expected: EXPECTED.into() });
    }
    let id = |b: &[u8]| u32::try_from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])).ok();
    let ids: Option<Vec<u32>> = view.bytes.chunks_exact(4).map(|b| id(b).filter(|&i| (i as usize) < vocab)).collect();
    let problem = format!("it holds a token outside the model's vocabulary of {vocab}");
    ids.ok_or(CheckpointError::Unexpected { file, tensor, problem })
}
