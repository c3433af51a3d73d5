//! `monotile generate`: continues a prompt.

use super::Io;
use super::error::CliError;
use super::model::{Executors, Model, ModelArgs, Program};
use clap::ValueEnum;
use serde_json::json;
use std::ops::ControlFlow;
use tile_lang::sim::Precision;
use tile_models::reference::sampling::Sampling;
use tile_models::session::{GenerateOptions, generate, generate_in_chunks};
use tile_models::tokenizer::{TextStream, Tokenizer};
use tile_models::weights::PlanWeights;

/// Tokens that are made where none are asked for.
const DEFAULT_NEW: usize = 128;

/// What proposes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Draft {
    /// Nothing: one token a pass.
    None,
    /// A DFlash drafter.
    Dflash,
}

/// Arguments.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("input").required(true).args(["prompt", "prompt_ids"]))]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Text to continue
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Token ids to continue, as they are: 1,2,3
    #[arg(long, value_name = "IDS")]
    prompt_ids: Option<String>,
    /// Positions that the caches hold, for prompt and new tokens
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Most tokens to make [default: 128, or what the context leaves]
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// What proposes tokens that the model then checks together
    #[arg(long, value_enum, default_value = "none")]
    draft: Draft,
    /// Divides the logits; 0 always takes the largest
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Keep so many of the most probable tokens
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Keep the most probable tokens that together reach this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Keys the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object at the end instead of text as it comes
    #[arg(long)]
    json: bool,
}

/// Generates.
pub fn run(args: &Args, io: &mut Io<'_>) -> Result<(), CliError> {
    if args.draft == Draft::Dflash {
        return Err(CliError::input("--draft dflash: drafters are not supported by this version; use --draft none"));
    }
    let model = Model::open(&args.model.model)?;
    let (ids, tokenizer) = prompt(args, &model)?;
    let weights = PlanWeights::new(model.weights()?);
    let program = Program::prepare(&model, &weights, &args.model, args.context)?;
    let context = args.context.map_or(program.context(), |n| n.min(program.context()));
    let options = GenerateOptions {
        sampling: Sampling { temperature: args.temperature, top_k: args.top_k.map(|k| k as usize), top_p: args.top_p },
        seed: args.seed,
        max_new: max_new(args.max_new_tokens, ids.len(), context)?,
        stops: model.config.eos.clone(),
    };
    check_sampling(&options.sampling)?;
    let Executors { mut decode, prompt: chunks } = program.load(args.model.device, &weights, Precision::Native)?;

    let mut printer = Printer::new(args, tokenizer.as_ref());
    printer.begin(io)?;
    let on_token = &mut |token| printer.token(token, io);
    let generation = match chunks {
        Some(mut chunks) => generate_in_chunks(&mut *chunks, &mut *decode, &ids, &options, on_token)?,
        None => generate(&mut *decode, &ids, &options, on_token)?,
    };
    printer.end(io)?;

    let seconds = generation.elapsed.as_secs_f64();
    let tokens = generation.tokens.len();
    let rate = if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    // Passes that made tokens: the last one of the prompt is the first of them.
    let steps = tokens.min(generation.passes);
    let accepted = if steps > 0 { tokens as f64 / steps as f64 } else { 0.0 };
    let device = decode.device();
    let (chunks, chunked, chunking) = (generation.chunks, generation.chunked, generation.chunking.as_secs_f64());
    if args.json {
        return io.json(&json!({
            "text": printer.text,
            "tokens": generation.tokens,
            "tokens_per_s": rate,
            "accepted_length": accepted,
            "steps": generation.passes,
            "prompt_tokens": ids.len(),
            "chunks": chunks,
            "chunked_tokens": chunked,
            "chunk_seconds": chunking,
            "device": device,
        }));
    }
    if chunks > 0 {
        let rate = if chunking > 0.0 { chunked as f64 / chunking } else { 0.0 };
        writeln!(io.err, "[{chunked} tokens of the prompt in {chunks} chunks, {rate:.0} tokens/s]")?;
    }
    writeln!(
        io.err,
        "[{tokens} tokens after a prompt of {}, {rate:.1} tokens/s, accepted length {accepted:.2}, {device}]",
        ids.len()
    )?;
    Ok(())
}

