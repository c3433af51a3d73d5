//! Schedules that can't be carried out: each has one mistake, and must be refused for it.

use crate::ir::Kernel;
use crate::schedule::{NamedOp, OpClass, Raster, Schedule, named_ops};

/// A schedule with a mistake.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// What is wrong with it.
    pub what: &'static str,
    /// The code of the error that it must end in.
    pub code: &'static str,
    /// The schedule.
    pub schedule: Schedule,
}

/// Every mistake that a schedule of this kernel can make. Numbers are beyond what any machine has, or what this kernel has.
pub fn mistakes(kernel: &Kernel) -> Vec<Mistake> {
    let ops = named_ops(kernel);
    let of = |class| ops.iter().filter(move |o| o.class == class).collect::<Vec<&NamedOp>>();
    let (loads, products, writes) = (of(OpClass::Load), of(OpClass::Product), of(OpClass::Write));
    let new = Schedule::new;
    let mut out = Vec::new();
    let mut add = |what, code, schedule: Schedule| {
        out.push(Mistake { what, code, schedule: schedule.without_places() });
    };
    add("an op that is not there", "E20", new().split("nothing_of_this_name", [1, 1, 1]));
    add("another kernel's schedule", "E20", Schedule { kernel: "another".into(), ..new().cluster(1) });
    add("a warp too many for a warpgroup", "E31", new().warps("consumer", 5));
    add("warps without layouts", "E30", new().warps("consumer", 16));
    add("no warps", "E30", new().warps("consumer", 0));
    add("registers that are no multiple of 8", "E23", new().registers("consumer", 161));
    add("registers that no thread has", "E23", new().registers("consumer", 264));
    add("registers that no CTA has", "E22", new().registers("consumer", 248).registers("producer", 56));
    add("several warps that copy", "E30", new().warps("producer", 4));
    add("a group of no rows", "E30", new().raster(Raster::Grouped(0)));
    add("a cluster of three", "E30", new().cluster(3));
    add("a ring without slots", "E30", new().stages("slots", 0));
    add("more slots than shared memory", "E21", new().stages("slots", 1000));
    add("two numbers of slots", "E30", new().stages("one", 2).stages("two", 3));
    if let Some(write) = writes.first() {
        add("a write in a ring", "E20", new().ring("r", [write.id()]));
        if ops.len() > writes.iter().filter(|o| o.path == write.path).count() {
            add("ops without a role", "E20", new().role("compute", [write.id()]));
        }
    }
    if let Some(load) = loads.first() {
        add("a load in two rings", "E20", new().ring("one", [load.id()]).ring("two", [load.id()]));
        add("two rings of one name", "E20", {
            let mut s = new().ring("one", [load.id()]);
            s.rings.push(s.rings[0].clone());
            s
        });
        if products.iter().all(|p| p.path != load.path) {
            add("a load that is split", "E20", new().split(load.id(), [1, 1, 1]));
        }
        let elsewhere = loads.iter().find(|l| l.block != load.block && l.path != load.path);
        if let Some(other) = elsewhere {
            add("a slot for loads of two blocks", "E30", new().ring("r", [load.id(), other.id()]));
        }
        // Where no two ops share a name, all can be listed.
        if (1..ops.len()).all(|i| ops[..i].iter().all(|o| o.path != ops[i].path)) {
            add("a role that copies and computes", "E30", new().role("all", ops.iter().map(NamedOp::id)));
        }
    }
    if let Some(product) = products.first() {
        let rows = kernel.ty(kernel.op(product.op).operands[0]).shape()[0];
        add("a split that is no power of two", "E30", new().split(product.id(), [3, 1, 1]));
        add("more warps than rows", "E30", new().split(product.id(), [rows, 1, 1]));
        add("products left running that can't be", "E30", new().inflight(product.id(), 9));
        let twice = new().inflight(product.id(), 0).inflight(product.id(), 0);
        add("groups in flight that are said twice", "E20", twice);
        add("a product that is split twice", "E20", new().split(product.id(), [1; 3]).split(product.id(), [1; 3]));
    }
    out
}
