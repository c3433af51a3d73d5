//! A plan on the checked machine, as an executor.

use super::copies::ring_name;
use super::machine::{Machine, Pause};
use super::schedule::Strategy;
use super::trap::Trap;
use super::world::{Bodies, RINGS, World};
use crate::exec::{Data, ExecError, Executor, Mailbox, RunStats, WeightSource};
use crate::interp::{Options, Precision, Prepared};
use crate::ir::{self, Role};
use crate::plan::Plan;
use crate::protocol::Protocol;
use crate::sim::SimExecutor;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::time::Instant;

/// How to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// CTAs of the launch.
    pub ctas: usize,
    /// CTAs that fit on the device at once: those with higher numbers never run.
    pub resident: usize,
    /// Decides every choice of the adversary.
    pub seed: u64,
    /// How it chooses; `None` lets the seed choose, and takes the next one for each further run.
    pub strategy: Option<Strategy>,
    /// Buffers that hold nothing before the program writes them: reading such an element is an error.
    pub uninitialised: Vec<usize>,
}

impl Default for Settings {
    /// Two resident CTAs, seed 0, all strategies in turn from the first.
    fn default() -> Self {
        Settings { ctas: 2, resident: 2, seed: 0, strategy: None, uninitialised: Vec::new() }
    }
}

/// What a checked run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Events of all agents, and copies that landed.
    pub steps: u64,
    /// Passes.
    pub passes: u32,
}

/// A checked run ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The program did what it must not.
    #[error("{0}")]
    Trap(Box<Trap>),
    /// The run was asked for something impossible.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// A plan with its weights and its protocol, run role by role under an adversary.
#[derive(Debug)]
pub struct CheckedExecutor {
    sim: SimExecutor,
    protocol: Protocol,
    bodies: Vec<Bodies>,
    settings: Settings,
    /// What was written to buffers that hold nothing at first, by the host and by earlier runs.
    given: BTreeMap<usize, Vec<Range<usize>>>,
    runs: u64,
    checked: Checked,
}

impl CheckedExecutor {
    /// Prepares a linked plan; `protocol` is the one derived from it.
    ///
    /// # Errors
    /// As [`SimExecutor::new`]; a protocol that doesn't belong to the plan, or settings without a CTA.
    pub fn new(
        plan: Plan,
        source: &dyn WeightSource,
        precision: Precision,
        protocol: Protocol,
        settings: Settings,
    ) -> Result<Self, ExecError> {
        let bodies = bodies(&plan, &protocol, &settings)?;
        let sim = SimExecutor::new(plan, source, precision)?;
        Ok(Self::with(sim, protocol, bodies, settings))
    }

    /// Prepares another plan over this one's arrays, as [`SimExecutor::beside`] does.
    ///
    /// # Errors
    /// As [`CheckedExecutor::new`].
    pub fn beside(&self, plan: Plan, source: &dyn WeightSource, protocol: Protocol) -> Result<Self, ExecError> {
        let settings = self.settings.clone();
        let bodies = bodies(&plan, &protocol, &settings)?;
        let sim = self.sim.beside(plan, source)?;
        Ok(Self::with(sim, protocol, bodies, settings))
    }

    fn with(sim: SimExecutor, protocol: Protocol, bodies: Vec<Bodies>, settings: Settings) -> Self {
        let given = settings.uninitialised.iter().map(|b| (*b, Vec::new())).collect();
        CheckedExecutor { sim, protocol, bodies, settings, given, runs: 0, checked: Checked::default() }
    }

    /// What all runs so far amount to.
    pub fn checked(&self) -> Checked {
        self.checked
    }

