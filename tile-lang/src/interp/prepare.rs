//! A kernel made ready to run many times: flat lists of steps, slots instead of values, and for every operand whether
//! this is its last use, so that buffers are updated in place or go back to the pool.

use super::{ArgValue, InterpError, LaunchError};
use crate::debug::Site;
use crate::diag::{Diagnostic, Diagnostics};
use crate::dtype::DType;
use crate::ir::{self, Kernel, OpData, OpId, OpKind, RingPart, Role, Type, ValueId};
use crate::schedule::apply_order;
use crate::span::Span;

/// A kernel ready to run.
#[derive(Debug)]
pub struct Prepared {
    pub(super) name: String,
    pub(super) files: Vec<String>,
    pub(super) params: Vec<Parameter>,
    pub(super) blocks: Vec<Code>,
    pub(super) body: usize,
    /// The body that fills the ring, where roles are split.
    pub(super) producer: Option<usize>,
    pub(super) slots: usize,
    /// What is computed once per launch: extents of the work, requirements and what they depend on.
    pub(super) host: Vec<HostStep>,
}

#[derive(Debug)]
pub(super) struct Parameter {
    pub name: String,
    pub ty: Type,
    pub slot: u32,
}

/// The steps of a block.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub args: Vec<u32>,
    pub steps: Vec<Step>,
}

/// An op with all that its execution needs.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The op in its kernel.
    pub id: OpId,
    pub kind: OpKind,
    pub ins: Box<[Input]>,
    pub outs: Box<[u32]>,
    pub blocks: Box<[u32]>,
    /// Slots that nobody reads afterwards.
    pub drops: Box<[u32]>,
    /// A fill of the ring as one staged load for each part.
    pub parts: Box<[Step]>,
    /// The parameter that a memory op works on.
    pub param: usize,
    /// Rows and columns of the result (1 and the extent for one axis, 1 and 1 for a scalar).
    pub shape: [usize; 2],
    /// Whether the first result is a scalar.
    pub scalar: bool,
    /// Axes of the result.
    pub axes: usize,
    /// Axes of the first operand.
    pub in_axes: usize,
    /// Element type of the first result.
    pub dtype: DType,
    /// Element type of the first operand; of a product that of its factors.
    pub in_dtype: DType,
    pub span: Span,
    /// What it says, if it is an op that does.
    pub site: Option<Box<Site>>,
}

/// An operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub slot: u32,
    /// Nobody reads the slot afterwards.
    pub last: bool,
    pub shape: [usize; 2],
}

/// A step of the launch, and for a requirement the numbers it depends on.
#[derive(Debug)]
pub(super) struct HostStep {
    pub step: Step,
    pub facts: Vec<(String, u32)>,
}

/// Rows and columns.
fn shape2(ty: &Type) -> [usize; 2] {
    match ty.shape() {
        [r, c] => [*r, *c],
        [c] => [1, *c],
        _ => [1, 1],
    }
}

impl Prepared {
    /// Verifies a kernel and makes it ready. Items are counted in the order that its schedule pins.
    ///
    /// # Errors
    /// What the verifier finds; roles whose bodies don't fit together (`E24`, `E33`, `E64`).
    pub fn new(kernel: &Kernel) -> Result<Prepared, Diagnostics> {
        ir::verify(kernel)?;
        ir::check_rings(kernel)?;
        let ordered = kernel.schedule.as_ref().filter(|s| s.orders_items()).map(|_| apply_order(kernel));
        let kernel = ordered.as_ref().unwrap_or(kernel);
        let Some(body) = kernel.launch_body() else {
            return Err(Diagnostics(vec![Diagnostic {
                code: "E64",
                message: format!("kernel `{}` has a producer and no consumer: there is nothing to run", kernel.name),
                file: String::new(),
                span: Span::NONE,
                notes: vec!["add the body of the role that computes".into()],
            }]));
        };
        let producer = kernel.body(Role::Producer).map(ir::BlockId::index);
        Ok(Self::of_bodies(kernel, body, producer))
    }

    /// Makes one role's body of a verified kernel ready; `None` if it has no such body.
    pub(crate) fn of_role(kernel: &Kernel, role: Role) -> Option<Prepared> {
        Some(Self::of_bodies(kernel, kernel.body(role)?, None))
    }

    fn of_bodies(kernel: &Kernel, body: ir::BlockId, producer: Option<usize>) -> Prepared {
        let param_of = |v: ValueId| kernel.params.iter().position(|p| p.value == v);
        let mut maker = Maker {
            kernel,
            param_of: (0..kernel.values.len() as u32).map(|v| param_of(ValueId(v))).collect(),
            live: vec![false; kernel.values.len()],
            blocks: kernel.blocks.iter().map(|_| Code::default()).collect(),
        };
        match producer {
            None => maker.block(body.index()),
            Some(producer) => {
                // Both roles read the parameters, each at its own pace: neither moves them out.
                for body in [body.index(), producer] {
                    maker.live.fill(false);
                    kernel.params.iter().for_each(|p| maker.live[p.value.index()] = true);
                    maker.block(body);
                }
            }
        }
        let host = maker.host_steps();
        Prepared {
            name: kernel.name.clone(),
            files: kernel.files.clone(),
            params: kernel
                .params
                .iter()
                .map(|p| Parameter { name: p.name.clone(), ty: kernel.ty(p.value).clone(), slot: p.value.0 })
                .collect(),
            blocks: maker.blocks,
            body: body.index(),
            producer,
            slots: kernel.values.len(),
            host,
        }
    }

