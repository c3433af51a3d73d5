//! `config.json` of Llama models.

use super::fields::{ConfigError, Fields};
use super::{
    AttentionConfig, Family, LayerConfig, Mlp, ModelConfig, QkvLayout, RopeConfig, check_heads, limits, quantization,
};

pub(super) fn read(f: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    f.only("hidden_act", &"silu".into())?;
    f.only("attention_bias", &false.into())?;
    f.only("mlp_bias", &false.into())?;
    let hidden = f.count("hidden_size", limits::HIDDEN)?;
    let heads = f.count("num_attention_heads", limits::HEADS)?;
    let kv_heads = f.count_opt("num_key_value_heads", limits::HEADS)?.unwrap_or(heads);
    check_heads(f, "num_key_value_heads", heads, kv_heads)?;
    let head_dim = match f.count_opt("head_dim", limits::HEAD_DIM)? {
        Some(given) => given,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let problem = format!("is missing, and {heads} heads don't divide a hidden size of {hidden}");
            return Err(f.error("head_dim", problem, "add it"));
        }
    };
    let vocab = f.count("vocab_size", limits::VOCAB)?;
    let section = match f.section_opt("rope_parameters")? {
        Some(section) => Some(section),
        None => f.section_opt("rope_scaling")?,
    };
    let theta = match section.as_ref().map(|s| s.positive_opt("rope_theta")).transpose()?.flatten() {
        Some(theta) => theta,
        None => f.positive_opt("rope_theta")?.unwrap_or(10_000.0),
    };
    let layer = LayerConfig {
        attention: AttentionConfig {
            heads,
            kv_heads,
            head_dim,
            v_head_dim: head_dim,
            rope: RopeConfig::read(f, section.as_ref(), theta, head_dim)?,
            window: None,
            sink: false,
            value_scale: 1.0,
        },
        mlp: Mlp::Dense { inner: f.count("intermediate_size", limits::INNER)? },
    };
    Ok(ModelConfig {
        family: Family::Llama,
        hidden,
        vocab,
        eps: f.epsilon("rms_norm_eps")?,
        tied: f.flag("tie_word_embeddings", false)?,
        max_positions: f.count("max_position_embeddings", limits::POSITIONS)?,
        layers: vec![layer; f.count("num_hidden_layers", limits::LAYERS)?],
        qkv_layout: QkvLayout::Apart,
        quantization: quantization(f)?,
        bos: f.token_ids("bos_token_id", vocab)?.first().copied(),
        eos: f.token_ids("eos_token_id", vocab)?,
    })
}
