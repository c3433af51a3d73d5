//! Dispatch by the names that user code writes: methods, free functions, constructors.

use super::ops::Index;
use super::{Arg, Cx, Generic, Space, TypeSpec, Val};
use crate::dtype::DType;
use crate::ir::{BinaryOp, CmpOp, OpKind, ReduceOp, TernaryOp, Type, UnaryOp};
use crate::span::Span;

impl Cx {
    /// `recv.name::<generics>(args)`. Methods that return nothing give a value that nobody can use.
    pub fn method(
        &mut self,
        span: Span,
        recv: impl Into<Arg>,
        name: &str,
        generics: &[Generic],
        args: Vec<Arg>,
    ) -> Val {
        let recv = self.lift(span, recv);
        if let Some(result) = self.handle_method(span, recv, name, &args) {
            return result;
        }
        if self.is_poison(recv) {
            return self.poison();
        }
        if matches!(self.ty(recv), Type::Global(..)) {
            return self.global_method(span, recv, name, generics, args);
        }
        if let Some(op) = UnaryOp::from_name(name) {
            return self.unary(span, op, recv);
        }
        if let (Some(op), [b]) = (BinaryOp::from_name(name), &args[..]) {
            return self.binary(span, op, recv, b.clone());
        }
        if let (Some(op), [b, c]) = (TernaryOp::from_name(name), &args[..]) {
            return self.ternary(span, op, recv, b.clone(), c.clone());
        }
        if let (Some(op), [b]) = (CmpOp::from_name(name), &args[..]) {
            return self.compare(span, op, recv, b.clone());
        }
        let axis_op = |prefix: &str| name.strip_prefix(prefix).and_then(ReduceOp::from_name);
        if let Some(op) = axis_op("row_") {
            return self.reduce(span, op, recv, 1);
        }
        if let Some(op) = axis_op("col_") {
            return self.reduce(span, op, recv, 0);
        }
        if let Some(op) = axis_op("all_") {
            return self.reduce(span, op, recv, 0);
        }
        for (prefix, axis) in [("row_cum", 1), ("col_cum", 0), ("all_cum", 0)] {
            if let Some(op) = name.strip_prefix(prefix).and_then(ReduceOp::from_name) {
                return self.scan(span, op, recv, axis);
            }
        }
        match (name, generics, &args[..]) {
            ("reshape", [Generic::Int(a), Generic::Int(0)], []) => self.reshape(span, recv, &[*a]),
            ("reshape", [Generic::Int(a), Generic::Int(b)], []) => self.reshape(span, recv, &[*a, *b]),
            ("join_rows", [Generic::Int(n)], [Arg::Val(b)]) => self.join(span, recv, *b, 0, *n),
            ("join_cols", [Generic::Int(n)], [Arg::Val(b)]) => self.join(span, recv, *b, 1, *n),
            ("clamp", [], [low, high]) => {
                let x = self.binary(span, BinaryOp::Max, recv, low.clone());
                self.binary(span, BinaryOp::Min, x, high.clone())
            }
            ("powf", [], [y]) => {
                let log = self.unary(span, UnaryOp::Log2, recv);
                let product = self.binary(span, BinaryOp::Mul, log, y.clone());
                self.unary(span, UnaryOp::Exp2, product)
            }
            ("cast", [Generic::Type(d)], []) => self.cast(span, recv, *d),
            ("read", [], []) => self.registers(span, recv),
            ("t", [], []) => self.transpose(span, recv),
            ("cols", [Generic::Int(n)], []) => self.broadcast(span, recv, 1, *n),
            ("rows", [Generic::Int(n)], []) => self.broadcast(span, recv, 0, *n),
            ("repeat", [Generic::Int(n)], []) => self.repeat(span, recv, *n),
            ("slice", [Generic::Int(a), Generic::Int(b)], [Arg::Int(r), Arg::Int(c)]) if *r >= 0 && *c >= 0 => {
                self.slice(span, recv, &[*r as usize, *c as usize], &[*a, *b])
            }
            ("mma", [], [Arg::Val(a), Arg::Val(b)]) => self.mma(span, Some(recv), *a, *b),
            ("mma_scaled", [], [Arg::Val(a), Arg::Val(a_scales), Arg::Val(b), Arg::Val(b_scales)]) => {
                self.mma_scaled(span, recv, [*a, *a_scales], [*b, *b_scales])
            }
            ("mma_tf32", [], [Arg::Val(a), Arg::Val(b)]) => self.mma_tf32(span, Some(recv), *a, *b),
            _ => {
                let message = format!("`{}` has no method `{name}` with these arguments", self.ty(recv));
                self.error(span, "E01", message, &["docs/language.md lists the methods of tiles".into()])
            }
        }
    }

