//! Recording a model as a plan.
//!
//! A [`Graph`] is what a model function records on: each operation picks a kernel of the library for its types and
//! shapes, allocates what it writes, and appends instructions. Handles are small and copied freely; the first thing
//! that goes wrong is kept and reported by [`Graph::finish`], so that models read as a list of operations.

mod attention;
mod blocks;
mod mlp;
mod ops;
mod pick;

pub use attention::KvCache;
pub use mlp::{RouteOptions, Routing};
pub use ops::Step;

use crate::kernels::state;
use std::cell::RefCell;
use std::panic::Location;
use tile_lang::DType;
use tile_lang::build::{Generic, InstanceError, KernelDef};
use tile_lang::plan::{Buffer, ElementRef, Mark, Operand, Plan, PlanError, Visibility, Weight};

/// What a program is for, which decides the kernels that are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One new token a pass, or a short block of a prompt: what counts is the time in which the weights are read.
    Decode,
    /// A chunk of many rows of a prompt: what counts are the products. Its caches and what hosts read and write are those of the program for
    /// decoding, which goes on from where it ends.
    Prompt,
}

/// How a model is laid out for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphOptions {
    /// What the program is for.
    pub purpose: Purpose,
    /// Tokens that one pass can take: 8 or 16 where they are decoded, a power of two from 16 to 1024 of a prompt.
    pub rows: usize,
    /// Positions that the caches hold.
    pub context: usize,
    /// Most splits of one row's attention.
    pub splits: usize,
    /// Bytes staged in one iteration.
    pub slot_bytes: usize,
    /// Whether norms are computed where their result is used, instead of by instructions of their own.
    pub fuse_norms: bool,
}

impl Default for GraphOptions {
    fn default() -> Self {
        let purpose = Purpose::Decode;
        GraphOptions { purpose, rows: 8, context: 4096, splits: 16, slot_bytes: 16 << 10, fuse_norms: true }
    }
}

/// Rows of a chunk of a prompt where none are asked for.
pub const CHUNK_ROWS: usize = 256;
/// Rows of a block of a chunk, for kernels that are made for few rows.
const BLOCK_ROWS: usize = 16;
/// Rows that a chunk may have.
const CHUNKS: std::ops::RangeInclusive<usize> = BLOCK_ROWS..=1024;

impl GraphOptions {
    /// Those of the program that takes prompts to one with these options, in chunks of `rows`.
    pub fn prompt(&self, rows: usize) -> Self {
        GraphOptions { purpose: Purpose::Prompt, rows, ..self.clone() }
    }
}

/// In which form a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Numbers of one type, bf16 or f32.
    Plain(DType),
    /// E4M3 with an f32 scale for each row and 128 columns.
    Fp8,
    /// E2M1 with an E8M0 scale for each row and 32 columns.
    Mxfp4,
}

/// What a graph must know of a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightInfo {
    /// How it is stored.
    pub format: Format,
    /// Its extents.
    pub dims: Vec<usize>,
}

/// What knows the weights of a model. A matrix `name` that is not plain has its scales under `name.scales`.
pub trait WeightCatalog {
    /// Facts of a weight.
    ///
    /// # Errors
    /// There is no such weight, or it can't be read; the text says which and why.
    fn info(&self, name: &str) -> Result<WeightInfo, String>;
}

/// The name of a weight, or of a group of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct W(String);

impl W {
    /// All weights.
    pub fn root() -> Self {
        W::default()
    }

    /// A member of the group.
    pub fn get(&self, name: &str) -> W {
        W(if self.0.is_empty() { name.into() } else { format!("{}.{name}", self.0) })
    }

    /// A numbered member of the group.
    pub fn at(&self, name: &str, index: usize) -> W {
        self.get(&format!("{name}.{index}"))
    }

    /// The whole name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Rows of activations: a buffer [rows, columns], perhaps with a norm that its users apply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    pub(crate) buffer: usize,
    pub(crate) columns: usize,
    pub(crate) norm: Option<Norm>,
}

