//! A kernel with arguments: a plan of one instruction.
//!
//! Extents that aren't given are inferred: axes that a `require!` makes equal share one extent, an axis is as long as two of the
//! tiles that lie along it, and what a `require!` computes from other extents follows them.

use super::super::error::CliError;
use std::collections::HashMap;
use tile_lang::DType;
use tile_lang::ir::{Access, BinaryOp, CmpOp, Kernel, Literal, OpData, OpKind, Type, ValueId};
use tile_lang::plan::{Buffer, Operand, Plan, Visibility, Weight};

/// Most elements of an array that is made up.
const MOST: usize = 1 << 31;

/// Arguments on the command line.
#[derive(clap::Args)]
pub struct CaseArgs {
    /// Extents of an array (`x=16x384`), contents of one of integers (`ids=[3,1,4]`), or a number (`eps=1e-5`)
    #[arg(long = "arg", value_name = "NAME=VALUE")]
    pub args: Vec<String>,
    /// Keys the random inputs
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// The plan of one instruction.
pub struct Case {
    /// The plan.
    pub plan: Plan,
    /// Contents of integer buffers that were given: buffer and numbers.
    pub integers: Vec<(usize, Vec<i32>)>,
    /// Arrays that the kernel may write: parameter and buffer.
    pub outputs: Vec<(String, usize)>,
}

/// What was given for a parameter.
enum Given {
    Dims(Vec<usize>),
    Contents(Vec<i32>),
    Number(f64),
    Truth(bool),
}

impl CaseArgs {
    /// Binds every parameter.
    pub fn case(&self, kernel: Kernel) -> Result<Case, CliError> {
        let given = self.parse(&kernel)?;
        // Two tiles along each axis show more than one; where that breaks a requirement, one may do.
        let first = case(&kernel, &given, 2);
        match first {
            Err(_) => case(&kernel, &given, 1).or(first),
            ok => ok,
        }
    }

