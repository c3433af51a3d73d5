//! Typed constructors: each checks operands, infers the result's type and reports at the user's span.

use super::{Arg, Cx, Space, TypeSpec, Val};
use crate::dtype::DType;
use crate::ir::{Access, BinaryOp, Class, CmpOp, OpKind, ReduceOp, TernaryOp, Type, UnaryOp, product_of};
use crate::span::Span;

/// The fix where a number, an array or a tile of another rank stands in a tile's place.
pub(super) const NO_TILE: &str = "load or stage a tile first, or make one of a number with `Tile::full`";

impl Cx {
    /// Elementwise op of one operand.
    pub fn unary(&mut self, span: Span, op: UnaryOp, x: impl Into<Arg>) -> Val {
        let x = self.lift(span, x);
        let x = self.registers(span, x);
        let ty = self.ty(x).clone();
        let Some(d) = ty.dtype() else { return self.poison() };
        let Some(to) = op.result(d) else { return self.undefined(span, op.name(), op.class(), d) };
        let result = ty.with_dtype(to);
        self.emit(span, OpKind::Unary(op), &[x], result)
    }

    /// Elementwise op of two operands; a scalar beside a tile is spread over it.
    pub fn binary(&mut self, span: Span, op: BinaryOp, a: impl Into<Arg>, b: impl Into<Arg>) -> Val {
        let Some((a, b)) = self.pair(span, op.name(), a.into(), b.into()) else { return self.poison() };
        let ty = self.ty(a).clone();
        let d = ty.dtype().unwrap_or(DType::F32);
        if !op.class().holds(d) {
            return self.undefined(span, op.name(), op.class(), d);
        }
        self.emit(span, OpKind::Binary(op), &[a, b], ty)
    }

    /// Elementwise op of three operands; scalars beside a tile are spread over it.
    pub fn ternary(&mut self, span: Span, op: TernaryOp, a: Val, b: impl Into<Arg>, c: impl Into<Arg>) -> Val {
        let Some((a, b)) = self.pair(span, op.name(), a.into(), b.into()) else { return self.poison() };
        let Some((a, c)) = self.pair(span, op.name(), a.into(), c.into()) else { return self.poison() };
        let ty = self.ty(a).clone();
        // Where the last operand is the only tile, the first was spread beside it, and not yet the second.
        let b = if ty.shape().is_empty() { b } else { self.spread(span, b, ty.shape()) };
        let d = ty.dtype().unwrap_or(DType::F32);
        if !op.class().holds(d) {
            return self.undefined(span, op.name(), op.class(), d);
        }
        self.emit(span, OpKind::Ternary(op), &[a, b, c], ty)
    }

    /// Comparison; a scalar beside a tile is spread over it.
    pub fn compare(&mut self, span: Span, op: CmpOp, a: impl Into<Arg>, b: impl Into<Arg>) -> Val {
        let Some((a, b)) = self.pair(span, op.name(), a.into(), b.into()) else { return self.poison() };
        let d = self.ty(a).dtype().unwrap_or(DType::F32);
        if !Class::Elem.holds(d) {
            return self.undefined(span, op.name(), Class::Elem, d);
        }
        let ty = self.ty(a).with_dtype(DType::Bool);
        self.emit(span, OpKind::Cmp(op), &[a, b], ty)
    }

    /// The op is not defined on these elements.
    pub(super) fn undefined(&mut self, span: Span, name: &str, class: Class, d: DType) -> Val {
        let message = format!("`{name}` is not defined on {d}, only on {}", class.list());
        self.error(span, "E04", message, &[class.fix().into()])
    }

    /// `condition ? a : b`, element by element where the condition is a tile.
    pub fn select(&mut self, span: Span, condition: impl Into<Arg>, a: impl Into<Arg>, b: impl Into<Arg>) -> Val {
        let c = self.lift(span, condition);
        let Some((mut a, mut b)) = self.pair(span, "select", a.into(), b.into()) else { return self.poison() };
        let mut c = c;
        let shape = [self.ty(c), self.ty(a)].iter().find(|t| !t.shape().is_empty()).map(|t| t.shape().to_vec());
        if let Some(shape) = shape {
            c = self.spread(span, c, &shape);
            a = self.spread(span, a, &shape);
            b = self.spread(span, b, &shape);
        }
        let (ct, at) = (self.ty(c).clone(), self.ty(a).clone());
        if ct == Type::Error || at == Type::Error {
            return self.poison();
        }
        if ct != at.with_dtype(DType::Bool) {
            return self.error(
                span,
                "E03",
                format!("condition is {ct}, values are {at}"),
                &["compare tiles of the values' shape".into()],
            );
        }
        self.emit(span, OpKind::Select, &[c, a, b], at)
    }

