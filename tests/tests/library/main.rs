//! The kernel library across crates: against the reference on the simulator, and what the compiler makes of it.

mod explicit;
mod models;
mod ops;
mod performance;
mod picks;
mod ptx;
mod reference;
mod refused;
mod said;
mod sass;
mod schedules;
mod targets;

use std::sync::OnceLock;
use tile_codegen::{Compiled, compile, ptxas};
use tile_tests::cases::{self, Case};
use tile_tests::targets::fitting;

/// A library kernel's case with what became of it.
struct Entry {
    case: Case,
    compiled: Compiled,
}

/// Every library kernel's representative, compiled and assembled once for all tests.
fn library() -> &'static [Entry] {
    static LIBRARY: OnceLock<Vec<Entry>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        for program in ["ptxas", "nvdisasm"] {
            assert!(ptxas::find(program).is_some(), "{program} is missing: `cargo xtask setup` installs it");
        }
        let entry = |case: Case| {
            let compiled = compile(&case.plan, fitting(&case.plan)).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            println!("{}: {:.2?} to PTX, {:.2?} in ptxas", case.name, compiled.times.llvm, compiled.times.ptxas);
            Entry { case, compiled }
        };
        cases::representatives().unwrap().into_iter().map(entry).collect()
    })
}
