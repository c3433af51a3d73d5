//! The CPU reference against another implementation's answers, on the checkpoints in `golden/`.

use std::path::{Path, PathBuf};

use tile_models::checkpoint::{Checkpoint, Weights};
use tile_models::config::ModelConfig;
use tile_models::reference::golden::{Golden, GoldenPrompt};
use tile_models::reference::{Precision, Reference, ops};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn open(name: &str) -> (ModelConfig, Checkpoint, Golden) {
    let folder = folder(name);
    let config = ModelConfig::open(&folder).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let file = folder.join("reference.safetensors");
    let golden = Golden::open(&file, config.layers.len(), config.hidden, config.vocab).unwrap();
    (config, checkpoint, golden)
}

fn deviation(x: &[f32]) -> f64 {
    let (n, mean) = (x.len() as f64, x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64);
    (x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// The largest difference, in standard deviations of `want`.
fn error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let worst = got.iter().zip(want).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    assert!(got.iter().all(|x| x.is_finite()));
    worst / deviation(want)
}

/// The whole model, every layer fed with the golden residual, and the greedy text.
fn compare(name: &str) {
    const TOLERANCE: f64 = 1e-4;
    let (config, checkpoint, golden) = open(name);
    let weights = Weights::new(&config, &checkpoint).unwrap();
    let reference = Reference::new(&weights).unwrap();
    assert_eq!(golden.prompts.len(), 3);
    for (i, prompt) in golden.prompts.iter().enumerate() {
        let GoldenPrompt { ids, logits, hidden, greedy } = prompt;
        let trace = reference.forward(ids, &mut reference.cache()).unwrap();
        let whole = error(&trace.logits, logits);
        let stream = trace.hidden.iter().zip(hidden).map(|(got, want)| error(got, want)).fold(0.0, f64::max);
        let mut alone = error(&reference.head(&hidden[config.layers.len()]), logits);
        for l in 0..config.layers.len() {
            let out = reference.layer(l, &hidden[l], 0, &mut Default::default()).hidden;
            let last = l + 1 == config.layers.len();
            let out = if last { reference.final_norm(&out) } else { out };
            alone = alone.max(error(&out, &hidden[l + 1]));
        }
        println!("{name}, prompt {i}: logits {whole:.1e} σ, hidden {stream:.1e} σ, layers alone {alone:.1e} σ");
        assert!(whole < TOLERANCE && stream < TOLERANCE && alone < TOLERANCE);
        assert_eq!(&reference.greedy(ids, greedy.len()).unwrap(), greedy);
    }
}

#[test]
fn llama() {
    compare("llama-nano");
}

#[test]
fn mimo_bf16() {
    compare("mimo-nano-bf16");
}

#[test]
fn mimo_mxfp4() {
    compare("mimo-nano-mxfp4");
}

#[test]
fn mimo_as_published() {
    compare("mimo-nano-fp8");
}

#[test]
fn native_precision_stays_near() {
    for name in ["llama-nano", "mimo-nano-bf16", "mimo-nano-mxfp4", "mimo-nano-fp8"] {
        let (config, checkpoint, golden) = open(name);
        let reference = Reference::new(&Weights::new(&config, &checkpoint).unwrap()).unwrap();
        let prompt = &golden.prompts[1];
        let exact = reference.forward(&prompt.ids, &mut reference.cache()).unwrap();
        let reference = reference.with_precision(Precision::Native);
        let last = config.layers.len() - 1;
        for l in 0..last {
            let out = reference.layer(l, &prompt.hidden[l], 0, &mut Default::default()).hidden;
            let alone = error(&out, &prompt.hidden[l + 1]);
            assert!(alone > 1e-4 && alone < 0.04, "{name}, layer {l}: {alone}");
        }
        let trace = reference.forward(&prompt.ids, &mut reference.cache()).unwrap();
        let whole = error(&trace.logits, &prompt.logits);
        let flipped = exact.routes.iter().zip(&trace.routes).find_map(|(exact, native)| {
            let pairs = exact.iter().zip(native).filter(|(e, n)| e.experts.iter().any(|x| !n.experts.contains(x)));
            pairs.map(|(e, _)| e.margin).reduce(f32::max)
        });
        println!("{name}, native: logits {whole:.1e} σ, an expert chosen otherwise by {flipped:?}");
        // Where rounding makes a token go elsewhere, it was a near choice, and then the logits are anyone's.
        match flipped {
            None => assert!(whole < 0.3, "{name}: {whole}"),
            Some(margin) => assert!(margin < 0.02, "{name}: {margin}"),
        }
    }
}

#[test]
fn a_text_in_pieces_gives_the_same_logits() {
    let (config, checkpoint, golden) = open("mimo-nano-mxfp4");
    let reference = Reference::new(&Weights::new(&config, &checkpoint).unwrap()).unwrap();
    let prompt = &golden.prompts[2];
    let (mut cache, mut logits) = (reference.cache(), Vec::new());
    for piece in prompt.ids.chunks(37) {
        logits.extend(reference.forward(piece, &mut cache).unwrap().logits);
    }
    assert!(error(&logits, &prompt.logits) < 1e-4);
    assert_eq!(cache.len, prompt.ids.len());
}

#[test]
fn a_window_one_wider_is_another_model() {
    let (config, checkpoint, golden) = open("mimo-nano-mxfp4");
    let wider = config.with_wider_windows(1);
    let reference = Reference::new(&Weights::new(&wider, &checkpoint).unwrap()).unwrap();
    let prompt = &golden.prompts[2];
    let logits = reference.forward(&prompt.ids, &mut reference.cache()).unwrap().logits;
    // The first 32 positions see no edge of the window of 32; the next ones do.
    let edge = 32 * wider.vocab;
    assert!(error(&logits[..edge], &prompt.logits[..edge]) < 1e-4);
    assert!(error(&logits[edge..], &prompt.logits[edge..]) > 1e-2);
}

#[test]
fn routes_have_margins_and_weights_that_add_up() {
    let (config, checkpoint, golden) = open("mimo-nano-fp8");
    let reference = Reference::new(&Weights::new(&config, &checkpoint).unwrap()).unwrap();
    let trace = reference.forward(&golden.prompts[1].ids, &mut reference.cache()).unwrap();
    assert!(trace.routes[0].is_empty());
    for route in trace.routes[1..].iter().flatten() {
        assert_eq!(route.experts.len(), 2);
        assert!((route.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6 && route.margin >= 0.0);
    }
    let id = config.vocab as u32;
    let error = reference.forward(&[0, id], &mut reference.cache()).unwrap_err().to_string();
    assert_eq!(error, "token 320 at position 1 is outside the vocabulary of 320");
    assert!(reference.greedy(&[], 3).unwrap().is_empty());
}

#[test]
fn fused_projections_are_taken_apart() {
    let (config, checkpoint, _) = open("mimo-nano-fp8");
    let weights = Weights::new(&config, &checkpoint).unwrap();
    // Layer 1: chunks of 4 query heads of 48, 2 key heads of 48, 2 value heads of 32: 352 rows.
    let qkv = weights.qkv(1).unwrap();
    assert_eq!([&qkv.q, &qkv.k, &qkv.v].map(|m| (m.rows, m.cols)), [(384, 256), (192, 256), (128, 256)]);
    let (codes, scales) = (
        checkpoint.get("model.layers.1.self_attn.qkv_proj.weight").unwrap(),
        checkpoint.matrix_f32("model.layers.1.self_attn.qkv_proj.weight_scale_inv", 6, 2).unwrap(),
    );
    // Value row 70 is row 6 of the second chunk's values: row 294 of the chunk, in its third scale row.
    let mut row = vec![0.0; 256];
    qkv.v.read_row(70, &mut row);
    let stored = &codes.bytes[(352 + 294) * 256..][..256];
    for (col, &x) in row.iter().enumerate() {
        assert_eq!(x, tile_models::quant::e4m3_decode(stored[col]) * scales[5 * 2 + col / 128]);
    }
    assert_eq!(weights.sink(1).unwrap().map(|s| s.len()), Some(8));
    assert_eq!(weights.sink(0).unwrap(), None);
    assert!(weights.dense(1).is_err() && weights.router(0).is_err());
    assert!(weights.expert(1, 8).is_err() && weights.qkv(4).is_err());
}

#[test]
fn the_operations_agree_with_plain_sums() {
    // Attention over keys in any order, against f64 sums written out.
    let (heads, kv, d, dv, s) = (4, 2, 6, 3, 9);
    let wave = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin()).collect::<Vec<_>>();
    let (q, k, v) = (wave(2 * heads * d, 0.7), wave(s * kv * d, 1.3), wave(s * kv * dv, 0.9));
    let (q_at, k_at) = ([7, 8], [3, 0, 8, 1, 7, 2, 6, 5, 4]);
    let sinks = [0.5, -1.0, 2.0, 0.0];
    let shape = ops::AttentionShape { heads, kv_heads: kv, head_dim: d, v_head_dim: dv, window: Some(5) };
    let got = ops::attention(&shape, &q, &q_at, &k, &v, &k_at, Some(&sinks));
    for t in 0..2 {
        for h in 0..heads {
            let g = h / 2;
            let (mut total, mut sum) = (f64::from(sinks[h]).exp(), [0.0f64; 3]);
            for (j, &at) in k_at.iter().enumerate().filter(|&(_, &at)| at <= q_at[t] && at + 5 > q_at[t]) {
                assert!(at >= 3);
                let score = (0..d).map(|i| f64::from(q[(t * heads + h) * d + i]) * f64::from(k[(j * kv + g) * d + i]));
                let p = (score.sum::<f64>() / (d as f64).sqrt()).exp();
                total += p;
                (0..dv).for_each(|i| sum[i] += p * f64::from(v[(j * kv + g) * dv + i]));
            }
            for i in 0..dv {
                let want = sum[i] / total;
                assert!((f64::from(got[(t * heads + h) * dv + i]) - want).abs() < 1e-6);
            }
        }
    }
}