    /// Brings two operands to one type: spreads scalars, reads shared memory, turns host numbers into constants.
    fn pair(&mut self, span: Span, what: &str, a: Arg, b: Arg) -> Option<(Val, Val)> {
        let dtype_of = |cx: &Cx, x: &Arg| match x {
            Arg::Val(v) => cx.ty(*v).dtype(),
            _ => None,
        };
        let like = dtype_of(self, &a).or(dtype_of(self, &b)).unwrap_or(DType::I32);
        let (a, b) = (self.lift_like(span, a, like), self.lift_like(span, b, like));
        let (mut a, mut b) = (self.registers(span, a), self.registers(span, b));
        let (sa, sb) = (self.ty(a).shape().to_vec(), self.ty(b).shape().to_vec());
        if sa.is_empty() && !sb.is_empty() {
            a = self.spread(span, a, &sb);
        } else if sb.is_empty() && !sa.is_empty() {
            b = self.spread(span, b, &sa);
        }
        let (ta, tb) = (self.ty(a).clone(), self.ty(b).clone());
        if ta == Type::Error || tb == Type::Error {
            return None;
        }
        if ta != tb {
            let fix =
                if ta.dtype() != tb.dtype() { "cast one of them" } else { "use `.cols()` or `.rows()` to broadcast" };
            self.error(span, "E03", format!("`{what}` of {ta} and {tb}"), &[fix.into()]);
            return None;
        }
        Some((a, b))
    }

    /// A tile of one value.
    pub fn spread(&mut self, span: Span, x: Val, shape: &[usize]) -> Val {
        match self.ty(x).clone() {
            Type::Scalar(d) => {
                if !self.check_tile(span, shape) {
                    return self.poison();
                }
                self.emit(span, OpKind::Splat, &[x], Type::Tile(d, shape.to_vec()))
            }
            _ => x,
        }
    }

    /// The register copy of a tile in shared memory; anything else as it is.
    pub fn registers(&mut self, span: Span, x: Val) -> Val {
        match self.ty(x).clone() {
            Type::Smem(d, s) => {
                if !self.check_tile(span, &s) {
                    return self.poison();
                }
                self.emit(span, OpKind::Read, &[x], Type::Tile(d, s))
            }
            _ => x,
        }
    }

    /// Whether a register tile may have this shape.
    pub(super) fn check_tile(&mut self, span: Span, shape: &[usize]) -> bool {
        let fits = (1..=2).contains(&shape.len()) && shape.iter().all(|n| n.is_power_of_two());
        if !fits {
            let message = format!("a register tile of shape {shape:?}: extents must be powers of two, one or two axes");
            self.error(span, "E05", message, &["stage it in shared memory and take slices, or pad and mask".into()]);
        }
        fits
    }

    /// Conversion of element type.
    pub fn cast(&mut self, span: Span, x: impl Into<Arg>, to: DType) -> Val {
        let x = self.lift(span, x);
        let x = self.registers(span, x);
        let ty = self.ty(x).clone();
        match ty.dtype() {
            None => self.poison(),
            Some(d) if d == to => x,
            Some(_) => self.emit(span, OpKind::Cast, &[x], ty.with_dtype(to)),
        }
    }

    /// The index along `axis` of a tile of this shape.
    pub fn iota(&mut self, span: Span, shape: &[usize], axis: usize) -> Val {
        if !self.check_tile(span, shape) {
            return self.poison();
        }
        self.emit(span, OpKind::Iota(axis), &[], Type::Tile(DType::I32, shape.to_vec()))
    }

    /// Repeats a rank-1 tile along a new axis.
    pub fn broadcast(&mut self, span: Span, x: Val, axis: usize, extent: usize) -> Val {
        let x = self.registers(span, x);
        match self.ty(x).clone() {
            Type::Error => self.poison(),
            Type::Tile(d, s) if s.len() == 1 => {
                let mut shape = s;
                shape.insert(axis, extent);
                if !self.check_tile(span, &shape) {
                    return self.poison();
                }
                self.emit(span, OpKind::Broadcast(axis), &[x], Type::Tile(d, shape))
            }
            other => {
                let fix = "reduce one axis first, or leave the broadcast out".to_owned();
                self.error(span, "E03", format!("only a tile with one axis can be broadcast, this is {other}"), &[fix])
            }
        }
    }

