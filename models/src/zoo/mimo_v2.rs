//! MiMo-V2-Flash, V2.5 and V2.6 (text).

use crate::config::{Mlp, ModelConfig};
use crate::graph::{Graph, RouteOptions, W};
use tile_lang::tile;

/// One pass over a block of tokens.
#[tile::model]
pub fn mimo_v2(g: &Graph<'_>, cfg: &ModelConfig, w: W) {
    let step = g.step();
    g.mark("embed");
    let mut x = g.embed(step, w.get("embed"), cfg.hidden);
    for (l, layer) in cfg.layers.iter().enumerate() {
        g.mark(&format!("layer.{l}"));
        let w = w.at("layers", l);
        let h = g.rms_norm(x, w.get("attention_norm"), cfg.eps);
        let (q, cache) = g.qkv_rope(step, h, w.clone(), l, &layer.attention);
        let sinks = layer.attention.sink.then(|| w.get("sinks"));
        let a = g.attention(step, q, cache, &layer.attention, sinks);
        x = g.linear_add(a, w.get("o"), x);
        let h = g.rms_norm(x, w.get("mlp_norm"), cfg.eps);
        x = match layer.mlp {
            Mlp::Dense { inner } => g.swiglu_add(h, w.get("mlp"), inner, x),
            Mlp::Experts { count, top_k, inner, scaling, normalize } => {
                let options = RouteOptions { experts: count, top_k, normalize, scaling };
                let r = g.route(step, h, w.clone(), options);
                g.experts_add(h, r, w.get("experts"), inner, x)
            }
        };
    }
    g.mark("head");
    let h = g.rms_norm(x, w.get("norm"), cfg.eps);
    g.lm_head(step, h, w.get("lm_head"), cfg.vocab);
}
