//! Constructors of ops that move elements within tiles, and of those whose places in an array are tiles of indices.

use super::ops::NO_TILE;
use super::{Arg, Cx, Val};
use crate::dtype::DType;
use crate::ir::{Access, AtomicOp, Class, Fold, OpKind, ReduceOp, Sync, Type};
use crate::span::Span;

impl Cx {
    /// The same elements, row after row, in another shape.
    pub fn reshape(&mut self, span: Span, x: Val, shape: &[usize]) -> Val {
        let x = self.registers(span, x);
        match self.ty(x).clone() {
            Type::Error => self.poison(),
            Type::Tile(d, s) => {
                if !self.check_tile(span, shape) {
                    return self.poison();
                }
                if s.iter().product::<usize>() != shape.iter().product::<usize>() {
                    let message = format!("a tile of {s:?} has another number of elements than {shape:?}");
                    return self.error(span, "E06", message, &["the products of the extents must be equal".into()]);
                }
                self.emit(span, OpKind::Reshape, &[x], Type::Tile(d, shape.to_vec()))
            }
            other => self.error(span, "E03", format!("`reshape` needs a tile, got {other}"), &[NO_TILE.into()]),
        }
    }

    /// `b` behind `a` along an axis, which then has `extent` elements.
    pub fn join(&mut self, span: Span, a: Val, b: Val, axis: usize, extent: usize) -> Val {
        let (a, b) = (self.registers(span, a), self.registers(span, b));
        match (self.ty(a).clone(), self.ty(b).clone()) {
            (Type::Error, _) | (_, Type::Error) => self.poison(),
            (Type::Tile(d, s), Type::Tile(e, t)) if d == e && s == t && axis < s.len() => {
                let mut shape = s;
                shape[axis] *= 2;
                if shape[axis] != extent {
                    let message =
                        format!("two tiles of {t:?} have {} elements along axis {axis}, not {extent}", shape[axis]);
                    return self.error(span, "E06", message, &["write the sum of the extents".into()]);
                }
                self.emit(span, OpKind::Join(axis), &[a, b], Type::Tile(d, shape))
            }
            (a, b) => {
                let message = format!("{a} and {b} can't be joined: two tiles of one type and shape are needed");
                self.error(
                    span,
                    "E03",
                    message,
                    &["extents are powers of two, so only equal ones add up to one".into()],
                )
            }
        }
    }

    /// What a reduction gives of each element and all before it along an axis.
    pub fn scan(&mut self, span: Span, op: ReduceOp, x: Val, axis: usize) -> Val {
        let x = self.registers(span, x);
        match self.ty(x).clone() {
            Type::Error => self.poison(),
            Type::Tile(d, s) if axis < s.len() && matches!(op.fold(), Fold::Join(_)) => {
                if op.class() != Class::Word || !Class::Word.holds(d) {
                    return self.undefined(span, &format!("cum{}", op.name()), Class::Word, d);
                }
                self.emit(span, OpKind::Scan(op, axis), &[x], Type::Tile(d, s))
            }
            other => self.error(
                span,
                "E03",
                format!("a scan along axis {axis} needs a tile with it, got {other}"),
                &[NO_TILE.into()],
            ),
        }
    }

    /// The tiles of indices of an access: one for each axis, of one shape.
    fn index_tiles(&mut self, span: Span, global: Val, index: Arg) -> Option<(Vec<Val>, Vec<usize>)> {
        let Type::Global(d, rank, _) = *self.ty(global) else { return None };
        let list: Vec<Arg> = if let Arg::List(list) = index { list } else { vec![index] };
        let mut tiles: Vec<Val> = list.into_iter().map(|x| self.lift(span, x)).collect();
        if tiles.iter().any(|v| self.is_poison(*v)) {
            return None;
        }
        let shape = tiles.iter().map(|v| self.ty(*v).shape().to_vec()).find(|s| !s.is_empty()).unwrap_or_default();
        for v in &mut tiles {
            *v = self.spread(span, *v, &shape);
        }
        let want = Type::Tile(DType::I32, shape.clone());
        if tiles.len() != rank || tiles.iter().any(|v| *self.ty(*v) != want) {
            let have: Vec<String> = tiles.iter().map(|v| self.ty(*v).to_string()).collect();
            let message = format!("{rank} i32 tiles of one shape are needed as indices, got ({})", have.join(", "));
            self.error(span, "E03", message, &["one tile of indices for each axis of the array".into()]);
            return None;
        }
        if d.bits() < 8 {
            let fix = "load or store whole tiles, or widen the elements";
            self.error(span, "E04", format!("single elements of {d} have no address"), &[fix.into()]);
            return None;
        }
        Some((tiles, shape))
    }

