//! Model configurations: a Hugging Face `config.json` read into one typed description.
//!
//! [`ModelConfig::open`] reads a model folder. Llama and MiMo-V2 are supported, MiMo-V2 both in the form of the
//! published checkpoints and in that of the transformers library. Whatever the form, the result lists every layer with
//! its own attention and MLP, so nothing downstream asks for a family or a period of layers. Errors name the file, the
//! field and what to do.

pub mod fields;
mod llama;
mod mimo;
mod rope;

use std::path::Path;

pub use fields::ConfigError;
use fields::{Fields, read_json};
pub use rope::{RopeConfig, RopeScaling};

/// The largest values accepted, far above any model's, so that no product of them overflows.
mod limits {
    pub const LAYERS: usize = 1 << 12;
    pub const HIDDEN: usize = 1 << 20;
    pub const VOCAB: usize = 1 << 24;
    pub const HEADS: usize = 1 << 14;
    pub const HEAD_DIM: usize = 1 << 14;
    pub const INNER: usize = 1 << 24;
    pub const EXPERTS: usize = 1 << 16;
    pub const POSITIONS: usize = 1 << 31;
}

/// The families of models, which differ in names of tensors and fields, not in structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2, 3 and what follows their form.
    Llama,
    /// MiMo-V2-Flash, V2.5 and V2.6 (text).
    MimoV2,
}

/// Where the rows of the query, key and value projections lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvLayout {
    /// In three tensors, `q_proj`, `k_proj` and `v_proj`.
    Apart,
    /// In one tensor, `qkv_proj`, as `chunks` runs of rows `[Q|K|V]`, each with its share of all heads.
    Fused {
        /// Number of chunks; it divides the heads and KV heads of every layer.
        chunks: usize,
    },
}

/// Attention of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionConfig {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a query or key head; scores are divided by its square root.
    pub head_dim: usize,
    /// Width of a value head.
    pub v_head_dim: usize,
    /// The rotary embedding of queries and keys.
    pub rope: RopeConfig,
    /// Keys a position sees, itself included; `None` for all before it.
    pub window: Option<usize>,
    /// Whether each head has a sink: one more logit in the softmax, without a value.
    pub sink: bool,
    /// What values are multiplied by before attention (and before they are cached).
    pub value_scale: f32,
}

impl AttentionConfig {
    /// Rotated dimensions of a head.
    pub fn rotary_dim(&self) -> usize {
        self.rope.dim
    }

    /// Query heads that share a KV head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Rows of the query projection.
    pub fn q_rows(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Rows of the key projection.
    pub fn k_rows(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Rows of the value projection.
    pub fn v_rows(&self) -> usize {
        self.kv_heads * self.v_head_dim
    }

    /// Columns of the output projection.
    pub fn o_cols(&self) -> usize {
        self.heads * self.v_head_dim
    }
}

/// The MLP of one layer, always gated: down(silu(gate·h) · up·h).
#[derive(Clone, Debug, PartialEq)]
pub enum Mlp {
    /// One for all tokens.
    Dense {
        /// Rows of gate and up.
        inner: usize,
    },
    /// Routed experts: sigmoid scores, a correction bias that only selects, the best `top_k`.
    Experts {
        /// Number of experts.
        count: usize,
        /// Experts a token goes to, at most `count`.
        top_k: usize,
        /// Rows of an expert's gate and up.
        inner: usize,
        /// What the chosen experts' weights are multiplied by.
        scaling: f32,
        /// Whether the chosen weights are divided by their sum.
        normalize: bool,
    },
}

/// One layer: attention, then MLP, each after an RMS norm and added to the residual.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerConfig {
    /// The attention.
    pub attention: AttentionConfig,
    /// The MLP.
    pub mlp: Mlp,
}

/// What the configuration says about quantised tensors. Which tensors are quantised shows in their stored type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantization {
    /// E4M3 weights with one scale per 128 × 128 block may occur.
    pub fp8: bool,
    /// MXFP4 weights (E2M1, one E8M0 scale per 32 columns) may occur.
    pub mxfp4: bool,
}

