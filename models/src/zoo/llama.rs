//! Llama 2, 3 and what follows their form.

use crate::config::{Mlp, ModelConfig};
use crate::graph::{Graph, W};
use tile_lang::tile;

/// One pass over a block of tokens.
#[tile::model]
pub fn llama(g: &Graph<'_>, cfg: &ModelConfig, w: W) {
    let step = g.step();
    g.mark("embed");
    let mut x = g.embed(step, w.get("embed"), cfg.hidden);
    for (l, layer) in cfg.layers.iter().enumerate() {
        g.mark(&format!("layer.{l}"));
        let w = w.at("layers", l);
        let h = g.rms_norm(x, w.get("attention_norm"), cfg.eps);
        let (q, cache) = g.qkv_rope(step, h, w.clone(), l, &layer.attention);
        let a = g.attention(step, q, cache, &layer.attention, None);
        x = g.linear_add(a, w.get("o"), x);
        let h = g.rms_norm(x, w.get("mlp_norm"), cfg.eps);
        if let Mlp::Dense { inner } = layer.mlp {
            x = g.swiglu_add(h, w.get("mlp"), inner, x);
        }
    }
    g.mark("head");
    let h = g.rms_norm(x, w.get("norm"), cfg.eps);
    g.lm_head(step, h, w.get("lm_head"), cfg.vocab);
}
