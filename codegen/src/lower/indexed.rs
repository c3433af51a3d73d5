//! Elements of global arrays at tiles of indices: gather, scatter and atomic ops.

use super::body::{ArrayArg, Body, Held, register_type};
use super::emit::Ssa;
use super::global::memory_size;
use crate::CodegenError;
use crate::layout::{Layout, moved_from};
use tile_lang::dtype::DType;
use tile_lang::ir::{AtomicOp, OpData, OpKind, Sync, ValueId};

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

    /// Writes each element at its index.
    pub fn scatter(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let (global, x) = (op.operands[0], op.operands[1]);
        let d = self.dtype(x);
        let layout = moved_from(self.layouts.native.get(&x).cloned(), self.k.ty(x), self.warps);
        let elements = self.elements(x, &layout)?;
        self.before_write(global);
        let places = self.written_places(global, &op.operands[2..], &layout, d)?;
        for (v, (pointer, ok)) in elements.iter().zip(places) {
            self.store_vector(std::slice::from_ref(v), d, memory_size(d), &pointer, Some(&ok));
        }
        Ok(())
    }

    /// As [`Self::places`], with the condition that this thread is the one that writes the element.
    fn written_places(
        &mut self,
        global: ValueId,
        index: &[ValueId],
        layout: &Layout,
        d: DType,
    ) -> Result<Vec<(Ssa, Ssa)>, CodegenError> {
        let array = self.array(global)?;
        let places = self.places(&array, index, layout, d)?;
        let Some(first) = self.one_copy(layout) else { return Ok(places) };
        Ok(places.into_iter().map(|(pointer, inside)| (pointer, self.e.bin("and", &inside, &first, "i1"))).collect())
    }

    /// Changes each element at its index in one step; the result, where it is used, is what was there.
    ///
    /// The order is that of the whole team: all its accesses before the op are done when the first thread releases, and none
    /// after it begins before the last one has acquired.
    pub fn atomic(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let (global, result) = (op.operands[0], op.results[0]);
        let (change, sync, index) = match &op.kind {
            OpKind::Atomic(op, sync) => (Some(*op), *sync, 2),
            OpKind::AtomicCas(sync) => (None, *sync, 3),
            _ => return self.broken("an atomic op of another kind"),
        };
        let d = self.dtype(result);
        let Some(layout) = self.layouts.native.get(&result).cloned() else {
            return self.broken("an atomic op without layout");
        };
        let operands =
            op.operands[1..index].iter().map(|v| self.elements(*v, &layout)).collect::<Result<Vec<_>, _>>()?;
        self.before_write(global);
        if sync.order.releases() {
            self.barrier();
        }
        let places = self.written_places(global, &op.operands[index..], &layout, d)?;
        let used = self.is_used(result);
        let mut old = Vec::with_capacity(places.len());
        for (r, (pointer, ok)) in places.into_iter().enumerate() {
            let x: Vec<Ssa> = operands.iter().map(|tile| tile[r].clone()).collect();
            old.push(match change {
                Some(op) if d == DType::F32 && !op.native_on_f32() => {
                    self.atomic_loop(op, sync, &x[0], &pointer, &ok)?
                }
                Some(op) => self.atomic_instruction(op, sync, d, &x[0], &pointer, &ok, used),
                None => self.compare_and_swap(sync, &x[0], &x[1], &pointer, &ok),
            });
        }
        self.notes.own();
        if used && self.one_copy(&layout).is_some() {
            old = self.spread_first_copy(&old, &layout, d);
        } else if sync.order.acquires() {
            self.barrier();
        }
        if used { self.define(result, Held::Elements(old)) } else { Ok(()) }
    }

    /// One instruction where the condition holds; what was there, or 0. Where that isn't used it is a `red`, which returns nothing.
    #[allow(clippy::too_many_arguments, reason = "an instruction's qualifiers and operands")]
    fn atomic_instruction(
        &mut self,
        op: AtomicOp,
        sync: Sync,
        d: DType,
        x: &Ssa,
        pointer: &Ssa,
        ok: &Ssa,
        used: bool,
    ) -> Ssa {
        let flag = self.e.op(&format!("llvm.zext {ok} : i1 to i32"));
        let (name, ty) = match (op, d) {
            (AtomicOp::Exchange, _) => ("exch", "b32"),
            (_, DType::F32) => (op.name(), "f32"),
            (AtomicOp::And | AtomicOp::Or | AtomicOp::Xor, _) => (op.name(), "b32"),
            _ => (op.name(), "s32"),
        };
        let how = format!("{}.{}.global.{name}.{ty}", sync.order.name(), sync.scope.ptx());
        let (of, reg) = (register_type(d), if d == DType::F32 { "f" } else { "r" });
        if !used && op != AtomicOp::Exchange && !sync.order.acquires() {
            let text = format!("{{ .reg .pred p; setp.ne.b32 p, $2, 0; @p red.{how} [$0], $1; }}");
            let operands = [(pointer.as_str(), "!llvm.ptr<1>"), (x.as_str(), of), (flag.as_str(), "i32")];
            return self.e.asm(&text, &format!("l,{reg},r"), &operands, None);
        }
        let text = format!("{{ .reg .pred p; setp.ne.b32 p, $3, 0; mov.b32 $0, 0; @p atom.{how} $0, [$1], $2; }}");
        let operands = [(pointer.as_str(), "!llvm.ptr<1>"), (x.as_str(), of), (flag.as_str(), "i32")];
        self.e.asm(&text, &format!("=&{reg},l,{reg},r"), &operands, Some(of))
    }

    /// `atom.cas` on 32 bits where the condition holds; what was there, or 0.
    fn compare_and_swap(&mut self, sync: Sync, expected: &Ssa, new: &Ssa, pointer: &Ssa, ok: &Ssa) -> Ssa {
        let flag = self.e.op(&format!("llvm.zext {ok} : i1 to i32"));
        let text = format!(
            "{{ .reg .pred p; setp.ne.b32 p, $4, 0; mov.b32 $0, 0; @p atom.{}.{}.global.cas.b32 $0, [$1], $2, $3; }}",
            sync.order.name(),
            sync.scope.ptx()
        );
        let operands = [
            (pointer.as_str(), "!llvm.ptr<1>"),
            (expected.as_str(), "i32"),
            (new.as_str(), "i32"),
            (flag.as_str(), "i32"),
        ];
        self.e.asm(&text, "=&r,l,r,r,r", &operands, Some("i32"))
    }

    /// An op on f32 that the machine doesn't have: computes the new element and puts it there, until nobody else was faster; what was there, or 0
    /// where the condition doesn't hold. One piece of assembly with its own labels: were the loop blocks of ours, LLVM might take what follows,
    /// barriers included, into several of its ways out, and a warp whose lanes part there hangs.
    fn atomic_loop(&mut self, op: AtomicOp, sync: Sync, x: &Ssa, pointer: &Ssa, ok: &Ssa) -> Result<Ssa, CodegenError> {
        let join = match op {
            AtomicOp::Max => "max.f32",
            AtomicOp::Min => "min.f32",
            _ => return self.broken("a loop for an op without one"),
        };
        let flag = self.e.op(&format!("llvm.zext {ok} : i1 to i32"));
        let (order, scope) = (sync.order.name(), sync.scope.ptx());
        let text = format!(
            "{{ .reg .pred p, q; .reg .b32 e, n; .reg .f32 v; setp.ne.b32 p, $3, 0; mov.b32 $0, 0; @!p bra DONE; \
             ld.relaxed.{scope}.global.b32 $0, [$1]; AGAIN: mov.b32 e, $0; mov.b32 v, e; {join} v, v, $2; mov.b32 n, v; \
             atom.{order}.{scope}.global.cas.b32 $0, [$1], e, n; setp.ne.b32 q, $0, e; @q bra AGAIN; \
             DONE: bar.warp.sync 0xffffffff; }}"
        );
        let operands = [(pointer.as_str(), "!llvm.ptr<1>"), (x.as_str(), "f32"), (flag.as_str(), "i32")];
        let bits = self.e.asm(&text, "=&r,l,f,r", &operands, Some("i32"));
        Ok(self.e.bitcast(&bits, "i32", "f32"))
    }
}