/// A whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of tokens, rows of the embedding and of the head.
    pub vocab: usize,
    /// The epsilon of every RMS norm.
    pub eps: f32,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Positions the model is meant for.
    pub max_positions: usize,
    /// The layers, first to last.
    pub layers: Vec<LayerConfig>,
    /// How query, key and value projections are stored.
    pub qkv_layout: QkvLayout,
    /// Quantised formats that may occur.
    pub quantization: Quantization,
    /// The token a text begins with, if the model has one.
    pub bos: Option<u32>,
    /// Tokens that end a text; `generation_config.json` goes before `config.json`. May be empty.
    pub eos: Vec<u32>,
}

impl ModelConfig {
    /// Reads `config.json`, and `generation_config.json` where there is one, of a model folder.
    pub fn open(folder: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::from_file(&folder.join("config.json"))?;
        let generation = folder.join("generation_config.json");
        if generation.exists() {
            let map = read_json(&generation)?;
            let eos = Fields::new(&generation, &map).token_ids("eos_token_id", config.vocab)?;
            if !eos.is_empty() {
                config.eos = eos;
            }
        }
        Ok(config)
    }

    /// Reads one `config.json`.
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        let map = read_json(file)?;
        let fields = Fields::new(file, &map);
        let model_type = fields.text_opt("model_type")?;
        match model_type {
            Some("llama") => llama::read(&fields),
            Some("mimo_v2" | "mimo_v2_flash") => mimo::read(&fields),
            other => {
                let problem = other.map_or("is missing".into(), |name| format!("is \"{name}\""));
                Err(fields.error("model_type", problem, "supported models are llama, mimo_v2 and mimo_v2_flash"))
            }
        }
    }

    /// The same model with every sliding window `by` keys wider. Implementations disagree whether a window of n counts
    /// the position itself (n keys, the default here) or n before it (widen by 1).
    pub fn with_wider_windows(mut self, by: usize) -> Self {
        for layer in &mut self.layers {
            layer.attention.window = layer.attention.window.map(|w| w.saturating_add(by));
        }
        self
    }

    /// Layers whose attention has no window.
    pub fn full_layers(&self) -> Vec<usize> {
        let full = self.layers.iter().enumerate().filter(|(_, l)| l.attention.window.is_none());
        full.map(|(l, _)| l).collect()
    }
}

/// The quantisation section, with everything in it that isn't supported refused.
fn quantization(fields: &Fields<'_>) -> Result<Quantization, ConfigError> {
    let Some(section) = fields.section_opt("quantization_config")? else { return Ok(Quantization::default()) };
    if section.get("quant_method").is_none() {
        let advice = "\"fp8\" is supported; without quantisation, remove quantization_config";
        return Err(section.error("quant_method", "is missing", advice));
    }
    section.only("quant_method", &"fp8".into())?;
    section.only("fmt", &"e4m3".into())?;
    section.only("weight_block_size", &serde_json::json!([128, 128]))?;
    section.only("store_dtype", &"mxfp4".into())?;
    section.only("mxfp4_block_size", &32.into())?;
    section.list_opt("ignored_layers")?;
    Ok(Quantization { fp8: true, mxfp4: section.get("store_dtype").is_some() })
}

/// Heads of one kind of attention, with the divisibility that everything downstream relies on checked.
fn check_heads(fields: &Fields<'_>, name: &str, heads: usize, kv_heads: usize) -> Result<(), ConfigError> {
    if heads.is_multiple_of(kv_heads) {
        return Ok(());
    }
    let problem = format!("is {kv_heads}, which doesn't divide the {heads} query heads");
    Err(fields.error(name, problem, "each KV head must serve the same number of query heads"))
}
