//! `config.json` of MiMo-V2 models, in the published form and in that of the transformers library.

use super::fields::{ConfigError, Fields};
use super::{
    AttentionConfig, Family, LayerConfig, Mlp, ModelConfig, QkvLayout, RopeConfig, check_heads, limits, quantization,
};

pub(super) fn read(f: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    refuse_unsupported(f)?;
    let count = f.count("num_hidden_layers", limits::LAYERS)?;
    let sliding = kinds(f, count, "hybrid_layer_pattern", "layer_types", ["full_attention", "sliding_attention"])?;
    let sparse = kinds(f, count, "moe_layer_freq", "mlp_layer_types", ["dense", "sparse"])?;
    let full = sliding.contains(&false).then(|| attention(f, false)).transpose()?;
    let swa = sliding.contains(&true).then(|| attention(f, true)).transpose()?;
    let dense = sparse.contains(&false).then(|| f.count("intermediate_size", limits::INNER)).transpose()?;
    let experts = sparse.contains(&true).then(|| experts(f)).transpose()?;
    let mut layers = Vec::with_capacity(count);
    for (&sliding, &sparse) in sliding.iter().zip(&sparse) {
        let attention = if sliding { &swa } else { &full };
        let mlp = if sparse { experts.clone() } else { dense.map(|inner| Mlp::Dense { inner }) };
        // Both were read above for the kinds that occur.
        layers.extend(attention.clone().zip(mlp).map(|(attention, mlp)| LayerConfig { attention, mlp }));
    }
    let qkv_layout = qkv_layout(f, &layers)?;
    let vocab = f.count("vocab_size", limits::VOCAB)?;
    let eps = if f.get("layernorm_epsilon").is_some() { "layernorm_epsilon" } else { "rms_norm_eps" };
    Ok(ModelConfig {
        family: Family::MimoV2,
        hidden: f.count("hidden_size", limits::HIDDEN)?,
        vocab,
        eps: f.epsilon(eps)?,
        tied: f.flag("tie_word_embeddings", false)?,
        max_positions: f.count("max_position_embeddings", limits::POSITIONS)?,
        layers,
        qkv_layout,
        quantization: quantization(f)?,
        bos: f.token_ids("bos_token_id", vocab)?.first().copied(),
        eos: f.token_ids("eos_token_id", vocab)?,
    })
}

/// Fields whose other values would need code that isn't there.
fn refuse_unsupported(f: &Fields<'_>) -> Result<(), ConfigError> {
    f.only("hidden_act", &"silu".into())?;
    f.only("attention_bias", &false.into())?;
    f.only("scoring_func", &"sigmoid".into())?;
    f.only("topk_method", &"noaux_tc".into())?;
    f.only("n_group", &1.into())?;
    f.only("topk_group", &1.into())?;
    f.only("n_shared_experts", &0.into())
}

/// Which layers are of the second of two kinds: from a list of 0 and 1 (published), a list of names (transformers), or
/// both, where they agree.
fn kinds(f: &Fields<'_>, count: usize, bits: &str, names: &str, known: [&str; 2]) -> Result<Vec<bool>, ConfigError> {
    let sized = |field: &str, found: usize| {
        let problem = format!("has {found} entries for {count} layers");
        if found == count { Ok(()) } else { Err(f.error(field, problem, "expected one entry per layer")) }
    };
    let mut found: Option<Vec<bool>> = None;
    if let Some(list) = f.list_opt(bits)? {
        sized(bits, list.len())?;
        let bit = |v: &serde_json::Value| v.as_u64().filter(|&b| b < 2).map(|b| b == 1);
        let parsed: Option<Vec<bool>> = list.iter().map(bit).collect();
        found = Some(parsed.ok_or_else(|| f.error(bits, "holds something else than 0 and 1", "expected 0 or 1"))?);
    }
    if let Some(list) = f.list_opt(names)? {
        sized(names, list.len())?;
        let expected = format!("expected \"{}\" or \"{}\"", known[0], known[1]);
        let bit = |v: &serde_json::Value| known.iter().position(|k| v.as_str() == Some(k)).map(|at| at == 1);
        let parsed: Option<Vec<bool>> = list.iter().map(bit).collect();
        let parsed = parsed.ok_or_else(|| f.error(names, "holds an unknown kind of layer", expected))?;
        if found.as_ref().is_some_and(|bits| *bits != parsed) {
            return Err(f.error(names, format!("contradicts `{bits}`"), "remove the wrong one"));
        }
        found = Some(parsed);
    }
    found.ok_or_else(|| f.error(bits, "is missing", format!("add it (0 or 1 for each layer), or `{names}`")))
}

