//! Work items of one instruction run side by side: no two may touch one element that either writes.
//!
//! Extents, grids and scalars of an instruction are known, so the coordinates of every item are too. Offsets are evaluated
//! for each item as ranges: what depends on work coordinates alone is a number, a loop's variable runs over its
//! bounds, what depends on data is unknown. If the boxes of different items are apart, that is proved; if two boxes that are surely
//! written overlap, that is an error; anything else is a note, and the checked simulator looks at it with data.

use super::Findings;
use std::collections::{HashMap, HashSet};
use tile_lang::ir::{
    Access, BinaryOp, BlockId, CmpOp, Kernel, Literal, OpData, OpId, OpKind, Role, Type, UnaryOp, ValueId,
};
use tile_lang::plan::{Instr, Operand, Plan};
use tile_lang::schedule::apply_order;

/// Most items that are looked at one by one.
const MOST_ITEMS: usize = 1 << 15;
/// Most boxes that are compared pair by pair.
const MOST_PAIRED: usize = 64;

/// Numbers from and to, both included.
type Range = Option<(i64, i64)>;

/// Elements that one item touches.
#[derive(Clone, Debug)]
struct Extent {
    item: usize,
    op: OpId,
    /// First and one past the last index along each axis of the array.
    axes: Vec<(i64, i64)>,
    writes: bool,
    /// It happens, and touches all of the box.
    sure: bool,
}

/// What is known of one parameter's elements.
enum Verdict {
    Apart,
    Overlap(Extent, Extent),
    Unknown(OpId),
}

/// Checks every instruction; returns how many different ones there were.
pub fn check(plan: &Plan, out: &mut Findings) -> usize {
    let mut seen: HashSet<String> = HashSet::new();
    for instr in &plan.program {
        let Some(kernel) = plan.kernels.get(instr.kernel) else { continue };
        if instr.items() < 2 || kernel.params.len() != instr.operands.len() {
            continue;
        }
        let dims: Vec<&[usize]> = instr
            .operands
            .iter()
            .map(|o| match o {
                Operand::Weight { id } => plan.weights.get(*id).map_or(&[][..], |w| &w.dims),
                Operand::Buffer { dims, .. } => dims,
                _ => &[],
            })
            .collect();
        let scalars = instr.operands.iter().filter(|o| !matches!(o, Operand::Buffer { .. } | Operand::Weight { .. }));
        if !seen.insert(format!("{} {:?} {dims:?} {:?}", instr.kernel, instr.extents, scalars.collect::<Vec<_>>())) {
            continue;
        }
        // Clusters give items of their own coordinates.
        instruction(&apply_order(kernel), instr, &dims, out);
    }
    seen.len()
}

fn instruction(kernel: &Kernel, instr: &Instr, dims: &[&[usize]], out: &mut Findings) {
    let written = |v: ValueId| matches!(kernel.ty(v), Type::Global(_, _, Access::Write));
    let params: Vec<usize> = (0..kernel.params.len()).filter(|p| written(kernel.params[*p].value)).collect();
    if params.is_empty() {
        return;
    }
    let fix = "let offsets along one axis come from the work coordinates, each item its own".to_owned();
    if instr.items() > MOST_ITEMS {
        let count = instr.items();
        let text = format!(
            "`{}` has {count} work items, more than {MOST_ITEMS}: whether they write the same elements is open",
            instr.label
        );
        return out.note(instr, &text);
    }
    let mut walk = Walk { kernel, instr, dims, known: HashMap::new(), item: 0, sure: true, out: Vec::new() };
    for item in 0..instr.items() {
        walk.item = item;
        walk.known.clear();
        walk.scalars();
        for (role, body) in &kernel.bodies {
            if *role != Role::Producer {
                walk.block(*body);
            }
        }
    }
    let found = walk.out;
    for p in params {
        let name = &kernel.params[p].name;
        let list: Vec<&(usize, Option<Extent>, OpId)> = found.iter().filter(|(param, ..)| *param == p).collect();
        let unknown = list.iter().find(|(_, e, _)| e.is_none()).map(|(.., op)| *op);
        let boxes: Vec<Extent> = list.iter().filter_map(|(_, e, _)| e.clone()).collect();
        let verdict = match (apart(&boxes.iter().collect::<Vec<_>>()), unknown) {
            (Verdict::Apart, Some(op)) => Verdict::Unknown(op),
            (other, _) => other,
        };
        match verdict {
            Verdict::Apart => {}
            Verdict::Overlap(a, b) => {
                let place = |e: &Extent| {
                    let axes: Vec<String> = e.axes.iter().map(|(from, to)| format!("{from}..{to}")).collect();
                    let verb = if e.writes { "writes" } else { "reads" };
                    let what = format!("item {} {verb} [{}]", e.item, axes.join(", "));
                    Findings::points(kernel, e.op, &what)
                };
                let message = format!("two work items of `{}` touch the same elements of `{name}`", instr.label);
                let notes = vec![place(&a), place(&b), fix.clone()];
                out.at(kernel, a.op, "E37", message, notes);
            }
            Verdict::Unknown(op) => {
                let line = kernel.op(op).span.line;
                let text = format!(
                    "not provable that work items of `{}` touch different elements of `{name}`: offsets at line {line} depend on data, or on a loop",
                    instr.label
                );
                out.note(instr, &text);
            }
        }
    }
}

