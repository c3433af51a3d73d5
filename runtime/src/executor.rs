//! Runs plans on a GPU: one persistent kernel over the plan's arrays.

use crate::arrays::{Arrays, Buffer};
use crate::convert;
use crate::device::{Context, Event, Stream};
use crate::error::RuntimeError;
use crate::layout::Layout;
use crate::memory::{DeviceMemory, HostMemory, send_word};
use crate::module::{Arguments, Module};
use crate::tensor_map;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tile_lang::DType;
use tile_lang::artifact::{Artifact, Image};
use tile_lang::debug::{self, Marked, Saying, Site};
use tile_lang::exec::{Data, ExecError, Executor, Mailbox, RunStats, WeightSource};
use tile_lang::plan::Plan;
use tile_lang::record::{COUNTER, RECORD_BYTES, control};

/// How often a running kernel is looked at.
const POLL: Duration = Duration::from_micros(30);
/// How long beyond two watchdog periods a cancelled kernel may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// The word that cancels a kernel.
const CANCEL: i32 = 2;

/// How a plan is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long one wait inside the kernel may take before it ends the kernel.
    pub timeout: Duration,
    /// CTAs of the grid; all multiprocessors when none are given. More than there are multiprocessors is refused.
    pub ctas: Option<u32>,
    /// Bytes for what kernels show and mark in one run, if the image has any of that.
    pub debug_bytes: usize,
    /// A fault for tests of the watchdog: this instruction's signals are lost, as if it never ended.
    pub lost_signal: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Options { timeout: Duration::from_secs(4), ctas: None, debug_bytes: 4 << 20, lost_signal: None }
    }
}

/// What a plan took when it was put on its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// `machine code` from the artifact, or `PTX` compiled by the driver (and why, if there was machine code).
    pub origin: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// CTAs of the grid.
    pub ctas: u32,
    /// Bytes of all stored copies of weights that weren't there.
    pub weight_bytes: usize,
    /// Bytes of the buffers in device memory that weren't there.
    pub buffer_bytes: usize,
}

/// A plan with its weights on one GPU.
pub struct GpuExecutor {
    plan: Plan,
    options: Options,
    loaded: Loaded,
    pub(crate) stream: Stream,
    side: Stream,
    pub(crate) begun: Event,
    pub(crate) ended: Event,
    module: Module,
    arrays: Arrays,
    records: DeviceMemory,
    /// Named by the records.
    _maps: DeviceMemory,
    control: DeviceMemory,
    cancel: HostMemory,
    /// What kernels say about themselves, and where what they show and mark goes.
    sites: Vec<Site>,
    said: Option<DeviceMemory>,
    pub(crate) context: Rc<Context>,
}

impl std::fmt::Debug for GpuExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GpuExecutor")
            .field("plan", &self.plan.name)
            .field("loaded", &self.loaded)
            .finish_non_exhaustive()
    }
}

impl GpuExecutor {
    /// Puts an artifact's plan on device `cuda:ordinal`: loads the kernel, allocates, uploads weights and records.
    ///
    /// # Errors
    /// No driver or device, another architecture, too little memory, missing weights, an inconsistent plan, a kernel that the
    /// driver refuses.
    pub fn new(ordinal: usize, artifact: &Artifact, weights: &dyn WeightSource) -> Result<Self, RuntimeError> {
        Self::with_options(ordinal, artifact, weights, Options::default())
    }

    /// As [`GpuExecutor::new`], with options.
    ///
    /// # Errors
    /// As [`GpuExecutor::new`]; a grid that is empty or larger than the device.
    pub fn with_options(
        ordinal: usize,
        artifact: &Artifact,
        source: &dyn WeightSource,
        options: Options,
    ) -> Result<Self, RuntimeError> {
        let context = Context::open(ordinal)?;
        Self::place(context, (&artifact.plan, &artifact.image), source, options, None)
    }

    /// Puts another program on this one's device, over its arrays: buffers and weights that both plans declare alike, name included, and
    /// weights only in the same storage order, are one. What this one lacks is allocated and uploaded.
    ///
    /// # Errors
    /// As [`GpuExecutor::new`].
    pub fn beside(&self, plan: &Plan, image: &Image, source: &dyn WeightSource) -> Result<Self, RuntimeError> {
        Self::place(self.context.clone(), (plan, image), source, self.options, Some(&self.arrays))
    }

