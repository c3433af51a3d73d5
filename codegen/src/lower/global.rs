//! Loads and stores of global arrays.

use super::body::{ArrayArg, Body, Held, register_type};
use super::emit::Ssa;
use crate::CodegenError;
use crate::layout::{Layout, stored_in};
use tile_lang::dtype::DType;
use tile_lang::ir::{BinaryOp, OpData, OpKind, Role, ValueId};

/// How an element's coordinate along one axis is checked against the array's extent.
enum Check {
    /// It is inside.
    None,
    /// All of the tile is inside or none of it: one check of the offset.
    Whole,
    /// Element by element.
    Each,
}

/// Where a tile lies in an array, prepared for one thread.
struct Place {
    /// Address of the thread's first element.
    pointer: Ssa,
    /// Address of the array, for reads that must not happen.
    array: Ssa,
    /// Condition that holds for the whole tile, if one is needed.
    whole: Option<Ssa>,
    /// For each tile axis: the thread's coordinate in the array and the extent, if elements must be checked.
    each: Vec<Option<(Ssa, Ssa)>>,
    /// Strides in elements of the tile's axes: known, or computed.
    strides: Vec<Result<usize, Ssa>>,
    /// Elements that one access may move.
    vector: usize,
}

/// Bytes of an element in memory; 4-bit elements have no address.
pub(super) fn memory_size(d: DType) -> usize {
    d.bits().div_ceil(8)
}