/// Whether boxes of different items are apart, unless both are only read.
fn apart(boxes: &[&Extent]) -> Verdict {
    let shared = |list: &[&Extent]| list.iter().any(|e| e.item != list[0].item) && list.iter().any(|e| e.writes);
    if boxes.is_empty() || !shared(boxes) {
        return Verdict::Apart;
    }
    let rank = boxes[0].axes.len();
    for axis in 0..rank {
        let mut sorted = boxes.to_vec();
        sorted.sort_by_key(|e| e.axes[axis].0);
        // Boxes whose intervals along this axis chain together stay together.
        let mut groups: Vec<Vec<&Extent>> = Vec::new();
        let mut end = i64::MIN;
        for e in sorted {
            let (from, to) = e.axes[axis];
            match groups.last_mut() {
                Some(group) if from < end => group.push(e),
                _ => groups.push(vec![e]),
            }
            end = end.max(to);
        }
        if groups.len() > 1 {
            let verdicts = groups.iter().map(|g| apart(g));
            let mut worst = Verdict::Apart;
            for v in verdicts {
                match v {
                    Verdict::Overlap(..) => return v,
                    Verdict::Unknown(_) => worst = v,
                    Verdict::Apart => {}
                }
            }
            return worst;
        }
    }
    let overlap = |a: &Extent, b: &Extent| a.axes.iter().zip(&b.axes).all(|(x, y)| x.0 < y.1 && y.0 < x.1);
    let mut open = None;
    for (i, a) in boxes.iter().enumerate().take(MOST_PAIRED) {
        for b in boxes[..i].iter().filter(|b| b.item != a.item && (a.writes || b.writes) && overlap(a, b)) {
            if a.sure && b.sure {
                return Verdict::Overlap((*b).clone(), (*a).clone());
            }
            open = Some(a.op);
        }
    }
    match open {
        Some(op) => Verdict::Unknown(op),
        None if boxes.len() > MOST_PAIRED => Verdict::Unknown(boxes[0].op),
        None => Verdict::Apart,
    }
}

/// One item's walk over a body.
struct Walk<'a> {
    kernel: &'a Kernel,
    instr: &'a Instr,
    dims: &'a [&'a [usize]],
    known: HashMap<ValueId, (i64, i64)>,
    item: usize,
    /// Whether the op at hand surely runs, with numbers that are not ranges.
    sure: bool,
    /// Parameter, what is touched (none: unknown), where.
    out: Vec<(usize, Option<Extent>, OpId)>,
}

