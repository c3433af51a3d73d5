//! MLIR in process: parses a module in the LLVM dialect and translates it to PTX, or to LLVM IR for people to read.

mod order;

use crate::CodegenError;
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::{BlockLike, Module, operation::OperationLike};
use melior::pass::PassManager;
use melior::utility::{
    parse_pass_pipeline, register_all_dialects, register_all_llvm_translations, register_all_passes,
};
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::rc::Rc;
use std::sync::Once;

/// Translates a module with one `gpu.module` to PTX.
///
/// # Errors
/// MLIR's own messages: the text doesn't parse, doesn't verify or can't be translated.
pub fn to_ptx(name: &str, text: &str) -> Result<String, CodegenError> {
    with_module(name, text, |context, module, fail| {
        let passes = PassManager::new(context);
        let pipeline = "builtin.module(gpu-module-to-binary{format=isa})";
        parse_pass_pipeline(passes.as_operation_pass_manager(), pipeline).map_err(|_| fail("the pass pipeline"))?;
        passes.run(module).map_err(|_| fail("the translation to PTX"))?;
        assembly(&module.as_operation().to_string()).ok_or_else(|| fail("the translated module holds no assembly"))
    })
}

/// Translates the `gpu.module` of a module to LLVM IR, as LLVM's own passes get it.
///
/// # Errors
/// As [`to_ptx`].
pub fn to_llvm_ir(name: &str, text: &str) -> Result<String, CodegenError> {
    unsafe extern "C" {
        // Part of MLIR's C interface that the bindings leave out. The text is the caller's to free.
        fn mlirTranslateModuleToLLVMIRToString(module: RawOperation) -> *mut c_char;
        fn free(memory: *mut c_void);
    }
    /// `MlirOperation`, as C declares it.
    #[repr(C)]
    struct RawOperation {
        ptr: *mut c_void,
    }
    with_module(name, text, |_, module, fail| {
        let body = module.body();
        let kernels = body.first_operation().ok_or_else(|| fail("the module is empty"))?;
        // SAFETY: the operation lives as long as the module, and is one that holds symbols, as the function asks.
        let text = unsafe { mlirTranslateModuleToLLVMIRToString(RawOperation { ptr: kernels.to_raw().ptr }) };
        if text.is_null() {
            return Err(fail("the translation to LLVM IR"));
        }
        // SAFETY: the function gave a C string, which is read once and then freed.
        let owned = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        unsafe { free(text.cast()) };
        Ok(owned)
    })
}

/// Says what failed, with MLIR's messages so far.
type Fail<'f> = &'f dyn Fn(&str) -> CodegenError;

/// Parses and verifies a module in a context with everything registered, and hands it to `f`.
fn with_module<T>(
    name: &str,
    text: &str,
    f: impl FnOnce(&Context, &mut Module<'_>, Fail<'_>) -> Result<T, CodegenError>,
) -> Result<T, CodegenError> {
    static PASSES: Once = Once::new();
    PASSES.call_once(register_all_passes);
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    let context = Context::new();
    context.append_dialect_registry(&registry);
    context.load_all_available_dialects();
    register_all_llvm_translations(&context);
    let messages: Rc<RefCell<Vec<String>>> = Rc::default();
    let sink = Rc::clone(&messages);
    context.attach_diagnostic_handler(move |d| {
        sink.borrow_mut().push(format!("{}: {d}", d.location()));
        true
    });
    let fail = |what: &str| CodegenError::Lowering {
        kernel: name.into(),
        message: format!("{what}: {}", messages.borrow().iter().take(3).cloned().collect::<Vec<_>>().join("; ")),
    };
    let mut module = Module::parse(&context, text).ok_or_else(|| fail("the module does not parse"))?;
    if !module.as_operation().verify() {
        return Err(fail("the module does not verify"));
    }
    order::by_element(module.as_operation());
    f(&context, &mut module, &fail)
}

/// The PTX out of the printed `gpu.binary`, with its escapes undone.
fn assembly(printed: &str) -> Option<String> {
    let start = printed.find("assembly = \"")? + "assembly = \"".len();
    let mut out = Vec::new();
    let mut bytes = printed.as_bytes()[start..].iter().copied();
    while let Some(b) = bytes.next() {
        match b {
            b'"' => return String::from_utf8(out).ok().map(|s| s.trim_end_matches('\0').to_owned()),
            b'\\' => match bytes.next()? {
                c @ (b'\\' | b'"') => out.push(c),
                high => out.push(u8::from_str_radix(std::str::from_utf8(&[high, bytes.next()?]).ok()?, 16).ok()?),
            },
            other => out.push(other),
        }
    }
    None
}