    /// One element for each index.
    pub(super) fn gather(&mut self, span: Span, global: Val, index: Arg) -> Val {
        let Some((tiles, shape)) = self.index_tiles(span, global, index) else { return self.poison() };
        let Type::Global(d, _, access) = *self.ty(global) else { return self.poison() };
        if access == Access::Weight {
            let fix = "declare the parameter `&Global`";
            return self.error(
                span,
                "E12",
                "a weight's storage order is the compiler's: no element has an address",
                &[fix.into()],
            );
        }
        let operands = [&[global], &tiles[..]].concat();
        self.emit(span, OpKind::Gather, &operands, Type::Tile(d, shape))
    }

    /// Writes each element at its index.
    pub(super) fn scatter(&mut self, span: Span, global: Val, index: Arg, x: Val) {
        if let Some((operands, _)) = self.indexed(span, global, index, [x]) {
            self.push(span, OpKind::Scatter, &operands, &[]);
        }
    }

    /// `array.atomic_…(index, elements…)`, with `_ordered` behind the name also an order and a scope.
    pub(super) fn atomic_method(&mut self, span: Span, global: Val, name: &str, mut args: Vec<Arg>) -> Val {
        let what = name.strip_prefix("atomic_").unwrap_or(name);
        let (what, sync) = match (what.strip_suffix("_ordered"), &args[..]) {
            (Some(what), [.., Arg::Order(order), Arg::Scope(scope)]) => {
                let sync = Sync { order: *order, scope: *scope };
                args.truncate(args.len() - 2);
                (what, sync)
            }
            _ => (what, Sync::default()),
        };
        let d = self.ty(global).dtype().unwrap_or(DType::F32);
        let elements = args.split_off(1.min(args.len()));
        let elements: Vec<Val> = elements.into_iter().map(|x| self.lift_like(span, x, d)).collect();
        let index = args.pop();
        match (AtomicOp::from_name(what), what, index, &elements[..]) {
            (Some(op), _, Some(index), [x]) => {
                if !op.class().holds(d) {
                    return self.undefined(span, name, op.class(), d);
                }
                let found = self.indexed(span, global, index, [*x]);
                found.map(|(operands, ty)| self.push(span, OpKind::Atomic(op, sync), &operands, &[ty])[0])
            }
            (None, "cas", Some(index), [expected, new]) => {
                if !Class::Int.holds(d) {
                    return self.undefined(span, name, Class::Int, d);
                }
                let found = self.indexed(span, global, index, [*expected, *new]);
                found.map(|(operands, ty)| self.push(span, OpKind::AtomicCas(sync), &operands, &[ty])[0])
            }
            _ => {
                let names: Vec<String> = AtomicOp::ALL.iter().map(|op| format!("atomic_{}", op.name())).collect();
                let message = format!("arrays have no method `{name}` with these arguments");
                let fix = format!("there are {}, atomic_cas; each also as …_ordered", names.join(", "));
                return self.error(span, "E01", message, &[fix]);
            }
        }
        .unwrap_or_else(|| self.poison())
    }

    /// Array, elements and index tiles of an op that writes elements at indices, and the type of a tile of such elements.
    fn indexed<const N: usize>(
        &mut self,
        span: Span,
        global: Val,
        index: Arg,
        elements: [Val; N],
    ) -> Option<(Vec<Val>, Type)> {
        let elements = elements.map(|x| self.registers(span, x));
        let (tiles, shape) = self.index_tiles(span, global, index)?;
        let Type::Global(d, _, access) = *self.ty(global) else { return None };
        if access != Access::Write {
            self.error(span, "E14", "this array is read only", &["declare the parameter `&mut Global`".into()]);
            return None;
        }
        let ty = Type::Tile(d, shape.clone());
        let elements = elements.map(|x| self.spread(span, x, &shape));
        for x in elements {
            if *self.ty(x) != ty {
                if !self.is_poison(x) {
                    let message = format!("{} for indices of shape {shape:?} into an array of {d}", self.ty(x));
                    self.error(span, "E04", message, &["elements and indices have one shape".into()]);
                }
                return None;
            }
        }
        Some(([&[global], &elements[..], &tiles[..]].concat(), ty))
    }
}
