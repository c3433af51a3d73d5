//! A work item that can stop before any op: the checked simulator runs roles op by op, and asks before each memory op
//! which elements it is about to touch.

use super::exec::{Run, Worker};
use super::launch::Bound;
use super::memory::{Window, read_box, staged_box};
use super::prepare::{Prepared, Step};
use super::roles::Producer;
use super::value::{Operand, Value};
use super::{InterpError, View};
use crate::ir::{BlockId, OpKind};
use std::ops::Range;

/// What comes next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point<'a> {
    /// A nested block is entered.
    Enter(BlockId),
    /// An op runs. A loop or condition only begins.
    Op(&'a Step),
    /// A loop or condition is over.
    Leave(&'a Step),
    /// The work item is done.
    End,
}

/// A block on its way.
#[derive(Debug)]
struct Level<'a> {
    block: usize,
    /// The next step.
    at: usize,
    /// The loop or condition that the block belongs to; `None` for the body.
    of: Option<&'a Step>,
    entered: bool,
    /// Iterations of a loop that are left, this one included.
    iterations: Range<i32>,
}

/// A tile in shared memory as the simulator hands it in and out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staged(Value);

/// An asynchronous copy that has not landed: where it reads.
#[derive(Debug)]
pub(crate) struct Source {
    view: View,
    window: Window,
    /// The parameter.
    pub param: usize,
}

impl Source {
    /// Elements that it reads, as runs.
    pub fn runs(&self) -> Vec<Range<usize>> {
        runs(&self.window)
    }

    /// Reads it now.
    pub fn read(&self, walk: &mut Walk<'_>) -> Staged {
        Staged(read_box(&mut walk.worker.pool, &self.view, &self.window))
    }
}

/// How an op touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It reads.
    Read,
    /// It writes, all threads their parts.
    Write,
    /// One thread writes for all.
    Set,
    /// It changes each element in one step, which nothing divides.
    Atomic,
}

/// What a memory op is about to touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    /// The parameter.
    pub param: usize,
    /// How.
    pub how: How,
    /// Elements of the array, as runs.
    pub runs: Vec<Range<usize>>,
}

/// A work item of one role's body.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    /// Its kernel and arguments; `None` before the first item.
    job: Option<(&'a Prepared, Bound<'a>)>,
    item: Vec<usize>,
    worker: Worker,
    levels: Vec<Level<'a>>,
    /// Where the shared tile in a slot came from: a number of the simulator's.
    origins: Vec<Option<u64>>,
    yielded: Vec<Option<u64>>,
}

impl<'a> Walk<'a> {
    /// Nothing to run yet.
    pub fn new() -> Self {
        Walk {
            job: None,
            item: Vec::new(),
            worker: Worker::default(),
            levels: Vec::new(),
            origins: Vec::new(),
            yielded: Vec::new(),
        }
    }

    /// Starts an item.
    pub fn begin(&mut self, prepared: &'a Prepared, bound: Bound<'a>, item: Vec<usize>) {
        for slot in &mut self.worker.slots {
            self.worker.pool.recycle(std::mem::take(slot));
        }
        self.worker.yielded.clear();
        self.yielded.clear();
        self.origins.clear();
        self.origins.resize(prepared.slots, None);
        let body = Level { block: prepared.body, at: 0, of: None, entered: true, iterations: 0..0 };
        self.levels.clear();
        self.levels.push(body);
        self.item = item;
        if self.worker.slots.len() < prepared.slots {
            self.worker.slots.resize(prepared.slots, Value::Empty);
        }
        for (slot, scalar) in &bound.scalars {
            self.worker.slots[*slot as usize] = scalar.value();
        }
        self.job = Some((prepared, bound));
    }

