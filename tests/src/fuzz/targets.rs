//! What is fuzzed, and with which seeds.

use super::kept;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tile_codegen::lower::{self, Machine, ParamFacts};
use tile_lang::artifact::{Artifact, Image, MAGIC};
use tile_lang::generate::Program;
use tile_lang::interp::Prepared;
use tile_lang::ir::{self, Kernel};
use tile_lang::plan::Plan;
use tile_lang::schedule;
use tile_models::checkpoint::Checkpoint;
use tile_models::config::ModelConfig;
use tile_models::tokenizer::Tokenizer;

/// A reader of input from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `.tile` files: read, verified, printed, lowered to code.
    Tile,
    /// `.sched` files.
    Sched,
    /// Checkpoints.
    Safetensors,
    /// `config.json` of models.
    Config,
    /// `tokenizer.json` of models.
    Tokenizer,
    /// Compiled artifacts, with a checksum that is right.
    Artifact,
}

/// Bytes before an artifact's body: its magic and its checksum.
const ARTIFACT_HEAD: usize = MAGIC.len() + 32;

impl Target {
    /// All of them.
    pub const ALL: [Target; 6] =
        [Target::Tile, Target::Sched, Target::Safetensors, Target::Config, Target::Tokenizer, Target::Artifact];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Target::Tile => "tile",
            Target::Sched => "sched",
            Target::Safetensors => "safetensors",
            Target::Config => "config",
            Target::Tokenizer => "tokenizer",
            Target::Artifact => "artifact",
        }
    }

    /// Seeds: what a copy of the repository has of this form, and what the target's folder in it holds.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn seeds(self, root: &Path) -> std::io::Result<Vec<Vec<u8>>> {
        let golden = root.join("models/tests/golden");
        let mut seeds: Vec<Vec<u8>> = kept(root, self)?.into_iter().map(|(_, bytes)| bytes).collect();
        let mut files: Vec<PathBuf> = Vec::new();
        match self {
            Target::Tile => {
                let page = std::fs::read_to_string(root.join("docs/text-form.md"))?;
                let blocks = page.split("```tile\n").skip(1).filter_map(|b| b.split("```").next());
                seeds.extend(blocks.map(|b| b.as_bytes().to_vec()));
                seeds.extend((0..8).map(|seed| format!("{:#}", Program::random(seed).kernel()).into_bytes()));
            }
            Target::Config => {
                files.push(root.join("models/pico/config.json"));
                files.push(golden.join("llama-nano/config.json"));
                files.push(golden.join("mimo-nano-mxfp4/config.json"));
                files.push(golden.join("mimo-nano-fp8/config.json"));
            }
            Target::Safetensors => seeds.push(small_checkpoint()),
            Target::Artifact => {
                let file = std::env::temp_dir().join(format!("monotile-fuzz-seed-{}.tile", std::process::id()));
                let case = crate::generated::batch(&[3]).map_err(std::io::Error::other)?.case;
                for plan in [Plan::new("empty"), case.plan] {
                    Artifact::new(plan, image()).save(&file).map_err(std::io::Error::other)?;
                    seeds.push(std::fs::read(&file)?.split_off(ARTIFACT_HEAD));
                }
                std::fs::remove_file(&file)?;
            }
            // Their folders have seeds.
            Target::Sched | Target::Tokenizer => {}
        }
        for file in files {
            seeds.push(std::fs::read(file)?);
        }
        Ok(seeds)
    }

    /// Reads an input; whether it was accepted. Files are written to `scratch`, which the target has for itself.
    pub fn run(self, scratch: &Path, input: &[u8]) -> bool {
        let write = |name: &str, bytes: &[u8]| -> PathBuf {
            let file = scratch.join(name);
            std::fs::write(&file, bytes).unwrap_or_else(|e| panic!("{} can't be written: {e}", file.display()));
            file
        };
        match self {
            Target::Tile => tile(input),
            Target::Sched => std::str::from_utf8(input).is_ok_and(|text| match schedule::parse_all(text, "x.sched") {
                Ok(all) => {
                    all.iter().for_each(|s| drop(s.to_string()));
                    true
                }
                Err(e) => {
                    assert!(!e.to_string().is_empty());
                    false
                }
            }),
            Target::Safetensors => {
                let file = write("model.safetensors", input);
                Checkpoint::open_file(&file).is_ok_and(|c| {
                    let names: Vec<String> = c.names().map(str::to_owned).collect();
                    names.iter().all(|n| c.get(n).is_some())
                })
            }
            Target::Config => ModelConfig::from_file(&write("config.json", input)).is_ok(),
            Target::Tokenizer => {
                write("tokenizer.json", input);
                Tokenizer::open(scratch).is_ok_and(|t| {
                    let _ = t.decode(&[0, 1, u32::MAX]);
                    t.encode("a bc\u{0} é").is_ok()
                })
            }
            Target::Artifact => {
                // The checksum is no secret: what is behind it must be looked at with the same care.
                let mut head = MAGIC.to_vec();
                head.extend(Sha256::digest(input));
                head.extend(input);
                Artifact::load(&write("a.tile", &head)).is_ok()
            }
        }
    }
}

fn tile(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let kernels = match ir::parse_all(text, "x.tile") {
        Ok(kernels) => kernels,
        Err(e) => {
            assert!(e.0.iter().all(|d| !d.message.is_empty() && !d.notes.is_empty()), "a message without a fix: {e}");
            return false;
        }
    };
    let mut accepted = !kernels.is_empty();
    for kernel in kernels {
        let printed = kernel.to_string();
        let again = ir::parse_all(&printed, "x.tile").unwrap_or_else(|e| panic!("what is printed does not read: {e}"));
        assert_eq!(again[0].to_string(), printed, "printing changes what is read");
        if ir::verify(&kernel).is_err() {
            accepted = false;
            continue;
        }
        let _ = Prepared::new(&kernel);
        accepted &= code(&kernel);
    }
    accepted
}

/// Whether code can be made.
fn code(kernel: &Kernel) -> bool {
    let facts = vec![vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()]];
    lower::assemble(&kernel.name, std::slice::from_ref(kernel), &facts, Machine::SM_90A).is_ok()
}

/// A checkpoint of two tensors.
fn small_checkpoint() -> Vec<u8> {
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}}"#;
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend([0; 24]);
    out
}

fn image() -> Image {
    Image {
        target: "sm_90a".into(),
        entry: "monotile_program".into(),
        threads: 384,
        cluster: 1,
        shared_bytes: 1024,
        ptx: ".version 8.6\n".into(),
        cubin: vec![1, 2, 3],
        packings: vec![vec![None]],
        registers: 168,
        spills: 0,
        sites: Vec::new(),
        boxes: Vec::new(),
    }
}
