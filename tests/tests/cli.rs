//! The command, in process: what it answers, and that input which can't be used gives one clear line and exit code 2.

#[path = "cli/schedules.rs"]
mod schedules;
#[path = "cli/targets.rs"]
mod targets;
#[path = "cli/tile_files.rs"]
mod tile_files;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a command left behind.
struct Ran {
    code: u8,
    out: String,
    err: String,
}

/// Runs the command with these arguments.
fn monotile<S: AsRef<str>>(args: &[S]) -> Ran {
    let args = std::iter::once("monotile").chain(args.iter().map(AsRef::as_ref));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = monotile::cli().run(args, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap_or_else(|e| panic!("{e}"));
    Ran { code, out: text(out), err: text(err) }
}

/// The arguments of a command line without quotes; `{}` stands for a path.
fn line(text: &str, path: &Path) -> Vec<String> {
    text.split(' ').map(|word| word.replace("{}", &path.display().to_string())).collect()
}

impl Ran {
    /// The answer of a command that must succeed.
    fn good(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.good()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// One line on stderr that holds all of these, nothing on stdout, exit code 2.
    fn refused(self, parts: &[&str]) {
        assert_eq!(self.code, 2, "{}{}", self.out, self.err);
        assert!(self.out.is_empty(), "{}", self.out);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.starts_with("error: "), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "no `{part}` in: {}", self.err);
        }
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/golden").join(name)
}

fn pico() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pico")
}