    fn place(
        context: Rc<Context>,
        (plan, image): (&Plan, &Image),
        source: &dyn WeightSource,
        options: Options,
        first: Option<&Arrays>,
    ) -> Result<Self, RuntimeError> {
        let plan = plan.clone();
        let layout = Layout::new(&plan, image, &|weight, packing| first?.weight_at(weight, packing))?;
        let module = Module::load(&context, &plan.name, image)?;
        let (most, cluster) = (module.most_ctas, image.cluster.max(1));
        let ctas = options.ctas.unwrap_or(most);
        if ctas == 0 || ctas > most || !ctas.is_multiple_of(cluster) {
            let clusters = if cluster > 1 { format!(", in clusters of {cluster}") } else { String::new() };
            return Err(RuntimeError::Launch {
                plan: plan.name,
                device: context.info.to_string(),
                message: format!("a grid of {ctas} CTAs, from 1 to {most} are possible{clusters}"),
            });
        }
        let stream = Stream::new(&context)?;
        let arrays = Arrays::new(&context, &stream, &plan, &layout, source, first)?;
        let addresses = arrays.addresses();
        let at = arrays.weights.as_ref().map_or(0, |memory| memory.address());
        let described = tensor_map::encode(&plan, image, &addresses)?;
        let maps = DeviceMemory::zeroed(&context, &stream, described.len())?;
        maps.write(&stream, 0, &described)?;
        let mut bytes = layout.records(&plan, image, ctas as usize, at, &addresses, maps.address())?;
        if let Some(instr) = options.lost_signal.filter(|i| *i < plan.program.len()) {
            // The counter after the last one is nobody's.
            let counter = instr * RECORD_BYTES + COUNTER;
            bytes[counter..counter + 4].copy_from_slice(&(plan.program.len() as i32).to_le_bytes());
        }
        let records = DeviceMemory::zeroed(&context, &stream, bytes.len())?;
        records.write(&stream, 0, &bytes)?;
        let control = DeviceMemory::zeroed(&context, &stream, Layout::control_bytes(&plan))?;
        let shows = image.sites.iter().any(|s| !matches!(s.saying, Saying::Assertion(..)));
        let said = match shows {
            true => Some(DeviceMemory::zeroed(&context, &stream, options.debug_bytes.max(64).next_multiple_of(16))?),
            false => None,
        };
        let cancel = HostMemory::zeroed(&context, 4)?;
        if let Some(word) = cancel.word(0) {
            word.store(CANCEL, Ordering::Release);
        }
        let (side, begun, ended) = (Stream::new(&context)?, Event::new(&context)?, Event::new(&context)?);
        stream.synchronize()?;
        let (weight_bytes, buffer_bytes) = (layout.weight_bytes, arrays.buffer_bytes);
        let loaded = Loaded { origin: module.origin, registers: module.registers, ctas, weight_bytes, buffer_bytes };
        Ok(GpuExecutor {
            plan,
            options,
            loaded,
            stream,
            side,
            begun,
            ended,
            module,
            arrays,
            records,
            _maps: maps,
            control,
            cancel,
            sites: image.sites.clone(),
            said,
            context,
        })
    }

