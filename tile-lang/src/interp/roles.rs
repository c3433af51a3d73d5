//! Kernels that are split into roles, in lock step: when the consumer waits for a slot, the producer runs on to its next
//! fill. The result is that of the tile form: a copy is made where the consumer waits for it.
//!
//! The producer is suspended inside loops and conditions, so that its place is kept as a stack of frames.

use super::InterpError;
use super::exec::Run;
use super::memory;
use super::prepare::Step;
use super::value::Value;
use crate::ir::{OpKind, RingPart};

/// Where the producer of one work item stands.
#[derive(Debug)]
pub(super) struct Producer<'p> {
    frames: Vec<Frame<'p>>,
    /// The fill that it stopped at last.
    last: Option<&'p Step>,
}

/// A block that is being run.
#[derive(Debug)]
struct Frame<'p> {
    block: usize,
    /// The next step.
    at: usize,
    owner: Owner<'p>,
}

/// What a block belongs to.
#[derive(Debug)]
enum Owner<'p> {
    Body,
    /// A loop: its step, the next index, the end.
    Loop(&'p Step, i32, i32),
    Condition(&'p Step),
}

impl<'p> Producer<'p> {
    /// At the start of its body; `None` for a kernel without one.
    pub fn new(body: Option<usize>) -> Self {
        let frames = body.map(|block| Frame { block, at: 0, owner: Owner::Body }).into_iter().collect();
        Producer { frames, last: None }
    }
}

impl<'a> Run<'a> {
    /// Consumer: takes the next slot, which the producer now fills.
    pub fn ring_wait(&mut self, step: &Step, parts: &[RingPart]) -> Result<(), InterpError> {
        let (fill, values) = match self.produce()? {
            Some(filled) => filled,
            None => {
                let message = "the consumer waits for a slot that the producer does not fill".to_owned();
                let notes = vec![match self.producer.last {
                    Some(fill) => format!("the producer's last fill is at {}", self.prepared.place(fill)),
                    None => "the producer fills no slot".into(),
                }];
                return Err(InterpError(self.prepared.diagnostic("E24", step, message, notes)));
            }
        };
        let alike = |filled: &[RingPart]| {
            filled.len() == parts.len()
                && filled.iter().zip(parts).all(|(f, w)| f.dtype == w.dtype && f.shape == w.shape)
        };
        if !matches!(&fill.kind, OpKind::RingFill(filled) if alike(filled)) {
            let message = "the slot holds other tiles than the consumer waits for".to_owned();
            let notes = vec![format!("it is filled at {}", self.prepared.place(fill))];
            return Err(InterpError(self.prepared.diagnostic("E24", step, message, notes)));
        }
        for (slot, value) in step.outs.iter().zip(values) {
            self.put(*slot, value);
        }
        Ok(())
    }

    /// After the consumer's end: runs the producer to its end, which must fill nothing more.
    pub fn finish_producer(&mut self) -> Result<(), InterpError> {
        match self.produce()? {
            None => Ok(()),
            Some((fill, _)) => {
                let message = "the producer fills a slot that the consumer does not wait for".to_owned();
                let fix = "wait for it and release it in the other role, or don't fill it".to_owned();
                Err(InterpError(self.prepared.diagnostic("E24", fill, message, vec![fix])))
            }
        }
    }

    /// Runs the producer up to and with its next fill; `None` at its end.
    fn produce(&mut self) -> Result<Option<(&'a Step, Vec<Value>)>, InterpError> {
        let prepared = self.prepared;
        while let Some(frame) = self.producer.frames.last_mut() {
            let Some(step) = prepared.blocks[frame.block].steps.get(frame.at) else {
                self.leave();
                continue;
            };
            frame.at += 1;
            match &step.kind {
                OpKind::For { .. } => {
                    let (from, to) = (self.scalar_i32(step, 0)?, self.scalar_i32(step, 1)?);
                    self.carry_in(step);
                    self.enter_loop(step, from, to);
                    continue;
                }
                OpKind::If => {
                    let chosen = !self.scalar_bool(step, 0)? as usize;
                    let Some(block) = step.blocks.get(chosen) else { return Err(self.malformed(step)) };
                    self.producer.frames.push(Frame { block: *block as usize, at: 0, owner: Owner::Condition(step) });
                    continue;
                }
                OpKind::RingFill(_) => {
                    let values = step.parts.iter().map(|p| memory::stage(self, p)).collect::<Result<_, _>>()?;
                    self.drop_unused(step);
                    self.producer.last = Some(step);
                    return Ok(Some((step, values)));
                }
                _ => self.step(step)?,
            }
            self.drop_unused(step);
        }
        Ok(None)
    }

    /// The next iteration, or the loop's results.
    fn enter_loop(&mut self, step: &'a Step, next: i32, to: i32) {
        let Some(block) = step.blocks.first().map(|b| *b as usize) else { return };
        if next < to {
            let args = &self.prepared.blocks[block].args;
            self.unyield(args.get(1..).unwrap_or_default());
            if let Some(index) = args.first() {
                self.put(*index, Value::I32(next));
            }
            self.producer.frames.push(Frame { block, at: 0, owner: Owner::Loop(step, next + 1, to) });
        } else {
            self.unyield(&step.outs);
            self.drop_unused(step);
        }
    }

    /// The end of a block.
    fn leave(&mut self) {
        match self.producer.frames.pop().map(|f| f.owner) {
            Some(Owner::Loop(step, next, to)) => self.enter_loop(step, next, to),
            Some(Owner::Condition(step)) => {
                self.unyield(&step.outs);
                self.drop_unused(step);
            }
            Some(Owner::Body) | None => {}
        }
    }
}
