//! `monotile kernel …`.
use super::Io;
use super::Instance;
use super::error::CliError;
#[derive(clap::Args)]
pub struct Args {}
pub fn run(_: &Args, _: &[Instance], _: &mut Io<'_>) -> Result<(), CliError> { Ok(()) }
