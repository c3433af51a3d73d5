//! The command `monotile`, with the kernels of the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    monotile::cli().main()
}
