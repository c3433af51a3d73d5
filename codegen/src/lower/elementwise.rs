//! Elementwise ops, on scalars and on the registers of tiles.

use super::body::{Body, Held, register_type};
use super::emit::Ssa;
use super::recipe;
use crate::CodegenError;
use crate::layout::Layout;
use tile_lang::dtype::DType;
use tile_lang::ir::{BinaryOp, CmpOp, Code, OpData, OpKind, ValueId};

impl Body<'_> {
    /// A scalar op, or a tile op whose result has a layout of its own.
    pub fn elementwise(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let result = op.results[0];
        if self.is_scalar(result) {
            let args = op.operands.iter().map(|v| self.scalar(*v)).collect::<Result<Vec<_>, _>>()?;
            let from = self.dtype(op.operands[op.operands.len() - 1]);
            let v = match op.kind {
                OpKind::Cast => self.cast_elements(&args, from, self.dtype(result))?.remove(0),
                _ => self.compute_one(&op.kind, &args, from)?,
            };
            self.scalars.insert(result, v);
            return Ok(());
        }
        match self.layouts.native.get(&result).cloned() {
            // Made at its product.
            Some(_) if self.layouts.in_parts.contains(&result) => Ok(()),
            Some(layout) => {
                let held = self.compute(op, &layout)?;
                self.define(result, Held::Elements(held))
            }
            None => Ok(()),
        }
    }

    /// The registers of an elementwise op in a layout.
    pub fn compute(&mut self, op: &OpData, layout: &Layout) -> Result<Vec<Ssa>, CodegenError> {
        if matches!(op.kind, OpKind::Cast) {
            let (x, to) = (op.operands[0], self.dtype(op.results[0]));
            return match self.held(x, layout)? {
                Held::Elements(e) => self.cast_elements(&e, self.dtype(x), to),
                Held::Nibbles(n) => self.cast_nibbles(&n, to),
            };
        }
        if let (OpKind::Cmp(cmp), [a, b]) = (&op.kind, &op.operands[..]) {
            for (index, other, mirrored) in [(*a, *b, false), (*b, *a, true)] {
                if let Some(axis) = self.index_axis(index) {
                    return self.index_compared(*cmp, axis, other, layout, mirrored);
                }
            }
        }
        // A factor of a partial sum is the same for all summands; the sum's other operand is not.
        let mut columns = Vec::new();
        for v in &op.operands {
            let is_partial = self.layouts.native.get(v).is_some_and(Layout::is_partial);
            let want = if layout.is_partial() && !is_partial { layout.whole() } else { layout.clone() };
            columns.push(self.elements(*v, &want)?);
        }
        let from = self.dtype(op.operands[op.operands.len() - 1]);
        let count = layout.registers();
        if matches!(from, DType::Bf16 | DType::F16)
            && count.is_multiple_of(2)
            && let OpKind::Binary(b @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul)) = op.kind
        {
            return Ok(self.packed(b, &columns[0], &columns[1], from));
        }
        (0..count)
            .map(|r| {
                let args: Vec<Ssa> = columns.iter().map(|c| c[r].clone()).collect();
                self.compute_one(&op.kind, &args, from)
            })
            .collect()
    }

    /// The axis of a tile of indices that is made where it is wanted.
    fn index_axis(&self, v: ValueId) -> Option<usize> {
        let made = self.definitions[v.index()].filter(|_| !self.layouts.native.contains_key(&v));
        match made.map(|id| &self.k.op(id).kind) {
            Some(OpKind::Iota(axis)) => Some(*axis),
            _ => None,
        }
    }

    /// Indices compared with a tile. An index is the thread's own plus a constant of the register: the thread's is taken off the other side, of
    /// which many registers are often alike, so that constants are compared. The difference saturates, and with it the comparison holds
    /// for all numbers: indices are not negative.
    fn index_compared(
        &mut self,
        cmp: CmpOp,
        axis: usize,
        other: ValueId,
        layout: &Layout,
        mirrored: bool,
    ) -> Result<Vec<Ssa>, CodegenError> {
        let others = self.elements(other, layout)?;
        let own = self.coordinates(layout)[axis].clone();
        let mut out = Vec::with_capacity(others.len());
        for (r, other) in others.iter().enumerate() {
            let index = self.e.i32(layout.register_offset(r)[axis] as i64);
            let rest = self.e.pure_asm("sub.sat.s32 $0, $1, $2;", "=r,r,r", &[(other, "i32"), (&own, "i32")], "i32");
            let (a, b) = if mirrored { (&rest, &index) } else { (&index, &rest) };
            out.push(self.compare(cmp, a, b, DType::I32));
        }
        Ok(out)
    }

    /// 16-bit arithmetic two elements at a time: one `bf16x2` or `f16x2` instruction each.
    fn packed(&mut self, op: BinaryOp, a: &[Ssa], b: &[Ssa], d: DType) -> Vec<Ssa> {
        let name = match op {
            BinaryOp::Add => "fadd",
            BinaryOp::Sub => "fsub",
            _ => "fmul",
        };
        let element = register_type(d);
        let ty = format!("vector<2x{element}>");
        let mut out = Vec::with_capacity(a.len());
        for (x, y) in a.chunks(2).zip(b.chunks(2)) {
            let (x, y) = (self.e.vector(x, element), self.e.vector(y, element));
            let z = self.e.bin(name, &x, &y, &ty);
            out.push(self.e.extract(&z, 0, &ty));
            out.push(self.e.extract(&z, 1, &ty));
        }
        out
    }

    fn compute_one(&mut self, kind: &OpKind, args: &[Ssa], d: DType) -> Result<Ssa, CodegenError> {
        match kind {
            OpKind::Unary(op) => self.recipe(op.name(), op.code(), args, d),
            OpKind::Binary(op) => self.recipe(op.name(), op.code(), args, d),
            OpKind::Ternary(op) => self.recipe(op.name(), op.code(), args, d),
            OpKind::Cmp(op) => Ok(self.compare(*op, &args[0], &args[1], d)),
            _ => Ok(self.e.select(&args[0], &args[1], &args[2], register_type(d))),
        }
    }

    /// The instructions of an op on elements of type `d`. 16-bit types without instructions of their own are widened, and
    /// the result is rounded once.
    pub fn recipe(&mut self, name: &str, code: Code, args: &[Ssa], d: DType) -> Result<Ssa, CodegenError> {
        let text = match d {
            DType::I32 => code.i32,
            DType::Bool => code.bool,
            DType::Bf16 | DType::F16 if code.half.is_none() => {
                let wide = self.cast_elements(args, d, DType::F32)?;
                let y = self.recipe(name, code, &wide, DType::F32)?;
                return Ok(self.cast_elements(&[y], DType::F32, d)?.remove(0));
            }
            DType::Bf16 | DType::F16 => code.half,
            _ => code.f32,
        };
        let Some(text) = text else { return self.broken(format!("`{name}` has no code for {d}")) };
        match recipe::emit(self.e, text, args, register_type(d)) {
            Ok(v) => Ok(v),
            Err(message) => self.broken(format!("the code of `{name}`: {message}")),
        }
    }

    pub fn compare(&mut self, op: CmpOp, a: &Ssa, b: &Ssa, d: DType) -> Ssa {
        let (real, int) = op.predicates();
        if d.is_float() {
            let ty = register_type(d);
            return self.e.op(&format!("llvm.fcmp \"{real}\" {a}, {b} : {ty}"));
        }
        let (a, b) = (self.widened(a, d), self.widened(b, d));
        self.e.icmp(int, &a, &b, "i32")
    }

    /// An integer or truth value as i32.
    pub fn widened(&mut self, x: &Ssa, d: DType) -> Ssa {
        let (op, from) = match d {
            DType::I8 => ("sext", "i8"),
            DType::U8 => ("zext", "i8"),
            DType::Bool => ("zext", "i1"),
            _ => return x.clone(),
        };
        self.e.op(&format!("llvm.{op} {x} : {from} to i32"))
    }
}
