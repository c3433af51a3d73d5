//! Damaged and mismatched checkpoints: each gives an error that names the file, the tensor and what was expected.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tile_models::checkpoint::{Checkpoint, WeightData, Weights, validate};
use tile_models::config::ModelConfig;
use tile_models::reference::golden::Golden;
use tile_models::reference::{Reference, ReferenceError};

/// A copy of a golden checkpoint that may be damaged.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn of(name: &str) -> Copy {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("monotile-checkpoint-{}-{id}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::write(folder.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        }
        Copy { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Rewrites a safetensors file with some tensors changed: name → (type, shape, bytes), or removed.
    fn rewrite(&self, file: &str, change: impl Fn(&str, Tensor) -> Option<Tensor>) {
        let bytes = fs::read(self.path(file)).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let changed: HashMap<String, Tensor> = tensors
            .iter()
            .filter_map(|(name, view)| {
                let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                change(name, tensor).map(|tensor| (name.to_owned(), tensor))
            })
            .collect();
        let views = changed
            .iter()
            .map(|(name, (dtype, shape, data))| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
        safetensors::serialize_to_file(views, None, &self.path(file)).unwrap();
    }

    /// Rewrites one tensor of the single file.
    fn replace(&self, tensor: &str, change: impl Fn(Tensor) -> Option<Tensor>) {
        self.rewrite("model.safetensors", |name, old| if name == tensor { change(old) } else { Some(old) });
    }

    fn config(&self) -> ModelConfig {
        ModelConfig::open(&self.folder).unwrap()
    }

    /// The error of opening the checkpoint and comparing it with the configuration; the folder's name left out.
    fn error(&self) -> String {
        let text = match Checkpoint::open(&self.folder) {
            Err(e) => e.to_string(),
            Ok(checkpoint) => validate(&self.config(), &checkpoint).unwrap_err().to_string(),
        };
        text.replace(&format!("{}", self.folder.display()), "DIR")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

type Tensor = (Dtype, Vec<usize>, Vec<u8>);

const O_PROJ: &str = "model.layers.2.self_attn.o_proj.weight";

#[test]
fn empty_folders_and_files_that_arent_safetensors() {
    let copy = Copy::of("llama-nano");
    let file = copy.path("model.safetensors");
    fs::write(&file, b"").unwrap();
    assert!(copy.error().contains("DIR/model.safetensors: truncated: it has 0 bytes of 8, `header`"));
    fs::write(&file, b"version https://git-lfs.github.com/spec/v1\n").unwrap();
    assert!(copy.error().contains("DIR/model.safetensors: not a valid safetensors file"), "{}", copy.error());
    fs::write(&file, [&4u64.to_le_bytes()[..], b"[,]}"].concat()).unwrap();
    assert!(copy.error().contains("DIR/model.safetensors: not a valid safetensors file"));
    fs::remove_file(&file).unwrap();
    assert!(copy.error().contains("DIR: no model.safetensors and no model.safetensors.index.json"));
}

#[test]
fn truncated_files_name_the_first_tensor_cut() {
    let copy = Copy::of("llama-nano");
    let file = copy.path("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let error = copy.error();
    let expected = format!("it has {} bytes of {}, `model.", bytes.len() - 1, bytes.len());
    assert!(error.starts_with("DIR/model.safetensors: truncated") && error.contains(&expected), "{error}");
    fs::write(&file, &bytes[..1000]).unwrap();
    assert!(copy.error().contains("truncated: it has 1000 bytes of"), "{}", copy.error());
    // Any length at all gives an error, and no panic.
    for length in (0..bytes.len()).step_by(99_991) {
        fs::write(&file, &bytes[..length]).unwrap();
        assert!(copy.error().contains("truncated"));
    }
}

#[test]
fn headers_full_of_nonsense_dont_panic() {
    let copy = Copy::of("llama-nano");
    let file = copy.path("model.safetensors");
    let huge = u64::MAX;
    for header in [
        format!(r#"{{"a":{{"dtype":"F32","shape":[{huge},{huge}],"data_offsets":[0,4]}}}}"#),
        format!(r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":[{huge},{huge}]}}}}"#),
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#.into(),
        r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#.into(),
        r#"{"a":7}"#.into(),
    ] {
        for length in [header.len() as u64, 1 << 40, huge] {
            let bytes = [&length.to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
            fs::write(&file, bytes).unwrap();
            assert!(copy.error().contains("DIR/model.safetensors: "), "{header}");
        }
    }
}

#[test]
fn indexes_and_shards_must_agree() {
    let copy = Copy::of("mimo-nano-fp8");
    let (index, shard) = (copy.path("model.safetensors.index.json"), "model_pp0_ep1_shard0.safetensors");
    let text = fs::read_to_string(&index).unwrap();

    // Tensors of other heads aren't part of the model, nor is their file.
    let mtp = text.replacen("\"weight_map\": {", "\"weight_map\": {\"model.mtp.0.w\": \"model_mtp.safetensors\",", 1);
    fs::write(&index, mtp).unwrap();
    Weights::new(&copy.config(), &Checkpoint::open(&copy.folder).unwrap()).unwrap();

    let extra = format!("\"weight_map\": {{\"model.extra\": \"{shard}\",");
    fs::write(&index, text.replacen("\"weight_map\": {", &extra, 1)).unwrap();
    let error = copy.error();
    assert_eq!(
        error,
        format!("DIR/{shard}: doesn't hold `model.extra`, which DIR/model.safetensors.index.json says it does")
    );

    for path in ["../escape.safetensors", "/etc/passwd", ""] {
        let extra = format!("\"weight_map\": {{\"model.extra\": \"{path}\",");
        fs::write(&index, text.replacen("\"weight_map\": {", &extra, 1)).unwrap();
        assert!(copy.error().contains("`model.extra` is mapped to"), "{}", copy.error());
    }
    fs::write(&index, "{\"weight_map\": 3}").unwrap();
    assert!(copy.error().contains("DIR/model.safetensors.index.json: no `weight_map` object"));

    fs::write(&index, &text).unwrap();
    fs::remove_file(copy.path(shard)).unwrap();
    let error = copy.error();
    assert!(
        error.starts_with(&format!("DIR/{shard}: missing; DIR/model.safetensors.index.json says it holds `")),
        "{error}"
    );
}

#[test]
fn missing_tensors_wrong_shapes_and_wrong_types() {
    let copy = Copy::of("mimo-nano-mxfp4");
    copy.replace(O_PROJ, |_| None);
    assert_eq!(
        copy.error(),
        format!("DIR: `{O_PROJ}` is missing; expected [256, 256] in BF16, F16, F32, F8_E4M3 or U8 (MXFP4)")
    );

    let copy = Copy::of("mimo-nano-mxfp4");
    copy.replace(O_PROJ, |(dtype, _, data)| Some((dtype, vec![128, 512], data)));
    let file = "DIR/model.safetensors";
    assert_eq!(copy.error(), format!("{file}: `{O_PROJ}` has shape [128, 512], but config.json asks for [256, 256]"));

    let copy = Copy::of("mimo-nano-mxfp4");
    copy.replace(O_PROJ, |(_, shape, data)| Some((Dtype::I16, shape, data)));
    assert!(copy.error().starts_with(&format!("{file}: `{O_PROJ}` is stored as I16; expected BF16, F16, F32, ")));

    let norm = "model.layers.3.input_layernorm.weight";
    let copy = Copy::of("mimo-nano-mxfp4");
    copy.replace(norm, |(_, shape, data)| Some((Dtype::F8_E4M3, shape, data[..256].to_vec())));
    assert_eq!(copy.error(), format!("{file}: `{norm}` is stored as F8_E4M3; expected BF16, F16 or F32"));

    let scales = "model.layers.1.mlp.experts.3.up_proj.weight_scale";
    let copy = Copy::of("mimo-nano-mxfp4");
    copy.replace(scales, |_| None);
    assert_eq!(copy.error(), format!("DIR: `{scales}` is missing; expected [64, 8] in U8 (E8M0)"));
}

#[test]
fn several_problems_are_counted_and_five_are_shown() {
    let copy = Copy::of("llama-nano");
    copy.rewrite("model.safetensors", |name, tensor| (!name.contains("norm")).then_some(tensor));
    let checkpoint = Checkpoint::open(&copy.folder).unwrap();
    let error = validate(&copy.config(), &checkpoint).unwrap_err();
    assert_eq!(error.problems.len(), 9);
    let text = error.to_string();
    assert_eq!(text.lines().count(), 6);
    assert!(text.ends_with("… and 4 more"), "{text}");
}

#[test]
fn a_configuration_of_another_model_is_noticed() {
    let copy = Copy::of("mimo-nano-bf16");
    let checkpoint = Checkpoint::open(&copy.folder).unwrap();
    let error = |change: &dyn Fn(&mut ModelConfig)| {
        let mut config = copy.config();
        change(&mut config);
        validate(&config, &checkpoint).unwrap_err().to_string()
    };
    assert!(error(&|c| c.layers[1].attention.sink = false).contains("set add_swa_attention_sink_bias"));
    assert!(error(&|c| c.layers.truncate(5)).contains("config.json has 5 layers; correct num_hidden_layers"));
    assert!(
        error(&|c| c.layers[1].mlp = c.layers[0].mlp.clone())
            .contains("`model.layers.1.mlp.gate_proj.weight` is missing")
    );
    assert!(error(&|c| c.vocab = 500).contains("has shape [512, 256], but config.json asks for [500, 256]"));
    assert!(
        error(&|c| c.layers[0].attention.sink = true)
            .contains("`model.layers.0.self_attn.attention_sink_bias` is missing")
    );

    let fp8 = Copy::of("mimo-nano-fp8");
    let mut config = fp8.config();
    config.quantization.mxfp4 = false;
    let error = validate(&config, &Checkpoint::open(&fp8.folder).unwrap()).unwrap_err().to_string();
    assert!(error.contains("is stored as U8; expected") && error.contains("store_dtype mxfp4"), "{error}");
}

#[test]
fn scales_that_are_no_numbers_are_found_when_their_matrix_is_read() {
    let copy = Copy::of("mimo-nano-mxfp4");
    copy.replace("model.layers.1.mlp.experts.3.up_proj.weight_scale", |(dtype, shape, mut data)| {
        data[5 * 8 + 2] = 255;
        Some((dtype, shape, data))
    });
    let (config, checkpoint) = (copy.config(), Checkpoint::open(&copy.folder).unwrap());
    let weights = Weights::new(&config, &checkpoint).unwrap();
    assert!(weights.expert(1, 2).is_ok());
    let error = weights.expert(1, 3).unwrap_err().to_string();
    let expected =
        "`model.layers.1.mlp.experts.3.up_proj.weight_scale` holds the scale NaN (byte 255) at row 5, column 2";
    assert!(error.contains("model.safetensors: ") && error.contains(expected), "{error}");
    assert!(Reference::new(&weights).is_err());

    for bad in [f32::NAN, f32::INFINITY] {
        let copy = Copy::of("mimo-nano-fp8");
        let name = "model.layers.2.self_attn.qkv_proj.weight_scale_inv";
        copy.rewrite("model_pp0_ep0_shard0.safetensors", |found, (dtype, shape, mut data)| {
            if found == name {
                data[9 * 4..10 * 4].copy_from_slice(&bad.to_le_bytes());
            }
            Some((dtype, shape, data))
        });
        let (config, checkpoint) = (copy.config(), Checkpoint::open(&copy.folder).unwrap());
        let error = Weights::new(&config, &checkpoint).unwrap().qkv(2).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}` holds the scale NaN or infinity at row 4, column 1")), "{error}");
    }
}

#[test]
fn f16_and_f32_checkpoints_give_the_same_text() -> Result<(), ReferenceError> {
    let (copy, halves) = (Copy::of("llama-nano"), std::cell::Cell::new(0));
    copy.rewrite("model.safetensors", |_, (_, shape, data)| {
        let values = data.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32());
        // Those whose weights f16 holds exactly, too.
        if values.clone().all(|v| half::f16::from_f32(v).to_f32() == v) {
            halves.set(halves.get() + 1);
            return Some((Dtype::F16, shape, values.flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect()));
        }
        Some((Dtype::F32, shape, values.flat_map(f32::to_le_bytes).collect()))
    });
    let (config, checkpoint) = (copy.config(), Checkpoint::open(&copy.folder).unwrap());
    let weights = Weights::new(&config, &checkpoint).unwrap();
    assert!(matches!(weights.qkv(0)?.q.data, WeightData::F32(_)));
    assert!(halves.get() > 0 && halves.get() < checkpoint.names().count());
    let file = copy.path("reference.safetensors");
    let golden = Golden::open(&file, config.layers.len(), config.hidden, config.vocab)?;
    let prompt = &golden.prompts[1];
    assert_eq!(Reference::new(&weights)?.greedy(&prompt.ids, 24)?, prompt.greedy);
    Ok(())
}

#[test]
fn references_that_dont_fit_the_model() {
    let copy = Copy::of("llama-nano");
    let file = copy.path("reference.safetensors");
    let error = |layers, hidden, vocab| Golden::open(&file, layers, hidden, vocab).unwrap_err().to_string();
    assert!(error(5, 256, 512).contains("`prompt0.hidden5` is missing"));
    assert!(error(4, 128, 512).contains("`prompt0.hidden0` has shape [1, 256]"));
    assert!(error(4, 256, 3).contains("outside the model's vocabulary of 3"));
    let missing = Golden::open(&copy.path("model.safetensors"), 4, 256, 512).unwrap_err().to_string();
    assert!(missing.contains("`prompt0.ids` is missing; expected a vector of token ids in I32"), "{missing}");
}
