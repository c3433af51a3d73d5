//! Devices, and what belongs to one: its context, streams and events.

use crate::error::{Attempt, RuntimeError, describe};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number: `cuda:0` is 0.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Bytes of memory.
    pub memory: usize,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub sms: u32,
    /// Most dynamic shared memory of a CTA in bytes.
    pub shared_bytes: u32,
    /// Bytes of the L2 cache.
    pub l2_bytes: usize,
    /// Newest CUDA version that the driver supports.
    pub driver: (u32, u32),
    /// Whether kernels can be launched cooperatively.
    pub cooperative: bool,
}

impl std::fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuda:{} {}", self.ordinal, self.name)
    }
}

impl DeviceInfo {
    /// Whether code for `target` (`sm_90a`) runs here, and whether its machine code does without the driver's compiler.
    pub(crate) fn accepts(&self, target: &str) -> Accepts {
        let Some(rest) = target.strip_prefix("sm_") else { return Accepts::Nothing };
        let (number, family) = match rest.strip_suffix(['a', 'f']) {
            Some(number) => (number, rest.as_bytes()[number.len()]),
            None => (rest, b' '),
        };
        let Ok(number) = number.parse::<u32>() else { return Accepts::Nothing };
        let (want, have) = ((number / 10, number % 10), self.capability);
        match family {
            b'a' if want == have => Accepts::MachineCode,
            b' ' | b'f' if want.0 == have.0 && want.1 <= have.1 => Accepts::MachineCode,
            b' ' if want < have => Accepts::Ptx,
            _ => Accepts::Nothing,
        }
    }
}

/// What of an image a device can load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepts {
    Nothing,
    Ptx,
    MachineCode,
}

/// The devices of this machine.
///
/// # Errors
/// No driver, no device, or the driver failed.
pub fn list_devices() -> Result<Vec<DeviceInfo>, RuntimeError> {
    (0..start()?).map(info).collect()
}

/// Opens the driver library and initialises it: the number of devices.
fn start() -> Result<usize, RuntimeError> {
    // SAFETY: opening the driver library runs its initialisers, which is what every user of CUDA does.
    if !unsafe { sys::is_culib_present() } {
        return Err(RuntimeError::NoDriver);
    }
    result::init().map_err(|e| match e.0 {
        CUresult::CUDA_ERROR_NO_DEVICE
        | CUresult::CUDA_ERROR_STUB_LIBRARY
        | CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => RuntimeError::NoGpu(describe(e).1),
        _ => {
            let (code, text) = describe(e);
            RuntimeError::Driver { what: "start", code, text }
        }
    })?;
    let driver = driver_version()?;
    if driver < (12, 8) {
        return Err(RuntimeError::OldDriver(driver.0, driver.1));
    }
    let count = result::device::get_count().to("count devices")?;
    if count <= 0 {
        return Err(RuntimeError::NoGpu("no device is visible".into()));
    }
    Ok(count as usize)
}

fn driver_version() -> Result<(u32, u32), RuntimeError> {
    let mut version = 0;
    // SAFETY: the driver writes one integer to a local.
    unsafe { sys::cuDriverGetVersion(&mut version) }.to("tell its version")?;
    Ok((version as u32 / 1000, version as u32 % 1000 / 10))
}

fn info(ordinal: usize) -> Result<DeviceInfo, RuntimeError> {
    let device = result::device::get(ordinal as i32).to("open a device")?;
    // SAFETY: `device` is a handle that the driver has just given.
    let attribute = |a| unsafe { result::device::get_attribute(device, a) }.to("tell a device attribute");
    Ok(DeviceInfo {
        ordinal,
        name: result::device::get_name(device).to("tell a device's name")?,
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }.to("tell a device's memory")?,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? as u32,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)? as u32,
        ),
        sms: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
        shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as u32,
        l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize,
        driver: driver_version()?,
        cooperative: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? != 0,
    })
}

/// A device's primary context.
///
/// After a failure that leaves the context unusable, or a kernel that does not end, it is marked **lost**: nothing is
/// freed any more, because freeing would wait for ever or fail; the process's end frees it.
pub(crate) struct Context {
    pub info: DeviceInfo,
    device: sys::CUdevice,
    raw: sys::CUcontext,
    lost: Cell<bool>,
}

impl Context {
    pub fn open(ordinal: usize) -> Result<Rc<Context>, RuntimeError> {
        let count = start()?;
        if ordinal >= count {
            return Err(RuntimeError::NoSuchDevice { ordinal, count });
        }
        let info = info(ordinal)?;
        let device = result::device::get(ordinal as i32).to("open a device")?;
        // SAFETY: `device` is valid; the reference is given back once, in `drop`.
        let raw = unsafe { result::primary_ctx::retain(device) }.to("create a context")?;
        let context = Rc::new(Context { info, device, raw, lost: Cell::new(false) });
        context.bind()?;
        Ok(context)
    }

    /// Makes it current on this thread; every call of the driver that needs a context is preceded by this.
    pub fn bind(&self) -> Result<(), RuntimeError> {
        // SAFETY: the context is retained as long as `self` lives.
        unsafe { result::ctx::set_current(self.raw) }.to("make a context current")
    }

