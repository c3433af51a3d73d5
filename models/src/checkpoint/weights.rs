//! A model's weights by what they are, independent of family, tensor names and layout.
//!
//! The names and shapes of all tensors stand here once, as [`Spec`]s, from which both the accessors and [`validate`]
//! work.

use super::{Checkpoint, CheckpointError, Formats, Matrix, ValidationError};
use crate::config::{AttentionConfig, LayerConfig, Mlp, ModelConfig, QkvLayout};

/// Name and shape of a matrix in the checkpoint.
struct Spec {
    name: String,
    rows: usize,
    cols: usize,
    formats: Formats,
}

/// The projections of one attention, in stored precision.
#[derive(Clone, Debug)]
pub struct Qkv<'a> {
    /// [heads · head_dim, hidden], head after head.
    pub q: Matrix<'a>,
    /// [kv_heads · head_dim, hidden].
    pub k: Matrix<'a>,
    /// [kv_heads · v_head_dim, hidden].
    pub v: Matrix<'a>,
}

/// The matrices of a gated MLP, dense or of one expert.
#[derive(Clone, Debug)]
pub struct GatedMlp<'a> {
    /// [inner, hidden].
    pub gate: Matrix<'a>,
    /// [inner, hidden].
    pub up: Matrix<'a>,
    /// [hidden, inner].
    pub down: Matrix<'a>,
}

/// The router of one layer, in f32 whatever it is stored in.
#[derive(Clone, Debug)]
pub struct Router {
    /// [experts, hidden], row-major.
    pub weight: Vec<f32>,
    /// `[experts]`: added to the scores for the selection only.
    pub bias: Vec<f32>,
}

/// The weights of a model whose checkpoint has been compared with its configuration. Accessors can still fail: scales
/// are looked at only when their matrix is asked for.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    config: &'a ModelConfig,
    checkpoint: &'a Checkpoint,
}

impl<'a> Weights<'a> {
    /// The weights of `config` in `checkpoint`, after [`validate`].
    pub fn new(config: &'a ModelConfig, checkpoint: &'a Checkpoint) -> Result<Self, ValidationError> {
        validate(config, checkpoint)?;
        Ok(Weights { config, checkpoint })
    }

