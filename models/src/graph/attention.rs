//! Attention: projections, rotary embedding, caches, splits.

use super::pick::power;
use super::{Graph, Node, Result, Step, W};
use crate::config::AttentionConfig;
use crate::kernels::{attention, rope};
use std::panic::Location;
use tile_lang::DType;
use tile_lang::plan::Operand;

/// Most keys in a tile.
const KEYS: usize = 128;
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
    /// Positions in the caches.
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
        Shape { columns, slice, values, keys, splits, positions: context.next_multiple_of(keys) }
    }

    /// The projections of a block, rotated; keys and values go to the cache of layer `layer`. `w` holds `qkv`
    /// (queries, keys and values, head after head) and `inv_freq`.
    #[track_caller]
    pub fn qkv_rope(&self, step: Step, h: Node, w: W, layer: usize, a: &AttentionConfig) -> (Node, KvCache) {
        let caller = Location::caller();
        let qkv = self.linear("qkv", h, w.get("qkv"), a.q_rows() + a.k_rows() + a.v_rows());
        self.record((h, KvCache { k: 0, v: 0 }), || {
            let (rows, s) = (self.options.rows, self.shape(a));
            let q = self.buffer("q", DType::Bf16, &[a.heads, rows, s.columns]);
            let cache = |name: &str, columns: usize| {
                let dims = [a.kv_heads, s.positions, columns + PITCH];
                self.buffer(&format!("layers.{layer}.{name}"), DType::Bf16, &dims)
            };
            let (k, v) = (cache("k", s.columns), cache("v", s.values));
            let half = a.rotary_dim() / 2;
            let rest = a.head_dim - 2 * half;
            let inv_freq = Operand::Weight { id: self.vector(&w.get("inv_freq"), half)? };
            let generics = [rows, a.head_dim, a.v_head_dim, half, power(half), rest, power(rest), s.values];
            let scale = std::f32::consts::LOG2_E / (a.head_dim as f32).sqrt();
            let mut operands = vec![self.whole(qkv.buffer), inv_freq, self.whole(step.state)];
            operands.extend([q, k, v].map(|b| self.whole(b)));
            operands.extend([Operand::F32(scale), Operand::F32(a.value_scale)]);
            self.push(caller, "rope", rope::rope_cache::DEF, generics.map(Into::into).to_vec(), operands)?;
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
}