/// A folder of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("monotile-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{e}"));
        Scratch(path)
    }

    /// A copy of a golden model.
    fn model(name: &str) -> Self {
        let scratch = Scratch::new();
        for entry in std::fs::read_dir(golden(name)).unwrap_or_else(|e| panic!("{e}")).flatten() {
            std::fs::copy(entry.path(), scratch.0.join(entry.file_name())).unwrap_or_else(|e| panic!("{e}"));
        }
        scratch
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, contents).unwrap_or_else(|e| panic!("{e}"));
        path
    }

    /// Replaces text in a file.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|e| panic!("{e}"));
        assert!(text.contains(from), "{name} has no {from}");
        self.file(name, text.replacen(from, to, 1));
    }

    /// `generate` from this folder.
    fn generate(&self) -> Ran {
        monotile(&line("generate --model {} --prompt-ids 1,2,3 --max-new-tokens 2", &self.0))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn generates_text() {
    let args =
        ["generate", "--model", &pico().display().to_string(), "--prompt", "def area(r):", "--max-new-tokens", "12"];
    let shown = monotile(&args);
    assert!(shown.err.contains("[12 tokens after a prompt of") && shown.err.contains("tokens/s"), "{}", shown.err);
    let text = shown.good();
    let answer = monotile(&[&args[..], &["--json", "--context", "64"]].concat()).json();
    assert_eq!(text.trim_end(), format!("def area(r):{}", answer["text"].as_str().unwrap_or("?")).trim_end());
    assert_eq!(answer["tokens"].as_array().map(Vec::len), Some(12));
    assert_eq!(answer["accepted_length"], 1.0);
    assert!(answer["tokens_per_s"].as_f64().is_some_and(|x| x > 0.0));
    assert!(answer["device"].as_str().is_some_and(|d| d.starts_with("sim")));
    assert!(answer["steps"].as_u64().is_some_and(|n| n >= 12));
}

#[test]
fn roles_under_an_adversary_generate_the_same_text() {
    let answer = |device| {
        let model = pico().display().to_string();
        let args = ["generate", "--model", &model, "--prompt", "The ", "--max-new-tokens", "2", "--json", "--device"];
        monotile(&[&args[..], &[device]].concat()).json()
    };
    let (sim, checked) = (answer("sim"), answer("checked:5"));
    assert_eq!(checked["tokens"], sim["tokens"]);
    assert!(checked["device"].as_str().is_some_and(|d| d.contains("seed 5")), "{checked}");
    let wrong = monotile(&line("generate --model {} --prompt-ids 1 --device checked:x", &pico()));
    assert!(wrong.code == 2 && wrong.err.contains("checked:SEED"), "{}", wrong.err);
}

#[test]
fn sampling_follows_the_seed() {
    let sampled = |seed: &str| {
        let text = format!(
            "generate --model {{}} --prompt-ids 5,6,7 --max-new-tokens 8 --temperature 1 --top-k 50 --top-p 0.9 --json --seed {seed}"
        );
        monotile(&line(&text, &golden("llama-nano"))).json()["tokens"].clone()
    };
    assert_eq!(sampled("3"), sampled("3"));
    assert_ne!(sampled("3"), sampled("4"));
}

#[test]
fn prompts_that_can_not_be_used() {
    let model = golden("llama-nano");
    let cases: &[(&str, &[&str])] = &[
        ("--prompt-ids 1,99999", &["--prompt-ids: 99999 is outside the model's vocabulary"]),
        ("--prompt-ids 1,x", &["`x` is no token id"]),
        ("--prompt-ids=", &["--prompt-ids is empty"]),
        ("--prompt=", &["--prompt is empty"]),
        ("--prompt text", &["tokenizer.json: not found", "--prompt-ids"]),
        ("--prompt-ids 1 --context 0", &["--context 0"]),
        ("--prompt-ids 1 --context 100000000", &["--context 100000000: the model is made for", "positions"]),
        ("--prompt-ids 1,2,3,4 --context 4", &["the prompt has 4 tokens", "--context"]),
        ("--prompt-ids 1,2,3 --context 8 --max-new-tokens 9", &["--max-new-tokens 9", "context of 8", "at most 5"]),
        ("--prompt-ids 1 --temperature=-1", &["--temperature -1"]),
        ("--prompt-ids 1 --top-p 1.5", &["--top-p 1.5"]),
        ("--prompt-ids 1 --draft dflash", &["--draft dflash"]),
        ("--prompt-ids 1 --artifact no/such.tile", &["no/such.tile"]),
    ];
    for (args, parts) in cases {
        monotile(&line(&format!("generate --model {{}} {args}"), &model)).refused(parts);
    }
}

#[test]
fn arguments_that_make_no_sense() {
    let model = golden("llama-nano");
    for args in [
        "generate --model {}",
        "generate --model {} --prompt a --prompt-ids 1",
        "generate --model {} --prompt-ids 1 --device gpu",
        "generate --model {} --prompt-ids 1 --device cuda:0,1",
        "generate --model {} --prompt-ids 1 --top-k 0",
        "verify --model {} --precision f64",
        "kernel emit linear --stage nothing",
        "sweep",
    ] {
        let ran = monotile(&line(args, &model));
        assert_eq!(ran.code, 2, "{args}: {}{}", ran.out, ran.err);
        assert!(ran.err.starts_with("error: "), "{args}: {}", ran.err);
    }
    assert_eq!(monotile(&["--help"]).code, 0);
}

#[test]
fn model_folders_that_can_not_be_used() {
    monotile(&["generate", "--model", "no/such/folder", "--prompt-ids", "1"])
        .refused(&["no/such/folder does not exist"]);
    let empty = Scratch::new();
    empty.generate().refused(&["config.json: can't be read"]);

    let model = Scratch::model("llama-nano");
    model.edit("config.json", "\"llama\"", "\"gpt_oss\"");
    model.generate().refused(&["config.json", "`model_type`", "gpt_oss", "supported models are"]);

    let model = Scratch::model("llama-nano");
    model.edit("config.json", "\"hidden_size\"", "\"hidden_sizes\"");
    model.generate().refused(&["config.json", "`hidden_size`"]);

    let model = Scratch::model("llama-nano");
    model.edit("config.json", "\"num_hidden_layers\": ", "\"num_hidden_layers\": \"four\", \"was\": ");
    model.generate().refused(&["config.json", "`num_hidden_layers`"]);

    let model = Scratch::model("llama-nano");
    model.file("config.json", "{ \"model_type\": ");
    model.generate().refused(&["config.json: not a valid JSON object"]);

    let model = Scratch::model("llama-nano");
    let _ = std::fs::remove_file(model.0.join("model.safetensors"));
    model.generate().refused(&["no model.safetensors"]);

    let model = Scratch::model("llama-nano");
    let whole = std::fs::read(model.0.join("model.safetensors")).unwrap_or_else(|e| panic!("{e}"));
    model.file("model.safetensors", &whole[..whole.len() - 100]);
    model.generate().refused(&["model.safetensors: truncated"]);

    let model = Scratch::model("mimo-nano-fp8");
    let _ = std::fs::remove_file(model.0.join("model_pp0_ep1_shard0.safetensors"));
    model.generate().refused(&["model_pp0_ep1_shard0.safetensors: missing", "index.json"]);
}

/// The bytes of a file of tensors, and where the tensor with this part in its name begins.
fn tensor(file: &Path, part: &str) -> (Vec<u8>, usize) {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{e}"));
    let mut length = [0; 8];
    length.copy_from_slice(&bytes[..8]);
    let start = 8 + u64::from_le_bytes(length) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..start]).unwrap_or_else(|e| panic!("{e}"));
    let tensors = header.as_object().unwrap_or_else(|| panic!("a header"));
    let mut found = tensors.iter().filter(|(name, _)| name.contains(part));
    let (_, info) = found.next().unwrap_or_else(|| panic!("no tensor {part}"));
    let offset = info["data_offsets"][0].as_u64().unwrap_or_else(|| panic!("an offset")) as usize;
    (bytes, start + offset)
}

