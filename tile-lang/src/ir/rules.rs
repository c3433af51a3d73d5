//! The typing rule of every op, for the verifier.

use super::{Access, Class, Fold, Kernel, OpData, OpKind, RingPart, Type, product_of, scaled_product_of};
use crate::debug;
use crate::dtype::DType;
use crate::record::failure;

const I32: Type = Type::Scalar(DType::I32);
const BOOL: Type = Type::Scalar(DType::Bool);

/// Whether operands, attributes and results of an op fit; the text continues "`name` …".
pub(super) fn check(kernel: &Kernel, op: &OpData) -> Result<(), String> {
    let operands: Vec<&Type> = op.operands.iter().map(|v| kernel.ty(*v)).collect();
    let results: Vec<&Type> = op.results.iter().map(|v| kernel.ty(*v)).collect();
    for (v, ty) in op.operands.iter().zip(&operands) {
        if matches!(ty, Type::Global(..)) && kernel.params.iter().all(|p| p.value != *v) {
            return Err("works on an array that is no parameter".into());
        }
    }
    for ty in &results {
        let fits = match ty {
            Type::Scalar(_) => true,
            Type::Tile(_, s) => (1..=2).contains(&s.len()) && s.iter().all(|n| n.is_power_of_two()) && small(s),
            Type::Smem(_, s) => s.len() == 2 && s.iter().all(|n| *n > 0) && small(s),
            Type::Global(..) | Type::Error => false,
        };
        if !fits {
            return Err(format!("can't make a value of type {ty}"));
        }
    }
    let want = results_of(&op.kind, &operands, &results)?;
    if results.iter().copied().eq(&want) {
        return Ok(());
    }
    let show = |types: &mut dyn Iterator<Item = &Type>| types.map(Type::to_string).collect::<Vec<_>>().join(", ");
    Err(format!("gives ({}), here ({})", show(&mut want.iter()), show(&mut results.iter().copied())))
}

