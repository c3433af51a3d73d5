//! A program's arrays on a device: its buffers and its stored weights. Programs of one model share what they declare alike.

use crate::device::{Context, Stream};
use crate::error::RuntimeError;
use crate::layout::Layout;
use crate::memory::{DeviceMemory, HostMemory};
use crate::weights;
use std::rc::Rc;
use tile_lang::exec::WeightSource;
use tile_lang::packing::Packing;
use tile_lang::plan::{self, Plan, Visibility, Weight};
use tile_lang::record::RECORD_BYTES;

/// Where a buffer lies.
pub(crate) enum Buffer {
    Device(DeviceMemory),
    Host(HostMemory),
}

impl Buffer {
    pub fn address(&self) -> u64 {
        match self {
            Buffer::Device(memory) => memory.address(),
            Buffer::Host(memory) => memory.address(),
        }
    }
}

/// Buffers and weights of one program.
pub(crate) struct Arrays {
    /// In the order of the plan.
    pub buffers: Vec<Rc<Buffer>>,
    /// As the plan declares them.
    declared: Vec<plan::Buffer>,
    /// This program's own weights, if it has any that weren't there.
    pub weights: Option<Rc<DeviceMemory>>,
    /// Memory of other programs that holds weights of this one.
    others: Vec<Rc<DeviceMemory>>,
    stored: Vec<Stored>,
    /// Bytes of this program's own buffers in device memory.
    pub buffer_bytes: usize,
}

/// A weight in one storage order.
struct Stored {
    weight: Weight,
    packing: Option<Packing>,
    address: u64,
}

impl Arrays {
    /// Allocates what isn't there, and uploads weights; `first` are another program's arrays, as they were for `layout`.
    pub fn new(
        context: &Rc<Context>,
        stream: &Stream,
        plan: &Plan,
        layout: &Layout,
        source: &dyn WeightSource,
        first: Option<&Arrays>,
    ) -> Result<Arrays, RuntimeError> {
        let there: Vec<Option<Rc<Buffer>>> = plan.buffers.iter().map(|b| first?.buffer_at(b)).collect();
        let own = plan.buffers.iter().zip(&layout.buffers).zip(&there);
        let own = own.filter(|((b, _), there)| there.is_none() && b.visibility == Visibility::Device);
        let buffer_bytes = own.fold(0usize, |sum, ((_, bytes), _)| sum.saturating_add(bytes.next_multiple_of(512)));
        require_memory(context, plan, layout.weight_bytes, buffer_bytes)?;
        let mut buffers = Vec::with_capacity(plan.buffers.len());
        for ((b, bytes), there) in plan.buffers.iter().zip(&layout.buffers).zip(there) {
            buffers.push(match (there, b.visibility) {
                (Some(there), _) => there,
                (None, Visibility::Device) => Rc::new(Buffer::Device(DeviceMemory::zeroed(context, stream, *bytes)?)),
                (None, Visibility::Host) => Rc::new(Buffer::Host(HostMemory::zeroed(context, *bytes)?)),
            });
        }
        let weights = match layout.weight_bytes {
            0 => None,
            bytes => Some(DeviceMemory::zeroed(context, stream, bytes)?),
        };
        if let Some(memory) = &weights {
            weights::upload(context, stream, plan, layout, source, memory)?;
        }
        let base = weights.as_ref().map_or(0, DeviceMemory::address);
        let stored = layout.copies.iter().map(|copy| Stored {
            weight: plan.weights[copy.weight].clone(),
            packing: copy.packing.clone(),
            address: copy.address(base),
        });
        let stored = stored.collect();
        let others = first.map_or(Vec::new(), |f| f.weights.iter().chain(&f.others).cloned().collect());
        let weights = weights.map(Rc::new);
        Ok(Arrays { buffers, declared: plan.buffers.clone(), weights, others, stored, buffer_bytes })
    }

    /// The buffer that is declared so.
    fn buffer_at(&self, declared: &plan::Buffer) -> Option<Rc<Buffer>> {
        self.declared.iter().position(|b| b == declared).map(|at| self.buffers[at].clone())
    }

    /// Where a weight lies in this order.
    pub fn weight_at(&self, weight: &Weight, packing: Option<&Packing>) -> Option<u64> {
        self.stored.iter().find(|s| s.weight == *weight && s.packing.as_ref() == packing).map(|s| s.address)
    }

    /// Addresses of the buffers.
    pub fn addresses(&self) -> Vec<u64> {
        self.buffers.iter().map(|b| b.address()).collect()
    }
}

/// Fails unless everything fits.
fn require_memory(context: &Context, plan: &Plan, weights: usize, buffers: usize) -> Result<(), RuntimeError> {
    let own = plan.program.len() * RECORD_BYTES + Layout::control_bytes(plan);
    let needed = weights.saturating_add(buffers).saturating_add(own);
    let (free, total) = context.memory()?;
    if needed > free {
        let device = context.info.to_string();
        return Err(RuntimeError::Memory { device, free, total, needed, weights, buffers });
    }
    Ok(())
}
