//! What can go wrong between a plan and a GPU.

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;
use tile_lang::exec::ExecError;
use tile_lang::record::RecordError;

/// A device can't be used, or a plan can't be put on it.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is no driver library.
    #[error("no CUDA driver found (the library libcuda is not installed); use --device sim")]
    NoDriver,
    /// The driver sees no device.
    #[error("the CUDA driver sees no GPU ({0}); use --device sim")]
    NoGpu(String),
    /// The driver lacks functions that are needed.
    #[error("the CUDA driver supports CUDA {0}.{1}, at least 12.8 is needed; install a newer driver")]
    OldDriver(u32, u32),
    /// No device has this number.
    #[error("there is no device cuda:{ordinal}; this machine has {count} (numbered from 0)")]
    NoSuchDevice {
        /// The number asked for.
        ordinal: usize,
        /// Devices present.
        count: usize,
    },
    /// The image was compiled for another architecture.
    #[error(
        "the artifact is compiled for {target}, {device} has compute capability {}.{}; compile it for {}",
        capability.0, capability.1, native(*capability)
    )]
    Architecture {
        /// Architecture of the image.
        target: String,
        /// The device.
        device: String,
        /// Its compute capability.
        capability: (u32, u32),
    },
    /// The plan does not fit in device memory.
    #[error("{device} has {} free of {}, the plan needs {} (weights {}, buffers {})", Bytes(*free), Bytes(*total), Bytes(*needed), Bytes(*weights), Bytes(*buffers))]
    Memory {
        /// The device.
        device: String,
        /// Bytes free.
        free: usize,
        /// Bytes of the device.
        total: usize,
        /// Bytes needed.
        needed: usize,
        /// Bytes of the weights among them.
        weights: usize,
        /// Bytes of the buffers among them.
        buffers: usize,
    },
    /// The image can't be loaded.
    #[error("the driver can't load the kernel of plan `{plan}` from {from}: {message}")]
    Load {
        /// Plan name.
        plan: String,
        /// `PTX` or `machine code`.
        from: &'static str,
        /// The driver's error and its compiler's log.
        message: String,
    },
    /// The kernel can't be resident on every multiprocessor.
    #[error("the kernel of plan `{plan}` can't be launched on {device}: {message}")]
    Launch {
        /// Plan name.
        plan: String,
        /// The device.
        device: String,
        /// What is too large or missing.
        message: String,
    },
    /// The contents of a weight are missing or of another size.
    #[error("weight `{name}`: {message}")]
    Weight {
        /// Weight name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The plan or image contradicts itself.
    #[error("plan `{plan}` can't be run: {message}")]
    Plan {
        /// Plan name.
        plan: String,
        /// What is wrong.
        message: String,
    },
    /// An instruction does not fit its record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A call of the driver failed.
    #[error("the CUDA driver failed to {what}: {code} ({text})")]
    Driver {
        /// What was tried.
        what: &'static str,
        /// Name of the driver's code.
        code: String,
        /// The driver's text.
        text: String,
    },
}

impl From<RuntimeError> for ExecError {
    fn from(error: RuntimeError) -> Self {
        ExecError::Device(error.to_string())
    }
}

/// Name and text of a driver error.
pub(crate) fn describe(error: DriverError) -> (String, String) {
    let own = |s: Result<&std::ffi::CStr, DriverError>| s.map(|s| s.to_string_lossy().into_owned());
    let code = own(error.error_name()).unwrap_or_else(|_| format!("{:?}", error.0));
    let text = own(error.error_string()).unwrap_or_else(|_| "no description".into());
    (code, text)
}

/// Says what was tried when a driver call failed.
pub(crate) trait Attempt<T> {
    /// `what` completes "the driver failed to …".
    fn to(self, what: &'static str) -> Result<T, RuntimeError>;
}

impl<T> Attempt<T> for Result<T, DriverError> {
    fn to(self, what: &'static str) -> Result<T, RuntimeError> {
        self.map_err(|e| {
            let (code, text) = describe(e);
            RuntimeError::Driver { what, code, text }
        })
    }
}

impl Attempt<()> for CUresult {
    fn to(self, what: &'static str) -> Result<(), RuntimeError> {
        self.result().to(what)
    }
}

/// The architecture to compile for.
fn native((major, minor): (u32, u32)) -> String {
    format!("sm_{major}{minor}{}", if major >= 9 { "a" } else { "" })
}

/// A number of bytes, for people.
pub(crate) struct Bytes(pub usize);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            n if n >= 1 << 30 => write!(f, "{:.2} GiB", n as f64 / (1u64 << 30) as f64),
            n if n >= 1 << 20 => write!(f, "{:.1} MiB", n as f64 / (1u64 << 20) as f64),
            n => write!(f, "{n} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_single_lines_with_the_numbers() {
        let e = RuntimeError::Architecture { target: "sm_90a".into(), device: "cuda:0 X".into(), capability: (8, 0) };
        assert_eq!(
            e.to_string(),
            "the artifact is compiled for sm_90a, cuda:0 X has compute capability 8.0; compile it for sm_80"
        );
        let e = RuntimeError::Memory {
            device: "cuda:0 X".into(),
            free: 1 << 30,
            total: 2 << 30,
            needed: 3 << 30,
            weights: (3 << 30) - (5 << 20),
            buffers: 5 << 20,
        };
        assert_eq!(
            e.to_string(),
            "cuda:0 X has 1.00 GiB free of 2.00 GiB, the plan needs 3.00 GiB (weights 3.00 GiB, buffers 5.0 MiB)"
        );
    }
}
