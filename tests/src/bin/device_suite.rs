//! The device suite: kernels and models on the GPU, against the reference and the simulator. Needs a driver and nothing else.

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use tile_codegen::target::{self, Target};
use tile_lang::artifact::Artifact;
use tile_lang::debug::capture;
use tile_lang::exec::Executor;
use tile_lang::generate::Compared;
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::session::verify::Report;
use tile_runtime::{GpuExecutor, Timing, TimingOptions};
use tile_tests::behaviour;
use tile_tests::cases::{self, Case, Recipe};
use tile_tests::compare::{Errors, compare};
use tile_tests::generated;
use tile_tests::lockstep::{self, Difference};
use tile_tests::model::{APART, Failure, Model, PromptSpeed, for_prompts};
use tile_tests::results::{CEILING, Row, Run};
use tile_tests::said;
use tile_tests::sweep;
use tile_tests::targets;

/// Runs what `device-pack` compiled into a folder.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Artifacts of the cases.
    folder: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// Only cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Measure times too, and run the large cases.
    #[arg(long)]
    bench: bool,
    /// Skip the simulator: compare with the reference alone.
    #[arg(long)]
    no_sim: bool,
}

#[derive(clap::Args)]
struct Common {
    /// Where rows of results are appended.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Of the source, for the results.
    #[arg(long)]
    commit: Option<String>,
    /// The device's number.
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// What `device-pack` compiled for. What that target can't do is left out.
    #[arg(long, default_value = target::DEFAULT.name, value_parser = targets::named)]
    target: &'static Target,
}

impl Common {
    /// The name of a suite's results: those of the tuned target are not mixed with others.
    fn suite(&self, name: &str) -> String {
        if self.target == target::DEFAULT { name.into() } else { format!("{name}-{}", self.target.name) }
    }