    /// What the plan took on the device.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Sets how long one wait inside the kernel may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.options.timeout = timeout;
    }

    /// Device address and bytes of the weights' memory, for tools that look at it.
    pub fn weights_at(&self) -> Option<(u64, usize)> {
        self.arrays.weights.as_ref().map(|w| (w.address(), self.loaded.weight_bytes))
    }

    /// Checks a range of instructions and a number of passes: what the kernel takes, or `None` if there is nothing to do.
    pub(crate) fn span(&self, range: &Range<usize>, max_passes: usize) -> Result<Option<[i32; 3]>, ExecError> {
        if range.start > range.end || range.end > self.plan.program.len() {
            let n = self.plan.program.len();
            return Err(ExecError::Program(format!(
                "instructions {range:?} of plan `{}`, which has {n}",
                self.plan.name
            )));
        }
        let int = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let work = !range.is_empty() && max_passes > 0;
        Ok(work.then(|| [int(range.start), int(range.end), int(max_passes)]))
    }

    /// Queues clearing the control block.
    pub(crate) fn reset(&self) -> Result<(), RuntimeError> {
        if self.context.is_lost() {
            return Err(lost());
        }
        self.control.clear(&self.stream)?;
        let Some(memory) = &self.said else { return Ok(()) };
        memory.clear(&self.stream)?;
        let words = [memory.address(), memory.bytes() as u64];
        self.control.write(&self.stream, 4 * control::DEBUG, &words.map(u64::to_le_bytes).concat())
    }

    /// After a launch: what kernels showed is shown; the marks. Nothing where none was to be had.
    pub(crate) fn listen(&self) -> Result<Vec<Marked>, ExecError> {
        let Some(memory) = &self.said else { return Ok(Vec::new()) };
        let mut bytes = vec![0u8; memory.bytes()];
        memory.read(&self.stream, 0, &mut bytes)?;
        let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
        let said = debug::read_buffer(&words, &self.sites);
        said.tiles.iter().for_each(|text| debug::show(text));
        if let Some(wanted) = said.cut {
            debug::show(&format!(
                "plan `{}`: kernels showed and marked {wanted} bytes in this run, of which {} were kept",
                self.plan.name,
                memory.bytes()
            ));
        }
        Ok(said.marks)
    }

    /// Queues one launch.
    pub(crate) fn launch(&self, span: [i32; 3]) -> Result<(), RuntimeError> {
        self.launch_traced(span, 0)
    }

    /// Queues one launch that writes its times to a trace at this address.
    pub(crate) fn launch_traced(&self, [begin, end, max_passes]: [i32; 3], trace: u64) -> Result<(), RuntimeError> {
        let stop = self.plan.stop;
        let arguments = Arguments {
            records: self.records.address(),
            begin,
            end,
            max_passes,
            control: self.control.address(),
            stop: self.arrays.buffers[stop.buffer].address() + 4 * stop.element as u64,
            timeout_ns: u64::try_from(self.options.timeout.as_nanos()).unwrap_or(u64::MAX),
            trace,
        };
        self.module.launch(&self.stream, self.loaded.ctas, &arguments)
    }

    /// After a launch: whether an assertion failed in it or a wait ran out of time.
    pub(crate) fn verdict(&self) -> Result<(), ExecError> {
        let mut head = [0u8; control::BYTES];
        self.control.read(&self.stream, 0, &mut head)?;
        let words: Vec<u32> = head.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
        if words[control::ABORT] != 1 {
            return Ok(());
        }
        if let Some((instr, found)) = debug::failure(&words[control::FAILURE..], &self.sites) {
            let label =
                self.plan.program.get(instr).map_or_else(|| format!("instruction {instr}"), |i| i.label.clone());
            return Err(ExecError::Program(format!("`{label}`: {found}")));
        }
        let key = u64::from(words[control::REPORT]) | u64::from(words[control::REPORT + 1]) << 32;
        let report = Report::of(key);
        let mut value = [0u8; 4];
        let counter = report.counter.min(self.plan.program.len());
        self.control.read(&self.stream, control::BYTES + control::COUNTER_STRIDE * counter, &mut value)?;
        Err(stalled(&self.plan, &report, u32::from_le_bytes(value), self.loaded.ctas))
    }

    /// The buffer, if the elements are inside it.
    fn buffer(&self, buffer: usize, offset: usize, len: usize) -> Result<(DType, Range<usize>), ExecError> {
        let Some(b) = self.plan.buffers.get(buffer) else {
            let message = format!("there is no such buffer, the plan has {}", self.plan.buffers.len());
            return Err(ExecError::Access { buffer: buffer.to_string(), message });
        };
        let fail = |message: String| ExecError::Access { buffer: b.name.clone(), message };
        let size: usize = b.dims.iter().product();
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(fail(format!("{len} elements from {offset} on, it has {size}")));
        }
        if !(offset * b.dtype.bits()).is_multiple_of(8) {
            return Err(fail(format!("element {offset} begins inside a byte")));
        }
        let begin = b.dtype.bytes(offset);
        Ok((b.dtype, begin..begin + b.dtype.bytes(len)))
    }

    /// Asks the running program to stop after its present pass. A plan that has no place for that runs to its end.
    fn ask_to_stop(&self) -> Result<(), ExecError> {
        let Some(at) = self.plan.cancel else { return Ok(()) };
        match &*self.arrays.buffers[at.buffer] {
            Buffer::Device(memory) => send_word(&self.cancel, memory, 4 * at.element, &self.side)?,
            Buffer::Host(memory) => {
                if let Some(word) = memory.word(at.element) {
                    word.store(CANCEL, Ordering::Release);
                }
            }
        }
        Ok(())
    }

    fn access(&self, buffer: usize, message: String) -> ExecError {
        ExecError::Access { buffer: self.plan.buffers[buffer].name.clone(), message }
    }
}

