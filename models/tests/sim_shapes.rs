//! Models of other shapes, with random weights, on the simulator: odd vocabularies, widths that are no powers of two,
//! other groups, windows, rotary widths, experts and formats.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::{Mlp, ModelConfig, QkvLayout};
use tile_models::graph::{GraphOptions, Purpose};
use tile_models::quant;
use tile_models::reference::Reference;
use tile_models::session::{GenerateOptions, forced, generate};
use tile_models::weights::PlanWeights;
use tile_models::zoo;

/// Tensors of a checkpoint under construction.
struct Maker {
    tensors: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    seed: u64,
}

impl Maker {
    fn number(&mut self) -> f32 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn bf16(&mut self, name: &str, dims: &[usize], scale: f32, offset: f32) {
        let n: usize = dims.iter().product();
        let bytes = (0..n).flat_map(|_| quant::bf16_encode(offset + scale * self.number()).to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::BF16, dims.to_vec(), bytes));
    }

    fn f32(&mut self, name: &str, dims: &[usize], scale: f32, offset: f32) {
        let n: usize = dims.iter().product();
        let bytes = (0..n).flat_map(|_| (offset + scale * self.number()).to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::F32, dims.to_vec(), bytes));
    }

    fn matrix(&mut self, name: &str, [n, k]: [usize; 2], format: &str) {
        let scale = 1.7 / (k as f32).sqrt();
        match format {
            "bf16" => self.bf16(name, &[n, k], scale, 0.0),
            "f32" => self.f32(name, &[n, k], scale, 0.0),
            "fp8" => {
                let codes = (0..n * k).map(|_| quant::e4m3_encode(256.0 * self.number())).collect();
                self.tensors.insert(name.into(), (Dtype::F8_E4M3, vec![n, k], codes));
                let grid = [n.div_ceil(128), k.div_ceil(128)];
                self.f32(&format!("{name}_scale_inv"), &grid, scale / 1024.0, scale / 256.0);
            }
            _ => {
                let codes = (0..n * k / 2).map(|_| (self.number() * 128.0) as i8 as u8).collect();
                self.tensors.insert(name.into(), (Dtype::U8, vec![n, k / 2], codes));
                let scales = (0..n * k / 32).map(|_| 122 + (self.number() > 0.0) as u8).collect();
                self.tensors.insert(format!("{name}_scale"), (Dtype::U8, vec![n, k / 32], scales));
            }
        }
    }
}

/// Writes a checkpoint for a configuration and opens it. `formats`: attention, dense MLP, experts.
fn make(name: &str, config: &Value, formats: [&str; 3]) -> (ModelConfig, Checkpoint) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let c = ModelConfig::open(&folder).unwrap();
    let mut m = Maker { tensors: HashMap::new(), seed: name.len() as u64 };
    m.bf16("model.embed_tokens.weight", &[c.vocab, c.hidden], 1.0, 0.0);
    m.bf16("model.norm.weight", &[c.hidden], 0.2, 1.0);
    if !c.tied {
        m.matrix("lm_head.weight", [c.vocab, c.hidden], "bf16");
    }
    for (l, layer) in c.layers.iter().enumerate() {
        let at = |part: &str| format!("model.layers.{l}.{part}");
        let a = &layer.attention;
        m.bf16(&at("input_layernorm.weight"), &[c.hidden], 0.2, 1.0);
        m.bf16(&at("post_attention_layernorm.weight"), &[c.hidden], 0.2, 1.0);
        let rows = [a.q_rows(), a.k_rows(), a.v_rows()];
        if let QkvLayout::Apart = c.qkv_layout {
            for (part, rows) in ["q_proj", "k_proj", "v_proj"].into_iter().zip(rows) {
                m.matrix(&at(&format!("self_attn.{part}.weight")), [rows, c.hidden], formats[0]);
            }
        } else {
            m.matrix(&at("self_attn.qkv_proj.weight"), [rows.iter().sum(), c.hidden], formats[0]);
        }
        m.matrix(&at("self_attn.o_proj.weight"), [c.hidden, a.o_cols()], formats[0]);
        if a.sink {
            m.bf16(&at("self_attn.attention_sink_bias"), &[a.heads], 1.5, 0.0);
        }
        let gated = |m: &mut Maker, prefix: String, inner: usize, format: &str| {
            for (part, dims) in [("gate", [inner, c.hidden]), ("up", [inner, c.hidden]), ("down", [c.hidden, inner])] {
                m.matrix(&format!("{prefix}.{part}_proj.weight"), dims, format);
            }
        };
        match layer.mlp {
            Mlp::Dense { inner } => gated(&mut m, at("mlp"), inner, formats[1]),
            Mlp::Experts { count, inner, .. } => {
                m.f32(&at("mlp.gate.weight"), &[count, c.hidden], 0.1, 0.0);
                m.f32(&at("mlp.gate.e_score_correction_bias"), &[count], 0.1, 0.0);
                for e in 0..count {
                    gated(&mut m, at(&format!("mlp.experts.{e}")), inner, formats[2]);
                }
            }
        }
    }
    let views = m.tensors.iter().map(|(n, (d, s, b))| (n.clone(), TensorView::new(*d, s.clone(), b).unwrap()));
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    (c, checkpoint)
}

