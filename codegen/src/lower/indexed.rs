//! Elements of global arrays at tiles of indices: gather, scatter and atomic ops.

use super::body::{ArrayArg, Body, Held, register_type};
use super::emit::Ssa;
use super::global::memory_size;
use crate::CodegenError;
use crate::layout::{Layout, moved_from};
use tile_lang::dtype::DType;
use tile_lang::ir::{AtomicOp, OpData, ValueId};

impl Body<'_> {
    /// The address of each register's element, and whether it is inside the array.
    fn places(
        &mut self,
        array: &ArrayArg,
        index: &[ValueId],
        layout: &Layout,
        d: DType,
    ) -> Result<Vec<(Ssa, Ssa)>, CodegenError> {
        let columns = index.iter().map(|v| self.elements(*v, layout)).collect::<Result<Vec<_>, _>>()?;
        let mut out = Vec::with_capacity(layout.registers());
        for r in 0..layout.registers() {
            let (mut element, mut inside) = (self.e.i64(0), self.e.bool(true));
            for (axis, column) in columns.iter().enumerate() {
                let (at, extent) = (column[r].clone(), array.dims[axis].clone());
                let fits = self.e.icmp("ult", &at, &extent, "i32");
                inside = self.e.bin("and", &inside, &fits, "i1");
                let (at, extent) = (
                    self.e.op(&format!("llvm.sext {at} : i32 to i64")),
                    self.e.op(&format!("llvm.sext {extent} : i32 to i64")),
                );
                let before = self.e.bin("mul", &element, &extent, "i64");
                element = self.e.bin("add", &before, &at, "i64");
            }
            let size = self.e.i64(memory_size(d) as i64);
            let bytes = self.e.bin("mul", &element, &size, "i64");
            out.push((self.e.offset(&array.pointer, &bytes, "i64", 1), inside));
        }
        Ok(out)
    }

    pub fn gather(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let (global, result) = (op.operands[0], op.results[0]);
        let d = self.dtype(result);
        let Some(layout) = self.layouts.native.get(&result).cloned() else {
            return self.broken("a gather without layout");
        };
        self.before_read(global);
        let array = self.array(global)?;
        let places = self.places(&array, &op.operands[1..], &layout, d)?;
        let ty = if d == DType::Bool { "i8" } else { register_type(d) };
        let zero = self.zero(d);
        let mut out = Vec::with_capacity(places.len());
        for (pointer, inside) in places {
            let pointer = self.e.select(&inside, &pointer, &array.pointer, "!llvm.ptr<1>");
            let v = self.e.load(&pointer, ty, memory_size(d), 1);
            let v = self.e.select(&inside, &v, &zero, ty);
            out.push(if d == DType::Bool { self.e.op(&format!("llvm.trunc {v} : i8 to i1")) } else { v });
        }
        self.define(result, Held::Elements(out))
    }

    /// Writes each element at its index, or joins it with what is there.
    pub fn scatter(&mut self, op: &OpData, atomic: Option<AtomicOp>) -> Result<(), CodegenError> {
        let (global, x) = (op.operands[0], op.operands[1]);
        let d = self.dtype(x);
        let layout = moved_from(self.layouts.native.get(&x).cloned(), self.k.ty(x), self.warps);
        let elements = self.elements(x, &layout)?;
        self.before_write(global);
        let array = self.array(global)?;
        let places = self.places(&array, &op.operands[2..], &layout, d)?;
        let copies = self.one_copy(&layout);
        for (v, (pointer, inside)) in elements.iter().zip(places) {
            let ok = match &copies {
                Some(first) => self.e.bin("and", &inside, first, "i1"),
                None => inside,
            };
            match atomic {
                None => self.store_vector(std::slice::from_ref(v), d, memory_size(d), &pointer, Some(&ok)),
                Some(op) => self.atomic(op, v, d, &pointer, &ok),
            }
        }
        Ok(())
    }

    /// One reduction in memory, where the condition holds. Other CTAs see it by the counters that instructions wait for.
    fn atomic(&mut self, op: AtomicOp, v: &Ssa, d: DType, pointer: &Ssa, ok: &Ssa) {
        let flag = self.e.op(&format!("llvm.zext {ok} : i1 to i32"));
        let ty = match (op, d) {
            (_, DType::F32) => "f32",
            (AtomicOp::And | AtomicOp::Or, _) => "b32",
            _ => "s32",
        };
        let constraint = if d == DType::F32 { "f" } else { "r" };
        let text =
            format!("{{ .reg .pred p; setp.ne.b32 p, $2, 0; @p red.relaxed.gpu.global.{}.{ty} [$0], $1; }}", op.name());
        let operands = [(pointer.as_str(), "!llvm.ptr<1>"), (v.as_str(), register_type(d)), (flag.as_str(), "i32")];
        self.e.asm(&text, &format!("l,{constraint},r"), &operands, None);
    }
}