impl Walk<'_> {
    fn scalars(&mut self) {
        for (param, operand) in self.kernel.params.iter().zip(&self.instr.operands) {
            let n = match operand {
                Operand::I32(n) => i64::from(*n),
                Operand::Bool(b) => i64::from(*b),
                _ => continue,
            };
            self.known.insert(param.value, (n, n));
        }
    }

    fn get(&self, v: ValueId) -> Range {
        self.known.get(&v).copied()
    }

    fn block(&mut self, block: BlockId) {
        let kernel = self.kernel;
        for &id in &kernel.block(block).ops {
            let op = kernel.op(id);
            match &op.kind {
                OpKind::Work => {
                    let mut rest = self.item;
                    for (v, extent) in op.results.iter().zip(&self.instr.extents).rev() {
                        let n = (rest % extent.max(&1)) as i64;
                        rest /= extent.max(&1);
                        self.known.insert(*v, (n, n));
                    }
                }
                OpKind::For { .. } => self.repeat(op),
                OpKind::If => self.branch(op),
                OpKind::Store | OpKind::StoreMasked | OpKind::Set | OpKind::Load | OpKind::At => self.access(id, op),
                // Tiles of indices: anywhere in the array. Atomic ops of several items may meet.
                OpKind::Gather | OpKind::Scatter => {
                    let array = op.operands[0];
                    let written = matches!(kernel.ty(array), Type::Global(_, _, Access::Write));
                    if let (true, Some(p)) = (written, kernel.params.iter().position(|p| p.value == array)) {
                        self.out.push((p, None, id));
                    }
                }
                _ => {
                    if let (Some(range), Some(v)) = (self.scalar(op), op.results.first()) {
                        self.known.insert(*v, range);
                    }
                }
            }
        }
    }

    fn repeat(&mut self, op: &OpData) {
        let (from, to) = (self.get(op.operands[0]), self.get(op.operands[1]));
        let inner = op.blocks[0];
        let index = self.kernel.block(inner).args[0];
        let outer = self.sure;
        match (from, to) {
            (Some(f), Some(t)) if t.1 <= f.0 => return,
            (Some(f), Some(t)) => {
                self.known.insert(index, (f.0, t.1 - 1));
                // One iteration surely runs with this very number only if there is one.
                self.sure &= f.0 == f.1 && t.0 == t.1 && t.0 == f.0 + 1;
            }
            _ => self.sure = false,
        }
        self.block(inner);
        self.sure = outer;
    }

    fn branch(&mut self, op: &OpData) {
        let outer = self.sure;
        let taken = match self.get(op.operands[0]) {
            Some((a, b)) if a == b => Some(a != 0),
            _ => None,
        };
        for (i, inner) in op.blocks.iter().enumerate() {
            if taken.is_none_or(|t| t == (i == 0)) {
                self.sure = outer && taken.is_some();
                self.block(*inner);
            }
        }
        self.sure = outer;
    }

    fn access(&mut self, id: OpId, op: &OpData) {
        let Some(p) = self.kernel.params.iter().position(|p| p.value == op.operands[0]) else { return };
        if !matches!(self.kernel.ty(op.operands[0]), Type::Global(_, _, Access::Write)) {
            return;
        }
        let (first, shape, writes) = match op.kind {
            OpKind::Store => (2, self.kernel.ty(op.operands[1]).shape(), true),
            OpKind::StoreMasked => (3, self.kernel.ty(op.operands[1]).shape(), true),
            OpKind::Set => (2, &[][..], true),
            OpKind::Load => (1, self.kernel.ty(op.results[0]).shape(), false),
            _ => (1, &[][..], false),
        };
        let offsets = &op.operands[first..];
        let lead = offsets.len() - shape.len();
        let mut axes = Vec::new();
        let mut exact = true;
        for (axis, v) in offsets.iter().enumerate() {
            let size = if axis < lead { 1 } else { shape[axis - lead] as i64 };
            let extent = self.dims[p].get(axis).copied().unwrap_or(0) as i64;
            let (from, to) = match self.get(*v) {
                Some((from, to)) => {
                    exact &= from == to;
                    (from.max(0), (to + size).min(extent))
                }
                None => {
                    exact = false;
                    (0, extent)
                }
            };
            if from >= to {
                return;
            }
            axes.push((from, to));
        }
        let unknown = offsets.iter().all(|v| self.get(*v).is_none());
        let sure = self.sure && exact && op.kind != OpKind::StoreMasked;
        let extent = (!unknown).then_some(Extent { item: self.item, op: id, axes, writes, sure });
        self.out.push((p, extent, id));
    }

    /// The range of a scalar that no data decides.
    fn scalar(&self, op: &OpData) -> Range {
        let get = |i: usize| self.get(op.operands[i]);
        let (lo, hi) = match &op.kind {
            OpKind::Const(Literal::I32(n)) => (i64::from(*n), i64::from(*n)),
            OpKind::Const(Literal::Bool(b)) => (i64::from(*b), i64::from(*b)),
            OpKind::Dim(axis) => {
                let p = self.kernel.params.iter().position(|p| p.value == op.operands[0])?;
                let n = *self.dims[p].get(*axis)? as i64;
                (n, n)
            }
            OpKind::Unary(UnaryOp::Neg) => get(0).map(|(a, b)| (-b, -a))?,
            OpKind::Unary(UnaryOp::Not) => match (get(0)?, self.kernel.ty(op.operands[0])) {
                ((a, b), Type::Scalar(tile_lang::dtype::DType::Bool)) => (1 - b, 1 - a),
                _ => return None,
            },
            OpKind::Binary(b) => binary(*b, get(0)?, get(1)?)?,
            OpKind::Cmp(c) => compare(*c, get(0)?, get(1)?)?,
            OpKind::Select => match get(0) {
                Some((1, 1)) => get(1)?,
                Some((0, 0)) => get(2)?,
                _ => get(1).zip(get(2)).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)))?,
            },
            _ => return None,
        };
        // Device integers wrap; a range that leaves them says nothing.
        (lo >= i64::from(i32::MIN) && hi <= i64::from(i32::MAX)).then_some((lo, hi))
    }
}

