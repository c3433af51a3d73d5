//! Machine code on a device: loading an image, and whether its kernel can be resident everywhere.

use crate::device::{Accepts, Context, Stream};
use crate::error::{Attempt, RuntimeError, describe};
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUfunction_attribute as Attribute, CUjit_option as Jit};
use std::ffi::{CString, c_void};
use std::rc::Rc;
use tile_lang::artifact::Image;

/// Bytes for the messages of the driver's compiler.
const LOG: usize = 16 << 10;

/// A loaded kernel.
pub(crate) struct Module {
    context: Rc<Context>,
    raw: sys::CUmodule,
    function: sys::CUfunction,
    threads: u32,
    shared_bytes: u32,
    /// CTAs of a cluster, 1 where there are none.
    cluster: u32,
    /// CTAs that are resident together: the largest grid.
    pub most_ctas: u32,
    /// Registers of a thread.
    pub registers: u32,
    /// `PTX` (and why, if there was machine code) or `machine code`.
    pub origin: &'static str,
}

/// Arguments of the persistent kernel, in order.
pub(crate) struct Arguments {
    pub records: u64,
    pub begin: i32,
    pub end: i32,
    pub max_passes: i32,
    pub control: u64,
    pub stop: u64,
    pub timeout_ns: u64,
    /// Address of the trace, 0 for none.
    pub trace: u64,
}

impl Module {
    /// Loads machine code where the device takes it, else PTX, and prepares the kernel for a grid of one CTA per
    /// multiprocessor.
    pub fn load(context: &Rc<Context>, plan: &str, image: &Image) -> Result<Module, RuntimeError> {
        let info = &context.info;
        let fail = |from, message| RuntimeError::Load { plan: plan.into(), from, message };
        let accepts = info.accepts(&image.target);
        if accepts == Accepts::Nothing {
            let (target, device) = (image.target.clone(), info.to_string());
            return Err(RuntimeError::Architecture { target, device, capability: info.capability });
        }
        let entry = CString::new(image.entry.as_str())
            .map_err(|_| fail("PTX", "the entry's name contains a zero byte".into()))?;
        context.bind()?;
        let cubin = accepts == Accepts::MachineCode && !image.cubin.is_empty();
        let cubin = if cubin { load(&image.cubin).map_err(Some) } else { Err(None) };
        let (raw, origin) = match cubin {
            Ok(raw) => (raw, "machine code"),
            Err(why) if image.ptx.is_empty() => {
                return Err(fail(
                    "machine code",
                    why.unwrap_or_else(|| "the artifact holds none, and no PTX either".into()),
                ));
            }
            // Machine code of a newer assembler than the driver knows: the driver's own compiler takes the PTX.
            Err(why) => {
                let text =
                    CString::new(image.ptx.as_str()).map_err(|_| fail("PTX", "it contains a zero byte".into()))?;
                let origin = if why.is_some() { "PTX, since the driver refused the machine code" } else { "PTX" };
                (load(text.as_bytes_with_nul()).map_err(|message| fail("PTX", message))?, origin)
            }
        };
        let mut module = Module {
            context: context.clone(),
            raw,
            function: std::ptr::null_mut(),
            threads: image.threads,
            shared_bytes: image.shared_bytes,
            cluster: image.cluster.max(1),
            most_ctas: 0,
            registers: 0,
            origin,
        };
        // SAFETY: the module is loaded and stays so while `module` lives.
        module.function = unsafe { result::module::get_function(module.raw, entry) }
            .map_err(|e| fail(origin, format!("there is no entry `{}`: {}", image.entry, describe(e).1)))?;
        module.prepare(plan)?;
        Ok(module)
    }

