//! The whole forward pass over a text, with a cache for going on from there.

use super::moe::{self, Route};
use super::ops::{self, AttentionShape, Precision};
use crate::checkpoint::{CheckpointError, GatedMlp, Matrix, Qkv, Router, Weights};
use crate::config::{LayerConfig, Mlp, ModelConfig};

/// Why the reference can't run.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// A weight can't be had.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A token id isn't in the vocabulary.
    #[error("token {id} at position {position} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// Its position in the text.
        position: usize,
        /// Number of tokens.
        vocab: usize,
    },
}

enum MlpWeights<'a> {
    Dense(Box<GatedMlp<'a>>),
    Experts { router: Router, experts: Vec<GatedMlp<'a>>, top_k: usize, scaling: f32, normalize: bool },
}

struct LayerWeights<'a> {
    attention_norm: Vec<f32>,
    qkv: Qkv<'a>,
    sink: Option<Vec<f32>>,
    o_proj: Matrix<'a>,
    mlp_norm: Vec<f32>,
    mlp: MlpWeights<'a>,
    inv_freq: Vec<f64>,
}

/// Keys (after the rotary embedding) and values (after their scale) of one layer, position after position from 0.
#[derive(Clone, Debug, Default)]
pub struct LayerCache {
    /// [positions, kv_heads, head_dim].
    pub k: Vec<f32>,
    /// [positions, kv_heads, v_head_dim].
    pub v: Vec<f32>,
}

/// What has been computed for the positions so far.
#[derive(Clone, Debug)]
pub struct Cache {
    /// One for each layer.
    pub layers: Vec<LayerCache>,
    /// Number of positions.
    pub len: usize,
}

/// What one layer gives.
#[derive(Clone, Debug)]
pub struct LayerOutput {
    /// The residual after the layer, [T, hidden].
    pub hidden: Vec<f32>,
    /// Where the tokens went; empty for a dense layer.
    pub routes: Vec<Route>,
}

/// Everything a forward pass over T tokens saw.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Layers + 1 times [T, hidden]: the embedding, the residual after each layer but the last, and the final norm's
    /// output.
    pub hidden: Vec<Vec<f32>>,
    /// The residual after the last layer, before the final norm, [T, hidden].
    pub last: Vec<f32>,
    /// For each layer where the tokens went; empty for dense layers.
    pub routes: Vec<Vec<Route>>,
    /// [T, vocab].
    pub logits: Vec<f32>,
}

/// A model ready to run. Weights stay in their stored precision and are dequantised row by row as they are used.
pub struct Reference<'a> {
    config: &'a ModelConfig,
    embed: Matrix<'a>,
    layers: Vec<LayerWeights<'a>>,
    norm: Vec<f32>,
    head: Matrix<'a>,
    precision: Precision,
}

impl<'a> Reference<'a> {
    /// Looks all weights up.
    pub fn new(weights: &Weights<'a>) -> Result<Self, CheckpointError> {
        let config = weights.config();
        let layers = config.layers.iter().enumerate().map(|(l, layer)| LayerWeights::new(weights, l, layer));
        Ok(Reference {
            config,
            embed: weights.embed()?,
            layers: layers.collect::<Result<_, _>>()?,
            norm: weights.final_norm()?,
            head: weights.lm_head()?,
            precision: Precision::F32,
        })
    }