    /// What comes next; it stays so until [`Walk::proceed`].
    pub fn point(&self) -> Point<'a> {
        let (Some((prepared, _)), Some(level)) = (&self.job, self.levels.last()) else { return Point::End };
        if !level.entered {
            return Point::Enter(BlockId(level.block as u32));
        }
        match (prepared.blocks[level.block].steps.get(level.at), level.of) {
            (Some(step), _) => Point::Op(step),
            (None, Some(step)) => Point::Leave(step),
            (None, None) => Point::End,
        }
    }

    /// Carries out what [`Walk::point`] says.
    ///
    /// # Errors
    /// What the op does wrong.
    pub fn proceed(&mut self) -> Result<(), InterpError> {
        match self.point() {
            Point::End => Ok(()),
            Point::Enter(_) => {
                if let Some(level) = self.levels.last_mut() {
                    level.entered = true;
                }
                Ok(())
            }
            Point::Leave(step) => {
                self.levels.pop();
                self.bind(&step.outs);
                self.finish(step);
                Ok(())
            }
            Point::Op(step) => self.op(step),
        }
    }

    fn op(&mut self, step: &'a Step) -> Result<(), InterpError> {
        match step.kind {
            OpKind::For { .. } => {
                let from_to = self.with(|run| Ok((run.scalar_i32(step, 0)?, run.scalar_i32(step, 1)?)))?;
                self.give(step, 2)?;
                self.enter(step, 0, from_to.0..from_to.1)
            }
            OpKind::If => {
                let chosen = !self.with(|run| run.scalar_bool(step, 0))? as usize;
                self.enter(step, chosen, 0..1)
            }
            OpKind::Yield => {
                self.give(step, 0)?;
                self.next_iteration();
                Ok(())
            }
            OpKind::RingFill(_) => {
                self.finish(step);
                Ok(())
            }
            OpKind::RingWait(_) => {
                self.finish(step);
                Ok(())
            }
            OpKind::RingRelease => {
                for i in 0..step.ins.len() {
                    let old = self.with(|run| Ok(run.take(step, i)))?;
                    self.worker.pool.recycle(old);
                }
                self.finish(step);
                Ok(())
            }
            _ => {
                self.with(|run| run.step(step))?;
                if let (Some(out), Some(x)) = (step.outs.first(), step.ins.first()) {
                    self.origins[*out as usize] = match step.kind {
                        OpKind::Transpose | OpKind::Slice(_) => self.origins[x.slot as usize],
                        _ => None,
                    };
                }
                self.finish(step);
                Ok(())
            }
        }
    }

    /// Takes operands from the `first` on for the block that comes next.
    fn give(&mut self, step: &Step, first: usize) -> Result<(), InterpError> {
        for i in first..step.ins.len() {
            let value = self.with(|run| Ok(run.take(step, i)))?;
            self.worker.yielded.push(value);
            self.yielded.push(self.origins[step.ins[i].slot as usize]);
        }
        Ok(())
    }

    /// Binds the last given values to slots.
    fn bind(&mut self, slots: &[u32]) {
        for slot in slots.iter().rev() {
            let value = self.worker.yielded.pop().unwrap_or_default();
            let old = std::mem::replace(&mut self.worker.slots[*slot as usize], value);
            self.worker.pool.recycle(old);
            self.origins[*slot as usize] = self.yielded.pop().flatten();
        }
    }

    fn enter(&mut self, step: &'a Step, which: usize, iterations: Range<i32>) -> Result<(), InterpError> {
        let Some(block) = step.blocks.get(which).map(|b| *b as usize) else {
            return self.with(|run| Err(run.malformed(step)));
        };
        self.levels.push(Level { block, at: 0, of: Some(step), entered: false, iterations });
        self.iterate();
        Ok(())
    }

    /// After a `yield`: the next iteration, or the end of the block.
    fn next_iteration(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.iterations.start = level.iterations.start.saturating_add(1);
        }
        self.iterate();
    }

    /// Makes the block ready for its first iteration that is left; without one, [`Walk::point`] says that it is over.
    fn iterate(&mut self) {
        let Some((prepared, _)) = &self.job else { return };
        let code = &prepared.blocks;
        let Some(level) = self.levels.last_mut() else { return };
        let code = &code[level.block];
        if level.iterations.is_empty() {
            (level.entered, level.at) = (true, code.steps.len());
            return;
        }
        (level.entered, level.at) = (false, 0);
        let index = level.iterations.start;
        if let (Some(OpKind::For { .. }), Some((first, carried))) = (level.of.map(|s| &s.kind), code.args.split_first())
        {
            self.bind(carried);
            self.worker.slots[*first as usize] = Value::I32(index);
        }
    }

    /// Moves past an op of the present block.
    fn finish(&mut self, step: &Step) {
        for slot in &step.drops {
            let old = std::mem::take(&mut self.worker.slots[*slot as usize]);
            self.worker.pool.recycle(old);
        }
        if let Some(level) = self.levels.last_mut() {
            level.at += 1;
        }
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Run<'_>) -> Result<R, InterpError>) -> Result<R, InterpError> {
        let Some((prepared, bound)) = &self.job else { unreachable!("an op runs only within a work item") };
        f(&mut Run {
            prepared,
            bound,
            item: &self.item,
            slots: &mut self.worker.slots[..prepared.slots],
            pool: &mut self.worker.pool,
            yielded: &mut self.worker.yielded,
            producer: Producer::new(None),
        })
    }

    /// Binds a staged tile to the `i`-th result of an op; `origin` goes with it.
    pub fn put(&mut self, step: &Step, i: usize, tile: Staged, origin: u64) {
        let Some(slot) = step.outs.get(i).map(|s| *s as usize) else { return };
        let old = std::mem::replace(&mut self.worker.slots[slot], tile.0);
        self.worker.pool.recycle(old);
        self.origins[slot] = Some(origin);
    }

    /// Where the shared tile that is operand `i` came from.
    pub fn origin(&self, step: &Step, i: usize) -> Option<u64> {
        step.ins.get(i).and_then(|x| self.origins.get(x.slot as usize).copied().flatten())
    }

    /// A tile of zeros, for a slot in which nothing landed.
    pub fn nothing(&mut self, integers: bool) -> Staged {
        Staged(if integers { Value::I32(0) } else { Value::F32(0.0) })
    }

    /// What a copy of the ring fill at hand reads; `None` if it has no such part.
    ///
    /// # Errors
    /// The part is outside the array, not aligned or not contiguous.
    pub fn source(&mut self, step: &Step, part: usize) -> Result<Option<Source>, InterpError> {
        let Some(part) = step.parts.get(part) else { return Ok(None) };
        let param = part.param;
        let read = |(view, window): (&View, Window)| Source { view: view.clone(), window, param };
        self.with(|run| staged_box(run, part).map(read)).map(Some)
    }

    /// What the op at hand touches in global memory, if it is a memory op.
    ///
    /// # Errors
    /// An index outside the array.
    pub fn touches(&mut self, step: &Step) -> Result<Option<Touch>, InterpError> {
        let touch = |how, runs| Some(Touch { param: step.param, how, runs });
        self.with(|run| {
            Ok(match step.kind {
                OpKind::Load => {
                    let view = run.array(step)?;
                    touch(How::Read, runs(&run.window(step, 1, view, step.shape)?))
                }
                OpKind::Store | OpKind::StoreMasked => {
                    let masked = step.kind == OpKind::StoreMasked;
                    let view = run.array(step)?;
                    let Some(shape) = step.ins.get(1).map(|x| x.shape) else { return Err(run.malformed(step)) };
                    let window = run.window(step, 2 + masked as usize, view, shape)?;
                    touch(How::Write, if masked { kept(run, step, &window) } else { runs(&window) })
                }
                OpKind::At => {
                    let at = run.element(step, 1, run.array(step)?)?;
                    touch(How::Read, std::iter::once(at..at + 1).collect())
                }
                OpKind::Set => {
                    let at = run.element(step, 2, run.array(step)?)?;
                    touch(How::Set, std::iter::once(at..at + 1).collect())
                }
                OpKind::Gather | OpKind::Scatter | OpKind::Atomic(..) | OpKind::AtomicCas(_) => {
                    let (how, first) = match step.kind {
                        OpKind::Gather => (How::Read, 1),
                        OpKind::Scatter => (How::Write, 2),
                        OpKind::Atomic(..) => (How::Atomic, 2),
                        _ => (How::Atomic, 3),
                    };
                    let view = run.array(step)?;
                    let shape = step.ins.get(first).map_or([0, 0], |x| x.shape);
                    let places = run.peek_places(step, first, view, shape[0] * shape[1])?;
                    let mut elements: Vec<usize> = places.into_iter().flatten().collect();
                    elements.sort_unstable();
                    let mut list = Vec::new();
                    elements.into_iter().map(|p| view.offset + p).for_each(|p| add(&mut list, p..p + 1));
                    touch(how, list)
                }
                OpKind::Const(_)
                | OpKind::Work
                | OpKind::Dim(_)
                | OpKind::Require(_)
                | OpKind::Unary(_)
                | OpKind::Binary(_)
                | OpKind::Ternary(_)
                | OpKind::Cmp(_)
                | OpKind::Select
                | OpKind::Cast
                | OpKind::Splat
                | OpKind::Iota(_)
                | OpKind::Broadcast(_)
                | OpKind::Repeat(_)
                | OpKind::Transpose
                | OpKind::Slice(_)
                | OpKind::Reshape
                | OpKind::Join(_)
                | OpKind::Scan(..)
                | OpKind::Reduce(..)
                | OpKind::Stage
                | OpKind::Read
                | OpKind::Mma
                | OpKind::MmaScaled
                | OpKind::For { .. }
                | OpKind::If
                | OpKind::Prefetch(_)
                | OpKind::DeviceAssert(_)
                | OpKind::DbgTile(_)
                | OpKind::Mark(_)
                | OpKind::Yield
                | OpKind::RingFill(_)
                | OpKind::RingWait(_)
                | OpKind::RingRelease => None,
            })
        })
    }
}

