//! Whether a device computes what a reference computed.
//!
//! Three kinds of checks: each layer fed with the reference's own input, the whole model, and the tokens it would
//! choose (teacher-forced). Errors are largest differences in standard deviations (σ) of what is compared. A layer
//! with experts may choose otherwise where the reference's choice is nearly tied; rows that miss the tolerance for
//! that reason are excused and counted, as are greedy choices whose margin is smaller than the error of their logits;
//! how large that may be is bounded by its median over all rows, since a flipped expert moves single rows far.

use super::{Forced, GenerateOptions, Handles, SessionError, forced, reals};
use crate::reference::golden::Golden;
use crate::reference::{LayerCache, Reference, ReferenceError};
use std::ops::ControlFlow;
use tile_lang::exec::{Data, Executor};

/// How far below the best logit the reference's choice may lie, in σ: rounding between two f32 implementations.
const OWN_CHOICE: f64 = 1e-3;

/// What is demanded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Largest error of a layer fed with the reference's input, in σ of its output.
    pub layer: f64,
    /// Largest error of the logits of the whole model, in σ; rows may exceed it where `drift` bounds the median.
    pub whole: f64,
    /// Largest median over rows of the logits' error, in σ.
    pub drift: f64,
    /// Routing is nearly tied below this margin of the scores.
    pub tie: f32,
}

impl Tolerance {
    /// For runs in f32.
    pub const F32: Tolerance = Tolerance { layer: 1e-3, whole: 1e-3, drift: 1e-3, tie: 1e-5 };
    /// For runs whose products take bf16.
    pub const NATIVE: Tolerance = Tolerance { layer: 0.06, whole: f64::INFINITY, drift: 0.3, tie: 0.02 };
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was compared.
    pub name: String,
    /// The largest error of rows that are not excused, in σ.
    pub worst: f64,
    /// What is allowed.
    pub tolerance: f64,
    /// Rows compared.
    pub rows: usize,
    /// Rows whose routing was nearly tied.
    pub near_ties: usize,
    /// Those of them that missed the tolerance.
    pub excused: usize,
}

impl Check {
    /// Whether the tolerance holds.
    pub fn passed(&self) -> bool {
        self.worst <= self.tolerance
    }
}

/// Greedy choices, teacher-forced.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Choices {
    /// Choices compared.
    pub compared: usize,
    /// Those equal to the reference's.
    pub equal: usize,
    /// Those that differ where the reference's margin is at most the error of the two logits.
    pub excused: usize,
    /// The largest margin of a choice that differs, in σ of the logits.
    pub largest_margin: f64,
}

impl Choices {
    /// Whether all that differ are excused.
    pub fn passed(&self) -> bool {
        self.equal + self.excused == self.compared
    }
}

/// Everything that was compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Embedding, layers and head, each fed with the reference's input.
    pub parts: Vec<Check>,
    /// The logits of the whole model.
    pub whole: Check,
    /// The median over rows of the logits' largest error, in σ.
    pub drift: Check,
    /// Greedy choices.
    pub choices: Choices,
}

impl Report {
    /// Whether everything is within its tolerance.
    pub fn passed(&self) -> bool {
        self.parts.iter().chain([&self.whole, &self.drift]).all(Check::passed) && self.choices.passed()
    }
}

/// A comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// On the device's side.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// On the reference's side.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The reference is of another model.
    #[error("{0}")]
    Mismatch(String),
}

impl From<tile_lang::exec::ExecError> for VerifyError {
    fn from(e: tile_lang::exec::ExecError) -> Self {
        VerifyError::Session(e.into())
    }
}

/// The standard deviation; 1 for constants, so that errors stay finite.
fn deviation(x: &[f32]) -> f64 {
    let n = x.len().max(1) as f64;
    let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    if variance > 0.0 { variance.sqrt() } else { 1.0 }
}

/// The largest difference of each row; infinite where something is not a number.
fn row_errors(got: &[f32], want: &[f32], width: usize) -> Vec<f64> {
    let row = |(a, b): (&[f32], &[f32])| {
        a.iter().zip(b).fold(0.0f64, |worst, (x, y)| {
            let d = f64::from((x - y).abs());
            if d.is_nan() { f64::INFINITY } else { worst.max(d) }
        })
    };
    got.chunks(width).zip(want.chunks(width)).map(row).collect()
}

impl Check {
    fn new(name: &str, tolerance: f64) -> Self {
        Check { name: name.into(), worst: 0.0, tolerance, rows: 0, near_ties: 0, excused: 0 }
    }

    /// Takes rows in; `near` tells which may be excused.
    fn take(&mut self, got: &[f32], want: &[f32], width: usize, near: impl Fn(usize) -> bool) {
        let sigma = deviation(want);
        for (row, error) in row_errors(got, want, width).into_iter().enumerate() {
            let error = error / sigma;
            self.rows += 1;
            self.near_ties += usize::from(near(row));
            if near(row) && error > self.tolerance {
                self.excused += 1;
            } else {
                self.worst = self.worst.max(error);
            }
        }
    }
}