    /// The same model with operands rounded as `precision` says. In native precision queries, keys and values are
    /// rounded, as a bf16 cache holds them; the softmax's probabilities stay f32.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The model's configuration.
    pub fn config(&self) -> &'a ModelConfig {
        self.config
    }

    /// A cache of no positions.
    pub fn cache(&self) -> Cache {
        Cache { layers: vec![LayerCache::default(); self.layers.len()], len: 0 }
    }

    /// The embeddings of the tokens, [T, hidden].
    pub fn embed(&self, ids: &[u32]) -> Result<Vec<f32>, ReferenceError> {
        let mut out = vec![0.0; ids.len() * self.config.hidden];
        for (position, (&id, out)) in ids.iter().zip(out.chunks_exact_mut(self.config.hidden)).enumerate() {
            if id as usize >= self.config.vocab {
                return Err(ReferenceError::Token { id, position, vocab: self.config.vocab });
            }
            self.embed.read_row(id as usize, out);
        }
        Ok(out)
    }

    /// One layer over the positions `first` … `first` + T − 1: `x` [T, hidden] is the residual before it. `cache` holds
    /// the layer's positions below `first` and gets the new ones. `layer` must be below the number of layers.
    pub fn layer(&self, layer: usize, x: &[f32], first: usize, cache: &mut LayerCache) -> LayerOutput {
        let (w, eps) = (&self.layers[layer], self.config.eps);
        let attended = self.attention(layer, &ops::rms_norm(x, &w.attention_norm, eps), first, cache);
        let mut hidden = add(x, &attended);
        let h = ops::rms_norm(&hidden, &w.mlp_norm, eps);
        let (y, routes) = match &w.mlp {
            MlpWeights::Dense(mlp) => (ops::swiglu(&h, mlp, self.precision), Vec::new()),
            MlpWeights::Experts { router, experts, top_k, scaling, normalize } => {
                let routes = moe::route(&h, &router.weight, &router.bias, *top_k, *normalize, *scaling);
                (moe::experts(&h, &routes, experts, self.precision), routes)
            }
        };
        hidden = add(&hidden, &y);
        LayerOutput { hidden, routes }
    }

    /// Attention of one layer, output projection included: `h` [T, hidden] is the norm's output, gives [T, hidden].
    fn attention(&self, layer: usize, h: &[f32], first: usize, cache: &mut LayerCache) -> Vec<f32> {
        let (w, a) = (&self.layers[layer], &self.config.layers[layer].attention);
        let tokens = h.len() / self.config.hidden;
        let positions: Vec<usize> = (first..first + tokens).collect();
        let [mut q, mut k, mut v] = [&w.qkv.q, &w.qkv.k, &w.qkv.v].map(|m| ops::linear(h, m, self.precision));
        ops::rope(&mut q, a.heads, a.head_dim, &positions, &w.inv_freq);
        ops::rope(&mut k, a.kv_heads, a.head_dim, &positions, &w.inv_freq);
        v.iter_mut().for_each(|v| *v *= a.value_scale);
        [&mut q, &mut k, &mut v].into_iter().for_each(|x| self.precision.round(x));
        cache.k.extend(k);
        cache.v.extend(v);
        let shape = AttentionShape {
            heads: a.heads,
            kv_heads: a.kv_heads,
            head_dim: a.head_dim,
            v_head_dim: a.v_head_dim,
            window: a.window,
        };
        let cached: Vec<usize> = (0..first + tokens).collect();
        let out = ops::attention(&shape, &q, &positions, &cache.k, &cache.v, &cached, w.sink.as_deref());
        ops::linear(&out, &w.o_proj, self.precision)
    }

    /// The final norm's output, [T, hidden], for the residual after the last layer.
    pub fn final_norm(&self, x: &[f32]) -> Vec<f32> {
        ops::rms_norm(x, &self.norm, self.config.eps)
    }

    /// Logits, [T, vocab], for the final norm's output.
    pub fn head(&self, normed: &[f32]) -> Vec<f32> {
        ops::linear(normed, &self.head, self.precision)
    }

    /// A forward pass over the tokens that follow those in the cache.
    pub fn forward(&self, ids: &[u32], cache: &mut Cache) -> Result<Trace, ReferenceError> {
        let mut x = self.embed(ids)?;
        let (mut hidden, mut routes) = (Vec::with_capacity(self.layers.len() + 1), Vec::new());
        for l in 0..self.layers.len() {
            let out = self.layer(l, &x, cache.len, &mut cache.layers[l]);
            hidden.push(std::mem::replace(&mut x, out.hidden));
            routes.push(out.routes);
        }
        cache.len += ids.len();
        let normed = self.final_norm(&x);
        let logits = self.head(&normed);
        hidden.push(normed);
        Ok(Trace { hidden, last: x, routes, logits })
    }

    /// The `count` tokens that follow `prompt` when the largest logit is always chosen; empty for an empty prompt. Ends
    /// at nothing.
    pub fn greedy(&self, prompt: &[u32], count: usize) -> Result<Vec<u32>, ReferenceError> {
        let (mut cache, mut out, mut next) = (self.cache(), Vec::with_capacity(count), prompt.to_vec());
        while out.len() < count && !next.is_empty() {
            let logits = self.forward(&next, &mut cache)?.logits;
            let best = ops::argmax(&logits[logits.len() - self.config.vocab..]).map(|best| best as u32);
            next = best.into_iter().collect();
            out.extend(best);
        }
        Ok(out)
    }
}

impl<'a> LayerWeights<'a> {
    fn new(weights: &Weights<'a>, l: usize, layer: &LayerConfig) -> Result<Self, CheckpointError> {
        let mlp = match layer.mlp {
            Mlp::Dense { .. } => MlpWeights::Dense(weights.dense(l)?.into()),
            Mlp::Experts { count, top_k, scaling, normalize, .. } => MlpWeights::Experts {
                router: weights.router(l)?,
                experts: (0..count).map(|e| weights.expert(l, e)).collect::<Result<_, _>>()?,
                top_k,
                scaling,
                normalize,
            },
        };
        Ok(LayerWeights {
            attention_norm: weights.attention_norm(l)?,
            qkv: weights.qkv(l)?,
            sink: weights.sink(l)?,
            o_proj: weights.o_proj(l)?,
            mlp_norm: weights.mlp_norm(l)?,
            mlp,
            inv_freq: layer.attention.rope.inv_freq(),
        })
    }
}

fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}
