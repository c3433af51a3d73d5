//! Memory of a device, and of the host where a device reads and writes it too.

use crate::device::{Context, Event, Stream};
use crate::error::{Attempt, RuntimeError};
use cudarc::driver::result;
use cudarc::driver::sys;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::AtomicI32;

/// What an array of no elements takes, so that it has an address.
const LEAST: usize = 16;

/// Device memory, zero at first.
pub(crate) struct DeviceMemory {
    context: Rc<Context>,
    address: u64,
    bytes: usize,
}

impl DeviceMemory {
    /// Allocates and queues zeroing on `stream`.
    pub fn zeroed(context: &Rc<Context>, stream: &Stream, bytes: usize) -> Result<DeviceMemory, RuntimeError> {
        context.bind()?;
        let bytes = bytes.max(LEAST);
        // SAFETY: the contents are not looked at before the memset below.
        let address = unsafe { result::malloc_sync(bytes) }.to("allocate device memory")?;
        let memory = DeviceMemory { context: context.clone(), address, bytes };
        memory.clear(stream)?;
        Ok(memory)
    }

    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues zeroing.
    pub fn clear(&self, stream: &Stream) -> Result<(), RuntimeError> {
        self.fill(stream, 0)
    }

    /// Queues setting every byte.
    pub fn fill(&self, stream: &Stream, byte: u8) -> Result<(), RuntimeError> {
        self.context.bind()?;
        // SAFETY: the range is this allocation, which outlives queued work: freeing it waits for the device.
        unsafe { result::memset_d8_async(self.address, byte, self.bytes, stream.raw()) }.to("set device memory")
    }

    /// Copies to the device and waits.
    pub fn write(&self, stream: &Stream, offset: usize, data: &[u8]) -> Result<(), RuntimeError> {
        self.check(offset, data.len())?;
        // SAFETY: the destination is inside this allocation; `data` stays borrowed until the copy is done.
        unsafe { result::memcpy_htod_async(self.address + offset as u64, data, stream.raw()) }
            .to("copy to the device")?;
        stream.synchronize()
    }

