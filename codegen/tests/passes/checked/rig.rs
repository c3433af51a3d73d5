//! A small program to run under adversaries.

use super::kernels;
use std::borrow::Cow;
use std::ops::ControlFlow;
use tile_codegen::lower::Machine;
use tile_codegen::protocol::derive;
use tile_lang::dtype::DType;
use tile_lang::exec::{Data, Executor, WeightSource};
use tile_lang::ir::Kernel;
use tile_lang::plan::{Buffer, ElementRef, Operand, Plan, Visibility, Weight};
use tile_lang::protocol::Protocol;
use tile_lang::schedule::Schedule;
use tile_lang::sim::checked::{CheckedExecutor, Failure, Settings, Strategy, Trap};
use tile_lang::sim::{Precision, SimExecutor};

/// Rows of all arrays.
pub const ROWS: usize = 8;
/// Columns of a staged weight tile.
pub const BK: usize = 64;

/// Weights of a plan, by their number of elements.
pub struct Filled<'a>(pub &'a Plan);

impl WeightSource for Filled<'_> {
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        let weight = self.0.weights.iter().find(|w| w.name == name).ok_or("no such weight")?;
        let n: usize = weight.dims.iter().product();
        // bf16: the high half of an f32.
        let bytes = (0..n).flat_map(|i| {
            let x = ((i * 37 + 11) % 29) as f32 / 16.0 - 0.9;
            ((x.to_bits() >> 16) as u16).to_le_bytes()
        });
        Ok(Cow::Owned(bytes.collect()))
    }
}

/// A plan under construction.
pub struct Rig {
    pub plan: Plan,
}

impl Rig {
    pub fn new() -> Self {
        Rig { plan: Plan::new("rig") }
    }

    pub fn buffer(&mut self, name: &str, dtype: DType, dims: &[usize]) -> usize {
        let dims = dims.to_vec();
        self.plan.buffers.push(Buffer { name: name.into(), dtype, dims, visibility: Visibility::Host });
        self.plan.buffers.len() - 1
    }

    pub fn weight(&mut self, name: &str, dims: &[usize]) -> Operand {
        self.plan.weights.push(Weight { name: name.into(), dtype: DType::Bf16, dims: dims.to_vec() });
        Operand::Weight { id: self.plan.weights.len() - 1 }
    }

    pub fn whole(&self, id: usize) -> Operand {
        Operand::Buffer { id, offset: 0, dims: self.plan.buffers[id].dims.clone() }
    }

    pub fn push(&mut self, kernel: Kernel, operands: Vec<Operand>, label: &str) {
        let kernel = self.plan.kernel(kernel);
        self.plan.push(kernel, operands, label, (file!(), line!())).unwrap();
    }

    pub fn linked(mut self) -> Plan {
        self.plan.link();
        self.plan
    }
}

/// `h = x · wᵀ`, `y = h + 1` through staged rows, and a count of passes: `n` columns, `k` terms.
pub fn chain(n: usize, k: usize, passes: i32) -> Plan {
    let mut rig = Rig::new();
    let stop = rig.buffer("passes", DType::I32, &[2]);
    let x = rig.buffer("x", DType::F32, &[ROWS, k]);
    let h = rig.buffer("h", DType::F32, &[ROWS, n]);
    let y = rig.buffer("y", DType::F32, &[ROWS, n]);
    let w = rig.weight("w", &[n, k]);
    rig.plan.stop = ElementRef { buffer: stop, element: 1 };
    let (x, h, y, stop) = (rig.whole(x), rig.whole(h), rig.whole(y), rig.whole(stop));
    rig.push(kernels::product::instance(BK).unwrap(), vec![w, x, h.clone()], "product");
    rig.push(kernels::staged_rows::instance().unwrap(), vec![h, y.clone()], "rows");
    rig.push(kernels::count::instance().unwrap(), vec![y, stop, Operand::I32(passes)], "count");
    rig.linked()
}

/// `y = a · bᵀ` by warpgroups: 130 rows, 60 columns, `k` terms, so that boxes reach outside.
pub fn dense(k: usize) -> Plan {
    dense_rows(130, k, Schedule::default())
}