    /// The kernel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `file:line:col` of a step.
    pub(super) fn place(&self, step: &Step) -> String {
        let file = self.files.get(step.span.file as usize).map_or("", String::as_str);
        format!("{file}:{}:{}", step.span.line, step.span.col)
    }

    /// An error at a step.
    pub(crate) fn fault(&self, step: &Step, message: String, notes: Vec<String>) -> InterpError {
        InterpError(self.diagnostic("E63", step, message, notes))
    }

    pub(super) fn diagnostic(
        &self,
        code: &'static str,
        step: &Step,
        message: String,
        notes: Vec<String>,
    ) -> Diagnostic {
        let file = self.files.get(step.span.file as usize).cloned().unwrap_or_default();
        Diagnostic { code, message, file, span: step.span, notes }
    }

    /// Checks arguments against the parameters.
    pub(super) fn check(&self, args: &[ArgValue]) -> Result<(), LaunchError> {
        let wrong = |text: String| Err(LaunchError::Arguments { kernel: self.name.clone(), problem: text });
        if args.len() != self.params.len() {
            return wrong(format!("{} arguments are needed, {} are given", self.params.len(), args.len()));
        }
        for (p, arg) in self.params.iter().zip(args) {
            let fits = match (&p.ty, arg) {
                (Type::Global(d, rank, access), ArgValue::Array(view)) => {
                    if let Err(e) = view.check() {
                        return wrong(format!("`{}`: {e}", p.name));
                    }
                    if *access == ir::Access::Write && !view.array.is_writable() {
                        return wrong(format!("`{}` is written, its array is read only", p.name));
                    }
                    *d == view.array.dtype() && *rank == view.dims.len()
                }
                (Type::Scalar(d), ArgValue::F32(_)) => d.is_float(),
                (Type::Scalar(d), ArgValue::I32(_)) => d.is_int(),
                (Type::Scalar(d), ArgValue::Bool(_)) => *d == DType::Bool,
                _ => false,
            };
            if !fits {
                return wrong(format!("`{}` is {}, the argument {}", p.name, p.ty, arg.describe()));
            }
        }
        Ok(())
    }
}

struct Maker<'a> {
    kernel: &'a Kernel,
    param_of: Vec<Option<usize>>,
    /// Values that are read later on; the walk goes backwards.
    live: Vec<bool>,
    blocks: Vec<Code>,
}