/// A norm that is applied where the rows are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Norm {
    pub gain: usize,
    pub eps: f32,
}

/// A model can't be recorded.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A weight is missing or has the wrong shape.
    #[error("weight `{name}`: {problem}")]
    Weight {
        /// Its name in the plan.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Something that no kernel of the library does.
    #[error("{file}:{line}: {problem}")]
    Unsupported {
        /// The model's source file.
        file: String,
        /// Its line.
        line: u32,
        /// What it is.
        problem: String,
    },
    /// A kernel can't be instantiated.
    #[error("kernel `{kernel}`: {source}")]
    Kernel {
        /// Its name.
        kernel: &'static str,
        /// Why.
        source: InstanceError,
    },
    /// An instruction does not fit its kernel.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Options that no program can have.
    #[error("{0}")]
    Options(String),
}

/// The recorder.
pub struct Graph<'a> {
    catalog: &'a dyn WeightCatalog,
    options: GraphOptions,
    inner: RefCell<Inner>,
}

struct Inner {
    plan: Plan,
    instances: Vec<(&'static str, Vec<Generic>, usize)>,
    place: Option<(String, u32)>,
    mark: Option<(String, usize)>,
    error: Option<GraphError>,
}

type Result<T, E = GraphError> = std::result::Result<T, E>;

impl<'a> Graph<'a> {
    /// An empty graph.
    pub fn new(name: &str, catalog: &'a dyn WeightCatalog, options: GraphOptions) -> Self {
        let plan = match options.purpose {
            Purpose::Decode => Plan::new(name),
            Purpose::Prompt => Plan::new(&format!("{name}.prompt")),
        };
        let rows = options.rows;
        let wrong = options.purpose == Purpose::Prompt && !(rows.is_power_of_two() && CHUNKS.contains(&rows));
        let error = wrong.then(|| {
            let (least, most) = (CHUNKS.start(), CHUNKS.end());
            GraphError::Options(format!(
                "chunks of {rows} rows of a prompt; give a power of two from {least} to {most}"
            ))
        });
        let inner = Inner { plan, instances: Vec::new(), place: None, mark: None, error };
        Graph { catalog, options, inner: RefCell::new(inner) }
    }

    /// How it is laid out.
    pub fn options(&self) -> &GraphOptions {
        &self.options
    }

    /// Announces a statement of the model: the instructions that follow come from there.
    pub fn at(&self, file: &str, line: u32, _column: u32, _name: &str) {
        self.inner.borrow_mut().place = Some((file.into(), line));
    }

    /// Starts a named range of instructions, which ends where the next one starts.
    pub fn mark(&self, name: &str) {
        let inner = &mut *self.inner.borrow_mut();
        let end = inner.plan.program.len();
        if let Some((name, begin)) = inner.mark.replace((name.into(), end)) {
            inner.plan.marks.push(Mark { name, begin, end });
        }
    }

    /// The linked plan.
    ///
    /// # Errors
    /// The first thing that went wrong while recording.
    pub fn finish(self) -> Result<Plan> {
        let state = self.state();
        let mut inner = self.inner.into_inner();
        if let Some(e) = inner.error {
            return Err(e);
        }
        if let Some((name, begin)) = inner.mark {
            let end = inner.plan.program.len();
            inner.plan.marks.push(Mark { name, begin, end });
        }
        inner.plan.stop = ElementRef { buffer: state, element: state::DONE as usize };
        let request = inner.plan.buffers.iter().position(|b| b.name == "request");
        inner.plan.cancel = request.map(|buffer| ElementRef { buffer, element: state::CANCEL as usize });
        inner.plan.link();
        Ok(inner.plan)
    }

    /// Runs a recording step unless something went wrong before; keeps what goes wrong.
    fn record<T>(&self, otherwise: T, f: impl FnOnce() -> Result<T>) -> T {
        if self.inner.borrow().error.is_some() {
            return otherwise;
        }
        f().unwrap_or_else(|e| {
            self.inner.borrow_mut().error = Some(e);
            otherwise
        })
    }

