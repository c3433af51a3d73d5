//! What the compiler knows of a kernel's arguments in one plan.

use tile_lang::ir::Access;
use tile_lang::plan::{Operand, Plan};

/// Facts about one parameter that hold for every instruction of a plan that runs the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamFacts {
    /// Extents, if all instructions agree: they become constants.
    pub dims: Option<Vec<usize>>,
    /// The address is a multiple of this many elements from a 256-byte aligned base.
    pub aligned: usize,
    /// What is written here is read by bulk copies later, so writers must fence the proxies.
    pub copied_later: bool,
}

/// Facts for every kernel and parameter of a plan.
pub fn facts(plan: &Plan) -> Vec<Vec<ParamFacts>> {
    let copied: Vec<bool> =
        (0..plan.buffers.len()).map(|b| plan.program.iter().any(|i| stages_buffer(plan, i, b))).collect();
    plan.kernels
        .iter()
        .enumerate()
        .map(|(index, kernel)| {
            (0..kernel.params.len())
                .map(|p| {
                    let operands: Vec<&Operand> =
                        plan.program.iter().filter(|i| i.kernel == index).map(|i| &i.operands[p]).collect();
                    let first = operands.first().map(|o| plan.operand_dims(o).to_vec());
                    let same = operands.iter().all(|o| Some(plan.operand_dims(o)) == first.as_deref());
                    ParamFacts {
                        dims: first.filter(|d| same && !d.is_empty()),
                        aligned: operands.iter().map(|o| alignment(o)).min().unwrap_or(1),
                        copied_later: operands.iter().any(|o| matches!(o, Operand::Buffer { id, .. } if copied[*id])),
                    }
                })
                .collect()
        })
        .collect()
}

fn alignment(operand: &Operand) -> usize {
    match operand {
        Operand::Buffer { offset, .. } if *offset > 0 => 1 << offset.trailing_zeros().min(6),
        _ => 64,
    }
}

fn stages_buffer(plan: &Plan, instr: &tile_lang::plan::Instr, buffer: usize) -> bool {
    let kernel = &plan.kernels[instr.kernel];
    instr.operands.iter().enumerate().any(|(p, o)| {
        let data = !matches!(kernel.ty(kernel.params[p].value), tile_lang::ir::Type::Global(_, _, Access::Weight));
        data && matches!(o, Operand::Buffer { id, .. } if *id == buffer) && Plan::staged_tile(kernel, p).is_some()
    })
}
