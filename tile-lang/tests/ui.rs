//! What users see when a kernel is wrong: rustc's errors on the stub types, and the macros' own.

#[test]
fn messages() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.compile_fail("tests/ui/roles/*.rs");
}