    /// Claims the shared memory and checks that one CTA fits on each multiprocessor.
    fn prepare(&mut self, plan: &str) -> Result<(), RuntimeError> {
        let info = &self.context.info;
        let fail = |message: String| RuntimeError::Launch { plan: plan.into(), device: info.to_string(), message };
        // SAFETY: the function belongs to the loaded module, here and below.
        let attribute =
            |a| unsafe { result::function::get_function_attribute(self.function, a) }.to("tell a kernel attribute");
        let registers = attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)? as u32;
        let most_threads = attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)? as u32;
        let fixed = attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)? as u32;
        if !info.cooperative {
            return Err(fail("the device has no cooperative launches".into()));
        }
        if self.threads == 0 || self.threads > most_threads {
            return Err(fail(format!("{} threads a CTA, at most {most_threads} are possible", self.threads)));
        }
        let shared = u64::from(self.shared_bytes) + u64::from(fixed);
        if shared > u64::from(info.shared_bytes) {
            return Err(fail(format!("{shared} bytes of shared memory a CTA, the device has {}", info.shared_bytes)));
        }
        let dynamic = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: as above.
        unsafe { result::function::set_function_attribute(self.function, dynamic, self.shared_bytes as i32) }
            .to("reserve shared memory for the kernel")?;
        // SAFETY: as above.
        let resident = unsafe {
            result::occupancy::max_active_block_per_multiprocessor(
                self.function,
                self.threads as i32,
                self.shared_bytes as usize,
            )
        }
        .to("compute the kernel's occupancy")?;
        if resident < 1 {
            return Err(fail(format!(
                "no CTA fits on a multiprocessor with {} threads of {registers} registers and {shared} bytes of shared memory",
                self.threads
            )));
        }
        self.registers = registers;
        self.most_ctas = info.sms;
        if self.cluster > 1 {
            let mut clusters = 0;
            let mut attributes = self.attributes();
            let config = self.config(info.sms / self.cluster * self.cluster, std::ptr::null_mut(), &mut attributes);
            // SAFETY: the function belongs to the loaded module; the configuration and its attributes outlive the call.
            unsafe { sys::cuOccupancyMaxActiveClusters(&raw mut clusters, self.function, &raw const config) }
                .result()
                .to("compute how many clusters are resident")?;
            self.most_ctas = info.sms.min(clusters.max(0) as u32 * self.cluster);
            if self.most_ctas == 0 {
                return Err(fail(format!("no cluster of {} CTAs fits on the device", self.cluster)));
            }
        }
        Ok(())
    }

    /// What a launch asks for: all CTAs resident together, in clusters.
    fn attributes(&self) -> [sys::CUlaunchAttribute; 2] {
        let of = |id, set: &dyn Fn(&mut sys::CUlaunchAttributeValue)| {
            let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
            set(&mut value);
            sys::CUlaunchAttribute { id, pad: [0; 4], value }
        };
        use sys::CUlaunchAttributeID as Id;
        [
            of(Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &|v| v.cooperative = 1),
            of(Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, &|v| {
                v.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: self.cluster, y: 1, z: 1 };
            }),
        ]
    }

    /// A launch of `ctas` CTAs; `attributes` must outlive it.
    fn config(
        &self,
        ctas: u32,
        stream: sys::CUstream,
        attributes: &mut [sys::CUlaunchAttribute; 2],
    ) -> sys::CUlaunchConfig {
        sys::CUlaunchConfig {
            gridDimX: ctas,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: self.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.shared_bytes,
            hStream: stream,
            attrs: attributes.as_mut_ptr(),
            // Devices before clusters don't know their attribute.
            numAttrs: if self.cluster > 1 { 2 } else { 1 },
        }
    }

    /// Queues one cooperative launch of `ctas` CTAs.
    pub fn launch(&self, stream: &Stream, ctas: u32, arguments: &Arguments) -> Result<(), RuntimeError> {
        self.context.bind()?;
        let pointer = |p: *const c_void| p.cast_mut();
        let mut params = [
            pointer((&raw const arguments.records).cast()),
            pointer((&raw const arguments.begin).cast()),
            pointer((&raw const arguments.end).cast()),
            pointer((&raw const arguments.max_passes).cast()),
            pointer((&raw const arguments.control).cast()),
            pointer((&raw const arguments.stop).cast()),
            pointer((&raw const arguments.timeout_ns).cast()),
            pointer((&raw const arguments.trace).cast()),
        ];
        let mut attributes = self.attributes();
        let config = self.config(ctas, stream.raw(), &mut attributes);
        // SAFETY: the parameters are the entry's, in number, order and size, and the driver copies them and the configuration before
        // it returns; the addresses are those of allocations that outlive the launch (the executor waits for its end); the grid
        // was found to be resident in `prepare`.
        unsafe { sys::cuLaunchKernelEx(&raw const config, self.function, params.as_mut_ptr(), std::ptr::null_mut()) }
            .result()
            .to("launch the kernel")
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.can_free() {
            // SAFETY: loaded once, unloaded once; nothing of it runs any more.
            let _ = unsafe { result::module::unload(self.raw) };
        }
    }
}

/// Loads machine code or zero-terminated PTX; the error has the log of the driver's compiler.
fn load(image: &[u8]) -> Result<sys::CUmodule, String> {
    let mut log = vec![0u8; LOG];
    let mut options = [Jit::CU_JIT_ERROR_LOG_BUFFER, Jit::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // The driver takes option values as pointer-sized words; the size is a number in one.
    let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(LOG)];
    let mut module = std::ptr::null_mut();
    // SAFETY: `image` is a complete cubin or zero-terminated PTX and outlives the call; options and values have the length
    // given; the driver writes at most `LOG` bytes to `log`.
    let done = unsafe {
        sys::cuModuleLoadDataEx(&mut module, image.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    done.result().map(|()| module).map_err(|e| {
        let (code, text) = describe(e);
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]);
        match log.trim() {
            "" => format!("{code} ({text})"),
            log => format!("{code} ({text}):\n{log}"),
        }
    })
}
