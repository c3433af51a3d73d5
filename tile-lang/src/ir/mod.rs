//! Tile IR: what a kernel means.
//!
//! A [`Kernel`] is straight-line code over tiles with structured loops and conditions. It describes **one work item**;
//! who hands the items out (a grid, a persistent loop, a megakernel's program) is decided later. Ops are evaluated in
//! block order. Values are single-assignment; a block sees the values of the blocks around it. Work items of one launch
//! are independent: none reads what another writes.
//!
//! Entities are typed indices into flat vectors, so a kernel is plain data: it can be cloned, printed, stored.

mod attribute;
mod class;
mod copy;
mod elementwise;
mod entity;
mod families;
mod functions;
mod op;
mod parse;
mod parse_op;
mod print;
mod product;
mod prune;
mod resources;
mod rings;
mod rules;
mod sync;
mod syntax;
mod ty;
mod verify;

pub use class::{Class, Code, Map, Trial, Zip, Zip3};
pub use copy::copy_ops;
pub(crate) use elementwise::{atomic_ops, binary_ops, cmp_ops, reduce_ops, ternary_ops, unary_ops};
pub use entity::{BlockId, OpId, ValueId};
pub use families::{AtomicFold, AtomicOp, BinaryOp, CmpOp, Fold, ReduceOp, TernaryOp, UnaryOp};
pub use op::{Literal, MAX_SLOT_BYTES, OpKind, RingPart, part_align, slot_layout};
pub use parse::{Places, parse, parse_all, parse_all_at};
pub use product::{Product, ScaledProduct, product_of, scaled_product_of};
pub use prune::{prune, prune_roles};
pub use resources::{Resources, RoleResources};
pub use rings::{check_rings, slots_held};
pub use sync::{Order, Scope, Sync};
pub use ty::{Access, Type};
pub use verify::verify;

use crate::schedule::Schedule;
use crate::span::Span;
use serde::{Deserialize, Serialize};

/// How far a kernel has come on its way to the machine. Each stage has its own list of legal ops ([`OpKind::legal_in`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// As written: tiles, staged loads, no roles.
    Tile,
    /// Staged loads are grouped into ring transactions; nothing moved yet.
    Scheduled,
    /// One body per role; rings are explicit.
    Specialised,
    /// Layouts and shared memory are assigned.
    Allocated,
}

/// Which warps run a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// All of them: the kernel is not specialised yet.
    All,
    /// The warps that move staged data into the ring.
    Producer,
    /// The warps that compute and store.
    Consumer,
}

/// A kernel: parameters, one body per role, and the arenas they index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// The function's name.
    pub name: String,
    /// Const and type parameters with the values of this instance, in order.
    pub generics: Vec<(String, String)>,
    /// Source files that spans point into.
    pub files: Vec<String>,
    /// Parameters, in order; each is also a value.
    pub params: Vec<Param>,
    /// How far the kernel is lowered.
    pub stage: Stage,
    /// What explicit roles ask of the program.
    #[serde(default)]
    pub resources: Resources,
    /// The bodies. One with [`Role::All`] before specialisation.
    pub bodies: Vec<(Role, BlockId)>,
    /// All values.
    pub values: Vec<ValueData>,
    /// All ops, dead ones included: only those that a block lists are part of the program.
    pub ops: Vec<OpData>,
    /// All blocks.
    pub blocks: Vec<BlockData>,
    /// How it is to run, where that is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Box<Schedule>>,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Name in the source.
    pub name: String,
    /// The value that stands for it; its type is a [`Type::Global`] or a scalar.
    pub value: ValueId,
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueData {
    /// Its type.
    pub ty: Type,
    /// The source name it was bound to first, if any.
    pub name: Option<String>,
}

/// An op: its kind with attributes, operands, results, nested blocks and source place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpData {
    /// What it does.
    pub kind: OpKind,
    /// Operands, in the order that [`OpKind`] documents.
    pub operands: Vec<ValueId>,
    /// Results.
    pub results: Vec<ValueId>,
    /// Nested blocks (loop body; then and else).
    pub blocks: Vec<BlockId>,
    /// Where the user wrote it.
    pub span: Span,
    /// What schedules call it, where the source says so (`#[op(name)]`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A block: arguments and ops in order. A block nested in a loop or condition ends in [`OpKind::Yield`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockData {
    /// Block arguments: induction variable, then loop-carried values.
    pub args: Vec<ValueId>,
    /// Ops in order of evaluation.
    pub ops: Vec<OpId>,
    /// Of a loop's body: the loop's label, without its quote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Kernel {
    /// An empty kernel at [`Stage::Tile`] with one empty body.
    pub fn new(name: &str) -> Self {
        Kernel {
            name: name.into(),
            generics: Vec::new(),
            files: Vec::new(),
            params: Vec::new(),
            stage: Stage::Tile,
            resources: Resources::default(),
            bodies: vec![(Role::All, BlockId(0))],
            values: Vec::new(),
            ops: Vec::new(),
            blocks: vec![BlockData::default()],
            schedule: None,
        }
    }

    /// The type of a value.
    pub fn ty(&self, v: ValueId) -> &Type {
        &self.values[v.index()].ty
    }

    /// An op.
    pub fn op(&self, id: OpId) -> &OpData {
        &self.ops[id.index()]
    }

    /// A block.
    pub fn block(&self, id: BlockId) -> &BlockData {
        &self.blocks[id.index()]
    }

    /// The body that a role runs, if there is one.
    pub fn body(&self, role: Role) -> Option<BlockId> {
        self.bodies.iter().find(|(r, _)| *r == role).map(|(_, b)| *b)
    }

    /// The body that says what a launch must know, the grid of work items and the requirements: the consumer's, or the only
    /// one before roles are split.
    pub fn launch_body(&self) -> Option<BlockId> {
        self.body(Role::Consumer).or_else(|| self.body(Role::All))
    }

    /// Adds a value.
    pub fn add_value(&mut self, ty: Type) -> ValueId {
        self.values.push(ValueData { ty, name: None });
        ValueId(self.values.len() as u32 - 1)
    }

    /// Adds an empty block.
    pub fn add_block(&mut self) -> BlockId {
        self.blocks.push(BlockData::default());
        BlockId(self.blocks.len() as u32 - 1)
    }

    /// Adds an op to the arena, in no block yet.
    pub fn add_op(&mut self, op: OpData) -> OpId {
        self.ops.push(op);
        OpId(self.ops.len() as u32 - 1)
    }

    /// The op that makes each value, for all ops reachable from the bodies.
    pub fn definitions(&self) -> Vec<Option<OpId>> {
        let mut defs = vec![None; self.values.len()];
        self.walk(|id, op| {
            for r in &op.results {
                defs[r.index()] = Some(id);
            }
        });
        defs
    }

    /// Visits every reachable op, an op before the ops nested in it.
    pub fn walk(&self, mut f: impl FnMut(OpId, &OpData)) {
        for &(_, b) in &self.bodies {
            self.walk_block(b, &mut f);
        }
    }

    /// Visits the ops of a block, an op before the ops nested in it.
    pub fn walk_block<'k>(&'k self, b: BlockId, f: &mut impl FnMut(OpId, &'k OpData)) {
        for &id in &self.block(b).ops {
            let op = self.op(id);
            f(id, op);
            for &inner in &op.blocks {
                self.walk_block(inner, f);
            }
        }
    }
}
