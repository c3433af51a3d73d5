//! Model configurations: the published ones, the forms they come in, and what is refused.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tile_models::config::{Family, Mlp, ModelConfig, QkvLayout, RopeScaling};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(name)).unwrap()).unwrap()
}

/// The result of reading `json` as a config.json; errors as text.
fn parse_text(json: &str) -> Result<ModelConfig, String> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("monotile-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, json).unwrap();
    let result = ModelConfig::from_file(&file).map_err(|e| {
        let text = e.to_string();
        assert!(text.contains(&file.display().to_string()), "{text}");
        text.replace(&file.display().to_string(), "config.json")
    });
    std::fs::remove_file(file).unwrap();
    result
}

fn parse(json: &Value) -> Result<ModelConfig, String> {
    parse_text(&json.to_string())
}

/// `base` with some fields replaced; null removes one.
fn changed(base: &Value, changes: Value) -> Value {
    let mut out = base.clone();
    for (name, value) in changes.as_object().unwrap() {
        out[name] = value.clone();
    }
    out
}

#[test]
fn mimo_v2_5_pro() {
    let config = ModelConfig::from_file(&golden("configs/mimo-v2.5-pro.json")).unwrap();
    assert_eq!(config.family, Family::MimoV2);
    assert_eq!((config.hidden, config.vocab, config.layers.len()), (6144, 152_576, 70));
    assert_eq!((config.max_positions, config.eps, config.tied), (1 << 20, 1e-5, false));
    assert_eq!(config.full_layers(), [0, 7, 15, 23, 31, 39, 47, 55, 62, 69]);
    assert_eq!(config.qkv_layout, QkvLayout::Fused { chunks: 8 });
    assert_eq!((config.quantization.fp8, config.quantization.mxfp4), (true, false));
    assert!(config.eos.is_empty());
    let (full, swa) = (&config.layers[0].attention, &config.layers[1].attention);
    for a in [full, swa] {
        assert_eq!((a.heads, a.kv_heads, a.head_dim, a.v_head_dim), (128, 8, 192, 128));
        assert_eq!((a.rotary_dim(), a.group(), a.value_scale), (64, 16, 0.612));
        assert_eq!(a.q_rows() + a.k_rows() + a.v_rows(), 27_136);
        assert_eq!(a.o_cols(), 16_384);
    }
    assert_eq!((full.window, full.sink, full.rope.theta), (None, false, 1e7));
    assert_eq!((swa.window, swa.sink, swa.rope.theta), (Some(128), true, 1e4));
    assert_eq!(config.layers[0].mlp, Mlp::Dense { inner: 16_384 });
    let experts = Mlp::Experts { count: 384, top_k: 8, inner: 2048, scaling: 1.0, normalize: true };
    assert!(config.layers[1..].iter().all(|l| l.mlp == experts));
    assert_eq!(config.with_wider_windows(1).layers[1].attention.window, Some(129));
}

#[test]
fn mimo_v2_6_flash() {
    let config = ModelConfig::from_file(&golden("configs/mimo-v2.6-flash-text.json")).unwrap();
    assert_eq!(config.full_layers(), [0, 5, 11, 17, 23, 29, 35, 41, 47]);
    assert_eq!((config.eps, config.eos.as_slice(), config.bos), (1e-6, [151_645].as_slice(), None));
    assert!(config.quantization.mxfp4);
    assert_eq!(config.qkv_layout, QkvLayout::Fused { chunks: 4 });
    let rows = |l: usize| {
        let a = &config.layers[l].attention;
        (a.kv_heads, a.q_rows() + a.k_rows() + a.v_rows(), a.rope.theta, a.rotary_dim())
    };
    assert_eq!(rows(0), (4, 13_568, 1e7, 64));
    assert_eq!(rows(1), (8, 14_848, 1e4, 64));
}

#[test]
fn the_transformers_form() {
    let config = ModelConfig::open(&golden("mimo-nano-mxfp4")).unwrap();
    assert_eq!(config.full_layers(), [0, 5]);
    let (full, swa) = (&config.layers[0].attention, &config.layers[1].attention);
    assert_eq!((full.kv_heads, full.window, full.sink, full.rope.theta, full.rotary_dim()), (1, None, false, 5e6, 16));
    assert_eq!((swa.kv_heads, swa.window, swa.sink, swa.rope.theta, swa.value_scale), (2, Some(32), true, 1e4, 0.707));
    assert_eq!((config.qkv_layout, config.bos), (QkvLayout::Apart, Some(1)));
}

