//! Generated kernels as programs of several, for a GPU to be compared with the interpreter.
//!
//! What lies around the kernels of a program takes longer to compile than a small kernel, so kernels whose schedules agree on
//! warps, registers and slots, which are the program's, share one.

use std::collections::BTreeMap;
use tile_codegen::target::{self, Target};
use tile_lang::generate::{Case, Program};
use tile_lang::ir::Kernel;

/// Kernels of a program, at most: the last instruction waits for all others, which don't wait for each other.
const BATCH: usize = tile_lang::record::MAX_DEPS + 1;

/// Generated kernels that share a program.
#[derive(Debug)]
pub struct Batch {
    /// Name of the program.
    pub name: String,
    /// Seeds of its kernels, in the order of the instructions.
    pub seeds: Vec<u64>,
    /// Plan, inputs and what must come out.
    pub case: Case,
}

/// What a kernel's schedule asks of its program: warps, registers, slots, and whether a slot holds several loads, so that fewer
/// slots fit.
fn asks(kernel: &Kernel) -> [usize; 4] {
    let Some(s) = kernel.schedule.as_deref() else { return [0; 4] };
    let role = |of: fn(&tile_lang::schedule::RoleSpec) -> Option<usize>| s.roles.iter().find_map(of).unwrap_or(0);
    let stages = s.rings.iter().find_map(|r| r.stages).unwrap_or(0);
    [role(|r| r.warps), role(|r| r.registers), stages, usize::from(s.rings.iter().any(|r| r.ops.len() > 1))]
}

/// Whether a target has what a kernel needs. Registers and slots are pinned for the default target's machine.
fn is_for(kernel: &Kernel, target: &Target) -> bool {
    let [_, registers, slots, _] = asks(kernel);
    target.unsupported(kernel).is_empty() && (target.name == target::DEFAULT.name || registers + slots == 0)
}

/// The seeds below `count` whose kernels are for a target, by the programs that they share.
pub fn batches(count: u64, target: &Target) -> Vec<Vec<u64>> {
    let mut groups: BTreeMap<[usize; 4], Vec<u64>> = BTreeMap::new();
    for seed in 0..count {
        let kernel = Program::random(seed).kernel();
        if is_for(&kernel, target) {
            groups.entry(asks(&kernel)).or_default().push(seed);
        }
    }
    groups.values().flat_map(|seeds| seeds.chunks(BATCH).map(<[u64]>::to_vec)).collect()
}

/// The program of these seeds' kernels; it is called `generated-`, the first seed, and how many there are.
///
/// # Errors
/// A kernel can't be run or made into a plan: a fault of the generator or the interpreter.
pub fn batch(seeds: &[u64]) -> Result<Batch, String> {
    let name = format!("generated-{}-{}", seeds.first().copied().unwrap_or_default(), seeds.len());
    let kernels: Vec<_> = seeds.iter().map(|s| (format!("seed {s}"), Program::random(*s).kernel())).collect();
    Ok(Batch { case: Case::new(&name, &kernels)?, name, seeds: seeds.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_is_in_one_program_with_others_that_agree() {
        let all = batches(300, target::DEFAULT);
        let mut seeds: Vec<u64> = all.iter().flatten().copied().collect();
        seeds.sort_unstable();
        assert_eq!(seeds, (0..300).collect::<Vec<_>>());
        for list in &all {
            assert!(list.len() <= BATCH);
            let asked: Vec<_> = list.iter().map(|s| asks(&Program::random(*s).kernel())).collect();
            assert!(asked.iter().all(|a| *a == asked[0]), "{list:?}: {asked:?}");
        }
        assert!(all.len() < 100, "{} programs of 300 kernels", all.len());
    }
}