    fn parse(&self, kernel: &Kernel) -> Result<HashMap<String, Given>, CliError> {
        let mut out = HashMap::new();
        for text in &self.args {
            let bad = |problem: &str| CliError::input(format!("--arg {text}: {problem}"));
            let (name, value) = text.split_once('=').ok_or_else(|| bad("expected NAME=VALUE"))?;
            let Some(param) = kernel.params.iter().find(|p| p.name == name) else {
                let names: Vec<&str> = kernel.params.iter().map(|p| p.name.as_str()).collect();
                return Err(bad(&format!("the parameters are {}", names.join(", "))));
            };
            let given = match kernel.ty(param.value) {
                Type::Global(d, rank, _) => {
                    let list = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
                    match list {
                        Some(list) if *d == DType::I32 && *rank == 1 => {
                            let numbers = list.split(',').filter(|n| !n.trim().is_empty()).map(|n| n.trim().parse());
                            let numbers: Result<Vec<i32>, _> = numbers.collect();
                            Given::Contents(numbers.map_err(|_| bad("expected integers, as [3,1,4]"))?)
                        }
                        Some(_) => return Err(bad("contents can be given for i32 arrays with one axis only")),
                        None => {
                            let dims: Result<Vec<usize>, _> = value.split('x').map(str::parse).collect();
                            let dims = dims.map_err(|_| bad("expected extents, as 16x384"))?;
                            if dims.len() != *rank {
                                return Err(bad(&format!("this array has {rank} axes")));
                            }
                            let size = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
                            if dims.contains(&0) || size.is_none_or(|n| n > MOST) {
                                return Err(bad("extents must be 1 or more, and the array at most 2^31 elements"));
                            }
                            Given::Dims(dims)
                        }
                    }
                }
                Type::Scalar(DType::Bool) => Given::Truth(value.parse().map_err(|_| bad("expected true or false"))?),
                Type::Scalar(d) => {
                    let number: f64 = value.parse().map_err(|_| bad("expected a number"))?;
                    if *d == DType::I32 && (number.fract() != 0.0 || number.abs() > f64::from(i32::MAX)) {
                        return Err(bad("expected an integer of 32 bits"));
                    }
                    Given::Number(number)
                }
                _ => return Err(bad("this parameter can't be given")),
            };
            out.insert(name.to_owned(), given);
        }
        Ok(out)
    }
}

fn case(kernel: &Kernel, given: &HashMap<String, Given>, tiles: usize) -> Result<Case, CliError> {
    let mut plan = Plan::new(&kernel.name);
    let buffer =
        |name: &str, dtype, dims: Vec<usize>| Buffer { name: name.into(), dtype, dims, visibility: Visibility::Device };
    plan.buffers.push(buffer("stop", DType::I32, vec![1]));
    let extents = Extents::infer(kernel, given, tiles);
    let (mut operands, mut integers, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    for (index, p) in kernel.params.iter().enumerate() {
        operands.push(match (kernel.ty(p.value), given.get(&p.name)) {
            (Type::Global(d, rank, access), value) => {
                let dims = extents.of(index, *rank);
                if *access == Access::Weight {
                    plan.weights.push(Weight { name: p.name.clone(), dtype: *d, dims });
                    Operand::Weight { id: plan.weights.len() - 1 }
                } else {
                    let id = plan.buffers.len();
                    plan.buffers.push(buffer(&p.name, *d, dims.clone()));
                    if let Some(Given::Contents(numbers)) = value {
                        integers.push((id, numbers.clone()));
                    }
                    if *access == Access::Write {
                        outputs.push((p.name.clone(), id));
                    }
                    Operand::Buffer { id, offset: 0, dims }
                }
            }
            (Type::Scalar(DType::Bool), Some(Given::Truth(x))) => Operand::Bool(*x),
            (Type::Scalar(DType::Bool), _) => Operand::Bool(true),
            (Type::Scalar(DType::I32), Some(Given::Number(x))) => Operand::I32(*x as i32),
            (Type::Scalar(DType::I32), _) => Operand::I32(1),
            (_, Some(Given::Number(x))) => Operand::F32(*x as f32),
            _ => Operand::F32(1.0),
        });
    }
    let at = plan.kernel(kernel.clone());
    let label = kernel.name.clone();
    let pushed = plan.push(at, operands, &label, ("command line", 0));
    pushed.map_err(|e| {
        let text = e.to_string();
        let text = text.strip_prefix("command line:0: ").unwrap_or(&text);
        CliError::input(format!("{text}\n  = the extents were {}; set them with --arg", extents.show(kernel)))
    })?;
    plan.link();
    Ok(Case { plan, integers, outputs })
}

/// A parameter and one of its axes.
type Axis = (usize, usize);

/// A requirement on one axis: how it compares with a value.
struct Clause {
    axis: Axis,
    op: CmpOp,
    value: ValueId,
}

/// Extents by parameter and axis.
struct Extents(HashMap<Axis, usize>);

impl Extents {
    fn of(&self, param: usize, rank: usize) -> Vec<usize> {
        (0..rank).map(|axis| self.0.get(&(param, axis)).copied().unwrap_or(1)).collect()
    }

    fn show(&self, kernel: &Kernel) -> String {
        let list = kernel.params.iter().enumerate().filter_map(|(i, p)| match kernel.ty(p.value) {
            Type::Global(_, rank, _) => {
                let dims: Vec<String> = self.of(i, *rank).iter().map(usize::to_string).collect();
                Some(format!("{}={}", p.name, dims.join("x")))
            }
            _ => None,
        });
        list.collect::<Vec<_>>().join(" ")
    }

    fn infer(kernel: &Kernel, given: &HashMap<String, Given>, tiles: usize) -> Self {
        let facts = Facts::collect(kernel);
        let mut known: HashMap<Axis, usize> = HashMap::new();
        for (i, p) in kernel.params.iter().enumerate() {
            match given.get(&p.name) {
                Some(Given::Dims(dims)) => known.extend(dims.iter().enumerate().map(|(axis, n)| ((i, axis), *n))),
                Some(Given::Contents(list)) => {
                    known.insert((i, 0), list.len());
                }
                _ => {}
            }
        }
        for (axis, n) in &facts.fixed {
            known.entry(*axis).or_insert(*n);
        }
        let mut out = known.clone();
        for (i, p) in kernel.params.iter().enumerate() {
            let Type::Global(_, rank, _) = kernel.ty(p.value) else { continue };
            for axis in (0..*rank).map(|a| (i, a)).filter(|a| !known.contains_key(a)) {
                let same = facts.equal_to(axis);
                let settled = same.iter().find_map(|a| known.get(a)).copied();
                let tile = same.iter().filter_map(|a| facts.tiles.get(a)).max().copied();
                let free = || tile.map_or(4, |n| n * tiles);
                out.insert(axis, settled.unwrap_or_else(free));
            }
        }
        let mut extents = Extents(out);
        // What is computed may be computed from what is computed; kernels don't nest this deeper.
        for _ in 0..4 {
            for clause in &facts.computed {
                extents.follow(kernel, clause, &facts, &known);
            }
            for (axis, unit) in &facts.multiples {
                extents.round_up(*axis, *unit, &facts, &known);
            }
        }
        extents
    }

    /// Makes a clause hold that compares one axis with an expression, unless the axis is settled.
    fn follow(&mut self, kernel: &Kernel, clause: &Clause, facts: &Facts, known: &HashMap<Axis, usize>) {
        let Some(value) = self.value(kernel, clause.value).and_then(|n| usize::try_from(n).ok()) else { return };
        let same = facts.equal_to(clause.axis);
        if same.iter().any(|a| known.contains_key(a)) || !(1..=MOST).contains(&value) {
            return;
        }
        let now = self.0.get(&clause.axis).copied().unwrap_or(1);
        let wrong = match clause.op {
            CmpOp::Eq => now != value,
            CmpOp::Le => now > value,
            _ => now < value,
        };
        if wrong {
            self.0.extend(same.into_iter().map(|a| (a, value)));
        }
    }

    /// Makes an axis a multiple of `unit`, unless it is settled.
    fn round_up(&mut self, axis: Axis, unit: usize, facts: &Facts, known: &HashMap<Axis, usize>) {
        let same = facts.equal_to(axis);
        let value = self.0.get(&axis).copied().unwrap_or(1).next_multiple_of(unit);
        if value <= MOST && !same.iter().any(|a| known.contains_key(a)) {
            self.0.extend(same.into_iter().map(|a| (a, value)));
        }
    }

    /// An integer expression over extents and constants.
    fn value(&self, kernel: &Kernel, v: ValueId) -> Option<i64> {
        let id = kernel.definitions()[v.index()]?;
        let op = kernel.op(id);
        let operand = |i: usize| self.value(kernel, op.operands[i]);
        match &op.kind {
            OpKind::Const(Literal::I32(n)) => Some(i64::from(*n)),
            OpKind::Dim(axis) => {
                let param = kernel.params.iter().position(|p| p.value == op.operands[0])?;
                i64::try_from(*self.0.get(&(param, *axis))?).ok()
            }
            OpKind::Binary(b) => {
                let (x, y) = (operand(0)?, operand(1)?);
                match b {
                    BinaryOp::Add => x.checked_add(y),
                    BinaryOp::Sub => x.checked_sub(y),
                    BinaryOp::Mul => x.checked_mul(y),
                    BinaryOp::Div => x.checked_div(y),
                    BinaryOp::Min => Some(x.min(y)),
                    BinaryOp::Max => Some(x.max(y)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// What a kernel's text says of the extents of its arrays.
#[derive(Default)]
struct Facts {
    /// Axes that a requirement makes equal.
    equal: Vec<(Axis, Axis)>,
    /// Axes that a requirement fixes.
    fixed: HashMap<Axis, usize>,
    /// Axes that a requirement makes multiples of a number.
    multiples: Vec<(Axis, usize)>,
    /// Axes that a requirement compares with anything else.
    computed: Vec<Clause>,
    /// The largest tile along each axis, or index into it.
    tiles: HashMap<Axis, usize>,
}

impl Facts {
    fn collect(kernel: &Kernel) -> Self {
        let defs = kernel.definitions();
        let def = |v: ValueId| defs[v.index()].map(|id| kernel.op(id));
        let param = |v: ValueId| kernel.params.iter().position(|p| p.value == v);
        let axis = |v: ValueId| match def(v) {
            Some(OpData { kind: OpKind::Dim(axis), operands, .. }) => param(operands[0]).map(|p| (p, *axis)),
            _ => None,
        };
        let constant = |v: ValueId| match def(v).map(|o| &o.kind) {
            Some(OpKind::Const(Literal::I32(n))) => usize::try_from(*n).ok(),
            _ => None,
        };
        let mut facts = Facts::default();
        kernel.walk(|_, op| match &op.kind {
            OpKind::Require(_) => {
                let Some(OpData { kind: OpKind::Cmp(op), operands, .. }) = def(op.operands[0]) else { return };
                let [a, b] = [operands[0], operands[1]];
                let flipped = match op {
                    CmpOp::Le => CmpOp::Ge,
                    CmpOp::Ge => CmpOp::Le,
                    other => *other,
                };
                if !matches!(op, CmpOp::Eq | CmpOp::Le | CmpOp::Ge) {
                    return;
                }
                if let (CmpOp::Eq, Some(OpData { kind: OpKind::Binary(BinaryOp::Rem), operands, .. }), Some(0)) =
                    (op, def(a), constant(b))
                {
                    let of = axis(operands[0]).zip(constant(operands[1]));
                    facts.multiples.extend(of.filter(|(_, unit)| *unit > 0));
                    return;
                }
                match (axis(a), axis(b)) {
                    (Some(a), Some(b)) if *op == CmpOp::Eq => facts.equal.push((a, b)),
                    (Some(axis), _) => match constant(b) {
                        Some(n) if *op == CmpOp::Eq => drop(facts.fixed.insert(axis, n)),
                        _ => facts.computed.push(Clause { axis, op: *op, value: b }),
                    },
                    (None, Some(axis)) => match constant(a) {
                        Some(n) if *op == CmpOp::Eq => drop(facts.fixed.insert(axis, n)),
                        _ => facts.computed.push(Clause { axis, op: flipped, value: a }),
                    },
                    (None, None) => {}
                }
            }
            OpKind::At | OpKind::Set => {
                let first = if op.kind == OpKind::At { 1 } else { 2 };
                let Some(p) = param(op.operands[0]) else { return };
                for (i, v) in op.operands[first..].iter().enumerate() {
                    if let Some(n) = constant(*v) {
                        let slot = facts.tiles.entry((p, i)).or_insert(0);
                        *slot = (*slot).max(n + 1);
                    }
                }
            }
            OpKind::Load | OpKind::Stage | OpKind::Store | OpKind::StoreMasked => {
                let tile = if op.results.is_empty() { op.operands[1] } else { op.results[0] };
                if let (Some(p), Type::Global(_, rank, _)) = (param(op.operands[0]), kernel.ty(op.operands[0])) {
                    facts.tile(p, *rank, kernel.ty(tile).shape());
                }
            }
            OpKind::RingFill(parts) => {
                let mut at = 0;
                for part in parts {
                    if let Some(p) = param(op.operands[at]) {
                        facts.tile(p, part.rank, &part.shape);
                    }
                    at += 1 + part.rank;
                }
            }
            _ => {}
        });
        facts
    }

    /// A tile of this shape lies along the last axes of a parameter.
    fn tile(&mut self, param: usize, rank: usize, shape: &[usize]) {
        for (i, n) in shape.iter().enumerate() {
            let slot = self.tiles.entry((param, rank - shape.len() + i)).or_insert(0);
            *slot = (*slot).max(*n);
        }
    }

    /// The axes that must be as long as this one, itself included.
    fn equal_to(&self, axis: Axis) -> Vec<Axis> {
        let mut out = vec![axis];
        loop {
            let more = self.equal.iter().flat_map(|(a, b)| [(a, b), (b, a)]);
            let more: Vec<_> = more.filter(|(a, b)| out.contains(a) && !out.contains(b)).map(|(_, b)| *b).collect();
            if more.is_empty() {
                return out;
            }
            out.extend(more);
            out.dedup();
        }
    }
}
