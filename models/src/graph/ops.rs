//! Operations around the layers: embedding, norms, products, the head and the end of a pass.

use super::pick::{BM, block_columns, power};
use super::{Format, Graph, GraphError, Node, Norm, Result, W};
use crate::kernels::{advance, embed, head, linear, norm, sample, state};
use std::panic::Location;
use tile_lang::DType;
use tile_lang::build::Generic;
use tile_lang::plan::{Operand, Visibility};

/// Tokens in a chunk of the vocabulary.
const CHUNK: usize = 1024;

/// The buffers of a pass that hosts read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// [`state`] words.
    pub state: usize,
    /// [`state`] words of the host.
    pub request: usize,
    /// The prompt, \[context\].
    pub prompt: usize,
    /// Tokens that end a text.
    pub stops: usize,
    /// Tokens of the block, \[rows\].
    pub tokens: usize,
    /// The chosen tokens, \[rows\].
    pub choice: usize,
    /// Produced tokens + 1, \[context\], visible to the host while the program runs.
    pub out: usize,
}

/// A matrix as kernels take it.
pub(super) struct Matrix {
    pub format: Format,
    pub dims: Vec<usize>,
    /// Codes, then scales where there are any.
    pub operands: Vec<Operand>,
}

impl Matrix {
    /// The generics that follow from the format for tiles of the last axis: BK, and the scales' share of it.
    pub fn blocks(&self, parts: usize, limit: usize) -> Vec<Generic> {
        let columns = self.dims.last().copied().unwrap_or(0);
        let group = 128 * BM;
        let bytes = match self.format {
            Format::Plain(d) => d.bytes(group),
            Format::Fp8 => group + 4 * BM,
            Format::Mxfp4 => group / 2 + group / 32,
        };
        let bk = block_columns(columns, parts * bytes, limit);
        match self.format {
            Format::Plain(_) => vec![bk.into()],
            Format::Fp8 => vec![bk.into(), (bk / 128).into()],
            Format::Mxfp4 => vec![bk.into(), (bk / 32).into()],
        }
    }

    /// The element type as a leading generic, for plain matrices.
    pub fn element(&self) -> Vec<Generic> {
        match self.format {
            Format::Plain(d) => vec![d.into()],
            Format::Fp8 | Format::Mxfp4 => Vec::new(),
        }
    }
}

/// Rows as a product's input: element type and NORM as generics; rows, gain and eps as operands.
pub(super) struct Input {
    pub dtype: DType,
    pub norm: usize,
    pub rows: Operand,
    pub gain: Operand,
    pub eps: Operand,
}