    fn global_method(&mut self, span: Span, global: Val, name: &str, generics: &[Generic], mut args: Vec<Arg>) -> Val {
        let element = if name.ends_with("_at") { Index::Element } else { Index::Tile };
        match (name, generics, args.len()) {
            ("dim", [], 1) => match args.remove(0) {
                Arg::Int(axis) => {
                    let Type::Global(_, rank, _) = *self.ty(global) else { return self.poison() };
                    if axis < 0 || axis as usize >= rank {
                        let fix = format!("axes count from 0 to {}", rank - 1);
                        return self.error(span, "E03", format!("axis {axis} of an array with {rank} axes"), &[fix]);
                    }
                    self.emit(span, OpKind::Dim(axis as usize), &[global], Type::Scalar(DType::I32))
                }
                _ => self.error(span, "E03", "the axis must be known while compiling", &["write a number".into()]),
            },
            ("load" | "load_at" | "stage" | "stage_at", [Generic::Spec(spec)], 1) => {
                let want = if name.starts_with("stage") { Space::Smem } else { Space::Tile };
                if spec.space != want {
                    let fix = "`load` gives a `Tile`, `stage` a `Smem`".to_owned();
                    return self.error(span, "E01", format!("`{name}` into the wrong kind of tile"), &[fix]);
                }
                self.load(span, global, spec, args.remove(0), element)
            }
            ("prefetch" | "prefetch_at", [Generic::Spec(spec)], 1) => {
                let spec = spec.clone();
                self.prefetch(span, global, &spec, args.remove(0), element);
                self.poison()
            }
            ("store" | "store_at", [], 2) => {
                let (index, x) = (args.remove(0), args.remove(0));
                let x = self.lift(span, x);
                self.store(span, global, index, x, None, element);
                self.poison()
            }
            ("store_masked" | "store_masked_at", [], 3) => {
                let (index, x, mask) = (args.remove(0), args.remove(0), args.remove(0));
                let (x, mask) = (self.lift(span, x), self.lift(span, mask));
                self.store(span, global, index, x, Some(mask), element);
                self.poison()
            }
            ("gather", [], 1) => self.gather(span, global, args.remove(0)),
            ("scatter", [], 2) => {
                let (index, x) = (args.remove(0), args.remove(0));
                let x = self.lift(span, x);
                self.scatter(span, global, index, x);
                self.poison()
            }
            (_, [], _) if name.starts_with("atomic_") => self.atomic_method(span, global, name, args),
            ("at", [], 1) => {
                let Some(index) = self.offsets(span, global, args.remove(0), None) else { return self.poison() };
                let Type::Global(d, ..) = *self.ty(global) else { return self.poison() };
                let mut operands = vec![global];
                operands.extend(index);
                self.emit(span, OpKind::At, &operands, Type::Scalar(d))
            }
            ("set", [], 2) => {
                let (index, x) = (args.remove(0), args.remove(0));
                let Type::Global(d, _, access) = *self.ty(global) else { return self.poison() };
                let x = self.lift_like(span, x, d);
                if access != crate::ir::Access::Write {
                    return self.error(
                        span,
                        "E14",
                        "this array is read only",
                        &["declare the parameter `&mut Global`".into()],
                    );
                }
                if *self.ty(x) != Type::Scalar(d) {
                    let message = format!("an element of type {d} is needed, this is {}", self.ty(x));
                    return self.error(span, "E04", message, &["cast it".into()]);
                }
                let Some(index) = self.offsets(span, global, index, None) else { return self.poison() };
                let mut operands = vec![global, x];
                operands.extend(index);
                self.push(span, OpKind::Set, &operands, &[]);
                self.poison()
            }
            _ => {
                let message = format!("`{}` has no method `{name}` with these arguments", self.ty(global));
                self.error(span, "E01", message, &["write the tile's type: `load::<Tile<f32, 16, 64>>([…])`".into()])
            }
        }
    }