#[test]
fn llama_in_its_old_and_new_forms() {
    let new = ModelConfig::open(&golden("llama-nano")).unwrap();
    assert_eq!((new.family, new.tied, new.eos.as_slice()), (Family::Llama, true, [2].as_slice()));
    let a = &new.layers[3].attention;
    assert_eq!((a.heads, a.kv_heads, a.head_dim, a.v_head_dim, a.rotary_dim()), (8, 2, 32, 32, 32));
    let scaling = RopeScaling::Llama3 { factor: 32.0, low_freq: 1.0, high_freq: 4.0, original_positions: 256 };
    assert_eq!(a.rope.scaling, scaling);

    let json = read("llama-nano/config.json");
    let mut section = json["rope_parameters"].clone();
    section["type"] = section["rope_type"].take();
    let old = json!({"rope_parameters": null, "rope_scaling": section, "rope_theta": 500_000, "head_dim": null});
    let old = parse(&changed(&json, old)).unwrap();
    assert_eq!(old.layers, new.layers);

    let plain = json!({"rope_parameters": null, "num_key_value_heads": null, "eos_token_id": [5, 7]});
    let plain = parse(&changed(&json, plain)).unwrap();
    let a = &plain.layers[0].attention;
    assert_eq!((a.kv_heads, a.rope.theta, a.rope.scaling), (8, 1e4, RopeScaling::None));
    assert_eq!(plain.eos, [5, 7]);
}