#[test]
fn scales_that_are_no_numbers() {
    let model = Scratch::model("mimo-nano-mxfp4");
    let (mut bytes, at) = tensor(&model.0.join("model.safetensors"), "experts.0.down_proj.weight_scale");
    bytes[at] = 255;
    model.file("model.safetensors", bytes);
    model.generate().refused(&["model.safetensors", "scale", "row 0, column 0"]);
}

#[test]
fn devices_that_are_not_there() {
    if monotile_runtime_has_gpu() {
        return;
    }
    let model = golden("llama-nano");
    monotile(&line("generate --model {} --prompt-ids 1 --device cuda:0", &model)).refused(&["--device sim"]);
    monotile(&["devices"]).refused(&["CUDA driver"]);
    monotile(&line("verify --model {} --device cuda:0 --precision f32", &model)).refused(&["--precision f32"]);
    monotile(&["kernel", "run", "linear", "--device", "cuda:0"]).refused(&["--device sim"]);
}

fn monotile_runtime_has_gpu() -> bool {
    monotile::runtime::list_devices().is_ok()
}

#[test]
fn verifies() {
    let model = golden("llama-nano");
    let table = monotile(&line("verify --model {}", &model)).good();
    for part in
        ["CPU reference, f32", "layer.0", "head", "greedy choices", "program for decoding", "program for prompts"]
    {
        assert!(table.contains(part), "{table}");
    }
    let report = monotile(&line("verify --model {} --precision f32 --json", &model)).json();
    assert_eq!(report["passed"], true);
    let worst = |name: &str| {
        let checks = report["checks"].as_array().cloned().unwrap_or_default();
        checks.iter().find(|c| c["name"] == name).and_then(|c| c["worst"].as_f64()).unwrap_or(f64::NAN)
    };
    assert!(worst("CPU reference, f32") < 1e-4 && worst("whole model") < 1e-3, "{report}");
}

#[test]
fn long_prompts_go_through_chunks() {
    let ids: Vec<String> = (0..45).map(|i| (i * 7 % 500).to_string()).collect();
    let generate = |rows: usize| {
        let ask = format!(
            "generate --model {{}} --max-new-tokens 5 --json --prompt-rows {rows} --prompt-ids {}",
            ids.join(",")
        );
        monotile(&line(&ask, &golden("llama-nano")))
    };
    let (chunks, blocks) = (generate(16).json(), generate(0).json());
    assert_eq!((&chunks["chunks"], &chunks["chunked_tokens"]), (&2.into(), &32.into()), "{chunks}");
    assert_eq!((&blocks["chunks"], &blocks["prompt_tokens"]), (&0.into(), &45.into()), "{blocks}");
    assert_eq!(chunks["tokens"], blocks["tokens"]);
    generate(24).refused(&["a power of two from 16 to 1024", "--prompt-rows 0"]);
}

#[test]
fn differences_fail_the_job() {
    let model = Scratch::model("llama-nano");
    model.edit("config.json", "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0.3");
    let ran = monotile(&line("verify --model {}", &model.0));
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("FAILED"), "{}", ran.out);
    assert!(ran.err.starts_with("error: beyond tolerance: ") && ran.err.contains("CPU reference"), "{}", ran.err);
}

#[test]
fn references_that_can_not_be_used() {
    let model = golden("llama-nano");
    monotile(&line("verify --model {} --reference no/such.safetensors", &model)).refused(&["no/such.safetensors"]);
    let other = model.join("reference.safetensors");
    let args = [line("verify --model {}", &golden("mimo-nano-bf16")), line("--reference {}", &other)].concat();
    monotile(&args).refused(&["reference.safetensors", "hidden5"]);
}

#[cfg(feature = "llvm")]
mod compiled {
    use super::*;