    /// As [`Executor::run`], with the trap as data.
    ///
    /// # Errors
    /// What the program does wrong; a range outside of the program.
    pub fn check(
        &mut self,
        range: Range<usize>,
        max_passes: usize,
        observe: &mut dyn FnMut(&mut dyn Mailbox) -> ControlFlow<()>,
    ) -> Result<RunStats, Failure> {
        let plan = self.sim.plan();
        let (instructions, stop) = (plan.program.len(), plan.stop);
        if range.start > range.end || range.end > instructions {
            let message = format!("instructions {range:?} of a program of {instructions}");
            return Err(ExecError::Program(message).into());
        }
        self.sim.read_flag(stop)?;
        let start = Instant::now();
        let mut stats = RunStats::default();
        if range.is_empty() || max_passes == 0 {
            return Ok(stats);
        }
        let seed = self.settings.seed.wrapping_add(self.runs);
        let turn = (seed % Strategy::ALL.len() as u64) as usize;
        let strategy = self.settings.strategy.unwrap_or(Strategy::ALL[turn]);
        self.runs += 1;
        let options = Options { precision: self.sim.precision() };
        let world = World::new(
            self.sim.plan(),
            &self.protocol,
            &self.bodies,
            self.sim.args(),
            (range, max_passes),
            (self.settings.ctas, self.settings.resident),
            options,
        );
        let world = world.map_err(ExecError::Program)?;
        let mut machine = Machine::new(world, self.sim.arrays(), &self.given, seed, strategy);
        loop {
            let pause = machine.run().map_err(Failure::Trap)?;
            self.checked.steps += std::mem::take(&mut machine.steps);
            if pause == Pause::End {
                break;
            }
            machine.seen_passes += 1;
            self.checked.passes += 1;
            if self.sim.observe(observe)? {
                stats.cancelled = true;
                break;
            }
        }
        let written = self.given.keys().map(|b| (*b, machine.buffers.get(*b).map(|s| s.written_runs().collect())));
        let written: Vec<(usize, Option<Vec<Range<usize>>>)> = written.collect();
        drop(machine);
        for (buffer, runs) in written {
            self.given.entry(buffer).or_default().extend(runs.into_iter().flatten());
        }
        stats.elapsed = start.elapsed();
        Ok(stats)
    }
}

/// The roles' bodies, once protocol and settings are found to fit the plan.
fn bodies(plan: &Plan, protocol: &Protocol, settings: &Settings) -> Result<Vec<Bodies>, ExecError> {
    let program = ExecError::Program;
    if settings.ctas == 0 || settings.resident == 0 || settings.resident > settings.ctas {
        let (ctas, resident) = (settings.ctas, settings.resident);
        return Err(program(format!(
            "{resident} of {ctas} CTAs are to be resident; at least one must be, at most all"
        )));
    }
    if !settings.ctas.is_multiple_of(protocol.cluster.max(1))
        || !settings.resident.is_multiple_of(protocol.cluster.max(1))
    {
        let (ctas, resident, size) = (settings.ctas, settings.resident, protocol.cluster);
        return Err(program(format!("{resident} of {ctas} CTAs are to be resident; they form clusters of {size}")));
    }
    let count = plan.kernels.len();
    if protocol.warps == 0 || protocol.kernels.len() != count || protocol.bodies.len() != count {
        return Err(program(format!(
            "the protocol has {} kernels and {} warps, the plan {count} kernels",
            protocol.kernels.len(),
            protocol.warps
        )));
    }
    let mut bodies = Vec::with_capacity(count);
    for kernel in &protocol.kernels {
        ir::verify(kernel).map_err(|e| program(e.to_string()))?;
        let [producer, consumer] = [Role::Producer, Role::Consumer].map(|r| Prepared::of_role(kernel, r));
        if consumer.is_none() {
            return Err(program(format!("kernel `{}` of the protocol is not split into roles", kernel.name)));
        }
        bodies.push(Bodies { producer, consumer });
    }
    if let Some(ring) = RINGS.iter().find(|r| protocol.rings.get(r).is_none_or(|shape| shape.slots == 0)) {
        return Err(program(format!("the protocol has no slots for the {}", ring_name(*ring))));
    }
    Ok(bodies)
}

impl Executor for CheckedExecutor {
    fn plan(&self) -> &Plan {
        self.sim.plan()
    }

    fn device(&self) -> String {
        format!("checked ({} CTAs of {} warps, seed {})", self.settings.ctas, self.protocol.warps, self.settings.seed)
    }

    fn write(&mut self, buffer: usize, offset: usize, data: &Data) -> Result<(), ExecError> {
        self.sim.write(buffer, offset, data)?;
        if let Some(given) = self.given.get_mut(&buffer) {
            let len = match data {
                Data::F32(x) => x.len(),
                Data::I32(x) => x.len(),
            };
            given.push(offset..offset + len);
        }
        Ok(())
    }

    fn read(&mut self, buffer: usize, offset: usize, len: usize) -> Result<Data, ExecError> {
        self.sim.read(buffer, offset, len)
    }

    fn run(
        &mut self,
        range: Range<usize>,
        max_passes: usize,
        observe: &mut dyn FnMut(&mut dyn Mailbox) -> ControlFlow<()>,
    ) -> Result<RunStats, ExecError> {
        self.check(range, max_passes, observe).map_err(|failure| match failure {
            Failure::Trap(trap) => ExecError::Program(trap.to_string()),
            Failure::Exec(e) => e,
        })
    }
}
