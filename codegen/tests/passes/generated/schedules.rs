//! Schedules of generated kernels: what they pin is what the program has, and what can't be is refused for its reason.

use std::collections::HashMap;
use tile_codegen::check;
use tile_codegen::layout::MmaSplit;
use tile_codegen::lower::{self, Machine, ParamFacts};
use tile_codegen::target;
use tile_lang::generate::Mistake;
use tile_lang::ir::{Kernel, OpKind, RingPart, Type};
use tile_lang::protocol::{Protocol, RingId};
use tile_lang::schedule::{OpClass, Raster, Schedule, named_ops, resolve};

/// Whether an error says that splits of products don't go together, which follows from layouts: the one reason for which a schedule
/// of the generator may be refused.
pub fn is_about_splits(kernel: &Kernel, why: &str) -> bool {
    let errors: Vec<&str> = why.lines().filter(|l| l.contains("error[")).collect();
    let known = ["error[E30]: these splits don't fit together", "error[E30]: this split can't be realised"];
    let splits = kernel.schedule.as_ref().is_some_and(|s| !s.splits.is_empty());
    splits && !errors.is_empty() && errors.iter().all(|e| known.iter().any(|k| e.contains(k)))
}

/// The kernel with a schedule that splits nothing.
pub fn without_splits(kernel: &Kernel) -> Kernel {
    let schedule = kernel.schedule.as_deref().map(|s| Schedule { splits: Vec::new(), ..s.clone() });
    Kernel { schedule: schedule.filter(|s| !s.is_empty()).map(Box::new), ..kernel.clone() }
}

/// Whether the program of one kernel has what the kernel's schedule pins.
pub fn honoured(kernel: &Kernel, protocol: &Protocol) -> Result<(), String> {
    let Some(s) = kernel.schedule.as_deref() else { return Ok(()) };
    let [lowered] = &protocol.kernels[..] else { return Err("the program has other kernels".into()) };
    let same = |what: &str, want: usize, got: usize| match want == got {
        true => Ok(()),
        false => Err(format!("{what}: {want} wanted, {got} there")),
    };
    for role in s.roles.iter().filter(|r| r.name != "copy") {
        role.warps.map_or(Ok(()), |n| same("warps", n, protocol.warps))?;
        role.registers.map_or(Ok(()), |n| same("registers", n, protocol.registers.consumer))?;
    }
    if let Some(stages) = s.rings.iter().find_map(|r| r.stages) {
        same("slots", stages, protocol.rings.get(&RingId::Tiles).map_or(0, |r| r.slots))?;
    }
    rings(kernel, s, lowered)?;
    splits(s, protocol)?;
    if s.raster.is_some_and(|r| r.value != Raster::RowMajor) {
        let plain = Kernel { schedule: None, ..kernel.clone() };
        let facts = [vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()]];
        let plain = lower::assemble("plain", &[plain], &facts, Machine::SM_90A).map_err(|e| e.to_string())?;
        let count = |k: &Kernel| {
            let mut n = 0;
            k.walk(|_, op| n += usize::from(matches!(op.kind, OpKind::Binary(_))));
            n
        };
        if count(lowered) <= count(&plain.protocol.kernels[0]) {
            return Err("raster: items are taken as without one".into());
        }
    }
    Ok(())
}

/// What lies in a slot: element types and shapes.
type Parts = Vec<(tile_lang::DType, Vec<usize>)>;

/// Each ring's loads, and no other, fill a slot together.
fn rings(kernel: &Kernel, s: &Schedule, lowered: &Kernel) -> Result<(), String> {
    let resolved = resolve(kernel, s).map_err(|e| e.to_string())?;
    let mut wanted: HashMap<Parts, usize> = HashMap::new();
    for plan in &resolved.rings {
        let smem = |op: &tile_lang::ir::OpId| match kernel.ty(kernel.op(*op).results[0]) {
            Type::Smem(d, shape) => (*d, shape.clone()),
            other => panic!("a staged load gives {other}"),
        };
        *wanted.entry(plan.loads.iter().map(smem).collect()).or_default() += 1;
    }
    let mut there: HashMap<Parts, usize> = HashMap::new();
    lowered.walk(|_, op| {
        if let OpKind::RingWait(parts) = &op.kind {
            let part = |p: &RingPart| (p.dtype, p.shape.clone());
            *there.entry(parts.iter().map(part).collect()).or_default() += 1;
        }
    });
    let missing = wanted.iter().find(|(parts, n)| there.get(*parts).copied().unwrap_or(0) < **n);
    missing.map_or(Ok(()), |(parts, n)| Err(format!("rings: {n} slots of {parts:?} wanted, there are {there:?}")))
}

/// Each product that is left is split as pinned.
fn splits(s: &Schedule, protocol: &Protocol) -> Result<(), String> {
    let layouts = check::assignments(protocol, target::DEFAULT);
    let ops = named_ops(&protocol.kernels[0]);
    for split in &s.splits {
        let log2 = |n: usize| n.trailing_zeros() as usize;
        let want = MmaSplit { m: log2(split.rows), n: log2(split.columns), k: log2(split.depth) };
        for op in ops.iter().filter(|o| o.class == OpClass::Product && o.is_called(&split.op.text)) {
            let got = layouts[0].splits.get(&op.op);
            if got != Some(&want) {
                return Err(format!("split of `{}`: {want:?} wanted, {got:?} there", split.op.text));
            }
        }
    }
    Ok(())
}

/// Whether a schedule with a mistake is refused for it, before or while code is made.
pub fn refused(kernel: &Kernel, mistake: &Mistake) -> Result<(), String> {
    let plain = Kernel { schedule: None, ..kernel.clone() };
    let found = match mistake.schedule.clone().attach(plain) {
        Err(e) => e.to_string(),
        Ok(kernel) => {
            let facts = [vec![ParamFacts { dims: None, aligned: 64, copied_later: false }; kernel.params.len()]];
            match lower::assemble("wrong", &[kernel], &facts, Machine::SM_90A) {
                Err(e) => e.to_string(),
                Ok(_) => return Err(format!("mistake: {}: accepted", mistake.what)),
            }
        }
    };
    match found.contains(&format!("error[{}]", mistake.code)) {
        true => Ok(()),
        false => Err(format!("mistake: {}: {} expected, got {found}", mistake.what, mistake.code)),
    }
}