    /// Compiles a golden model into a folder.
    fn compile(name: &str, to: &Scratch) -> PathBuf {
        let out = to.0.join(format!("{name}.tile"));
        let args = [line("compile --context 128 --json --model {}", &golden(name)), line("--out {}", &out)].concat();
        let summary = monotile(&args).json();
        assert!(summary["instructions"].as_u64() >= summary["kernels"].as_u64(), "{summary}");
        assert_eq!(summary["spill_bytes"], 0, "{summary}");
        let prompt = &summary["prompt"];
        assert_eq!((&prompt["rows"], &prompt["spill_bytes"]), (&128.into(), &0.into()), "{prompt}");
        assert!(prompt["picks"].as_array().is_some_and(|p| p.iter().any(|p| p["kernel"] == "prefill")), "{prompt}");
        out
    }

    fn with_artifact(name: &str, artifact: &Path) -> Ran {
        let args = line("generate --prompt-ids 1,2,3 --max-new-tokens 4 --json --model {}", &golden(name));
        monotile(&[args, line("--artifact {}", artifact)].concat())
    }

    #[test]
    fn artifacts_run_and_bad_ones_do_not() {
        let scratch = Scratch::new();
        let artifact = compile("llama-nano", &scratch);
        let plain = line("generate --prompt-ids 1,2,3 --max-new-tokens 4 --json --model {}", &golden("llama-nano"));
        let answer = with_artifact("llama-nano", &artifact).json();
        assert_eq!(answer["tokens"], monotile(&plain).json()["tokens"]);

        with_artifact("mimo-nano-bf16", &artifact).refused(&["llama-nano.tile", "compile it again"]);
        let longer = [plain.clone(), line("--context 256 --artifact {}", &artifact)].concat();
        monotile(&longer).refused(&["--context 256", "compiled for 128 positions"]);
        let other = [plain.clone(), line("--prompt-rows 64 --artifact {}", &artifact)].concat();
        monotile(&other).refused(&["--prompt-rows 64", "compiled for chunks of 128"]);

        let bytes = std::fs::read(&artifact).unwrap_or_else(|e| panic!("{e}"));
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let file = scratch.file("flipped.tile", flipped);
        with_artifact("llama-nano", &file).refused(&["flipped.tile", "damaged"]);
        let file = scratch.file("cut.tile", &bytes[..bytes.len() / 2]);
        with_artifact("llama-nano", &file).refused(&["cut.tile", "damaged"]);
        let file = scratch.file("other.tile", "kernel @k() {}");
        with_artifact("llama-nano", &file).refused(&["other.tile", "no monotile artifact"]);

        let mut older = monotile::artifact::Artifact::load(&artifact).unwrap_or_else(|e| panic!("{e}"));
        older.compiler = "0.0.1".into();
        let file = scratch.0.join("older.tile");
        older.save(&file).unwrap_or_else(|e| panic!("{e}"));
        with_artifact("llama-nano", &file).refused(&["older.tile", "0.0.1", "compile it again"]);
    }

    #[test]
    fn nothing_is_half_written() {
        let scratch = Scratch::new();
        let model = golden("llama-nano");
        let compile =
            |rest: &str, path: &Path| monotile(&[line("compile --model {}", &model), line(rest, path)].concat());
        compile("--out {}/no/such/a.tile", &scratch.0).refused(&["there is no folder"]);
        compile("--out {}", &scratch.0).refused(&["this is a folder"]);
        compile("--out {}/a.tile --target sm_1", &scratch.0).refused(&["--target sm_1", "sm_90a"]);
        compile("--out {}/a.tile --context 0", &scratch.0).refused(&["--context 0"]);
        assert_eq!(std::fs::read_dir(&scratch.0).map(Iterator::count).unwrap_or(9), 0);
    }

    #[test]
    fn machine_stages_with_source_lines() {
        let source = "let codes = w.stage::<Smem<W, BM, BK>>([i, k]);";
        for (stage, part, line) in [
            ("llvm", "define ptx_kernel", "!DILocation(line: 80"),
            ("ptx", ".target sm_90a", "linear.rs:80"),
            ("sass", "UBLKCP", "linear.rs:80"),
        ] {
            let text = monotile(&["kernel", "emit", "linear", "--stage", stage]).good();
            assert!(text.contains(part) && text.contains(line), "{stage}");
            let brief = monotile(&["kernel", "emit", "linear", "--stage", stage, "--brief"]).good();
            assert!(brief.contains(part) && (stage == "llvm" || !brief.contains("linear.rs")), "{stage}");
        }
        // With the sources at hand, as in the folder that they were compiled in, their text stands there too.
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/src/kernels/linear.rs");
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{e}"));
        assert!(text.lines().nth(79).is_some_and(|l| l.contains(source)), "the kernel has moved; so must this test");
        let mlir = monotile(&["kernel", "emit", "linear", "--stage", "mlir", "--brief"]).good();
        assert!(mlir.starts_with("module attributes") && !mlir.contains("loc("), "{}", &mlir[..200]);
    }

