//! The command: arguments, subcommands, exit codes. One file a subcommand.
//!
//! Exit codes: 0 for success, 1 for a job that failed, 2 for input that can't be used. Errors are printed as `error: …`.

mod compile;
mod devices;
mod error;
mod explain;
mod generate;
mod kernel;
mod model;
mod verify;

use clap::{Parser, Subcommand};
use error::CliError;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use tile_codegen::target::{self, Target};
use tile_lang::build::{Generic, InstanceError, KernelDef};
use tile_lang::ir::Kernel;
use tile_lang::schedule::ScheduleDef;

/// The architecture of an argument `--target`.
fn target(name: &str) -> Result<&'static Target, CliError> {
    let unknown = || CliError::input(format!("--target {name}: this compiler knows {}", target::names()));
    target::find(name).ok_or_else(unknown)
}

/// A kernel with the generics of one instance, under a name.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The name that the command knows it by.
    pub name: String,
    /// The kernel.
    pub def: KernelDef,
    /// Its generics, in order.
    pub generics: Vec<Generic>,
}

impl Instance {
    /// Stages the kernel.
    ///
    /// # Errors
    /// Wrong generics, or diagnostics at the kernel's lines.
    pub fn stage(&self) -> Result<Kernel, InstanceError> {
        self.def.instance(&self.generics)
    }
}

/// The command, with the kernels it knows. [`cli`] makes one.
#[derive(Clone, Debug)]
pub struct Cli {
    kernels: Vec<Instance>,
    schedules: Vec<ScheduleDef>,
    own: bool,
}

/// The command with the kernels of the library. The main function of a crate with kernels of its own:
///
/// ```no_run
/// # use monotile::prelude::*;
/// # #[tile::kernel]
/// # fn double<const N: usize>(x: &mut Global<f32, 1>) {
/// #     let [i] = work([cdiv(x.dim(0), N)]);
/// #     x.store([i], x.load::<Tile<f32, N>>([i]) * 2.0);
/// # }
/// fn main() -> std::process::ExitCode {
///     monotile::cli().kernel(double::DEF, &[256.into()]).main()
/// }
/// ```
pub fn cli() -> Cli {
    let samples = tile_models::kernels::library::samples();
    let kernels = samples.into_iter().map(|s| Instance { name: s.def.name.into(), def: s.def, generics: s.generics });
    Cli { kernels: kernels.collect(), schedules: tile_models::kernels::library::schedules(), own: false }
}

impl Cli {
    /// Adds a kernel with the generics of one instance. The first call replaces the library's kernels; a kernel that is added
    /// again, with other generics, gets a number after its name.
    #[must_use]
    pub fn kernel(mut self, def: KernelDef, generics: &[Generic]) -> Self {
        if !self.own {
            self.kernels.clear();
            self.schedules.clear();
            self.own = true;
        }
        let same = self.kernels.iter().filter(|k| k.def.name == def.name && k.def.module == def.module).count();
        let name = if same == 0 { def.name.into() } else { format!("{}.{}", def.name, same + 1) };
        self.kernels.push(Instance { name, def, generics: generics.to_vec() });
        self
    }

    /// Adds a schedule of a kernel: the `DEF` beside a function under `#[tile::schedule(kernel)]`.
    #[must_use]
    pub fn schedule(mut self, def: ScheduleDef) -> Self {
        self.schedules.push(def);
        self
    }

    /// The kernels it knows.
    pub fn kernels(&self) -> &[Instance] {
        &self.kernels
    }

    /// Runs the command with the arguments of the process.
    pub fn main(self) -> ExitCode {
        let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
        ExitCode::from(self.run(std::env::args_os(), &mut out, &mut err))
    }

    /// Runs the command in process: `args` begin with the program's name. Returns the exit code.
    pub fn run<'a, I>(&self, args: I, out: &'a mut dyn Write, err: &'a mut dyn Write) -> u8
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let raw: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let args = match Args::try_parse_from(&raw) {
            Ok(args) => args,
            Err(e) => {
                // Help and version are no errors.
                let to = if e.use_stderr() { err } else { out };
                let _ = write!(to, "{}", e.render());
                return u8::try_from(e.exit_code()).unwrap_or(2);
            }
        };
        let mut io = Io { out, err };
        match self.dispatch(args.command, &raw[1..], &mut io) {
            Ok(()) => 0,
            Err(e) => {
                let _ = io.out.flush();
                e.print(io.err);
                e.code()
            }
        }
    }

    fn dispatch(&self, command: Command, raw: &[OsString], io: &mut Io<'_>) -> Result<(), CliError> {
        match command {
            Command::Generate(args) => generate::run(&args, io),
            Command::Verify(args) => verify::run(&args, io),
            Command::Compile(args) => compile::run(&args, io),
            Command::Kernel(args) => kernel::run(&args, raw, &self.kernels, &self.schedules, io),
            Command::Explain(args) => explain::run(&args, io),
            Command::Devices(args) => devices::run(&args, io),
        }
    }
}

/// Where a command writes.
struct Io<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Io<'_> {
    /// Prints a line of the answer.
    fn line(&mut self, text: impl std::fmt::Display) -> Result<(), CliError> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// Prints an answer as JSON.
    fn json(&mut self, value: &serde_json::Value) -> Result<(), CliError> {
        self.line(format_args!("{value:#}"))
    }
}

/// A tile language and kernel compiler: fused GPU kernels and persistent megakernels in Rust.
#[derive(Parser)]
#[command(name = "monotile", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Continue a prompt with a model
    Generate(generate::Args),
    /// Compare a model on a device with a reference
    Verify(verify::Args),
    /// Compile a model ahead of time
    Compile(compile::Args),
    /// Look at one kernel: check, explain, print, run and measure it
    Kernel(kernel::Args),
    /// Print the page of an error code
    Explain(explain::Args),
    /// List the GPUs of this machine
    Devices(devices::Args),
}
