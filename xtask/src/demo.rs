//! The shortest way to see it work: compile the model that ships with the sources, and let it write.

use crate::setup::setup;
use crate::shell::{cargo, root, run, say};
use std::path::Path;

const MODEL: &str = "models/pico";
const ARTIFACT: &str = "target/demo/pico.tile";
const PROMPT: &str = "def fibonacci(n):";

/// Sets up, builds the command, compiles the model ahead of time and generates text.
pub fn demo() -> Result<(), String> {
    if !root().join(MODEL).join("config.json").is_file() {
        return Err(format!("{MODEL} holds no model (there is no config.json in it)"));
    }
    let tools = setup()?.tools;
    run(&mut cargo(&["build", "--release", "--package", "monotile"], Some(&tools)))?;
    std::fs::create_dir_all(root().join("target/demo")).map_err(|e| format!("target/demo can't be made: {e}"))?;
    let monotile = |args: &[&str]| {
        let all = [&["run", "--quiet", "--release", "--package", "monotile", "--"], args].concat();
        run(&mut cargo(&all, Some(&tools)))
    };
    monotile(&["compile", "--model", MODEL, "--out", ARTIFACT])?;
    let generate = ["generate", "--model", MODEL, "--prompt", PROMPT, "--max-new-tokens", "48"];
    if has_gpu() {
        say("a GPU is here: the compiled kernel runs on it");
        monotile(&[&generate[..], &["--artifact", ARTIFACT, "--device", "cuda:0"]].concat())
    } else {
        say("no GPU is here: the simulator runs the same plan");
        monotile(&[&generate[..], &["--device", "sim"]].concat())
    }
}

/// Whether NVIDIA's driver has made a device.
fn has_gpu() -> bool {
    ["/dev/nvidia0", "/dev/dxg"].iter().any(|device| Path::new(device).exists())
}
