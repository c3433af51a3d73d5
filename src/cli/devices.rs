//! `monotile devices`: the GPUs of this machine.

use super::Io;
use super::error::CliError;
use serde_json::json;
use tile_runtime::list_devices;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists them.
pub fn run(args: &Args, io: &mut Io<'_>) -> Result<(), CliError> {
    let devices = list_devices()?;
    if args.json {
        let list: Vec<_> = devices
            .iter()
            .map(|d| {
                json!({
                    "device": format!("cuda:{}", d.ordinal),
                    "name": d.name,
                    "memory": d.memory,
                    "capability": [d.capability.0, d.capability.1],
                    "sms": d.sms,
                    "shared_bytes": d.shared_bytes,
                    "l2_bytes": d.l2_bytes,
                    "driver_cuda": [d.driver.0, d.driver.1],
                })
            })
            .collect();
        return io.json(&list.into());
    }
    for d in devices {
        io.line(format_args!(
            "{d}: {:.1} GiB, compute capability {}.{}, {} SMs, {} KiB shared memory, driver for CUDA {}.{}",
            d.memory as f64 / (1u64 << 30) as f64,
            d.capability.0,
            d.capability.1,
            d.sms,
            d.shared_bytes / 1024,
            d.driver.0,
            d.driver.1
        ))?;
    }
    Ok(())
}