    /// Free and total bytes.
    pub fn memory(&self) -> Result<(usize, usize), RuntimeError> {
        self.bind()?;
        result::mem_get_info().to("tell its free memory")
    }

    pub fn lose(&self) {
        self.lost.set(true);
    }

    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Whether something of this context can be freed now; makes it current.
    pub fn can_free(&self) -> bool {
        !self.is_lost() && self.bind().is_ok()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if !self.is_lost() {
            // SAFETY: retained once in `open`; everything that used it held an `Rc` to it and is gone. A failure has no
            // remedy here.
            let _ = unsafe { result::primary_ctx::release(self.device) };
        }
    }
}

/// A stream that does not wait for the default stream.
pub(crate) struct Stream {
    context: Rc<Context>,
    raw: sys::CUstream,
}

impl Stream {
    pub fn new(context: &Rc<Context>) -> Result<Stream, RuntimeError> {
        context.bind()?;
        let raw = result::stream::create(result::stream::StreamKind::NonBlocking).to("create a stream")?;
        Ok(Stream { context: context.clone(), raw })
    }

    pub fn raw(&self) -> sys::CUstream {
        self.raw
    }

    /// Waits until everything queued is done.
    pub fn synchronize(&self) -> Result<(), RuntimeError> {
        self.context.bind()?;
        // SAFETY: the stream lives as long as `self`.
        let done = unsafe { result::stream::synchronize(self.raw) };
        if done.is_err() {
            self.context.lose();
        }
        done.to("finish queued work")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.can_free() {
            // SAFETY: created in `new`, destroyed once; the driver lets queued work finish.
            let _ = unsafe { result::stream::destroy(self.raw) };
        }
    }
}

/// A point in a stream.
pub(crate) struct Event {
    context: Rc<Context>,
    raw: sys::CUevent,
}

impl Event {
    pub fn new(context: &Rc<Context>) -> Result<Event, RuntimeError> {
        context.bind()?;
        let raw = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).to("create an event")?;
        Ok(Event { context: context.clone(), raw })
    }

    pub fn record(&self, stream: &Stream) -> Result<(), RuntimeError> {
        self.context.bind()?;
        // SAFETY: event and stream are alive and of one context.
        unsafe { result::event::record(self.raw, stream.raw) }.to("record an event")
    }

    /// Whether the point has been reached. An error means that earlier work failed.
    pub fn reached(&self) -> Result<bool, RuntimeError> {
        // SAFETY: the event is alive; its context is current since the launch before it.
        match unsafe { result::event::query(self.raw) } {
            Ok(()) => Ok(true),
            Err(DriverError(CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(e) => {
                self.context.lose();
                Err(e).to("run the kernel")
            }
        }
    }

    pub fn wait(&self) -> Result<(), RuntimeError> {
        self.context.bind()?;
        // SAFETY: the event is alive.
        let done = unsafe { result::event::synchronize(self.raw) };
        if done.is_err() {
            self.context.lose();
        }
        done.to("run the kernel")
    }

    /// Time from `earlier` to this one; both must have been reached.
    pub fn since(&self, earlier: &Event) -> Result<Duration, RuntimeError> {
        // SAFETY: both events are alive and were recorded on streams of one context.
        let ms = unsafe { result::event::elapsed(earlier.raw, self.raw) }.to("read a timer")?;
        Ok(Duration::try_from_secs_f64(f64::from(ms) / 1e3).unwrap_or_default())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.can_free() {
            // SAFETY: created in `new`, destroyed once.
            let _ = unsafe { result::event::destroy(self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures() {
        let device = |capability| DeviceInfo {
            ordinal: 0,
            name: "NVIDIA H200".into(),
            memory: 0,
            capability,
            sms: 132,
            shared_bytes: 0,
            l2_bytes: 0,
            driver: (13, 0),
            cooperative: true,
        };
        let h200 = device((9, 0));
        assert_eq!(h200.to_string(), "cuda:0 NVIDIA H200");
        assert_eq!(h200.accepts("sm_90a"), Accepts::MachineCode);
        assert_eq!(h200.accepts("sm_90"), Accepts::MachineCode);
        assert_eq!(h200.accepts("sm_80"), Accepts::Ptx);
        assert_eq!(h200.accepts("sm_100a"), Accepts::Nothing);
        assert_eq!(h200.accepts("gfx942"), Accepts::Nothing);
        assert_eq!(h200.accepts("sm_é"), Accepts::Nothing);
        assert_eq!(device((10, 0)).accepts("sm_90a"), Accepts::Nothing);
        assert_eq!(device((8, 9)).accepts("sm_80"), Accepts::MachineCode);
        assert_eq!(device((10, 3)).accepts("sm_100f"), Accepts::MachineCode);
    }

    #[test]
    fn a_machine_without_a_driver_says_so() {
        // SAFETY: see `start`.
        if unsafe { sys::is_culib_present() } {
            return;
        }
        let text = list_devices().map_err(|e| e.to_string());
        assert_eq!(
            text.err().as_deref(),
            Some("no CUDA driver found (the library libcuda is not installed); use --device sim")
        );
    }
}
