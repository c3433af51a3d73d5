//! Running a model's plan on any executor: generation here, checks against a reference in [`verify`].

pub mod verify;

use crate::kernels::{sample, state};
use crate::reference::sampling::Sampling;
use std::ops::ControlFlow;
use std::time::Duration;
use tile_lang::exec::{Data, ExecError, Executor, RunStats};
use tile_lang::plan::{Buffer, Plan};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The plan is not one of a language model.
    #[error("the plan `{plan}` has no {what}; it was not made from a model of this version")]
    Plan {
        /// Its name.
        plan: String,
        /// What is missing.
        what: String,
    },
    /// The request can't be served.
    #[error("{0}")]
    Request(String),
    /// The device failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Keys the random numbers, with the position.
    pub seed: u64,
    /// Most tokens to produce.
    pub max_new: usize,
    /// Tokens that end the text; they are produced too. At most [`state::STOPS`].
    pub stops: Vec<u32>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions { sampling: Sampling::GREEDY, seed: 0, max_new: 128, stops: Vec::new() }
    }
}

/// What was generated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// The tokens after the prompt.
    pub tokens: Vec<u32>,
    /// Time of the whole run, prompt included.
    pub elapsed: Duration,
    /// Passes, those for the prompt included.
    pub passes: usize,
    /// Passes of the program for prompts among them.
    pub chunks: usize,
    /// Tokens of the prompt that went through it.
    pub chunked: usize,
    /// Time that it took.
    pub chunking: Duration,
}

/// Indices of the buffers that a session works with.
#[derive(Clone, Copy, Debug)]
struct Handles {
    state: usize,
    request: usize,
    prompt: usize,
    stops: usize,
    tokens: usize,
    choice: usize,
    out: usize,
    x: usize,
    logits: usize,
    rows: usize,
    context: usize,
    hidden: usize,
    vocab: usize,
}

impl Handles {
    fn of(plan: &Plan) -> Result<Self, SessionError> {
        let missing = |what: String| SessionError::Plan { plan: plan.name.clone(), what };
        let find = |name: &str| {
            let at = plan.buffers.iter().position(|b| b.name == name);
            at.ok_or_else(|| missing(format!("buffer `{name}`")))
        };
        let extent = |buffer: usize, axis: usize| {
            let b = &plan.buffers[buffer];
            b.dims.get(axis).copied().ok_or_else(|| missing(format!("axis {axis} of buffer `{}`", b.name)))
        };
        let (tokens, prompt, x, logits) = (find("tokens")?, find("prompt")?, find("x")?, find("logits")?);
        Ok(Handles {
            state: find("state")?,
            request: find("request")?,
            prompt,
            stops: find("stops")?,
            tokens,
            choice: find("choice")?,
            out: find("out")?,
            x,
            logits,
            rows: extent(tokens, 0)?,
            context: extent(prompt, 0)?,
            hidden: extent(x, 1)?,
            vocab: extent(logits, 1)?,
        })
    }

    /// Writes everything that a run starts from.
    fn begin(
        &self,
        executor: &mut dyn Executor,
        prompt: &[u32],
        options: &GenerateOptions,
        every_row: bool,
    ) -> Result<(), SessionError> {
        self.check(prompt, options)?;
        let mut request = vec![0; state::REQUEST_WORDS];
        let mut set = |word: i32, value: i32| request[word as usize] = value;
        set(state::PROMPT_LEN, prompt.len() as i32);
        set(state::MAX_NEW, i32::try_from(options.max_new).unwrap_or(i32::MAX));
        set(state::CONTEXT, self.context as i32);
        set(state::SEED_LOW, options.seed as i32);
        set(state::SEED_HIGH, (options.seed >> 32) as i32);
        set(state::TEMPERATURE, options.sampling.temperature.max(0.0).to_bits() as i32);
        set(state::TOP_K, options.sampling.top_k.map_or(0, |k| k.clamp(1, 1 << 30) as i32));
        set(state::TOP_P, options.sampling.top_p.to_bits() as i32);
        set(state::EVERY_ROW, i32::from(every_row));
        set(state::STOP_COUNT, options.stops.len() as i32);
        executor.write(self.request, 0, &Data::I32(request))?;
        let ids: Vec<i32> = prompt.iter().map(|id| *id as i32).collect();
        let rows = ids.len().min(self.rows);
        let mut block = ids[..rows].to_vec();
        block.resize(self.rows, 0);
        executor.write(self.tokens, 0, &Data::I32(block))?;
        executor.write(self.prompt, 0, &Data::I32(ids))?;
        executor.write(self.stops, 0, &Data::I32(options.stops.iter().map(|id| *id as i32).collect()))?;
        executor.write(self.out, 0, &Data::I32(vec![0; self.context]))?;
        let choices = match (every_row, rows == prompt.len()) {
            (true, _) => rows,
            (false, last) => usize::from(last),
        };
        self.place(executor, 0, rows, choices)
    }