/// The types that an op of these operands gives. Where a rule leaves the shape of a result open, `have` tells it.
fn results_of(kind: &OpKind, operands: &[&Type], have: &[&Type]) -> Result<Vec<Type>, String> {
    let bad =
        || Err(format!("does not take ({})", operands.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ")));
    let shape = have.first().map_or(&[][..], |t| t.shape());
    Ok(match (kind, operands) {
        (OpKind::Const(lit), []) => vec![Type::Scalar(lit.dtype())],
        (OpKind::Work, extents) if !extents.is_empty() && extents.iter().all(|t| **t == I32) => {
            vec![I32; extents.len()]
        }
        (OpKind::Dim(axis), [Type::Global(_, rank, _)]) if axis < rank => vec![I32],
        (OpKind::Require(_), [t]) if **t == BOOL => vec![],
        (OpKind::Unary(op), [x]) if elementwise(x) => match x.dtype().and_then(|d| op.result(d)) {
            Some(d) => vec![x.with_dtype(d)],
            None => return bad(),
        },
        (OpKind::Binary(op), [a, b]) if a == b && elementwise(a) && on(op.class(), a) => vec![(*a).clone()],
        (OpKind::Ternary(op), [a, b, c]) if a == b && b == c && elementwise(a) && on(op.class(), a) => {
            vec![(*a).clone()]
        }
        (OpKind::Cmp(_), [a, b]) if a == b && elementwise(a) && on(Class::Elem, a) => vec![a.with_dtype(DType::Bool)],
        (OpKind::Select, [c, a, b]) if a == b && elementwise(a) && **c == a.with_dtype(DType::Bool) => {
            vec![(*a).clone()]
        }
        (OpKind::Cast, [x]) if elementwise(x) => match have.first().and_then(|t| t.dtype()) {
            Some(to) => vec![x.with_dtype(to)],
            None => return bad(),
        },
        (OpKind::Splat, [Type::Scalar(d)]) => vec![Type::Tile(*d, shape.to_vec())],
        (OpKind::Iota(axis), []) if *axis < shape.len() => vec![Type::Tile(DType::I32, shape.to_vec())],
        (OpKind::Broadcast(axis), [Type::Tile(d, s)]) if s.len() == 1 && *axis < 2 => {
            let new = shape.get(*axis).copied().unwrap_or(1);
            let mut s = s.clone();
            s.insert(*axis, new);
            vec![Type::Tile(*d, s)]
        }
        (OpKind::Repeat(times), [Type::Tile(d, s)]) => {
            let mut s = s.clone();
            if let Some(last) = s.last_mut() {
                *last = last.saturating_mul(*times);
            }
            vec![Type::Tile(*d, s)]
        }
        (OpKind::Transpose, [Type::Tile(d, s)]) if s.len() == 2 => vec![Type::Tile(*d, vec![s[1], s[0]])],
        (OpKind::Transpose, [Type::Smem(d, s)]) if s.len() == 2 => vec![Type::Smem(*d, vec![s[1], s[0]])],
        (OpKind::Reshape, [Type::Tile(d, s)]) => {
            if shape.iter().product::<usize>() != s.iter().product::<usize>() {
                return Err(format!("of {s:?} has another number of elements than {shape:?}"));
            }
            vec![Type::Tile(*d, shape.to_vec())]
        }
        (OpKind::Join(axis), [Type::Tile(d, a), Type::Tile(e, b)]) if d == e && *axis < a.len() => {
            let other =
                |s: &[usize]| s.iter().enumerate().filter(|(i, _)| i != axis).map(|(_, n)| *n).collect::<Vec<_>>();
            if a.len() != b.len() || other(a) != other(b) {
                return bad();
            }
            let mut s = a.clone();
            s[*axis] += b[*axis];
            vec![Type::Tile(*d, s)]
        }
        (OpKind::Scan(op, axis), [Type::Tile(d, s)])
            if *axis < s.len()
                && matches!(op.fold(), Fold::Join(_))
                && op.class() == Class::Word
                && on(Class::Word, operands[0]) =>
        {
            vec![Type::Tile(*d, s.clone())]
        }
        (OpKind::Gather, [Type::Global(d, rank, access), at @ ..])
            if *access != Access::Weight && d.bits() >= 8 && *rank > 0 =>
        {
            match index_tiles(at, *rank) {
                Some(s) => vec![Type::Tile(*d, s.to_vec())],
                None => return bad(),
            }
        }
        (OpKind::Scatter, [Type::Global(d, rank, Access::Write), Type::Tile(x, s), at @ ..])
            if d == x && d.bits() >= 8 && index_tiles(at, *rank) == Some(&s[..]) =>
        {
            vec![]
        }
        (OpKind::Atomic(op, _), [Type::Global(d, rank, Access::Write), Type::Tile(x, s), at @ ..])
            if d == x && op.class().holds(*d) && index_tiles(at, *rank) == Some(&s[..]) =>
        {
            vec![Type::Tile(*d, s.clone())]
        }
        (OpKind::AtomicCas(_), [Type::Global(d, rank, Access::Write), Type::Tile(x, s), new, at @ ..])
            if d == x && operands[1] == *new && Class::Int.holds(*d) && index_tiles(at, *rank) == Some(&s[..]) =>
        {
            vec![Type::Tile(*d, s.clone())]
        }
        (OpKind::Slice(offsets), [Type::Smem(d, s) | Type::Tile(d, s)]) => {
            let inside = |(n, (o, w)): (&usize, (&usize, &usize))| o.checked_add(*w).is_some_and(|end| end <= *n);
            let fits = offsets.len() == s.len() && shape.len() == s.len();
            if !fits || !s.iter().zip(offsets.iter().zip(shape)).all(inside) {
                return Err(format!("of shape {shape:?} at {offsets:?} is not inside {s:?}"));
            }
            let in_registers = matches!(operands, [Type::Tile(..)]);
            vec![if in_registers { Type::Tile(*d, shape.to_vec()) } else { Type::Smem(*d, shape.to_vec()) }]
        }
        (OpKind::Reduce(op, axis), [Type::Tile(d, s)]) if *axis < s.len() => {
            let Some(d) = op.result(*d) else { return bad() };
            let mut rest = s.clone();
            rest.remove(*axis);
            vec![if rest.is_empty() { Type::Scalar(d) } else { Type::Tile(d, rest) }]
        }
        (OpKind::Load, [Type::Global(d, rank, access), at @ ..]) if *access != Access::Weight && indices(at, *rank) => {
            inside_rank(shape, *rank)?;
            vec![Type::Tile(*d, shape.to_vec())]
        }
        (OpKind::Prefetch(shape), [Type::Global(_, rank, access), at @ ..])
            if *access != Access::Weight && indices(at, *rank) =>
        {
            inside_rank(shape, *rank)?;
            if !(1..=2).contains(&shape.len()) || shape.contains(&0) || !small(shape) {
                return Err(format!("of a box of shape {shape:?}"));
            }
            vec![]
        }
        (OpKind::Stage, [Type::Global(d, rank, _), at @ ..]) if indices(at, *rank) => {
            inside_rank(shape, *rank)?;
            let bytes = d.bytes(shape.iter().product());
            if bytes == 0 || bytes % 16 != 0 {
                return Err(format!("copies {bytes} bytes: a multiple of 16 is needed"));
            }
            vec![Type::Smem(*d, shape.to_vec())]
        }
        (OpKind::Store, [Type::Global(d, rank, Access::Write), Type::Tile(x, s), at @ ..])
            if d == x && indices(at, *rank) =>
        {
            inside_rank(s, *rank)?;
            vec![]
        }
        (
            OpKind::StoreMasked,
            [Type::Global(d, rank, Access::Write), Type::Tile(x, s), Type::Tile(DType::Bool, m), at @ ..],
        ) if d == x && s == m && indices(at, *rank) => {
            inside_rank(s, *rank)?;
            vec![]
        }
        (OpKind::At, [Type::Global(d, rank, _), at @ ..]) if indices(at, *rank) => vec![Type::Scalar(*d)],
        (OpKind::Set, [Type::Global(d, rank, Access::Write), Type::Scalar(x), at @ ..])
            if d == x && indices(at, *rank) =>
        {
            vec![]
        }
        (OpKind::Read, [Type::Smem(d, s)]) => vec![Type::Tile(*d, s.clone())],
        (OpKind::Mma, [acc, a, b]) => match product(acc, a, b) {
            Some(t) => vec![t],
            None => return bad(),
        },
        (OpKind::MmaScaled, [acc, a, b, scales @ ..]) => match scaled_product(acc, a, b, scales) {
            Some(t) => vec![t],
            None => return bad(),
        },
        (OpKind::For { .. }, [from, to, carried @ ..])
            if **from == I32 && **to == I32 && carried.iter().all(|t| local(t)) =>
        {
            carried.iter().map(|t| (*t).clone()).collect()
        }
        // What the branches yield is compared with the results; here only their kind is in question.
        (OpKind::If, [c]) if **c == BOOL => have.iter().map(|t| (*t).clone()).collect(),
        (OpKind::DeviceAssert(message), [c, values @ ..]) if elementwise(c) && c.dtype() == Some(DType::Bool) => {
            let places = debug::places_of(message);
            if places != values.len() || places > failure::MOST_VALUES {
                let most = failure::MOST_VALUES;
                return Err(format!("shows {places} values of {}, at most {most} are possible", values.len()));
            }
            if !values.iter().all(|v| said(v) && (v.shape().is_empty() || v.shape() == c.shape())) {
                return bad();
            }
            vec![]
        }
        (OpKind::DbgTile(_), [x]) if said(x) => vec![],
        (OpKind::Mark(_), []) => vec![],
        (OpKind::Yield, values) if values.iter().all(|t| local(t)) => vec![],
        (OpKind::RingFill(parts), mut rest) if !parts.is_empty() => {
            for part in parts {
                let Some((Type::Global(d, rank, _), after)) = rest.split_first().map(|(g, after)| (*g, after)) else {
                    return bad();
                };
                if *d != part.dtype || *rank != part.rank || after.len() < *rank || !indices(&after[..*rank], *rank) {
                    return bad();
                }
                ring_part(part)?;
                rest = &after[*rank..];
            }
            if !rest.is_empty() {
                return bad();
            }
            vec![]
        }
        (OpKind::RingWait(parts), []) if !parts.is_empty() => {
            parts.iter().try_for_each(ring_part)?;
            parts.iter().map(|p| Type::Smem(p.dtype, p.shape.clone())).collect()
        }
        (OpKind::RingRelease, parts) if !parts.is_empty() && parts.iter().all(|t| matches!(t, Type::Smem(..))) => {
            vec![]
        }
        _ => return bad(),
    })
}

/// Most elements of a tile; far above what any machine holds.
const MAX_ELEMENTS: usize = 1 << 24;

fn small(shape: &[usize]) -> bool {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).is_some_and(|n| n <= MAX_ELEMENTS)
}

/// Whether elementwise ops take it.
fn elementwise(t: &Type) -> bool {
    matches!(t, Type::Scalar(_) | Type::Tile(..))
}

/// Whether it is a value as kernels show them.
fn said(t: &Type) -> bool {
    elementwise(t) && matches!(t.dtype(), Some(DType::F32 | DType::I32 | DType::Bool))
}

/// Whether its elements are of a class.
fn on(class: Class, t: &Type) -> bool {
    t.dtype().is_some_and(|d| class.holds(d))
}

/// Whether loops and conditions hand it on.
fn local(t: &Type) -> bool {
    matches!(t, Type::Scalar(_) | Type::Tile(..) | Type::Smem(..))
}

/// The shape of as many index tiles as the array has axes.
fn index_tiles<'t>(at: &[&'t Type], rank: usize) -> Option<&'t [usize]> {
    let Type::Tile(DType::I32, s) = at.first()? else { return None };
    (at.len() == rank && at.iter().all(|t| *t == at[0])).then_some(s)
}