    /// Repeats each element along the last axis so that it has `extent` elements.
    pub fn repeat(&mut self, span: Span, x: Val, extent: usize) -> Val {
        let x = self.registers(span, x);
        match self.ty(x).clone() {
            Type::Error => self.poison(),
            Type::Tile(d, mut s) => {
                let last = s.len() - 1;
                if s[last] == 0 || !extent.is_multiple_of(s[last]) || !extent.is_power_of_two() {
                    let message = format!("{} elements can't be repeated to {extent}", s[last]);
                    return self.error(span, "E06", message, &["the extent must be a power-of-two multiple".into()]);
                }
                let times = extent / s[last];
                s[last] = extent;
                self.emit(span, OpKind::Repeat(times), &[x], Type::Tile(d, s))
            }
            other => self.error(span, "E03", format!("`repeat` needs a tile, got {other}"), &[NO_TILE.into()]),
        }
    }

    /// Swaps the two axes; on shared memory it is a view.
    pub fn transpose(&mut self, span: Span, x: Val) -> Val {
        match self.ty(x).clone() {
            Type::Error => self.poison(),
            Type::Tile(d, s) if s.len() == 2 => {
                self.emit(span, OpKind::Transpose, &[x], Type::Tile(d, vec![s[1], s[0]]))
            }
            Type::Smem(d, s) if s.len() == 2 => {
                self.emit(span, OpKind::Transpose, &[x], Type::Smem(d, vec![s[1], s[0]]))
            }
            other => self.error(span, "E03", format!("`t` needs a tile with two axes, got {other}"), &[NO_TILE.into()]),
        }
    }

    /// A part of a tile; in shared memory it is a view.
    pub fn slice(&mut self, span: Span, x: Val, offsets: &[usize], shape: &[usize]) -> Val {
        match self.ty(x).clone() {
            Type::Error => self.poison(),
            ty @ (Type::Smem(..) | Type::Tile(..)) => {
                let s = ty.shape().to_vec();
                let inside = offsets.len() == s.len()
                    && shape.len() == s.len()
                    && s.iter().zip(offsets).zip(shape).all(|((n, o), w)| o + w <= *n);
                if !inside {
                    let message = format!("slice of shape {shape:?} at {offsets:?} of {s:?}");
                    return self.error(span, "E13", message, &["offset plus extent must stay inside".into()]);
                }
                let d = ty.dtype().unwrap_or(DType::F32);
                let part = match ty {
                    Type::Tile(..) if !self.check_tile(span, shape) => return self.poison(),
                    Type::Tile(..) => Type::Tile(d, shape.to_vec()),
                    _ => Type::Smem(d, shape.to_vec()),
                };
                self.emit(span, OpKind::Slice(offsets.to_vec()), &[x], part)
            }
            other => self.error(span, "E03", format!("`slice` needs a tile, got {other}"), &[NO_TILE.into()]),
        }
    }

    /// Reduces one axis; a rank-1 tile gives a scalar.
    pub fn reduce(&mut self, span: Span, op: ReduceOp, x: Val, axis: usize) -> Val {
        let x = self.registers(span, x);
        match self.ty(x).clone() {
            Type::Error => self.poison(),
            Type::Tile(d, s) if axis < s.len() => {
                let Some(d) = op.result(d) else { return self.undefined(span, op.name(), op.class(), d) };
                let mut rest = s;
                rest.remove(axis);
                let ty = if rest.is_empty() { Type::Scalar(d) } else { Type::Tile(d, rest) };
                self.emit(span, OpKind::Reduce(op, axis), &[x], ty)
            }
            other => {
                let message = format!("`{}` along axis {axis} needs a tile with that axis, got {other}", op.name());
                self.error(span, "E03", message, &["reduce a tile with one axis by `all_…`".into()])
            }
        }
    }

    /// a·b, or a·b + accumulator.
    pub fn mma(&mut self, span: Span, acc: Option<Val>, a: Val, b: Val) -> Val {
        let f32 = |cx: &Cx, x: Val| cx.ty(x).dtype() == Some(DType::F32);
        if f32(self, a) && f32(self, b) {
            let message = "a product of f32 rounds its operands to tf32, which `mma` does not say".to_owned();
            let fix = "write `mma_tf32`, or `.cast::<bf16>()` for a faster one";
            return self.error(span, "E04", message, &[fix.into()]);
        }
        self.product(span, acc, a, b)
    }

    /// A product whose f32 operands are rounded to tf32, which its name says.
    pub fn mma_tf32(&mut self, span: Span, acc: Option<Val>, a: Val, b: Val) -> Val {
        for x in [a, b] {
            if self.ty(x).dtype().is_some_and(|d| d != DType::F32) {
                let message = format!("`mma_tf32` takes two tiles of f32, this is {}", self.ty(x));
                return self.error(span, "E04", message, &["write `mma` for narrower types".into()]);
            }
        }
        self.product(span, acc, a, b)
    }

