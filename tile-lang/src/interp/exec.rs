//! Running the steps of one work item: slots, control flow, scalars. Tile ops are in the modules beside this one.

use super::launch::Bound;
use super::prepare::{Prepared, Step};
use super::roles::Producer;
use super::value::{Operand, Pool, Value};
use super::{InterpError, debug, elementwise, indexed, memory, scaled, tile};
use crate::ir::{Literal, OpKind};
use std::cell::RefCell;

/// What a thread keeps from one work item to the next.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub(super) slots: Vec<Value>,
    pub(super) pool: Pool,
    pub(super) yielded: Vec<Value>,
}

thread_local! {
    static WORKER: RefCell<Worker> = RefCell::default();
}

/// Runs `f` with this thread's buffers.
pub(super) fn with_worker<R>(f: impl FnOnce(&mut Worker) -> R) -> R {
    let mut worker = WORKER.take();
    let result = f(&mut worker);
    for slot in &mut worker.slots {
        worker.pool.recycle(std::mem::take(slot));
    }
    worker.yielded.clear();
    WORKER.set(worker);
    result
}

/// One work item on its way.
pub(super) struct Run<'a> {
    pub prepared: &'a Prepared,
    pub bound: &'a Bound<'a>,
    pub(super) item: &'a [usize],
    pub(super) slots: &'a mut [Value],
    pub pool: &'a mut Pool,
    pub(super) yielded: &'a mut Vec<Value>,
    pub producer: Producer<'a>,
}

