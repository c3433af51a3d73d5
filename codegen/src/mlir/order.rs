//! The order of arithmetic: element by element.
//!
//! A tile op becomes one op for each register of a thread, so that a chain of tile ops keeps all of its temporaries at once: `a / (exp(-a) + 1)`
//! on 64 registers holds 64 exponentials before the first division. The tools behind us mostly keep the order that they are given, and can't
//! move code across what they expand into branches, such as a division. Between two ops with effects, each op therefore moves to where its
//! first user needs it.

use melior::ir::operation::{OperationLike, OperationMutLike, OperationRef};
use melior::ir::{BlockLike, BlockRef, RegionLike, ValueLike};
use std::collections::HashMap;

/// Arithmetic of the LLVM dialect, beside calls of intrinsics and instructions without effects.
const ARITHMETIC: [&str; 32] = [
    "add",
    "and",
    "ashr",
    "bitcast",
    "extractelement",
    "extractvalue",
    "fadd",
    "fcmp",
    "fdiv",
    "fmul",
    "fneg",
    "fpext",
    "fptosi",
    "fptoui",
    "fptrunc",
    "fsub",
    "icmp",
    "insertelement",
    "insertvalue",
    "lshr",
    "mlir.poison",
    "mlir.undef",
    "mul",
    "or",
    "select",
    "sext",
    "shl",
    "sitofp",
    "sub",
    "trunc",
    "xor",
    "zext",
];

/// Orders the arithmetic of every function inside an operation.
pub(super) fn by_element(operation: OperationRef<'_, '_>) {
    for region in operation.regions() {
        let mut next = region.first_block();
        while let Some(block) = next {
            order(block);
            next = block.next_in_region();
        }
    }
}

/// Orders the runs of arithmetic of a block, and what is inside of its other ops.
fn order(block: BlockRef<'_, '_>) {
    let mut run = Vec::new();
    let mut next = block.first_operation();
    while let Some(operation) = next {
        next = operation.next_in_block();
        if is_arithmetic(operation) {
            run.push(operation);
        } else {
            by_element(operation);
            move_before(operation, &std::mem::take(&mut run));
        }
    }
}

/// Whether an op computes its result from its operands and does nothing else. A product, which has several results, stays where it is: ptxas
/// takes the order of products over, and one that comes late keeps its operands' loads in flight beyond the end of a step.
fn is_arithmetic(operation: OperationRef<'_, '_>) -> bool {
    let name = operation.name();
    let Ok(name) = name.as_string_ref().as_str() else { return false };
    match name.strip_prefix("llvm.") {
        Some("inline_asm") => {
            operation.inherent_attribute("has_side_effects").is_err() && !has_several_results(operation)
        }
        Some(name) => ARITHMETIC.binary_search(&name).is_ok(),
        None => false,
    }
}

/// Whether an instruction's result is a structure of them.
fn has_several_results(operation: OperationRef<'_, '_>) -> bool {
    operation.result(0).is_ok_and(|r| r.r#type().to_string().starts_with("!llvm.struct"))
}

/// Puts a run of arithmetic in front of an op: what nothing of the run uses in the order it had, everything else where it is needed first.
fn move_before(end: OperationRef<'_, '_>, run: &[OperationRef<'_, '_>]) {
    let makers: HashMap<usize, usize> =
        run.iter().enumerate().flat_map(|(i, o)| o.results().map(move |r| (r.to_raw().ptr as usize, i))).collect();
    let needs: Vec<Vec<usize>> = run
        .iter()
        .map(|o| o.operands().filter_map(|v| makers.get(&(v.to_raw().ptr as usize)).copied()).collect())
        .collect();
    let mut used = vec![false; run.len()];
    needs.iter().flatten().for_each(|i| used[*i] = true);
    let mut placed = vec![false; run.len()];
    for root in (0..run.len()).filter(|i| !used[*i]) {
        let mut stack = vec![(root, 0)];
        while let Some((i, operand)) = stack.pop() {
            if placed[i] {
                continue;
            }
            match needs[i].get(operand) {
                Some(need) => stack.extend([(i, operand + 1), (*need, 0)]),
                None => {
                    placed[i] = true;
                    // SAFETY: the op is of the same block, and no other reference changes it.
                    let mut moved = unsafe { melior::ir::operation::OperationRefMut::from_raw(run[i].to_raw()) };
                    moved.move_before(end);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::mlir::to_llvm_ir;

    /// The ops of a function's body in the order that LLVM gets them.
    fn ordered(body: &str) -> Vec<String> {
        let module =
            format!("gpu.module @m {{ llvm.func @f(%a: f32, %b: f32, %p: !llvm.ptr) {{ {body} llvm.return }} }}");
        let ir = to_llvm_ir("test", &module).unwrap();
        let names = ["fneg", "fmul", "fadd", "asm sideeffect \"wait", "asm \"ex2", "store"];
        ir.lines().filter_map(|l| names.iter().find(|n| l.contains(*n))).map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn chains_are_made_one_after_the_other() {
        let body = "
            %0 = llvm.fneg %a : f32
            %1 = llvm.fneg %b : f32
            %2 = llvm.inline_asm \"ex2 $0, $1;\", \"=f,f\" %0 : (f32) -> f32
            %3 = llvm.inline_asm \"ex2 $0, $1;\", \"=f,f\" %1 : (f32) -> f32
            %4 = llvm.fmul %2, %a : f32
            %5 = llvm.fmul %3, %b : f32
            llvm.store %5, %p : f32, !llvm.ptr
            llvm.store %4, %p : f32, !llvm.ptr";
        let chain = ["fneg", "asm \"ex2", "fmul"];
        assert_eq!(ordered(body), [&chain[..], &chain, &["store", "store"]].concat());
    }

    #[test]
    fn nothing_passes_an_op_with_effects() {
        let body = "
            %0 = llvm.fneg %a : f32
            %1 = llvm.fneg %b : f32
            llvm.inline_asm has_side_effects \"wait;\", \"\" : () -> ()
            %2 = llvm.fmul %0, %a : f32
            %3 = llvm.fadd %1, %b : f32
            llvm.store %2, %p : f32, !llvm.ptr
            llvm.store %3, %p : f32, !llvm.ptr";
        assert_eq!(ordered(body), ["fneg", "fneg", "asm sideeffect \"wait", "fmul", "fadd", "store", "store"]);
    }
}