    /// Each thread holds 256 numbers of this kernel's tile, twice.
    const WIDE: &str = "\
kernel @centre(%x: global<f32, 2>, %y: global_mut<f32, 2>) stage tile {
  %one = const 1 : i32
  %i = work %one : i32
  %zero = const 0 : i32
  %t = load %x, %i, %zero : tile<f32, 128x512>
  %m = reduce[max, 1] %t : tile<f32, 128>
  %b = broadcast[1] %m : tile<f32, 128x512>
  %d = sub %t, %b : tile<f32, 128x512>
  store %y, %d, %i, %zero
}
";

    #[test]
    fn spills_are_warned_of_at_their_line() {
        let scratch = Scratch::new();
        let file = scratch.file("centre.tile", WIDE).display().to_string();
        let text = monotile(&["kernel", "explain", &file]).good();
        for part in ["warning[W02]: registers do not suffice", "%t = load %x", "accesses at", "centre.tile:6"] {
            assert!(text.contains(part), "no {part} in:\n{text}");
        }
        let report = monotile(&["kernel", "explain", &file, "--json"]).json();
        assert_eq!(report["code"]["warnings"][0]["code"], "W02");
        let sass = monotile(&["kernel", "emit", &file, "--stage", "sass"]).good();
        assert!(sass.contains("centre.tile:6 | %m = reduce[max, 1]"), "no source line");
        monotile(&["kernel", "emit", &file, "--stage", "ptx", "--target", "sm_1"])
            .refused(&["--target sm_1", "sm_90a"]);
    }
}

const AXPY: &str = "\
kernel @axpy<N=16>(%x: global<f32, 1>, %y: global_mut<f32, 1>, %a: f32) stage tile {
  %n = dim[0] %x : i32
  %m = dim[0] %y : i32
  %same = eq %n, %m : bool
  require[\"x.dim(0) == y.dim(0)\"] %same
  %last = const 15 : i32
  %tile = const 16 : i32
  %up = add %n, %last : i32
  %items = div %up, %tile : i32
  %i = work %items : i32
  %at = mul %i, %tile : i32
  %row = load %x, %at : tile<f32, 16>
  %old = load %y, %at : tile<f32, 16>
  %factor = splat %a : tile<f32, 16>
  %scaled = mul %row, %factor : tile<f32, 16>
  %sum = add %scaled, %old : tile<f32, 16>
  store %y, %sum, %at
}
";

#[test]
fn kernels_of_the_library() {
    let list = monotile(&["kernel", "list"]).good();
    assert!(list.contains("linear_mxfp4") && list.contains("attention"), "{list}");
    let checked = monotile(&["kernel", "check"]).good();
    assert_eq!(checked.lines().count(), list.lines().count());
    assert!(checked.lines().all(|l| l.starts_with("ok  ")), "{checked}");
    let report = monotile(&["kernel", "explain", "linear", "--json"]).json();
    assert_eq!(report["program"]["kernels"][0]["ring"]["transactions"][0]["parts"][0]["param"], "w");
    for stage in ["tile", "scheduled", "specialised", "allocated"] {
        let text = monotile(&["kernel", "emit", "linear", "--stage", stage]).good();
        assert!(text.contains(&format!("stage {stage} {{")), "{text}");
        monotile::ir::parse(&text, "emitted.tile").unwrap_or_else(|e| panic!("{stage}: {e}"));
    }
    for name in list.lines().filter_map(|l| l.split(' ').next()).filter(|n| *n != "advance") {
        monotile(&["kernel", "run", name, "--device", "checked"]).good();
    }
    // This one reads a row that inputs of zeros don't have.
    monotile(&["kernel", "run", "advance", "--arg", "state=[0,1,1,0,0,0,0,0]"]).good();
    let run = |seed| monotile(&["kernel", "run", "linear", "--json", "--seed", seed, "--arg", "w=40x600"]).json();
    assert_eq!(run("1")["outputs"][0]["dims"], serde_json::json!([8, 40]));
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}