/// As [`dense`], with as many rows and under a schedule.
pub fn dense_rows(rows: usize, k: usize, schedule: Schedule) -> Plan {
    let mut rig = Rig::new();
    let stop = rig.buffer("passes", DType::I32, &[2]);
    let a = rig.buffer("a", DType::Bf16, &[rows, k]);
    let b = rig.buffer("b", DType::Bf16, &[60, k]);
    let y = rig.buffer("y", DType::F32, &[rows, 60]);
    rig.plan.stop = ElementRef { buffer: stop, element: 1 };
    let operands = [a, b, y].map(|id| rig.whole(id)).to_vec();
    rig.push(kernels::dense::instance().unwrap(), operands, "dense");
    // The compiler would put both operands into one slot, and let products run.
    let mut schedule = schedule.ring("rows", ["at"]).ring("columns", ["bt"]);
    if schedule.inflight.is_empty() {
        schedule = schedule.inflight("acc", 0);
    }
    rig.plan.schedule(0, schedule).unwrap();
    rig.linked()
}

/// `y = (w + w) · xᵀ` by warpgroups that make their first operand in registers: `rows` rows of `w`, 60 of `x`, `k` terms.
pub fn doubled(rows: usize, k: usize, schedule: Schedule) -> Plan {
    let mut rig = Rig::new();
    let stop = rig.buffer("passes", DType::I32, &[2]);
    let w = rig.weight("w", &[rows, k]);
    let x = rig.buffer("x", DType::Bf16, &[60, k]);
    let y = rig.buffer("y", DType::F32, &[rows, 60]);
    rig.plan.stop = ElementRef { buffer: stop, element: 1 };
    let operands = vec![w, rig.whole(x), rig.whole(y)];
    rig.push(kernels::doubled::instance().unwrap(), operands, "doubled");
    rig.plan.schedule(0, schedule.ring("weights", ["once"]).ring("rows", ["rows"])).unwrap();
    rig.linked()
}

/// The protocol of a plan, with the ring cut to `slots` slots.
pub fn protocol(plan: &Plan, slots: usize) -> Protocol {
    let mut protocol = derive(plan, Machine::SM_90A).unwrap();
    if let Some(ring) = protocol.rings.get_mut(&tile_lang::protocol::RingId::Tiles) {
        ring.slots = ring.slots.min(slots);
    }
    protocol
}

fn fill(executor: &mut dyn Executor) {
    for buffer in 0..executor.plan().buffers.len() {
        let b = executor.plan().buffers[buffer].clone();
        if b.dtype.is_float() {
            let n: usize = b.dims.iter().product();
            let x = (0..n).map(|i| ((i * 13 + buffer) % 17) as f32 / 8.0 - 1.0).collect();
            executor.write(buffer, 0, &Data::F32(x)).unwrap();
        }
    }
}

fn contents(executor: &mut dyn Executor) -> Vec<Data> {
    let sizes: Vec<usize> = executor.plan().buffers.iter().map(|b| b.dims.iter().product()).collect();
    sizes.iter().enumerate().map(|(b, n)| executor.read(b, 0, *n).unwrap()).collect()
}

/// What the plain simulator makes of a plan.
pub fn plain(plan: &Plan, passes: usize) -> Vec<Data> {
    let mut sim = SimExecutor::new(plan.clone(), &Filled(plan), Precision::Native).unwrap();
    fill(&mut sim);
    let all = 0..plan.program.len();
    sim.run(all, passes, &mut |_| ControlFlow::Continue(())).unwrap();
    contents(&mut sim)
}

/// Runs a plan under an adversary.
pub fn checked(plan: &Plan, protocol: &Protocol, passes: usize, settings: Settings) -> Result<Vec<Data>, Box<Trap>> {
    let source = Filled(plan);
    let executor = CheckedExecutor::new(plan.clone(), &source, Precision::Native, protocol.clone(), settings);
    let mut executor = executor.unwrap();
    fill(&mut executor);
    let all = 0..plan.program.len();
    match executor.check(all, passes, &mut |_| ControlFlow::Continue(())) {
        Ok(_) => Ok(contents(&mut executor)),
        Err(Failure::Trap(trap)) => Err(trap),
        Err(Failure::Exec(e)) => panic!("{e}"),
    }
}

/// Settings for `ctas` resident CTAs.
pub fn under(strategy: Strategy, seed: u64, ctas: usize) -> Settings {
    Settings { ctas, resident: ctas, seed, strategy: Some(strategy), ..Settings::default() }
}
