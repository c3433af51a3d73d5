//! Which values of a body follow from an axis of `work`: from its coordinate, through arithmetic, loops and conditions.

use std::collections::HashSet;
use tile_lang::ir::{BlockId, Kernel, OpKind, ValueId};

/// An axis of `work`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Counted from the first.
    At(usize),
    /// The last one; in the order of a cluster that is the rank in it.
    Last,
}

/// Values of a body that an axis of `work` decides on.
pub(crate) struct Derived {
    axis: Axis,
    values: HashSet<ValueId>,
    grown: bool,
}

impl Derived {
    pub fn of(k: &Kernel, body: BlockId, axis: Axis) -> Derived {
        let mut r = Derived { axis, values: HashSet::new(), grown: true };
        // Values carried around loops may come back to earlier ops.
        while std::mem::take(&mut r.grown) {
            r.block(k, body);
        }
        r
    }

    /// Whether the axis decides on a value.
    pub fn has(&self, v: ValueId) -> bool {
        self.values.contains(&v)
    }

    fn add(&mut self, v: ValueId) {
        self.grown |= self.values.insert(v);
    }

    fn block(&mut self, k: &Kernel, block: BlockId) {
        for &id in &k.block(block).ops {
            let op = k.op(id);
            if op.kind == OpKind::Work {
                let root = match self.axis {
                    Axis::At(i) => op.results.get(i),
                    Axis::Last => op.results.last(),
                };
                if let Some(root) = root {
                    self.add(*root);
                }
                continue;
            }
            for inner in &op.blocks {
                self.block(k, *inner);
            }
            match op.kind {
                // What is carried into a loop and what its end hands on; the trip count decides on all results.
                OpKind::For { .. } => {
                    let body = k.block(op.blocks[0]);
                    let ends = body.ops.last().map(|e| k.op(*e).operands.clone()).unwrap_or_default();
                    let bounds = op.operands[..2].iter().any(|v| self.has(*v));
                    if self.has(op.operands[0]) {
                        self.add(body.args[0]);
                    }
                    for (i, arg) in body.args.iter().skip(1).enumerate() {
                        let carried = self.has(op.operands[i + 2]) || ends.get(i).is_some_and(|v| self.has(*v));
                        if carried || bounds {
                            self.add(*arg);
                            self.add(op.results[i]);
                        }
                    }
                }
                OpKind::If => {
                    let condition = self.has(op.operands[0]);
                    for (i, result) in op.results.iter().enumerate() {
                        let differs = |b: &BlockId| {
                            let end = k.block(*b).ops.last().and_then(|e| k.op(*e).operands.get(i));
                            end.is_some_and(|v| self.has(*v))
                        };
                        if condition || op.blocks.iter().any(differs) {
                            self.add(*result);
                        }
                    }
                }
                _ if op.operands.iter().any(|v| self.has(*v)) => op.results.iter().for_each(|v| self.add(*v)),
                _ => {}
            }
        }
    }
}