fn binary(op: BinaryOp, a: (i64, i64), b: (i64, i64)) -> Range {
    let corners = |f: &dyn Fn(i64, i64) -> i64| {
        let all = [f(a.0, b.0), f(a.0, b.1), f(a.1, b.0), f(a.1, b.1)];
        (all.into_iter().min().unwrap_or(0), all.into_iter().max().unwrap_or(0))
    };
    let point = a.0 == a.1 && b.0 == b.1;
    Some(match op {
        BinaryOp::Add => (a.0 + b.0, a.1 + b.1),
        BinaryOp::Sub => (a.0 - b.1, a.1 - b.0),
        BinaryOp::Mul => corners(&|x, y| x * y),
        BinaryOp::Min => (a.0.min(b.0), a.1.min(b.1)),
        BinaryOp::Max => (a.0.max(b.0), a.1.max(b.1)),
        BinaryOp::Div if b.0 == b.1 && b.0 != 0 => corners(&|x, y| x / y),
        BinaryOp::Rem if point && b.0 != 0 => (a.0 % b.0, a.0 % b.0),
        BinaryOp::Rem if b.0 == b.1 && b.0 > 0 && a.0 >= 0 => (0, a.1.min(b.0 - 1)),
        BinaryOp::And if point => (a.0 & b.0, a.0 & b.0),
        BinaryOp::Or if point => (a.0 | b.0, a.0 | b.0),
        BinaryOp::Xor if point => (a.0 ^ b.0, a.0 ^ b.0),
        BinaryOp::Shl if point && (0..32).contains(&b.0) => (a.0 << b.0, a.0 << b.0),
        BinaryOp::Shr if point && (0..32).contains(&b.0) => (a.0 >> b.0, a.0 >> b.0),
        _ => return None,
    })
}

fn compare(op: CmpOp, a: (i64, i64), b: (i64, i64)) -> Range {
    let truth = |yes: bool, no: bool| match (yes, no) {
        (true, _) => Some((1, 1)),
        (_, true) => Some((0, 0)),
        _ => Some((0, 1)),
    };
    let point = a.0 == a.1 && a == b;
    let disjoint = a.1 < b.0 || b.1 < a.0;
    match op {
        CmpOp::Lt => truth(a.1 < b.0, a.0 >= b.1),
        CmpOp::Le => truth(a.1 <= b.0, a.0 > b.1),
        CmpOp::Gt => truth(a.0 > b.1, a.1 <= b.0),
        CmpOp::Ge => truth(a.0 >= b.1, a.1 < b.0),
        CmpOp::Eq => truth(point, disjoint),
        CmpOp::Ne => truth(disjoint, point),
    }
}