/// Compares an executor with a reference file, and with `reference` where the file has no answer.
///
/// # Errors
/// The plan is no model's, the file is another model's, or a device failed. Differences are no errors: see the report.
pub fn verify(
    executor: &mut dyn Executor,
    reference: &Reference<'_>,
    golden: &Golden,
    tolerance: &Tolerance,
) -> Result<Report, VerifyError> {
    let handles = Handles::of(executor.plan())?;
    if (golden.vocab, golden.hidden) != (handles.vocab, handles.hidden) {
        let message = format!(
            "the reference has a vocabulary of {} and width {}, the plan {} and {}",
            golden.vocab, golden.hidden, handles.vocab, handles.hidden
        );
        return Err(VerifyError::Mismatch(message));
    }
    let parts = parts(executor, &handles, reference, golden, tolerance)?;
    let mut whole = Check::new("whole model", tolerance.whole);
    let mut rows: Vec<f64> = Vec::new();
    let mut choices = Choices::default();
    for prompt in &golden.prompts {
        // The prompt and what follows it greedily, as one text.
        let text = [&prompt.ids[..], &prompt.greedy[..prompt.greedy.len() - 1]].concat();
        let Forced { logits, choices: got } = forced(executor, &text, &GenerateOptions::default())?;
        let length = prompt.ids.len() * golden.vocab;
        whole.take(&logits[..length], &prompt.logits, golden.vocab, |_| false);
        let want = reference.forward(&text, &mut reference.cache())?.logits;
        let sigma = deviation(&want);
        rows.extend(row_errors(&logits, &want, golden.vocab).into_iter().map(|e| e / sigma));
        for (i, token) in prompt.greedy.iter().enumerate() {
            let row = prompt.ids.len() - 1 + i;
            choices.compared += 1;
            if got[row] == *token {
                choices.equal += 1;
                continue;
            }
            let at =
                |x: &[f32], token: u32| x.get(row * golden.vocab + token as usize).map_or(f64::NAN, |v| f64::from(*v));
            let margin = at(&want, *token) - at(&want, got[row]);
            let error = [*token, got[row]].map(|t| (at(&logits, t) - at(&want, t)).abs()).iter().sum::<f64>();
            // A reference whose own choice lies below the device's is not one of this checkpoint: nothing excuses that.
            let own = margin > -OWN_CHOICE * sigma;
            choices.excused += usize::from(own && margin <= error);
            choices.largest_margin = choices.largest_margin.max(margin / sigma);
        }
    }
    rows.sort_by(f64::total_cmp);
    let mut drift = Check::new("drift of the logits", tolerance.drift);
    drift.rows = rows.len();
    drift.worst = rows.get(rows.len() / 2).copied().unwrap_or(0.0);
    Ok(Report { parts, whole, drift, choices })
}

/// Embedding, each layer and the head, fed with the reference's input.
fn parts(
    executor: &mut dyn Executor,
    handles: &Handles,
    reference: &Reference<'_>,
    golden: &Golden,
    tolerance: &Tolerance,
) -> Result<Vec<Check>, VerifyError> {
    let layers = reference.config().layers.len();
    let mut checks = vec![Check::new("embed", tolerance.layer)];
    checks.extend((0..layers).map(|l| Check::new(&format!("layer.{l}"), tolerance.layer)));
    checks.push(Check::new("head", tolerance.layer));
    for prompt in &golden.prompts {
        let part = |executor: &mut dyn Executor, name: &str, input: Option<&[f32]>, output: (usize, usize)| {
            run_part(executor, handles, name, &prompt.ids, input, output)
        };
        let x = (handles.x, handles.hidden);
        let got = part(executor, "embed", None, x)?;
        checks[0].take(&got, &prompt.hidden[0], handles.hidden, |_| false);
        for l in 0..layers {
            let input = &prompt.hidden[l];
            let got = part(executor, &format!("layer.{l}"), Some(input), x)?;
            let own = reference.layer(l, input, 0, &mut LayerCache::default());
            let near = |row: usize| own.routes.get(row).is_some_and(|r| r.margin < tolerance.tie);
            // What the file holds after the last layer is normalised.
            let last = l + 1 == layers;
            let got = if last { reference.final_norm(&got) } else { got };
            checks[l + 1].take(&got, &prompt.hidden[l + 1], handles.hidden, near);
            if last {
                let got = part(executor, "head", Some(&own.hidden), (handles.logits, handles.vocab))?;
                checks[layers + 1].take(&got, &prompt.logits, handles.vocab, |_| false);
            }
        }
    }
    Ok(checks)
}

/// Runs one range of the program over a whole text, block by block: the residual is `input`, or the tokens are
/// those of the text. Gives the rows of the output buffer.
fn run_part(
    executor: &mut dyn Executor,
    handles: &Handles,
    name: &str,
    ids: &[u32],
    input: Option<&[f32]>,
    (output, width): (usize, usize),
) -> Result<Vec<f32>, VerifyError> {
    let missing = || SessionError::Plan { plan: executor.plan().name.clone(), what: format!("range `{name}`") };
    let range = executor.plan().mark(name).ok_or_else(missing)?;
    let mut out = Vec::with_capacity(ids.len() * width);
    handles.begin(executor, ids, &GenerateOptions::default(), true)?;
    for (b, block) in ids.chunks(handles.rows).enumerate() {
        let first = b * handles.rows;
        handles.place(executor, first, block.len(), block.len())?;
        match input {
            Some(x) => {
                let rows = &x[first * handles.hidden..][..block.len() * handles.hidden];
                executor.write(handles.x, 0, &Data::F32(rows.to_vec()))?;
            }
            None => executor.write(handles.tokens, 0, &Data::I32(block.iter().map(|id| *id as i32).collect()))?,
        }
        // What programs for prompts take apart before all layers.
        if let Some(step) = executor.plan().mark("step") {
            executor.run(step, 1, &mut |_| ControlFlow::Continue(()))?;
        }
        executor.run(range.clone(), 1, &mut |_| ControlFlow::Continue(()))?;
        out.extend(reals(executor.read(output, 0, block.len() * width)?));
    }
    Ok(out)
}