/// The prompt's ids, and the tokenizer if the folder has one.
fn prompt(args: &Args, model: &Model) -> Result<(Vec<u32>, Option<Tokenizer>), CliError> {
    let (ids, tokenizer) = match (&args.prompt, &args.prompt_ids) {
        (Some(text), _) if text.is_empty() => {
            return Err(CliError::input("--prompt is empty; a text needs at least one character"));
        }
        (Some(text), _) => {
            let tokenizer = Tokenizer::open(&model.folder)?;
            (tokenizer.encode(text)?, Some(tokenizer))
        }
        (None, list) => {
            let has_tokenizer = model.folder.join("tokenizer.json").exists();
            let tokenizer = has_tokenizer.then(|| Tokenizer::open(&model.folder)).transpose()?;
            (parse_ids(list.as_deref().unwrap_or_default())?, tokenizer)
        }
    };
    if ids.is_empty() {
        return Err(CliError::input("the prompt has no tokens; a text needs at least one"));
    }
    let vocab = model.config.vocab;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        return Err(CliError::input(match args.prompt {
            Some(_) => format!(
                "{}/tokenizer.json makes the token {id}, the model's vocabulary has {vocab} (config.json); the two don't \
                 belong together",
                model.folder.display()
            ),
            None => format!("--prompt-ids: {id} is outside the model's vocabulary of {vocab}"),
        }));
    }
    Ok((ids, tokenizer))
}

fn parse_ids(list: &str) -> Result<Vec<u32>, CliError> {
    if list.trim().is_empty() {
        return Err(CliError::input("--prompt-ids is empty; give at least one token id"));
    }
    let wrong =
        |part: &str| CliError::input(format!("--prompt-ids: `{part}` is no token id; expected numbers like 1,2,3"));
    list.split(',').map(|part| part.trim().parse().map_err(|_| wrong(part))).collect()
}

/// Most tokens to make after a prompt in a context.
fn max_new(asked: Option<usize>, prompt: usize, context: usize) -> Result<usize, CliError> {
    if prompt >= context {
        return Err(CliError::input(format!(
            "the prompt has {prompt} tokens, which leaves no room in a context of {context}; raise --context"
        )));
    }
    match asked {
        None => Ok(DEFAULT_NEW.min(context - prompt)),
        Some(n) if n <= context - prompt => Ok(n),
        Some(n) => Err(CliError::input(format!(
            "--max-new-tokens {n} after a prompt of {prompt} tokens is more than the context of {context}; raise --context, \
             or ask for at most {}",
            context - prompt
        ))),
    }
}

fn check_sampling(s: &Sampling) -> Result<(), CliError> {
    if !(s.temperature.is_finite() && s.temperature >= 0.0) {
        return Err(CliError::input(format!("--temperature {}: expected 0 or more", s.temperature)));
    }
    if !(s.top_p > 0.0 && s.top_p <= 1.0) {
        return Err(CliError::input(format!("--top-p {}: expected more than 0, at most 1", s.top_p)));
    }
    Ok(())
}

/// Shows tokens as they come.
struct Printer<'a> {
    json: bool,
    prompt: Option<&'a str>,
    stream: Option<TextStream<'a>>,
    text: String,
    failed: Option<CliError>,
}

impl<'a> Printer<'a> {
    fn new(args: &'a Args, tokenizer: Option<&'a Tokenizer>) -> Self {
        let stream = tokenizer.map(Tokenizer::stream);
        Printer { json: args.json, prompt: args.prompt.as_deref(), stream, text: String::new(), failed: None }
    }

    /// The prompt goes before what follows it.
    fn begin(&self, io: &mut Io<'_>) -> Result<(), CliError> {
        if let (false, Some(prompt)) = (self.json, self.prompt) {
            write!(io.out, "{prompt}")?;
            io.out.flush()?;
        }
        Ok(())
    }

    fn token(&mut self, token: u32, io: &mut Io<'_>) -> ControlFlow<()> {
        match self.show(token, io) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                self.failed = Some(e);
                ControlFlow::Break(())
            }
        }
    }

    fn show(&mut self, token: u32, io: &mut Io<'_>) -> Result<(), CliError> {
        let piece = match &mut self.stream {
            Some(stream) => stream.push(token)?,
            // No tokenizer: ids are all there is to show.
            None if self.json => String::new(),
            None => format!("{token} "),
        };
        self.add(&piece, io)
    }

    fn add(&mut self, piece: &str, io: &mut Io<'_>) -> Result<(), CliError> {
        self.text.push_str(piece);
        if !self.json && !piece.is_empty() {
            write!(io.out, "{piece}")?;
            io.out.flush()?;
        }
        Ok(())
    }

    fn end(&mut self, io: &mut Io<'_>) -> Result<(), CliError> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        let rest = self.stream.take().map_or(Ok(String::new()), TextStream::finish)?;
        self.add(&rest, io)?;
        if !self.json && !self.text.ends_with('\n') {
            writeln!(io.out)?;
        }
        io.out.flush()?;
        Ok(())
    }
}