/// The attention of one kind of layer; fields of sliding layers fall back on those of full ones where the form allows.
fn attention(f: &Fields<'_>, sliding: bool) -> Result<AttentionConfig, ConfigError> {
    // The transformers form has one set of head counts, and sliding layers with twice the KV heads.
    let published = f.get("hybrid_layer_pattern").is_some();
    let own = |swa: &str, full: &str, most: usize| match f.count_opt(swa, most)?.filter(|_| sliding) {
        Some(n) => Ok(n),
        None => f.count(full, most),
    };
    let heads = own("swa_num_attention_heads", "num_attention_heads", limits::HEADS)?;
    let (kv_name, kv_heads) = match (sliding, f.count_opt("swa_num_key_value_heads", limits::HEADS)?) {
        (true, Some(n)) => ("swa_num_key_value_heads", n),
        (true, None) if published => {
            return Err(f.error("swa_num_key_value_heads", "is missing", "add it: KV heads of sliding layers"));
        }
        (true, None) => ("num_key_value_heads", 2 * f.count("num_key_value_heads", limits::HEADS)?),
        (false, _) => ("num_key_value_heads", f.count("num_key_value_heads", limits::HEADS)?),
    };
    check_heads(f, kv_name, heads, kv_heads)?;
    let head_dim = own("swa_head_dim", "head_dim", limits::HEAD_DIM)?;
    let sink = if sliding { "add_swa_attention_sink_bias" } else { "add_full_attention_sink_bias" };
    Ok(AttentionConfig {
        heads,
        kv_heads,
        head_dim,
        v_head_dim: own("swa_v_head_dim", "v_head_dim", limits::HEAD_DIM)?,
        rope: rope(f, sliding, head_dim)?,
        window: sliding.then(|| window(f)).transpose()?,
        sink: f.flag(sink, sliding && !published)?,
        value_scale: f.positive_opt("attention_value_scale")?.unwrap_or(1.0) as f32,
    })
}

fn rope(f: &Fields<'_>, sliding: bool, head_dim: usize) -> Result<RopeConfig, ConfigError> {
    let section = f.section_opt("rope_parameters")?;
    let kind = if sliding { "sliding_attention" } else { "full_attention" };
    if let Some(own) = section.as_ref().map(|s| s.section_opt(kind)).transpose()?.flatten() {
        return RopeConfig::read(f, Some(&own), own.positive("rope_theta")?, head_dim);
    }
    if sliding {
        // A flat section is about the full layers.
        return RopeConfig::read(f, None, f.positive("swa_rope_theta")?, head_dim);
    }
    let flat = section.as_ref().map(|s| s.positive_opt("rope_theta")).transpose()?.flatten();
    let theta = match (f.positive_opt("rope_theta")?, flat) {
        (Some(top), Some(flat)) if top != flat => {
            let problem = format!("is {top}, but `rope_parameters.rope_theta` is {flat}");
            return Err(f.error("rope_theta", problem, "remove the wrong one"));
        }
        (Some(theta), _) | (None, Some(theta)) => theta,
        (None, None) => f.positive("rope_theta")?,
    };
    RopeConfig::read(f, section.as_ref(), theta, head_dim)
}

fn window(f: &Fields<'_>) -> Result<usize, ConfigError> {
    match (f.count_opt("sliding_window", limits::POSITIONS)?, f.count_opt("sliding_window_size", limits::POSITIONS)?) {
        (Some(a), Some(b)) if a != b => {
            let problem = format!("is {a}, but `sliding_window_size` is {b}");
            Err(f.error("sliding_window", problem, "remove the wrong one"))
        }
        (Some(window), _) | (None, Some(window)) => Ok(window),
        (None, None) => f.count("sliding_window", limits::POSITIONS),
    }
}

fn experts(f: &Fields<'_>) -> Result<Mlp, ConfigError> {
    let count = f.count("n_routed_experts", limits::EXPERTS)?;
    let top_k = f.count("num_experts_per_tok", limits::EXPERTS)?;
    if top_k > count {
        let problem = format!("is {top_k}, but there are {count} experts");
        return Err(f.error("num_experts_per_tok", problem, "expected at most n_routed_experts"));
    }
    Ok(Mlp::Experts {
        count,
        top_k,
        inner: f.count("moe_intermediate_size", limits::INNER)?,
        scaling: f.positive_opt("routed_scaling_factor")?.unwrap_or(1.0) as f32,
        normalize: f.flag("norm_topk_prob", true)?,
    })
}

fn qkv_layout(f: &Fields<'_>, layers: &[LayerConfig]) -> Result<QkvLayout, ConfigError> {
    match f.text_opt("attention_projection_layout")? {
        None | Some("split") => Ok(QkvLayout::Apart),
        Some("fused_qkv") => {
            let chunks = f.count("num_key_value_heads", limits::HEADS)?;
            let uneven = layers.iter().position(|l| !l.attention.kv_heads.is_multiple_of(chunks));
            match uneven {
                // KV heads divide query heads, so the chunks divide both.
                None => Ok(QkvLayout::Fused { chunks }),
                Some(l) => Err(f.error(
                    "num_key_value_heads",
                    format!(
                        "is {chunks}, the number of chunks of fused projections, which doesn't divide the {} KV heads \
                        of layer {l}",
                        layers[l].attention.kv_heads
                    ),
                    "the KV heads of every layer must be a multiple of it",
                )),
            }
        }
        Some(other) => {
            let advice = "supported layouts are \"split\" and \"fused_qkv\"";
            Err(f.error("attention_projection_layout", format!("is \"{other}\""), advice))
        }
    }
}
