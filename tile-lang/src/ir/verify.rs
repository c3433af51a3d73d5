//! The verifier: whether a kernel is well-formed. It infers every type anew and shares nothing with the builder or with
//! the passes, so that a mistake of theirs is found here.
//!
//! This file holds structure (indices, scopes, blocks, roles, the work); [`super::rules`] holds the types of ops.

use super::rules;
use super::{BlockId, Kernel, OpData, OpId, OpKind, Role, Stage, Type, ValueId};
use crate::diag::{Diagnostic, Diagnostics};
use crate::dtype::DType;
use crate::schedule;
use crate::span::Span;

/// Checks a kernel and reports everything that is wrong with it.
///
/// # Errors
/// `E20` for names of its schedule that mean nothing, else one diagnostic per problem: `E70` structure, `E71` types, `E72` stages and roles, `E73` what must be known at launch.
pub fn verify(kernel: &Kernel) -> Result<(), Diagnostics> {
    let mut v = Verifier {
        kernel,
        errors: Vec::new(),
        defined: vec![false; kernel.values.len()],
        visible: vec![false; kernel.values.len()],
        seen_ops: vec![false; kernel.ops.len()],
        seen_blocks: vec![false; kernel.blocks.len()],
        role: Role::All,
        works: 0,
    };
    v.kernel();
    // Without sound indices, definitions can't be followed.
    if v.errors.is_empty() {
        v.launch();
    }
    if let (true, Some(schedule), Stage::Tile | Stage::Scheduled) =
        (v.errors.is_empty(), &kernel.schedule, kernel.stage)
    {
        schedule::resolve(kernel, schedule)?;
    }
    if v.errors.is_empty() { Ok(()) } else { Err(Diagnostics(v.errors)) }
}

struct Verifier<'a> {
    kernel: &'a Kernel,
    errors: Vec<Diagnostic>,
    /// Values that some op, block or parameter makes.
    defined: Vec<bool>,
    /// Values that the op at hand may use.
    visible: Vec<bool>,
    seen_ops: Vec<bool>,
    seen_blocks: Vec<bool>,
    role: Role,
    works: usize,
}

