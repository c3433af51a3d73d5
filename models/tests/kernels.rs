//! Every kernel of the library against the reference, on the interpreter.

use tile_models::kernels::library::samples;

#[test]
fn every_kernel_stages_and_verifies() {
    let mut failed = Vec::new();
    for sample in samples() {
        match sample.def.instance(&sample.generics) {
            Ok(kernel) => {
                if let Err(e) = tile_lang::ir::verify(&kernel) {
                    failed.push(format!("{}: {e}", sample.def.name));
                }
            }
            Err(e) => failed.push(format!("{}: {e}", sample.def.name)),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
