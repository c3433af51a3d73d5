//! Every kernel of the library as source with explicit roles: the files beside this one are what `kernel explain --as-source` prints,
//! and they stage to the same ops and lower to the same code as the kernels themselves, with the schedules that they have.
//!
//! `UPDATE_PRINTED=1 cargo test -p tile-tests --test library explicit` writes the files anew.

use std::path::Path;
use tile_codegen::explain::source::source_file;
use tile_codegen::lower::{Assembled, Machine, ParamFacts, assemble};
use tile_codegen::passes::{explicit_roles, lower_to_roles};
use tile_codegen::schedule::complete;
use tile_codegen::target;
use tile_lang::build::InstanceError;
use tile_lang::ir::{Kernel, Resources};
use tile_models::kernels::library::{samples, schedules};

/// An instance of what was printed.
type Staged = fn() -> Result<Kernel, InstanceError>;

/// The printed kernels, a file each; those with a schedule of the library in files named after both. `kernel` is the kernel's name where
/// it is not the file's, `schedule` what stands beside it in the file, if anything does.
macro_rules! printed {
    ($($file:ident $(: $kernel:ident $(under $schedule:ident)?)?),* $(,)?) => {
        $(
            #[allow(unused_variables, clippy::all, reason = "printed by the compiler")]
            mod $file;
        )*
        const PRINTED: &[(&str, Staged)] =
            &[$((stringify!($file), || printed!(@def $file $($kernel $($schedule)?)?).instance(&[]))),*];
    };
    (@def $file:ident) => { $file::$file::DEF };
    (@def $file:ident $kernel:ident) => { $file::$kernel::DEF };
    (@def $file:ident $kernel:ident $schedule:ident) => { $file::$schedule::DEF };
}

printed!(
    embed,
    gemm: gemm under chosen,
    gemm_nn: gemm_nn under chosen,
    gemm_tn: gemm_tn under chosen,
    gemm_tt: gemm_tt under chosen,
    gemm_batched: gemm_batched under chosen,
    gemm_bias: gemm_bias under chosen,
    gemm_residual: gemm_residual under chosen,
    gemm_quantised: gemm_quantised under chosen,
    gemm_quantised_rows: gemm_quantised_rows under chosen,
    gemm_fp8: gemm_fp8 under chosen,
    gemm_fp8_rows: gemm_fp8_rows under chosen,
    gemm_fp8_blocks: gemm_fp8_blocks under chosen,
    gemm_grouped: gemm_grouped under chosen,
    gemm_mxf4,
    gemm_nvf4,
    rms_norm,
    prefill,
    linear,
    linear_fp8,
    linear_mxfp4,
    linear_add,
    linear_add_fp8,
    linear_add_mxfp4,
    swiglu,
    swiglu_fp8,
    swiglu_mxfp4,
    rope_cache,
    rope_rows,
    attention,
    combine,
    combine_sink,
    without_padding,
    blocks,
    project: project under chosen,
    project_add,
    project_gated,
    project_mxfp4: project_mxfp4 under chosen,
    project_nvfp4: project_nvfp4 under chosen,
    project_add_mxfp4: project_add_mxfp4 under chosen,
    project_gated_mxfp4,
    router_logits,
    route,
    experts_swiglu,
    experts_swiglu_fp8,
    experts_swiglu_mxfp4,
    experts_down,
    experts_down_fp8,
    experts_down_mxfp4,
    head,
    head_fp8,
    logits_max,
    sample,
    advance,
    linear_shallow: linear,
    linear_warpgroup: linear,
    linear_half: linear under half,
    linear_mxfp4_alone: linear_mxfp4,
    attention_keys_and_values: attention under keys_and_values,
    gemm_neighbours: gemm under neighbours,
    gemm_fp8_blocks_fp8_blocks_neighbours: gemm_fp8_blocks under fp8_blocks_neighbours,
    gemm_fp8_blocks_fp8_blocks_in_turns: gemm_fp8_blocks under fp8_blocks_in_turns,
    prefill_overlapped: prefill under overlapped,
    prefill_in_turns: prefill under in_turns,
    prefill_overlapped_in_turns: prefill under overlapped_in_turns,
    gemm_waiting: gemm under waiting,
    gemm_apart: gemm under apart,
);

