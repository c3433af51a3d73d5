//! What users see when a kernel is wrong: rustc's errors on the stub types, and the macros' own.

#[test]
fn messages() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