impl Step {
    /// Whether the op reads or writes global memory itself.
    pub fn touches_global(&self) -> bool {
        self.kind.reads_array() || self.kind.writes_array()
    }
}

/// Adds a run, joined to the last one where they touch.
fn add(runs: &mut Vec<Range<usize>>, run: Range<usize>) {
    match runs.last_mut() {
        _ if run.is_empty() => {}
        Some(last) if last.end == run.start => last.end = run.end,
        Some(last) if last.contains(&run.start) => last.end = last.end.max(run.end),
        _ => runs.push(run),
    }
}

/// Elements of a box that are inside its array.
fn runs(w: &Window) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    if w.valid[1].0 < w.valid[1].1 {
        (w.valid[0].0..w.valid[0].1).for_each(|r| add(&mut out, w.row(r)));
    }
    out
}

/// Elements of a box that are inside its array and that the mask keeps.
fn kept(run: &Run<'_>, step: &Step, w: &Window) -> Vec<Range<usize>> {
    let mask = match run.peek(step, 2) {
        Some(Value::Bool(m)) => Operand::One(*m),
        Some(Value::TileB(t)) => Operand::Tile(t.clone()),
        _ => Operand::One(1),
    };
    let mut out = Vec::new();
    let (lo, hi) = w.valid[1];
    for r in w.valid[0].0..w.valid[0].1 {
        if lo >= hi {
            break;
        }
        let first = w.row(r).start;
        match &mask {
            Operand::One(0) => {}
            Operand::One(_) => add(&mut out, w.row(r)),
            Operand::Tile(m) => (lo..hi)
                .filter(|c| m[r * w.cols + c] != 0)
                .for_each(|c| add(&mut out, first + c - lo..first + c - lo + 1)),
        }
    }
    out
}
