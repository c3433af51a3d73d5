//! Writes MLIR in the LLVM dialect as text: fresh names, constants once, blocks, locations.

use crate::target::Target;
use std::collections::HashMap;
use std::fmt::Write;

/// An SSA name, `%12`.
pub(super) type Ssa = String;

/// The program as a function of debug information. Directives only: `.loc` and `.file` in the PTX and nothing else, as
/// for `nvcc -lineinfo`; instructions are the same with it and without.
const DEBUG_SCOPES: &str = "\
#source = #llvm.di_file<\"monotile\" in \"\">
#unit = #llvm.di_compile_unit<id = distinct[0]<>, sourceLanguage = DW_LANG_Rust, file = #source, producer = \"monotile\", \
isOptimized = true, emissionKind = DebugDirectivesOnly>
#type = #llvm.di_subroutine_type<>
#program = #llvm.di_subprogram<id = distinct[1]<>, compileUnit = #unit, scope = #source, name = \"monotile_program\", \
file = #source, line = 0, scopeLine = 0, subprogramFlags = \"Definition|Optimized\", type = #type>
";

/// A function under construction: an entry block for what everything may use, and the code after it.
pub(super) struct Emitter {
    /// What the code is for.
    pub target: &'static Target,
    entry: String,
    code: String,
    next: usize,
    constants: HashMap<String, Ssa>,
    /// Source files that ops come from; each is a scope of debug information.
    files: Vec<String>,
    location: String,
    in_entry: bool,
}

/// Place of ops that no line of a kernel stands for, the frame around the bodies. It must be one: what has none counts in
/// machine code as part of the line before it.
const NO_PLACE: &str = " loc(fused<#program>[\"monotile\":1:1])";

impl Emitter {
    /// An empty function for a target.
    pub(super) fn new(target: &'static Target) -> Self {
        Emitter {
            target,
            entry: String::new(),
            code: String::new(),
            next: 0,
            constants: HashMap::new(),
            files: Vec::new(),
            location: String::new(),
            in_entry: false,
        }
    }

    /// The scopes that places refer to, then entry block and code in order.
    pub(super) fn finish(self) -> (String, String) {
        let mut scopes = DEBUG_SCOPES.to_owned();
        for (i, file) in self.files.iter().enumerate() {
            let name = escaped(file);
            let _ = writeln!(scopes, "#file{i} = #llvm.di_file<\"{name}\" in \"\">");
            let _ = writeln!(
                scopes,
                "#in{i} = #llvm.di_lexical_block_file<scope = #program, file = #file{i}, discriminator = 0>"
            );
        }
        (scopes, self.entry + &self.code)
    }

    /// Source place of the ops that follow; line 0 for none.
    pub(super) fn at(&mut self, file: &str, line: u32, col: u32) {
        if line == 0 {
            self.location = String::new();
            return;
        }
        let scope = self.files.iter().position(|f| f == file).unwrap_or_else(|| {
            self.files.push(file.to_owned());
            self.files.len() - 1
        });
        self.location = format!(" loc(fused<#in{scope}>[\"{}\":{line}:{col}])", escaped(file));
    }