impl Verifier<'_> {
    fn error(&mut self, span: Span, code: &'static str, message: String) {
        let file = self.kernel.files.get(span.file as usize).cloned().unwrap_or_default();
        let fix = match code {
            "E72" => "correct the stage in the kernel's heading, or the op",
            "E73" => "use scalars and extents of arrays alone, and leave items out with `if`",
            _ => "correct the text; of a kernel from Rust source this is a fault of the compiler",
        };
        let place = format!("in kernel `{}` at stage {}", self.kernel.name, self.kernel.stage.name());
        let notes = vec![place, fix.to_owned()];
        self.errors.push(Diagnostic { code, message, file, span, notes });
    }

    fn kernel(&mut self) {
        let k = self.kernel;
        for p in &k.params {
            self.define(Span::NONE, p.value, &format!("parameter `{}`", p.name));
            match k.values.get(p.value.index()).map(|v| &v.ty) {
                Some(Type::Global(_, rank, _)) if (1..=MAX_RANK).contains(rank) => {}
                Some(Type::Scalar(DType::F32 | DType::Bf16 | DType::F16 | DType::I32 | DType::Bool)) | None => {}
                Some(ty) => self.error(Span::NONE, "E71", format!("parameter `{}` can't be {ty}", p.name)),
            }
        }
        self.roles();
        for &(role, body) in &k.bodies {
            self.role = role;
            self.works = 0;
            if k.blocks.get(body.index()).is_some_and(|b| !b.args.is_empty()) {
                self.error(Span::NONE, "E70", format!("body {body} has arguments"));
            }
            self.block(Span::NONE, body, None);
        }
    }

    fn roles(&mut self) {
        let k = self.kernel;
        let split = k.bodies.iter().any(|(r, _)| *r != Role::All);
        let repeated = (0..k.bodies.len()).any(|i| k.bodies[..i].iter().any(|(r, _)| *r == k.bodies[i].0));
        if k.bodies.is_empty() {
            self.error(Span::NONE, "E70", "a kernel needs a body".into());
        } else if repeated || (split && k.body(Role::All).is_some()) {
            self.error(Span::NONE, "E72", "a kernel has one body for all warps or one for each role".into());
        } else if split && k.stage < Stage::Specialised {
            self.error(Span::NONE, "E72", format!("roles are split at stage {}", k.stage.name()));
        }
    }

    /// Records that a value is made here.
    fn define(&mut self, span: Span, v: ValueId, by: &str) {
        match self.defined.get_mut(v.index()) {
            None => self.error(span, "E70", format!("{by} makes {v}, which does not exist")),
            Some(made) => {
                let again = std::mem::replace(made, true);
                self.visible[v.index()] = true;
                if again {
                    self.error(span, "E70", format!("{by} makes {v}, which is made elsewhere too"));
                } else if self.kernel.values[v.index()].ty == Type::Error {
                    self.error(span, "E71", format!("{by} makes {v}, which has no type"));
                }
            }
        }
    }

    /// Checks a block. `ends` is what it must yield, `None` for a body.
    fn block(&mut self, span: Span, id: BlockId, ends: Option<&[Type]>) {
        let k = self.kernel;
        let Some(block) = k.blocks.get(id.index()) else {
            return self.error(span, "E70", format!("block {id} does not exist"));
        };
        if std::mem::replace(&mut self.seen_blocks[id.index()], true) {
            return self.error(span, "E70", format!("block {id} is used twice"));
        }
        let mut scope: Vec<ValueId> = block.args.clone();
        for v in &block.args {
            self.define(span, *v, &format!("block {id}"));
        }
        for (i, op_id) in block.ops.iter().enumerate() {
            let Some(op) = k.ops.get(op_id.index()) else {
                self.error(span, "E70", format!("op {op_id} does not exist"));
                continue;
            };
            if std::mem::replace(&mut self.seen_ops[op_id.index()], true) {
                self.error(op.span, "E70", format!("op {op_id} is listed twice"));
                continue;
            }
            if op.kind == OpKind::Yield && (ends.is_none() || i + 1 != block.ops.len()) {
                self.error(op.span, "E70", "a `yield` stands only at the end of a nested block".into());
            }
            self.op(*op_id, op);
            scope.extend(&op.results);
        }
        if let Some(want) = ends {
            self.ending(span, id, want);
        }
        for v in scope {
            if let Some(visible) = self.visible.get_mut(v.index()) {
                *visible = false;
            }
        }
    }

    /// Checks that a nested block yields what it must.
    fn ending(&mut self, span: Span, id: BlockId, want: &[Type]) {
        let k = self.kernel;
        let last = k.block(id).ops.last().and_then(|op| k.ops.get(op.index()));
        let Some(OpData { kind: OpKind::Yield, operands, span: at, .. }) = last else {
            return self.error(span, "E70", format!("nested block {id} does not end in a `yield`"));
        };
        let got: Vec<&Type> = operands.iter().filter_map(|v| k.values.get(v.index())).map(|v| &v.ty).collect();
        if !got.iter().copied().eq(want) {
            self.error(*at, "E71", format!("yields ({}), needs ({})", list(&got), list(want)));
        }
    }

    fn op(&mut self, id: OpId, op: &OpData) {
        let name = op.kind.mnemonic();
        let mut known = true;
        for v in &op.operands {
            match self.visible.get(v.index()) {
                None => {
                    known = false;
                    self.error(op.span, "E70", format!("`{name}` uses {v}, which does not exist"));
                }
                Some(false) => self.error(op.span, "E70", format!("`{name}` uses {v}, which is not made before it")),
                Some(true) => {}
            }
        }
        known &= op.results.iter().all(|v| v.index() < self.kernel.values.len());
        if !op.kind.legal_in(self.kernel.stage) {
            self.error(op.span, "E72", format!("`{name}` is not legal at stage {}", self.kernel.stage.name()));
        }
        let role_fits = match op.kind {
            OpKind::RingFill(_) => self.role == Role::Producer,
            OpKind::RingWait(_) | OpKind::RingRelease => self.role == Role::Consumer,
            _ => true,
        };
        if !role_fits && op.kind.legal_in(self.kernel.stage) {
            self.error(op.span, "E72", format!("`{name}` does not belong into the body of role {}", self.role.name()));
        }
        if op.kind == OpKind::Work {
            self.works += 1;
            if self.works > 1 {
                self.error(op.span, "E70", "a kernel asks for its work once".into());
            }
        }
        let blocks = match op.kind {
            OpKind::For { .. } => 1,
            OpKind::If => 2,
            _ => 0,
        };
        if op.blocks.len() != blocks {
            self.error(op.span, "E70", format!("`{name}` has {blocks} blocks, not {}", op.blocks.len()));
        } else if known {
            if let Err(problem) = rules::check(self.kernel, op) {
                self.error(op.span, "E71", format!("`{name}` {problem}"));
            }
            self.nested(op);
        }
        for r in &op.results {
            self.define(op.span, *r, &format!("`{name}` ({id})"));
        }
    }

    /// Checks the blocks of a loop or condition.
    fn nested(&mut self, op: &OpData) {
        let k = self.kernel;
        let results: Vec<Type> = op.results.iter().map(|v| k.ty(*v).clone()).collect();
        for b in &op.blocks {
            if let Some(block) = k.blocks.get(b.index()) {
                let args: Vec<&Type> =
                    block.args.iter().filter_map(|v| k.values.get(v.index())).map(|v| &v.ty).collect();
                let want: Vec<Type> = match op.kind {
                    OpKind::For { .. } => std::iter::once(Type::Scalar(DType::I32)).chain(results.clone()).collect(),
                    _ => Vec::new(),
                };
                if !args.iter().copied().eq(&want) {
                    let message = format!("block {b} takes ({}), needs ({})", list(&args), list(&want));
                    self.error(op.span, "E71", message);
                }
            }
            self.block(op.span, *b, Some(&results));
        }
    }

    /// Checks that what the launch evaluates depends on nothing but scalars and dims.
    fn launch(&mut self) {
        let k = self.kernel;
        let definitions = k.definitions();
        let mut top_level = vec![false; k.ops.len()];
        for (_, b) in &k.bodies {
            k.block(*b).ops.iter().for_each(|id| top_level[id.index()] = true);
        }
        let mut problems = Vec::new();
        k.walk(|id, op| {
            if !matches!(op.kind, OpKind::Work | OpKind::Require(_)) {
                return;
            }
            if op.kind == OpKind::Work && !top_level[id.index()] {
                problems.push((op.span, "`work` stands inside a loop or condition".to_owned()));
            }
            let mut seen = vec![false; k.values.len()];
            let mut todo = op.operands.clone();
            while let Some(v) = todo.pop() {
                if std::mem::replace(&mut seen[v.index()], true) || k.params.iter().any(|p| p.value == v) {
                    continue;
                }
                match definitions[v.index()].map(|d| k.op(d)) {
                    Some(d) if at_launch(&d.kind) => todo.extend(&d.operands),
                    Some(d) => {
                        let message = format!(
                            "`{}` depends on `{}`, which is not known at launch",
                            op.kind.mnemonic(),
                            d.kind.mnemonic()
                        );
                        problems.push((op.span, message));
                    }
                    None => {
                        let message = format!("`{}` depends on a loop variable", op.kind.mnemonic());
                        problems.push((op.span, message));
                    }
                }
            }
        });
        for (span, message) in problems {
            self.error(span, "E73", message);
        }
    }
}

/// Most axes of an array.
const MAX_RANK: usize = 8;

/// Whether the launch can evaluate the op.
fn at_launch(kind: &OpKind) -> bool {
    matches!(kind, OpKind::Const(_) | OpKind::Dim(_)) || kind.is_elementwise()
}

/// Types with commas.
fn list<T: std::fmt::Display>(types: &[T]) -> String {
    types.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
