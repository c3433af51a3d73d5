//! Attention: projections, rotary embedding, caches, splits.

use super::ops::Spans;
use super::pick::power;
use super::{Graph, Node, Purpose, Result, Step, W};
use crate::config::AttentionConfig;
use crate::kernels::{attention, prefill, rope};
use std::panic::Location;
use tile_lang::DType;
use tile_lang::plan::Operand;

/// Most keys in a tile.
const KEYS: usize = 128;
/// Rows of queries in a tile of a chunk.
const QUERIES: usize = 128;
/// Columns of keys and values from which on warpgroups multiply them.
const WARPGROUPS: usize = 64;
/// What is added to a cache's columns so that rows don't fall on the same banks.
const PITCH: usize = 8;

/// Keys and values of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvCache {
    /// Keys, [kv heads, positions, columns].
    pub k: usize,
    /// Values, [kv heads, positions, columns].
    pub v: usize,
}

/// Widths of one attention, padded.
struct Shape {
    /// Columns of queries and keys, a multiple of 16.
    columns: usize,
    /// Columns in a slice of them.
    slice: usize,
    /// Columns of values, a power of two.
    values: usize,
    /// Keys in a tile.
    keys: usize,
    /// Most splits.
    splits: usize,
    /// Positions in the caches, the same in all programs of a model.
    positions: usize,
}