    /// The artifact of a plan.
    fn artifact(&self, folder: &Path, name: &str) -> Result<Artifact, Failure> {
        let artifact = Artifact::load(&folder.join(format!("{name}.tile")))?;
        if artifact.image.target != self.target.name {
            let (made, asked) = (&artifact.image.target, self.target.name);
            return Err(
                format!("`{name}` is packed for {made}, not for {asked}; say `--target {made}` or pack again").into()
            );
        }
        Ok(artifact)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Generated kernels against the interpreter, as `device-pack --generated N` compiled them.
    Generated {
        /// Artifacts of the kernels.
        folder: PathBuf,
        /// How many.
        #[arg(long, default_value_t = 64)]
        count: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Products in every tile and under every schedule, as `device-pack --sweep` compiled them: checked, and measured in turns.
    Sweep {
        /// Artifacts of the variants.
        folder: PathBuf,
        /// Only sweeps whose name contains this.
        #[arg(long)]
        only: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Whole models: the golden answers, and greedy texts equal to the simulator's.
    Models {
        /// Artifacts of the models.
        #[arg(long)]
        artifacts: PathBuf,
        /// Folders of models.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// Tokens to continue each golden prompt by.
        #[arg(long, default_value_t = 48)]
        max_new: usize,
        /// Tokens of the measured run; 0 for none.
        #[arg(long, default_value_t = 224)]
        measure: usize,
        #[command(flatten)]
        common: Common,
    },
}

/// Largest relative difference from the simulator, over all reals that an instruction writes.
const SIM_TOLERANCE: f64 = 1e-3;

fn main() {
    let args = Args::parse();
    let outcome = match args.command {
        Some(Command::Models { artifacts, folders, max_new, measure, common }) => {
            models(&artifacts, &folders, max_new, measure, &common)
        }
        Some(Command::Sweep { folder, only, common }) => sweeps(&folder, only.as_deref(), &common),
        Some(Command::Generated { folder, count, common }) => generated_kernels(&folder, count, &common),
        None => kernels(&args),
    };
    match outcome {
        Ok(0) => println!("all passed"),
        Ok(failed) => {
            println!("{failed} failed");
            std::process::exit(1);
        }
        Err(e) => {
            eprintln!("device-suite: {e}");
            std::process::exit(2);
        }
    }
}

/// Runs generated kernels; how many disagree with the interpreter or fail.
fn generated_kernels(folder: &Path, count: u64, common: &Common) -> Result<usize, Failure> {
    let run = Run::new(&common.suite("generated"), common.results.clone(), common.commit.clone());
    let (mut total, mut failed, mut machine) = (Compared::default(), 0, String::new());
    let batches = generated::batches(count, common.target);
    let unfit = count - batches.iter().map(|b| b.len() as u64).sum::<u64>();
    for seeds in batches {
        let batch = generated::batch(&seeds)?;
        let outcome = (|| -> Result<Vec<Compared>, Failure> {
            let artifact = common.artifact(folder, &batch.name)?;
            if artifact.plan != batch.case.plan {
                return Err("the artifact is of another plan; pack again".into());
            }
            let mut gpu = GpuExecutor::new(common.device, &artifact, &batch.case.weights)?;
            machine = gpu.device();
            Ok(batch.case.compare(&mut gpu)?)
        })();
        match outcome {
            Ok(list) => {
                for (seed, c) in seeds.iter().zip(list) {
                    total.elements += c.elements;
                    total.disagreements += c.disagreements;
                    total.worst = total.worst.max(c.worst);
                    if c.disagreements > 0 {
                        failed += 1;
                        println!(
                            "FAIL seed {seed}: {} of {} elements, {:.2} of the bound; {:?}",
                            c.disagreements, c.elements, c.worst, c.outputs
                        );
                    }
                }
            }
            Err(e) => {
                failed += seeds.len();
                println!("FAIL {}, seeds {seeds:?}: {e}", batch.name);
            }
        }
    }
    println!(
        "{} generated kernels on {machine}: {} elements, {} disagree, approximations {:.2} of their bound; {unfit} are not for {}",
        count - unfit,
        total.elements,
        total.disagreements,
        total.worst,
        common.target.name
    );
    if failed == 0 {
        let shape = format!("{} programs, {} elements", count - unfit, total.elements);
        run.write(Row { work: "generated".into(), shape, error: Some(total.worst), machine, ..Row::default() })?;
    }
    Ok(failed)
}

/// Runs sweeps; how many variants are wrong.
fn sweeps(folder: &Path, only: Option<&str>, common: &Common) -> Result<usize, Failure> {
    let run = Run::new(&common.suite("sweep"), common.results.clone(), common.commit.clone());
    let mut failed = 0;
    for sweep in cases::sweep::sweeps().iter().filter(|s| only.is_none_or(|only| s.name().contains(only))) {
        let outcome = sweep::run(sweep, folder, common.device, &run)?;
        let right = outcome.measured.len();
        println!(
            "{}: {right} variants right, {} wrong, {} not packed",
            sweep.name(),
            outcome.failed.len(),
            outcome.absent
        );
        outcome.failed.iter().for_each(|e| println!("FAIL {e}"));
        for m in &outcome.measured {
            let [rows, columns, terms] = sweep.extents;
            let rate = (2 * rows * columns * terms) as f64 / m.us * 1e-6;
            println!("     {:72} {:9.1} us {:9.1} us least {rate:8.0} TFLOP/s", m.name, m.us, m.us_min);
        }
        failed += outcome.failed.len();
    }
    Ok(failed)
}

/// What became of a case.
struct Outcome {
    errors: Errors,
    /// From the simulator.
    difference: Option<Difference>,
    timing: Option<Timing>,
    /// Median µs of a pass among many that follow each other, where products are measured.
    sustained: Option<f64>,
    sha: String,
    machine: String,
}

impl Outcome {
    fn passed(&self, case: &Case) -> bool {
        let alike = |d: &Difference| d.relative <= SIM_TOLERANCE && d.integers == 0;
        self.errors.passed(case) && self.difference.as_ref().is_none_or(alike)
    }
}

fn kernels(args: &Args) -> Result<usize, Failure> {
    let folder = args.folder.as_ref().ok_or("a folder of artifacts is needed; `device-pack` makes one")?;
    let run = Run::new(&args.common.suite("device"), args.common.results.clone(), args.common.commit.clone());
    let mut failed = 0;
    println!(
        "{:4} {:64} {:>9} {:>7} {:>9} {:>9} {:>9} {:>6} {:>9} {:>8}",
        "", "case", "error", "unequal", "from sim", "us", "GB/s", "share", "sustained", "TFLOP/s"
    );
    let mut measure = |case: Case| -> Result<(), Failure> {
        if args.only.as_ref().is_some_and(|only| !case.name.contains(only)) {
            return Ok(());
        }
        if let Some(reason) = targets::refusal(&case.plan, args.common.target) {
            println!("none {}: {reason}", case.name);
            return Ok(());
        }
        match one(args, folder, &case) {
            Ok(outcome) => {
                let ok = outcome.passed(&case);
                failed += usize::from(!ok);
                print(&case, &outcome, ok);
                // Results of a run that went wrong are no results.
                if ok {
                    run.write(row(&case, &outcome))?;
                }
            }
            Err(e) => {
                failed += 1;
                println!("FAIL {}: {e}", case.name);
            }
        }
        Ok(())
    };
    cases::all()?.into_iter().try_for_each(&mut measure)?;
    let fits = |r: &Recipe| args.bench && args.only.as_ref().is_none_or(|only| r.may_contain(only));
    for recipe in cases::large().iter().filter(|r| fits(r)) {
        measure((recipe.make)()?)?;
    }
    Ok(failed + said_by_kernels(args, folder, &run)?)
}

/// Runs the kernels that say something about themselves; how many said something else than on the simulator.
fn said_by_kernels(args: &Args, folder: &Path, run: &Run) -> Result<usize, Failure> {
    let mut failed = 0;
    for said in cases::said()? {
        let case = &said.case;
        if args.only.as_ref().is_some_and(|only| !case.name.contains(only)) {
            continue;
        }
        let outcome = (|| -> Result<Outcome, Failure> {
            let artifact = args.common.artifact(folder, &case.name)?;
            if artifact.plan != case.plan {
                return Err("the artifact is of another plan; pack again".into());
            }
            if artifact.image.sites.is_empty() {
                return Err("the artifact was made without what its kernels say; pack again".into());
            }
            let mut gpu = GpuExecutor::new(args.common.device, &artifact, &case.weights)?;
            let errors = said::check(&said, &mut gpu)?;
            case.fill(&mut gpu)?;
            let (trace, _) = capture(|| gpu.trace(0..1));
            said::check_marks(&said, &trace?.marks)?;
            let (sha, machine) = (tile_lang::ptx::sha256(&artifact.image.ptx), gpu.device());
            Ok(Outcome { errors, difference: None, timing: None, sustained: None, sha, machine })
        })();
        match outcome {
            Ok(outcome) => {
                let ok = outcome.passed(case);
                failed += usize::from(!ok);
                print(case, &outcome, ok);
                if ok {
                    run.write(row(case, &outcome))?;
                }
            }
            Err(e) => {
                failed += 1;
                println!("FAIL {}: {e}", case.name);
            }
        }
    }
    Ok(failed)
}

fn one(args: &Args, folder: &Path, case: &Case) -> Result<Outcome, Failure> {
    let artifact = args.common.artifact(folder, &case.name)?;
    if artifact.plan != case.plan {
        return Err("the artifact is of another plan; pack again".into());
    }
    let mut gpu = GpuExecutor::new(args.common.device, &artifact, &case.weights)?;
    let difference = if args.no_sim {
        case.fill(&mut gpu)?;
        gpu.run(0..1, 1, &mut |_| std::ops::ControlFlow::Continue(()))?;
        None
    } else {
        let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native)?;
        case.fill(&mut sim)?;
        lockstep::pass(&mut sim, &mut gpu)?.pop()
    };
    let errors = compare(case, &mut gpu)?;
    let timing = match args.bench {
        true => {
            case.fill(&mut gpu)?;
            Some(gpu.time(0..1, TimingOptions::default())?)
        }
        false => None,
    };
    let sustained = match &timing {
        Some(t) if case.large && case.flops > 0 => Some(sustained(&mut gpu, t.median_us)?),
        _ => None,
    };
    let machine = gpu.device();
    Ok(Outcome { errors, difference, timing, sustained, sha: tile_lang::ptx::sha256(&artifact.image.ptx), machine })
}

/// Launches of many passes each, some milliseconds long, so that starting and ending a launch hardly counts and clocks are those of steady work.
fn sustained(gpu: &mut GpuExecutor, us: f64) -> Result<f64, Failure> {
    const LAUNCH_US: f64 = 5000.0;
    let passes = ((LAUNCH_US / us) as usize).clamp(2, 256);
    let options = TimingOptions { repeats: 7, warmup: 2, passes, flush_l2: false };
    Ok(gpu.time(0..1, options)?.median_us / passes as f64)
}

fn print(case: &Case, o: &Outcome, ok: bool) {
    let sim = o.difference.as_ref().map_or("-".into(), |d| format!("{:.1e}", d.relative));
    let unequal = o.errors.unequal + o.difference.as_ref().map_or(0, |d| d.integers);
    let (us, rate, share) = match &o.timing {
        Some(t) if t.median_us > 0.0 => {
            let rate = case.bytes as f64 / (t.median_us * 1e-6);
            let share = format!("{:.1} %", 100.0 * rate / CEILING);
            (format!("{:.1}", t.median_us), format!("{:.0}", rate / 1e9), share)
        }
        _ => ("-".into(), "-".into(), "-".into()),
    };
    let (sustained, work) = match o.sustained {
        Some(us) => (format!("{us:.1}"), format!("{:.0}", case.flops as f64 / us * 1e-6)),
        None => ("-".into(), "-".into()),
    };
    let state = if ok { "ok" } else { "FAIL" };
    println!(
        "{state:4} {:64} {:>9.1e} {unequal:>7} {sim:>9} {us:>9} {rate:>9} {share:>6} {sustained:>9} {work:>8}",
        case.name, o.errors.largest
    );
}

fn row(case: &Case, o: &Outcome) -> Row {
    let mut row = Row {
        work: case.kernel.clone(),
        shape: case.shape.clone(),
        dtype: case.dtype.clone(),
        us: o.timing.as_ref().map(|t| t.median_us),
        us_min: o.timing.as_ref().map(|t| t.min_us),
        bytes: case.bytes,
        flops: case.flops,
        error: Some(o.errors.largest),
        ptx_sha256: o.sha.clone(),
        machine: o.machine.clone(),
        ..Row::default()
    };
    if let Some(us) = o.sustained {
        row.more.insert("us_sustained".into(), us.into());
    }
    row
}

fn models(
    artifacts: &Path,
    folders: &[PathBuf],
    max_new: usize,
    measure: usize,
    common: &Common,
) -> Result<usize, Failure> {
    let run = Run::new(&common.suite("device"), common.results.clone(), common.commit.clone());
    let mut failed = 0;
    for folder in folders {
        let model = Model::open(folder)?;
        let artifact = common.artifact(artifacts, &model.name)?;
        let mut gpu = GpuExecutor::new(common.device, &artifact, &model.source()?)?;
        println!("{}: {} instructions on {}", model.name, artifact.plan.program.len(), gpu.device());
        let report = model.verify(&mut gpu)?;
        show(&report);
        let mut sim = model.sim(artifact.plan.clone())?;
        let (agreement, _) = model.agree(&mut sim, &mut gpu, max_new)?;
        // Where texts of random weights part is worth seeing; each kernel is compared by itself.
        let texts = agreement.wrong == 0 || !model.trained;
        let state = if texts { "ok" } else { "FAIL" };
        println!(
            "{state:4} {:24} {} tokens, {} texts part at near ties, {} elsewhere (margins up to {:.2} σ)",
            "greedy text", agreement.compared, agreement.excused, agreement.wrong, agreement.largest_margin
        );
        let prompts = common.artifact(artifacts, &for_prompts(&model.name))?;
        let mut chunks = gpu.beside(&prompts.plan, &prompts.image, &model.source()?)?;
        let prompted = through_chunks(&model, &mut chunks, &mut gpu)?;
        let ok = report.passed() && texts && prompted.is_some();
        failed += usize::from(!ok);
        if !ok {
            continue;
        }
        let worst = report.parts.iter().map(|c| c.worst).fold(0.0, f64::max);
        let mut row = Row {
            work: model.name.clone(),
            shape: format!("{} instructions, rows 1", artifact.plan.program.len()),
            dtype: "checkpoint".into(),
            bytes: Model::weight_bytes(&artifact.plan),
            error: Some(worst),
            ptx_sha256: tile_lang::ptx::sha256(&artifact.image.ptx),
            machine: gpu.device(),
            ..Row::default()
        };
        row.more.insert("whole_error".into(), report.whole.worst.into());
        row.more.insert("texts_parted".into(), (agreement.excused + agreement.wrong).into());
        if let Some(speed) = prompted {
            row.more.insert("prompt_tokens".into(), speed.tokens.into());
            row.more.insert("prompt_tokens_per_s".into(), speed.chunks.into());
            row.more.insert("prompt_tokens_per_s_in_blocks".into(), speed.blocks.into());
        }
        if measure > 0 {
            let (rate, us) = model.speed(&mut gpu, measure)?;
            println!("     {:24} {rate:.0} tokens/s, {us:.1} us each", "decoding");
            row.us = Some(us);
            row.more.insert("tokens_per_s".into(), rate.into());
            row.more.insert("new_tokens".into(), measure.into());
        }
        let ahead = behaviour::run_ahead(&mut gpu)?;
        println!("ok   {:24} at {} of {} borders", "runs ahead", ahead.early, ahead.borders);
        row.more.insert("early_borders".into(), ahead.early.into());
        row.more.insert("borders".into(), ahead.borders.into());
        let stopped = behaviour::cancel(&model, &mut gpu)?;
        println!("ok   {:24} after {stopped} tokens", "cancelled");
        let stall = behaviour::watchdog(&model, &artifact, common.device)?;
        println!("ok   {:24} {stall}", "watchdog");
        run.write(row)?;
    }
    Ok(failed)
}

/// Prints a report.
fn show(report: &Report) {
    for c in report.parts.iter().chain([&report.whole, &report.drift]) {
        let state = if c.passed() { "ok" } else { "FAIL" };
        println!(
            "{state:4} {:24} {:.2e} σ of {} ({} rows, {} near ties, {} excused)",
            c.name, c.worst, c.tolerance, c.rows, c.near_ties, c.excused
        );
    }
    let c = report.choices;
    let state = if c.passed() { "ok" } else { "FAIL" };
    println!("{state:4} {:24} {} of {} equal, {} excused", "choices", c.equal, c.compared, c.excused);
}

/// The program for prompts: verified, compared with the one that decodes on a long text, and measured; nothing where it is wrong.
fn through_chunks(
    model: &Model,
    chunks: &mut GpuExecutor,
    decode: &mut GpuExecutor,
) -> Result<Option<PromptSpeed>, Failure> {
    let plan = chunks.plan();
    println!("{}: {} instructions", plan.name, plan.program.len());
    let extent = |name: &str| plan.buffers.iter().find(|b| b.name == name).map_or(0, |b| b.dims[0]);
    // Whole chunks and a part of one.
    let (context, rows) = (extent("prompt"), extent("tokens"));
    let (length, new) = (context * 7 / 8 - 1, context / 16);
    let report = model.verify(chunks)?;
    show(&report);
    let parted = model.hands_over(chunks, decode, length, new)?;
    let wrong = parted.is_some_and(|(_, margin)| model.trained && margin > APART);
    let state = if wrong { "FAIL" } else { "ok" };
    println!(
        "{state:4} {:24} {length} tokens in chunks of {rows}, {new} after them: {}",
        "handed over",
        match parted {
            None => "the same".to_owned(),
            Some((at, margin)) => format!("part after {at} (margin {margin:.2} σ)"),
        }
    );
    let speed = model.prompt_speed(chunks, decode, length)?;
    println!("     {:24} {:.0} tokens/s, in blocks {:.0} tokens/s", "prompt", speed.chunks, speed.blocks);
    Ok((report.passed() && !wrong).then_some(speed))
}
