//! Compiles the device suite's kernels into a folder, to be carried to a machine with a GPU.

use std::path::PathBuf;
use tile_lang::artifact::Artifact;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: device-pack FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    for case in tile_tests::cases::all()? {
        let image = tile_codegen::compile(&case.plan, "sm_90a")?;
        println!("{}: {} registers, {} bytes spilled", case.name, image.registers, image.spills);
        Artifact::new(case.plan, image).save(&folder.join(format!("{}.tile", case.name)))?;
    }
    Ok(())
}