impl Drop for GpuExecutor {
    fn drop(&mut self) {
        // A run that was left early (a panic in its observer) may still use the memory that is freed next.
        if self.context.can_free() && matches!(self.ended.reached(), Ok(false)) {
            let _ = send_word(&self.cancel, &self.control, 4 * control::ABORT, &self.side);
            let _ = self.stream.synchronize();
        }
    }
}

impl Executor for GpuExecutor {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn device(&self) -> String {
        self.context.info.to_string()
    }

    fn write(&mut self, buffer: usize, offset: usize, data: &Data) -> Result<(), ExecError> {
        let (dtype, range) = self.buffer(buffer, offset, convert::len(data))?;
        let bytes = convert::encode(dtype, data).map_err(|m| self.access(buffer, m))?;
        if self.context.is_lost() {
            return Err(lost().into());
        }
        match &*self.arrays.buffers[buffer] {
            Buffer::Device(memory) => memory.write(&self.stream, range.start, &bytes)?,
            Buffer::Host(memory) => memory.write(range.start, &bytes)?,
        }
        Ok(())
    }

    fn read(&mut self, buffer: usize, offset: usize, len: usize) -> Result<Data, ExecError> {
        let (dtype, range) = self.buffer(buffer, offset, len)?;
        if self.context.is_lost() {
            return Err(lost().into());
        }
        let mut bytes = vec![0; range.len()];
        match &*self.arrays.buffers[buffer] {
            Buffer::Device(memory) => memory.read(&self.stream, range.start, &mut bytes)?,
            Buffer::Host(memory) => memory.read(range.start, &mut bytes)?,
        }
        convert::decode(dtype, &bytes).map_err(|m| self.access(buffer, m))
    }

    fn run(
        &mut self,
        range: Range<usize>,
        max_passes: usize,
        observe: &mut dyn FnMut(&mut dyn Mailbox) -> ControlFlow<()>,
    ) -> Result<RunStats, ExecError> {
        let Some(span) = self.span(&range, max_passes)? else { return Ok(RunStats::default()) };
        self.reset()?;
        self.begun.record(&self.stream)?;
        self.launch(span)?;
        self.ended.record(&self.stream)?;
        let mut mailbox = HostMailbox { executor: self, fault: None };
        let mut cancelled: Option<Instant> = None;
        while !self.ended.reached()? {
            match cancelled {
                None => {
                    if observe(&mut mailbox).is_break() || mailbox.fault.is_some() {
                        self.ask_to_stop()?;
                        cancelled = Some(Instant::now());
                    }
                }
                Some(since) => {
                    let limit = self.options.timeout.saturating_mul(2).saturating_add(GRACE);
                    if since.elapsed() > limit {
                        self.context.lose();
                        return Err(ExecError::Device(format!(
                            "the kernel of plan `{}` did not end within {} s of being cancelled; {} can't be used any more by this process",
                            self.plan.name,
                            limit.as_secs(),
                            self.context.info
                        )));
                    }
                }
            }
            pause();
        }
        // What the kernel wrote between the last look and its end; whether to go on no longer matters.
        let _ = observe(&mut mailbox);
        if cancelled.is_some() {
            self.side.synchronize()?;
        }
        if let Some(fault) = mailbox.fault {
            return Err(fault);
        }
        self.listen()?;
        self.verdict()?;
        Ok(RunStats { elapsed: self.ended.since(&self.begun)?, cancelled: cancelled.is_some() })
    }
}