impl<'a> Run<'a> {
    pub fn new(prepared: &'a Prepared, bound: &'a Bound<'a>, item: &'a [usize], worker: &'a mut Worker) -> Run<'a> {
        if worker.slots.len() < prepared.slots {
            worker.slots.resize(prepared.slots, Value::Empty);
        }
        worker.yielded.clear();
        let slots = &mut worker.slots[..prepared.slots];
        for (slot, scalar) in &bound.scalars {
            slots[*slot as usize] = scalar.value();
        }
        let producer = Producer::new(prepared.producer);
        Run { prepared, bound, item, slots, pool: &mut worker.pool, yielded: &mut worker.yielded, producer }
    }

    /// Runs the whole body.
    pub fn body(&mut self) -> Result<(), InterpError> {
        self.block(self.prepared.body)?;
        self.finish_producer()
    }

    fn block(&mut self, block: usize) -> Result<(), InterpError> {
        for step in &self.prepared.blocks[block].steps {
            self.step(step)?;
            self.drop_unused(step);
        }
        Ok(())
    }

    /// Empties the slots that nobody reads after a step.
    pub fn drop_unused(&mut self, step: &Step) {
        for slot in &step.drops {
            self.put(*slot, Value::Empty);
        }
    }

    /// Fills a slot.
    pub fn put(&mut self, slot: u32, value: Value) {
        let old = std::mem::replace(&mut self.slots[slot as usize], value);
        self.pool.recycle(old);
    }

    /// The value of an operand, moved out at its last use.
    pub fn take(&mut self, step: &Step, i: usize) -> Value {
        let Some(input) = step.ins.get(i) else { return Value::Empty };
        let slot = &mut self.slots[input.slot as usize];
        if input.last { std::mem::take(slot) } else { slot.clone() }
    }

    /// The value of an operand, left where it is.
    pub fn peek(&self, step: &Step, i: usize) -> Option<&Value> {
        step.ins.get(i).map(|input| &self.slots[input.slot as usize])
    }

    /// The kernel is not what the verifier lets through.
    pub fn malformed(&self, step: &Step) -> InterpError {
        let message = format!("`{}` has operands it can't work on", step.kind.mnemonic());
        self.prepared.fault(step, message, vec!["this is a fault of the compiler: please report the kernel".into()])
    }

    /// A real operand.
    pub fn real(&mut self, step: &Step, i: usize) -> Result<Operand<f32>, InterpError> {
        match self.take(step, i) {
            Value::F32(x) => Ok(Operand::One(x)),
            Value::TileF(t) => Ok(Operand::Tile(t)),
            Value::View(v) => {
                let [rows, cols] = step.ins[i].shape;
                let dense = self.pool.dense(&v, rows, cols);
                self.pool.recycle(Value::View(v));
                Ok(Operand::Tile(dense))
            }
            _ => Err(self.malformed(step)),
        }
    }

    /// An integer operand.
    pub fn int(&mut self, step: &Step, i: usize) -> Result<Operand<i32>, InterpError> {
        match self.take(step, i) {
            Value::I32(x) => Ok(Operand::One(x)),
            Value::TileI(t) => Ok(Operand::Tile(t)),
            _ => Err(self.malformed(step)),
        }
    }

    /// A truth operand.
    pub fn truth(&mut self, step: &Step, i: usize) -> Result<Operand<u8>, InterpError> {
        match self.take(step, i) {
            Value::Bool(x) => Ok(Operand::One(x)),
            Value::TileB(t) => Ok(Operand::Tile(t)),
            _ => Err(self.malformed(step)),
        }
    }

    /// A uniform integer.
    pub fn scalar_i32(&self, step: &Step, i: usize) -> Result<i32, InterpError> {
        match self.peek(step, i) {
            Some(Value::I32(x)) => Ok(*x),
            _ => Err(self.malformed(step)),
        }
    }

    /// A uniform truth value.
    pub fn scalar_bool(&self, step: &Step, i: usize) -> Result<bool, InterpError> {
        match self.peek(step, i) {
            Some(Value::Bool(x)) => Ok(*x != 0),
            _ => Err(self.malformed(step)),
        }
    }

    /// A scalar, for a message.
    pub fn show(&self, slot: u32) -> String {
        match &self.slots[slot as usize] {
            Value::F32(x) => x.to_string(),
            Value::I32(x) => x.to_string(),
            Value::Bool(x) => (*x != 0).to_string(),
            _ => "unknown".into(),
        }
    }

    /// Runs one step.
    pub fn step(&mut self, step: &Step) -> Result<(), InterpError> {
        let result = match &step.kind {
            OpKind::Const(Literal::F32(x)) => Value::F32(*x),
            OpKind::Const(Literal::I32(x)) => Value::I32(*x),
            OpKind::Const(Literal::Bool(x)) => Value::Bool(*x as u8),
            OpKind::Work => {
                for (out, i) in step.outs.iter().zip(self.item) {
                    self.put(*out, Value::I32(*i as i32));
                }
                return Ok(());
            }
            OpKind::Require(_) => return Ok(()),
            OpKind::Dim(axis) => match self.bound.arrays.get(step.param).copied().flatten() {
                Some(view) => Value::I32(view.dims.get(*axis).copied().unwrap_or(0) as i32),
                None => return Err(self.malformed(step)),
            },
            OpKind::Unary(op) => elementwise::unary(self, step, *op)?,
            OpKind::Binary(op) => elementwise::binary(self, step, *op)?,
            OpKind::Ternary(op) => elementwise::ternary(self, step, *op)?,
            OpKind::Cmp(op) => elementwise::cmp(self, step, *op)?,
            OpKind::Select => elementwise::select(self, step)?,
            OpKind::Cast => elementwise::cast(self, step)?,
            // A tile of one number is held as the number; a shared tile as its elements.
            OpKind::Splat | OpKind::Read => self.take(step, 0),
            OpKind::Iota(axis) => tile::iota(self, step, *axis),
            OpKind::Broadcast(axis) => tile::broadcast(self, step, *axis)?,
            OpKind::Repeat(times) => tile::repeat(self, step, *times)?,
            OpKind::Transpose => tile::transpose(self, step)?,
            OpKind::Slice(offsets) => tile::slice(self, step, offsets)?,
            OpKind::Reduce(op, axis) => tile::reduce(self, step, *op, *axis)?,
            OpKind::Reshape => tile::reshape(self, step)?,
            OpKind::Join(axis) => tile::join(self, step, *axis)?,
            OpKind::Scan(op, axis) => tile::scan(self, step, *op, *axis)?,
            OpKind::Gather => indexed::gather(self, step)?,
            OpKind::Scatter => return indexed::scatter(self, step),
            OpKind::Atomic(op, _) => indexed::atomic(self, step, *op)?,
            OpKind::AtomicCas(_) => indexed::cas(self, step)?,
            OpKind::Mma => tile::mma(self, step)?,
            OpKind::MmaScaled => scaled::mma(self, step)?,
            OpKind::Load => memory::load(self, step)?,
            OpKind::Stage => memory::stage(self, step)?,
            OpKind::At => memory::at(self, step)?,
            OpKind::Store => return memory::store(self, step, false),
            OpKind::StoreMasked => return memory::store(self, step, true),
            OpKind::Prefetch(shape) => return memory::prefetch(self, step, shape),
            OpKind::Set => return memory::set(self, step),
            OpKind::For { .. } => return self.for_loop(step),
            OpKind::If => return self.if_else(step),
            OpKind::DeviceAssert(_) => return debug::assert(self, step),
            OpKind::DbgTile(_) => return debug::show(self, step),
            // The timeline is a GPU's.
            OpKind::Mark(_) => return Ok(()),
            OpKind::Yield => {
                for i in 0..step.ins.len() {
                    let value = self.take(step, i);
                    self.yielded.push(value);
                }
                return Ok(());
            }
            OpKind::RingWait(parts) => return self.ring_wait(step, parts),
            OpKind::RingRelease => return Ok(()),
            // The producer's steps are run by `produce`.
            OpKind::RingFill(_) => return Err(self.malformed(step)),
        };
        if let Some(out) = step.outs.first() {
            self.put(*out, result);
        }
        Ok(())
    }

    /// Moves the last yielded values into slots.
    pub fn unyield(&mut self, slots: &[u32]) {
        for slot in slots.iter().rev() {
            let value = self.yielded.pop().unwrap_or_default();
            self.put(*slot, value);
        }
    }

    /// Hands a loop's initial values on.
    pub fn carry_in(&mut self, step: &Step) {
        for i in 2..step.ins.len() {
            let value = self.take(step, i);
            self.yielded.push(value);
        }
    }

    fn for_loop(&mut self, step: &Step) -> Result<(), InterpError> {
        let (from, to) = (self.scalar_i32(step, 0)?, self.scalar_i32(step, 1)?);
        let Some(block) = step.blocks.first().map(|b| *b as usize) else { return Err(self.malformed(step)) };
        let Some((index, carried)) = self.prepared.blocks[block].args.split_first() else {
            return Err(self.malformed(step));
        };
        self.carry_in(step);
        for i in from..to {
            self.unyield(carried);
            self.put(*index, Value::I32(i));
            self.block(block)?;
        }
        self.unyield(&step.outs);
        Ok(())
    }

    fn if_else(&mut self, step: &Step) -> Result<(), InterpError> {
        let chosen = !self.scalar_bool(step, 0)? as usize;
        let Some(block) = step.blocks.get(chosen) else { return Err(self.malformed(step)) };
        self.block(*block as usize)?;
        self.unyield(&step.outs);
        Ok(())
    }
}