impl Maker<'_> {
    /// Translates a block, last op first. On entry `live` holds what is read after the block, on return what is read
    /// from its start on.
    fn block(&mut self, b: usize) {
        let kernel = self.kernel;
        let block = &kernel.blocks[b];
        let mut steps: Vec<Step> = block.ops.iter().rev().map(|id| self.step(*id)).collect();
        steps.reverse();
        self.blocks[b] = Code { args: block.args.iter().map(|v| v.0).collect(), steps };
    }

    fn step(&mut self, id: OpId) -> Step {
        let kernel = self.kernel;
        let op = kernel.op(id);
        let mut drops: Vec<u32> = op.results.iter().filter(|r| !self.live[r.index()]).map(|r| r.0).collect();
        if !op.blocks.is_empty() {
            let used = self.used_inside(op);
            drops.extend(used.iter().filter(|v| !self.live[v.index()]).map(|v| v.0));
            let after = self.live.clone();
            if matches!(op.kind, OpKind::For { .. }) {
                // The next iteration reads them again.
                used.iter().for_each(|v| self.live[v.index()] = true);
            }
            let entry = self.live.clone();
            let mut before = after;
            for b in &op.blocks {
                self.live.clone_from(&entry);
                self.block(b.index());
                before.iter_mut().zip(&self.live).for_each(|(x, y)| *x |= *y);
            }
            self.live = before;
        }
        let mut ins: Vec<Input> = Vec::with_capacity(op.operands.len());
        for v in op.operands.iter().rev() {
            let is_global = matches!(self.kernel.ty(*v), Type::Global(..));
            let last = !is_global && !std::mem::replace(&mut self.live[v.index()], true);
            ins.push(Input { slot: v.0, last, shape: shape2(self.kernel.ty(*v)) });
        }
        ins.reverse();
        self.plain_step(id, ins, drops)
    }

    fn plain_step(&self, id: OpId, ins: Vec<Input>, drops: Vec<u32>) -> Step {
        let op = self.kernel.op(id);
        let result = op.results.first().map(|r| self.kernel.ty(*r));
        let parts = match &op.kind {
            OpKind::RingFill(parts) => self.part_steps(id, parts, &ins),
            _ => Box::default(),
        };
        Step {
            id,
            parts,
            kind: op.kind.clone(),
            ins: ins.into(),
            outs: op.results.iter().map(|v| v.0).collect(),
            blocks: op.blocks.iter().map(|b| b.0).collect(),
            drops: drops.into(),
            param: op.operands.first().and_then(|v| self.param_of[v.index()]).unwrap_or(usize::MAX),
            shape: result.map_or([1, 1], shape2),
            scalar: matches!(result, Some(Type::Scalar(_))),
            axes: result.map_or(0, |t| t.shape().len()),
            in_axes: op.operands.first().map_or(0, |v| self.kernel.ty(*v).shape().len()),
            dtype: result.and_then(Type::dtype).unwrap_or(DType::F32),
            in_dtype: op
                .operands
                .get(usize::from(op.kind == OpKind::Mma))
                .and_then(|v| self.kernel.ty(*v).dtype())
                .unwrap_or(DType::F32),
            span: op.span,
            site: Site::of(self.kernel, 0, id, op).map(Box::new),
        }
    }

    /// The staged loads that a fill stands for.
    fn part_steps(&self, id: OpId, parts: &[RingPart], ins: &[Input]) -> Box<[Step]> {
        let op = self.kernel.op(id);
        let mut at = 0;
        let mut steps = Vec::with_capacity(parts.len());
        for part in parts {
            let end = at + 1 + part.rank;
            steps.push(Step {
                id,
                parts: Box::default(),
                kind: OpKind::Stage,
                ins: ins[at..end].iter().map(|i| Input { last: false, ..*i }).collect(),
                outs: Box::default(),
                blocks: Box::default(),
                drops: Box::default(),
                param: self.param_of[op.operands[at].index()].unwrap_or(usize::MAX),
                shape: [part.shape[0], part.shape[1]],
                scalar: false,
                axes: part.shape.len(),
                in_axes: 0,
                dtype: part.dtype,
                in_dtype: part.dtype,
                span: op.span,
                site: None,
            });
            at = end;
        }
        steps.into()
    }

    /// Values from outside that the nested blocks of an op read.
    fn used_inside(&self, op: &OpData) -> Vec<ValueId> {
        fn go(k: &Kernel, op: &OpData, read: &mut Vec<ValueId>, made: &mut Vec<ValueId>) {
            for b in &op.blocks {
                let block = k.block(*b);
                made.extend(&block.args);
                for id in &block.ops {
                    let inner = k.op(*id);
                    read.extend(&inner.operands);
                    made.extend(&inner.results);
                    go(k, inner, read, made);
                }
            }
        }
        let (mut read, mut made) = (Vec::new(), Vec::new());
        go(self.kernel, op, &mut read, &mut made);
        made.sort_unstable();
        read.sort_unstable();
        read.dedup();
        read.retain(|v| made.binary_search(v).is_err() && !matches!(self.kernel.ty(*v), Type::Global(..)));
        read
    }

    /// Work, requirements and all they depend on, in order.
    fn host_steps(&self) -> Vec<HostStep> {
        let definitions = self.kernel.definitions();
        let mut needed = vec![false; self.kernel.ops.len()];
        let Some(body) = self.kernel.launch_body() else { return Vec::new() };
        let mut todo = Vec::new();
        self.kernel.walk_block(body, &mut |id, op: &OpData| {
            if matches!(op.kind, OpKind::Work | OpKind::Require(_)) {
                todo.push(id);
            }
        });
        while let Some(id) = todo.pop() {
            if !std::mem::replace(&mut needed[id.index()], true) {
                todo.extend(self.kernel.op(id).operands.iter().filter_map(|v| definitions[v.index()]));
            }
        }
        let mut steps = Vec::new();
        self.kernel.walk_block(body, &mut |id, op: &OpData| {
            if needed[id.index()] {
                let ins = op.operands.iter().map(|v| Input { slot: v.0, last: false, shape: [1, 1] }).collect();
                let facts = match op.kind {
                    OpKind::Require(_) => self.facts(op, &definitions),
                    _ => Vec::new(),
                };
                steps.push(HostStep { step: self.plain_step(id, ins, Vec::new()), facts });
            }
        });
        steps
    }

    /// The dims and scalars that a requirement depends on.
    fn facts(&self, op: &OpData, definitions: &[Option<OpId>]) -> Vec<(String, u32)> {
        let mut facts: Vec<(String, u32)> = Vec::new();
        let mut todo: Vec<ValueId> = op.operands.iter().rev().copied().collect();
        while let Some(v) = todo.pop() {
            let fact = match (self.param_of[v.index()], definitions[v.index()].map(|id| self.kernel.op(id))) {
                (Some(p), _) => self.kernel.params[p].name.clone(),
                (None, Some(OpData { kind: OpKind::Dim(axis), operands, .. })) => {
                    let array = operands.first().and_then(|g| self.param_of[g.index()]);
                    format!("{}.dim({axis})", array.map_or("", |p| &self.kernel.params[p].name))
                }
                (None, Some(op)) => {
                    todo.extend(op.operands.iter().rev());
                    continue;
                }
                (None, None) => continue,
            };
            if facts.iter().all(|(name, _)| *name != fact) {
                facts.push((fact, v.0));
            }
        }
        facts
    }
}