    /// Where the next pass stands.
    fn place(
        &self,
        executor: &mut dyn Executor,
        position: usize,
        rows: usize,
        choices: usize,
    ) -> Result<(), SessionError> {
        let mut words = vec![0; state::STATE_WORDS];
        words[state::POSITION as usize] = position as i32;
        words[state::ROWS as usize] = rows as i32;
        words[state::CHOICES as usize] = choices as i32;
        Ok(executor.write(self.state, 0, &Data::I32(words))?)
    }

    fn check(&self, prompt: &[u32], options: &GenerateOptions) -> Result<(), SessionError> {
        let refuse = |message: String| Err(SessionError::Request(message));
        if prompt.is_empty() {
            return refuse("the prompt is empty; a text needs at least one token".into());
        }
        if prompt.len() > self.context {
            let (have, most) = (prompt.len(), self.context);
            return refuse(format!("the prompt has {have} tokens, the plan was made for {most}; raise --context"));
        }
        if let Some(id) = prompt.iter().find(|id| **id as usize >= self.vocab) {
            return refuse(format!("token {id} is outside the vocabulary of {}", self.vocab));
        }
        if options.stops.len() > state::STOPS {
            return refuse(format!("{} stop tokens, at most {} are possible", options.stops.len(), state::STOPS));
        }
        let Sampling { temperature, top_p, .. } = options.sampling;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return refuse(format!("a temperature of {temperature}; expected 0 or more"));
        }
        if !(0.0..=1.0).contains(&top_p) {
            return refuse(format!("top-p {top_p}; expected 0 to 1"));
        }
        Ok(())
    }
}

fn integers(data: Data) -> Vec<i32> {
    match data {
        Data::I32(x) => x,
        Data::F32(x) => x.into_iter().map(|v| v as i32).collect(),
    }
}

fn reals(data: Data) -> Vec<f32> {
    match data {
        Data::F32(x) => x,
        Data::I32(x) => x.into_iter().map(|v| v as f32).collect(),
    }
}

/// Continues `prompt`. `on_token` sees each token as it appears, and ends the run by breaking.
///
/// # Errors
/// A prompt that is empty, too long or holds unknown tokens; wrong options; a failing device.
pub fn generate(
    executor: &mut dyn Executor,
    prompt: &[u32],
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Generation, SessionError> {
    let handles = Handles::of(executor.plan())?;
    handles.begin(executor, prompt, options, false)?;
    let mut run = Run { result: Generation::default(), on_token };
    if options.max_new > 0 {
        run.decode(executor, &handles, prompt.len(), options.max_new)?;
    }
    Ok(run.result)
}

/// A generation on its way.
struct Run<'a> {
    result: Generation,
    on_token: &'a mut dyn FnMut(u32) -> ControlFlow<()>,
}

