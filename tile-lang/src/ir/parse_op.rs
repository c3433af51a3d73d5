//! Spelling of types and numbers in the text form.

use super::parse::{Node, Rule};
use super::{Access, BinaryOp, CmpOp, Literal, OpKind, TernaryOp, Type, UnaryOp};
use crate::dtype::DType;

/// Spellings of all ops but constants, loops and conditions, which have a syntax of their own.
pub(super) fn mnemonics() -> impl Iterator<Item = &'static str> {
    let unary = UnaryOp::ALL.iter().map(|op| op.name());
    let others = BinaryOp::ALL.iter().map(|op| op.name()).chain(CmpOp::ALL.iter().map(|op| op.name()));
    let ternary = TernaryOp::ALL.iter().map(|op| op.name());
    OpKind::STRUCTURAL.iter().map(|(name, _)| *name).chain(unary).chain(others).chain(ternary)
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
