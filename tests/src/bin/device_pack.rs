//! Compiles the device suite's kernels, and models, into a folder to be carried to a machine with a GPU.

use clap::Parser;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tile_codegen::target::{self, Target};
use tile_codegen::{Compiled, Debug};
use tile_models::graph::{CHUNK_ROWS, GraphOptions};
use tile_tests::cases::sweep::{Sweep, Variant};
use tile_tests::cases::{self, Case, Recipe};
use tile_tests::generated;
use tile_tests::model;
use tile_tests::{pack, targets};

/// Compiles the device suite's kernels, and models, into a folder.
#[derive(Parser)]
struct Args {
    /// Where artifacts go.
    folder: PathBuf,
    /// Only cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Cases for measurements too.
    #[arg(long)]
    large: bool,
    /// Sweeps alone: every variant that can be had. With `--only`, sweeps whose name contains that.
    #[arg(long, conflicts_with_all = ["large", "generated", "models"])]
    sweep: bool,
    /// This many generated kernels too.
    #[arg(long, default_value_t = 0)]
    generated: u64,
    /// Folders of models.
    #[arg(long, num_args = 1..)]
    models: Vec<PathBuf>,
    /// Positions of the models' caches.
    #[arg(long, default_value_t = 512)]
    context: usize,
    /// The architecture; `device-suite` is told the same. A GPU runs what is made for its own, and compiles the PTX of older ones
    /// (`sm_80`, `sm_89`) when it loads it.
    #[arg(long, default_value = target::DEFAULT.name, value_parser = targets::named)]
    target: &'static Target,
}

/// What a kernel may take on its way to PTX.
const LIMIT: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let compiler = pack::compiler()?;
    std::fs::create_dir_all(&args.folder)?;
    if args.sweep {
        return sweeps(&args, &compiler);
    }
    let start = Instant::now();
    let (mut count, mut fresh, mut failed, mut refused, mut slow) = (0, 0, 0, 0, Duration::ZERO);
    let mut pack = |case: Case, debug: Debug| {
        if args.only.as_ref().is_some_and(|only| !case.name.contains(only)) {
            return;
        }
        if let Some(reason) = targets::refusal(&case.plan, args.target) {
            refused += 1;
            println!("not for {}: {}: {reason}", args.target.name, case.name);
            return;
        }
        count += 1;
        match pack::save(&case.plan, &args.folder, &case.name, &compiler, args.target, debug) {
            Ok(None) => {}
            Ok(Some(compiled)) => {
                fresh += 1;
                slow = slow.max(compiled.times.llvm);
                report(&case.name, &compiled);
            }
            Err(e) => {
                failed += 1;
                println!("FAIL {e}");
            }
        }
    };
    cases::all()?.into_iter().for_each(|case| pack(case, Debug::Strip));
    cases::said()?.into_iter().for_each(|said| pack(said.case, Debug::Keep));
    let fits = |r: &Recipe| args.large && args.only.as_ref().is_none_or(|only| r.may_contain(only));
    for recipe in cases::large().iter().filter(|r| fits(r)) {
        pack((recipe.make)()?, Debug::Strip);
    }
    println!(
        "{count} cases for {}, {fresh} compiled, {failed} failed, {refused} not for this target, in {:.1?}; slowest to PTX {slow:.2?}{}",
        args.target.name,
        start.elapsed(),
        if slow > LIMIT { " (limit 1 s)" } else { "" }
    );
    failed += generated_kernels(&args, &compiler);
    for folder in &args.models {
        let opened = model::Model::open(folder)?;
        let options = GraphOptions { context: args.context, ..GraphOptions::default() };
        let prompts = options.prompt(CHUNK_ROWS);
        for (options, name) in [(options, opened.name.clone()), (prompts, model::for_prompts(&opened.name))] {
            let plan = opened.plan(options)?;
            match pack::save(&plan, &args.folder, &name, &compiler, args.target, Debug::Strip)? {
                Some(compiled) => report(&name, &compiled),
                None => println!("{name}: unchanged"),
            }
        }
    }
    std::process::exit(i32::from(failed > 0));
}

/// Packs the variants of sweeps, as many at a time as there are processors, and says which can't be had and why.
fn sweeps(args: &Args, compiler: &str) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let chosen = |s: &Sweep| args.only.as_ref().is_none_or(|only| s.name().contains(only));
    let list: Vec<Sweep> = cases::sweep::sweeps().into_iter().filter(chosen).collect();
    let variants: Vec<(Sweep, Variant)> =
        list.iter().flat_map(|s| s.variants().into_iter().map(move |v| (*s, v))).collect();
    let (next, packed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(|| {
                while let Some((sweep, variant)) = variants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let saved = sweep.case(variant).map_err(Into::into).and_then(|case| {
                        pack::save(&case.plan, &args.folder, &case.name, compiler, args.target, Debug::Strip)
                    });
                    match saved {
                        Ok(_) => drop(packed.fetch_add(1, Ordering::Relaxed)),
                        Err(e) => {
                            let (tile, text) = (variant.tile, e.to_string());
                            let first = text.lines().next().unwrap_or_default();
                            println!("{} {tile:?} {}: {first}", sweep.name(), variant.schedule_name());
                        }
                    }
                }
            });
        }
    });
    let (packed, all) = (packed.into_inner(), variants.len());
    println!("{packed} of {all} variants of {} sweeps packed in {:.1?}", list.len(), start.elapsed());
    if packed == 0 { Err("no variant could be had".into()) } else { Ok(()) }
}

/// Packs generated kernels, as many programs at a time as there are processors; how many programs failed.
fn generated_kernels(args: &Args, compiler: &str) -> usize {
    if args.generated == 0 {
        return 0;
    }
    let (start, batches) = (Instant::now(), generated::batches(args.generated, args.target));
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one = |seeds: &[u64]| -> Result<(), String> {
        let batch = generated::batch(seeds)?;
        let saved = pack::save(&batch.case.plan, &args.folder, &batch.name, compiler, args.target, Debug::Strip);
        saved.map(drop).map_err(|e| e.to_string())
    };
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(|| {
                while let Some(seeds) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(e) = one(seeds) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("FAIL generated kernels {seeds:?}: {e}");
                    }
                }
            });
        }
    });
    let (failed, kernels) = (failed.into_inner(), batches.iter().map(|b| b.len() as u64).sum::<u64>());
    println!(
        "{kernels} generated kernels in {} programs, {failed} failed, in {:.1?}; {} are not for this target",
        batches.len(),
        start.elapsed(),
        args.generated - kernels
    );
    failed
}

fn report(name: &str, c: &Compiled) {
    println!(
        "{name}: {:.2?} to PTX, {:.2?} in ptxas, {} registers, {} bytes spilled",
        c.times.llvm, c.times.ptxas, c.image.registers, c.image.spills
    );
}