    /// A product that is known to be meant.
    fn product(&mut self, span: Span, acc: Option<Val>, a: Val, b: Val) -> Val {
        let (ta, tb) = (self.ty(a).clone(), self.ty(b).clone());
        if ta == Type::Error || tb == Type::Error {
            return self.poison();
        }
        let (sa, sb) = (ta.shape(), tb.shape());
        if sa.len() != 2 || sb.len() != 2 || sa[1] != sb[0] {
            let message = format!("product of {ta} and {tb}: the first's columns must be the second's rows");
            return self.error(span, "E03", message, &["call `.t()` to transpose".into()]);
        }
        let (Some(da), Some(db)) = (ta.dtype(), tb.dtype()) else { return self.poison() };
        let Some(kind) = product_of(da, db) else {
            let message = format!(
                "a product takes two bf16, two f16, two 8-bit floats or two 8-bit integers, here {ta} and {tb}"
            );
            return self.error(span, "E04", message, &["write `.cast::<bf16>()`".into()]);
        };
        let (m, n, k) = (sa[0], sb[1], sa[1]);
        if m % 16 != 0 || n % 8 != 0 || k % kind.depth != 0 {
            let depth = kind.depth;
            let message = format!(
                "product of {m}×{k} and {k}×{n} {da}: rows must be a multiple of 16, columns of 8, depth of {depth}"
            );
            return self.error(span, "E03", message, &["pad the tile".into()]);
        }
        let ty = Type::Tile(kind.sum, vec![m, n]);
        let acc = match acc {
            Some(v) => v,
            None => {
                let zero = self.lift_like(span, Arg::Int(0), kind.sum);
                self.spread(span, zero, &[m, n])
            }
        };
        let have = self.ty(acc).clone();
        if have != ty && have != Type::Error {
            return self.error(
                span,
                "E03",
                format!("the accumulator is {have}, the product {ty}"),
                &[format!("declare the accumulator as {ty}")],
            );
        }
        self.emit(span, OpKind::Mma, &[acc, a, b], ty)
    }

    /// Element offsets of a box: `index` counts tiles (times the shape's extents, the shape being the last axes) or
    /// elements.
    pub(super) fn offsets(&mut self, span: Span, global: Val, index: Arg, tiles: Option<&[usize]>) -> Option<Vec<Val>> {
        let Type::Global(_, rank, _) = *self.ty(global) else {
            if !self.is_poison(global) {
                let message = format!("a global array is needed here, this is {}", self.ty(global));
                self.error(span, "E03", message, &["name a parameter that is an array".into()]);
            }
            return None;
        };
        let list = match index {
            Arg::List(l) => l,
            one => vec![one],
        };
        if list.len() != rank {
            let message = format!("{} indices for an array with {rank} axes", list.len());
            self.error(span, "E03", message, &[format!("write {rank} indices, one for each axis")]);
            return None;
        }
        let mut out = Vec::with_capacity(rank);
        for (axis, arg) in list.into_iter().enumerate() {
            let extent = match tiles {
                Some(shape) if axis + shape.len() >= rank => shape[axis + shape.len() - rank],
                _ => 1,
            };
            let v = match arg {
                Arg::Int(i) => self.lift(span, i * extent as i64),
                other => {
                    let v = self.lift(span, other);
                    if extent == 1 { v } else { self.binary(span, BinaryOp::Mul, v, extent) }
                }
            };
            if self.is_poison(v) {
                return None;
            }
            if *self.ty(v) != Type::Scalar(DType::I32) {
                self.error(span, "E03", format!("index {axis} is {}, not i32", self.ty(v)), &["write `as i32`".into()]);
                return None;
            }
            out.push(v);
        }
        Some(out)
    }

