//! Elementwise ops, on scalars and on the registers of tiles.

use super::body::{Body, Held, register_type};
use super::emit::Ssa;
use crate::CodegenError;
use crate::layout::Layout;
use tile_lang::dtype::DType;
use tile_lang::ir::{BinaryOp, CmpOp, OpData, OpKind, UnaryOp};

/// 1 / (2π) and 2π in two parts, for the reduction of angles before the hardware's sine.
const INV_TWO_PI: f32 = 0.159_154_94;
const TWO_PI_HIGH: f32 = 6.283_185_5;
const TWO_PI_LOW: f32 = -1.748_455_5e-7;

impl Body<'_> {
    /// A scalar op, or a tile op whose result has a layout of its own.
    pub fn elementwise(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let result = op.results[0];
        if self.is_scalar(result) {
            let args = op.operands.iter().map(|v| self.scalar(*v)).collect::<Result<Vec<_>, _>>()?;
            let from = self.dtype(op.operands[op.operands.len() - 1]);
            let v = match op.kind {
                OpKind::Cast => self.cast_elements(&args, from, self.dtype(result))?.remove(0),
                _ => self.compute_one(&op.kind, &args, from),
            };
            self.scalars.insert(result, v);
            return Ok(());
        }
        match self.layouts.native.get(&result).cloned() {
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
        // A factor of a partial sum is the same for all summands; the sum's other operand is not.
        let mut columns = Vec::new();
        for v in &op.operands {
            let is_partial = self.layouts.native.get(v).is_some_and(Layout::is_partial);
            let want = if layout.is_partial() && !is_partial { layout.whole() } else { layout.clone() };
            columns.push(self.elements(*v, &want)?);
        }
        let from = self.dtype(op.operands[op.operands.len() - 1]);
        let count = layout.registers();
        if from == DType::Bf16
            && count.is_multiple_of(2)
            && let OpKind::Binary(b @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul)) = op.kind
        {
            return Ok(self.packed_bf16(b, &columns[0], &columns[1]));
        }
        Ok((0..count)
            .map(|r| {
                let args: Vec<Ssa> = columns.iter().map(|c| c[r].clone()).collect();
                self.compute_one(&op.kind, &args, from)
            })
            .collect())
    }

    /// bf16 arithmetic two elements at a time: one `bf16x2` instruction each.
    fn packed_bf16(&mut self, op: BinaryOp, a: &[Ssa], b: &[Ssa]) -> Vec<Ssa> {
        let name = match op {
            BinaryOp::Add => "fadd",
            BinaryOp::Sub => "fsub",
            _ => "fmul",
        };
        let mut out = Vec::with_capacity(a.len());
        for (x, y) in a.chunks(2).zip(b.chunks(2)) {
            let (x, y) = (self.e.vector(x, "bf16"), self.e.vector(y, "bf16"));
            let z = self.e.bin(name, &x, &y, "vector<2xbf16>");
            out.push(self.e.extract(&z, 0, "vector<2xbf16>"));
            out.push(self.e.extract(&z, 1, "vector<2xbf16>"));
        }
        out
    }

    fn compute_one(&mut self, kind: &OpKind, args: &[Ssa], d: DType) -> Ssa {
        match kind {
            OpKind::Unary(op) => self.unary(*op, &args[0], d),
            OpKind::Binary(op) => self.binary(*op, &args[0], &args[1], d),
            OpKind::Cmp(op) => self.compare(*op, &args[0], &args[1], d),
            _ => self.e.select(&args[0], &args[1], &args[2], register_type(d)),
        }
    }

    fn unary(&mut self, op: UnaryOp, x: &Ssa, d: DType) -> Ssa {
        let approx = |name: &str| format!("{name}.approx.f32 $0, $1;");
        let ty = register_type(d);
        match op {
            UnaryOp::Neg if d == DType::I32 => {
                let zero = self.e.i32(0);
                self.e.bin("sub", &zero, x, ty)
            }
            UnaryOp::Neg => self.e.op(&format!("llvm.fneg {x} : {ty}")),
            UnaryOp::Abs if d == DType::I32 => {
                let zero = self.e.i32(0);
                let (neg, less) = (self.e.bin("sub", &zero, x, ty), self.e.icmp("slt", x, &zero, ty));
                self.e.select(&less, &neg, x, ty)
            }
            UnaryOp::Abs => self.e.op(&format!("llvm.intr.fabs({x}) : ({ty}) -> {ty}")),
            UnaryOp::Exp2 => self.e.pure_asm(&approx("ex2"), "=f,f", &[(x, "f32")], "f32"),
            UnaryOp::Exp => {
                let scale = self.e.f32(std::f32::consts::LOG2_E);
                let y = self.e.bin("fmul", x, &scale, "f32");
                self.e.pure_asm(&approx("ex2"), "=f,f", &[(&y, "f32")], "f32")
            }
            UnaryOp::Log2 => self.e.pure_asm(&approx("lg2"), "=f,f", &[(x, "f32")], "f32"),
            UnaryOp::Ln => {
                let y = self.e.pure_asm(&approx("lg2"), "=f,f", &[(x, "f32")], "f32");
                let scale = self.e.f32(std::f32::consts::LN_2);
                self.e.bin("fmul", &y, &scale, "f32")
            }
            UnaryOp::Sqrt => self.e.pure_asm("sqrt.rn.f32 $0, $1;", "=f,f", &[(x, "f32")], "f32"),
            UnaryOp::Rsqrt => self.e.pure_asm(&approx("rsqrt"), "=f,f", &[(x, "f32")], "f32"),
            UnaryOp::Recip => self.e.pure_asm("rcp.rn.f32 $0, $1;", "=f,f", &[(x, "f32")], "f32"),
            UnaryOp::Sin | UnaryOp::Cos => {
                let turn = self.e.f32(INV_TWO_PI);
                let turns = self.e.bin("fmul", x, &turn, "f32");
                let whole = self.e.op(&format!("llvm.intr.rint({turns}) : (f32) -> f32"));
                let (high, low) = (self.e.f32(-TWO_PI_HIGH), self.e.f32(-TWO_PI_LOW));
                let y = self.e.op(&format!("llvm.intr.fma({whole}, {high}, {x}) : (f32, f32, f32) -> f32"));
                let y = self.e.op(&format!("llvm.intr.fma({whole}, {low}, {y}) : (f32, f32, f32) -> f32"));
                self.e.pure_asm(&approx(op.name()), "=f,f", &[(&y, "f32")], "f32")
            }
            UnaryOp::Floor => self.e.op(&format!("llvm.intr.floor({x}) : (f32) -> f32")),
            UnaryOp::Not => {
                let ones = if d == DType::Bool { self.e.bool(true) } else { self.e.i32(-1) };
                self.e.bin("xor", x, &ones, ty)
            }
            UnaryOp::ToBits => self.e.bitcast(x, "f32", "i32"),
            UnaryOp::FromBits => self.e.bitcast(x, "i32", "f32"),
        }
    }

    fn binary(&mut self, op: BinaryOp, a: &Ssa, b: &Ssa, d: DType) -> Ssa {
        let ty = register_type(d);
        let float = d.is_float();
        match op {
            BinaryOp::Add => self.e.bin(if float { "fadd" } else { "add" }, a, b, ty),
            BinaryOp::Sub => self.e.bin(if float { "fsub" } else { "sub" }, a, b, ty),
            BinaryOp::Mul => self.e.bin(if float { "fmul" } else { "mul" }, a, b, ty),
            BinaryOp::Div if d == DType::F32 => {
                self.e.pure_asm("div.rn.f32 $0, $1, $2;", "=f,f,f", &[(a, "f32"), (b, "f32")], "f32")
            }
            BinaryOp::Div if float => self.e.bin("fdiv", a, b, ty),
            BinaryOp::Div | BinaryOp::Rem => {
                // Division by zero gives 0: divide by 1 instead and drop the result.
                let (zero, one) = (self.e.i32(0), self.e.i32(1));
                let is_zero = self.e.icmp("eq", b, &zero, ty);
                let safe = self.e.select(&is_zero, &one, b, ty);
                let q = self.e.bin(if op == BinaryOp::Div { "sdiv" } else { "srem" }, a, &safe, ty);
                self.e.select(&is_zero, &zero, &q, ty)
            }
            BinaryOp::Min | BinaryOp::Max if float => {
                let name = if op == BinaryOp::Min { "minnum" } else { "maxnum" };
                self.e.op(&format!("llvm.intr.{name}({a}, {b}) : ({ty}, {ty}) -> {ty}"))
            }
            BinaryOp::Min => self.e.op(&format!("llvm.intr.smin({a}, {b}) : (i32, i32) -> i32")),
            BinaryOp::Max => self.e.op(&format!("llvm.intr.smax({a}, {b}) : (i32, i32) -> i32")),
            BinaryOp::And => self.e.bin("and", a, b, ty),
            BinaryOp::Or => self.e.bin("or", a, b, ty),
            BinaryOp::Xor => self.e.bin("xor", a, b, ty),
            BinaryOp::Shl => self.e.bin("shl", a, b, ty),
            BinaryOp::Shr => self.e.bin("ashr", a, b, ty),
            BinaryOp::ShrLogical => self.e.bin("lshr", a, b, ty),
            BinaryOp::MulHigh => {
                let wide = |e: &mut super::emit::Emitter, x: &Ssa| e.op(&format!("llvm.zext {x} : i32 to i64"));
                let (a, b) = (wide(self.e, a), wide(self.e, b));
                let product = self.e.bin("mul", &a, &b, "i64");
                let by = self.e.i64(32);
                let high = self.e.bin("lshr", &product, &by, "i64");
                self.e.op(&format!("llvm.trunc {high} : i64 to i32"))
            }
        }
    }

    pub fn compare(&mut self, op: CmpOp, a: &Ssa, b: &Ssa, d: DType) -> Ssa {
        let ty = register_type(d);
        if d.is_float() {
            let predicate = match op {
                CmpOp::Lt => "olt",
                CmpOp::Le => "ole",
                CmpOp::Gt => "ogt",
                CmpOp::Ge => "oge",
                CmpOp::Eq => "oeq",
                CmpOp::Ne => "une",
            };
            return self.e.op(&format!("llvm.fcmp \"{predicate}\" {a}, {b} : {ty}"));
        }
        let predicate = match op {
            CmpOp::Lt => "slt",
            CmpOp::Le => "sle",
            CmpOp::Gt => "sgt",
            CmpOp::Ge => "sge",
            CmpOp::Eq => "eq",
            CmpOp::Ne => "ne",
        };
        self.e.icmp(predicate, a, b, ty)
    }
}