impl Run<'_> {
    /// Runs a whole program, at most so many passes, and takes the tokens that it produces.
    fn passes(
        &mut self,
        executor: &mut dyn Executor,
        handles: &Handles,
        passes: usize,
    ) -> Result<RunStats, SessionError> {
        let all = 0..executor.plan().program.len();
        let stats = executor.run(all, passes, &mut |mailbox| {
            let tokens = &mut self.result.tokens;
            while tokens.len() < handles.context {
                let Ok(token) = u32::try_from(mailbox.peek(handles.out, tokens.len()) - 1) else { break };
                tokens.push(token);
                if (self.on_token)(token).is_break() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        self.result.elapsed += stats.elapsed;
        Ok(stats)
    }

    /// The rest of a prompt, `rest` tokens, and up to `max_new` more; with none left, what follows a token that is chosen already.
    fn decode(
        &mut self,
        executor: &mut dyn Executor,
        handles: &Handles,
        rest: usize,
        max_new: usize,
    ) -> Result<(), SessionError> {
        let blocks = rest.div_ceil(handles.rows);
        let before = self.result.tokens.len();
        // The last block's pass makes the first token.
        let more = if blocks > 0 { max_new - 1 } else { max_new };
        self.passes(executor, handles, blocks.saturating_add(more).min(blocks + handles.context))?;
        let made = self.result.tokens.len() - before;
        self.result.passes += if blocks > 0 { blocks + made.saturating_sub(1) } else { made };
        Ok(())
    }
}

/// Blocks of the program for decoding that take about as long as a chunk: of fewer, the rest of a prompt goes through that program.
const BLOCKS_OF_A_CHUNK: usize = 2;

/// As [`generate`], with a program for prompts beside the one that decodes: whole chunks of the prompt go through it, and what is left, if it is
/// more than a few blocks. Both must share arrays (see `beside` of their executors); what this one leaves there, decoding goes on from.
///
/// # Errors
/// As [`generate`]; programs of different models or contexts.
pub fn generate_in_chunks(
    chunks: &mut dyn Executor,
    decode: &mut dyn Executor,
    prompt: &[u32],
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Generation, SessionError> {
    let (first, then) = (Handles::of(chunks.plan())?, Handles::of(decode.plan())?);
    share(chunks.plan(), decode.plan())?;
    let rest = prompt.len() % first.rows;
    let through = if rest > BLOCKS_OF_A_CHUNK * then.rows { prompt.len() } else { prompt.len() - rest };
    if through == 0 || options.max_new == 0 {
        return generate(decode, prompt, options, on_token);
    }
    first.begin(chunks, prompt, options, false)?;
    let mut run = Run { result: Generation::default(), on_token };
    let passes = through.div_ceil(first.rows);
    let stats = run.passes(chunks, &first, passes)?;
    run.result.passes = passes;
    (run.result.chunks, run.result.chunked, run.result.chunking) = (passes, through, stats.elapsed);
    let left = prompt.len() - through;
    let done = integers(chunks.read(first.state, state::DONE as usize, 1)?)[0] != 0;
    if stats.cancelled || (left == 0 && (done || options.max_new == 1)) {
        return Ok(run.result);
    }
    let mut block = vec![0; then.rows];
    if left == 0 {
        // The state already stands at the token that was chosen.
        block[0] = integers(chunks.read(first.out, 0, 1)?)[0] - 1;
    } else {
        let rows = left.min(then.rows);
        block.iter_mut().zip(&prompt[through..]).for_each(|(to, id)| *to = *id as i32);
        then.place(decode, through, rows, usize::from(rows == left))?;
    }
    decode.write(then.tokens, 0, &Data::I32(block))?;
    run.decode(decode, &then, left, if left == 0 { options.max_new - 1 } else { options.max_new })?;
    Ok(run.result)
}

/// Whether two programs declare alike what one hands to the other: caches, state and what the host writes.
fn share(chunks: &Plan, decode: &Plan) -> Result<(), SessionError> {
    let handed = |b: &&Buffer| {
        b.name.starts_with("layers.") || ["state", "request", "prompt", "stops", "out"].contains(&b.name.as_str())
    };
    for b in decode.buffers.iter().filter(handed) {
        if !chunks.buffers.contains(b) {
            return Err(SessionError::Request(format!(
                "`{}` and `{}` are no two programs of one model: `{}` differs; make both with the same context",
                chunks.name, decode.name, b.name
            )));
        }
    }
    Ok(())
}

/// What a pass over a whole text gives, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forced {
    /// Logits, [tokens, vocab].
    pub logits: Vec<f32>,
    /// The token chosen after each, \[tokens\].
    pub choices: Vec<u32>,
}

/// Runs a text as one prompt and reads logits and choices of every token: what follows each token if the text up to
/// it is given.
///
/// # Errors
/// As [`generate`].
pub fn forced(executor: &mut dyn Executor, ids: &[u32], options: &GenerateOptions) -> Result<Forced, SessionError> {
    let handles = Handles::of(executor.plan())?;
    handles.begin(executor, ids, options, true)?;
    let all = 0..executor.plan().program.len();
    let mut result = Forced::default();
    for block in ids.chunks(handles.rows) {
        executor.run(all.clone(), 1, &mut |_| ControlFlow::Continue(()))?;
        result.logits.extend(reals(executor.read(handles.logits, 0, block.len() * handles.vocab)?));
        let choices = integers(executor.read(handles.choice, 0, block.len())?);
        result.choices.extend(choices.into_iter().map(|c| c as u32));
    }
    Ok(result)
}

/// The number in [0, 1) that a row at `position` draws its token with: Philox 4x32-10 with the seed as key and the
/// position and the sequence as counter. The kernel [`crate::kernels::sample`] computes the same.
pub fn uniform(seed: u64, sequence: u32, position: u32) -> f32 {
    let (mut x, mut key) = ([position, sequence, 0, 0], [seed as u32, (seed >> 32) as u32]);
    for _ in 0..10 {
        let wide = |a: u32, b: i32| u64::from(a) * u64::from(b as u32);
        let (a, b) = (wide(x[0], sample::PHILOX_A), wide(x[2], sample::PHILOX_B));
        x = [(b >> 32) as u32 ^ x[1] ^ key[0], b as u32, (a >> 32) as u32 ^ x[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(sample::WEYL_A as u32), key[1].wrapping_add(sample::WEYL_B as u32)];
    }
    (x[0] >> 8) as f32 / 16_777_216.0
}

#[cfg(test)]
mod tests {
    use super::uniform;

    #[test]
    fn philox_gives_its_published_numbers() {
        // The first words of the generator's own test vectors, for a counter and key of zeros.
        assert_eq!(uniform(0, 0, 0), (0x6627_e8d5_u32 >> 8) as f32 / 16_777_216.0);
    }
}