impl Body<'_> {
    pub fn array(&self, v: ValueId) -> Result<ArrayArg, CodegenError> {
        match self.arrays.get(&v) {
            Some(a) => Ok(a.clone()),
            None => self.broken("a memory access to something that is no parameter"),
        }
    }

    /// Whether a scalar is known to be a multiple of `n`.
    pub fn multiple_of(&self, v: ValueId, n: usize) -> bool {
        if n == 1 {
            return true;
        }
        if let Some(x) = self.literal_i32(v) {
            return x as i64 % n as i64 == 0;
        }
        let Some(def) = self.definitions[v.index()] else { return false };
        let op = self.k.op(def);
        match op.kind {
            OpKind::Binary(BinaryOp::Mul) => op.operands.iter().any(|x| self.multiple_of(*x, n)),
            OpKind::Binary(BinaryOp::Add | BinaryOp::Sub) => op.operands.iter().all(|x| self.multiple_of(*x, n)),
            _ => false,
        }
    }

    /// Extent of an axis, when it is known while compiling.
    fn known_dim(array: &ArrayArg, axis: usize) -> Option<usize> {
        array.facts.dims.as_ref().map(|d| d[axis])
    }

    /// Elements from one index of an axis to the next: known, or computed.
    fn stride(&mut self, array: &ArrayArg, axis: usize) -> Result<usize, Ssa> {
        if let Some(d) = &array.facts.dims {
            return Ok(d[axis + 1..].iter().product());
        }
        let mut product: Option<Ssa> = None;
        for d in &array.dims[axis + 1..] {
            product = Some(match product {
                None => d.clone(),
                Some(p) => self.e.bin("mul", &p, d, "i32"),
            });
        }
        product.map_or(Ok(1), Err)
    }

    /// Σ offset × stride over all axes, as i64.
    pub fn element_offset(&mut self, array: &ArrayArg, offsets: &[ValueId]) -> Result<Ssa, CodegenError> {
        let mut sum = self.e.i64(0);
        for (axis, v) in offsets.iter().enumerate() {
            let x = self.scalar(*v)?;
            let x = self.e.op(&format!("llvm.sext {x} : i32 to i64"));
            let stride = match self.stride(array, axis) {
                Ok(n) => self.e.i64(n as i64),
                Err(s) => self.e.op(&format!("llvm.sext {s} : i32 to i64")),
            };
            let term = self.e.bin("mul", &x, &stride, "i64");
            sum = self.e.bin("add", &sum, &term, "i64");
        }
        Ok(sum)
    }

    fn place(
        &mut self,
        array: &ArrayArg,
        offsets: &[ValueId],
        d: DType,
        layout: &Layout,
    ) -> Result<Place, CodegenError> {
        let lead = offsets.len() - layout.shape.len();
        let mut whole: Option<Ssa> = None;
        let mut each = Vec::new();
        let mut strides = Vec::new();
        let coordinates = self.coordinates(layout);
        let mut thread = self.e.i32(0);
        for (axis, v) in offsets.iter().enumerate() {
            let extent = if axis < lead { 1 } else { layout.shape[axis - lead] };
            let check = match (Self::known_dim(array, axis), self.literal_i32(*v)) {
                (Some(n), Some(x)) if x >= 0 && x as usize + extent <= n => Check::None,
                _ if extent == 1 => Check::Whole,
                (Some(n), _) if n % extent == 0 && self.multiple_of(*v, extent) => Check::Whole,
                _ => Check::Each,
            };
            let offset = self.scalar(*v)?;
            if matches!(check, Check::Whole) {
                let inside = self.e.icmp("ult", &offset, &array.dims[axis], "i32");
                whole = Some(match whole {
                    None => inside,
                    Some(w) => self.e.bin("and", &w, &inside, "i1"),
                });
            }
            if axis >= lead {
                let own = &coordinates[axis - lead];
                each.push(match check {
                    Check::Each => Some((self.e.bin("add", &offset, own, "i32"), array.dims[axis].clone())),
                    _ => None,
                });
                let stride = self.stride(array, axis);
                let term = match &stride {
                    Ok(n) => self.e.mul_const(own, *n as i64),
                    Err(s) => self.e.bin("mul", own, s, "i32"),
                };
                thread = self.e.bin("add", &thread, &term, "i32");
                strides.push(stride);
            }
        }
        let base = self.element_offset(array, offsets)?;
        let thread = self.e.op(&format!("llvm.sext {thread} : i32 to i64"));
        let element = self.e.bin("add", &base, &thread, "i64");
        let bytes = self.byte_offset(&element, d);
        let pointer = self.e.offset(&array.pointer, &bytes, "i64", 1);
        let last = offsets.len() - 1;
        let neighbours = (0..).take_while(|i| layout.reg.contains(&(layout.shape.len() as u8 - 1, *i as u8))).count();
        let mut vector = (1usize << neighbours).min(128 / d.bits());
        let fits = |w: usize| {
            array.facts.aligned.is_multiple_of(w)
                && self.multiple_of(offsets[last], w)
                && (offsets.len() == 1 || Self::known_dim(array, last).is_some_and(|n| n % w == 0))
                && (each[each.len() - 1].is_none() || Self::known_dim(array, last).is_some_and(|n| n % w == 0))
        };
        while vector > 1 && !fits(vector) {
            vector /= 2;
        }
        Ok(Place { pointer, array: array.pointer.clone(), whole, each, strides, vector })
    }

    /// Elements that one access to whole rows may move, as far as the array goes.
    fn widest(&self, array: &ArrayArg, offsets: &[ValueId], d: DType) -> usize {
        let last = offsets.len() - 1;
        let fits = |w: usize| {
            array.facts.aligned.is_multiple_of(w)
                && self.multiple_of(offsets[last], w)
                && Self::known_dim(array, last).is_some_and(|n| n % w == 0)
        };
        (0..=4).rev().map(|i| 1 << i).filter(|w| w * d.bits() <= 128).find(|w| fits(*w)).unwrap_or(1)
    }

    /// Registers that one access moves: the position of its first element and its registers in order of address.
    fn accesses(layout: &Layout, vector: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
        let last = layout.shape.len() - 1;
        (0..layout.registers())
            .map(|r| layout.register_offset(r))
            .filter(|at| at[last] % vector == 0)
            .map(|at| {
                let registers = (0..vector)
                    .map(|i| {
                        let mut near = at.clone();
                        near[last] += i;
                        layout.register_at(&near)
                    })
                    .collect();
                (at, registers)
            })
            .collect()
    }

    /// Address of an access and the condition under which it may happen.
    fn access(&mut self, place: &Place, at: &[usize], d: DType) -> (Ssa, Option<Ssa>) {
        let mut ok = place.whole.clone();
        let mut constant = 0;
        let mut pointer = place.pointer.clone();
        for (axis, x) in at.iter().enumerate() {
            match &place.strides[axis] {
                Ok(n) => constant += x * n * d.bits() / 8,
                Err(s) if *x > 0 => {
                    let term = self.e.mul_const(s, (x * memory_size(d)) as i64);
                    pointer = self.e.offset(&pointer, &term, "i32", 1);
                }
                Err(_) => {}
            }
            if let Some((base, extent)) = &place.each[axis] {
                let coordinate = self.e.add_const(base, *x as i64);
                let inside = self.e.icmp("ult", &coordinate, extent, "i32");
                ok = Some(match ok {
                    None => inside,
                    Some(o) => self.e.bin("and", &o, &inside, "i1"),
                });
            }
        }
        (self.e.offset_const(&pointer, constant, 1), ok)
    }

    pub fn before_read(&mut self, array: ValueId) {
        if self.written.contains(&array) {
            self.barrier();
        }
        self.read.insert(array);
    }

    pub fn before_write(&mut self, array: ValueId) {
        if self.read.contains(&array) || self.written.contains(&array) {
            self.barrier();
        }
        self.written.insert(array);
    }

    pub fn load(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let (global, result) = (op.operands[0], op.results[0]);
        let d = self.dtype(result);
        let Some(layout) = self.layouts.native.get(&result).cloned() else {
            return self.broken("a load without layout");
        };
        self.before_read(global);
        let array = self.array(global)?;
        let place = self.place(&array, &op.operands[1..], d, &layout)?;
        if d == DType::E2m1 {
            self.whole_bytes(op, &place)?;
            return self.load_pairs(op, &place, &layout);
        }
        let (size, ty) = (memory_size(d), if d == DType::Bool { "i8" } else { register_type(d) });
        let zero = self.zero(d);
        let mut out = vec![Ssa::new(); layout.registers()];
        for (at, registers) in Self::accesses(&layout, place.vector) {
            let (mut pointer, ok) = self.access(&place, &at, d);
            if let Some(ok) = &ok {
                pointer = self.e.select(ok, &pointer, &place.array, "!llvm.ptr<1>");
            }
            let w = registers.len();
            let memory_ty = if w == 1 { ty.to_owned() } else { format!("vector<{w}x{ty}>") };
            let mut loaded = self.e.load(&pointer, &memory_ty, size * w, 1);
            // Of several elements one choice of words, which are fewer.
            if let (Some(ok), true) = (&ok, w > 1) {
                loaded = self.words_or_zero(ok, &loaded, &memory_ty, size * w);
            }
            for (i, r) in registers.into_iter().enumerate() {
                let mut v = if w == 1 { loaded.clone() } else { self.e.extract(&loaded, i, &memory_ty) };
                if let (Some(ok), 1) = (&ok, w) {
                    v = self.e.select(ok, &v, &zero, ty);
                }
                if d == DType::Bool {
                    v = self.e.op(&format!("llvm.trunc {v} : i8 to i1"));
                }
                out[r] = v;
            }
        }
        self.define(result, Held::Elements(out))
    }

    /// What was loaded, of so many bytes, or zeros.
    fn words_or_zero(&mut self, ok: &Ssa, loaded: &Ssa, ty: &str, bytes: usize) -> Ssa {
        let (count, word) = if bytes.is_multiple_of(4) { (bytes / 4, "i32") } else { (1, "i16") };
        let zero = if word == "i32" { self.e.i32(0) } else { self.e.i16(0) };
        let words = if count == 1 { word.to_owned() } else { format!("vector<{count}x{word}>") };
        let whole = self.e.bitcast(loaded, ty, &words);
        if count == 1 {
            let chosen = self.e.select(ok, &whole, &zero, word);
            return self.e.bitcast(&chosen, &words, ty);
        }
        let chosen: Vec<Ssa> = (0..count)
            .map(|i| {
                let each = self.e.extract(&whole, i, &words);
                self.e.select(ok, &each, &zero, word)
            })
            .collect();
        let chosen = self.e.vector(&chosen, word);
        self.e.bitcast(&chosen, &words, ty)
    }

    pub fn store(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let masked = op.kind == OpKind::StoreMasked;
        let (global, x) = (op.operands[0], op.operands[1]);
        let offsets = &op.operands[if masked { 3 } else { 2 }..];
        let d = self.dtype(x);
        let mut layout = stored_in(self.layouts.native.get(&x).cloned(), self.k.ty(x), self.warps);
        let mut elements = self.elements(x, &layout)?;
        let mask = if masked { Some(self.elements(op.operands[2], &layout)?) } else { None };
        self.before_write(global);
        let array = self.array(global)?;
        if !masked {
            let most = self.widest(&array, offsets, d);
            (elements, layout) = self.brought_together(elements, layout, d, most);
        }
        let mut place = self.place(&array, offsets, d, &layout)?;
        if d == DType::E2m1 {
            self.whole_bytes(op, &place)?;
            if masked {
                let fix = "store the codes of whole bytes, or widen them to e4m3";
                return self.fail(
                    op,
                    "E04",
                    "4-bit elements can't be stored under a mask: two share a byte".into(),
                    fix,
                );
            }
            elements = self.joined_pairs(&elements);
        } else if masked {
            place.vector = 1;
        }
        let copies = self.one_copy(&layout);
        let size = memory_size(d);
        for (at, registers) in Self::accesses(&layout, place.vector) {
            let (pointer, mut ok) = self.access(&place, &at, d);
            for extra in [copies.clone(), mask.as_ref().map(|m| m[registers[0]].clone())].into_iter().flatten() {
                ok = Some(match ok {
                    None => extra,
                    Some(o) => self.e.bin("and", &o, &extra, "i1"),
                });
            }
            // Two 4-bit elements make one byte, which the first of them holds.
            let step = if d == DType::E2m1 { 2 } else { 1 };
            let values: Vec<Ssa> = registers.iter().step_by(step).map(|r| elements[*r].clone()).collect();
            self.store_vector(&values, d, size, &pointer, ok.as_ref());
        }
        Ok(())
    }

    /// Byte offset of an element; a 4-bit element's is that of its pair.
    pub fn byte_offset(&mut self, element: &Ssa, d: DType) -> Ssa {
        if d.bits() == 4 {
            let one = self.e.i64(1);
            return self.e.bin("ashr", element, &one, "i64");
        }
        let size = self.e.i64(memory_size(d) as i64);
        self.e.bin("mul", element, &size, "i64")
    }

    /// 4-bit elements move in pairs: rows must begin with a byte.
    fn whole_bytes(&self, op: &OpData, place: &Place) -> Result<(), CodegenError> {
        if place.vector >= 2 {
            return Ok(());
        }
        let message = "rows of 4-bit elements don't begin with whole bytes here: the tile's columns, the first column and the array's last extent must be even and known while compiling";
        self.fail(op, "E04", message.into(), "pad the array's rows, or stage it as a weight")
    }

    /// Loads 4-bit elements, a code in a byte each.
    fn load_pairs(&mut self, op: &OpData, place: &Place, layout: &Layout) -> Result<(), CodegenError> {
        let zero = self.e.i8(0);
        let mut out = vec![Ssa::new(); layout.registers()];
        for (at, registers) in Self::accesses(layout, place.vector) {
            let (mut pointer, ok) = self.access(place, &at, DType::E2m1);
            if let Some(ok) = &ok {
                pointer = self.e.select(ok, &pointer, &place.array, "!llvm.ptr<1>");
            }
            let bits = 4 * registers.len();
            let ty = format!("i{bits}");
            let raw = self.e.load(&pointer, &ty, bits / 8, 1);
            let word = if bits == 32 { raw } else { self.e.op(&format!("llvm.zext {raw} : {ty} to i32")) };
            let nibbles: Vec<(Ssa, u8)> = (0..registers.len() as u8).map(|n| (word.clone(), n)).collect();
            for (r, mut code) in registers.into_iter().zip(self.codes(&nibbles)) {
                if let Some(ok) = &ok {
                    code = self.e.select(ok, &code, &zero, "i8");
                }
                out[r] = code;
            }
        }
        self.define(op.results[0], Held::Elements(out))
    }

    /// For 4-bit codes whose neighbours are next to each other: the byte of a pair at its first element.
    fn joined_pairs(&mut self, x: &[Ssa]) -> Vec<Ssa> {
        let four = self.e.i8(4);
        let mut out = Vec::with_capacity(x.len());
        for pair in x.chunks(2) {
            let high = self.e.bin("shl", &pair[1], &four, "i8");
            let byte = self.e.bin("or", &pair[0], &high, "i8");
            out.extend([byte.clone(), byte]);
        }
        out
    }

    /// 0 as it is loaded from memory.
    pub fn zero(&mut self, d: DType) -> Ssa {
        match d {
            DType::F32 => self.e.f32(0.0),
            DType::Bf16 => self.e.bf16_bits(0),
            DType::I32 => self.e.i32(0),
            DType::F16 => {
                let z = self.e.i16(0);
                self.e.bitcast(&z, "i16", "f16")
            }
            _ => self.e.i8(0),
        }
    }

    /// Holds for exactly one of the threads that hold copies of an element.
    pub fn one_copy(&mut self, layout: &Layout) -> Option<Ssa> {
        let mask: i64 =
            layout.lane.iter().chain(&layout.warp).enumerate().filter(|(_, b)| b.is_none()).map(|(i, _)| 1 << i).sum();
        if mask == 0 {
            return None;
        }
        let thread = self.thread.clone();
        Some(self.e.entry(|e| {
            let (mask, zero) = (e.i32(mask), e.i32(0));
            let bits = e.bin("and", &thread, &mask, "i32");
            e.icmp("eq", &bits, &zero, "i32")
        }))
    }

    /// One store of up to 16 bytes, predicated where a condition is given.
    pub fn store_vector(&mut self, values: &[Ssa], d: DType, size: usize, pointer: &Ssa, ok: Option<&Ssa>) {
        let ty = if d == DType::Bool { "i8" } else { register_type(d) };
        let values: Vec<Ssa> = match d {
            DType::Bool => values.iter().map(|v| self.e.op(&format!("llvm.zext {v} : i1 to i8"))).collect(),
            _ => values.to_vec(),
        };
        let bytes = size * values.len();
        let (x, x_ty) = if values.len() == 1 {
            (values[0].clone(), ty.to_owned())
        } else {
            (self.e.vector(&values, ty), format!("vector<{}x{ty}>", values.len()))
        };
        let Some(ok) = ok else {
            self.e.store(&x, pointer, &x_ty, bytes, 1);
            return;
        };
        let flag = self.e.op(&format!("llvm.zext {ok} : i1 to i32"));
        if bytes < 4 {
            let int = if bytes == 2 { "i16" } else { "i8" };
            let x = self.e.bitcast(&x, &x_ty, int);
            let x = if bytes == 1 { self.e.op(&format!("llvm.zext {x} : i8 to i16")) } else { x };
            let text = format!("{{ .reg .pred p; setp.ne.b32 p, $2, 0; @p st.global.b{} [$0], $1; }}", bytes * 8);
            self.e.asm(&text, "l,h,r", &[(pointer, "!llvm.ptr<1>"), (&x, "i16"), (&flag, "i32")], None);
            return;
        }
        let count = bytes / 4;
        let words: Vec<Ssa> = if count == 1 {
            vec![self.e.bitcast(&x, &x_ty, "i32")]
        } else {
            let vector_ty = format!("vector<{count}xi32>");
            let v = self.e.bitcast(&x, &x_ty, &vector_ty);
            (0..count).map(|i| self.e.extract(&v, i, &vector_ty)).collect()
        };
        let list: Vec<String> = (0..count).map(|i| format!("${}", i + 1)).collect();
        let (suffix, list) = if count == 1 {
            (String::new(), list[0].clone())
        } else {
            (format!(".v{count}"), format!("{{{}}}", list.join(",")))
        };
        let text =
            format!("{{ .reg .pred p; setp.ne.b32 p, ${}, 0; @p st.global{suffix}.b32 [$0], {list}; }}", count + 1);
        let mut operands = vec![(pointer.as_str(), "!llvm.ptr<1>")];
        operands.extend(words.iter().map(|w| (w.as_str(), "i32")));
        operands.push((&flag, "i32"));
        self.e.asm(&text, &format!("l{},r", ",r".repeat(count)), &operands, None);
    }

    /// One element, the same for all threads.
    pub fn at(&mut self, op: &OpData) -> Result<(), CodegenError> {
        if self.role == Role::Consumer {
            self.before_read(op.operands[0]);
        }
        let array = self.array(op.operands[0])?;
        let d = self.dtype(op.results[0]);
        let pointer = self.element_pointer(&array, &op.operands[1..], d)?;
        if d == DType::E2m1 {
            let element = self.element_offset(&array, &op.operands[1..])?;
            let position = self.e.op(&format!("llvm.trunc {element} : i64 to i32"));
            let byte = self.e.load(&pointer, "i8", 1, 1);
            let code = self.nibble_of(&byte, &position);
            let code = self.e.op(&format!("llvm.trunc {code} : i32 to i8"));
            self.scalars.insert(op.results[0], code);
            return Ok(());
        }
        let ty = if d == DType::Bool { "i8" } else { register_type(d) };
        let mut v = self.e.load(&pointer, ty, memory_size(d), 1);
        if d == DType::Bool {
            v = self.e.op(&format!("llvm.trunc {v} : i8 to i1"));
        }
        self.scalars.insert(op.results[0], v);
        Ok(())
    }

    /// One element, written by one thread so that the host sees it too.
    pub fn set(&mut self, op: &OpData) -> Result<(), CodegenError> {
        if self.dtype(op.operands[1]) == DType::E2m1 {
            let fix = "store a tile";
            return self.fail(op, "E04", "a single 4-bit element can't be written: two share a byte".into(), fix);
        }
        self.before_write(op.operands[0]);
        let array = self.array(op.operands[0])?;
        let d = self.dtype(op.operands[1]);
        let x = self.scalar(op.operands[1])?;
        let pointer = self.element_pointer(&array, &op.operands[2..], d)?;
        let (thread, zero) = (self.thread.clone(), self.e.i32(0));
        let first = self.e.icmp("eq", &thread, &zero, "i32");
        let flag = self.e.op(&format!("llvm.zext {first} : i1 to i32"));
        let (bits, constraint, x, ty) = match memory_size(d) {
            4 => (32, "r", self.e.bitcast(&x, register_type(d), "i32"), "i32"),
            2 => (16, "h", self.e.bitcast(&x, register_type(d), "i16"), "i16"),
            _ => (8, "h", self.e.op(&format!("llvm.zext {x} : {} to i16", register_type(d))), "i16"),
        };
        let text = format!("{{ .reg .pred p; setp.ne.b32 p, $2, 0; @p st.relaxed.sys.global.b{bits} [$0], $1; }}");
        self.e.asm(&text, &format!("l,{constraint},r"), &[(&pointer, "!llvm.ptr<1>"), (&x, ty), (&flag, "i32")], None);
        Ok(())
    }

    fn element_pointer(&mut self, array: &ArrayArg, index: &[ValueId], d: DType) -> Result<Ssa, CodegenError> {
        let element = self.element_offset(array, index)?;
        let bytes = self.byte_offset(&element, d);
        Ok(self.e.offset(&array.pointer, &bytes, "i64", 1))
    }
}
