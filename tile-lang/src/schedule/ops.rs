//! The names of ops: what a person would call them, from the source.
//!
//! An op has the name that its result was bound to (`let codes = w.stage(…)` is `codes`), also through conversions and views
//! (`let first = a.stage(…).cast::<f32>()` is `first`), `acc.mma(a, b)` has the receiver's, and what has neither is called after
//! the array and the method: `y.store`. `#[op(name)]` on a statement gives its op another name. The loops around it come before, by label or by variable: `k.codes`.

use crate::ir::{BlockId, Kernel, OpId, OpKind, Role, ValueId};
use std::collections::HashMap;

/// What kind of op a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpClass {
    /// A staged load.
    Load,
    /// A product.
    Product,
    /// A write of an array.
    Write,
}

impl OpClass {
    /// The class of an op that a schedule can place; none for ops that go where their users are.
    pub fn of(kind: &OpKind) -> Option<OpClass> {
        match kind {
            OpKind::Stage => Some(OpClass::Load),
            kind if kind.is_product() => Some(OpClass::Product),
            kind if kind.writes_array() => Some(OpClass::Write),
            _ => None,
        }
    }

    /// What a person calls it.
    pub const fn what(self) -> &'static str {
        match self {
            OpClass::Load => "staged load",
            OpClass::Product => "product",
            OpClass::Write => "write",
        }
    }
}

/// An op that a schedule can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedOp {
    /// The op.
    pub op: OpId,
    /// What it is.
    pub class: OpClass,
    /// The block that it stands in.
    pub block: BlockId,
    /// Names of the loops around it, outermost first, then its own.
    pub path: Vec<String>,
    /// Which of those of its class with the same path it is; `None` where it is the only one.
    pub number: Option<usize>,
}

impl NamedOp {
    /// The whole name.
    pub fn id(&self) -> String {
        let path = self.path.join(".");
        match self.number {
            None => path,
            Some(n) => format!("{path}#{n}"),
        }
    }

    /// Whether a name as written means this op: labels may be left out.
    pub fn is_called(&self, name: &str) -> bool {
        let (path, number) = match name.rsplit_once('#') {
            Some((path, n)) => (path, n.parse::<usize>().ok().map(Some).unwrap_or(Some(usize::MAX))),
            None => (name, None),
        };
        if number.is_some() && self.number.unwrap_or(0) != number.unwrap_or(0) {
            return false;
        }
        // A path of the source may hold dots of its own (`y.store`).
        let own: Vec<&str> = self.path.iter().flat_map(|p| p.split('.')).collect();
        let wanted: Vec<&str> = path.split('.').collect();
        if own.last() != wanted.last() {
            return false;
        }
        let mut rest = own.iter();
        wanted.iter().all(|w| rest.any(|o| o == w))
    }
}

/// The ops that a name means: those with just this path, else those whose path has loops around it that the name leaves out. So `o` is the
/// product outside of a loop where there is one, and `j.o` the one in it.
pub fn ops_called<'a>(ops: &'a [NamedOp], name: &str) -> Vec<&'a NamedOp> {
    let called: Vec<&NamedOp> = ops.iter().filter(|n| n.is_called(name)).collect();
    let path = name.rsplit_once('#').map_or(name, |(path, _)| path);
    let exact = |n: &&NamedOp| n.path.iter().flat_map(|p| p.split('.')).eq(path.split('.'));
    if called.iter().any(exact) { called.into_iter().filter(exact).collect() } else { called }
}

/// All ops of a kernel that a schedule can name, in the order of the program. Of a kernel with roles those of the consumers.
pub fn named_ops(kernel: &Kernel) -> Vec<NamedOp> {
    let Some(body) = kernel.body(Role::All).or_else(|| kernel.body(Role::Consumer)) else { return Vec::new() };
    let mut walk = Walk { kernel, users: users(kernel), out: Vec::new() };
    walk.block(body, &mut Vec::new());
    let mut out = walk.out;
    // Ops of one class are counted, so that products keep their numbers when staged loads become rings.
    let mut counts: HashMap<(OpClass, Vec<String>), usize> = HashMap::new();
    for named in &out {
        *counts.entry((named.class, named.path.clone())).or_default() += 1;
    }
    let mut next: HashMap<(OpClass, Vec<String>), usize> = HashMap::new();
    for named in &mut out {
        let key = (named.class, named.path.clone());
        if counts[&key] > 1 {
            let n = next.entry(key).or_default();
            named.number = Some(*n);
            *n += 1;
        }
    }
    out
}

/// The ops that use each value.
fn users(kernel: &Kernel) -> HashMap<ValueId, Vec<OpId>> {
    let mut out: HashMap<ValueId, Vec<OpId>> = HashMap::new();
    kernel.walk(|id, op| {
        for v in &op.operands {
            out.entry(*v).or_default().push(id);
        }
    });
    out
}

struct Walk<'k> {
    kernel: &'k Kernel,
    users: HashMap<ValueId, Vec<OpId>>,
    out: Vec<NamedOp>,
}

impl Walk<'_> {
    fn block(&mut self, block: BlockId, around: &mut Vec<String>) {
        let k = self.kernel;
        for &id in &k.block(block).ops {
            let op = k.op(id);
            if let Some(class) = OpClass::of(&op.kind) {
                let mut path = around.clone();
                path.push(self.own_name(id));
                self.out.push(NamedOp { op: id, class, block, path, number: None });
            }
            for &inner in &op.blocks {
                let label = if matches!(op.kind, OpKind::For { .. }) { loop_name(k, inner) } else { None };
                let depth = around.len();
                around.extend(label);
                self.block(inner, around);
                around.truncate(depth);
            }
        }
    }

    fn own_name(&self, id: OpId) -> String {
        let op = self.kernel.op(id);
        if let Some(name) = &op.name {
            return name.clone();
        }
        let bound = op.results.first().and_then(|v| self.bound(*v, 0));
        let array = || {
            let first = op.operands.first().map(|v| &self.kernel.values[v.index()]);
            let method = if op.kind == OpKind::StoreMasked { "store_masked" } else { op.kind.mnemonic() };
            match first.and_then(|v| v.name.clone()) {
                Some(name) if !op.kind.is_product() => format!("{name}.{method}"),
                _ => method.into(),
            }
        };
        bound.unwrap_or_else(array)
    }

    /// The name that a value was bound to, by itself or after conversions and views.
    fn bound(&self, v: ValueId, depth: usize) -> Option<String> {
        if let Some(name) = &self.kernel.values[v.index()].name {
            return Some(name.clone());
        }
        let users = self.users.get(&v).filter(|_| depth < 8)?;
        users.iter().find_map(|id| {
            let op = self.kernel.op(*id);
            let same = matches!(op.kind, OpKind::Cast | OpKind::Read | OpKind::Transpose | OpKind::Slice(_));
            op.results.first().filter(|_| same).and_then(|r| self.bound(*r, depth + 1))
        })
    }
}

/// What a loop is called: its label, else its variable.
fn loop_name(k: &Kernel, body: BlockId) -> Option<String> {
    let block = k.block(body);
    let variable = || block.args.first().and_then(|v| k.values[v.index()].name.clone());
    block.label.clone().or_else(variable)
}
