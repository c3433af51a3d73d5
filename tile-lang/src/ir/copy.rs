//! Copies of blocks with values of their own.

use super::{BlockId, Kernel, OpData, ValueId};
use std::collections::HashMap;

/// Copies the ops of a block to the end of another one. `values` says what stands for a value in the copy; what the copied ops make
/// is added to it, and values that it doesn't have stand for themselves.
pub fn copy_ops(k: &mut Kernel, from: BlockId, to: BlockId, values: &mut HashMap<ValueId, ValueId>) {
    for id in k.block(from).ops.clone() {
        let op = k.op(id).clone();
        let operands = op.operands.iter().map(|v| *values.get(v).unwrap_or(v)).collect();
        let results = op.results.iter().map(|v| copy_value(k, *v, values)).collect();
        let blocks = op
            .blocks
            .iter()
            .map(|b| {
                let copy = k.add_block();
                for arg in k.block(*b).args.clone() {
                    let fresh = copy_value(k, arg, values);
                    k.blocks[copy.index()].args.push(fresh);
                }
                copy_ops(k, *b, copy, values);
                copy
            })
            .collect();
        let fresh = k.add_op(OpData { operands, results, blocks, ..op });
        k.blocks[to.index()].ops.push(fresh);
    }
}

fn copy_value(k: &mut Kernel, v: ValueId, values: &mut HashMap<ValueId, ValueId>) -> ValueId {
    let data = k.values[v.index()].clone();
    k.values.push(data);
    let fresh = ValueId(k.values.len() as u32 - 1);
    values.insert(v, fresh);
    fresh
}
