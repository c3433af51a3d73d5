//! A plan: kernel instances strung together into one program over buffers and weights.
//!
//! The program is a list of instructions. Each runs all work items of one kernel instance with its own operands. The
//! same plan is interpreted by the simulator and assembled into a megakernel. One **pass** runs a range of the program
//! once; generation repeats passes until the program itself sets the stop flag.

use crate::diag::Diagnostics;
use crate::dtype::DType;
use crate::ir::{Access, Kernel, OpKind, Type};
use crate::launch::{self, LaunchArg};
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// A whole program and what it runs over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The model's or kernel's name.
    pub name: String,
    /// Distinct kernel instances at [`crate::ir::Stage::Tile`].
    pub kernels: Vec<Kernel>,
    /// Arrays that the program reads and writes.
    pub buffers: Vec<Buffer>,
    /// Arrays that never change.
    pub weights: Vec<Weight>,
    /// Instructions in order.
    pub program: Vec<Instr>,
    /// Named ranges of the program (`embed`, `layer.3`, `head`), for checks that run a part.
    pub marks: Vec<Mark>,
    /// Where the program says that it is done: element of an i32 buffer that becomes non-zero.
    pub stop: ElementRef,
    /// Where the host asks a running program to stop: element of an i32 buffer that it sets to 1.
    pub cancel: Option<ElementRef>,
    /// Which kernels were picked where there was a choice, and why.
    pub picks: Vec<Pick>,
}

/// A kernel that was picked for an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// The operation: the label of its instructions without their range.
    pub operation: String,
    /// The kernel's name.
    pub kernel: String,
    /// Why, for people.
    pub why: String,
}

/// A named range of instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// First instruction.
    pub begin: usize,
    /// One past the last.
    pub end: usize,
}

/// One element of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementRef {
    /// Index into [`Plan::buffers`].
    pub buffer: usize,
    /// Element.
    pub element: usize,
}

/// Who sees a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visibility {
    /// The program; the host between launches.
    Device,
    /// The host too, while the program runs.
    Host,
}

/// A mutable array, zero at first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Name, unique in the plan.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, row-major and dense.
    pub dims: Vec<usize>,
    /// Who sees it.
    pub visibility: Visibility,
}

/// A constant array. Its contents come from a checkpoint by name; storage order on the device follows its uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Name by which the loader finds the contents.
    pub name: String,
    /// Element type as stored.
    pub dtype: DType,
    /// Logical extents, row-major and dense.
    pub dims: Vec<usize>,
}

/// What a parameter is bound to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operand {
    /// A dense part of a buffer: elements from `offset`, shaped `dims`.
    Buffer {
        /// Index into [`Plan::buffers`].
        id: usize,
        /// First element.
        offset: usize,
        /// Extents as the kernel sees them.
        dims: Vec<usize>,
    },
    /// A whole weight.
    Weight {
        /// Index into [`Plan::weights`].
        id: usize,
    },
    /// A number.
    F32(f32),
    /// A number.
    I32(i32),
    /// A truth value.
    Bool(bool),
}

/// One instruction: all work items of a kernel instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instr {
    /// Index into [`Plan::kernels`].
    pub kernel: usize,
    /// One per parameter.
    pub operands: Vec<Operand>,
    /// Extents of the grid of work items.
    pub extents: Vec<usize>,
    /// Earlier instructions whose completion it waits for; nothing implied by others is listed.
    pub after: Vec<usize>,
    /// What it is, for people: `layer.3 o_proj`.
    pub label: String,
    /// Source file of the model's line.
    pub file: String,
    /// That line.
    pub line: u32,
}

impl Instr {
    /// Work items.
    pub fn items(&self) -> usize {
        self.extents.iter().product()
    }
}