#[test]
fn generation_config_goes_first() {
    let folder = std::env::temp_dir().join(format!("monotile-generation-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(golden("llama-nano/config.json"), folder.join("config.json")).unwrap();
    let with = |text: &str| {
        std::fs::write(folder.join("generation_config.json"), text).unwrap();
        ModelConfig::open(&folder)
    };
    assert_eq!(with(r#"{"eos_token_id": [3, 4], }"#).unwrap().eos, [3, 4]);
    assert_eq!(with("{}").unwrap().eos, [2]);
    let error = with(r#"{"eos_token_id": 512}"#).unwrap_err().to_string();
    assert!(error.contains("generation_config.json: field `eos_token_id` is 512; expected token ids from 0 to 511"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_field_a_model_needs_is_asked_for() {
    let optional = |name: &str, value: &Value| {
        let mut json = read("mimo-nano-fp8/config.json");
        json[name] = value.clone();
        parse(&json)
    };
    for name in [
        "num_hidden_layers",
        "hidden_size",
        "vocab_size",
        "layernorm_epsilon",
        "max_position_embeddings",
        "num_attention_heads",
        "num_key_value_heads",
        "swa_num_key_value_heads",
        "head_dim",
        "v_head_dim",
        "rope_theta",
        "swa_rope_theta",
        "hybrid_layer_pattern",
        "moe_layer_freq",
        "intermediate_size",
        "moe_intermediate_size",
        "n_routed_experts",
        "num_experts_per_tok",
    ] {
        let missing = optional(name, &Value::Null).unwrap_err();
        let shown = if name == "layernorm_epsilon" { "rms_norm_eps" } else { name };
        assert!(missing.starts_with(&format!("config.json: field `{shown}` is missing; add it")), "{missing}");
        for wrong in [json!("many"), json!(-1), json!(0), json!(1e300), json!([[]]), json!({})] {
            let error = optional(name, &wrong).unwrap_err();
            assert!(error.contains(&format!("field `{name}`")), "{name} {wrong}: {error}");
        }
    }
}

#[test]
fn contradictions_and_what_isnt_supported_are_refused() {
    let base = read("mimo-nano-fp8/config.json");
    let cases = [
        (json!({"model_type": "gpt2"}), "`model_type` is \"gpt2\"; supported models are llama, mimo_v2"),
        (json!({"model_type": null}), "`model_type` is missing; supported models are"),
        (json!({"n_group": 2}), "`n_group` is 2; only 1 is supported"),
        (json!({"topk_group": 4}), "`topk_group` is 4; only 1 is supported"),
        (json!({"n_shared_experts": 1}), "`n_shared_experts` is 1; only 0 is supported"),
        (json!({"scoring_func": "softmax"}), "`scoring_func` is \"softmax\"; only \"sigmoid\" is supported"),
        (json!({"attention_bias": true}), "`attention_bias` is true; only false is supported"),
        (json!({"hidden_act": "gelu"}), "`hidden_act` is \"gelu\"; only \"silu\""),
        (json!({"num_key_value_heads": 3}), "`num_key_value_heads` is 3, which doesn't divide the 8 query heads"),
        (json!({"swa_num_key_value_heads": 1}), "which doesn't divide the 1 KV heads of layer 1"),
        (json!({"partial_rotary_factor": 0.32}), "`partial_rotary_factor` is 0.32, which rotates 15 of 48 dimensions"),
        (json!({"partial_rotary_factor": 1.5}), "`partial_rotary_factor` is 1.5"),
        (json!({"sliding_window_size": 17}), "`sliding_window` is 16, but `sliding_window_size` is 17"),
        (json!({"num_experts_per_tok": 9}), "`num_experts_per_tok` is 9, but there are 8 experts"),
        (json!({"hybrid_layer_pattern": [0, 1]}), "`hybrid_layer_pattern` has 2 entries for 4 layers"),
        (json!({"hybrid_layer_pattern": [0, 1, 2, 0]}), "`hybrid_layer_pattern` holds something else than 0 and 1"),
        (json!({"mlp_layer_types": vec!["dense"; 4]}), "`mlp_layer_types` contradicts `moe_layer_freq`"),
        (json!({"attention_projection_layout": "woven"}), "`attention_projection_layout` is \"woven\""),
        (
            json!({"rope_parameters": {"rope_theta": 5.0}}),
            "`rope_theta` is 10000000, but `rope_parameters.rope_theta` is 5",
        ),
        (json!({"rope_parameters": {"rope_type": "yarn"}}), "`rope_parameters.rope_type` is \"yarn\""),
        (json!({"layernorm_epsilon": 2}), "`layernorm_epsilon` is 2; expected a small number"),
        (json!({"layernorm_epsilon": 1e-60}), "`layernorm_epsilon` is 0.000"),
        (json!({"quantization_config": {"quant_method": "awq"}}), "`quantization_config.quant_method` is \"awq\""),
        (json!({"quantization_config": {}}), "`quantization_config.quant_method` is missing"),
        (
            json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}}),
            "`quantization_config.weight_block_size` is [64,64]; only [128,128] is supported",
        ),
        (
            json!({"quantization_config": {"quant_method": "fp8", "mxfp4_block_size": 16}}),
            "`quantization_config.mxfp4_block_size` is 16; only 32 is supported",
        ),
        (json!({"eos_token_id": [1, "x"]}), "`eos_token_id` is [1,\"x\"]; expected token ids from 0 to 319"),
        (json!({"tie_word_embeddings": "no"}), "`tie_word_embeddings` is \"no\"; expected true or false"),
    ];
    for (changes, expected) in cases {
        let error = parse(&changed(&base, changes.clone())).expect_err(&changes.to_string());
        assert!(error.contains(expected), "{changes}: {error}");
    }
    let llama = read("llama-nano/config.json");
    let odd = json!({"head_dim": null, "num_attention_heads": 6});
    assert!(parse(&changed(&llama, odd)).unwrap_err().contains("`head_dim` is missing, and 6 heads don't divide"));
    let scaled = |name: &str, value: Value| {
        let mut json = llama.clone();
        json["rope_parameters"][name] = value;
        parse(&json).unwrap_err()
    };
    assert!(scaled("high_freq_factor", json!(1.0)).contains("`rope_parameters.high_freq_factor` is 1, not above"));
    assert!(scaled("factor", Value::Null).contains("`rope_parameters.factor` is missing"));
    assert!(scaled("rope_theta", json!("x")).contains("`rope_parameters.rope_theta` is \"x\"; expected a number"));
}

#[test]
fn files_that_arent_json_objects_are_named() {
    assert!(parse_text("").unwrap_err().contains("config.json: not a valid JSON object: EOF"));
    assert!(parse_text("[1]").unwrap_err().contains("not a valid JSON object: it holds [1]"));
    assert!(parse_text("{\"a\": 1").unwrap_err().contains("line 1 column 7"));
    let error = ModelConfig::open(Path::new("no/such/folder")).unwrap_err().to_string();
    assert!(error.starts_with("no/such/folder/config.json: can't be read"), "{error}");
}
