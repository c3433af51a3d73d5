//! Runs the device suite: every packed kernel on the GPU and on the simulator, on the same random inputs.

use std::path::PathBuf;
use tile_lang::artifact::Artifact;
use tile_lang::exec::{Data, Executor};
use tile_lang::sim::{Precision, SimExecutor};
use tile_runtime::GpuExecutor;
use tile_tests::lockstep;
use tile_tests::random::{Random, RandomWeights};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: device-suite FOLDER")?);
    let mut failed = 0;
    for case in tile_tests::cases::all()? {
        let artifact = Artifact::load(&folder.join(format!("{}.tile", case.name)))?;
        let weights = RandomWeights::new(&case.plan, 7);
        let mut sim = SimExecutor::new(case.plan.clone(), &weights, Precision::Native)?;
        let mut random = Random(11);
        for (i, b) in case.plan.buffers.iter().enumerate() {
            let n: usize = b.dims.iter().product();
            if b.dtype.is_float() {
                sim.write(i, 0, &Data::F32((0..n).map(|_| random.normal()).collect()))?;
            }
        }
        for (i, contents) in &case.integers {
            sim.write(*i, 0, &Data::I32(contents.clone()))?;
        }
        let result = GpuExecutor::new(0, &artifact, &weights).map_err(|e| e.to_string()).and_then(|mut gpu| {
            lockstep::pass(&mut sim, &mut gpu).map_err(|e| e.to_string())
        });
        match result {
            Ok(list) => {
                for d in list {
                    let ok = d.relative < 1e-2 && d.integers == 0;
                    failed += usize::from(!ok);
                    println!("{} {}: relative error {:.2e}, {} integers differ", if ok { "ok  " } else { "FAIL" }, case.name, d.relative, d.integers);
                }
            }
            Err(e) => {
                failed += 1;
                println!("FAIL {}: {e}", case.name);
            }
        }
    }
    println!("{failed} failed");
    std::process::exit(i32::from(failed > 0));
}