/// A plan can't be built or is inconsistent.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Operands don't fit the kernel's parameters.
    #[error("{file}:{line}: `{label}`: {message}")]
    Operand {
        /// Instruction label.
        label: String,
        /// Source file of the model's line.
        file: String,
        /// That line.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// A schedule that doesn't fit its kernel.
    #[error(transparent)]
    Schedule(#[from] Diagnostics),
    /// An id is out of range.
    #[error("plan `{plan}` is inconsistent: {message}")]
    Inconsistent {
        /// Plan name.
        plan: String,
        /// What is wrong.
        message: String,
    },
}

impl Plan {
    /// An empty plan.
    pub fn new(name: &str) -> Self {
        Plan {
            name: name.into(),
            kernels: Vec::new(),
            buffers: Vec::new(),
            weights: Vec::new(),
            program: Vec::new(),
            marks: Vec::new(),
            stop: ElementRef { buffer: 0, element: 0 },
            cancel: None,
            picks: Vec::new(),
        }
    }

    /// Index of a kernel instance, added unless an equal one is there.
    pub fn kernel(&mut self, kernel: Kernel) -> usize {
        if let Some(i) = self.kernels.iter().position(|k| *k == kernel) {
            return i;
        }
        self.kernels.push(kernel);
        self.kernels.len() - 1
    }

    /// The range of instructions with this name.
    pub fn mark(&self, name: &str) -> Option<std::ops::Range<usize>> {
        self.marks.iter().find(|m| m.name == name).map(|m| m.begin..m.end)
    }

    /// The extents of what an operand is bound to; empty for numbers.
    pub fn operand_dims<'a>(&'a self, operand: &'a Operand) -> &'a [usize] {
        match operand {
            Operand::Buffer { dims, .. } => dims,
            Operand::Weight { id } => &self.weights[*id].dims,
            Operand::F32(_) | Operand::I32(_) | Operand::Bool(_) => &[],
        }
    }

    /// Appends an instruction: checks operands against the kernel's parameters and `require!` clauses and computes the
    /// grid. Dependencies are derived by [`Plan::link`] once the program is whole.
    ///
    /// # Errors
    /// Wrong number, kind, type or rank of operands, views outside their buffer, a failed `require!`.
    pub fn push(
        &mut self,
        kernel: usize,
        operands: Vec<Operand>,
        label: &str,
        place: (&str, u32),
    ) -> Result<usize, PlanError> {
        let fail =
            |message: String| PlanError::Operand { label: label.into(), file: place.0.into(), line: place.1, message };
        let k = &self.kernels[kernel];
        if operands.len() != k.params.len() {
            return Err(fail(format!("kernel `{}` takes {} operands, got {}", k.name, k.params.len(), operands.len())));
        }
        for (param, operand) in k.params.iter().zip(&operands) {
            self.check_operand(k.ty(param.value), operand).map_err(|m| fail(format!("`{}`: {m}", param.name)))?;
        }
        if let Some((a, b)) = self.aliases(k, &operands) {
            return Err(fail(format!(
                "`{}` and `{}` are bound to the same elements and one of them is written; give the kernel one `&mut` parameter",
                k.params[a].name, k.params[b].name
            )));
        }
        let extents = self.grid(k, &operands).map_err(fail)?;
        self.program.push(Instr {
            kernel,
            operands,
            extents,
            after: Vec::new(),
            label: label.into(),
            file: place.0.into(),
            line: place.1,
        });
        Ok(self.program.len() - 1)
    }

    /// The grid of a kernel for these operands.
    fn grid(&self, k: &Kernel, operands: &[Operand]) -> Result<Vec<usize>, String> {
        let args: Vec<LaunchArg> = operands
            .iter()
            .map(|o| match o {
                Operand::F32(x) => LaunchArg::F32(*x),
                Operand::I32(x) => LaunchArg::I32(*x),
                Operand::Bool(x) => LaunchArg::Bool(*x),
                array => LaunchArg::Dims(self.operand_dims(array)),
            })
            .collect();
        launch::extents(k, &args).map_err(|e| e.to_string())
    }

    /// Gives a kernel of the plan a schedule; its instructions' grids follow.
    ///
    /// # Errors
    /// A schedule that names ops which the kernel doesn't have, or a grid that it makes too large. The plan is as before then.
    pub fn schedule(&mut self, kernel: usize, schedule: Schedule) -> Result<(), PlanError> {
        let scheduled = schedule.attach(self.kernels[kernel].clone())?;
        let mut grids = Vec::new();
        for (i, instr) in self.program.iter().enumerate().filter(|(_, instr)| instr.kernel == kernel) {
            let fail = |message| {
                let (label, file, line) = (instr.label.clone(), instr.file.clone(), instr.line);
                PlanError::Operand { label, file, line, message }
            };
            grids.push((i, self.grid(&scheduled, &instr.operands).map_err(fail)?));
        }
        for (i, extents) in grids {
            self.program[i].extents = extents;
        }
        self.kernels[kernel] = scheduled;
        Ok(())
    }

    /// Two parameters that share elements, one of which is written: a work item would not see its own writes in order.
    fn aliases(&self, kernel: &Kernel, operands: &[Operand]) -> Option<(usize, usize)> {
        let span = |o: &Operand| match o {
            Operand::Buffer { id, offset, dims } => Some((*id, *offset, offset + dims.iter().product::<usize>())),
            _ => None,
        };
        let writes = |p: usize| matches!(kernel.ty(kernel.params[p].value), Type::Global(_, _, Access::Write));
        let n = operands.len();
        (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).find(|(a, b)| {
            match (span(&operands[*a]), span(&operands[*b])) {
                (Some((ia, sa, ea)), Some((ib, sb, eb))) => {
                    ia == ib && sa < eb && sb < ea && (writes(*a) || writes(*b))
                }
                _ => false,
            }
        })
    }

    fn check_operand(&self, ty: &Type, operand: &Operand) -> Result<(), String> {
        let (d, dims, writable) = match operand {
            Operand::Buffer { id, offset, dims } => {
                let b = self.buffers.get(*id).ok_or(format!("there is no buffer {id}"))?;
                let size: usize = b.dims.iter().product();
                let end = dims.iter().try_fold(1usize, |a, n| a.checked_mul(*n)).and_then(|n| n.checked_add(*offset));
                if end.is_none_or(|end| end > size) {
                    return Err(format!("a view {dims:?} at {offset} of buffer `{}` with {size} elements", b.name));
                }
                (b.dtype, dims, true)
            }
            Operand::Weight { id } => {
                let w = self.weights.get(*id).ok_or(format!("there is no weight {id}"))?;
                (w.dtype, &w.dims, false)
            }
            Operand::F32(_) | Operand::I32(_) | Operand::Bool(_) => {
                let d = match operand {
                    Operand::F32(_) => DType::F32,
                    Operand::I32(_) => DType::I32,
                    _ => DType::Bool,
                };
                return if *ty == Type::Scalar(d) {
                    Ok(())
                } else {
                    Err(format!("the parameter is {ty}, the operand {d}"))
                };
            }
        };
        let Type::Global(want, rank, access) = ty else {
            return Err(format!("the parameter is {ty}, the operand an array"));
        };
        if *want != d || *rank != dims.len() {
            return Err(format!("the parameter is {ty}, the operand {d} with extents {dims:?}"));
        }
        match access {
            Access::Write if !writable => Err("a weight can't be written".into()),
            Access::Weight if writable => Err("a weight is needed, this is a buffer".into()),
            _ => Ok(()),
        }
    }

    /// Whether a kernel stages a parameter, as written or split into roles.
    pub fn is_staged(kernel: &Kernel, param: usize) -> bool {
        let value = kernel.params[param].value;
        let mut staged = false;
        kernel.walk(|_, op| {
            staged |= matches!(op.kind, OpKind::Stage | OpKind::RingFill(_)) && op.operands.contains(&value);
        });
        staged
    }

    /// Shape in which a kernel stages a weight parameter, if it does: the last two axes' tile.
    pub fn staged_tile(kernel: &Kernel, param: usize) -> Option<Vec<usize>> {
        let value = kernel.params[param].value;
        let mut shape = None;
        kernel.walk(|_, op| match &op.kind {
            OpKind::Stage if op.operands[0] == value => shape = Some(kernel.ty(op.results[0]).shape().to_vec()),
            OpKind::RingFill(parts) => {
                let mut at = 0;
                for part in parts {
                    if op.operands[at] == value {
                        shape = Some(part.shape.clone());
                    }
                    at += 1 + part.rank;
                }
            }
            _ => {}
        });
        shape
    }
}
