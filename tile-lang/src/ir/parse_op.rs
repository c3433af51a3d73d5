//! Spelling of ops, types and numbers in the text form.

use super::parse::{Node, Rule};
use super::{Access, BinaryOp, CmpOp, Literal, OpKind, ReduceOp, RingPart, Type, UnaryOp};
use crate::dtype::DType;

/// An attribute in brackets.
pub(super) enum Attr {
    Number(usize),
    Word(String),
    Text(String),
    Part(RingPart),
}

/// Mnemonics of the ops that are no elementwise ones.
const OTHERS: [&str; 24] = [
    "work",
    "dim",
    "require",
    "select",
    "cast",
    "splat",
    "iota",
    "broadcast",
    "repeat",
    "transpose",
    "slice",
    "reduce",
    "load",
    "store",
    "store_masked",
    "at",
    "set",
    "stage",
    "read",
    "mma",
    "yield",
    "ring_fill",
    "ring_wait",
    "ring_release",
];

/// Spellings of all ops but constants, loops and conditions, which have a syntax of their own.
pub(super) fn mnemonics() -> impl Iterator<Item = &'static str> {
    let unary = UnaryOp::ALL.iter().map(|op| op.name());
    let others = BinaryOp::ALL.iter().map(|op| op.name()).chain(CmpOp::ALL.iter().map(|op| op.name()));
    OTHERS.into_iter().chain(unary).chain(others)
}

fn elementwise(mnemonic: &str) -> Option<OpKind> {
    (UnaryOp::from_name(mnemonic).map(OpKind::Unary))
        .or_else(|| BinaryOp::from_name(mnemonic).map(OpKind::Binary))
        .or_else(|| CmpOp::from_name(mnemonic).map(OpKind::Cmp))
}

/// The op of a mnemonic with its attributes.
pub(super) fn kind_of(mnemonic: &str, attrs: &[Attr]) -> Result<OpKind, String> {
    let elementwise = elementwise(mnemonic);
    if let (Some(kind), []) = (&elementwise, attrs) {
        return Ok(kind.clone());
    }
    let parts = || -> Option<Vec<RingPart>> {
        let part = |a: &Attr| if let Attr::Part(p) = a { Some(p.clone()) } else { None };
        attrs.iter().map(part).collect()
    };
    let numbers = || -> Option<Vec<usize>> {
        attrs.iter().map(|a| if let Attr::Number(n) = a { Some(*n) } else { None }).collect()
    };
    let kind = match (mnemonic, attrs) {
        ("work", []) => OpKind::Work,
        ("dim", [Attr::Number(axis)]) => OpKind::Dim(*axis),
        ("require", [Attr::Text(text)]) => OpKind::Require(text.clone()),
        ("select", []) => OpKind::Select,
        ("cast", []) => OpKind::Cast,
        ("splat", []) => OpKind::Splat,
        ("iota", [Attr::Number(axis)]) => OpKind::Iota(*axis),
        ("broadcast", [Attr::Number(axis)]) => OpKind::Broadcast(*axis),
        ("repeat", [Attr::Number(times)]) => OpKind::Repeat(*times),
        ("transpose", []) => OpKind::Transpose,
        ("slice", [_, ..]) => OpKind::Slice(numbers().ok_or("`slice` takes offsets")?),
        ("reduce", [Attr::Word(op), Attr::Number(axis)]) => {
            let op = ReduceOp::from_name(op).ok_or_else(|| format!("`{op}` is no reduction"))?;
            OpKind::Reduce(op, *axis)
        }
        ("load", []) => OpKind::Load,
        ("store", []) => OpKind::Store,
        ("store_masked", []) => OpKind::StoreMasked,
        ("at", []) => OpKind::At,
        ("set", []) => OpKind::Set,
        ("stage", []) => OpKind::Stage,
        ("read", []) => OpKind::Read,
        ("mma", []) => OpKind::Mma,
        ("yield", []) => OpKind::Yield,
        ("ring_fill", _) => OpKind::RingFill(parts().ok_or("`ring_fill` takes parts of a slot")?),
        ("ring_wait", _) => OpKind::RingWait(parts().ok_or("`ring_wait` takes parts of a slot")?),
        ("ring_release", []) => OpKind::RingRelease,
        _ if elementwise.is_some() || OTHERS.contains(&mnemonic) => {
            return Err(format!("`{mnemonic}` does not take these attributes"));
        }
        _ => return Err(format!("there is no op `{mnemonic}`")),
    };
    Ok(kind)
}

/// A constant: with a point or an exponent it is f32.
pub(super) fn literal(text: &str) -> Result<Literal, String> {
    let bits = text.strip_prefix("nan(0x").and_then(|t| t.strip_suffix(')'));
    let lit = match (text, bits) {
        ("true", _) => Some(Literal::Bool(true)),
        ("false", _) => Some(Literal::Bool(false)),
        (_, Some(bits)) => {
            u32::from_str_radix(bits, 16).ok().map(f32::from_bits).filter(|x| x.is_nan()).map(Literal::F32)
        }
        _ if text.contains(['.', 'e', 'i']) => text.parse().ok().map(Literal::F32),
        _ => text.parse().ok().map(Literal::I32),
    };
    lit.ok_or_else(|| format!("`{text}` is no constant of f32, i32 or bool"))
}

/// A type.
pub(super) fn ty(node: &Node<'_>) -> Result<Type, String> {
    let wrong = || format!("`{}` is no type", node.as_str().trim_end());
    let mut inner = node.clone().into_inner();
    let head = inner.next().ok_or_else(wrong)?;
    let (Some(dtype), Some(dims)) = (inner.next(), inner.next()) else {
        return head.as_str().parse().map(Type::Scalar).map_err(|_| wrong());
    };
    debug_assert_eq!(dims.as_rule(), Rule::dims);
    let dtype: DType = dtype.as_str().parse().map_err(|_| wrong())?;
    let shape: Vec<usize> =
        dims.as_str().split('x').map(|n| n.parse().ok()).collect::<Option<_>>().ok_or_else(wrong)?;
    let access = match head.as_str() {
        "tile" => return Ok(Type::Tile(dtype, shape)),
        "smem" => return Ok(Type::Smem(dtype, shape)),
        "global" => Access::Read,
        "global_mut" => Access::Write,
        "weight" => Access::Weight,
        _ => return Err(wrong()),
    };
    match shape[..] {
        [rank] => Ok(Type::Global(dtype, rank, access)),
        _ => Err(wrong()),
    }
}