impl Graph<'_> {
    /// The buffers of a pass.
    pub fn step(&self) -> Step {
        let (rows, context) = (self.options.rows, self.options.context);
        Step {
            state: self.state(),
            request: self.buffer("request", DType::I32, &[state::REQUEST_WORDS]),
            prompt: self.buffer("prompt", DType::I32, &[context]),
            stops: self.buffer("stops", DType::I32, &[state::STOPS]),
            tokens: self.buffer("tokens", DType::I32, &[rows]),
            choice: self.buffer("choice", DType::I32, &[rows]),
            out: self.buffer_for("out", DType::I32, &[context], Visibility::Host),
        }
    }

    pub(super) fn state(&self) -> usize {
        self.buffer("state", DType::I32, &[state::STATE_WORDS])
    }

    /// A matrix with two axes, or three for those of all experts.
    pub(super) fn matrix(&self, w: &W, rows: usize, columns: usize, experts: Option<usize>) -> Result<Matrix> {
        let info = self.info(w.name())?;
        let dims: Vec<usize> = experts.into_iter().chain([rows, columns]).collect();
        let wrong = |problem: String| GraphError::Weight { name: w.name().into(), problem };
        if info.dims != dims {
            return Err(wrong(format!("it has extents {:?}, the model needs {dims:?}", info.dims)));
        }
        let scales = w.get("scales");
        let mut operands = Vec::new();
        let mut add = |name: &str, dtype, dims: &[usize]| {
            operands.push(Operand::Weight { id: self.declare(name, dtype, dims) });
        };
        let batch: Vec<usize> = experts.into_iter().collect();
        match info.format {
            Format::Plain(d @ (DType::Bf16 | DType::F32)) => add(w.name(), d, &dims),
            Format::Plain(d) => return Err(wrong(format!("matrices of {d} are not supported"))),
            Format::Fp8 => {
                add(w.name(), DType::E4m3, &dims);
                add(scales.name(), DType::F32, &[&batch[..], &[columns.div_ceil(128), rows]].concat());
            }
            Format::Mxfp4 => {
                add(w.name(), DType::E2m1, &dims);
                add(scales.name(), DType::E8m0, &[&batch[..], &[rows, columns / 32]].concat());
            }
        }
        Ok(Matrix { format: info.format, dims, operands })
    }

    /// Rows with their norm, for kernels with a prologue.
    pub(super) fn input(&self, h: Node) -> Input {
        let rows = self.whole(h.buffer);
        let dtype = self.dtype(h.buffer);
        match h.norm {
            Some(n) => Input { dtype, norm: 1, rows, gain: Operand::Weight { id: n.gain }, eps: Operand::F32(n.eps) },
            None => {
                let gain = Operand::Weight { id: self.declare("unused", DType::F32, &[1]) };
                Input { dtype, norm: 0, rows, gain, eps: Operand::F32(0.0) }
            }
        }
    }

    /// Rows without a norm.
    pub(super) fn plain(&self, caller: &Location<'_>, h: Node) -> Result<(Operand, DType)> {
        match h.norm {
            None => Ok((self.whole(h.buffer), self.dtype(h.buffer))),
            Some(_) => Err(self.unsupported(caller, "a normalised input here".into())),
        }
    }

    /// The embeddings of the block's tokens: the residual.
    #[track_caller]
    pub fn embed(&self, step: Step, table: W, columns: usize) -> Node {
        let caller = Location::caller();
        let node = Node { buffer: 0, columns, norm: None };
        self.record(node, || {
            let info = self.info(table.name())?;
            let (Format::Plain(d), [_, k]) = (info.format, &info.dims[..]) else {
                return Err(self.unsupported(caller, format!("embeddings stored as {:?}", info.format)));
            };
            let x = self.buffer("x", DType::F32, &[self.options.rows, *k]);
            let id = self.declare(table.name(), d, &info.dims);
            let generics = vec![d.into(), power(*k).min(1024).into()];
            let operands = vec![Operand::Weight { id }, self.whole(step.tokens), self.whole(x)];
            self.push(caller, "embed", embed::embed::DEF, generics, operands)?;
            Ok(Node { buffer: x, ..node })
        })
    }

    /// x / √(mean(x²) + eps) · gain.
    #[track_caller]
    pub fn rms_norm(&self, x: Node, gain: W, eps: f32) -> Node {
        let caller = Location::caller();
        self.record(x, || {
            let gain = self.vector(&gain, x.columns)?;
            if self.options.fuse_norms && x.norm.is_none() {
                return Ok(Node { norm: Some(Norm { gain, eps }), ..x });
            }
            let (from, d) = self.plain(caller, x)?;
            let y = self.buffer("normed", DType::Bf16, &[self.options.rows, x.columns]);
            let generics = vec![d.into(), DType::Bf16.into(), power(x.columns).min(1024).into()];
            let operands = vec![from, Operand::Weight { id: gain }, self.whole(y), Operand::F32(eps)];
            self.push(caller, "norm", norm::rms_norm::DEF, generics, operands)?;
            Ok(Node { buffer: y, ..x })
        })
    }

    /// W·h in f32, named for the buffer it goes to.
    #[track_caller]
    pub fn linear(&self, name: &str, h: Node, w: W, outputs: usize) -> Node {
        let caller = Location::caller();
        self.record(h, || {
            let m = self.matrix(&w, outputs, h.columns, None)?;
            let y = self.buffer(name, DType::F32, &[self.options.rows, outputs]);
            let input = self.input(h);
            let types: Vec<Generic> = vec![input.dtype.into(), DType::F32.into(), input.norm.into()];
            let sizes = vec![self.options.rows.into(), BM.into()];
            let generics = [m.element(), types, sizes, m.blocks(1, self.options.slot_bytes)].concat();
            let def = match m.format {
                Format::Plain(_) => linear::linear::DEF,
                Format::Fp8 => linear::linear_fp8::DEF,
                Format::Mxfp4 => linear::linear_mxfp4::DEF,
            };
            let operands = [m.operands, vec![input.rows, input.gain, self.whole(y), input.eps]].concat();
            self.push(caller, name, def, generics, operands)?;
            Ok(Node { buffer: y, columns: outputs, norm: None })
        })
    }

    /// x + W·h, in place.
    #[track_caller]
    pub fn linear_add(&self, h: Node, w: W, x: Node) -> Node {
        let caller = Location::caller();
        self.record(x, || {
            let label = w.name().rsplit('.').next().unwrap_or_default().to_owned();
            self.product_add(caller, &label, h, &w, x)?;
            Ok(x)
        })
    }

    pub(super) fn product_add(&self, caller: &Location<'_>, label: &str, h: Node, w: &W, x: Node) -> Result<()> {
        let m = self.matrix(w, x.columns, h.columns, None)?;
        let (rows, d) = self.plain(caller, h)?;
        let sizes = vec![d.into(), self.options.rows.into(), BM.into()];
        let generics = [m.element(), sizes, m.blocks(1, self.options.slot_bytes)].concat();
        let def = match m.format {
            Format::Plain(_) => linear::linear_add::DEF,
            Format::Fp8 => linear::linear_add_fp8::DEF,
            Format::Mxfp4 => linear::linear_add_mxfp4::DEF,
        };
        let operands = [m.operands, vec![rows, self.whole(x.buffer)]].concat();
        self.push(caller, label, def, generics, operands)
    }

    /// The logits of the rows that need a choice; then, in a range `next` of its own, the choice and the end of the
    /// pass. Gives the logits.
    #[track_caller]
    pub fn lm_head(&self, step: Step, h: Node, w: W, vocab: usize) -> Node {
        let caller = Location::caller();
        self.record(h, || {
            let rows = self.options.rows;
            let m = self.matrix(&w, vocab, h.columns, None)?;
            let logits = self.buffer("logits", DType::F32, &[rows, vocab]);
            let input = self.input(h);
            let types = vec![input.dtype.into(), input.norm.into(), rows.into(), BM.into()];
            let generics = [m.element(), types, m.blocks(1, self.options.slot_bytes)].concat();
            let def = match m.format {
                Format::Plain(_) => head::head::DEF,
                Format::Fp8 => head::head_fp8::DEF,
                Format::Mxfp4 => return Err(self.unsupported(caller, "a head in MXFP4".into())),
            };
            let tail = vec![input.rows, input.gain, self.whole(step.state), self.whole(logits), input.eps];
            self.push(caller, "logits", def, generics, [m.operands, tail].concat())?;
            self.mark("next");
            self.choose(caller, step, logits, vocab)?;
            Ok(Node { buffer: logits, columns: vocab, norm: None })
        })
    }

    fn choose(&self, caller: &Location<'_>, step: Step, logits: usize, vocab: usize) -> Result<()> {
        let rows = self.options.rows;
        let chunk = power(vocab).min(CHUNK);
        let chunks = vocab.div_ceil(chunk);
        let best = self.buffer("best", DType::F32, &[rows, chunks]);
        let token = self.buffer("token", DType::I32, &[rows, chunks]);
        let operands = [logits, step.state, best, token].map(|b| self.whole(b)).to_vec();
        self.push(caller, "largest", sample::logits_max::DEF, vec![chunk.into()], operands)?;
        let generics = vec![chunk.into(), power(chunks).min(256).into()];
        let operands = [logits, best, token, step.request, step.state, step.choice].map(|b| self.whole(b)).to_vec();
        self.push(caller, "sample", sample::sample::DEF, generics, operands)?;
        let Step { request, prompt, stops, choice, state, tokens, out } = step;
        let operands = [request, prompt, stops, choice, state, tokens, out].map(|b| self.whole(b)).to_vec();
        self.push(caller, "advance", advance::advance::DEF, vec![rows.into()], operands)
    }
}