/// The simulator in f32 against the reference: logits of a text, and a greedy continuation. The kernels of the programs for prompts.
fn check(name: &str, config: &Value, formats: [&str; 3]) -> HashSet<String> {
    let (config, checkpoint) = make(name, config, formats);
    let weights = Weights::new(&config, &checkpoint).unwrap();
    let reference = Reference::new(&weights).unwrap();
    let source = PlanWeights::new(weights);
    let text: Vec<u32> = (0..41).map(|i| (i * i * 7 + 3 * i + 1) % config.vocab as u32).collect();
    let want = reference.forward(&text, &mut reference.cache()).unwrap().logits;
    let largest = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let base = GraphOptions { context: 64, splits: 3, ..GraphOptions::default() };
    // Programs for prompts decode too, if slowly.
    let prompts = [16, 32, 64].map(|rows| base.prompt(rows));
    let mut kernels = HashSet::new();
    for options in
        [GraphOptions { rows: 8, ..base.clone() }, GraphOptions { rows: 16, ..base }].into_iter().chain(prompts)
    {
        let what = format!("{name}, {:?}, {} rows", options.purpose, options.rows);
        let prompt = options.purpose == Purpose::Prompt;
        let plan = zoo::plan(&config, &source, options).unwrap();
        if prompt {
            kernels.extend(plan.kernels.iter().map(|k| k.name.clone()));
        }
        assert!(plan.program.iter().all(|i| i.after.len() <= tile_lang::record::MAX_DEPS));
        let mut sim = SimExecutor::new(plan, &source, Precision::F32).unwrap();
        let got = forced(&mut sim, &text, &GenerateOptions::default()).unwrap();
        let worst = got.logits.iter().zip(&want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        println!("{what}: {worst:.1e} of {largest:.1}");
        assert_eq!(got.logits.len(), want.len());
        assert!(worst <= 1e-4 * largest, "{what}: {worst} of {largest}");
        let options = GenerateOptions { max_new: 20, ..GenerateOptions::default() };
        let text = &text[..9];
        let result = generate(&mut sim, text, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(result.tokens, reference.greedy(text, 20).unwrap(), "{what}");
    }
    kernels
}

#[test]
fn llamas() {
    let config = |heads: usize, kv: usize, dim: usize, tied: bool| {
        json!({
            "model_type": "llama", "hidden_size": 200, "num_attention_heads": heads, "num_key_value_heads": kv,
            "head_dim": dim, "intermediate_size": 300, "vocab_size": 301, "num_hidden_layers": 2, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 512, "rope_theta": 1e4, "tie_word_embeddings": tied
        })
    };
    check("llama-a", &config(6, 3, 40, false), ["bf16"; 3]);
    check("llama-ab", &config(1, 1, 24, true), ["f32", "bf16", "bf16"]);
    check("llama-abc", &config(18, 1, 16, false), ["bf16", "f32", "bf16"]);
}

#[test]
fn mimos() {
    let base = json!({
        "model_type": "mimo_v2", "hidden_size": 160, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 24,
        "v_head_dim": 20, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 1, "swa_head_dim": 32,
        "swa_v_head_dim": 8, "intermediate_size": 96, "moe_intermediate_size": 64, "n_routed_experts": 5,
        "num_experts_per_tok": 2, "num_hidden_layers": 3, "hybrid_layer_pattern": [0, 1, 1],
        "moe_layer_freq": [0, 1, 1], "layernorm_epsilon": 1e-5, "max_position_embeddings": 512, "partial_rotary_factor": 0.5, "rope_theta": 1e6,
        "swa_rope_theta": 1e4, "sliding_window": 5, "vocab_size": 77, "add_swa_attention_sink_bias": true,
        "add_full_attention_sink_bias": true, "attention_value_scale": 0.7, "routed_scaling_factor": 2.5,
        "norm_topk_prob": true, "tie_word_embeddings": false
    });
    let with = |changes: &[(&str, Value)]| {
        let mut config = base.clone();
        changes.iter().for_each(|(name, value)| config[*name] = value.clone());
        config
    };
    let quantised = json!({
        "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "store_dtype": "mxfp4",
        "mxfp4_block_size": 32
    });
    check("mimo-a", &base, ["bf16"; 3]);
    let all = [("num_experts_per_tok", json!(5)), ("norm_topk_prob", json!(false)), ("sliding_window", json!(17))];
    check("mimo-ab", &with(&all), ["f32", "bf16", "f32"]);
    let fp8 = [("quantization_config", quantised.clone()), ("num_experts_per_tok", json!(1))];
    check("mimo-abc", &with(&fp8), ["fp8"; 3]);
    let mixed =
        [("quantization_config", quantised), ("n_routed_experts", json!(33)), ("num_experts_per_tok", json!(3))];
    check("mimo-abcd", &with(&mixed), ["bf16", "fp8", "mxfp4"]);
    // Rows of MXFP4 are whole blocks of 32 columns.
    let blocks = [&mixed[..], &[("v_head_dim", json!(32))]].concat();
    let kernels = check("mimo-abcde", &with(&blocks), ["mxfp4"; 3]);
    for name in ["project_mxfp4", "project_add_mxfp4", "project_gated_mxfp4"] {
        assert!(kernels.contains(name), "prompts don't go through `{name}`: {kernels:?}");
    }
    assert!(!kernels.contains("linear_mxfp4"), "{kernels:?}");
}