/// The library's kernels, and those with schedules under each of theirs, by the names of their files.
fn instances() -> Vec<(String, Kernel)> {
    let samples: Vec<Kernel> =
        samples().iter().map(|s| s.def.instance(&s.generics).unwrap_or_else(|e| panic!("{e}"))).collect();
    let scheduled: Vec<(String, Kernel)> = schedules()
        .iter()
        .map(|def| {
            let kernel = samples.iter().find(|k| k.name == def.kernel.name).unwrap().clone();
            let file = format!("{}_{}", kernel.name, def.name);
            let schedule = def.schedule(&kernel).unwrap_or_else(|e| panic!("{e}"));
            (file, schedule.attach(kernel).unwrap_or_else(|e| panic!("{e}")))
        })
        .collect();
    samples.into_iter().map(|k| (k.name.clone(), k)).chain(scheduled).collect()
}

/// The machine that a kernel is lowered for: the tuned one, if it can.
fn machine(kernel: &Kernel) -> Machine {
    target::first_for([kernel]).unwrap_or(target::DEFAULT).machine()
}

/// What the kernel means, without names, generics and places.
fn bare(kernel: &Kernel) -> String {
    let chosen = &assembled(kernel).chosen[0].kernel;
    let mut k = lower_to_roles(chosen, machine(kernel).group_bytes).unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
    k.resources = Resources::default();
    k.generics.clear();
    k.values.iter_mut().for_each(|v| v.name = None);
    k.blocks.iter_mut().for_each(|b| b.label = None);
    k.schedule = None;
    format!("{k:#}")
}

fn assembled(kernel: &Kernel) -> Assembled {
    let facts = vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()];
    let assembled = assemble(&kernel.name, std::slice::from_ref(kernel), &[facts], machine(kernel));
    assembled.unwrap_or_else(|e| panic!("{}: {e}", kernel.name))
}

/// The kernel's module in the LLVM dialect, without places.
fn lowered(kernel: &Kernel) -> String {
    let mlir = assembled(kernel).mlir;
    let line = |l: &str| l.split(" loc(").next().unwrap_or_default().to_owned();
    // Lines with `#` name the files and functions of places.
    mlir.lines().filter(|l| !l.starts_with('#')).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_files_are_what_is_printed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/explicit");
    for (name, kernel) in instances() {
        let chosen = &assembled(&kernel).chosen[0].kernel;
        let explicit = explicit_roles(chosen, machine(&kernel).group_bytes).unwrap_or_else(|e| panic!("{e}"));
        let text = source_file(&explicit).unwrap_or_else(|e| panic!("{e}"));
        let file = folder.join(format!("{name}.rs"));
        if std::env::var_os("UPDATE_PRINTED").is_some() {
            std::fs::write(&file, text).unwrap();
        } else {
            let have = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(have == text, "{} is not what is printed: UPDATE_PRINTED=1 writes it anew", file.display());
        }
    }
}

#[test]
fn what_is_printed_stages_to_the_same_kernel_and_lowers_to_the_same_code() {
    let kernels = instances();
    assert_eq!(PRINTED.len(), kernels.len(), "a kernel of the library has no file here");
    for (file, kernel) in kernels {
        let (_, staged) = PRINTED.iter().find(|(name, _)| *name == file).unwrap();
        let printed = staged().unwrap_or_else(|e| panic!("{file}: {e}"));
        let (want, have) = (bare(&kernel), bare(&printed));
        if want != have {
            let at = want.lines().zip(have.lines()).position(|(a, b)| a != b).unwrap_or(0);
            let near = |text: &str| text.lines().skip(at.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n");
            panic!("{file}: line {at}\n{}\n--- printed:\n{}", near(&want), near(&have));
        }
        let (want, have) = (lowered(&kernel), lowered(&printed));
        let differ = want.lines().zip(have.lines()).find(|(a, b)| a != b);
        assert!(want == have, "{file} lowers to other code: {differ:?}");
    }
}

/// What the compiler chose for a kernel with explicit roles, given back, leaves nothing open and changes nothing.
#[test]
fn kernels_with_explicit_roles_take_their_whole_schedule() {
    for file in ["gemm", "gemm_neighbours", "linear_half", "linear_warpgroup", "embed"] {
        let (_, staged) = PRINTED.iter().find(|(name, _)| *name == file).unwrap();
        let kernel = staged().unwrap_or_else(|e| panic!("{file}: {e}"));
        let chosen = complete(&assembled(&kernel), machine(&kernel)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let text = chosen.to_string();
        let again = chosen.attach(kernel.clone()).unwrap_or_else(|e| panic!("{file}: {text}\n{e}"));
        assert!(lowered(&kernel) == lowered(&again), "{file}:\n{text}");
    }
}