    /// The configuration.
    pub fn config(&self) -> &'a ModelConfig {
        self.config
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &'a Checkpoint {
        self.checkpoint
    }

    /// Token embeddings, [vocab, hidden], plain floats.
    pub fn embed(&self) -> Result<Matrix<'a>, CheckpointError> {
        self.matrix(&embed(self.config))
    }

    /// The head, [vocab, hidden]; the embedding where the two are tied.
    pub fn lm_head(&self) -> Result<Matrix<'a>, CheckpointError> {
        self.matrix(&head(self.config))
    }

    /// Weight of the norm before the head, `[hidden]`.
    pub fn final_norm(&self) -> Result<Vec<f32>, CheckpointError> {
        self.checkpoint.vector(FINAL_NORM, self.config.hidden)
    }

    /// Weight of the norm before attention, `[hidden]`.
    pub fn attention_norm(&self, layer: usize) -> Result<Vec<f32>, CheckpointError> {
        self.checkpoint.vector(&at(layer, ATTENTION_NORM), self.config.hidden)
    }

    /// Weight of the norm before the MLP, `[hidden]`.
    pub fn mlp_norm(&self, layer: usize) -> Result<Vec<f32>, CheckpointError> {
        self.checkpoint.vector(&at(layer, MLP_NORM), self.config.hidden)
    }

    /// The query, key and value projections. Those of a fused tensor are copied out of its chunks.
    pub fn qkv(&self, layer: usize) -> Result<Qkv<'a>, CheckpointError> {
        let attention = &self.layer(layer)?.attention;
        let stored = qkv(self.config, layer, attention);
        match (self.config.qkv_layout, stored.as_slice()) {
            (QkvLayout::Fused { chunks }, [fused]) => {
                let chunks = chunks.max(1);
                let all = self.matrix(fused)?;
                let [q, k, v] = [attention.q_rows(), attention.k_rows(), attention.v_rows()].map(|rows| rows / chunks);
                let take = |from: usize, rows: usize| {
                    let starts = (0..chunks).map(|chunk| chunk * (q + k + v) + from);
                    all.gather_rows(&starts.map(|start| start..start + rows).collect::<Vec<_>>())
                };
                Ok(Qkv { q: take(0, q), k: take(q, k), v: take(q + k, v) })
            }
            (_, [q, k, v]) => Ok(Qkv { q: self.matrix(q)?, k: self.matrix(k)?, v: self.matrix(v)? }),
            _ => Err(CheckpointError::OutOfRange { what: "projection", index: layer, count: stored.len() }),
        }
    }

    /// The output projection, [hidden, heads · v_head_dim].
    pub fn o_proj(&self, layer: usize) -> Result<Matrix<'a>, CheckpointError> {
        self.matrix(&o_proj(self.config, layer, &self.layer(layer)?.attention))
    }

    /// The heads' sink logits, `[heads]`, where the layer has them.
    pub fn sink(&self, layer: usize) -> Result<Option<Vec<f32>>, CheckpointError> {
        let attention = &self.layer(layer)?.attention;
        attention.sink.then(|| self.checkpoint.vector(&at(layer, SINK), attention.heads)).transpose()
    }

    /// The MLP of a dense layer.
    pub fn dense(&self, layer: usize) -> Result<GatedMlp<'a>, CheckpointError> {
        match self.layer(layer)?.mlp {
            Mlp::Dense { inner } => self.gated(gated(self.config, &at(layer, "mlp"), inner)),
            Mlp::Experts { .. } => {
                Err(CheckpointError::OutOfRange { what: "dense MLP of layer", index: layer, count: 0 })
            }
        }
    }

    /// The router of a layer with experts.
    pub fn router(&self, layer: usize) -> Result<Router, CheckpointError> {
        let (count, _) = self.experts(layer)?;
        Ok(Router {
            weight: self.checkpoint.matrix_f32(&at(layer, ROUTER), count, self.config.hidden)?,
            bias: self.checkpoint.vector(&at(layer, ROUTER_BIAS), count)?,
        })
    }

    /// One expert of a layer.
    pub fn expert(&self, layer: usize, expert: usize) -> Result<GatedMlp<'a>, CheckpointError> {
        let (count, inner) = self.experts(layer)?;
        if expert >= count {
            return Err(CheckpointError::OutOfRange { what: "expert", index: expert, count });
        }
        self.gated(gated(self.config, &expert_at(layer, expert), inner))
    }

    fn layer(&self, layer: usize) -> Result<&'a LayerConfig, CheckpointError> {
        let layers = &self.config.layers;
        layers.get(layer).ok_or(CheckpointError::OutOfRange { what: "layer", index: layer, count: layers.len() })
    }

    /// Number of experts of a layer, and their inner width.
    fn experts(&self, layer: usize) -> Result<(usize, usize), CheckpointError> {
        match self.layer(layer)?.mlp {
            Mlp::Experts { count, inner, .. } => Ok((count, inner)),
            Mlp::Dense { .. } => Err(CheckpointError::OutOfRange { what: "router of layer", index: layer, count: 0 }),
        }
    }

    fn gated(&self, [gate, up, down]: [Spec; 3]) -> Result<GatedMlp<'a>, CheckpointError> {
        Ok(GatedMlp { gate: self.matrix(&gate)?, up: self.matrix(&up)?, down: self.matrix(&down)? })
    }

    fn matrix(&self, spec: &Spec) -> Result<Matrix<'a>, CheckpointError> {
        self.checkpoint.matrix(&spec.name, spec.rows, spec.cols, spec.formats)
    }
}

const FINAL_NORM: &str = "model.norm.weight";
const ATTENTION_NORM: &str = "input_layernorm.weight";
const MLP_NORM: &str = "post_attention_layernorm.weight";
const SINK: &str = "self_attn.attention_sink_bias";
const ROUTER: &str = "mlp.gate.weight";
const ROUTER_BIAS: &str = "mlp.gate.e_score_correction_bias";
const FUSED: &str = "self_attn.qkv_proj.weight";

fn at(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}

fn expert_at(layer: usize, expert: usize) -> String {
    at(layer, &format!("mlp.experts.{expert}"))
}

fn spec(config: &ModelConfig, name: String, rows: usize, cols: usize) -> Spec {
    Spec { name, rows, cols, formats: Formats { quantization: config.quantization, chunks: 1 } }
}

fn embed(config: &ModelConfig) -> Spec {
    let formats = Formats::default();
    Spec { formats, ..spec(config, "model.embed_tokens.weight".into(), config.vocab, config.hidden) }
}

fn head(config: &ModelConfig) -> Spec {
    if config.tied { embed(config) } else { spec(config, "lm_head.weight".into(), config.vocab, config.hidden) }
}