    /// Load of a register tile or, asynchronously, of a tile in shared memory.
    pub(super) fn load(&mut self, span: Span, global: Val, spec: &TypeSpec, index: Arg, by_tile: Index) -> Val {
        let shape = spec.shape.clone();
        let Some(offsets) = self.offsets(span, global, index, (by_tile == Index::Tile).then_some(&shape[..])) else {
            return self.poison();
        };
        let Type::Global(d, rank, access) = *self.ty(global) else { return self.poison() };
        if spec.dtype.is_some_and(|want| want != d) {
            let message = format!("the array holds {d}, the tile {}", spec.dtype.unwrap_or(d));
            return self.error(span, "E04", message, &["load as it is, then `.cast()`".into()]);
        }
        if shape.len() > rank {
            let message = format!("a tile with {} axes from an array with {rank}", shape.len());
            return self.error(span, "E03", message, &[format!("ask for a tile with at most {rank} axes")]);
        }
        let mut operands = vec![global];
        operands.extend(offsets);
        match spec.space {
            Space::Smem => {
                let bytes = d.bytes(shape.iter().product());
                if shape.len() != 2 || bytes % 16 != 0 {
                    let message = format!(
                        "a staged tile of {shape:?} {d} has {bytes} bytes: two axes and a multiple of 16 bytes are needed"
                    );
                    return self.error(
                        span,
                        "E10",
                        message,
                        &["stage more rows or columns at once, or `load` the tile".into()],
                    );
                }
                if access == Access::Weight && by_tile == Index::Element {
                    return self.error(
                        span,
                        "E12",
                        "a weight is staged by tile index",
                        &["use `stage`, not `stage_at`".into()],
                    );
                }
                self.emit(span, OpKind::Stage, &operands, Type::Smem(d, shape))
            }
            Space::Tile => {
                if !self.check_tile(span, &shape) {
                    return self.poison();
                }
                if access == Access::Weight {
                    let fix = "stage it: `w.stage::<Smem<…>>([…])`".to_owned();
                    return self.error(
                        span,
                        "E12",
                        "a weight's storage order is the compiler's: it can't be loaded into registers directly",
                        &[fix],
                    );
                }
                self.emit(span, OpKind::Load, &operands, Type::Tile(d, shape))
            }
        }
    }

    /// Brings what a load would read into the L2 cache.
    pub(super) fn prefetch(&mut self, span: Span, global: Val, spec: &TypeSpec, index: Arg, by_tile: Index) {
        let shape = spec.shape.clone();
        let Some(offsets) = self.offsets(span, global, index, (by_tile == Index::Tile).then_some(&shape[..])) else {
            return;
        };
        let Type::Global(d, rank, access) = *self.ty(global) else { return };
        if spec.space != Space::Tile || spec.dtype.is_some_and(|want| want != d) || shape.len() > rank {
            let message = format!("a prefetch of {shape:?} from an array of {d} with {rank} axes");
            let fix =
                "write the type of the tile that is loaded later: `prefetch::<Tile<f32, 16, 64>>([…])`".to_owned();
            self.error(span, "E04", message, &[fix]);
            return;
        }
        if access == Access::Weight {
            let fix = "leave it out: staged weights are fetched ahead by the ring".to_owned();
            self.error(span, "E12", "a weight's storage order is the compiler's: no tile of it has an address", &[fix]);
            return;
        }
        if self.check_tile(span, &shape) {
            self.push(span, OpKind::Prefetch(shape), &[&[global], &offsets[..]].concat(), &[]);
        }
    }

    /// Store of a register tile, whole or masked.
    pub(super) fn store(&mut self, span: Span, global: Val, index: Arg, x: Val, mask: Option<Val>, by_tile: Index) {
        let x = self.registers(span, x);
        let Type::Tile(d, shape) = self.ty(x).clone() else {
            if !self.is_poison(x) {
                let message = format!("only a tile can be stored, this is {}", self.ty(x));
                self.error(span, "E03", message, &["write one element with `set`".into()]);
            }
            return;
        };
        let Some(offsets) = self.offsets(span, global, index, (by_tile == Index::Tile).then_some(&shape[..])) else {
            return;
        };
        let Type::Global(want, rank, access) = *self.ty(global) else { return };
        if access != Access::Write {
            self.error(span, "E14", "this array is read only", &["declare the parameter `&mut Global`".into()]);
            return;
        }
        if want != d || shape.len() > rank {
            let message = format!("a {} into an array of {want} with {rank} axes", self.ty(x));
            self.error(span, "E04", message, &["cast before the store".into()]);
            return;
        }
        let mut operands = vec![global, x];
        if let Some(m) = mask {
            let mt = self.ty(m).clone();
            if mt != Type::Tile(DType::Bool, shape) {
                if mt != Type::Error {
                    let fix = "compare tiles of the stored tile's shape".to_owned();
                    self.error(span, "E03", format!("the mask is {mt}, the tile {}", self.ty(x)), &[fix]);
                }
                return;
            }
            operands.push(m);
        }
        operands.extend(offsets);
        if operands.iter().any(|v| self.is_poison(*v)) {
            return;
        }
        self.push(span, if mask.is_some() { OpKind::StoreMasked } else { OpKind::Store }, &operands, &[]);
    }
}

/// What an index list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// Tiles.
    Tile,
    /// Elements.
    Element,
}