    /// Copies from the device and waits.
    pub fn read(&self, stream: &Stream, offset: usize, out: &mut [u8]) -> Result<(), RuntimeError> {
        self.check(offset, out.len())?;
        // SAFETY: the source is inside this allocation; `out` stays borrowed until the copy is done.
        unsafe { result::memcpy_dtoh_async(out, self.address + offset as u64, stream.raw()) }
            .to("copy from the device")?;
        stream.synchronize()
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), RuntimeError> {
        self.context.bind()?;
        within(offset, len, self.bytes)
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.context.can_free() {
            // SAFETY: allocated in `zeroed`, freed once.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/// Pinned host memory that the device addresses too, zero at first.
pub(crate) struct HostMemory {
    context: Rc<Context>,
    host: NonNull<u8>,
    address: u64,
    bytes: usize,
}

impl HostMemory {
    pub fn zeroed(context: &Rc<Context>, bytes: usize) -> Result<HostMemory, RuntimeError> {
        context.bind()?;
        let bytes = bytes.max(LEAST);
        // SAFETY: the contents are zeroed below before anything reads them.
        let host =
            unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_DEVICEMAP | sys::CU_MEMHOSTALLOC_PORTABLE) }
                .to("allocate pinned host memory")?;
        let Some(host) = NonNull::new(host.cast::<u8>()) else {
            return Err(RuntimeError::Driver {
                what: "allocate pinned host memory",
                code: "CUDA_ERROR_OUT_OF_MEMORY".into(),
                text: "no memory".into(),
            });
        };
        let mut memory = HostMemory { context: context.clone(), host, address: 0, bytes };
        // SAFETY: the allocation has `bytes` bytes and nothing else knows it yet.
        unsafe { host.write_bytes(0, bytes) };
        // SAFETY: the pointer comes from an allocation with DEVICEMAP; the address is written to a field of a local.
        unsafe { sys::cuMemHostGetDevicePointer_v2(&mut memory.address, host.as_ptr().cast(), 0) }
            .to("map host memory into the device")?;
        Ok(memory)
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// One aligned word, shared with a running kernel; `None` outside.
    pub fn word(&self, index: usize) -> Option<&AtomicI32> {
        let end = index.checked_add(1)?.checked_mul(4)?;
        if end > self.bytes {
            return None;
        }
        // SAFETY: inside the allocation, aligned (page-aligned start, multiple of 4), alive as long as `self`, and while it
        // is shared with a kernel only ever accessed as whole atomic words.
        Some(unsafe { AtomicI32::from_ptr(self.host.as_ptr().add(4 * index).cast()) })
    }

    /// Copies from it, while no kernel runs and no copy from or to it is under way (the caller's part).
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), RuntimeError> {
        within(offset, out.len(), self.bytes)?;
        // SAFETY: inside the allocation, all of which is initialised (zeroed); kernels and copies have ended, per the contract above, and
        // `out` is another allocation.
        unsafe { self.host.as_ptr().add(offset).copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Copies to it; as for [`HostMemory::read`].
    pub fn write(&self, offset: usize, data: &[u8]) -> Result<(), RuntimeError> {
        within(offset, data.len(), self.bytes)?;
        // SAFETY: inside the allocation; kernels and copies have ended, per the contract, a slice of it exists only under `&mut self`, and
        // words of it are atomic.
        unsafe { self.host.as_ptr().add(offset).copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        Ok(())
    }

    /// The bytes, while no kernel runs and no copy from or to it is under way (the caller's part).
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the whole allocation is initialised (zeroed); kernels and copies have ended, per the contract above; `&mut self`
        // excludes other borrows by the host.
        unsafe { std::slice::from_raw_parts_mut(self.host.as_ptr(), self.bytes) }
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        if self.context.can_free() {
            // SAFETY: allocated in `zeroed`, freed once.
            let _ = unsafe { result::free_host(self.host.as_ptr().cast()) };
        }
    }
}

/// Queues a copy of one word of pinned memory to a device address.
pub(crate) fn send_word(
    from: &HostMemory,
    to: &DeviceMemory,
    offset: usize,
    stream: &Stream,
) -> Result<(), RuntimeError> {
    to.check(offset, 4)?;
    // SAFETY: both ranges are inside their allocations, which the executor keeps until the stream is synchronised.
    unsafe { sys::cuMemcpyHtoDAsync_v2(to.address + offset as u64, from.host.as_ptr().cast(), 4, stream.raw()) }
        .to("signal the kernel")
}

fn within(offset: usize, len: usize, bytes: usize) -> Result<(), RuntimeError> {
    if offset.checked_add(len).is_some_and(|end| end <= bytes) {
        return Ok(());
    }
    Err(RuntimeError::Driver {
        what: "copy",
        code: "out of range".into(),
        text: format!("{len} bytes at {offset} of an allocation of {bytes}"),
    })
}

/// Copies a stream of pieces to the device through two pinned buffers: one is filled while the other is on its way.
pub(crate) struct Uploader<'a> {
    stream: &'a Stream,
    slots: [Slot; 2],
    next: usize,
}

struct Slot {
    memory: HostMemory,
    sent: Event,
    busy: bool,
}

impl<'a> Uploader<'a> {
    pub fn new(context: &Rc<Context>, stream: &'a Stream, bytes: usize) -> Result<Self, RuntimeError> {
        let slot = || -> Result<Slot, RuntimeError> {
            Ok(Slot { memory: HostMemory::zeroed(context, bytes)?, sent: Event::new(context)?, busy: false })
        };
        Ok(Uploader { stream, slots: [slot()?, slot()?], next: 0 })
    }

    /// Most bytes of one piece.
    pub fn capacity(&self) -> usize {
        self.slots[0].memory.bytes
    }

    /// Lets `fill` write `len` bytes and queues their copy to `offset` of `to`.
    pub fn send(
        &mut self,
        to: &DeviceMemory,
        offset: usize,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), RuntimeError> {
        to.check(offset, len)?;
        within(0, len, self.capacity())?;
        let slot = &mut self.slots[self.next];
        self.next = 1 - self.next;
        if slot.busy {
            slot.sent.wait()?;
        }
        fill(&mut slot.memory.bytes_mut()[..len]);
        // SAFETY: the destination was checked; the pinned source is not touched before `sent` is reached, nor freed before
        // the stream is synchronised in `drop`.
        unsafe {
            result::memcpy_htod_async(to.address + offset as u64, &slot.memory.bytes_mut()[..len], self.stream.raw())
        }
        .to("copy to the device")?;
        slot.busy = true;
        slot.sent.record(self.stream)
    }

    /// Waits for the last piece.
    pub fn finish(self) -> Result<(), RuntimeError> {
        self.stream.synchronize()
    }
}

impl Drop for Uploader<'_> {
    fn drop(&mut self) {
        // On failure the context is marked lost, and the pinned memory is not freed.
        let _ = self.stream.synchronize();
    }
}