#[test]
fn picks_say_what_speaks_for_them() {
    let text = monotile(&["kernel", "pick", "gemm", "4096x4096x4096"]).good();
    assert!(text.starts_with("gemm 4096x4096x4096: --generic ") && text.contains("measured on NVIDIA"), "{text}");
    let other = monotile(&["kernel", "pick", "gemm", "5000x4096x4096", "--json"]).json();
    let variants = other["variants"].as_array().unwrap();
    assert!(variants.len() > 1 && variants.iter().all(|v| v["flags"].as_str().unwrap().contains("--schedule ")));
    monotile(&["kernel", "pick", "gem", "8x8x8"]).refused(&["no such kernel", "`gemm`"]);
    monotile(&["kernel", "pick", "linear", "8x8x8"]).refused(&["no measurements", "gemm"]);
    for wrong in ["8x8", "8x8x0", "8x8xk", "8x8x8x8"] {
        monotile(&["kernel", "pick", "gemm", wrong]).refused(&[wrong, "4096x4096x4096"]);
    }
}

#[test]
fn kernels_of_files() {
    let scratch = Scratch::new();
    let file = scratch.file("axpy.tile", AXPY);
    let text = monotile(&line("kernel run {} --arg x=100 --arg a=0.5", &file)).good();
    assert!(text.contains("axpy<N=16>: 7 work items") && text.contains("y [100]"), "{text}");
    monotile(&line("kernel check {}", &file)).good();
    monotile(&line("kernel bench {} --repeats 2", &file)).good();
    monotile(&line("kernel run {}:axpy", &file)).good();
    monotile(&line("kernel run {}:other", &file)).refused(&["axpy.tile holds no kernel `other`"]);
    monotile(&line("kernel run {} --arg z=1", &file)).refused(&["--arg z=1", "x, y, a"]);
    monotile(&line("kernel run {} --arg x=4x4", &file)).refused(&["--arg x=4x4", "1 axes"]);
    monotile(&line("kernel run {} --arg x=0", &file)).refused(&["--arg x=0", "1 or more"]);
    monotile(&line("kernel run {} --arg a=fast", &file)).refused(&["--arg a=fast", "a number"]);
    monotile(&line("kernel run {} --generic N=32", &file)).refused(&["--generic"]);
    let broken = monotile(&line("kernel run {} --arg x=100 --arg y=90", &file));
    assert_eq!(broken.code, 2);
    assert!(broken.err.contains("requires `x.dim(0) == y.dim(0)`"), "{}", broken.err);

    let file = scratch.file("broken.tile", AXPY.replace("%x, %at", "%x %at"));
    let broken = monotile(&line("kernel check {}", &file));
    assert_eq!(broken.code, 2);
    assert!(broken.err.contains("error[E75]") && broken.err.contains("broken.tile:12"), "{}", broken.err);
    let file = scratch.file("wrong.tile", AXPY.replace("add %scaled, %old", "add %scaled, %n"));
    let wrong = monotile(&line("kernel run {}", &file));
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.starts_with("error[E71]"), "{}", wrong.err);
}

#[test]
fn kernels_that_are_not_there() {
    monotile(&["kernel", "run", "liner"]).refused(&["there is no kernel `liner`"]);
    monotile(&["kernel", "run", "no/such.tile"]).refused(&["no/such.tile: can't be read"]);
    monotile(&["kernel", "run", "linear", "--generic", "Q=1"]).refused(&["--generic Q=1", "BM"]);
    monotile(&["kernel", "run", "linear", "--generic", "W=f64"]).refused(&["`f64` is not an element type"]);
    monotile(&["kernel", "list", "--manifest-path", "no/such"]).refused(&["--manifest-path no/such"]);
    let odd = monotile(&["kernel", "check", "linear", "--generic", "BM=24"]);
    assert_eq!(odd.code, 2);
    let odd = monotile(&["kernel", "run", "linear", "--generic", "BM=24"]);
    assert!(odd.code == 2 && odd.err.starts_with("error[E"), "{}", odd.err);
}

#[test]
fn error_codes_have_pages() {
    assert!(monotile(&["explain", "e05"]).good().starts_with("# E05: "));
    assert!(monotile(&["explain"]).good().lines().count() > 20);
    monotile(&["explain", "E99"]).refused(&["there is no error code `E99`"]);
}

#[test]
fn a_kernel_is_printed_as_source() {
    let text = monotile(&["kernel", "explain", "linear", "--as-source"]).good();
    for part in [
        "use monotile::prelude::*;",
        "pub fn linear(",
        "Ring::<",
        "role(\"load\"",
        "ring.acquire().fill(",
        ".release();",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}
