//! Operations around the layers: embedding, norms, products, the head and the end of a pass.

use super::pick::{BM, block_columns, power};
use super::{Format, Graph, GraphError, Node, Norm, Purpose, Result, W};
use crate::kernels::{advance, blocks, embed, head, linear, norm, projection, projection_fp4, sample, state};
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
    /// A chunk of a prompt taken apart.
    pub(super) spans: Option<Spans>,
}

/// A chunk of a prompt as its kernels take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spans {
    /// [`state`] words of each block, [blocks, words].
    pub states: usize,
    /// First row and end, \[2\].
    pub rows: usize,
    /// Keys with those of the chunk, \[1\].
    pub keys: usize,
    /// The caches' only page, [1, 1].
    pub pages: usize,
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
    /// The buffers of a pass. Where it takes a chunk of a prompt, a range `step` takes its state apart.
    #[track_caller]
    pub fn step(&self) -> Step {
        let caller = Location::caller();
        let (rows, context) = (self.options.rows, self.options.context);
        let step = Step {
            state: self.state(),
            request: self.buffer("request", DType::I32, &[state::REQUEST_WORDS]),
            prompt: self.buffer("prompt", DType::I32, &[context]),
            stops: self.buffer("stops", DType::I32, &[state::STOPS]),
            tokens: self.buffer("tokens", DType::I32, &[rows]),
            choice: self.buffer("choice", DType::I32, &[rows]),
            out: self.buffer_for("out", DType::I32, &[context], Visibility::Host),
            spans: None,
        };
        match self.options.purpose {
            Purpose::Decode => step,
            Purpose::Prompt => self.record(step, || {
                let integers = |name: &str, dims: &[usize]| self.buffer(name, DType::I32, dims);
                let states = integers("states", &[self.blocks(), state::STATE_WORDS]);
                let (spans_rows, keys, pages) =
                    (integers("rows", &[2]), integers("keys", &[1]), integers("pages", &[1, 1]));
                self.mark("step");
                let operands = [step.state, states, spans_rows, keys].map(|b| self.whole(b)).to_vec();
                self.push(caller, "blocks", blocks::blocks::DEF, vec![self.block_rows().into()], operands)?;
                Ok(Step { spans: Some(Spans { states, rows: spans_rows, keys, pages }), ..step })
            }),
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

    /// The rows of block `b` with their norm, for kernels with a prologue.
    pub(super) fn input(&self, h: Node, b: usize) -> Input {
        let rows = self.block_of(h.buffer, b);
        let dtype = self.dtype(h.buffer);
        match h.norm {
            Some(n) => Input { dtype, norm: 1, rows, gain: Operand::Weight { id: n.gain }, eps: Operand::F32(n.eps) },
            None => {
                let gain = Operand::Weight { id: self.declare("unused", DType::F32, &[1]) };
                Input { dtype, norm: 0, rows, gain, eps: Operand::F32(0.0) }
            }
        }
    }

    /// The buffer of rows without a norm.
    pub(super) fn plain(&self, caller: &Location<'_>, h: Node) -> Result<(usize, DType)> {
        match h.norm {
            None => Ok((h.buffer, self.dtype(h.buffer))),
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
            let operands = vec![self.whole(from), Operand::Weight { id: gain }, self.whole(y), Operand::F32(eps)];
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
            let result = Node { buffer: y, columns: outputs, norm: None };
            let def = match m.format {
                Format::Plain(_) => linear::linear::DEF,
                Format::Fp8 => linear::linear_fp8::DEF,
                Format::Mxfp4 => linear::linear_mxfp4::DEF,
            };
            let all = match m.format {
                Format::Mxfp4 => projection_fp4::project_mxfp4::DEF,
                _ => projection::project::DEF,
            };
            if let Some(tile) = self.product_of_all(name, &m, 1, [all.name, def.name]) {
                let rows = self.operand_rows(caller, h)?;
                let operands = [m.operands, vec![rows, self.whole(y)]].concat();
                self.push(caller, name, all, [vec![DType::F32.into()], tile].concat(), operands)?;
                return Ok(result);
            }
            for b in 0..self.blocks() {
                let input = self.input(h, b);
                let types: Vec<Generic> = vec![input.dtype.into(), DType::F32.into(), input.norm.into()];
                let sizes = vec![self.block_rows().into(), BM.into()];
                let generics = [m.element(), types, sizes, m.blocks(1, self.options.slot_bytes)].concat();
                let tail = vec![input.rows, input.gain, self.block_of(y, b), input.eps];
                let operands = [m.operands.clone(), tail].concat();
                self.push(caller, &self.block_label(name, b), def, generics, operands)?;
            }
            Ok(result)
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
        let def = match m.format {
            Format::Plain(_) => linear::linear_add::DEF,
            Format::Fp8 => linear::linear_add_fp8::DEF,
            Format::Mxfp4 => linear::linear_add_mxfp4::DEF,
        };
        let all = match m.format {
            Format::Mxfp4 => projection_fp4::project_add_mxfp4::DEF,
            _ => projection::project_add::DEF,
        };
        if let Some(tile) = self.product_of_all(label, &m, 1, [all.name, def.name]) {
            let operands = [m.operands, vec![self.operand_rows(caller, h)?, self.whole(x.buffer)]].concat();
            return self.push(caller, label, all, tile, operands);
        }
        for b in 0..self.blocks() {
            let sizes = vec![d.into(), self.block_rows().into(), BM.into()];
            let generics = [m.element(), sizes, m.blocks(1, self.options.slot_bytes)].concat();
            let operands = [m.operands.clone(), vec![self.block_of(rows, b), self.block_of(x.buffer, b)]].concat();
            self.push(caller, &self.block_label(label, b), def, generics, operands)?;
        }
        Ok(())
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
            let def = match m.format {
                Format::Plain(_) => head::head::DEF,
                Format::Fp8 => head::head_fp8::DEF,
                Format::Mxfp4 => return Err(self.unsupported(caller, "a head in MXFP4".into())),
            };
            self.picked("logits", def.name, "only blocks with rows that need a choice have any");
            for b in 0..self.blocks() {
                let input = self.input(h, b);
                let types = vec![input.dtype.into(), input.norm.into(), self.block_rows().into(), BM.into()];
                let generics = [m.element(), types, m.blocks(1, self.options.slot_bytes)].concat();
                let (state, logits) = (self.block_state(step, b), self.block_of(logits, b));
                let tail = vec![input.rows, input.gain, state, logits, input.eps];
                let operands = [m.operands.clone(), tail].concat();
                self.push(caller, &self.block_label("logits", b), def, generics, operands)?;
            }
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
        let Step { request, prompt, stops, choice, state, tokens, out, .. } = step;
        let operands = [request, prompt, stops, choice, state, tokens, out].map(|b| self.whole(b)).to_vec();
        self.push(caller, "advance", advance::advance::DEF, vec![rows.into()], operands)
    }
}