/// One fused matrix or three.
fn qkv(config: &ModelConfig, layer: usize, attention: &AttentionConfig) -> Vec<Spec> {
    let sizes = [("q_proj", attention.q_rows()), ("k_proj", attention.k_rows()), ("v_proj", attention.v_rows())];
    match config.qkv_layout {
        QkvLayout::Fused { chunks } => {
            let formats = Formats { quantization: config.quantization, chunks };
            let rows = sizes.iter().map(|(_, rows)| rows).sum();
            vec![Spec { formats, ..spec(config, at(layer, FUSED), rows, config.hidden) }]
        }
        QkvLayout::Apart => {
            let one = |(name, rows)| spec(config, at(layer, &format!("self_attn.{name}.weight")), rows, config.hidden);
            sizes.map(one).into()
        }
    }
}

fn o_proj(config: &ModelConfig, layer: usize, attention: &AttentionConfig) -> Spec {
    spec(config, at(layer, "self_attn.o_proj.weight"), config.hidden, attention.o_cols())
}

fn gated(config: &ModelConfig, prefix: &str, inner: usize) -> [Spec; 3] {
    let name = |part: &str| format!("{prefix}.{part}_proj.weight");
    [
        spec(config, name("gate"), inner, config.hidden),
        spec(config, name("up"), inner, config.hidden),
        spec(config, name("down"), config.hidden, inner),
    ]
}

/// Compares a checkpoint with its configuration: every tensor the model needs is there, in a type and a shape that fit,
/// and none contradicts a field. Elements and scales aren't looked at. All problems are collected.
pub fn validate(config: &ModelConfig, checkpoint: &Checkpoint) -> Result<(), ValidationError> {
    let mut problems = Vec::new();
    let mut keep = |result: Result<(), CheckpointError>| problems.extend(result.err());
    let matrix = |s: Spec| checkpoint.check_matrix_only(&s.name, s.rows, s.cols, s.formats);
    let floats = |name: &str, shape: &[usize]| checkpoint.check_floats(name, shape).map(drop);
    keep(matrix(embed(config)));
    for (l, layer) in config.layers.iter().enumerate() {
        let attention = &layer.attention;
        keep(floats(&at(l, ATTENTION_NORM), &[config.hidden]));
        for s in qkv(config, l, attention) {
            keep(matrix(s));
        }
        keep(matrix(o_proj(config, l, attention)));
        if attention.sink {
            keep(floats(&at(l, SINK), &[attention.heads]));
        }
        keep(floats(&at(l, MLP_NORM), &[config.hidden]));
        match layer.mlp {
            Mlp::Dense { inner } => gated(config, &at(l, "mlp"), inner).into_iter().for_each(|s| keep(matrix(s))),
            Mlp::Experts { count, inner, .. } => {
                keep(floats(&at(l, ROUTER), &[count, config.hidden]));
                keep(floats(&at(l, ROUTER_BIAS), &[count]));
                for e in 0..count {
                    gated(config, &expert_at(l, e), inner).into_iter().for_each(|s| keep(matrix(s)));
                }
            }
        }
        keep(contradictions(config, checkpoint, l, layer));
    }
    keep(floats(FINAL_NORM, &[config.hidden]));
    if !config.tied {
        keep(matrix(head(config)));
    }
    if problems.is_empty() { Ok(()) } else { Err(ValidationError { problems }) }
}

/// Tensors that would be left out in silence if the configuration were believed.
fn contradictions(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    l: usize,
    layer: &LayerConfig,
) -> Result<(), CheckpointError> {
    let absent = |name: String, problem: String| match checkpoint.get(&name) {
        None => Ok(()),
        Some(view) => Err(CheckpointError::Unexpected { file: view.file.to_owned(), tensor: name, problem }),
    };
    if !layer.attention.sink {
        let field = if layer.attention.window.is_some() {
            "add_swa_attention_sink_bias"
        } else {
            "add_full_attention_sink_bias"
        };
        absent(at(l, SINK), format!("config.json gives layer {l} no sink; set {field}"))?;
    }
    match layer.mlp {
        Mlp::Dense { .. } => {
            absent(at(l, ROUTER), format!("config.json makes layer {l} dense; correct the list of layers"))?
        }
        Mlp::Experts { count, .. } => {
            let more = format!("{}.gate_proj.weight", expert_at(l, count));
            absent(more, format!("config.json has {count} experts; correct n_routed_experts"))?;
        }
    }
    if config.qkv_layout == QkvLayout::Apart {
        let problem = "config.json has projections apart; set attention_projection_layout to \"fused_qkv\"";
        absent(at(l, FUSED), problem.into())?;
    }
    for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
        absent(at(l, &format!("self_attn.{part}.bias")), "biases of projections aren't supported".into())?;
    }
    let next = config.layers.len();
    absent(at(next, ATTENTION_NORM), format!("config.json has {next} layers; correct num_hidden_layers"))
}