/// The mailbox of a running kernel. A wrong access ends the run with an error.
struct HostMailbox<'a> {
    executor: &'a GpuExecutor,
    fault: Option<ExecError>,
}

impl HostMailbox<'_> {
    fn word(&mut self, buffer: usize, element: usize) -> Option<&std::sync::atomic::AtomicI32> {
        let executor = self.executor;
        let result =
            executor.buffer(buffer, element, 1).and_then(|(dtype, _)| match &*executor.arrays.buffers[buffer] {
                Buffer::Host(memory) if dtype == DType::I32 => memory
                    .word(element)
                    .ok_or_else(|| executor.access(buffer, format!("there is no element {element}"))),
                Buffer::Host(_) => {
                    Err(executor.access(buffer, format!("its elements are {dtype}, a mailbox holds i32")))
                }
                Buffer::Device(_) => {
                    Err(executor.access(buffer, "the host can't see it while the program runs".into()))
                }
            });
        match result {
            Ok(word) => Some(word),
            Err(e) => {
                self.fault.get_or_insert(e);
                None
            }
        }
    }
}

impl Mailbox for HostMailbox<'_> {
    fn peek(&mut self, buffer: usize, element: usize) -> i32 {
        self.word(buffer, element).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn poke(&mut self, buffer: usize, element: usize, value: i32) {
        if let Some(word) = self.word(buffer, element) {
            word.store(value, Ordering::Release);
        }
    }
}

/// Who waited for what when a wait ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    counter: usize,
    record: usize,
    cta: u32,
}

impl Report {
    /// Takes a key apart.
    fn of(key: u64) -> Report {
        let index = |shift: u32| (control::LAST_INDEX - ((key >> shift) & control::LAST_INDEX)) as usize;
        Report {
            counter: index(control::COUNTER_SHIFT),
            record: index(control::RECORD_SHIFT),
            cta: (key & ((1 << control::RECORD_SHIFT) - 1)) as u32,
        }
    }
}

/// The earliest edge on which a wait ran out of time. In each pass the counter rises once for each CTA that has items.
fn stalled(plan: &Plan, report: &Report, value: u32, ctas: u32) -> ExecError {
    let label = |index: usize| match plan.program.get(index) {
        Some(instr) => instr.label.clone(),
        None => format!("instruction {index}"),
    };
    let each = plan.program.get(report.counter).map_or(1, |i| i.items().min(ctas as usize).max(1) as u32);
    ExecError::Stalled {
        cta: report.cta,
        waiting: label(report.record),
        awaited: label(report.counter),
        value,
        target: (value / each + 1) * each,
    }
}

fn lost() -> RuntimeError {
    RuntimeError::Driver {
        what: "use the device",
        code: "context lost".into(),
        text: "an earlier run failed; start the process again".into(),
    }
}

/// Lets other threads run for a poll interval.
fn pause() {
    let begin = Instant::now();
    while begin.elapsed() < POLL {
        std::hint::spin_loop();
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tile_lang::plan::Instr;

    #[test]
    fn a_stall_names_both_instructions() {
        let mut plan = Plan::new("p");
        for label in ["norm", "q_proj"] {
            plan.program.push(Instr {
                kernel: 0,
                operands: vec![],
                extents: vec![],
                after: vec![],
                label: label.into(),
                file: "m.rs".into(),
                line: 1,
            });
        }
        plan.program[0].extents = vec![200];
        let key = |counter: u64, record: u64, cta: u64| {
            (control::LAST_INDEX - counter) << control::COUNTER_SHIFT
                | (control::LAST_INDEX - record) << control::RECORD_SHIFT
                | cta
        };
        let report = Report::of(key(0, 1, 17));
        assert_eq!(report, Report { counter: 0, record: 1, cta: 17 });
        assert_eq!(
            stalled(&plan, &report, 137, 132).to_string(),
            "the kernel stopped making progress: CTA 17 waits before `q_proj` for `norm`: its counter is 137, 264 is needed"
        );
        // The earliest edge has the largest key.
        assert!(key(3, 9, 131) > key(4, 5, 0) && key(3, 4, 0) > key(3, 5, 131));
    }
}