impl Graph<'_> {
    fn shape(&self, a: &AttentionConfig) -> Shape {
        let columns = a.head_dim.next_multiple_of(16);
        let slice = [64, 32, 16].into_iter().find(|s| columns.is_multiple_of(*s)).unwrap_or(16);
        let values = power(a.v_head_dim).max(8);
        let widest = columns.max(values) + PITCH;
        let mut keys = KEYS;
        while keys > 16 && keys * widest * 2 > self.options.slot_bytes {
            keys /= 2;
        }
        let context = self.options.context;
        // A window may begin and end inside a tile.
        let seen = a.window.map_or(context, |w| context.min(w.saturating_add(keys)));
        let splits = seen.div_ceil(keys).clamp(1, self.options.splits.max(1));
        Shape { columns, slice, values, keys, splits, positions: context.next_multiple_of(KEYS) }
    }

    /// The projections of a block, rotated; keys and values go to the cache of layer `layer`. `w` holds `qkv`
    /// (queries, keys and values, head after head) and `inv_freq`.
    #[track_caller]
    pub fn qkv_rope(&self, step: Step, h: Node, w: W, layer: usize, a: &AttentionConfig) -> (Node, KvCache) {
        let caller = Location::caller();
        let qkv = self.linear("qkv", h, w.get("qkv"), a.q_rows() + a.k_rows() + a.v_rows());
        self.record((h, KvCache { k: 0, v: 0 }), || {
            let (rows, s) = (self.options.rows, self.shape(a));
            // Decoding takes a head's rows together, prompts a row's heads.
            let q = match self.options.purpose {
                Purpose::Decode => self.buffer("q", DType::Bf16, &[a.heads, rows, s.columns]),
                Purpose::Prompt => self.buffer("q", DType::Bf16, &[rows, a.heads * s.columns]),
            };
            let cache = |name: &str, columns: usize| {
                let dims = [a.kv_heads, s.positions, columns + PITCH];
                self.buffer(&format!("layers.{layer}.{name}"), DType::Bf16, &dims)
            };
            let (k, v) = (cache("k", s.columns), cache("v", s.values));
            let half = a.rotary_dim() / 2;
            let rest = a.head_dim - 2 * half;
            let inv_freq = Operand::Weight { id: self.vector(&w.get("inv_freq"), half)? };
            let block = self.block_rows();
            let mut generics = vec![block, a.head_dim, a.v_head_dim, half, power(half), rest, power(rest), s.values];
            let def = match self.options.purpose {
                Purpose::Decode => rope::rope_cache::DEF,
                Purpose::Prompt => {
                    generics.push(s.columns);
                    rope::rope_rows::DEF
                }
            };
            self.picked("rope", def.name, &format!("{block} rows of a head at a time"));
            let scale = std::f32::consts::LOG2_E / (a.head_dim as f32).sqrt();
            let mut operands = vec![self.whole(qkv.buffer), inv_freq, self.whole(step.state)];
            operands.extend([q, k, v].map(|b| self.whole(b)));
            operands.extend([Operand::F32(scale), Operand::F32(a.value_scale)]);
            self.push(caller, "rope", def, generics.into_iter().map(Into::into).collect(), operands)?;
            Ok((Node { buffer: q, columns: a.heads * s.columns, norm: None }, KvCache { k, v }))
        })
    }

    /// Attention of the block's queries over the cache: [rows, heads · values]. `sinks` are logits, one for each head.
    #[track_caller]
    pub fn attention(&self, step: Step, q: Node, cache: KvCache, a: &AttentionConfig, sinks: Option<W>) -> Node {
        let caller = Location::caller();
        self.record(q, || self.attend(caller, step, q, cache, a, sinks))
    }

    fn attend(
        &self,
        caller: &Location<'_>,
        step: Step,
        q: Node,
        cache: KvCache,
        a: &AttentionConfig,
        sinks: Option<W>,
    ) -> Result<Node> {
        let (rows, s) = (self.options.rows, self.shape(a));
        let window = Operand::I32(a.window.map_or(1 << 30, |w| w.min(1 << 30) as i32));
        if let Some(spans) = step.spans {
            return self.attend_chunk(caller, spans, q, cache, a, sinks);
        }
        let part = self.buffer("part", DType::F32, &[rows, s.splits, a.heads, s.values]);
        let top = self.buffer("top", DType::F32, &[rows, a.heads, s.splits]);
        let sum = self.buffer("sum", DType::F32, &[rows, a.heads, s.splits]);
        let padded = power(a.group()).max(16);
        let (kp, vp) = (s.columns + PITCH, s.values + PITCH);
        let generics = [a.group(), padded, s.columns / s.slice, s.slice, kp, s.values, vp, s.keys];
        let mut operands = vec![self.view(q.buffer, &[a.heads, rows * s.columns])];
        operands.extend([cache.k, cache.v, step.state, part, top, sum].map(|b| self.whole(b)));
        operands.push(window.clone());
        self.push(caller, "attention", attention::attention::DEF, generics.map(Into::into).to_vec(), operands)?;

        let columns = a.o_cols();
        let out = self.buffer("attended", DType::Bf16, &[rows, columns]);
        let generics = [a.v_head_dim, s.values, power(s.splits), s.keys].map(Into::into).to_vec();
        let mut operands = [part, top, sum].map(|b| self.whole(b)).to_vec();
        let def = match sinks {
            Some(w) => {
                operands.push(Operand::Weight { id: self.vector(&w, a.heads)? });
                attention::combine_sink::DEF
            }
            None => attention::combine::DEF,
        };
        operands.extend([self.whole(step.state), self.whole(out), window]);
        self.push(caller, "combine", def, generics, operands)?;
        Ok(Node { buffer: out, columns, norm: None })
    }

    /// Attention of a whole chunk, without splits.
    fn attend_chunk(
        &self,
        caller: &Location<'_>,
        spans: Spans,
        q: Node,
        cache: KvCache,
        a: &AttentionConfig,
        sinks: Option<W>,
    ) -> Result<Node> {
        let (rows, s) = (self.options.rows, self.shape(a));
        // Warpgroups read both operands where they are staged; narrower ones are held in registers, which are short then.
        let most = if s.slice.min(s.values) >= WARPGROUPS { KEYS } else { KEYS / 2 };
        // As many keys, and of values as many rows, as one copy brings.
        let fitting = |bytes: usize| most.ilog2().min((self.options.slot_bytes / bytes).max(16).ilog2());
        let keys = 1usize << fitting(2 * s.slice);
        let part = keys.min(1 << fitting(2 * s.values));
        let generics = [QUERIES, keys, s.columns / s.slice, s.slice, keys / part, part, s.values];
        let why =
            format!("tiles of {QUERIES} rows × {keys} keys, {} wide for keys and {} for values", s.columns, s.values);
        self.picked("attention", prefill::prefill::DEF.name, &why);
        let padded = self.buffer("heads", DType::Bf16, &[rows, a.heads * s.values]);
        let sinks = match sinks {
            Some(w) => self.vector(&w, a.heads)?,
            None => self.declare(&format!("no_sinks.{}", a.heads), DType::F32, &[a.heads]),
        };
        let in_one_page =
            |cache: usize, columns: usize| self.view(cache, &[1, a.kv_heads, s.positions, columns + PITCH]);
        let mut operands = vec![self.whole(q.buffer), in_one_page(cache.k, s.columns), in_one_page(cache.v, s.values)];
        operands.extend([spans.pages, spans.rows, spans.keys].map(|b| self.whole(b)));
        operands.extend([Operand::Weight { id: sinks }, self.whole(padded)]);
        let window = a.window.map_or(1 << 30, |w| w.min(1 << 30) as i32);
        operands.extend([rows.div_ceil(QUERIES) as i32, window, 0].map(Operand::I32));
        self.push(caller, "attention", prefill::prefill::DEF, generics.map(Into::into).to_vec(), operands)?;
        let columns = a.o_cols();
        if s.values == a.v_head_dim {
            return Ok(Node { buffer: padded, columns, norm: None });
        }
        let def = attention::without_padding::DEF;
        self.picked("values", def.name, &format!("values of {} are padded to {}", a.v_head_dim, s.values));
        let out = self.buffer("attended", DType::Bf16, &[rows, columns]);
        let operands =
            vec![self.view(padded, &[rows, a.heads, s.values]), self.view(out, &[rows, a.heads, a.v_head_dim])];
        self.push(caller, "values", def, vec![s.values.into()], operands)?;
        Ok(Node { buffer: out, columns, norm: None })
    }
}
