//! A kernel with arguments: a plan of one instruction.
//!
//! Extents that aren't given are inferred: axes that a `require!` makes equal share one extent, and an axis is as long as two
//! of the tiles that lie along it.

use super::super::error::CliError;
use std::collections::HashMap;
use tile_lang::DType;
use tile_lang::ir::{Access, CmpOp, Kernel, Literal, OpData, OpKind, Type, ValueId};
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
    let buffer = |name: &str, dtype, dims: Vec<usize>| Buffer {
        name: name.into(),
        dtype,
        dims,
        visibility: Visibility::Device,
    };
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

/// Extents by parameter and axis.
struct Extents(HashMap<(usize, usize), usize>);

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
        let mut known: HashMap<(usize, usize), usize> = HashMap::new();
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
        Extents(out)
    }
}

/// What a kernel's text says of the extents of its arrays.
#[derive(Default)]
struct Facts {
    /// Axes that a requirement makes equal.
    equal: Vec<((usize, usize), (usize, usize))>,
    /// Axes that a requirement fixes.
    fixed: HashMap<(usize, usize), usize>,
    /// The largest tile along each axis.
    tiles: HashMap<(usize, usize), usize>,
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
                let Some(OpData { kind: OpKind::Cmp(CmpOp::Eq), operands, .. }) = def(op.operands[0]) else { return };
                let [a, b] = [operands[0], operands[1]];
                match (axis(a), axis(b)) {
                    (Some(a), Some(b)) => facts.equal.push((a, b)),
                    (Some(axis), None) => facts.fixed.extend(constant(b).map(|n| (axis, n))),
                    (None, Some(axis)) => facts.fixed.extend(constant(a).map(|n| (axis, n))),
                    (None, None) => {}
                }
            }
            OpKind::Load | OpKind::Stage | OpKind::Store | OpKind::StoreMasked => {
                let Some(p) = param(op.operands[0]) else { return };
                let tile = if op.results.is_empty() { op.operands[1] } else { op.results[0] };
                let (shape, Type::Global(_, rank, _)) = (kernel.ty(tile).shape(), kernel.ty(op.operands[0])) else {
                    return;
                };
                for (i, n) in shape.iter().enumerate() {
                    let slot = facts.tiles.entry((p, rank - shape.len() + i)).or_insert(0);
                    *slot = (*slot).max(*n);
                }
            }
            _ => {}
        });
        facts
    }

    /// The axes that must be as long as this one, itself included.
    fn equal_to(&self, axis: (usize, usize)) -> Vec<(usize, usize)> {
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