    /// `name::<generics>(args)` for the language's free functions.
    pub fn func(&mut self, span: Span, name: &str, _generics: &[Generic], mut args: Vec<Arg>) -> Val {
        match (name, args.len()) {
            ("mma", 2) => {
                let (a, b) = (args.remove(0), args.remove(0));
                let (a, b) = (self.lift(span, a), self.lift(span, b));
                self.mma(span, None, a, b)
            }
            ("mma_tf32", 2) => {
                let (a, b) = (args.remove(0), args.remove(0));
                let (a, b) = (self.lift(span, a), self.lift(span, b));
                self.mma_tf32(span, None, a, b)
            }
            ("select", 3) => {
                let (c, a, b) = (args.remove(0), args.remove(0), args.remove(0));
                self.select(span, c, a, b)
            }
            ("cdiv", 2) => {
                let (a, b) = (args.remove(0), args.remove(0));
                let b = self.lift(span, b);
                let up = self.binary(span, BinaryOp::Sub, b, 1);
                let sum = self.binary(span, BinaryOp::Add, a, up);
                self.binary(span, BinaryOp::Div, sum, b)
            }
            (_, 2) if BinaryOp::from_name(name).is_some() => {
                let (a, b) = (args.remove(0), args.remove(0));
                self.binary(span, BinaryOp::from_name(name).unwrap_or(BinaryOp::Add), a, b)
            }
            (_, 1) if UnaryOp::from_name(name).is_some() => {
                self.unary(span, UnaryOp::from_name(name).unwrap_or(UnaryOp::Neg), args.remove(0))
            }
            _ => self.error(
                span,
                "E01",
                format!("the language has no function `{name}` with {} arguments", args.len()),
                &["docs/language.md lists the functions".into()],
            ),
        }
    }

    /// `Tile::<T, …>::name(args)`.
    pub fn constructor(&mut self, span: Span, spec: &TypeSpec, name: &str, mut args: Vec<Arg>) -> Val {
        let d = spec.dtype.unwrap_or(DType::F32);
        match (name, args.len()) {
            ("zero", 0) => {
                let zero = self.lift_like(span, Arg::Int(0), d);
                let zero = if matches!(d, DType::F32 | DType::I32) { zero } else { self.cast(span, zero, d) };
                self.spread(span, zero, &spec.shape)
            }
            ("full", 1) => {
                let x = self.lift_like(span, args.remove(0), d);
                let x = self.cast(span, x, d);
                self.spread(span, x, &spec.shape)
            }
            ("row_index", 0) => self.iota(span, &spec.shape, 0),
            ("col_index", 0) => self.iota(span, &spec.shape, spec.shape.len() - 1),
            _ => self.error(
                span,
                "E01",
                format!("tiles have no constructor `{name}` with {} arguments", args.len()),
                &["there are `zero()`, `full(x)`, `row_index()` and `col_index()`".into()],
            ),
        }
    }

    /// `let [i, j] = work([m, n])`: this work item's coordinates in a grid of those extents.
    pub fn work(&mut self, span: Span, extents: Arg) -> Vec<Val> {
        let Arg::List(list) = extents else {
            return vec![self.error(span, "E01", "`work` takes a list of extents", &["write `work([m, n])`".into()])];
        };
        let extents: Vec<Val> = list.into_iter().map(|e| self.lift(span, e)).collect();
        if extents.iter().any(|v| self.is_poison(*v)) {
            return extents.iter().map(|_| self.poison()).collect();
        }
        let results = vec![Type::Scalar(DType::I32); extents.len()];
        self.push(span, OpKind::Work, &extents, &results)
    }

    /// `require!(condition)`: checked before a launch.
    pub fn require(&mut self, span: Span, condition: Val, text: &str) {
        if !self.is_poison(condition) {
            self.push(span, OpKind::Require(text.into()), &[condition], &[]);
        }
    }

    /// `x.keep(|row, col| condition, other)`: `other` where the condition on the indices fails.
    pub fn keep(&mut self, span: Span, x: Val, other: Arg, condition: impl FnOnce(&mut Cx, &[Val]) -> Val) -> Val {
        let x = self.registers(span, x);
        let shape = self.ty(x).shape().to_vec();
        if self.is_poison(x) || shape.is_empty() {
            return self.poison();
        }
        let index: Vec<Val> = (0..shape.len()).map(|axis| self.iota(span, &shape, axis)).collect();
        let c = condition(self, &index);
        let like = self.ty(x).dtype().unwrap_or(DType::F32);
        let other = self.lift_like(span, other, like);
        self.select(span, c, x, other)
    }
}