    /// Emits into the entry block while `f` runs: for values that depend on nothing but the thread.
    pub(super) fn entry<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.in_entry, true);
        let result = f(self);
        self.in_entry = outer;
        result
    }

    /// A fresh name.
    pub(super) fn fresh(&mut self) -> Ssa {
        self.next += 1;
        format!("%{}", self.next)
    }

    /// A fresh block label, `^bb3`.
    pub(super) fn label(&mut self) -> String {
        self.next += 1;
        format!("^bb{}", self.next)
    }

    /// An op without result.
    pub(super) fn line(&mut self, text: &str) {
        let to = if self.in_entry { &mut self.entry } else { &mut self.code };
        let place = if self.location.is_empty() { NO_PLACE } else { &self.location };
        let _ = writeln!(to, "    {text}{place}");
    }

    /// An op with one result.
    pub(super) fn op(&mut self, text: &str) -> Ssa {
        let name = self.fresh();
        self.line(&format!("{name} = {text}"));
        name
    }

    /// Starts a block; `args` is empty or `(%1: i32, …)`.
    pub(super) fn block(&mut self, label: &str, args: &str) {
        let _ = writeln!(self.code, "  {label}{args}:");
    }

    fn constant(&mut self, text: String) -> Ssa {
        if let Some(name) = self.constants.get(&text) {
            return name.clone();
        }
        let location = std::mem::take(&mut self.location);
        let name = self.entry(|e| e.op(&format!("llvm.mlir.constant({text}")));
        self.location = location;
        self.constants.insert(text, name.clone());
        name
    }

    /// i32 constant.
    pub(super) fn i32(&mut self, x: i64) -> Ssa {
        self.constant(format!("{x} : i32) : i32"))
    }

    /// i64 constant.
    pub(super) fn i64(&mut self, x: i64) -> Ssa {
        self.constant(format!("{x} : i64) : i64"))
    }

    /// i16 constant.
    pub(super) fn i16(&mut self, x: i64) -> Ssa {
        self.constant(format!("{x} : i16) : i16"))
    }

    /// i8 constant.
    pub(super) fn i8(&mut self, x: i64) -> Ssa {
        self.constant(format!("{x} : i8) : i8"))
    }

    /// i1 constant.
    pub(super) fn bool(&mut self, x: bool) -> Ssa {
        self.constant(format!("{x}) : i1"))
    }

    /// f32 constant, exact.
    pub(super) fn f32(&mut self, x: f32) -> Ssa {
        self.constant(format!("0x{:08X} : f32) : f32", x.to_bits()))
    }

    /// bf16 constant from its bits.
    pub(super) fn bf16_bits(&mut self, bits: u16) -> Ssa {
        self.constant(format!("0x{bits:04X} : bf16) : bf16"))
    }

    /// Binary op of one type, `add`, `fmul`, ….
    pub(super) fn bin(&mut self, op: &str, a: &str, b: &str, ty: &str) -> Ssa {
        self.op(&format!("llvm.{op} {a}, {b} : {ty}"))
    }

    /// i32 arithmetic with a constant, folding the trivial cases.
    pub(super) fn add_const(&mut self, a: &str, b: i64) -> Ssa {
        if b == 0 {
            return a.to_owned();
        }
        let b = self.i32(b);
        self.bin("add", a, &b, "i32")
    }

    /// i32 product with a constant.
    pub(super) fn mul_const(&mut self, a: &str, b: i64) -> Ssa {
        if b == 1 {
            return a.to_owned();
        }
        let b = self.i32(b);
        self.bin("mul", a, &b, "i32")
    }

    /// Integer comparison.
    pub(super) fn icmp(&mut self, predicate: &str, a: &str, b: &str, ty: &str) -> Ssa {
        self.op(&format!("llvm.icmp \"{predicate}\" {a}, {b} : {ty}"))
    }

    /// Choice.
    pub(super) fn select(&mut self, c: &str, a: &str, b: &str, ty: &str) -> Ssa {
        self.op(&format!("llvm.select {c}, {a}, {b} : i1, {ty}"))
    }

    /// Bit pattern as another type.
    pub(super) fn bitcast(&mut self, x: &str, from: &str, to: &str) -> Ssa {
        if from == to {
            return x.to_owned();
        }
        self.op(&format!("llvm.bitcast {x} : {from} to {to}"))
    }

    /// One element of a vector.
    pub(super) fn extract(&mut self, vector: &str, index: usize, ty: &str) -> Ssa {
        let i = self.i32(index as i64);
        self.op(&format!("llvm.extractelement {vector}[{i} : i32] : {ty}"))
    }

    /// A vector of elements.
    pub(super) fn vector(&mut self, elements: &[Ssa], element: &str) -> Ssa {
        let ty = format!("vector<{}x{element}>", elements.len());
        let mut v = self.op(&format!("llvm.mlir.undef : {ty}"));
        for (i, e) in elements.iter().enumerate() {
            let index = self.i32(i as i64);
            v = self.op(&format!("llvm.insertelement {e}, {v}[{index} : i32] : {ty}"));
        }
        v
    }

    /// Address `bytes` after a pointer.
    pub(super) fn offset(&mut self, pointer: &str, bytes: &str, index_ty: &str, space: u8) -> Ssa {
        self.op(&format!(
            "llvm.getelementptr {pointer}[{bytes}] : (!llvm.ptr<{space}>, {index_ty}) -> !llvm.ptr<{space}>, i8"
        ))
    }

    /// Address a constant number of bytes after a pointer.
    pub(super) fn offset_const(&mut self, pointer: &str, bytes: usize, space: u8) -> Ssa {
        if bytes == 0 {
            return pointer.to_owned();
        }
        self.op(&format!("llvm.getelementptr {pointer}[{bytes}] : (!llvm.ptr<{space}>) -> !llvm.ptr<{space}>, i8"))
    }

    /// Load of a known alignment.
    pub(super) fn load(&mut self, pointer: &str, ty: &str, align: usize, space: u8) -> Ssa {
        self.op(&format!("llvm.load {pointer} {{alignment = {align} : i64}} : !llvm.ptr<{space}> -> {ty}"))
    }

    /// Store of a known alignment.
    pub(super) fn store(&mut self, x: &str, pointer: &str, ty: &str, align: usize, space: u8) {
        self.line(&format!("llvm.store {x}, {pointer} {{alignment = {align} : i64}} : {ty}, !llvm.ptr<{space}>"));
    }

    /// One PTX instruction (and the predicate it needs) with side effects; operands are name and type.
    pub(super) fn asm(
        &mut self,
        text: &str,
        constraints: &str,
        operands: &[(&str, &str)],
        result: Option<&str>,
    ) -> Ssa {
        let names: Vec<&str> = operands.iter().map(|o| o.0).collect();
        let types: Vec<&str> = operands.iter().map(|o| o.1).collect();
        let clobber =
            if constraints.is_empty() { "~{memory}".to_owned() } else { format!("{constraints},~{{memory}}") };
        let result_ty = result.unwrap_or("()");
        let call = format!(
            "llvm.inline_asm has_side_effects asm_dialect = att \"{text}\", \"{clobber}\" {} : ({}) -> {result_ty}",
            names.join(", "),
            types.join(", ")
        );
        if result.is_some() {
            self.op(&call)
        } else {
            self.line(&call);
            String::new()
        }
    }

    /// One PTX instruction that only computes.
    pub(super) fn pure_asm(&mut self, text: &str, constraints: &str, operands: &[(&str, &str)], result: &str) -> Ssa {
        let names: Vec<&str> = operands.iter().map(|o| o.0).collect();
        let types: Vec<&str> = operands.iter().map(|o| o.1).collect();
        self.op(&format!(
            "llvm.inline_asm asm_dialect = att \"{text}\", \"{constraints}\" {} : ({}) -> {result}",
            names.join(", "),
            types.join(", ")
        ))
    }

    /// Jump.
    pub(super) fn br(&mut self, label: &str, args: &[(Ssa, &str)]) {
        let text = branch_target(label, args);
        self.line(&format!("llvm.br {text}"));
    }

    /// Two-way jump.
    pub(super) fn cond_br(&mut self, c: &str, yes: &str, no: &str) {
        self.line(&format!("llvm.cond_br {c}, {yes}, {no}"));
    }
}

/// A file's name within quotes.
fn escaped(file: &str) -> String {
    file.replace('\\', "\\\\").replace('"', "\\\"")
}

/// `^label(%a, %b : i32, f32)`.
fn branch_target(label: &str, args: &[(Ssa, &str)]) -> String {
    if args.is_empty() {
        return label.to_owned();
    }
    let names: Vec<&str> = args.iter().map(|a| a.0.as_str()).collect();
    let types: Vec<&str> = args.iter().map(|a| a.1).collect();
    format!("{label}({} : {})", names.join(", "), types.join(", "))
}