/// Whether these are as many indices as the array has axes.
fn indices(at: &[&Type], rank: usize) -> bool {
    at.len() == rank && at.iter().all(|t| **t == I32)
}

fn inside_rank(shape: &[usize], rank: usize) -> Result<(), String> {
    if shape.len() <= rank { Ok(()) } else { Err(format!("of {} axes on an array of {rank}", shape.len())) }
}

fn ring_part(part: &RingPart) -> Result<(), String> {
    let fits = part.shape.len() == 2
        && part.shape.iter().all(|n| *n > 0)
        && small(&part.shape)
        && part.bytes().is_multiple_of(16);
    if fits && part.rank >= 2 && part.offset.is_multiple_of(16) {
        return Ok(());
    }
    Err(format!(
        "has a part of shape {:?} {} of an array of {} axes at byte {}",
        part.shape, part.dtype, part.rank, part.offset
    ))
}

/// Element type and extents of an operand of a product.
fn factor(t: &Type) -> Option<(DType, [usize; 2])> {
    match t {
        Type::Tile(d, s) | Type::Smem(d, s) if s.len() == 2 => Some((*d, [s[0], s[1]])),
        _ => None,
    }
}

fn scaled_product(acc: &Type, a: &Type, b: &Type, scales: &[&Type]) -> Option<Type> {
    let [of_a, of_b] = scales else { return None };
    let ((da, [m, k]), (db, [depth, n])) = (factor(a)?, factor(b)?);
    let ((ds, shape_a), (same, shape_b)) = (factor(of_a)?, factor(of_b)?);
    let kind = scaled_product_of(da, db, ds)?;
    let scaled = ds == same && shape_a == [m, k / kind.block] && shape_b == [k / kind.block, n];
    let fits = k == depth && m.is_multiple_of(16) && n.is_multiple_of(8) && k.is_multiple_of(kind.depth) && scaled;
    (fits && *acc == Type::Tile(DType::F32, vec![m, n])).then(|| acc.clone())
}

fn product(acc: &Type, a: &Type, b: &Type) -> Option<Type> {
    let ((da, [m, k]), (db, [depth, n])) = (factor(a)?, factor(b)?);
    let kind = product_of(da, db)?;
    let fits = k == depth && m.is_multiple_of(16) && n.is_multiple_of(8) && k.is_multiple_of(kind.depth);
    (fits && *acc == Type::Tile(kind.sum, vec![m, n])).then(|| acc.clone())
}