    /// The place that instructions are attributed to.
    fn place(&self, caller: &Location<'_>) -> (String, u32) {
        self.inner.borrow().place.clone().unwrap_or_else(|| (caller.file().into(), caller.line()))
    }

    fn unsupported(&self, caller: &Location<'_>, problem: String) -> GraphError {
        let (file, line) = self.place(caller);
        GraphError::Unsupported { file, line, problem }
    }

    /// The buffer of this name, type and extents: the same one wherever all three agree.
    fn buffer(&self, name: &str, dtype: DType, dims: &[usize]) -> usize {
        self.buffer_for(name, dtype, dims, Visibility::Device)
    }

    fn buffer_for(&self, name: &str, dtype: DType, dims: &[usize], visibility: Visibility) -> usize {
        let buffers = &mut self.inner.borrow_mut().plan.buffers;
        let mut unique = name.to_owned();
        for i in 1.. {
            match buffers.iter().position(|b| b.name == unique) {
                None => break,
                Some(at) if buffers[at].dtype == dtype && buffers[at].dims == dims => return at,
                Some(_) => unique = format!("{name}.{i}"),
            }
        }
        buffers.push(Buffer { name: unique, dtype, dims: dims.to_vec(), visibility });
        buffers.len() - 1
    }

    /// A buffer as an operand with its own extents.
    fn whole(&self, id: usize) -> Operand {
        let dims = self.inner.borrow().plan.buffers[id].dims.clone();
        Operand::Buffer { id, offset: 0, dims }
    }

    /// A buffer as an operand with other extents of the same size.
    fn view(&self, id: usize, dims: &[usize]) -> Operand {
        Operand::Buffer { id, offset: 0, dims: dims.to_vec() }
    }

    /// The weight of this name, declared on first use.
    fn declare(&self, name: &str, dtype: DType, dims: &[usize]) -> usize {
        let weights = &mut self.inner.borrow_mut().plan.weights;
        if let Some(at) = weights.iter().position(|w| w.name == name) {
            return at;
        }
        weights.push(Weight { name: name.into(), dtype, dims: dims.to_vec() });
        weights.len() - 1
    }

    fn info(&self, name: &str) -> Result<WeightInfo> {
        self.catalog.info(name).map_err(|problem| GraphError::Weight { name: name.into(), problem })
    }

    /// A vector of f32.
    fn vector(&self, w: &W, len: usize) -> Result<usize> {
        let info = self.info(w.name())?;
        if info.format != Format::Plain(DType::F32) || info.dims != [len] {
            let problem = format!("{:?} {:?} where {len} numbers of f32 are needed", info.format, info.dims);
            return Err(GraphError::Weight { name: w.name().into(), problem });
        }
        Ok(self.declare(w.name(), DType::F32, &info.dims))
    }

    /// Index of an instance of a kernel.
    fn instance(&self, def: KernelDef, generics: Vec<Generic>) -> Result<usize> {
        let inner = &mut *self.inner.borrow_mut();
        if let Some((_, _, at)) = inner.instances.iter().find(|(name, g, _)| *name == def.name && *g == generics) {
            return Ok(*at);
        }
        let kernel = def.instance(&generics).map_err(|source| GraphError::Kernel { kernel: def.name, source })?;
        let at = inner.plan.kernel(kernel);
        inner.instances.push((def.name, generics, at));
        Ok(at)
    }

    /// Appends an instruction.
    fn push(
        &self,
        caller: &Location<'_>,
        label: &str,
        def: KernelDef,
        generics: Vec<Generic>,
        operands: Vec<Operand>,
    ) -> Result<()> {
        let kernel = self.instance(def, generics)?;
        let (file, line) = self.place(caller);
        let inner = &mut *self.inner.borrow_mut();
        let label = inner.mark.as_ref().map_or_else(|| label.to_owned(), |(mark, _)| format!("{mark} {label}"));
        inner.plan.push(kernel, operands, &label, (&file, line))?;
        Ok(())
    }

    fn dtype(&self, buffer: usize) -> DType {
        self.inner.borrow().plan.buffers[buffer].dtype
    }
}
